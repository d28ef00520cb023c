// What a tap asks for: which exchanges, how many, for how long, what is hidden. Read from the JSON body of POST /tap; an unknown field, a
// wrong type or a number out of bounds is refused with its name, never guessed at.
import { err, ok, type Result } from '../../base/result.ts';
import { TAP_COUNT_MAX, TAP_NAMES_MAX, TAP_RATE_DEFAULT, TAP_RATE_MAX, TAP_SECONDS_DEFAULT, TAP_SECONDS_MAX } from '../limits.ts';

/** A workload or service, as `NAME` or `NAME.NAMESPACE`. */
type PartyName = string;

export interface TapMatch {
  readonly from?: PartyName;
  readonly to?: PartyName;
  /** Without its query. */
  readonly path?: string;
  readonly pathPrefix?: string;
  readonly method?: string;
  /** Codes and classes: `503`, `5xx`; `0` is no answer. */
  readonly status?: readonly string[];
  /** Of the request; without a value: it is there. */
  readonly headers?: readonly { readonly name: string; readonly value?: string }[];
  readonly authority?: string;
  readonly direction?: 'inbound' | 'outbound';
  readonly minDurationMs?: number;
}

export interface TapRequest {
  readonly match: TapMatch;
  readonly maxPerSecond: number;
  /** Ends after so many; 0: not by number. */
  readonly count: number;
  readonly seconds: number;
  /** TCP connections too, when they end. */
  readonly tcp: boolean;
  /** And when they begin. */
  readonly open: boolean;
  /** Heads go along with each record. */
  readonly withHeaders: boolean;
  /** Hidden besides those that always are. */
  readonly redact: { readonly headers: readonly string[]; readonly query: readonly string[] };
}

export const parseTapRequest = (body: string): Result<TapRequest, string> => {
  try {
    return ok(request(fields(body.trim() === '' ? {} : JSON.parse(body), '')));
  } catch (problem) {
    if (problem instanceof SyntaxError) return err('the body is not JSON');
    if (problem instanceof Refused) return err(problem.message);
    throw problem;
  }
};

class Refused extends Error {}

type Fields = { readonly [name: string]: unknown };

const request = (o: Fields): TapRequest => {
  known(o, ['match', 'maxPerSecond', 'count', 'seconds', 'tcp', 'open', 'withHeaders', 'redact'], '');
  const redact = o['redact'] === undefined ? {} : fields(o['redact'], 'redact');
  known(redact, ['headers', 'query'], 'redact.');
  return {
    match: match(o['match'] === undefined ? {} : fields(o['match'], 'match')),
    maxPerSecond: number(o, 'maxPerSecond', 1, TAP_RATE_MAX) ?? TAP_RATE_DEFAULT,
    count: number(o, 'count', 0, TAP_COUNT_MAX) ?? 0,
    seconds: number(o, 'seconds', 1, TAP_SECONDS_MAX) ?? TAP_SECONDS_DEFAULT,
    tcp: flag(o, 'tcp'),
    open: flag(o, 'open'),
    withHeaders: flag(o, 'withHeaders'),
    redact: { headers: names(redact, 'headers').map((n) => n.toLowerCase()), query: names(redact, 'query').map((n) => n.toLowerCase()) },
  };
};

const MATCHES = ['from', 'to', 'path', 'pathPrefix', 'method', 'status', 'headers', 'authority', 'direction', 'minDurationMs'];

const match = (o: Fields): TapMatch => {
  known(o, MATCHES, 'match.');
  const direction = text(o, 'direction');
  if (direction !== undefined && direction !== 'inbound' && direction !== 'outbound')
    throw new Refused('match.direction is inbound or outbound');
  const status = names(o, 'status');
  for (const s of status)
    if (!/^(?:\d{3}|0|[1-5]xx)$/.test(s)) throw new Refused(`match.status: ${JSON.stringify(s)} is no code or class (503, 5xx)`);
  const headers = list(o, 'headers').map((h, i) => header(fields(h, `match.headers[${i}]`)));
  const found = {
    from: text(o, 'from'),
    to: text(o, 'to'),
    path: text(o, 'path'),
    pathPrefix: text(o, 'pathPrefix'),
    method: text(o, 'method')?.toUpperCase(),
    authority: text(o, 'authority')?.toLowerCase(),
    minDurationMs: number(o, 'minDurationMs', 0, 3_600_000),
    direction,
    status: status.length === 0 ? undefined : status,
    headers: headers.length === 0 ? undefined : headers,
  };
  return Object.fromEntries(Object.entries(found).filter(([, v]) => v !== undefined)) as TapMatch;
};

const header = (o: Fields): { readonly name: string; readonly value?: string } => {
  known(o, ['name', 'value'], 'match.headers[].');
  const name = text(o, 'name')?.toLowerCase();
  if (name === undefined || !/^[!#-'*+.^-z|~-]+$/.test(name)) throw new Refused('match.headers[].name is no header name');
  const value = text(o, 'value');
  return value === undefined ? { name } : { name, value };
};

const fields = (value: unknown, at: string): Fields => {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Refused(`${at || 'the body'} is not an object`);
  return value as Fields;
};

const known = (o: Fields, allowed: readonly string[], at: string): void => {
  const unknown = Object.keys(o).find((name) => !allowed.includes(name));
  if (unknown !== undefined) throw new Refused(`unknown field ${JSON.stringify(at + unknown)}; known are ${allowed.join(', ')}`);
};

const TEXT_CHARS_MAX = 1024;

const text = (o: Fields, name: string): string | undefined => {
  const value = o[name];
  if (value === undefined) return undefined;
  if (typeof value !== 'string' || value === '' || value.length > TEXT_CHARS_MAX)
    throw new Refused(`${name} is a text of 1 to ${TEXT_CHARS_MAX} characters`);
  return value;
};

const number = (o: Fields, name: string, min: number, max: number): number | undefined => {
  const value = o[name];
  if (value === undefined) return undefined;
  if (typeof value !== 'number' || !(value >= min && value <= max)) throw new Refused(`${name} is a number from ${min} to ${max}`);
  return value;
};

const flag = (o: Fields, name: string): boolean => {
  const value = o[name] ?? false;
  if (typeof value !== 'boolean') throw new Refused(`${name} is true or false`);
  return value;
};

const list = (o: Fields, name: string): readonly unknown[] => {
  const value = o[name] ?? [];
  if (!Array.isArray(value) || value.length > TAP_NAMES_MAX) throw new Refused(`${name} is a list of at most ${TAP_NAMES_MAX}`);
  return value;
};

const names = (o: Fields, name: string): readonly string[] =>
  list(o, name).map((v) => {
    if (typeof v !== 'string' || v === '' || v.length > TEXT_CHARS_MAX) throw new Refused(`${name} is a list of texts`);
    return v;
  });
