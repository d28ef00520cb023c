// How connections to a host are made: plain or TLS, with the checks of the server's identity. Compiled per cluster and per
// transport_socket_matches entry; one transport serves every connection.

import type { X509Certificate } from 'node:crypto';
import { connect as connectTcp, isIP, Socket } from 'node:net';
import { connect as connectTls, type DetailedPeerCertificate, type PeerCertificate, TLSSocket } from 'node:tls';
import { PlanError } from '../../plan/plan-error.ts';
import type { CertificateFacts, TlsFacts } from '../../plan/stream-info.ts';
import type { ProxyAddresses, ProxyTlv } from '../../wire/proxy-protocol.ts';
import type { ProxyProtocolUpstreamTransport, TransportSocket, UpstreamTlsContext } from '../../xds/gen/types.ts';
import type { UpstreamProtocol } from '../cluster/cluster-protocol.ts';
import { configAs, typeNameOf } from '../extension-config.ts';
import { CERTIFICATES_SEEN_MAX, DISTRUSTED_CLOSE_MS, TLS_SESSIONS_MAX } from '../limits.ts';
import { clientContext } from './client-contexts.ts';
import { chainOf, PeerCertificateFacts, parseSans } from './peer-certificate.ts';
import { PEER_EXCHANGE_ALPN } from './peer-exchange.ts';
import { coversDnsName } from './san-match.ts';
import type { SecretStore } from './secrets.ts';
import { TlsContext } from './tls-context.ts';
import { curveOf, type TlsStats } from './tls-stats.ts';
import { HASH_MISMATCH, handshakeFault, nameMismatch } from './transport-failure.ts';
import { ProxyProtocolTransport } from './upstream-proxy-protocol.ts';

/** What one request may change about the connection it rides on. Equal `key`s share connections. */
export interface TransportVariant {
  readonly key: string;
  /** What is spoken on it; 'auto': what the handshake chooses. */
  readonly protocol: UpstreamProtocol | 'tcp';
  readonly alpn: readonly string[] | undefined;
  readonly sni: string | undefined;
  /** The certificate must cover this name (auto_san_validation). */
  readonly serverName: string | undefined;
  /** Of the host, where its name may become the SNI. */
  readonly hostname?: string;
  /** Who connects can exchange peer metadata on it. */
  readonly exchangesPeers?: boolean;
  /** Whom the connection is for, where the transport tells its peer (PROXY protocol). */
  readonly client?: ProxiedClient;
}

export interface ProxiedClient {
  readonly addresses: ProxyAddresses;
  readonly tlvs: readonly ProxyTlv[];
}
export const PLAIN_VARIANT: TransportVariant = {
  key: '',
  protocol: 'http1',
  alpn: undefined,
  sni: undefined,
  serverName: undefined,
};

export interface UpstreamTransport {
  readonly kind: 'raw' | 'tls';
  readonly warm: boolean;
  /** The SNI of the configuration, '' when none. */
  readonly sni: string;
  /** Connections differ by the client they are for. */
  readonly tellsClient: boolean;
  /** Throws nothing: failures come as 'error' events of the socket. `preamble` goes before everything else, also before TLS. */
  connect(ip: string, port: number, localAddress: string | undefined, variant: TransportVariant, preamble?: Buffer): Socket;
  /** Facts of a connection that `connect` made, after its handshake; undefined on plain text. */
  facts(socket: Socket): TlsFacts | undefined;
  close(): void;
}

class RawTransport implements UpstreamTransport {
  readonly kind = 'raw';
  readonly warm = true;
  readonly sni = '';
  readonly tellsClient = false;
  connect(ip: string, port: number, localAddress: string | undefined, _variant: TransportVariant, preamble?: Buffer): Socket {
    const socket = ip.startsWith('/')
      ? connectTcp({ path: ip, allowHalfOpen: true })
      : connectTcp({ host: ip, port, noDelay: true, allowHalfOpen: true, ...from(localAddress, ip) });
    if (preamble !== undefined) socket.write(preamble);
    return socket;
  }
  facts(): undefined {
    return undefined;
  }
  close(): void {}
}
export const rawTransport: UpstreamTransport = new RawTransport();

