// CONNECT: ended here in a TCP connection, or passed on; over both HTTPs. What clients see and the log says is stock Envoy's, which
// plays the same rows beside us where there is one.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { test } from 'node:test';
import type { Cluster, Route } from '../../src/xds/gen/types.ts';
import { freePort } from '../free-port.ts';
import { hcm, listener, startBackend, startPlane, staticCluster } from './harness.ts';
import { block, FRAME, frame, HTTP2_CLUSTER, http2Backend, rawClient } from './http2-peers.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';

type Step = string | typeof FIN;
const FIN = Symbol('the client ends its side');

interface Row {
  readonly what: string;
  readonly listener: string;
  /** HTTP/1 as it is written, after a CONNECT of its own if it does not begin with a method. */
  readonly http1?: readonly Step[];
  readonly http2?: readonly Step[];
  /** For HTTP/2 frames of the stream, then RST_STREAM's code. */
  readonly seen: string;
  readonly logged: string;
}

const CONNECT = 'CONNECT x:1 HTTP/1.1\r\nhost: x:1\r\n\r\n';
const POST = 'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n';
const OK = 'HTTP/1.1 200 OK~~';
const LEFT = '200 DC downstream_remote_disconnect';
const LOST = '200 UC upstream_reset_after_response_started{connection_termination}';
const FINE = '200  via_upstream';
const REFUSED = 'upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}';
const NO_ANSWER = 'upstream connect error or disconnect/reset before headers. reset reason: remote connection failure';

const ROWS: readonly Row[] = [
  { what: 'ended here', listener: 'ends', http1: ['hi'], seen: `${OK}<hi>`, logged: LEFT },
  { what: 'with early data', listener: 'ends', http1: [`${CONNECT}early`], seen: `${OK}<early>`, logged: LEFT },
  { what: 'the client ends its side', listener: 'ends', http1: ['hi', FIN], seen: `${OK}<hi>`, logged: LEFT },
  { what: 'the server ends', listener: 'ends', http1: ['bye'], seen: `${OK}ciao`, logged: FINE },
  { what: 'the server resets', listener: 'ends', http1: ['rst'], seen: OK, logged: LOST },
  {
    what: 'nobody is there',
    listener: 'closed',
    http1: ['hi'],
    seen: `HTTP/1.1 503 Service Unavailable~~${NO_ANSWER}`,
    logged: `503 UF ${REFUSED}`,
  },
  {
    what: 'no endpoint',
    listener: 'empty',
    http1: [''],
    seen: 'HTTP/1.1 503 Service Unavailable~~no healthy upstream',
    logged: '503 UH no_healthy_upstream',
  },
  { what: 'a PROXY header first', listener: 'proxied', http1: ['hi'], seen: `${OK}<PROXY TCP4>~<hi>`, logged: LEFT },
  { what: 'POST stands for it', listener: 'posts', http1: [POST], seen: `${OK}4~<hi>~0~~`, logged: FINE },
  {
    what: 'POST does not',
    listener: 'ends',
    http1: [POST],
    seen: `HTTP/1.1 502 Bad Gateway~~`,
    logged: '502 UPE upstream_reset_before_response_started{protocol_error}',
  },
  { what: 'not allowed', listener: 'off', http1: [''], seen: 'HTTP/1.1 403 Forbidden~~', logged: '403  upgrade_failed' },
  {
    what: 'a prefix does not match it',
    listener: 'prefix',
    http1: [''],
    seen: 'HTTP/1.1 404 Not Found~~',
    logged: '404 NR route_not_found',
  },
  { what: 'passed on', listener: 'passes', http1: ['hi'], seen: `${OK}<hi>`, logged: LEFT },
  { what: 'passed on, the server ends', listener: 'passes', http1: ['bye'], seen: `${OK}ciao`, logged: LOST },
  { what: 'passed on to HTTP/2', listener: 'passes2', http1: ['hi'], seen: `${OK}<hi>`, logged: LEFT },
  { what: 'passed on to HTTP/2, the server ends', listener: 'passes2', http1: ['bye'], seen: `${OK}ciao`, logged: FINE },
  { what: 'ended here, over HTTP/2', listener: 'ends', http2: ['hi', FIN], seen: '200 <hi> end', logged: FINE },
  { what: 'the server resets, over HTTP/2', listener: 'ends', http2: ['rst'], seen: '200 reset 10', logged: LOST },
  {
    what: 'nobody is there, over HTTP/2',
    listener: 'closed',
    http2: [],
    seen: `503 ${NO_ANSWER} end reset 10`,
    logged: `503 UF ${REFUSED}`,
  },
  { what: 'not allowed, over HTTP/2', listener: 'off', http2: [], seen: '403 end reset 0', logged: '403  upgrade_failed' },
  { what: 'passed on, over HTTP/2', listener: 'passes', http2: ['hi'], seen: '200 <hi>', logged: LEFT },
  { what: 'passed on to HTTP/2, over HTTP/2', listener: 'passes2', http2: ['hi', FIN], seen: '200 <hi> end', logged: FINE },
];

