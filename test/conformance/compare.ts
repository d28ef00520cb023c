// Compares what a vector gave with what was recorded, within the tolerance that the recordings' README sets.

import type { SentResult } from './host-worker.ts';
import type { Headers } from './raw-client.ts';
import type { Expected, Seen, VectorRequest } from './scenario.ts';

export interface Outcome {
  readonly results: readonly SentResult[];
  readonly hits: Readonly<Record<string, number>>;
  readonly last: Readonly<Record<string, Seen>>;
  /** Access log entries of this vector, by proxy. */
  readonly log: Readonly<Record<string, readonly Readonly<Record<string, unknown>>[]>>;
}
export interface Tolerance {
  readonly nondeterministic: string;
  /** The next step is a pause: an ejection may show in this vector or only after it. */
  readonly beforePause: boolean;
}
export interface Difference {
  readonly what: string;
  readonly expected: unknown;
  readonly got: unknown;
}

const MASKS: readonly (readonly [RegExp, string])[] = [
  [/<uuid>/g, '[0-9a-f-]{36}'],
  [/<ms>/g, '\\d+'],
  [/<sha256>/g, '[0-9a-f]{64}'],
  [/<hash>/g, '[^;,"]+'],
  [/<pem>/g, '[^"]+'],
];
const SECONDS_TOLERANCE = 0.15;
const TIMEOUT_HEADER_MS = 25;
/** The longest first two back-offs of a retry: 25 ms and 50 ms. */
const BACK_OFFS_MS = 75;

/** Equal, where the recording may hold masks. */
const same = (expected: unknown, got: unknown): boolean => {
  if (typeof expected === 'string' && typeof got === 'string' && /<(uuid|ms|sha256|hash|pem)>/.test(expected)) {
    let pattern = expected.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
    for (const [mask, form] of MASKS) pattern = pattern.replace(mask, form);
    return new RegExp(`^${pattern}$`).test(got);
  }
  if (Array.isArray(expected) && Array.isArray(got)) return expected.length === got.length && expected.every((e, i) => same(e, got[i]));
  return JSON.stringify(expected ?? null) === JSON.stringify(got ?? null);
};

export const compare = (request: VectorRequest, expected: Expected, outcome: Outcome, tolerance: Tolerance): Difference[] =>
  (request.repeat ?? 1) > 1 || expected.statuses
    ? compareMany(expected, outcome, tolerance)
    : compareOne(request, expected, outcome, anyVersion(request, tolerance.nondeterministic));

/** Which version answers is free: by chance among replicas, or by weight where nothing of the request decides. */
const anyVersion = (request: VectorRequest, nondeterministic: string): boolean =>
  /which version/.test(nondeterministic) || (request.tcp !== undefined && /weights/.test(nondeterministic));

// --- one request

const compareOne = (request: VectorRequest, expected: Expected, outcome: Outcome, anyReplica: boolean): Difference[] => {
  const result = outcome.results[0];
  if (!result) return [{ what: 'result', expected, got: null }];
  const out: Difference[] = [];
  const differ = (what: string, e: unknown, g: unknown): void => {
    if (!same(e, g)) out.push({ what, expected: e ?? null, got: g ?? null });
  };
  const clientErrors = ['reset', 'tls-error', 'closed'];
  const bothFail = clientErrors.includes(String(expected.status)) && clientErrors.includes(String(result.status));
  if (!bothFail) differ('status', expected.status, result.status);
  const backend =
    one(result.headers['x-backend']) ?? (request.tcp !== undefined && result.body !== '' ? (result.body.split(' ')[0] ?? null) : null);
  // A TCP connection leaves no log entry to tell by; only one straight to a workload has one possible end.
  const free = anyReplica || freeChoice(expected) || (request.tcp !== undefined && request.to?.startsWith('10.77.') !== true);
  const name = free ? serviceOf : (s: string | null): string | null => s;
  if (expected.backend !== undefined) differ('backend', name(expected.backend), name(backend));
  if (expected.hits) differ('hits', renamed(expected.hits, name), renamed(outcome.hits, name));
  if (expected.responseHeaders) {
    const got = responseHeaders(result.headers, backend !== null);
    for (const key of new Set([...Object.keys(expected.responseHeaders), ...Object.keys(got)])) {
      if (key === 'x-backend' && free) continue;
      differ(`responseHeaders.${key}`, expected.responseHeaders[key], got[key]);
    }
  }
  if (expected.body !== undefined && expected.body !== '' && Number(expected.status) < 400) differ('body', expected.body, result.body);
  if (expected.seconds) {
    const { min, max } = expected.seconds;
    if (result.seconds < min - SECONDS_TOLERANCE || result.seconds > max + SECONDS_TOLERANCE)
      out.push({ what: 'seconds', expected: expected.seconds, got: result.seconds });
  }
  if (expected.seen) {
    const seen = backend !== null ? outcome.last[backend] : Object.values(outcome.last)[0];
    compareSeen('seen', expected.seen, seen, differ, free && backend === null);
  }
  for (const [other, e] of Object.entries(expected.seenElsewhere ?? {})) {
    const seen = free ? elsewhere(other, backend, outcome) : outcome.last[other];
    // All attempts may have reached the replica that answered; hits say how many there were.
    if (seen !== undefined || !free) compareSeen(`seenElsewhere.${other}`, e, seen, differ, free);
  }
  for (const [proxy, e] of Object.entries(expected.log ?? {})) compareLog(proxy, e, outcome.log, free, differ);
  return out;
};