/** ALPN protocols this sidecar cannot speak are not offered. */
const UNSPOKEN: ReadonlySet<string> = new Set(['istio-peer-exchange', 'h3']);
export const spokenAlpn = (protocols: readonly string[], exchangesPeers = false): string[] =>
  protocols.filter((p) => !UNSPOKEN.has(p) || (exchangesPeers && p === PEER_EXCHANGE_ALPN));

const HTTP2_ALPN: ReadonlySet<string> = new Set(['h2', 'istio-h2']);
const HTTP2_ONLY = ['h2'];
const EITHER = ['h2', 'http/1.1'];

/** Of a configured list, what fits the protocol that will be spoken; Envoy's own where HTTP/2 is and nothing is configured. */
const alpnFor = (protocol: TransportVariant['protocol'], configured: string[]): string[] => {
  if (protocol === 'http1') return configured.some((p) => HTTP2_ALPN.has(p)) ? configured.filter((p) => !HTTP2_ALPN.has(p)) : configured;
  return configured.length > 0 || protocol === 'tcp' ? configured : protocol === 'http2' ? HTTP2_ONLY : EITHER;
};

/** What a transport tells its cluster. */
export interface TransportOwner {
  /** It may have become warm. */
  changed(): void;
  /** A server that was trusted may no longer be: its connections are closed soon, and none is to be used for new requests. */
  distrusted(): void;
  readonly tlsStats: TlsStats;
}

class TlsTransport implements UpstreamTransport {
  readonly kind = 'tls';
  readonly tellsClient = false;
  readonly sni: string;
  readonly #context: TlsContext;
  /** Keyed by address, SNI, ALPN and generation: a resumed session shows no certificate, so it must have been checked before. */
  readonly #sessions = new Map<string, Buffer>();
  /** Peers by the same key: a resumed session does not show its certificate again. */
  readonly #peers = new Map<string, CertificateFacts>();
  readonly #keys = new WeakMap<Socket, string>();
  readonly #alpn: string[];
  readonly #alpnOfPeers: string[];
  readonly #sessionsMax: number;
  /** The SNI is the host's name. */
  readonly #hostSni: boolean;
  /** The certificate must cover the SNI. */
  readonly #sanFromSni: boolean;
  #sessionsOf = 0;
  readonly #owner: TransportOwner;
  /** Connections, and whom the handshake showed at their other end. */
  readonly #open = new Map<Socket, TlsFacts | undefined>();

  constructor(config: UpstreamTlsContext, secrets: SecretStore, path: string, owner: TransportOwner) {
    for (const field of ['allow_renegotiation', 'enforce_rsa_key_usage'] as const)
      if (config[field] === true) throw new PlanError(`${path}.${field}`, 'not supported');
    this.#sessionsMax = Math.min(config.max_session_keys ?? TLS_SESSIONS_MAX, TLS_SESSIONS_MAX);
    this.#hostSni = config.auto_host_sni === true;
    this.#sanFromSni = config.auto_sni_san_validation === true;
    this.sni = config.sni ?? '';
    this.#context = new TlsContext(config.common_tls_context, secrets, path, clientContext);
    this.#owner = owner;
    this.#context.onMaterial = () => owner.changed();
    this.#context.onDistrust = () => this.#distrust();
    this.#alpn = spokenAlpn(this.#context.alpn);
    this.#alpnOfPeers = spokenAlpn(this.#context.alpn, true);
  }

  get warm(): boolean {
    return this.#context.warm;
  }

