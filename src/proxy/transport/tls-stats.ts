// Envoy's counters of TLS under a listener's or a cluster's prefix: handshakes, and why there was none. Counted once a connection.

import type { TlsFacts } from '../../plan/stream-info.ts';
import type { Stat, StatsStore } from '../stats-store.ts';
import type { TlsFault } from './transport-failure.ts';

export class TlsStats {
  readonly #stats: StatsStore;
  readonly #prefix: string;
  readonly #handshake: Stat;
  readonly #sessionReused: Stat;
  readonly #noCertificate: Stat;
  readonly #faults: { readonly [kind in TlsFault['kind']]: Stat };

  /** `prefix`: of the listener or the cluster. */
  constructor(stats: StatsStore, prefix: string) {
    this.#stats = stats;
    this.#prefix = `${prefix}ssl.`;
    const of = (name: string): Stat => stats.counter(this.#prefix + name);
    this.#handshake = of('handshake');
    this.#sessionReused = of('session_reused');
    this.#noCertificate = of('no_certificate');
    this.#faults = {
      connection: of('connection_error'),
      'no certificate': of('fail_verify_no_cert'),
      chain: of('fail_verify_error'),
      names: of('fail_verify_san'),
      hash: of('fail_verify_cert_hash'),
    };
  }

  refused(kind: TlsFault['kind']): void {
    this.#faults[kind].value++;
  }

  established(facts: TlsFacts, reused: boolean): void {
    this.#handshake.value++;
    if (reused) this.#sessionReused.value++;
    if (facts.peer === undefined) this.#noCertificate.value++;
    this.#stats.counter(`${this.#prefix}versions.${facts.version}`).value++;
    this.#stats.counter(`${this.#prefix}ciphers.${facts.cipher}`).value++;
  }
}