/** A cluster without a subset may hold several endpoints: which one answers is free. */
const freeChoice = (expected: Expected): boolean =>
  Object.values(expected.log ?? {}).some((entry) => typeof entry['cluster'] === 'string' && /^outbound\|\d+\|\|/.test(entry['cluster']));
const serviceOf = (name: string | null): string | null => name?.split('/')[0] ?? null;
const renamed = (counts: Readonly<Record<string, number>>, name: (s: string | null) => string | null): Record<string, number> => {
  const out: Record<string, number> = {};
  for (const key of Object.keys(counts).sort()) out[name(key) ?? ''] = (out[name(key) ?? ''] ?? 0) + (counts[key] ?? 0);
  return out;
};

/** What another replica of the same service saw last. */
const elsewhere = (name: string, answered: string | null, outcome: Outcome): Seen | undefined =>
  Object.entries(outcome.last).find(([other]) => other !== answered && serviceOf(other) === serviceOf(name))?.[1];

const one = (value: string | string[] | undefined): string | undefined => (Array.isArray(value) ? value[0] : value);

const DROPPED = ['date', 'keep-alive', 'x-backend-header', 'transfer-encoding'];
const responseHeaders = (headers: Headers, fromBackend: boolean): Headers => {
  const out: Headers = {};
  for (const [key, value] of Object.entries(headers)) {
    if (DROPPED.includes(key) || (key === 'connection' && value === 'keep-alive')) continue;
    if (fromBackend && (key === 'content-length' || key === 'content-type')) continue;
    out[key] = value;
  }
  return out;
};

/** `anyAttempt`: which of the attempts came here is free. */
const compareSeen = (
  what: string,
  expected: Seen,
  got: Seen | undefined,
  differ: (what: string, e: unknown, g: unknown) => void,
  anyAttempt = false,
): void => {
  if (!got) {
    differ(what, expected, null);
    return;
  }
  differ(`${what}.method`, expected.method, got.method);
  differ(`${what}.path`, expected.path, got.path);
  // A later attempt is told what is left after back-offs, which are random.
  const slack = Number(expected.headers['x-envoy-attempt-count'] ?? 1) > 1 ? BACK_OFFS_MS : TIMEOUT_HEADER_MS;
  if (expected.body !== undefined) differ(`${what}.body`, expected.body, got.body);
  for (const key of new Set([...Object.keys(expected.headers), ...Object.keys(got.headers)])) {
    if (key === 'connection') continue;
    // Recorded with metadata exchange switched off; a sidecar that announces it is told to send its own.
    if (key.startsWith('x-envoy-peer-metadata') && expected.headers[key] === undefined) continue;
    if (anyAttempt && key === 'x-envoy-attempt-count' && Number(got.headers[key]) > 0) continue;
    if (key === 'x-envoy-expected-rq-timeout-ms' && Math.abs(Number(expected.headers[key]) - Number(got.headers[key])) <= slack) continue;
    differ(`${what}.headers.${key}`, expected.headers[key], got.headers[key]);
  }
};

const LOG_KEYS = ['attempts', 'cluster', 'details', 'flags', 'method', 'path', 'peer', 'route', 'sni', 'status', 'upstream'];
/** Library texts behind a TLS failure differ; what failed does not. */
const plainDetails = (details: unknown): unknown =>
  typeof details === 'string' ? details.replace(/\|TLS_error:.*(?=})/, '|TLS_error') : details;

