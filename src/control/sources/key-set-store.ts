// Keeps the key sets that token rules want: fetched when a rule first wants them, again every so often, soon after a failure. While a
// set has never been had, a key that nobody owns stands for it, so that every token is refused; one that was had once stays in force,
// through a restart too.
import { join } from 'node:path';
import { parseDuration } from '../../api/values/duration-text.ts';
import { readableKeys } from '../../api/values/web-key.ts';
import type { Log } from '../../base/log.ts';
import { err, ok, type Result } from '../../base/result.ts';
import type { KeySets, KeySource } from '../../mesh/key-sets.ts';
import { KEY_SOURCES_MAX } from '../limits.ts';
import { readStateFolder, removeStateFile, stateFileName, writeStateFile } from '../state-file.ts';
import { UNOWNED_KEY_SET } from '../unowned-key.ts';
import type { FetchKeySet } from './key-set-fetch.ts';

export interface KeySetStoreOptions {
  /** Where sets outlive the process: they are public. */
  readonly folder: string;
  readonly fetch: FetchKeySet;
  readonly log: Log;
  /** Called when `current` has become another. */
  readonly changed: () => void;
  readonly refreshMs?: number;
  readonly prepareMs?: number;
  readonly retryMs?: { readonly first: number; readonly max: number };
}

const REFRESH_MS = 20 * 60_000;
const REFRESH_MS_MIN = 1000;
const REFRESH_MS_MAX = 24 * 3_600_000;

/** How often keys are fetched again, told as istiod is told it. */
export const keyRefreshMs = ({ PILOT_JWT_PUB_KEY_REFRESH_INTERVAL: text = '' }: Readonly<Record<string, string | undefined>>): number => {
  const asked = parseDuration(text);
  const ms = asked === undefined ? REFRESH_MS : Number(asked) / 1e6;
  return Math.min(Math.max(ms, REFRESH_MS_MIN), REFRESH_MS_MAX);
};
const RETRY_MS = { first: 1000, max: 60_000 };
const PARALLEL_MAX = 8;
const PREPARE_MS = 5000;

interface Entry {
  readonly source: KeySource;
  keys: string | undefined;
  /** Of the set that `keys` came from. */
  leftOut: string | undefined;
  failure: string | undefined;
  failures: number;
  timer: NodeJS.Timeout | undefined;
}

export class KeySetStore {
  readonly #options: KeySetStoreOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #queue: Entry[] = [];
  /** Had before anybody wants them: of the process before, and of `prepare`. */
  readonly #kept: Map<string, string>;
  /** Wanted beyond the limit. */
  #overflow: readonly KeySource[] = [];
  #running = 0;
  #current: KeySets = { known: new Map(), failed: new Map(), refusing: UNOWNED_KEY_SET };

  constructor(options: KeySetStoreOptions) {
    this.#options = options;
    this.#kept = readKept(options.folder);
  }

  /** The same object until a set changes. */
  get current(): KeySets {
    return this.#current;
  }

