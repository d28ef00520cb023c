// When a client that says nothing may be waiting for the server to speak: who has been silent long enough, and what is remembered
// of the ports they call. No timer per connection: all that came within one millisecond are looked at together.

import type { Clock } from './clock.ts';
import { PORTS_LEARNED_MAX, SILENCE_KNOWN_MS, SILENCE_MS } from './limits.ts';
import type { Stat, StatsStore } from './stats-store.ts';
import { type TimerWheel, WheelTimer } from './timer-wheel.ts';

export interface SilentConnection {
  /** Nothing was read so far. Called at most once, unless something was read. */
  onSilence(): void;
}

type Learned = 'server' | 'client';

export class ServerFirst {
  readonly #clock: Clock;
  readonly #wheel: TimerWheel;
  readonly #ports = new Map<string, Learned>();
  #fresh: SilentConnection[] = [];
  #waiting: SilentConnection[] = [];
  #ticking = false;
  readonly #known: Stat;
  /** Server sides dialled for silent clients. */
  readonly dialled: Stat;
  /** Servers that spoke first. */
  readonly serverSpoke: Stat;
  /** Clients that spoke first after all. */
  readonly clientSpoke: Stat;
  /** Servers that spoke HTTP to a silent client: not taken for an answer. */
  readonly httpGreeting: Stat;

  constructor(clock: Clock, wheel: TimerWheel, stats: StatsStore) {
    this.#clock = clock;
    this.#wheel = wheel;
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
    if (this.#ports.get(port) === 'client') {
      this.#wheel.arm(new WheelTimer({ onTimer: () => connection.onSilence() }, 0), SILENCE_KNOWN_MS);
      return;
    }
    this.#fresh.push(connection);
    if (this.#ticking) return;
    this.#ticking = true;
    this.#clock.after(SILENCE_MS, this.#tick);
  }

  learn(port: string, speaker: Learned): void {
    const before = this.#ports.get(port);
    if (before === speaker) return;
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

  // Two turns: whoever came just before one has its whole millisecond.
  readonly #tick = (): void => {
    const silent = this.#waiting;
    this.#waiting = this.#fresh;
    this.#fresh = [];
    this.#ticking = this.#waiting.length > 0;
    if (this.#ticking) this.#clock.after(SILENCE_MS, this.#tick);
    for (const connection of silent) connection.onSilence();
  };
}