const compareLog = (
  proxy: string,
  expected: Readonly<Record<string, unknown>>,
  logs: Outcome['log'],
  free: boolean,
  differ: (what: string, e: unknown, g: unknown) => void,
): void => {
  // Where any replica may answer, any replica's log may hold the entry.
  const entries = Object.entries(logs).flatMap(([name, list]) =>
    name === proxy || (free && replicaSet(name) === replicaSet(proxy)) ? list : [],
  );
  if (entries.length === 0) {
    differ(`log.${proxy}`, expected, null);
    return;
  }
  const differences = entries.map((entry) => logDifferences(expected, entry, free));
  const closest = differences.sort((a, b) => a.length - b.length)[0] ?? [];
  for (const { what, expected: e, got } of closest) differ(`log.${proxy}.${what}`, e, got);
};

const replicaSet = (proxy: string): string => proxy.replace(/-v\d+$/, '');

const logDifferences = (
  expected: Readonly<Record<string, unknown>>,
  got: Readonly<Record<string, unknown>>,
  free: boolean,
): Difference[] => {
  const out: Difference[] = [];
  for (const key of LOG_KEYS) {
    if (key === 'upstream' && free) continue;
    const value = got[key] === '-' && key !== 'flags' ? undefined : (got[key] ?? undefined);
    const [e, g] = key === 'details' ? [plainDetails(expected[key]), plainDetails(value)] : [expected[key], value];
    if (!same(e, g)) out.push({ what: key, expected: e ?? null, got: g ?? null });
  }
  return out;
};

// --- many requests

const compareMany = (expected: Expected, outcome: Outcome, tolerance: Tolerance): Difference[] => {
  const out: Difference[] = [];
  const { results } = outcome;
  const loose = tolerance.beforePause && /before an ejection takes effect/.test(tolerance.nondeterministic);
  const statuses = tally(results.map((r) => String(r.status)));
  const backends = tally(results.map((r) => one(r.headers['x-backend']) ?? '-'));
  const check = (what: string, e: Readonly<Record<string, number>> | undefined, g: Record<string, number>): void => {
    if (e && !counted(e, g, results.length, loose)) out.push({ what, expected: e, got: g });
  };
  check('statuses', expected.statuses, statuses);
  check('backends', expected.backends, backends);
  check('hits', expected.hits, { ...outcome.hits });
  if (expected.mapping) {
    const seen = new Map<string, Set<string>>();
    for (const r of results) {
      if (r.varied === undefined) continue;
      seen.set(r.varied, (seen.get(r.varied) ?? new Set()).add(one(r.headers['x-backend']) ?? '-'));
    }
    for (const [key, set] of seen) if (set.size !== 1) out.push({ what: `mapping.${key}`, expected: 'one backend', got: [...set] });
  }
  for (const [proxy, e] of Object.entries(expected.log ?? {})) {
    const entries = outcome.log[proxy] ?? [];
    check(`log.${proxy}.flags`, e['flags'] as Record<string, number>, tally(entries.map((x) => String(x['flags'] ?? '-'))));
    const plain = (counts: Readonly<Record<string, number>>): Record<string, number> =>
      Object.fromEntries(Object.entries(counts).map(([k, v]) => [String(plainDetails(k)), v]));
    if (e['details'])
      check(
        `log.${proxy}.details`,
        plain(e['details'] as Record<string, number>),
        tally(entries.map((x) => String(plainDetails(x['details'])))),
      );
  }
  return out;
};

const tally = (values: readonly string[]): Record<string, number> => {
  const out: Record<string, number> = {};
  for (const v of values) out[v] = (out[v] ?? 0) + 1;
  return out;
};

/** The same counts under other names of one service: which endpoints were chosen (or ejected) is free. */
const permuted = (expected: Readonly<Record<string, number>>, got: Readonly<Record<string, number>>): boolean => {
  const form = (counts: Readonly<Record<string, number>>): string =>
    Object.entries(counts)
      .map(([k, v]) => `${serviceOf(k)} ${v}`)
      .sort()
      .join();
  return form(expected) === form(got);
};

/** Counts agree when equal, one off (round robin's share), or within 4 sigma of two samples of the same chance. A zero is a zero. */
const counted = (
  expected: Readonly<Record<string, number>>,
  got: Readonly<Record<string, number>>,
  total: number,
  loose: boolean,
): boolean => {
  // What happens until an ejection takes effect is not compared: it may come at once or a second late.
  if (loose || permuted(expected, got)) return true;
  for (const key of new Set([...Object.keys(expected), ...Object.keys(got)])) {
    const e = expected[key] ?? 0;
    const g = got[key] ?? 0;
    if (e === g) continue;
    if (e === 0 || g === 0) return false;
    const p = Math.min(1, e / Math.max(total, e));
    const sigma = Math.sqrt(2 * total * p * (1 - p));
    if (Math.abs(e - g) > Math.max(1, 4 * sigma)) return false;
  }
  return true;
};
