// The keys of one provider: given with the configuration, or fetched from its server, kept for a while and fetched again. Requests
// that need them at the same time wait for one fetch.

import { readFileSync } from 'node:fs';
import type { JwtStatus } from '../../plan/jwt/jwt-status.ts';
import { JWT } from '../../plan/jwt/jwt-status.ts';
import { type KeySet, parseKeySet } from '../../plan/jwt/key-set.ts';
import { PlanError } from '../../plan/plan-error.ts';
import type { DataSource, JwtProvider, RemoteJwks } from '../../xds/gen/types.ts';
import { durationMs } from '../../xds/well-known.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import { type SideAnswer, type SideFailure, sideCall } from '../side-call.ts';
import type { Stat } from '../stats-store.ts';
import { type TimerOwner, WheelTimer } from '../timer-wheel.ts';
import type { FilterTask } from './http-filter.ts';

export interface ProviderKeys {
  /** undefined: to be fetched. */
  current(): KeySet | JwtStatus | undefined;
  /** Those that came last, however old they are: for a request that they were fetched for. */
  latest(): KeySet | JwtStatus | undefined;
  /** `done` is called once, later, unless the task is cancelled; `failed` means that there are none now. */
  fetch(done: (failed: boolean) => void): FilterTask;
  close(): void;
}

export interface FetchCounts {
  readonly succeeded: Stat;
  readonly failed: Stat;
}

export const providerKeys = (config: JwtProvider, env: ProxyEnvironment, counts: FetchCounts, path: string): ProviderKeys => {
  if (config.remote_jwks !== undefined) return new RemoteKeys(config.remote_jwks, env, counts, `${path}.remote_jwks`);
  const text = readSource(config.local_jwks ?? {}, `${path}.local_jwks`);
  const keys = text === '' ? JWT.jwksNoValidKeys : parseKeySet(text);
  // Without any text nothing can be verified, which Envoy finds out as late as we do.
  if (text !== '' && 'code' in keys) throw new PlanError(`${path}.local_jwks`, keys.text);
  return { current: () => keys, latest: () => keys, fetch: () => ({ cancel: () => {} }), close: () => {} };
};

const readSource = (source: DataSource, path: string): string => {
  if (source.inline_string !== undefined) return source.inline_string;
  if (source.inline_bytes !== undefined) return Buffer.from(source.inline_bytes).toString();
  if (source.environment_variable !== undefined) return process.env[source.environment_variable] ?? '';
  if (source.filename === undefined) return '';
  try {
    return readFileSync(source.filename, 'utf8');
  } catch {
    throw new PlanError(`${path}.filename`, `${source.filename} cannot be read`);
  }
};

const KEYS_BYTES_MAX = 1024 * 1024;
const DEFAULT_CACHE_MS = 600_000;
/** Keys are fetched again so long before they are too old. */
const AHEAD_MS = 5000;
const REFETCH_AFTER_FAILURE_MS = 1000;
const RETRY_BASE_MS = 1000;

const REFETCH = 0;
const RETRY = 1;

class RemoteKeys implements ProviderKeys, TimerOwner {
  readonly #env: ProxyEnvironment;
  readonly #counts: FetchCounts;
  readonly #cluster: string;
  readonly #authority: string;
  readonly #path: string;
  readonly #timeoutMs: number;
  readonly #cacheMs: number;
  readonly #refetchFailedMs: number;
  /** Fetched without being asked for. */
  readonly #ahead: boolean;
  readonly #retries: number;
  readonly #retryBaseMs: number;
  readonly #retryMaxMs: number;
  readonly #refetchTimer = new WheelTimer(this, REFETCH);
  readonly #retryTimer = new WheelTimer(this, RETRY);
  readonly #waiting = new Set<(failed: boolean) => void>();
  #keys: KeySet | undefined;
  #goodUntil = 0;
  #call: FilterTask | undefined;
  #fetching = false;
  #retriesLeft = 0;
  #closed = false;

