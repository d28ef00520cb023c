// Fetches the public keys that tokens are checked with, from the address of a key set or by OpenID Connect discovery. Bounded in time,
// size, number and redirects; what was asked for by https:// never comes by http://. What comes back in words never holds a key.
import { durationMs } from '../../api/values/duration-text.ts';
import { err, ok, type Result } from '../../base/result.ts';
import type { KeySource } from '../../mesh/key-sets.ts';
import { KEY_SET_BYTES_MAX, KEYS_PER_SET_MAX } from '../limits.ts';

export type FetchKeySet = (source: KeySource) => Promise<Result<string, string>>;

const TIMEOUT_MS_MAX = 60_000;
const REDIRECTS_MAX = 5;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
/** What only the owner of a key may have. Of a symmetric key `k` is all there is. */
const PRIVATE_MEMBERS: ReadonlySet<string> = new Set(['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth']);

/** The key set as JSON, or why it could not be had. Never rejects. */
export const fetchKeySet: FetchKeySet = async (source) => {
  const timeoutMs = Math.min(durationMs(source.timeout), TIMEOUT_MS_MAX);
  if (!source.discovery) return keySet(await fetchJson(source.url, timeoutMs));
  const document = await fetchJson(source.url, timeoutMs);
  if (!document.ok) return document;
  const uri = isObject(document.value) ? document.value['jwks_uri'] : undefined;
  if (typeof uri !== 'string') return err(`${shown(source.url)} names no jwks_uri`);
  if (leavesTls(source.url, uri)) return err(`${shown(source.url)} names a jwks_uri without TLS`);
  return keySet(await fetchJson(uri, timeoutMs));
};

type Json = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Without credentials and query, which may be secrets. */
const shown = (url: string): string => {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  return parsed === undefined ? 'the address' : `${parsed.origin}${parsed.pathname}`;
};

const fetchJson = async (url: string, timeoutMs: number): Promise<Result<unknown, string>> => {
  if (!/^https?:\/\//i.test(url) || !URL.canParse(url)) return err('not an http:// or https:// address');
  try {
    const response = await followed(url, AbortSignal.timeout(timeoutMs));
    if (typeof response === 'string') return err(response);
    if (response.status !== 200) {
      await response.body?.cancel();
      return err(`${shown(url)} answers ${response.status}`);
    }
    const text = await bodyText(response);
    return text === undefined ? err(`${shown(url)} answers with more than ${KEY_SET_BYTES_MAX} bytes`) : ok(JSON.parse(text));
  } catch (error) {
    return err(`${shown(url)}: ${reason(error, timeoutMs)}`);
  }
};

const isTls = (url: string): boolean => /^https:/i.test(url);
const leavesTls = (from: string, to: string): boolean => isTls(from) && !isTls(to);

/** What it answers in the end, or why nobody follows where it leads. */
const followed = async (first: string, signal: AbortSignal): Promise<Response | string> => {
  let url = first;
  for (let hops = 0; hops <= REDIRECTS_MAX; hops++) {
    const response = await fetch(url, { headers: { accept: 'application/json' }, redirect: 'manual', signal });
    const location = response.headers.get('location') ?? '';
    if (!REDIRECTS.has(response.status) || location === '') return response;
    await response.body?.cancel();
    if (!URL.canParse(location, url)) return `${shown(url)} redirects to no address`;
    const next = new URL(location, url).href;
    if (!/^https?:/i.test(next) || leavesTls(url, next)) return `${shown(url)} redirects to an address without TLS`;
    url = next;
  }
  return `${shown(first)} redirects more than ${REDIRECTS_MAX} times`;
};

/** Undefined when it is larger than the limit. */
const bodyText = async (response: Response): Promise<string | undefined> => {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > KEY_SET_BYTES_MAX) return undefined; // leaving the loop cancels the rest
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
};

const reason = (error: unknown, timeoutMs: number): string => {
  if (!(error instanceof Error)) return 'failed';
  if (error.name === 'TimeoutError' || error.name === 'AbortError') return `no answer within ${timeoutMs / 1000} s`;
  // A parser's words quote what it read.
  if (error instanceof SyntaxError) return 'the answer is not JSON';
  const cause = error.cause;
  const code = 'code' in error ? error.code : isObject(cause) || cause instanceof Error ? (cause as { code?: unknown }).code : undefined;
  return typeof code === 'string' ? code : 'the connection failed';
};

const keySet = (answer: Result<unknown, string>): Result<string, string> => {
  if (!answer.ok) return answer;
  const keys = isObject(answer.value) ? answer.value['keys'] : undefined;
  if (!Array.isArray(keys) || keys.length === 0 || !keys.every((k) => isObject(k) && typeof k['kty'] === 'string'))
    return err('the answer is not a JSON web key set with keys');
  if (keys.length > KEYS_PER_SET_MAX) return err(`the key set has more than ${KEYS_PER_SET_MAX} keys`);
  const publicKeys = (keys as readonly Json[]).map((k) => Object.fromEntries(Object.entries(k).filter(([m]) => !PRIVATE_MEMBERS.has(m))));
  return ok(JSON.stringify({ keys: publicKeys }));
};
