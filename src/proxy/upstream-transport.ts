// How connections to a host are made: plain or TLS, with the checks of the server's identity. Compiled per cluster and per
// transport_socket_matches entry; one transport serves every connection.

import { connect as connectTcp, isIP, Socket } from 'node:net';
import { connect as connectTls, type PeerCertificate, type TLSSocket } from 'node:tls';
import { PlanError } from '../plan/plan-error.ts';
import type { CertificateFacts, TlsFacts } from '../plan/stream-info.ts';
import type { TransportSocket, UpstreamTlsContext } from '../xds/gen/types.ts';
import { configAs, typeNameOf } from './extension-config.ts';
import { TLS_SESSIONS_MAX } from './limits.ts';
import { PeerCertificateFacts, parseSans } from './peer-certificate.ts';
import { coversDnsName } from './san-match.ts';
import type { SecretStore } from './secrets.ts';
import { TlsContext } from './tls-context.ts';

/** What one request may change about the connection it rides on. Equal `key`s share connections. */
export interface TransportVariant {
  readonly key: string;
  readonly alpn: readonly string[] | undefined;
  readonly sni: string | undefined;
  /** The certificate must cover this name (auto_san_validation). */
  readonly serverName: string | undefined;
}
export const PLAIN_VARIANT: TransportVariant = { key: '', alpn: undefined, sni: undefined, serverName: undefined };

export interface UpstreamTransport {
  readonly kind: 'raw' | 'tls';
  readonly warm: boolean;
  /** The SNI of the configuration, '' when none. */
  readonly sni: string;
  /** Throws nothing: failures come as 'error' events of the socket. */
  connect(ip: string, port: number, localAddress: string | undefined, variant: TransportVariant): Socket;
  /** Facts of a connection that `connect` made, after its handshake; undefined on plain text. */
  facts(socket: Socket): TlsFacts | undefined;
  close(): void;
}

class RawTransport implements UpstreamTransport {
  readonly kind = 'raw';
  readonly warm = true;
  readonly sni = '';
  connect(ip: string, port: number, localAddress: string | undefined): Socket {
    if (ip.startsWith('/')) return connectTcp({ path: ip, allowHalfOpen: true });
    return connectTcp({ host: ip, port, noDelay: true, allowHalfOpen: true, ...from(localAddress, ip) });
  }
  facts(): undefined {
    return undefined;
  }
  close(): void {}
}
export const rawTransport: UpstreamTransport = new RawTransport();

/** ALPN protocols this sidecar cannot speak yet are not offered. */
const UNSPOKEN: ReadonlySet<string> = new Set(['h2', 'istio-h2', 'istio-peer-exchange', 'h3']);
export const spokenAlpn = (protocols: readonly string[]): string[] => protocols.filter((p) => !UNSPOKEN.has(p));

class TlsTransport implements UpstreamTransport {
  readonly kind = 'tls';
  readonly sni: string;
  readonly #context: TlsContext;
  /** Keyed by address, SNI, ALPN and generation: a resumed session shows no certificate, so it must have been checked before. */
  readonly #sessions = new Map<string, Buffer>();
  /** Peers by the same key: a resumed session does not show its certificate again. */
  readonly #peers = new Map<string, CertificateFacts>();
  readonly #keys = new WeakMap<Socket, string>();
  readonly #alpn: string[];
  #sessionsOf = 0;

  constructor(config: UpstreamTlsContext, secrets: SecretStore, path: string, changed: () => void) {
    if (config.allow_renegotiation === true) throw new PlanError(`${path}.allow_renegotiation`, 'not supported');
    this.sni = config.sni ?? '';
    this.#context = new TlsContext(config.common_tls_context, secrets, path, 'upstream');
    this.#context.onMaterial = changed;
    this.#alpn = spokenAlpn(this.#context.alpn);
  }

  get warm(): boolean {
    return this.#context.warm;
  }

