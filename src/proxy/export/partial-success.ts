// How many items of a request an OpenTelemetry collector says it has not taken, although it answers that all is well: the same message for
// spans and for log records. Pure. An answer that is no such message rejects nothing: a collector of another kind, or none at all, gave it.

import { Reader, WireError } from '../../xds/wire-format.ts';

const PARTIAL_SUCCESS = 1;
const REJECTED = 1;
const VARINT = 0;
const BLOB = 2;

export const rejectedItems = (answer: Uint8Array): number => {
  // Nearly always.
  if (answer.length === 0) return 0;
  try {
    const outer = new Reader(answer);
    let rejected = 0;
    while (outer.pos < outer.end) {
      const tag = outer.varint();
      if (tag === PARTIAL_SUCCESS * 8 + BLOB) rejected = rejectedIn(new Reader(outer.bytes()), rejected);
      else outer.skip(tag % 8);
    }
    return rejected;
  } catch (problem) {
    if (problem instanceof WireError) return 0;
    throw problem;
  }
};

/** `before`: what an earlier occurrence of the message said; they merge. */
const rejectedIn = (r: Reader, before: number): number => {
  let rejected = before;
  while (r.pos < r.end) {
    const tag = r.varint();
    if (tag === REJECTED * 8 + VARINT) rejected = Math.max(0, r.signedVarint());
    else r.skip(tag % 8);
  }
  return rejected;
};
