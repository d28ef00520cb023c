// Serves an XdsTransport as gRPC on a Unix socket (mode 0600): how Envoy reaches what a proxy in this process gets directly.
// Each stream of the socket is one `open` of the transport. Never looks into messages.
import { chmodSync, rmSync } from 'node:fs';
import { constants, createServer, type Http2Server, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import { encodeGrpcMessage, frameMessage, GRPC, type GrpcStatus, GrpcUnframer } from '../xds/grpc-frames.ts';
import type { XdsTransport } from '../xds/transport.ts';
import { GRPC_MESSAGE_BYTES_MAX, LOCAL_STREAMS_MAX, STREAM_BACKLOG_BYTES_MAX } from './limits.ts';

export interface GrpcServer {
  close(): Promise<void>;
}

/** Rejects when the socket cannot be bound. A socket file left by a killed process is replaced. */
export const serveGrpc = async (path: string, transport: XdsTransport): Promise<GrpcServer> => {
  const sessions = new Set<ServerHttp2Session>();
  const server: Http2Server = createServer({ settings: { maxConcurrentStreams: LOCAL_STREAMS_MAX, initialWindowSize: 1024 * 1024 } });
  server.on('session', (session) => {
    sessions.add(session);
    session.on('close', () => sessions.delete(session));
    session.on('error', () => session.destroy());
  });
  server.on('stream', (stream, headers) => serveStream(stream, String(headers[':path'] ?? ''), transport));
  rmSync(path, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      resolve();
    });
  });
  chmodSync(path, 0o600);
  return {
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const session of sessions) session.destroy();
      await closed;
      rmSync(path, { force: true });
    },
  };
};

const serveStream = (stream: ServerHttp2Stream, method: string, transport: XdsTransport): void => {
  let over = false;
  const finish = (status: GrpcStatus): void => {
    if (over) return;
    over = true;
    if (stream.destroyed || stream.closed) return;
    const trailers = { 'grpc-status': String(status.code), 'grpc-message': encodeGrpcMessage(status.message) };
    stream.once('wantTrailers', () => {
      stream.sendTrailers(trailers);
      // The proxy's side may still be open: it must not wait for an end that never comes.
      if (!stream.closed) setImmediate(() => stream.closed || stream.close(constants.NGHTTP2_NO_ERROR));
    });
    stream.end();
  };
  stream.on('error', () => {});
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  const upstream = transport.open(method, {
    message: (bytes) => {
      if (over || stream.destroyed) return;
      stream.write(frameMessage(bytes));
      if (stream.writableLength > STREAM_BACKLOG_BYTES_MAX) stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
    },
    end: finish,
  });
  const unframer = new GrpcUnframer((m) => upstream.send(m), GRPC_MESSAGE_BYTES_MAX);
  stream.on('data', (chunk: Uint8Array) => {
    const problem = unframer.push(chunk);
    if (!problem) return;
    upstream.close();
    finish(problem);
  });
  stream.on('end', () => {
    upstream.close();
    finish({ code: GRPC.OK, message: '' });
  });
  stream.on('close', () => {
    over = true;
    upstream.close();
  });
};
