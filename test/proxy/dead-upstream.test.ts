// Upstreams that die: whatever dies and whenever, the caller on its kept connection gets an answer soon, and service comes back.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { describe, test } from 'node:test';
import {
  type Backend,
  eventually,
  hcm,
  httpBackend,
  listener,
  ok,
  RawClient,
  type RawResponse,
  startBackend,
  startPlane,
  staticCluster,
  toCluster,
} from './harness.ts';
import { ISTIO_RETRY, startPair } from './mesh-pair.ts';

const SOON_MS = 20_000;

const soon = async <T>(what: string, work: Promise<T>): Promise<T> => {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`hangs: ${what}`)), SOON_MS);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
};

/** A client that goes on over one connection and opens another when told `connection: close` or cut. */
class Caller {
  readonly #port: number;
  #client: RawClient | undefined;
  opened = 0;
  constructor(port: number) {
    this.#port = port;
  }
  async call(n: number, text: string): Promise<RawResponse | 'cut'> {
    if (this.#client === undefined || this.#client.ended) {
      this.#client = await RawClient.open(this.#port);
      this.opened++;
    }
    try {
      const response = await soon(`request ${n}`, this.#client.send(text).response());
      if (response.headers.get('connection') === 'close') this.close();
      return response;
    } catch (problem) {
      if (problem instanceof Error && problem.message.startsWith('hangs')) throw problem;
      this.close();
      return 'cut';
    }
  }
  close(): void {
    this.#client?.close();
    this.#client = undefined;
  }
}

const REQUESTS: { readonly [kind: string]: string } = {
  get: 'GET / HTTP/1.1\r\nhost: a.test\r\n\r\n',
  length: 'POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 4\r\n\r\nbody',
  chunked: 'POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n',
};

/** Answers every complete message of REQUESTS. `port`: where to listen again. */
const lenient = async (port = 0): Promise<Backend> => {
  const pending = new WeakMap<Socket, string>();
  return await startBackend(
    (socket, text) => {
      const all = (pending.get(socket) ?? '') + text;
      const end = all.includes('chunked') ? '\r\n0\r\n\r\n' : all.includes('content-length') ? 'body' : '\r\n\r\n';
      pending.set(socket, all.endsWith(end) ? '' : all);
      if (all.endsWith(end)) socket.write(ok('fine'));
    },
    '127.0.0.1',
    port,
  );
};

const death: { readonly [how: string]: (socket: Socket) => void } = {
  reset: (socket) => socket.resetAndDestroy(),
  close: (socket) => socket.destroy(),
};

describe('an upstream that dies', () => {
  for (const tls of [false, true])
    for (const [how, kill] of Object.entries(death))
      for (const [kind, request] of Object.entries(REQUESTS))
        test(`the application, ${how}, ${kind}, ${tls ? 'mTLS' : 'plain text'}: no request hangs, then it comes back`, async () => {
          let backend = await lenient();
          const port = backend.port;
          await using pair = await startPair(port, { tls, retry: ISTIO_RETRY });
          const caller = new Caller(pair.port);
          for (let round = 0; round < 3; round++) {
            for (let n = 0; n < 5; n++) {
              const response = await caller.call(n, request);
              assert.ok(response !== 'cut' && response.status === 200, `${round}/${n}`);
            }
            const last = caller.call(99, request);
            for (const socket of backend.sockets) kill(socket);
            await backend[Symbol.asyncDispose]();
            await last;
            for (let n = 0; n < 8; n++) {
              const response = await caller.call(n, request);
              assert.ok(response !== 'cut' && response.status === 503, `${round}/${n}`);
            }
            backend = await lenient(port);
          }
          caller.close();
          await backend[Symbol.asyncDispose]();
        });

  test('the endpoint and its sidecar, EDS empty meanwhile', async () => {
    await using backend = await lenient();
    const pair = await startPair(backend.port, { tls: true, retry: ISTIO_RETRY });
    const caller = new Caller(pair.port);
    for (let n = 0; n < 3; n++) await caller.call(n, REQUESTS['get'] ?? '');
    const last = caller.call(99, REQUESTS['get'] ?? '');
    const closing = pair.server.plane.close();
    await last;
    for (let n = 0; n < 6; n++) {
      if (n === 2) pair.client.plane.setEndpoints(pair.endpoints([]));
      const response = await caller.call(n, REQUESTS['get'] ?? '');
      assert.ok(response !== 'cut' && response.status === 503, String(n));
      assert.equal(response.body === 'no healthy upstream', n >= 2);
    }
    await closing;
    caller.close();
    await pair.client.plane.close();
  });

  test('it closes exactly between requests', async () => {
    // Answers, then closes: the next request may or may not find the pooled connection alive.
    await using backend = await startBackend((socket) => {
      socket.write(ok('fine'), () => socket.destroy());
    });
    await using pair = await startPair(backend.port, { tls: true, retry: { ...ISTIO_RETRY, retry_on: 'reset,connect-failure' } });
    const caller = new Caller(pair.port);
    for (let n = 0; n < 50; n++) {
      const response = await caller.call(n, REQUESTS['get'] ?? '');
      assert.ok(response !== 'cut' && (response.status === 200 || response.status === 503));
    }
    caller.close();
  });

  test('a peer that ends or resets during connect or handshake', async () => {
    const sockets = new Set<Socket>();
    let kill: (socket: Socket) => void = (socket) => socket.resetAndDestroy();
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      sockets.add(socket);
      socket.on('error', () => {});
      kill(socket);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    for (const tls of [false, true]) {
      await using pair = await startPair(port, { tls, retry: ISTIO_RETRY });
      pair.client.plane.setEndpoints(pair.endpoints([port]));
      const caller = new Caller(pair.port);
      const ways = [
        (socket: Socket) => socket.resetAndDestroy(),
        (socket: Socket) => socket.end(),
        (socket: Socket) => socket.once('data', () => socket.resetAndDestroy()),
        (socket: Socket) => socket.once('data', () => socket.end()),
        (socket: Socket) => socket.destroy(),
      ];
      for (const [at, way] of ways.entries()) {
        kill = way;
        for (let n = 0; n < 3; n++) {
          const response = await caller.call(at * 10 + n, REQUESTS['get'] ?? '');
          assert.ok(response !== 'cut' && response.status === 503, `${tls} ${at}`);
        }
      }
      caller.close();
    }
    for (const socket of sockets) socket.destroy();
    server.close();
  });

  test('the response is cut after its head: the client is told by an end', async () => {
    for (const tls of [false, true]) {
      await using backend = await startBackend((socket) => {
        socket.write('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf', () => socket.resetAndDestroy());
      });
      await using pair = await startPair(backend.port, { tls });
      const caller = new Caller(pair.port);
      for (let n = 0; n < 5; n++) assert.notEqual(typeof (await caller.call(n, REQUESTS['get'] ?? '')), 'object');
      caller.close();
    }
  });

  test('a host that leaves takes with it who waits for a connection to it', async () => {
    // Accepts in the kernel and never answers the handshake, as a host that fell silent.
    const sockets: Socket[] = [];
    const server = createServer((socket) => sockets.push(socket));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    await using backend = await httpBackend(() => 'fine');
    await using pair = await startPair(backend.port, { tls: true, retry: ISTIO_RETRY, cluster: { connect_timeout: '20s' } });
    pair.client.plane.setEndpoints(pair.endpoints([port]));
    const caller = new Caller(pair.port);
    const waiting = caller.call(0, REQUESTS['get'] ?? '');
    await eventually(() => sockets.length > 0, 'the handshake began');
    pair.client.plane.setEndpoints(pair.endpoints([pair.serverPort]));
    const response = await waiting;
    assert.ok(response !== 'cut');
    assert.deepEqual([response.status, response.body], [200, 'fine']);
    pair.client.plane.setEndpoints(pair.endpoints([port]));
    const none = caller.call(1, REQUESTS['get'] ?? '');
    await eventually(() => sockets.length > 1, 'the handshake began');
    pair.client.plane.setEndpoints(pair.endpoints([]));
    const refused = await none;
    assert.deepEqual(refused === 'cut' ? refused : [refused.status, refused.body], [503, 'no healthy upstream']);
    caller.close();
    for (const socket of sockets) socket.destroy();
    server.close();
  });

  test('a response that filled the client leaves its connection reading', async () => {
    const big = 'x'.repeat(3_000_000);
    await using backend = await httpBackend((n) => (n % 2 === 0 ? big : 'small'));
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [listener('l', hcm([toCluster('c')]))],
    });
    const slow = await RawClient.open(plane.port('l'));
    slow.socket.pause();
    slow.send(REQUESTS['get'] ?? '');
    await eventually(() => backend.received.length === 1, 'asked');
    await new Promise((resolve) => setTimeout(resolve, 50));
    slow.socket.resume();
    assert.equal((await soon('big', slow.response())).body.length, big.length);
    for (let n = 0; n < 4; n++) assert.equal((await soon(`after ${n}`, slow.get('/'))).status, 200);
    slow.close();
  });
});
