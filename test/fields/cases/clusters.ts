// Limits, health by traffic, and the protocol of a cluster's connections.
import { execFileSync } from 'node:child_process';
import type { Cluster, HttpConnectionManager, OutlierDetection, RouteAction } from '../../../src/xds/gen/types.ts';
import {
  type Backend,
  hcm,
  httpBackend,
  listener as onLoopback,
  RawClient,
  startBackend,
  staticCluster,
  tcpProxy,
} from '../../proxy/harness.ts';
import { exchange, type Http2Backend, http2Backend, openSession, protocolOptions } from '../../proxy/http2-peers.ts';
import { cluster, type FieldCase, type LivePlane, listener, live } from '../case.ts';
import { type Ask, ask, echoServer } from '../http-probe.ts';

let echo: Backend;
const start = async () => {
  echo = await echoServer();
  return echo;
};
const on = (
  name: string,
  config: () => Partial<Cluster>,
  observe: (at: LivePlane) => Promise<unknown>,
  expect: unknown,
  more: {
    route?: RouteAction;
    manager?: Partial<HttpConnectionManager>;
    start?: FieldCase['start'];
    ports?: () => number[];
    random?: () => number;
  } = {},
): FieldCase => ({
  name,
  start: more.start ?? start,
  parts: () => [
    cluster(staticCluster('c', more.ports?.() ?? [echo.port], config())),
    listener(onLoopback('in', hcm([{ match: { prefix: '/' }, route: { cluster: 'c', ...more.route } }], more.manager))),
  ],
  observe: live(observe, () => (more.random === undefined ? {} : { random: more.random })),
  expect,
});

const outcome = async (port: number, path: string, more?: Ask): Promise<string> => {
  try {
    const answer = await ask(port, path, more);
    return `${answer.status} ${answer.headers.get('x-envoy-overloaded') ?? ''}`.trim();
  } catch {
    return 'none';
  }
};
const silent = { headers: ['x-answer: silent'] };

/** One request that stays without an answer, then another one. */
const second = async ({ port }: LivePlane): Promise<string> => {
  const first = await RawClient.open(port());
  first.send('GET / HTTP/1.1\r\nhost: a.test\r\nx-answer: silent\r\n\r\n');
  await new Promise((resolve) => setTimeout(resolve, 40));
  const said = await outcome(port(), '/');
  first.close();
  return said;
};
const most = (limits: object) => () => ({ circuit_breakers: { thresholds: [limits] } });
export const limitRequests = on('limit-requests', most({ max_requests: 1 }), second, '503 true');
export const limitConnections = on('limit-connections', most({ max_connections: 1, max_pending_requests: 0 }), second, '503 true');
export const limitHigh = on('limit-high-priority', most({ priority: 'HIGH', max_requests: 1 }), second, '503 true', {
  route: { priority: 'HIGH' },
});
export const limitHosts = on(
  'limit-host-connections',
  () => ({ circuit_breakers: { thresholds: [{ max_pending_requests: 0 }], per_host_thresholds: [{ max_connections: 1 }] } }),
  second,
  '503 true',
);
const failing = { headers: ['x-answer: HTTP/1.1 503 No\\ncontent-length: 0\\n\\n'] };
const retrying = { retry_policy: { retry_on: '5xx', num_retries: 2, retry_back_off: { base_interval: '0.001s' } } };
const retriesOf = async ({ port, plane }: LivePlane): Promise<unknown> => {
  await outcome(port(), '/', failing);
  return plane.stats.counter('cluster.c.upstream_rq_retry_overflow').value;
};
export const limitRetries = on('limit-retries', most({ max_retries: 0 }), retriesOf, 1, { route: retrying });
export const limitBudget = on(
  'limit-retry-budget',
  most({ retry_budget: { budget_percent: { value: 1 }, min_retry_concurrency: 0 } }),
  retriesOf,
  1,
  { route: retrying },
);

// --- outlier detection

