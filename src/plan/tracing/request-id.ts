// What Envoy writes into an x-request-id of its own form beside the id: whether the request is traced, and why. Every proxy that the
// request passes reads it there and need not decide again.

/** 'none': nobody has decided that it is traced. */
export type TraceReason = 'none' | 'sampled' | 'client' | 'forced';

const LENGTH = 36;
const AT = 14;
const MARKS: Readonly<Record<TraceReason, string>> = { none: '4', sampled: '9', client: 'b', forced: 'a' };
const SAMPLED = 0x39;
const CLIENT = 0x62;
const FORCED = 0x61;

export const reasonOf = (id: string): TraceReason => {
  if (id.length !== LENGTH) return 'none';
  switch (id.charCodeAt(AT)) {
    case SAMPLED:
      return 'sampled';
    case CLIENT:
      return 'client';
    case FORCED:
      return 'forced';
    default:
      return 'none';
  }
};

/** The id as it says so; an id of another form says nothing. */
export const withReason = (id: string, reason: TraceReason): string => {
  const mark = MARKS[reason];
  // Mostly it says so.
  if (id.length !== LENGTH || id[AT] === mark) return id;
  return id.slice(0, AT) + mark + id.slice(AT + 1);
};

const DIGITS = 8;

/** A number that is the same wherever the id is seen; -1: there is none in it. */
export const numberOf = (id: string): number => {
  if (id.length < DIGITS) return -1;
  let value = 0;
  for (let i = 0; i < DIGITS; i++) {
    const digit = hexDigit(id.charCodeAt(i));
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
};

const hexDigit = (code: number): number => {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const letter = code | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
};