const stage = async (stack: AsyncDisposableStack) => {
  const answer = (text: string): string => (text.startsWith('PROXY ') ? '<PROXY TCP4>\r\n' : `<${text}>`);
  const tcp = stack.use(
    await startBackend((socket, text) => {
      if (text.startsWith('POST')) socket.end('what?\r\n\r\n');
      else if (text === 'bye') socket.end('ciao');
      else if (text === 'rst') socket.resetAndDestroy();
      else socket.write(answer(text));
    }),
  );
  const passing = stack.use(
    await startBackend((socket, text) => {
      if (text.startsWith('CONNECT')) socket.write('HTTP/1.1 200 Established\r\n\r\n');
      else if (text === 'bye') socket.end('ciao');
      else socket.write(answer(text));
    }),
  );
  const passing2 = stack.use(
    await http2Backend((stream) => {
      stream.respond({ ':status': 200 });
      stream.on('data', (bytes) => (String(bytes) === 'bye' ? stream.end('ciao') : stream.write(answer(String(bytes)))));
      stream.on('end', () => stream.end());
    }),
  );
  const fixed: Partial<Cluster> = { type: 'STATIC' };
  const clusters = [
    staticCluster('tcp', [tcp.port], fixed),
    staticCluster('empty', [], fixed),
    staticCluster('closed', [await freePort()], fixed),
    staticCluster('passing', [passing.port], fixed),
    staticCluster('passing2', [passing2.port], { ...fixed, ...HTTP2_CLUSTER }),
  ];
  const ends = (cluster: string, connect_config: object = {}): readonly Route[] => {
    const route = { cluster, upgrade_configs: [{ upgrade_type: 'CONNECT', connect_config }] };
    return [
      { match: { connect_matcher: {} }, route },
      { match: { prefix: '/' }, route },
    ];
  };
  const passes = (cluster: string): readonly Route[] => [{ match: { connect_matcher: {} }, route: { cluster } }];
  const on = { upgrade_configs: [{ upgrade_type: 'CONNECT' }], http2_protocol_options: { allow_connect: true } };
  const off = { http2_protocol_options: { allow_connect: true } };
  const listeners = [
    listener('ends', hcm(ends('tcp'), off)),
    listener('closed', hcm(ends('closed'), off)),
    listener('empty', hcm(ends('empty'), off)),
    listener('proxied', hcm(ends('tcp', { proxy_protocol_config: { version: 'V1' } }), off)),
    listener('posts', hcm(ends('tcp', { allow_post: true }), off)),
    listener('off', hcm(passes('passing'), off)),
    listener('prefix', hcm([{ match: { prefix: '/' }, route: { cluster: 'passing' } }], on)),
    listener('passes', hcm(passes('passing'), on)),
    listener('passes2', hcm(passes('passing2'), on)),
  ];
  return { clusters, listeners };
};

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const until = async (done: () => boolean): Promise<void> => {
  for (const end = performance.now() + 1500; !done() && performance.now() < end; ) await pause(5);
};