  /** What is wanted from now on, and what of it is known already. The rest is fetched; `changed` tells when it is there. */
  want(sources: readonly KeySource[]): KeySets {
    const wanted = new Map(sources.slice(0, KEY_SOURCES_MAX).map((s) => [s.id, s]));
    const overflow = sources.slice(KEY_SOURCES_MAX);
    let changed = overflow.length !== this.#overflow.length;
    this.#overflow = overflow;
    for (const [id, entry] of this.#entries) {
      if (wanted.has(id)) continue;
      clearTimeout(entry.timer);
      this.#entries.delete(id);
      removeStateFile(this.#file(entry.source));
      changed = true;
    }
    for (const source of wanted.values()) {
      if (this.#entries.has(source.id)) continue;
      const entry: Entry = {
        source,
        keys: this.#kept.get(source.id),
        leftOut: undefined,
        failure: undefined,
        failures: 0,
        timer: undefined,
      };
      this.#entries.set(source.id, entry);
      this.#kept.delete(source.id);
      changed ||= entry.keys !== undefined;
      this.#queue.push(entry);
    }
    if (changed) this.#compose();
    this.#next();
    return this.#current;
  }

  /** Before rules that want these sources come into force: so no good token is refused for want of a key. Bounded in time. */
  async prepare(sources: readonly KeySource[]): Promise<void> {
    const { fetch, prepareMs = PREPARE_MS } = this.#options;
    const missing = sources.filter((s) => !this.#entries.has(s.id) && !this.#kept.has(s.id)).slice(0, PARALLEL_MAX);
    if (missing.length === 0) return;
    const fetched = missing.map(async (s) => {
      const got = readable(await fetch(s));
      if (got.ok && !this.#entries.has(s.id) && this.#kept.size < KEY_SOURCES_MAX) this.#kept.set(s.id, got.value.keys);
    });
    let timer: NodeJS.Timeout | undefined;
    const bound = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, prepareMs);
    });
    await Promise.race([Promise.all(fetched), bound]);
    clearTimeout(timer);
  }

  close(): void {
    for (const entry of this.#entries.values()) clearTimeout(entry.timer);
    this.#entries.clear();
    this.#queue.length = 0;
  }

  #isWanted(entry: Entry): boolean {
    return this.#entries.get(entry.source.id) === entry;
  }

  #next(): void {
    while (this.#running < PARALLEL_MAX) {
      const entry = this.#queue.shift();
      if (entry === undefined) return;
      if (!this.#isWanted(entry)) continue;
      this.#running++;
      void this.#fetch(entry).finally(() => {
        this.#running--;
        this.#next();
      });
    }
  }

  async #fetch(entry: Entry): Promise<void> {
    const { fetch, log, refreshMs = REFRESH_MS, retryMs = RETRY_MS } = this.#options;
    const fetched = readable(await fetch(entry.source));
    if (!this.#isWanted(entry)) return;
    const before = [entry.keys, entry.failure, entry.leftOut];
    if (fetched.ok) {
      const { keys, leftOut } = fetched.value;
      if (leftOut !== undefined && leftOut !== entry.leftOut)
        log.warning('fetched keys that no proxy can read are left out', { problem: leftOut });
      entry.keys = keys;
      entry.leftOut = leftOut;
      if (before[0] !== entry.keys) this.#keep(entry.source, entry.keys);
      entry.failure = undefined;
      entry.failures = 0;
    } else {
      if (fetched.error !== entry.failure) log.warning('keys for tokens could not be fetched', { problem: fetched.error });
      entry.failure = fetched.error;
      entry.failures++;
    }
    const waitMs = fetched.ok ? refreshMs : Math.min(retryMs.first * 2 ** (entry.failures - 1), retryMs.max);
    entry.timer = setTimeout(() => {
      this.#queue.push(entry);
      this.#next();
    }, waitMs);
    entry.timer.unref();
    if (before[0] === entry.keys && before[1] === entry.failure && before[2] === entry.leftOut) return;
    this.#compose();
    this.#options.changed();
  }

  #file(source: KeySource): string {
    return join(this.#options.folder, stateFileName(source.id));
  }

  #keep(source: KeySource, keys: string): void {
    try {
      writeStateFile(this.#file(source), JSON.stringify({ id: source.id, keys }), { durable: false });
    } catch (error) {
      this.#options.log.warning('a key set could not be kept', { problem: error instanceof Error ? error.message : String(error) });
    }
  }

  #compose(): void {
    const known = new Map<string, string>();
    const failed = new Map<string, string>();
    const unreadable = new Map<string, string>();
    for (const [id, { keys, failure, leftOut }] of this.#entries) {
      if (leftOut !== undefined) unreadable.set(id, leftOut);
      if (keys !== undefined) known.set(id, keys);
      else if (failure !== undefined) failed.set(id, failure);
    }
    for (const { id } of this.#overflow) failed.set(id, `more than ${KEY_SOURCES_MAX} key sets are wanted`);
    this.#current = { known, failed, leftOut: unreadable, refusing: UNOWNED_KEY_SET };
  }
}

/** Without the keys that no proxy can read; a set of none would be refused by proxies, with everything that it came in. */
const readable = (fetched: Result<string, string>): Result<{ readonly keys: string; readonly leftOut: string | undefined }, string> => {
  if (!fetched.ok) return fetched;
  const { keys, unreadable } = readableKeys(fetched.value) ?? { keys: undefined, unreadable: undefined };
  if (keys === undefined) return err(`no key that a proxy can read${unreadable === undefined ? '' : `: ${unreadable}`}`);
  return ok({ keys: unreadable === undefined ? fetched.value : keys, leftOut: unreadable });
};

const readKept = (folder: string): Map<string, string> => {
  const kept = new Map<string, string>();
  for (const { text } of readStateFolder(folder)) {
    try {
      const value: unknown = JSON.parse(text);
      if (typeof value !== 'object' || value === null || !('id' in value) || !('keys' in value)) continue;
      if (typeof value.id === 'string' && typeof value.keys === 'string') {
        const read = readable(ok(value.keys));
        if (read.ok) kept.set(value.id, read.value.keys);
      }
    } catch {
      // A file that is no JSON keeps nothing: its set is fetched again.
    }
  }
  return kept;
};