const pairOf = () => httpBackend((_, head) => (/^x-fail/im.test(head) ? 'HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n' : 'ok'));
let first: Backend;
let other: Backend;
const startPair = async () => {
  first = await pairOf();
  other = await pairOf();
  return {
    [Symbol.asyncDispose]: async () => {
      await first[Symbol.asyncDispose]();
      await other[Symbol.asyncDispose]();
    },
  };
};
const ejected = (plane: LivePlane['plane']): number =>
  [...plane.clusters()].flatMap((c) => [...c.hosts()].map((h) => h.ejected)).filter(Boolean).length;
const outlier = (name: string, outlier_detection: OutlierDetection, failures: number, expect: unknown, waitMs = 0): FieldCase =>
  on(
    name,
    () => ({ outlier_detection }),
    async ({ port, plane }) => {
      for (let n = 0; n < failures; n++) await outcome(port(), '/', { headers: ['x-fail: 1'] });
      if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
      return ejected(plane);
    },
    expect,
    { start: startPair, ports: () => [first.port, other.port], random: () => 0.5 },
  );
export const outlierErrors = outlier('outlier-errors', { consecutive_5xx: 2, max_ejection_percent: 50 }, 6, 1);
export const outlierOff = outlier(
  'outlier-not-enforced',
  { consecutive_5xx: 2, enforcing_consecutive_5xx: 0, enforcing_consecutive_gateway_failure: 0 },
  12,
  0,
);
export const outlierReturns = outlier(
  'outlier-returns',
  { consecutive_5xx: 2, max_ejection_percent: 50, interval: '0.05s', base_ejection_time: '0.05s', max_ejection_time: '0.05s' },
  6,
  0,
  300,
);

// --- protocols

const HTTP1 =
  (more: object = {}, common: object = {}) =>
  () =>
    protocolOptions({ common_http_protocol_options: common, explicit_http_config: { http_protocol_options: more } });

let raw: Backend;
const heads: string[] = [];
const startRaw = async () => {
  raw = await startBackend((socket, text, n) => {
    heads.push(text);
    socket.write(
      `HTTP/1.1 200 OK\r\nx-connection: ${n}\r\nx-names: ${/^X-Some-Name/m.test(text) ? 'proper' : 'lower'}\r\ncontent-length: 0\r\n\r\n`,
    );
  });
  return raw;
};
const twice = async ({ port }: LivePlane): Promise<string> => {
  const one = await ask(port(), '/', { headers: ['x-some-name: 1'] });
  const two = await ask(port(), '/', { headers: ['x-some-name: 1'] });
  return `${one.headers.get('x-connection') === two.headers.get('x-connection') ? 'kept' : 'new'} ${two.headers.get('x-names')}`;
};
const overRaw = { start: startRaw, ports: () => [raw.port] };
export const properCase = on(
  'upstream-proper-case',
  HTTP1({ header_key_format: { proper_case_words: {} } }),
  twice,
  'kept proper',
  overRaw,
);
export const oneRequest = on('upstream-one-request', HTTP1({}, { max_requests_per_connection: 1 }), twice, 'new lower', overRaw);
export const oneRequestOld = on('upstream-one-request-old', () => ({ max_requests_per_connection: 1 }), twice, 'new lower', overRaw);
const later = async (at: LivePlane): Promise<string> => {
  const before = (await ask(at.port(), '/')).headers.get('x-connection');
  await new Promise((resolve) => setTimeout(resolve, 250));
  return (await ask(at.port(), '/')).headers.get('x-connection') === before ? 'kept' : 'new';
};
export const upstreamIdle = on('upstream-idle', HTTP1({}, { idle_timeout: '0.05s' }), later, 'new', overRaw);
export const upstreamAge = on('upstream-age', HTTP1({}, { max_connection_duration: '0.05s' }), later, 'new', overRaw);
export const upstreamOldCommon = on(
  'upstream-old-common',
  () => ({ common_http_protocol_options: { idle_timeout: '0.05s' } }),
  later,
  'new',
  overRaw,
);
export const upstreamStream = on(
  'upstream-stream-time',
  HTTP1({}, { max_stream_duration: '0.05s' }),
  ({ port }) => outcome(port(), '/', silent),
  '504',
);
const bigHead = { headers: [`x-answer: HTTP/1.1 200 OK\\nx-big: ${'x'.repeat(2500)}\\ncontent-length: 0\\n\\n`] };
export const upstreamHead = on(
  'upstream-head',
  HTTP1({}, { max_response_headers_kb: 2 }),
  ({ port }) => outcome(port(), '/', bigHead),
  '502',
);
const manyLines = { headers: [`x-answer: HTTP/1.1 200 OK\\n${'x-n: 1\\n'.repeat(6)}content-length: 0\\n\\n`] };
export const upstreamLines = on(
  'upstream-lines',
  HTTP1({}, { max_headers_count: 5 }),
  ({ port }) => outcome(port(), '/', manyLines),
  '502',
);