  connect(ip: string, port: number, localAddress: string | undefined, variant: TransportVariant, preamble?: Buffer): Socket {
    const material = this.#context.material;
    const named = this.#hostSni ? variant.hostname : undefined;
    const sni = variant.sni ?? (named === undefined || named === '' ? this.sni : named);
    const mustCover = variant.serverName ?? (this.#sanFromSni && sni !== '' ? sni : undefined);
    const alpn = alpnFor(
      variant.protocol,
      variant.alpn !== undefined ? spokenAlpn(variant.alpn) : variant.exchangesPeers === true ? this.#alpnOfPeers : this.#alpn,
    );
    if (this.#sessionsOf !== material?.generation) {
      this.#sessions.clear();
      this.#peers.clear();
      this.#sessionsOf = material?.generation ?? 0;
    }
    const key = `${ip}|${port}|${sni}|${mustCover ?? ''}|${alpn.join()}`;
    const session = this.#session(key);
    const checkName = (certificate: PeerCertificate): Error | undefined => {
      const sans = parseSans(certificate.subjectaltname);
      const strange = material?.spiffe?.faultOf([...chainOf(certificate), ...material.issuers], sans);
      if (strange !== undefined) return Object.assign(new Error(strange), { code: strange });
      if (material?.sanCheck !== undefined && !material.sanCheck(sans)) return nameMismatch(everyName(sans));
      if (mustCover !== undefined && !sans.dns.some((dns) => coversDnsName(dns, mustCover)) && !sans.ip.includes(mustCover))
        return nameMismatch(everyName(sans));
      if (material?.pinCheck !== undefined && !material.pinCheck(certificate.raw)) return new Error(HASH_MISMATCH);
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
      ...(preamble === undefined
        ? { host: ip, port, ...from(localAddress, ip) }
        : { socket: rawTransport.connect(ip, port, localAddress, variant, preamble) }),
      secureContext: material.secureContext,
      ...(sni !== '' && !isIp(sni) ? { servername: sni } : {}),
      ...(alpn.length > 0 ? { ALPNProtocols: alpn } : {}),
      ...(session !== undefined ? { session } : {}),
      // The context has them; a default here would be parsed for each connection.
      ciphers: '',
      rejectUnauthorized: material.verifies && !material.acceptUntrusted,
      checkServerIdentity: (_host, certificate) => {
        const fault = checkName(certificate);
        checked = fault === undefined;
        return fault;
      },
    });
    this.#keys.set(socket, key);
    if (session !== undefined) socket.getPeerCertificate = unlessResumed;
    socket.setNoDelay(true);
    socket.allowHalfOpen = true;
    this.#open.set(socket, undefined);
    socket.once('close', () => this.#open.delete(socket));
    socket.once('error', (error) => {
      if (this.#open.get(socket) !== undefined) return;
      const fault = handshakeFault(error);
      if (fault.reason.startsWith('TLS_error')) this.#owner.tlsStats.refused(fault.kind);
    });
    socket.on('session', (fresh: Buffer) => {
      if (!checked || this.#sessionsMax === 0 || socket.destroyed || this.#sessionsOf !== material.generation) return;
      if (this.#sessions.size >= this.#sessionsMax) this.#sessions.clear();
      this.#sessions.set(key, fresh);
    });
    return socket;
  }

  facts(socket: Socket): TlsFacts {
    const facts = this.#facts(socket as TLSSocket);
    this.#owner.tlsStats.established(facts, (socket as TLSSocket).isSessionReused(), curveOf(socket as TLSSocket));
    if (this.#open.has(socket)) this.#open.set(socket, facts);
    return facts;
  }

  #facts(tls: TLSSocket): TlsFacts {
    const key = this.#keys.get(tls) ?? '';
    const local = this.#context.material?.local;
    // Reading the certificate out of a session costs a tenth of a short connection, and Node shows none.
    const known = tls.isSessionReused() ? this.#peers.get(key) : undefined;
    if (known !== undefined) return { ...tlsFacts(tls, known), local };
    const facts = { ...tlsFacts(tls), local };
    if (facts.peer === undefined) return facts;
    if (this.#peers.size >= TLS_SESSIONS_MAX) this.#peers.clear();
    this.#peers.set(key, facts.peer);
    return facts;
  }

  close(): void {
    this.#context.close();
  }

  /** One that may be resumed: not beyond the life of the certificate it was begun with, which is not shown again. */
  #session(key: string): Buffer | undefined {
    const session = this.#sessions.get(key);
    const peer = session === undefined ? undefined : this.#peers.get(key);
    if (peer === undefined || peer.notAfter > Date.now()) return session;
    this.#sessions.delete(key);
    this.#peers.delete(key);
    return undefined;
  }

  // Requests under way get a moment; nothing gets more.
  #distrust(): void {
    const lost = (facts: TlsFacts | undefined): boolean => facts?.peer !== undefined && !this.#context.trusts(facts.peer);
    if (![...this.#open.values()].some(lost)) return;
    this.#owner.distrusted();
    setTimeout(() => {
      for (const [socket, facts] of this.#open) if (lost(facts)) socket.destroy();
    }, DISTRUSTED_CLOSE_MS).unref();
  }
}

/**
 * What the runtime hands to checkServerIdentity. Bun asks for it (whole chain) on resumed sessions too, a tenth of a short connection;
 * as on Node such a session, kept only of a peer that passed, is not asked again. A refused one is a full handshake with its check.
 */
function unlessResumed(this: TLSSocket, detailed?: boolean): DetailedPeerCertificate {
  const certificate =
    detailed === true && this.isSessionReused() ? undefined : TLSSocket.prototype.getPeerCertificate.call(this, detailed === true);
  return certificate as DetailedPeerCertificate;
}

const everyName = (sans: ReturnType<typeof parseSans>): string[] => [...sans.dns, ...sans.uri, ...sans.email, ...sans.ip];

// A source address of the other family cannot be bound; the kernel chooses then.
const from = (localAddress: string | undefined, ip: string): { localAddress?: string } =>
  localAddress !== undefined && isIP(localAddress) === isIP(ip) ? { localAddress } : {};

const isIp = (text: string): boolean => text.includes(':') || /^[\d.]+$/.test(text);

export const compileUpstreamTransport = (
  socket: TransportSocket | undefined,
  secrets: SecretStore,
  path: string,
  owner: TransportOwner,
): UpstreamTransport => {
  const type = typeNameOf(socket?.typed_config);
  if (socket === undefined || type === 'envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer') return rawTransport;
  if (type === '' && socket.name === 'envoy.transport_sockets.raw_buffer') return rawTransport;
  if (type === 'envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext')
    return new TlsTransport(
      configAs<UpstreamTlsContext>(socket.typed_config, `${path}.typed_config`),
      secrets,
      `${path}.typed_config`,
      owner,
    );
  if (type === 'envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport') {
    const config = configAs<ProxyProtocolUpstreamTransport>(socket.typed_config, `${path}.typed_config`);
    const where = `${path}.typed_config.transport_socket`;
    if (config.transport_socket === undefined) throw new PlanError(where, 'is needed');
    return new ProxyProtocolTransport(config, compileUpstreamTransport(config.transport_socket, secrets, where, owner));
  }
  throw new PlanError(path, `transport socket ${socket.name ?? ''} (${type}) is not supported`);
};

/** Facts by the hash of the certificate: connections of one peer share them, which is some KiB each. */
const peersSeen = new Map<string, CertificateFacts>();

const onBun = process.versions['bun'] !== undefined;

/** Of Bun's handle, not public (held by a test): a certificate as an object takes 55 µs, its fingerprint 2. Node 24 would lose it. */
const fingerprintOf = (socket: TLSSocket): string | undefined => {
  if (!onBun) return undefined;
  const { _handle } = socket as unknown as { _handle?: { getPeerX509Certificate?(): X509Certificate | undefined } };
  return _handle?.getPeerX509Certificate?.()?.fingerprint256;
};

/** `fresh`: with the chain of this handshake, not of another one with the same certificate. */
const peerOf = (socket: TLSSocket, fresh: boolean): CertificateFacts | undefined => {
  const fingerprint = fresh ? undefined : fingerprintOf(socket);
  const known = fingerprint === undefined ? undefined : peersSeen.get(fingerprint);
  if (known !== undefined) return known;
  // With those above it, which Node 24 gives only to the first who asks.
  const certificate: PeerCertificate | undefined = socket.getPeerCertificate(true) ?? socket.getPeerCertificate();
  if (certificate?.raw === undefined) return undefined;
  const seen = fresh ? undefined : peersSeen.get(certificate.fingerprint256);
  if (seen !== undefined) return seen;
  if (peersSeen.size >= CERTIFICATES_SEEN_MAX) peersSeen.clear();
  const facts = new PeerCertificateFacts(certificate);
  peersSeen.set(certificate.fingerprint256, facts);
  return facts;
};

/** Facts of a finished handshake. */
export const tlsFacts = (socket: TLSSocket, known?: CertificateFacts, fresh = false): TlsFacts => {
  const peer = known ?? peerOf(socket, fresh);
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
