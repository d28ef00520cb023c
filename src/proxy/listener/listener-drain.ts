// Who is connected under which version of which listener, and how connections of a version that is gone come to their end:
// asked to leave (at once, or one after the other over the drain time), and closed when the drain time is over. Connections
// of a filter chain that the new version still has are left alone, as Envoy does when only chains change. Those of clients who are no
// longer trusted end within seconds, which Envoy does not do.

import type { CertificateFacts } from '../../plan/stream-info.ts';
import { DISTRUSTED_CLOSE_MS } from '../limits.ts';
import { stable } from '../stable-text.ts';
import type { ServedConnection } from './accept.ts';
import type { ChainRuntime } from './filter-chain-runtime.ts';
import type { ListenerState } from './listener-runtime.ts';

interface Entry {
  readonly connection: ServedConnection;
  readonly state: ListenerState;
  readonly chain: ChainRuntime;
  readonly peer: CertificateFacts | undefined;
  leaving: boolean;
  /** The drain that closes it at its end, and the one that asks it to leave, at which tick. */
  closedBy: object | undefined;
  askedBy: object | undefined;
  tick: number;
}

const TICKS = 50;

export class ListenerDrain {
  readonly #drainTimeMs: number;
  readonly #gradually: boolean;
  readonly #random: () => number;
  readonly #entries = new Map<ServedConnection, Entry>();
  readonly #timers = new Set<NodeJS.Timeout>();
  #asking: 'nobody' | 'inbound' | 'all' = 'nobody';

  constructor(drainTimeMs: number, gradually: boolean, random: () => number) {
    this.#drainTimeMs = drainTimeMs;
    this.#gradually = gradually;
    this.#random = random;
  }

  opened(connection: ServedConnection, state: ListenerState, chain: ChainRuntime, peer: CertificateFacts | undefined): void {
    const entry = { connection, state, chain, peer, leaving: false, closedBy: undefined, askedBy: undefined, tick: 0 };
    this.#entries.set(connection, entry);
    if (this.#isAsked(state)) this.#drain([entry], false);
    const { tls } = chain;
    if (tls === undefined || peer === undefined) return;
    tls.onDistrust ??= () => this.#distrust([...this.#entries.values()].filter((e) => e.chain.tls === tls));
    // Trust may have changed since the handshake.
    if (!tls.trusts(peer)) this.#distrust([entry]);
  }

  /** What it was accepted under. */
  closed(connection: ServedConnection): { readonly state: ListenerState; readonly chain: ChainRuntime } | undefined {
    const entry = this.#entries.get(connection);
    this.#entries.delete(connection);
    return entry;
  }

  /** `next` is in force for a listener that had another version. */
  replaced(name: string, next: ListenerState): void {
    const kept = new Map<ListenerState, ReadonlySet<ChainRuntime>>();
    const leaving: Entry[] = [];
    for (const entry of this.#of(name)) {
      let chains = kept.get(entry.state);
      if (chains === undefined) {
        chains = chainsKept(entry.state, next);
        kept.set(entry.state, chains);
      }
      if (!chains.has(entry.chain)) leaving.push(entry);
    }
    this.#drain(leaving, true);
  }

  /** A listener that is gone. */
  remove(name: string): void {
    this.#drain(this.#of(name), true);
  }

  /** The process ends: nobody is left out. */
  everybody(): void {
    this.#drain([...this.#entries.values()], false);
  }

  none(): void {
    this.#asking = 'nobody';
  }

  /** Connections are asked to leave, those that come later too, but for listeners that drain only when they are changed. */
  all(inboundOnly: boolean): void {
    this.#asking = inboundOnly && this.#asking !== 'all' ? 'inbound' : 'all';
    this.#drain(
      [...this.#entries.values()].filter((e) => this.#isAsked(e.state)),
      false,
    );
  }

  #isAsked({ config }: ListenerState): boolean {
    if (config.drain_type === 'MODIFY_ONLY') return false;
    return this.#asking === 'all' || (this.#asking === 'inbound' && config.traffic_direction === 'INBOUND');
  }

  /** Everything ends now. */
  close(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    for (const connection of [...this.#entries.keys()]) connection.destroy();
  }

  #of(name: string): Entry[] {
    return [...this.#entries.values()].filter((e) => !e.leaving && (e.state.config.name ?? '') === name);
  }

  // Requests under way get a moment; nothing gets more.
  #distrust(entries: readonly Entry[]): void {
    const drain = {};
    const leaving = entries.filter((e) => e.peer !== undefined && e.chain.tls?.trusts(e.peer) === false);
    for (const entry of leaving) {
      entry.closedBy = drain;
      entry.connection.drain?.();
    }
    if (leaving.length > 0) this.#closeLater(drain, DISTRUSTED_CLOSE_MS);
  }

  // Timers hold no entries: who has left must not be kept until the drain time is over.
  #drain(entries: readonly Entry[], closeAtEnd: boolean): void {
    if (entries.length === 0) return;
    const drain = {};
    for (const entry of entries) {
      entry.leaving = true;
      if (closeAtEnd) entry.closedBy = drain;
    }
    if (this.#gradually) this.#askInTurn(entries, drain);
    else for (const entry of entries) entry.connection.drain?.();
    if (closeAtEnd) this.#closeLater(drain);
  }

  #closeLater(drain: object, ms = this.#drainTimeMs): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      for (const entry of [...this.#entries.values()]) if (entry.closedBy === drain) entry.connection.destroy();
    }, ms);
    timer.unref();
    this.#timers.add(timer);
  }

  // Each at a moment of its own, so that not all clients come back at once.
  #askInTurn(entries: readonly Entry[], drain: object): void {
    for (const entry of entries) {
      entry.askedBy = drain;
      entry.tick = Math.floor(this.#random() * TICKS);
    }
    let now = 0;
    const timer = setInterval(() => {
      for (const entry of [...this.#entries.values()]) if (entry.askedBy === drain && entry.tick === now) entry.connection.drain?.();
      if (++now < TICKS) return;
      clearInterval(timer);
      this.#timers.delete(timer);
    }, this.#drainTimeMs / TICKS);
    timer.unref();
    this.#timers.add(timer);
  }
}

/** The old version's chains that the new one has unchanged; none when more than chains has changed. */
const chainsKept = (before: ListenerState, next: ListenerState): ReadonlySet<ChainRuntime> => {
  if (aroundChains(before) !== aroundChains(next)) return new Set();
  const texts = new Set((next.config.filter_chains ?? []).map(stable));
  const kept = new Set(before.chains.filter((_, i) => texts.has(stable(before.config.filter_chains?.[i] ?? {}))));
  const { defaultChain, config } = before;
  const same = stable(config.default_filter_chain ?? {}) === stable(next.config.default_filter_chain ?? {});
  if (defaultChain !== undefined && same) kept.add(defaultChain);
  return kept;
};

const aroundChains = ({ config }: ListenerState): string =>
  stable({ ...config, filter_chains: undefined, default_filter_chain: undefined, filter_chain_matcher: undefined });
