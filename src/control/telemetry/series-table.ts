// Who talks to whom, as numbers: each different (reporter, source, destination, service, route …) is kept once and named by an id, which
// is what slices hold. Bounded, for all and for each proxy: what finds no room is one series that says so. An id whose last slice is
// gone is forgotten; ids are never used again.
import { NAME_CHARS_MAX, SERIES_MAX, SERIES_PER_PROXY_MAX } from './limits.ts';

export type Reporter = 'source' | 'destination' | 'gateway';
export type Mtls = 'mutual_tls' | 'none' | 'unknown';

/** '' where it is not known. */
export interface SeriesKey {
  readonly reporter: Reporter;
  readonly sourceWorkload: string;
  readonly sourceNamespace: string;
  readonly sourcePrincipal: string;
  readonly workload: string;
  readonly namespace: string;
  readonly principal: string;
  /** Host of the service. */
  readonly service: string;
  readonly serviceNamespace: string;
  readonly version: string;
  readonly route: string;
  readonly protocol: string;
  readonly mtls: Mtls;
}

/** Everything that found no room. */
export const OVERFLOW: SeriesKey = {
  reporter: 'destination',
  sourceWorkload: '',
  sourceNamespace: '',
  sourcePrincipal: '',
  workload: '(other)',
  namespace: '',
  principal: '',
  service: '(other)',
  serviceNamespace: '',
  version: '',
  route: '',
  protocol: '',
  mtls: 'unknown',
};

interface Known {
  readonly key: SeriesKey;
  /** In the index. */
  readonly text: string;
  /** On disk. */
  readonly kept: string;
  readonly owner: string;
  lastMs: number;
}

const FIELDS = [
  'reporter',
  'sourceWorkload',
  'sourceNamespace',
  'sourcePrincipal',
  'workload',
  'namespace',
  'principal',
  'service',
  'serviceNamespace',
  'version',
  'route',
  'protocol',
  'mtls',
] as const;

const cut = (text: string): string => (text.length > NAME_CHARS_MAX ? text.slice(0, NAME_CHARS_MAX) : text);

const keyText = (key: SeriesKey): string => FIELDS.map((field) => cut(key[field]).replaceAll('\n', ' ')).join('\n');

/** What a series is found by: unlike `keyText` made for each addition, and so as it comes. */
const rawText = (k: SeriesKey): string =>
  `${k.reporter}\n${k.sourceWorkload}\n${k.sourceNamespace}\n${k.sourcePrincipal}\n${k.workload}\n${k.namespace}\n${k.principal}\n` +
  `${k.service}\n${k.serviceNamespace}\n${k.version}\n${k.route}\n${k.protocol}\n${k.mtls}`;

/** Longer ones are cut before they are kept. */
const RAW_CHARS_MAX = 2048;

/** Of `keyText`; undefined for another text. */
export const keyOfText = (text: string): SeriesKey | undefined => {
  const values = text.split('\n');
  if (values.length !== FIELDS.length) return undefined;
  const [reporter, sourceWorkload = '', sourceNamespace = '', sourcePrincipal = '', workload = '', namespace = '', principal = ''] = values;
  const [service = '', serviceNamespace = '', version = '', route = '', protocol = '', mtls] = values.slice(7);
  if (reporter !== 'source' && reporter !== 'destination' && reporter !== 'gateway') return undefined;
  if (mtls !== 'mutual_tls' && mtls !== 'none' && mtls !== 'unknown') return undefined;
  const source = { sourceWorkload, sourceNamespace, sourcePrincipal };
  return { reporter, ...source, workload, namespace, principal, service, serviceNamespace, version, route, protocol, mtls };
};

export class SeriesTable {
  readonly #byText = new Map<string, number>();
  readonly #byId = new Map<number, Known>();
  readonly #owned = new Map<string, number>();
  #next = 1;
  #overflow: number | undefined;
  /** Series that found no room, times that they were asked for. */
  overflowed = 0;

  get size(): number {
    return this.#byId.size;
  }

  /** The id of the series; of the one for all others where there is no room. `owner` is the proxy that tells of it; '' on disk. */
  id(key: SeriesKey, owner: string, nowMs: number): number {
    const raw = rawText(key);
    const text = raw.length > RAW_CHARS_MAX ? keyText(key) : raw;
    const known = this.#byText.get(text);
    if (known !== undefined) {
      const entry = this.#byId.get(known);
      if (entry !== undefined) entry.lastMs = nowMs;
      return known;
    }
    const owned = this.#owned.get(owner) ?? 0;
    if (this.#byId.size >= SERIES_MAX || (owner !== '' && owned >= SERIES_PER_PROXY_MAX)) {
      this.overflowed++;
      this.#overflow ??= this.#add(OVERFLOW, keyText(OVERFLOW), '', nowMs);
      return this.#overflow;
    }
    return this.#add(key, text, owner, nowMs);
  }

  key(id: number): SeriesKey | undefined {
    return this.#byId.get(id)?.key;
  }

  /** Of the text on disk. */
  text(id: number): string | undefined {
    return this.#byId.get(id)?.kept;
  }

  /** Forgets what nothing was added to since then. */
  forget(beforeMs: number): void {
    for (const [id, { text, owner, lastMs }] of this.#byId) {
      if (lastMs >= beforeMs || id === this.#overflow) continue;
      this.#byId.delete(id);
      this.#byText.delete(text);
      const left = (this.#owned.get(owner) ?? 1) - 1;
      if (left > 0) this.#owned.set(owner, left);
      else this.#owned.delete(owner);
    }
  }

  #add(key: SeriesKey, text: string, owner: string, nowMs: number): number {
    const id = this.#next++;
    const kept = keyText(key);
    this.#byId.set(id, { key: keyOfText(kept) ?? key, text, kept, owner, lastMs: nowMs });
    this.#byText.set(text, id);
    this.#owned.set(owner, (this.#owned.get(owner) ?? 0) + 1);
    return id;
  }
}
