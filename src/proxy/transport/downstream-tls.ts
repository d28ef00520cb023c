// TLS towards clients: a server that takes connections whose first bytes were already read. Two of them, with and without ALPN,
// because a client whose protocols we do not share is to be served without one, as Envoy does, not refused.

import { constants } from 'node:crypto';
import type { Socket } from 'node:net';
import { createServer, type Server, type TLSSocket, type TlsOptions } from 'node:tls';
import { PlanError } from '../../plan/plan-error.ts';
import type { CertificateFacts, TlsFacts } from '../../plan/stream-info.ts';
import type { DownstreamTlsContext } from '../../xds/gen/types.ts';
import { durationMs } from '../../xds/well-known.ts';
import { TLS_HANDSHAKE_TIMEOUT_MS } from '../limits.ts';
import type { StatsStore } from '../stats-store.ts';
import { type TimerWheel, WheelTimer } from '../timer-wheel.ts';
import type { SecretStore } from './secrets.ts';
import { TlsContext, type TlsMaterial } from './tls-context.ts';
import { TlsStats } from './tls-stats.ts';
import { chainFault, HASH_FAULT, handshakeFault, NO_CERTIFICATE, namesFault, spiffeFault, type TlsFault } from './transport-failure.ts';
import { spokenAlpn, tlsFacts } from './upstream-transport.ts';

export type HandshakeResult =
  | { readonly ok: true; readonly socket: TLSSocket; readonly facts: TlsFacts; readonly localUri: string }
  | { readonly ok: false; readonly reason: string; readonly late?: true };

interface Handshake {
  readonly raw: Socket;
  readonly material: TlsMaterial;
  readonly timer: WheelTimer;
  done(result: HandshakeResult): void;
}

export class DownstreamTls {
  readonly #context: TlsContext;
  readonly #wheel: TimerWheel;
  readonly #require: boolean;
  readonly #requireSni: boolean;
  readonly #alpn: readonly string[];
  readonly #handshakes = new WeakMap<object, Handshake>();
  readonly #timeoutMs: number;
  readonly #session: TlsOptions;
  #material: TlsMaterial | undefined;
  #withAlpn: Server | undefined;
  #plain: Server | undefined;
  readonly #stats: TlsStats;
  /** Called when connections are open whose peers may no longer be trusted: `trusts` tells. Set by who knows them. */
  onDistrust: (() => void) | undefined;

