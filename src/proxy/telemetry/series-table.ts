// Where the bound series of Istio's metrics are found again, and how many there may be. A look-up makes no object; only the first exchange
// of a kind does. Beyond the bound an exchange is counted by what configuration names, and beyond that by nothing but its side, so that
// the number of series is bounded whatever callers send.
import type { Counter, Histogram } from '../../base/metrics.ts';
import type { Peer } from './peer-metadata.ts';

/** Label sets of one process that are told in full. */
export const SERIES_MAX = 10_000;
/** Further ones that leave out what callers choose: by cluster, code and flags. */
const PLAIN_SERIES_MAX = 1000;
/** From here on a list is searched by text. */
const LIST_MAX = 8;

/** What an exchange is found by, beside cluster, peer and code. */
export interface SeriesKey {
  readonly flags: string;
  readonly protocol: string;
  readonly grpcStatus: string;
  /** The host that the caller asked for, where nothing better names the service. */
  readonly host: string;
  readonly peerPrincipal: string;
  readonly ownPrincipal: string;
  /** Of the configuration's expressions. */
  readonly values: string;
}

export interface Bound extends SeriesKey {
  readonly requests: Counter | undefined;
  readonly duration: Histogram | undefined;
  readonly requestBytes: Histogram | undefined;
  readonly responseBytes: Histogram | undefined;
  readonly tcp: TcpSeries | undefined;
  readonly messages: MessageSeries | undefined;
  /** Of the configuration's own metrics, in its order; empty where there is none. */
  readonly own: readonly (Counter | Histogram | undefined)[];
  /** Since the last rotation. */
  used: boolean;
}

interface MessageSeries {
  readonly requests: Counter | undefined;
  readonly responses: Counter | undefined;
}

export interface TcpSeries {
  readonly sent: Counter | undefined;
  readonly received: Counter | undefined;
  readonly opened: Counter | undefined;
  readonly closed: Counter | undefined;
}

interface Leaf {
  list: Bound[];
  byText: Map<string, Bound> | undefined;
}

/** How many there are, in all tables of a process. */
export class SeriesCount {
  full = 0;
  plain = 0;
}

/** One place's. */
export class SeriesTable {
  readonly #count: SeriesCount;
  /** Cluster → peer → code. */
  readonly #leaves = new Map<string, Map<Peer, Map<number, Leaf>>>();
  /** Without what callers choose. */
  readonly #plain = new Map<string, Bound>();

  constructor(count: SeriesCount) {
    this.#count = count;
  }

  find(cluster: string, peer: Peer, code: number, key: Parameters<typeof isKey>[1]): Bound | undefined {
    const leaf = this.#leaves.get(cluster)?.get(peer)?.get(code);
    if (leaf === undefined) return undefined;
    if (leaf.byText !== undefined) return leaf.byText.get(textOf(key));
    for (const bound of leaf.list) if (isKey(bound, key)) return bound;
    return undefined;
  }

  get hasRoom(): boolean {
    return this.#count.full < SERIES_MAX;
  }

  add(cluster: string, peer: Peer, code: number, bound: Bound): void {
    const leaf = entry(
      entry(
        entry(this.#leaves, cluster, () => new Map<Peer, Map<number, Leaf>>()),
        peer,
        () => new Map<number, Leaf>(),
      ),
      code,
      (): Leaf => ({ list: [], byText: undefined }),
    );
    leaf.list.push(bound);
    this.#count.full++;
    if (leaf.byText !== undefined) leaf.byText.set(textOf(bound), bound);
    else if (leaf.list.length > LIST_MAX) leaf.byText = byText(leaf.list);
  }

  /** `text`: all of what configuration and protocol say; `make` is told whether that may be told. */
  plain(text: string, rest: string, make: (told: boolean) => Bound): Bound {
    const known = this.#plain.get(text) ?? (this.#count.plain < PLAIN_SERIES_MAX ? undefined : this.#plain.get(rest));
    if (known !== undefined) return known;
    const told = this.#count.plain < PLAIN_SERIES_MAX;
    const bound = make(told);
    this.#plain.set(told ? text : rest, bound);
    if (told) this.#count.plain++;
    return bound;
  }

  /** Drops what was not used, adds the series of the rest to `kept`, and counts the rest anew. */
  keepUsed(kept: Set<unknown>): void {
    for (const [cluster, peers] of this.#leaves) {
      for (const [peer, codes] of peers) {
        for (const [code, leaf] of codes) {
          leaf.list = leaf.list.filter((bound) => keep(bound, kept));
          leaf.byText = leaf.list.length > LIST_MAX ? byText(leaf.list) : undefined;
          this.#count.full += leaf.list.length;
          if (leaf.list.length === 0) codes.delete(code);
        }
        if (codes.size === 0) peers.delete(peer);
      }
      if (peers.size === 0) this.#leaves.delete(cluster);
    }
    for (const [text, bound] of this.#plain) {
      if (keep(bound, kept)) this.#count.plain++;
      else this.#plain.delete(text);
    }
  }
}

const entry = <K, V>(map: Map<K, V>, key: K, make: () => V): V => {
  let found = map.get(key);
  if (found === undefined) {
    found = make();
    map.set(key, found);
  }
  return found;
};

const keep = (bound: Bound, kept: Set<unknown>): boolean => {
  if (!bound.used) return false;
  bound.used = false;
  for (const series of [bound.requests, bound.duration, bound.requestBytes, bound.responseBytes, ...bound.own]) kept.add(series);
  for (const series of Object.values({ ...bound.tcp, ...bound.messages })) kept.add(series);
  return true;
};

export const isKey = (a: SeriesKey, b: SeriesKey): boolean =>
  a.flags === b.flags &&
  a.protocol === b.protocol &&
  a.grpcStatus === b.grpcStatus &&
  a.host === b.host &&
  a.peerPrincipal === b.peerPrincipal &&
  a.ownPrincipal === b.ownPrincipal &&
  a.values === b.values;

const textOf = (key: SeriesKey): string =>
  `${key.flags}\n${key.protocol}\n${key.grpcStatus}\n${key.host}\n${key.peerPrincipal}\n${key.ownPrincipal}\n${key.values}`;

const byText = (list: readonly Bound[]): Map<string, Bound> => new Map(list.map((bound) => [textOf(bound), bound]));