const overHttp1 = async (steps: readonly Step[], port: number, seen: string): Promise<string> => {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  let got = '';
  const read = (): string => {
    const [head = '', ...rest] = got.split('\r\n\r\n');
    const body = rest.join('\r\n\r\n');
    return got === '' ? '' : `${head.split('\r\n')[0]}~~${body.replaceAll('\r\n', '~').replace(/^[^<]*protocol error$/, '')}`;
  };
  socket.on('data', (bytes) => {
    got += bytes.toString('latin1');
  });
  socket.on('error', () => {});
  await once(socket, 'connect');
  let first = true;
  for (const step of steps) {
    if (step === FIN) socket.end();
    else if (!first) socket.write(step);
    else if (/^(CONNECT|POST)/.test(step)) socket.write(step);
    else {
      socket.write(CONNECT);
      await until(() => got.includes('\r\n\r\n'));
      if (seen.includes('PROXY')) await until(() => got.includes('PROXY'));
      if (step !== '') socket.write(step);
    }
    first = false;
    await pause(30);
  }
  await until(() => read() === seen);
  socket.destroy();
  return read();
};

const overHttp2 = async (steps: readonly Step[], port: number, seen: string): Promise<string> => {
  using client = await rawClient(port);
  client.send(
    frame(
      FRAME.headers,
      4,
      1,
      block([
        [':method', 'CONNECT'],
        [':authority', 'x:1'],
      ]),
    ),
  );
  const read = (): string => {
    const words: string[] = [];
    for (const { type, flags, id, payload } of client.frames) {
      if (id !== 1) continue;
      if (type === FRAME.headers)
        words.push(payload[0] === 0x88 ? '200' : (/[345]\d\d/.exec(payload.toString('latin1'))?.[0] ?? statusOf(payload)));
      else if (type === FRAME.data && payload.length > 0) words.push(payload.toString());
      if ((type === FRAME.data || type === FRAME.headers) && (flags & 1) !== 0) words.push('end');
      if (type === FRAME.reset) words.push(`reset ${payload.readUInt32BE(0)}`);
    }
    return words.join(' ');
  };
  await until(() => read() !== '');
  for (const step of steps) {
    client.send(step === FIN ? frame(FRAME.data, 1, 1) : frame(FRAME.data, 0, 1, Buffer.from(step)));
    await pause(30);
  }
  await until(() => read() === seen);
  return read();
};

/** Of a head whose status is written with Huffman's code. */
const statusOf = (payload: Buffer): string => {
  const digits = payload.subarray(2, 4).toString('hex');
  return { '680d': '403', '6c0d': '503', '6c1a': '503', '6803': '403', '640e': '302' }[digits] ?? digits;
};

const play = (row: Row, port: number): Promise<string> =>
  row.http1 === undefined ? overHttp2(row.http2 ?? [], port, row.seen) : overHttp1(row.http1, port, row.seen);

test('CONNECT is ended or passed on, and logged, as the table says', { timeout: 120_000 }, async () => {
  await using stack = new AsyncDisposableStack();
  const p = stack.use(await startPlane(await stage(stack)));
  for (const row of ROWS) {
    const before = p.http.length;
    const seen = await play(row, p.port(row.listener));
    await until(() => p.http.length > before);
    const last = p.http.at(-1);
    assert.deepEqual([seen, `${last?.status} ${last?.flags} ${last?.details}`], [row.seen, row.logged], row.what);
  }
  assert.deepEqual(p.problems, []);
});

test('stock Envoy does with CONNECT what the table says', { timeout: 120_000, skip: NO_ENVOY }, async () => {
  await using stack = new AsyncDisposableStack();
  const envoy = stack.use(await startEnvoy(await stage(stack)));
  for (const row of ROWS) {
    const before = envoy.log().length;
    const seen = await play(row, envoy.port(row.listener));
    await until(() => envoy.log().length > before);
    const last = envoy.log().at(-1);
    assert.deepEqual([seen, `${last?.status} ${last?.flags} ${last?.details}`], [row.seen, row.logged], row.what);
  }
});
