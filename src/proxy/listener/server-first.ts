// When a client that says nothing may be waiting for the server to speak: who has been silent long enough, and what is remembered
// of the ports they call. No timer per connection: all that came within one period are looked at together.

import type { Clock } from '../clock.ts';
import { PORTS_LEARNED_MAX, SILENCE_KNOWN_MS, SILENCE_MS } from '../limits.ts';
import type { Stat, StatsStore } from '../stats-store.ts';

export interface SilentConnection {
  /** Nothing was read so far. Called at most once, unless something was read. */
  onSilence(): void;
}

/** 'tls': clients begin TLS that is ended here. Nothing unlearns it: a greeting in a handshake's place would break the connection. */
type Learned = 'server' | 'client' | 'tls';

/** Looks at each after one to two periods. */
class Batch {
  readonly #clock: Clock;
  readonly #periodMs: number;
  #fresh: SilentConnection[] = [];
  #waiting: SilentConnection[] = [];
  #ticking = false;

  constructor(clock: Clock, periodMs: number) {
    this.#clock = clock;
    this.#periodMs = periodMs;
  }

  add(connection: SilentConnection): void {
    this.#fresh.push(connection);
    if (this.#ticking) return;
    this.#ticking = true;
    this.#clock.after(this.#periodMs, this.#tick);
  }

  // Two turns: whoever came just before one has its whole period.
  readonly #tick = (): void => {
    const silent = this.#waiting;
    this.#waiting = this.#fresh;
    this.#fresh = [];
    this.#ticking = this.#waiting.length > 0;
    if (this.#ticking) this.#clock.after(this.#periodMs, this.#tick);
    for (const connection of silent) connection.onSilence();
  };
}

export class ServerFirst {
  readonly #ports = new Map<string, Learned>();
  readonly #soon: Batch;
  readonly #later: Batch;
  readonly #known: Stat;
  /** Server sides dialled for silent clients. */
  readonly dialled: Stat;
  /** Servers that spoke first. */
  readonly serverSpoke: Stat;
  /** Clients that spoke first after all. */
  readonly clientSpoke: Stat;
  /** Servers that spoke HTTP to a silent client: not taken for an answer. */
  readonly httpGreeting: Stat;

  constructor(clock: Clock, stats: StatsStore) {
    this.#soon = new Batch(clock, SILENCE_MS);
    this.#later = new Batch(clock, SILENCE_KNOWN_MS);
    this.dialled = stats.counter('server_first.dialled');
    this.serverSpoke = stats.counter('server_first.server_spoke');
    this.clientSpoke = stats.counter('server_first.client_spoke');
    this.httpGreeting = stats.counter('server_first.http_greeting');
    this.#known = stats.gauge('server_first.ports_server_first');
  }

  /** True: its servers have spoken first before; nobody needs to wait. */
  knows(port: string): boolean {
    return this.#ports.get(port) === 'server';
  }

  /** Will look whether anything was read in time. Where clients are known to speak first it looks later. */
  watch(connection: SilentConnection, port: string): void {
    const known = this.#ports.get(port);
    (known === undefined || known === 'server' ? this.#soon : this.#later).add(connection);
  }

  learn(port: string, speaker: Learned): void {
    const before = this.#ports.get(port);
    if (before === speaker || before === 'tls') return;
    if (before === undefined && this.#ports.size >= PORTS_LEARNED_MAX) {
      for (const oldest of this.#ports.keys()) {
        this.#forget(oldest);
        break;
      }
    }
    this.#forget(port);
    this.#ports.set(port, speaker);
    if (speaker === 'server') this.#known.value++;
  }

  #forget(port: string): void {
    if (this.#ports.get(port) === 'server') this.#known.value--;
    this.#ports.delete(port);
  }
}
