// Hedging with bodies and several attempts, over both protocols; a stock Envoy, where there is one, plays the same scenes.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer as createHttp1Server, type ServerResponse } from 'node:http';
import { createServer as createHttp2Server } from 'node:http2';
import type { AddressInfo } from 'node:net';
import type { Readable } from 'node:stream';
import { test } from 'node:test';
import type { RouteAction } from '../../src/xds/gen/types.ts';
import { hcm, listener, RawClient, startPlane, staticCluster } from './harness.ts';
import { HTTP2_CLUSTER } from './http2-peers.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';

interface Attempt {
  readonly body: string;
  answer(status: number, text: string): void;
}
interface Scene {
  readonly name: string;
  readonly retries: number;
  readonly timeout?: string;
  /** Called for each attempt when its body is here. */
  readonly play: (attempts: readonly Attempt[]) => void;
  readonly expect: string;
}

const SCENES: readonly Scene[] = [
  {
    name: 'the third of three answers',
    retries: 2,
    play: (all) => {
      if (all.length === 3) all[2]?.answer(200, 'third');
    },
    expect: '200 third, 3: hello hello hello',
  },
  {
    name: 'the first answers beside two others',
    retries: 2,
    play: (all) => {
      if (all.length === 3) all[0]?.answer(200, 'first');
    },
    expect: '200 first, 3: hello hello hello',
  },
  {
    name: 'a bad answer is sent again beside one that still runs',
    retries: 2,
    play: (all) => {
      if (all.length === 2) all[1]?.answer(503, 'bad');
      if (all.length === 3) all[2]?.answer(200, 'third');
    },
    expect: '200 third, 3: hello hello hello',
  },
  {
    name: 'a bad answer that is the last is not the answer while another one runs',
    retries: 1,
    play: (all) => {
      if (all.length !== 2) return;
      all[1]?.answer(503, 'bad');
      setTimeout(() => all[0]?.answer(200, 'first'), 50);
    },
    expect: '200 first, 2: hello hello',
  },
  {
    name: 'a bad answer of the one that was slow is waited over as well',
    retries: 1,
    play: (all) => {
      if (all.length !== 2) return;
      all[0]?.answer(503, 'bad');
      setTimeout(() => all[1]?.answer(200, 'second'), 50);
    },
    expect: '200 second, 2: hello hello',
  },
  {
    name: 'nobody answers in time',
    retries: 1,
    timeout: '0.5s',
    play: () => undefined,
    expect: '504 upstream request timeout, 2: hello hello',
  },
  {
    name: 'what cannot be sent again is the answer beside others',
    retries: 2,
    play: (all) => {
      if (all.length === 2) all[0]?.answer(404, 'not here');
    },
    expect: '404 not here, 2: hello hello',
  },
];

const backend = async (http2: boolean, scene: Scene) => {
  const attempts: Attempt[] = [];
  const serve = (request: Readable, response: Pick<ServerResponse, 'writeHead' | 'end'>): void => {
    let body = '';
    request.on('data', (piece) => {
      body += String(piece);
    });
    request.on('error', () => undefined);
    request.on('end', () => {
      attempts.push({
        body,
        answer: (status, text) => {
          response.writeHead(status, { 'content-type': 'text/plain' });
          response.end(text);
        },
      });
      scene.play(attempts);
    });
  };
  const server = http2
    ? createHttp2Server((request, response) => serve(request, response as unknown as ServerResponse))
    : createHttp1Server(serve);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { attempts, port: (server.address() as AddressInfo).port, [Symbol.dispose]: () => void server.close() };
};

const stage = (http2: boolean, ports: readonly number[]) => {
  const action = ({ retries, timeout = '5s' }: Scene): RouteAction => ({
    timeout,
    hedge_policy: { hedge_on_per_try_timeout: true },
    retry_policy: { retry_on: '5xx', num_retries: retries, per_try_timeout: '0.1s', retry_back_off: { base_interval: '0.001s' } },
  });
  return {
    clusters: ports.map((port, i) => staticCluster(`c${i}`, [port], http2 ? HTTP2_CLUSTER : {})),
    listeners: [
      listener('l', hcm(SCENES.map((scene, i) => ({ match: { path: `/${i}` }, route: { cluster: `c${i}`, ...action(scene) } })))),
    ],
  };
};

const ask = async (port: number, path: string, attempts: readonly Attempt[]): Promise<string> => {
  const client = await RawClient.open(port);
  try {
    const answered = client.send(`POST ${path} HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\n\r\nhello`).response('POST');
    const { status, body } = await answered;
    return `${status} ${body}, ${attempts.length}: ${attempts.map((attempt) => attempt.body).join(' ')}`;
  } finally {
    client.close();
  }
};

type Proxy = AsyncDisposable & { port(listener: string): number };
const play = async (http2: boolean, start: (resources: ReturnType<typeof stage>) => Promise<Proxy>): Promise<void> => {
  await using stack = new AsyncDisposableStack();
  const servers = await Promise.all(SCENES.map((scene) => backend(http2, scene)));
  for (const server of servers) stack.use(server);
  const ports = servers.map((server) => server.port);
  const proxy = stack.use(await start(stage(http2, ports)));
  const seen = await Promise.all(servers.map(({ attempts }, i) => ask(proxy.port('l'), `/${i}`, attempts)));
  assert.deepEqual(
    Object.fromEntries(seen.map((text, i) => [SCENES[i]?.name, text])),
    Object.fromEntries(SCENES.map(({ name, expect }) => [name, expect])),
  );
};

for (const http2 of [false, true]) {
  const name = `attempts beside each other, with a body, over ${http2 ? 'HTTP/2' : 'HTTP/1'}`;
  test(name, () => play(http2, startPlane));
  test(`${name}: a stock Envoy does the same`, { skip: NO_ENVOY }, () => play(http2, startEnvoy));
}