  /** `statPrefix`: of the listener. */
  constructor(
    config: DownstreamTlsContext,
    secrets: SecretStore,
    wheel: TimerWheel,
    stats: StatsStore,
    statPrefix: string,
    path: string,
    timeoutMs: number,
    changed: () => void,
    exchangesPeers: boolean,
  ) {
    if (config.session_ticket_keys !== undefined || config.session_ticket_keys_sds_secret_config !== undefined)
      throw new PlanError(`${path}.session_ticket_keys`, 'not supported');
    // A staple is never there, which only this policy minds.
    if (config.ocsp_staple_policy === 'MUST_STAPLE' || config.ocsp_staple_policy === 2)
      throw new PlanError(`${path}.ocsp_staple_policy`, 'MUST_STAPLE is not supported');
    if (config.full_scan_certs_on_sni_mismatch === true)
      throw new PlanError(`${path}.full_scan_certs_on_sni_mismatch`, 'certificates are not chosen by name');
    // Sessions live in tickets alone: there is no other resumption to switch off.
    this.#session = {
      ...(config.disable_stateless_session_resumption === true ? { secureOptions: constants.SSL_OP_NO_TICKET } : {}),
      ...(config.session_timeout !== undefined
        ? { sessionTimeout: Math.max(1, Math.round(durationMs(config.session_timeout) / 1000)) }
        : {}),
      ...(config.prefer_client_ciphers === true ? { honorCipherOrder: false } : {}),
    };
    this.#context = new TlsContext(config.common_tls_context, secrets, path);
    this.#context.onMaterial = changed;
    this.#context.onDistrust = () => this.onDistrust?.();
    this.#stats = new TlsStats(stats, statPrefix);
    this.#wheel = wheel;
    this.#require = config.require_client_certificate ?? false;
    this.#requireSni = config.require_sni ?? false;
    this.#alpn = spokenAlpn(this.#context.alpn, exchangesPeers);
    this.#timeoutMs = timeoutMs > 0 ? timeoutMs : TLS_HANDSHAKE_TIMEOUT_MS;
  }

  get warm(): boolean {
    return this.#context.warm;
  }

  /** What the client offers decides something before its handshake. */
  get readsHello(): boolean {
    return this.#requireSni || this.#alpn.length > 0;
  }

  /** Whether a client that was accepted once would be now. */
  trusts(peer: CertificateFacts): boolean {
    return this.#context.trusts(peer);
  }

  close(): void {
    this.#context.close();
  }

  /** Takes over `raw`, whose only listener left is for errors. `first`: bytes read from it. `done` is called once. */
  accept(raw: Socket, first: Buffer | undefined, offered: readonly string[], sni: string, done: (result: HandshakeResult) => void): void {
    const material = this.#context.material;
    if (material === undefined) {
      done({ ok: false, reason: 'TLS_error: secret is not supplied by SDS' });
      return;
    }
    if (this.#requireSni && sni === '') {
      done({ ok: false, reason: 'TLS_error: no SNI' });
      return;
    }
    if (material !== this.#material) this.#renew(material);
    const server = this.#alpn.some((protocol) => offered.includes(protocol)) ? this.#withAlpn : this.#plain;
    const gone = (): void => once({ ok: false, reason: 'connection closed during TLS handshake' });
    let over = false;
    const once = (result: HandshakeResult): void => {
      if (over) return;
      over = true;
      this.#wheel.drop(timer);
      raw.off('close', gone);
      this.#handshakes.delete(raw);
      done(result);
    };
    const timer = new WheelTimer({ onTimer: () => once({ ok: false, reason: '', late: true }) }, 0);
    this.#wheel.arm(timer, this.#timeoutMs);
    raw.on('close', gone);
    this.#handshakes.set(raw, { raw, material, timer, done: once });
    raw.pause();
    if (first !== undefined && first.length > 0) raw.unshift(first);
    server?.emit('connection', raw);
  }

  #renew(material: TlsMaterial): void {
    this.#material = material;
    this.#withAlpn = this.#alpn.length > 0 ? this.#server(material, this.#alpn) : undefined;
    this.#plain = this.#server(material, []);
  }

  #server(material: TlsMaterial, alpn: readonly string[]): Server {
    const server = createServer({
      ...material.options,
      ...this.#session,
      // A ticket keeps the certificate without those above it, and its client has it before it is known which root those lead to.
      ...(material.spiffe === undefined ? {} : { secureOptions: constants.SSL_OP_NO_TICKET }),
      requestCert: this.#require || material.verifies,
      rejectUnauthorized:
        REFUSES_IN_HANDSHAKE && (this.#require || material.spiffe !== undefined) && material.verifies && !material.acceptUntrusted,
      ...(alpn.length > 0 ? { ALPNProtocols: [...alpn] } : {}),
    });
    server.on('secureConnection', (socket) => this.#secured(socket, material));
    server.on('tlsClientError', (error: Error, socket) => {
      socket.on('error', () => {});
      this.#refused(this.#find(socket), handshakeFault(error));
      socket.destroy();
    });
    return server;
  }

  #secured(socket: TLSSocket, material: TlsMaterial): void {
    socket.on('error', () => {});
    const handshake = this.#find(socket);
    if (handshake === undefined) {
      socket.destroy();
      return;
    }
    const facts = { ...tlsFacts(socket, undefined, material.spiffe !== undefined), local: material.local };
    // Not at once: Node 24 is still inside the handshake, and crashes when the socket under it goes away there.
    const fault = this.#fault(socket, facts.peer, material);
    if (fault !== undefined) {
      setImmediate(() => {
        this.#refused(handshake, fault);
        socket.destroy();
      });
      return;
    }
    this.#stats.established(facts, socket.isSessionReused());
    handshake.done({ ok: true, socket, facts, localUri: material.localUri });
  }

  #fault(socket: TLSSocket, peer: CertificateFacts | undefined, material: TlsMaterial): TlsFault | undefined {
    if (peer === undefined) return this.#require || material.spiffe !== undefined ? NO_CERTIFICATE : undefined;
    if (material.verifies && !material.acceptUntrusted) {
      if (!socket.authorized) return chainFault(faultCode(socket));
      // What a session was begun with is not verified again; its end is looked at.
      if (socket.isSessionReused() && !(peer.notAfter > Date.now())) return chainFault('CERT_HAS_EXPIRED');
    }
    const strange = material.spiffe?.fault(peer, material.issuers);
    if (strange !== undefined) return spiffeFault(strange);
    const { uriSans: uri, dnsSans: dns, ipSans: ip, emailSans: email } = peer;
    if (material.sanCheck?.({ uri, dns, ip, email }) === false) return namesFault([...dns, ...uri, ...email, ...ip]);
    if (material.pinCheck?.(socket.getPeerCertificate().raw) === false) return HASH_FAULT;
    return undefined;
  }

  #refused(handshake: Handshake | undefined, { kind, reason }: TlsFault): void {
    if (handshake === undefined) return;
    // A client that leaves is no error, as with Envoy.
    if (kind !== 'connection' || reason.startsWith('TLS_error')) this.#stats.refused(kind);
    handshake.done({ ok: false, reason });
  }

  // Both runtimes keep the wrapped socket in `_parent` (not public API; held by the mTLS tests).
  #find(socket: TLSSocket): Handshake | undefined {
    const parent = (socket as unknown as { _parent?: object })._parent;
    return parent === undefined ? undefined : this.#handshakes.get(parent);
  }
}

/** Node closes without a word on why; its verdict is read behind the handshake. Bun says why, and tells a client without a certificate so. */
const REFUSES_IN_HANDSHAKE = process.versions['bun'] !== undefined;

/** Typed as an error, a code in fact. */
const faultCode = (socket: TLSSocket): string => {
  const fault: unknown = socket.authorizationError;
  return typeof fault === 'string' ? fault : fault instanceof Error && 'code' in fault ? String(fault.code) : '';
};
