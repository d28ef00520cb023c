// TLS towards clients: a server that takes connections whose first bytes were already read. Two of them, with and without ALPN,
// because a client whose protocols we do not share is to be served without one, as Envoy does, not refused.

import { constants } from 'node:crypto';
import type { Socket } from 'node:net';
import { createServer, type Server, type TLSSocket, type TlsOptions } from 'node:tls';
import { PlanError } from '../plan/plan-error.ts';
import type { TlsFacts } from '../plan/stream-info.ts';
import type { DownstreamTlsContext } from '../xds/gen/types.ts';
import { durationMs } from '../xds/well-known.ts';
import { TLS_HANDSHAKE_TIMEOUT_MS } from './limits.ts';
import type { SecretStore } from './secrets.ts';
import { type TimerWheel, WheelTimer } from './timer-wheel.ts';
import { TlsContext, type TlsMaterial } from './tls-context.ts';
import { spokenAlpn, tlsFacts } from './upstream-transport.ts';

export type HandshakeResult =
  | { readonly ok: true; readonly socket: TLSSocket; readonly facts: TlsFacts; readonly localUri: string }
  | { readonly ok: false; readonly reason: string };

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

  constructor(
    config: DownstreamTlsContext,
    secrets: SecretStore,
    wheel: TimerWheel,
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
    const timer = new WheelTimer({ onTimer: () => once({ ok: false, reason: 'TLS handshake timeout' }) }, 0);
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
      requestCert: this.#require || material.verifies,
      rejectUnauthorized: this.#require && material.verifies && !material.acceptUntrusted,
      ...(alpn.length > 0 ? { ALPNProtocols: [...alpn] } : {}),
    });
    server.on('secureConnection', (socket) => this.#secured(socket, material));
    server.on('tlsClientError', (error: Error, socket) => {
      socket.on('error', () => {});
      this.#find(socket)?.done({ ok: false, reason: `TLS_error:|${error.message.replace(/[\r\n]+/g, ' ').trim()}` });
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
    const facts = { ...tlsFacts(socket), local: material.local };
    // Not at once: Node 24 is still inside the handshake, and crashes when the socket under it goes away there.
    const refuse = (reason: string): void => {
      setImmediate(() => {
        handshake.done({ ok: false, reason });
        socket.destroy();
      });
    };
    if (facts.peer === undefined) {
      if (this.#require) {
        refuse('TLS_error: peer did not return a certificate');
        return;
      }
    } else {
      if (material.verifies && !material.acceptUntrusted && !socket.authorized) {
        refuse('TLS_error: CERTIFICATE_VERIFY_FAILED');
        return;
      }
      const { uriSans, dnsSans, ipSans, emailSans } = facts.peer;
      if (material.sanCheck !== undefined && !material.sanCheck({ uri: uriSans, dns: dnsSans, ip: ipSans, email: emailSans })) {
        refuse('TLS_error: CERTIFICATE_VERIFY_FAILED:verify SAN list');
        return;
      }
      if (material.pinCheck !== undefined && !material.pinCheck(socket.getPeerCertificate().raw)) {
        refuse('TLS_error: CERTIFICATE_VERIFY_FAILED:verify hash');
        return;
      }
    }
    handshake.done({ ok: true, socket, facts, localUri: material.localUri });
  }

  // Both runtimes keep the wrapped socket in `_parent` (not public API; held by the mTLS tests).
  #find(socket: TLSSocket): Handshake | undefined {
    const parent = (socket as unknown as { _parent?: object })._parent;
    return parent === undefined ? undefined : this.#handshakes.get(parent);
  }
}