  connect(ip: string, port: number, localAddress: string | undefined, variant: TransportVariant): Socket {
    const material = this.#context.material;
    const sni = variant.sni ?? this.sni;
    const alpn = variant.alpn === undefined ? this.#alpn : spokenAlpn(variant.alpn);
    if (this.#sessionsOf !== material?.generation) {
      this.#sessions.clear();
      this.#peers.clear();
      this.#sessionsOf = material?.generation ?? 0;
    }
    const key = `${ip}|${port}|${sni}|${variant.serverName ?? ''}|${alpn.join()}`;
    const session = this.#sessions.get(key);
    const checkName = (certificate: PeerCertificate): Error | undefined => {
      const sans = parseSans(certificate.subjectaltname);
      if (material?.sanCheck !== undefined && !material.sanCheck(sans)) return new Error('SAN matcher');
      const name = variant.serverName;
      if (name !== undefined && !sans.dns.some((dns) => coversDnsName(dns, name)) && !sans.ip.includes(name))
        return new Error('SAN matcher');
      return undefined;
    };
    // Without its secrets there is nothing to check a peer against: no connection rather than an unchecked one.
    if (material === undefined) {
      const none = new Socket();
      process.nextTick(() => none.destroy(new Error('TLS secret is not supplied by SDS')));
      return none;
    }
    // A session is kept only of a peer whose names were checked: a resumed one is not checked again.
    let checked = session !== undefined || !material.verifies;
    const socket: TLSSocket = connectTls({
      host: ip,
      port,
      ...from(localAddress, ip),
      secureContext: material.secureContext,
      ...(sni !== '' && !isIp(sni) ? { servername: sni } : {}),
      ...(alpn.length > 0 ? { ALPNProtocols: alpn } : {}),
      ...(session !== undefined ? { session } : {}),
      rejectUnauthorized: material.verifies && !material.acceptUntrusted,
      checkServerIdentity: (_host, certificate) => {
        const fault = checkName(certificate);
        checked = fault === undefined;
        return fault;
      },
    });
    this.#keys.set(socket, key);
    socket.setNoDelay(true);
    socket.allowHalfOpen = true;
    socket.on('session', (fresh: Buffer) => {
      if (!checked || socket.destroyed || this.#sessionsOf !== material.generation) return;
      if (this.#sessions.size >= TLS_SESSIONS_MAX) this.#sessions.clear();
      this.#sessions.set(key, fresh);
    });
    return socket;
  }

  facts(socket: Socket): TlsFacts {
    const facts = { ...tlsFacts(socket as TLSSocket), local: this.#context.material?.local };
    const key = this.#keys.get(socket) ?? '';
    if (facts.peer === undefined) return { ...facts, peer: this.#peers.get(key) };
    if (this.#peers.size >= TLS_SESSIONS_MAX) this.#peers.clear();
    this.#peers.set(key, facts.peer);
    return facts;
  }

  close(): void {
    this.#context.close();
  }
}

// A source address of the other family cannot be bound; the kernel chooses then.
const from = (localAddress: string | undefined, ip: string): { localAddress?: string } =>
  localAddress !== undefined && isIP(localAddress) === isIP(ip) ? { localAddress } : {};

const isIp = (text: string): boolean => text.includes(':') || /^[\d.]+$/.test(text);

export const compileUpstreamTransport = (
  socket: TransportSocket | undefined,
  secrets: SecretStore,
  path: string,
  changed: () => void,
): UpstreamTransport => {
  const type = typeNameOf(socket?.typed_config);
  if (socket === undefined || type === 'envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer') return rawTransport;
  if (type === '' && socket.name === 'envoy.transport_sockets.raw_buffer') return rawTransport;
  if (type === 'envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext')
    return new TlsTransport(
      configAs<UpstreamTlsContext>(socket.typed_config, `${path}.typed_config`),
      secrets,
      `${path}.typed_config`,
      changed,
    );
  throw new PlanError(path, `transport socket ${socket.name ?? ''} (${type}) is not supported`);
};

/** Facts of a finished handshake. */
export const tlsFacts = (socket: TLSSocket): TlsFacts => {
  const certificate = socket.getPeerCertificate();
  const peer = certificate !== undefined && certificate.raw !== undefined ? new PeerCertificateFacts(certificate) : undefined;
  const alpn = socket.alpnProtocol;
  return {
    version: socket.getProtocol() ?? '',
    cipher: socket.getCipher()?.name ?? '',
    sessionId: '',
    peer,
    local: undefined,
    validated: socket.authorized,
    ...(typeof alpn === 'string' && alpn !== '' ? { alpn } : {}),
  };
};
