// One connection to the control plane: dials, carries the bytes between the socket and the gRPC machine, asks a silent
// peer whether it is there, and tells when the connection is ready, closing and gone. Never dials twice.
import { X509Certificate } from 'node:crypto';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { anchorOf, isFor } from '../identity/anchor-scope.ts';
import { GrpcConnection, type GrpcLink } from '../wire/grpc-client.ts';
import { certificatesIn } from './certificate.ts';
import type { GrpcTarget } from './grpc-target.ts';
import { CONNECT_TIMEOUT_MS, GRPC_MESSAGE_BYTES_MAX, KEEPALIVE_MS, KEEPALIVE_TIMEOUT_MS } from './limits.ts';

export interface GrpcDialEvents {
  /** The peer speaks HTTP/2: calls may be opened. */
  ready(): void;
  /** It takes no new calls; those begun go on. */
  closing(): void;
  /** Once. Every call left has ended. */
  gone(problem: string): void;
}

export class GrpcDial implements GrpcLink {
  readonly grpc: GrpcConnection;
  /** The peer answered as HTTP/2. */
  connected = false;
  readonly #socket: Socket;
  readonly #events: GrpcDialEvents;
  #timer: NodeJS.Timeout;
  #keepalive: NodeJS.Timeout | undefined;
  #gone = false;

  constructor(target: GrpcTarget, events: GrpcDialEvents) {
    this.#events = events;
    const secure = target.kind === 'tcp' && target.caPem !== undefined;
    this.grpc = new GrpcConnection(this, {
      scheme: secure ? 'https' : 'http',
      authority: 'localhost',
      messageBytesMax: GRPC_MESSAGE_BYTES_MAX,
    });
    const socket = dial(target);
    this.#socket = socket;
    this.#timer = setTimeout(() => this.destroy('connect timed out'), CONNECT_TIMEOUT_MS);
    socket.once(secure ? 'secureConnect' : 'connect', () => this.grpc.start());
    socket.on('data', (chunk: Buffer) => this.grpc.receive(chunk));
    socket.on('drain', () => this.grpc.drained());
    socket.on('error', (e) => this.destroy(e.message));
    socket.once('close', () => this.destroy('connection lost'));
  }

  destroy(problem: string): void {
    if (this.#gone) return;
    this.#gone = true;
    clearTimeout(this.#timer);
    clearInterval(this.#keepalive);
    this.grpc.ended(problem);
    this.#socket.destroy();
    this.#events.gone(problem);
  }

  write(pieces: readonly Buffer[]): boolean {
    let more = true;
    for (const piece of pieces) more = this.#socket.write(piece);
    return more;
  }

  /** Not at the socket's connect: a peer that accepts but does not speak HTTP/2 must not count as reached. */
  ready(): void {
    clearTimeout(this.#timer);
    this.connected = true;
    this.#keepalive = setInterval(() => this.#ping(), KEEPALIVE_MS);
    this.#keepalive.unref();
    this.#events.ready();
  }

  closing(): void {
    this.#events.closing();
  }

  pong(): void {
    clearTimeout(this.#timer);
  }

  over(): void {
    this.#socket.end();
  }

  #ping(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.destroy('keepalive timed out'), KEEPALIVE_TIMEOUT_MS);
    this.#timer.unref();
    this.grpc.ping();
  }
}

/** The control plane is of our own trust domain: the roots of another one have nothing to say about it. */
const ownRoots = ({ chainPem, rootsPem }: { readonly chainPem: string; readonly rootsPem: string }): readonly string[] => {
  const trustDomain = /URI:spiffe:\/\/([^/]+)\//.exec(new X509Certificate(chainPem).subjectAltName ?? '')?.[1] ?? '';
  return certificatesIn(rootsPem).filter((text) => isFor(anchorOf(text), trustDomain));
};

const dial = (target: GrpcTarget): Socket => {
  if (target.kind === 'unix') return connectTcp({ path: target.path });
  const at = { host: target.host, port: target.port, ...(target.localAddress ? { localAddress: target.localAddress } : {}) };
  if (target.caPem === undefined) return connectTcp(at).setNoDelay(true);
  const name = /^[\d.]+$|:/.test(target.host) ? {} : { servername: target.host };
  const own = target.own?.();
  const ca = own ? [target.caPem, ...ownRoots(own.certificate)] : target.caPem;
  // An expired certificate is refused in the handshake: better to come without one, and to prove oneself by a token.
  const mine = own && own.certificate.notAfterMs > Date.now() ? { cert: own.certificate.chainPem, key: own.privateKeyPem } : {};
  return connectTls({ ...at, ...name, ...mine, ca, ALPNProtocols: ['h2'], minVersion: 'TLSv1.2' });
};
