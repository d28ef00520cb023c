// gRPC bidirectional streams over node:http2: what an `xds-grpc` or `sds-grpc` cluster of a bootstrap needs, not a gRPC
// library. One HTTP/2 connection per transport, opened at need and opened anew after it was lost. Messages are
// 5-byte-prefixed frames (no compression); the status comes from the trailers. Loaded only when a bootstrap needs it.
import http2 from 'node:http2';
import net from 'node:net';
import tls from 'node:tls';
import { frameMessage, GRPC, GrpcUnframer, grpcStatusOf, grpcStatusOfHttp } from '../../xds/grpc-frames.ts';
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
const WINDOW_BYTES = 1024 * 1024;
const CONNECT_TIMEOUT_MS = 10_000;
/** A dead peer that sends no RST is found within two of these. */
const PING_INTERVAL_MS = 30_000;

export const createGrpcClient = (target: GrpcTarget): GrpcClient => {
  let session: http2.ClientHttp2Session | undefined;
  const connection = (): http2.ClientHttp2Session => {
    if (session && !session.closed && !session.destroyed) return session;
    session = connect(target, (gone) => {
      if (session === gone) session = undefined;
    });
    return session;
  };
  return {
    open: (method, events) => openStream(connection, target, method, events),
    close: () => {
      session?.destroy();
      session = undefined;
    },
  };
};

const connect = (target: GrpcTarget, gone: (session: http2.ClientHttp2Session) => void): http2.ClientHttp2Session => {
  const { address } = target;
  const raw = 'path' in address ? net.connect({ path: address.path }) : net.connect({ host: address.host, port: address.port });
  raw.setNoDelay?.(true);
  const socket = target.tls ? wrapTls(raw, target.tls, 'host' in address ? address.host : '') : raw;
  const authority = `${target.tls ? 'https' : 'http'}://${target.authority ?? 'localhost'}`;
  const session = http2.connect(authority, {
    createConnection: () => socket,
    settings: { enablePush: false, initialWindowSize: WINDOW_BYTES },
  });
  const timer = setTimeout(() => session.destroy(new Error('connect timeout')), target.connectTimeoutMs ?? CONNECT_TIMEOUT_MS);
  timer.unref();
  let ping: NodeJS.Timeout | undefined;
  session.once('connect', () => {
    clearTimeout(timer);
    ping = startPings(session);
  });
  session.on('error', () => undefined); // every stream of the session tells it as its own end
  session.once('close', () => {
    clearTimeout(timer);
    clearInterval(ping);
    gone(session);
  });
  session.once('goaway', () => gone(session));
  return session;
};

const startPings = (session: http2.ClientHttp2Session): NodeJS.Timeout => {
  let answered = true;
  const timer = setInterval(() => {
    if (!answered) {
      session.destroy(new Error('no answer to PING'));
      return;
    }
    answered = false;
    session.ping((error) => {
      if (!error) answered = true;
    });
  }, PING_INTERVAL_MS);
  timer.unref();
  return timer;
};

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

const openStream = (connection: () => http2.ClientHttp2Session, target: GrpcTarget, method: string, events: StreamEvents): XdsStream => {
  let ended = false;
  const end = (status: StreamStatus): void => {
    if (ended) return;
    ended = true;
    // Never from inside `open`, nor from inside a stream's own callback chain.
    setImmediate(() => events.end(status));
  };
  let stream: http2.ClientHttp2Stream;
  try {
    stream = connection().request({
      ':method': 'POST',
      ':path': method,
      'content-type': 'application/grpc',
      te: 'trailers',
      'user-agent': 'skein',
      ...(target.authority === undefined ? {} : { ':authority': target.authority }),
      ...target.metadata,
    });
  } catch (e) {
    end({ code: GRPC.UNAVAILABLE, message: e instanceof Error ? e.message : String(e) });
    return { send: () => undefined, close: () => undefined };
  }
  const frames = new GrpcUnframer((message) => {
    if (!ended) events.message(message);
  }, MESSAGE_BYTES_MAX);
  stream.on('data', (chunk: Buffer) => {
    if (ended) return;
    const problem = frames.push(chunk);
    if (problem) {
      end(problem);
      stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
    }
  });
  stream.on('response', (headers) => {
    const status = grpcStatusOf(headers);
    if (status) end(status);
    else if (headers[':status'] !== 200) end(grpcStatusOfHttp(Number(headers[':status'])));
  });
  stream.on('trailers', (headers) => end(grpcStatusOf(headers) ?? { code: GRPC.UNKNOWN, message: 'trailers without grpc-status' }));
  stream.on('error', (e: Error) => end({ code: GRPC.UNAVAILABLE, message: e.message }));
  stream.on('close', () => end({ code: GRPC.UNAVAILABLE, message: 'the stream was closed' }));
  return {
    send: (bytes) => {
      if (ended || stream.destroyed) return;
      stream.write(frameMessage(bytes));
    },
    close: () => {
      ended = true;
      stream.close(http2.constants.NGHTTP2_CANCEL);
    },
  };
};