let h2: Http2Backend;
const startH2 = async () => {
  h2 = await http2Backend((stream, headers) => {
    stream.respond({ ':status': 200, 'x-version': 'two' });
    stream.end(String(headers[':path']));
  });
  return h2;
};
const version = async ({ port }: LivePlane): Promise<string> => {
  try {
    return (await ask(port(), '/')).headers.get('x-version') ?? 'one';
  } catch {
    return 'none';
  }
};
const overH2 = { start: startH2, ports: () => [h2.port] };
export const upstreamHttp2 = on(
  'upstream-http2',
  () => protocolOptions({ explicit_http_config: { http2_protocol_options: {} } }),
  version,
  'two',
  overH2,
);
export const upstreamHttp2Old = on('upstream-http2-old', () => ({ http2_protocol_options: {} }), version, 'two', overH2);
export const upstreamAsClient = on(
  'upstream-as-client',
  () => protocolOptions({ use_downstream_protocol_config: { http_protocol_options: {}, http2_protocol_options: {} } }),
  async ({ port }) => {
    const session = await openSession(port());
    const { headers } = await exchange(session, { ':path': '/' });
    session.destroy();
    return headers[':status'];
  },
  200,
  overH2,
);

// --- connections

/** What the kernel says of the timers of the connection to a port. */
const timersTo = (port: number): string => execFileSync('ss', ['-tno', 'state', 'established', `dport = :${port}`], { encoding: 'utf8' });
export const keepAlive: FieldCase = {
  name: 'tcp-keepalive',
  start,
  parts: () => [
    cluster(staticCluster('c', [echo.port], { upstream_connection_options: { tcp_keepalive: { keepalive_time: 77 } } })),
    listener(onLoopback('in', tcpProxy('c'))),
  ],
  observe: live(async ({ port }) => {
    await ask(port(), '/');
    const client = await RawClient.open(port());
    client.send('GET / HTTP/1.1\r\nhost: a.test\r\n\r\n');
    await client.response();
    const seen = timersTo(echo.port);
    client.close();
    return /timer:\(keepalive,1min(1[0-9])?/.test(seen);
  }),
  expect: true,
};

let mirror: Backend;
/** Answers with whom it was called by. */
const startMirror = async () => {
  mirror = await startBackend((socket) => socket.write(`HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n${socket.remoteAddress}`));
  return mirror;
};
export const bindAddress: FieldCase = {
  name: 'bind-address',
  start: startMirror,
  parts: () => [
    cluster(staticCluster('c', [mirror.port], { upstream_bind_config: { source_address: { address: '127.0.0.9', port_value: 0 } } })),
    listener(onLoopback('in', hcm([{ match: { prefix: '/' }, route: { cluster: 'c' } }]))),
  ],
  observe: live(async ({ port }) => (await ask(port(), '/')).body),
  expect: '127.0.0.9',
};

export const statName = on(
  'alt-stat-name',
  () => ({ alt_stat_name: 'other' }),
  async ({ port, plane }) => {
    await ask(port(), '/');
    return plane.stats.counter('cluster.other.upstream_rq_total').value;
  },
  1,
);