  constructor(config: RemoteJwks, env: ProxyEnvironment, counts: FetchCounts, path: string) {
    this.#env = env;
    this.#counts = counts;
    const { uri = '', cluster = '', timeout } = config.http_uri ?? {};
    const parts = /^(?:https?:\/\/)?([^/?#]+)([^#]*)/.exec(uri);
    if (parts === null) throw new PlanError(`${path}.http_uri.uri`, `"${uri}" is no address`);
    if (cluster === '') throw new PlanError(`${path}.http_uri.cluster`, 'is required');
    if (timeout === undefined) throw new PlanError(`${path}.http_uri.timeout`, 'is required');
    this.#cluster = cluster;
    this.#authority = parts[1] ?? '';
    this.#path = parts[2]?.startsWith('/') === true ? parts[2] : `/${parts[2] ?? ''}`;
    this.#timeoutMs = durationMs(timeout);
    this.#cacheMs = config.cache_duration === undefined ? DEFAULT_CACHE_MS : durationMs(config.cache_duration);
    const async = config.async_fetch;
    this.#ahead = async !== undefined;
    this.#refetchFailedMs =
      async?.failed_refetch_duration === undefined ? REFETCH_AFTER_FAILURE_MS : durationMs(async.failed_refetch_duration);
    // As Envoy, which reads how often and how fast, and always tries again where a server failed.
    const policy = config.retry_policy;
    this.#retries = policy === undefined ? 0 : (policy.num_retries ?? 1);
    const backOff = policy?.retry_back_off;
    this.#retryBaseMs = backOff?.base_interval === undefined ? RETRY_BASE_MS : durationMs(backOff.base_interval);
    this.#retryMaxMs = backOff?.max_interval === undefined ? this.#retryBaseMs * 10 : durationMs(backOff.max_interval);
    // `fast_listener` is at rest: a listener never waits for keys here, the first requests do.
    if (this.#ahead) env.wheel.arm(this.#refetchTimer, 0);
  }

  current(): KeySet | undefined {
    // Keys that are fetched ahead hold until others have come.
    return (this.#ahead && !this.#closed) || this.#env.clock.monotonicMs() < this.#goodUntil ? this.#keys : undefined;
  }

  latest(): KeySet | undefined {
    return this.#keys;
  }

  fetch(done: (failed: boolean) => void): FilterTask {
    this.#waiting.add(done);
    this.#begin();
    return { cancel: () => this.#waiting.delete(done) };
  }

  /** Nothing is fetched ahead any more; requests that its filter still serves get their keys. */
  close(): void {
    this.#closed = true;
    this.#env.wheel.drop(this.#refetchTimer);
    if (this.#waiting.size > 0) return;
    this.#call?.cancel();
    this.#call = undefined;
    this.#env.wheel.drop(this.#retryTimer);
    this.#fetching = false;
  }

  onTimer(kind: number): void {
    if (kind === REFETCH) this.#begin();
    else this.#ask();
  }

  #begin(): void {
    if (this.#fetching) return;
    this.#fetching = true;
    this.#retriesLeft = this.#retries;
    this.#ask();
  }

  #ask(): void {
    const request = {
      cluster: this.#cluster,
      method: 'GET',
      authority: this.#authority,
      path: this.#path,
      headers: [],
      body: undefined,
      timeoutMs: this.#timeoutMs,
      answerBytesMax: KEYS_BYTES_MAX,
    };
    this.#call = sideCall(this.#env, request, (outcome) => this.#onAnswer(outcome));
  }

  #onAnswer(outcome: SideAnswer | SideFailure): void {
    this.#call = undefined;
    const failed = outcome.kind === 'failure' || outcome.status >= 500;
    if (failed && this.#retriesLeft > 0) {
      const ceiling = Math.min(this.#retryBaseMs * 2 ** (this.#retries - this.#retriesLeft), this.#retryMaxMs);
      this.#retriesLeft--;
      this.#env.wheel.arm(this.#retryTimer, Math.ceil(this.#env.random() * ceiling));
      return;
    }
    const keys = outcome.kind === 'answer' && outcome.status === 200 ? parseKeySet(outcome.body.toString()) : undefined;
    const good = keys !== undefined && !('code' in keys);
    (good ? this.#counts.succeeded : this.#counts.failed).value++;
    if (good) {
      this.#keys = keys;
      this.#goodUntil = this.#env.clock.monotonicMs() + this.#cacheMs;
    } else {
      const why = outcome.kind === 'failure' ? `${outcome.reason} ${outcome.details}` : `status ${outcome.status}`;
      this.#env.log.warning('no keys for tokens', { server: this.#authority, cluster: this.#cluster, why });
    }
    if (this.#ahead && !this.#closed) this.#env.wheel.arm(this.#refetchTimer, good ? this.#refetchMs() : this.#refetchFailedMs);
    this.#fetching = false;
    // Whoever is told may end what others wait for: they are not told any more.
    for (const done of [...this.#waiting]) if (this.#waiting.delete(done)) done(!good);
  }

  #refetchMs(): number {
    return this.#cacheMs > AHEAD_MS ? this.#cacheMs - AHEAD_MS : this.#cacheMs;
  }
}
