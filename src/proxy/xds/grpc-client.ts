// gRPC bidirectional streams over a socket: what an `xds-grpc` or `sds-grpc` cluster of a bootstrap needs, not a gRPC
// library. One HTTP/2 connection (wire/grpc-client) per transport, opened at need and opened anew after it was lost, or
// when the peer said GOAWAY. Messages are not compressed; the status comes from the trailers. Loaded only when a
// bootstrap needs it.
import net from 'node:net';
import tls from 'node:tls';
import { GrpcConnection, type GrpcLink } from '../../wire/grpc-client.ts';
import { GRPC } from '../../wire/grpc-frames.ts';
import type { StreamEvents, StreamStatus, XdsStream, XdsTransport } from '../../xds/transport.ts';

export interface GrpcTarget {
  /** Unix socket path, or host and port. */
  readonly address: { readonly path: string } | { readonly host: string; readonly port: number };
  readonly tls?: GrpcTlsOptions | undefined;
  readonly authority?: string | undefined;
  /** Sent with every call, as `authorization`. */
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  readonly connectTimeoutMs?: number | undefined;
}

export interface GrpcTlsOptions {
  readonly serverName?: string | undefined;
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  /** URI or DNS names of which the server must have one; empty: the server name is checked. */
  readonly subjectAltNames?: readonly string[] | undefined;
}

export interface GrpcClient extends XdsTransport {
  close(): void;
}

/** A whole configuration of a large mesh in one response stays well below. */
const MESSAGE_BYTES_MAX = 256 * 1024 * 1024;
const CONNECT_TIMEOUT_MS = 10_000;
/** A dead peer that sends no RST is found within two of these. */
const PING_INTERVAL_MS = 30_000;

export const createGrpcClient = (target: GrpcTarget): GrpcClient => {
  let current: Dialled | undefined;
  const all = new Set<Dialled>(); // with those that only finish what was begun before a GOAWAY
  const connection = (): GrpcConnection => {
    if (current?.grpc.canOpen) return current.grpc;
    current = new Dialled(target, (gone) => all.delete(gone));
    all.add(current);
    return current.grpc;
  };
  return {
    open: (method, events) => openStream(connection, target, method, events),
    close: () => {
      for (const one of all) one.destroy('closed');
      current = undefined;
    },
  };
};

/** A connection and its socket, from dialling until the last call is over. */
class Dialled implements GrpcLink {
  readonly grpc: GrpcConnection;
  readonly #socket: net.Socket;
  readonly #gone: (self: Dialled) => void;
  readonly #connectTimer: NodeJS.Timeout;
  #pingTimer: NodeJS.Timeout | undefined;
  #answered = true;
  #problem = '';

  constructor(target: GrpcTarget, gone: (self: Dialled) => void) {
    this.#gone = gone;
    const { address } = target;
    this.grpc = new GrpcConnection(this, {
      scheme: target.tls ? 'https' : 'http',
      authority: target.authority ?? 'localhost',
      messageBytesMax: MESSAGE_BYTES_MAX,
    });
    const raw = 'path' in address ? net.connect({ path: address.path }) : net.connect({ host: address.host, port: address.port });
    raw.setNoDelay?.(true);
    raw.on('error', (e) => this.destroy(e.message));
    const socket = target.tls ? wrapTls(raw, target.tls, 'host' in address ? address.host : '') : raw;
    this.#socket = socket;
    this.#connectTimer = setTimeout(() => this.destroy('connect timeout'), target.connectTimeoutMs ?? CONNECT_TIMEOUT_MS);
    this.#connectTimer.unref();
    if (socket !== raw) socket.on('error', (e) => this.destroy(e.message));
    socket.once(target.tls ? 'secureConnect' : 'connect', () => this.grpc.start());
    socket.on('data', (chunk: Buffer) => this.grpc.receive(chunk));
    socket.on('drain', () => this.grpc.drained());
    socket.once('close', () => this.destroy('the connection was closed'));
  }

  destroy(problem: string): void {
    clearTimeout(this.#connectTimer);
    clearInterval(this.#pingTimer);
    this.#problem ||= problem;
    this.#gone(this);
    this.grpc.ended(this.#problem);
    this.#socket.destroy();
  }

  write(pieces: readonly Buffer[]): boolean {
    let more = true;
    for (const piece of pieces) more = this.#socket.write(piece);
    return more;
  }

  /** Not at the socket's connect: a peer that accepts but does not speak HTTP/2 must not count as reached. */
  ready(): void {
    clearTimeout(this.#connectTimer);
    this.#pingTimer = setInterval(() => this.#ping(), PING_INTERVAL_MS);
    this.#pingTimer.unref();
  }

  closing(): void {} // canOpen is false from now on: the next call dials anew

  pong(): void {
    this.#answered = true;
  }

  over(problem: string): void {
    this.#problem ||= problem;
    this.#socket.end();
  }

  #ping(): void {
    if (!this.#answered) {
      this.destroy('no answer to PING');
      return;
    }
    this.#answered = false;
    this.grpc.ping();
  }
}

const wrapTls = (raw: net.Socket, options: GrpcTlsOptions, host: string): tls.TLSSocket => {
  const serverName = options.serverName ?? (net.isIP(host) === 0 ? host : '');
  const names = options.subjectAltNames ?? [];
  return tls.connect({
    socket: raw,
    ALPNProtocols: ['h2'],
    ...(serverName === '' ? {} : { servername: serverName }),
    ...(options.ca === undefined ? {} : { ca: options.ca }),
    ...(options.cert === undefined ? {} : { cert: options.cert }),
    ...(options.key === undefined ? {} : { key: options.key }),
    checkServerIdentity: (name, certificate) => {
      if (names.length === 0) return tls.checkServerIdentity(serverName === '' ? host : name, certificate);
      const has = (certificate.subjectaltname ?? '').split(', ').map((entry) => entry.slice(entry.indexOf(':') + 1));
      return names.some((n) => has.includes(n)) ? undefined : new Error(`none of ${names.join(', ')} is a name of the server`);
    },
  });
};

const openStream = (connection: () => GrpcConnection, target: GrpcTarget, method: string, events: StreamEvents): XdsStream => {
  let open = true;
  // Never from inside `open`, nor from inside the connection's own call.
  const end = (status: StreamStatus): void => {
    setImmediate(() => {
      if (open) events.end(status);
    });
  };
  const message = (bytes: Uint8Array): void => {
    if (open) events.message(bytes);
  };
  const grpc = connection();
  if (!grpc.canOpen) {
    end({ code: GRPC.UNAVAILABLE, message: 'the connection takes no stream' });
    return { send: () => undefined, close: () => undefined };
  }
  const call = grpc.open(method, { 'user-agent': 'skein', ...target.metadata }, { message, end });
  return {
    send: (bytes) => call.send(bytes),
    close: () => {
      open = false;
      call.close();
    },
  };
};
