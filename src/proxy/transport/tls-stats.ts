// Envoy's counters of TLS under a listener's or a cluster's prefix: handshakes, and why there was none. Counted once a connection. Curves
// and signature algorithms only where the runtime knows them: it tells a client its curve (Bun not the post-quantum one) and a server none;
// what a peer signed with follows from its key in TLS 1.3, for keys on curves.

import type { TLSSocket } from 'node:tls';
import type { TlsFacts } from '../../plan/stream-info.ts';
import type { Stat, StatsStore } from '../stats-store.ts';
import { PeerCertificateFacts } from './peer-certificate.ts';
import type { TlsFault } from './transport-failure.ts';

/** As Envoy's library calls what the runtimes' call otherwise. */
const CURVES: ReadonlyMap<string, string> = new Map([
  ['prime256v1', 'P-256'],
  ['secp384r1', 'P-384'],
  ['secp521r1', 'P-521'],
]);
/** What a key of a curve signs with in TLS 1.3, which leaves no choice. */
const SIGNATURES: ReadonlyMap<string, string> = new Map([
  ['prime256v1', 'ecdsa_secp256r1_sha256'],
  ['secp384r1', 'ecdsa_secp384r1_sha384'],
  ['secp521r1', 'ecdsa_secp521r1_sha512'],
]);

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

  /** `curve`: as the runtime calls it; '' when it does not say. */
  established(facts: TlsFacts, reused: boolean, curve = ''): void {
    this.#handshake.value++;
    if (reused) this.#sessionReused.value++;
    const { peer } = facts;
    if (peer === undefined) this.#noCertificate.value++;
    const signature = facts.version === 'TLSv1.3' && peer instanceof PeerCertificateFacts ? SIGNATURES.get(peer.curve) : undefined;
    if (signature !== undefined) this.#stats.counter(`${this.#prefix}sigalgs.${signature}`).value++;
    if (curve !== '') this.#stats.counter(`${this.#prefix}curves.${CURVES.get(curve) ?? curve}`).value++;
    this.#stats.counter(`${this.#prefix}versions.${facts.version}`).value++;
    this.#stats.counter(`${this.#prefix}ciphers.${facts.cipher}`).value++;
  }
}

/** Of a client's connection. */
export const curveOf = (socket: TLSSocket): string => {
  const { name } = (socket.getEphemeralKeyInfo() ?? {}) as { readonly name?: unknown };
  return typeof name === 'string' ? name : '';
};
