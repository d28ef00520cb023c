// The HTTP peer: one set of answers over HTTP/1.1 (PORT, 8080) and HTTP/2 with prior knowledge (PORT_H2, 8081), WebSocket echo on both.
// GET / /small · GET /bytes?n=N · POST /digest · GET /trailers · GET /headers · GET /slow?ms=N
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttp2, type Http2ServerRequest, type Http2ServerResponse } from 'node:http2';
import { pipeline, Readable } from 'node:stream';
import { patternBytes } from './pattern.ts';
import { acceptKey, echoFrames } from './websocket.ts';

type Request = IncomingMessage | Http2ServerRequest;
type Response = ServerResponse | Http2ServerResponse;

const CHUNK_BYTES = 64 * 1024;
const SMALL = `${'0123456789abcdef'.repeat(8)}\n`;

const answer = (request: Request, response: Response): void => {
  const url = new URL(request.url ?? '/', 'http://peer');
  if (url.pathname === '/bytes') sendBytes(response, Number(url.searchParams.get('n') ?? 0));
  else if (url.pathname === '/digest') digest(request, response);
  else if (url.pathname === '/trailers') sendTrailers(response as ServerResponse);
  else if (url.pathname === '/headers') send(response, JSON.stringify({ httpVersion: request.httpVersion, ...request.headers }));
  else if (url.pathname === '/slow') setTimeout(() => send(response, SMALL), Number(url.searchParams.get('ms') ?? 0));
  else send(response, SMALL);
};

const send = (response: Response, text: string): void => {
  response.setHeader('content-type', 'text/plain');
  response.setHeader('content-length', String(Buffer.byteLength(text)));
  (response as ServerResponse).end(text);
};

const sendBytes = (response: Response, total: number): void => {
  let at = 0;
  const body = new Readable({
    highWaterMark: 4 * CHUNK_BYTES,
    read() {
      if (at >= total) {
        this.push(null);
        return;
      }
      const length = Math.min(CHUNK_BYTES, total - at);
      const chunk = patternBytes(at, length);
      at += length;
      this.push(chunk);
    },
  });
  response.setHeader('content-length', String(total));
  pipeline(body, response as ServerResponse, () => undefined);
};

/** Length and SHA-256 of what arrived, the request's trailers, and how it was announced. */
const digest = (request: Request, response: Response): void => {
  const hash = createHash('sha256');
  let length = 0;
  request.on('data', (chunk: Buffer) => {
    length += chunk.length;
    hash.update(chunk);
  });
  request.on('end', () => {
    const { trailers } = request;
    const expect = request.headers['expect'];
    send(response, JSON.stringify({ length, sha256: hash.digest('hex'), trailers, expect }));
  });
  request.on('error', () => undefined);
};

const sendTrailers = (response: ServerResponse): void => {
  response.writeHead(200, { trailer: 'x-checksum' });
  response.write('body\n');
  response.addTrailers({ 'x-checksum': 'c0ffee' });
  response.end();
};

const http1 = createServer(answer);
// It never ends a connection by itself: who loads it for long would meet such an end as an answer that is missing.
http1.keepAliveTimeout = 0;
http1.headersTimeout = 0;
http1.requestTimeout = 0;
http1.on('upgrade', (request, socket, head) => {
  socket.on('error', () => undefined);
  const key = request.headers['sec-websocket-key'];
  if (key === undefined || request.headers.upgrade?.toLowerCase() !== 'websocket') {
    socket.end('HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n');
    return;
  }
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ${acceptKey(key)}\r\n\r\n`,
  );
  const frames = echoFrames(
    (bytes) => socket.write(bytes),
    () => socket.end(),
  );
  if (head.length > 0) frames.push(head);
  socket.on('data', (bytes: Buffer) => frames.push(bytes));
});
http1.listen(Number(process.env['PORT'] ?? 8080), process.env['HOST'] ?? '0.0.0.0', () => console.log('listening'));

const http2 = createHttp2({ settings: { enableConnectProtocol: true } }, answer);
http2.on('sessionError', () => undefined);
http2.on('connect', ({ stream, headers }: Http2ServerRequest) => {
  stream.on('error', () => undefined);
  if (headers[':protocol'] !== 'websocket') {
    stream.respond({ ':status': 501 }, { endStream: true });
    return;
  }
  const key = headers['sec-websocket-key'];
  // Where HTTP/1.1 lies before it, the client waits for this.
  stream.respond({ ':status': 200, ...(typeof key === 'string' ? { 'sec-websocket-accept': acceptKey(key) } : {}) });
  const frames = echoFrames(
    (bytes) => stream.write(bytes),
    () => stream.end(),
  );
  stream.on('data', (bytes: Buffer) => frames.push(bytes));
});
http2.listen(Number(process.env['PORT_H2'] ?? 8081), process.env['HOST'] ?? '0.0.0.0');
