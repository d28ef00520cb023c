// Listeners and what is below them: drains, limits of the process, bytes that wait, things only logs show, what waits on demand.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import type { DataPlaneOptions } from '../../../src/proxy/data-plane.ts';
import type { Listener, Route, VirtualHost } from '../../../src/xds/gen/types.ts';
import {
  type Backend,
  chains,
  hcm,
  listener as onLoopback,
  RawClient,
  ROUTER,
  startBackend,
  staticCluster,
  tcpProxy,
  toCluster,
} from '../../proxy/harness.ts';
import { cluster, type FieldCase, listener, live, routes } from '../case.ts';
import { ask, bodies, echoServer } from '../http-probe.ts';

const answers = (text: string, more: Parameters<typeof hcm>[1] = {}) =>
  hcm([{ match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: text } } }], more);

const drainType: FieldCase = {
  name: 'drain-type',
  parts: () => [listener(onLoopback('in', answers('here'), { drain_type: 'MODIFY_ONLY' }))],
  observe: live(async ({ plane, port }) => {
    plane.drainGracefully(false);
    return (await ask(port(), '/')).headers.get('connection') ?? 'stays';
  }),
  expect: 'stays',
};

const NOW = [{ name: 'memory', from: 0, full: 0.000001 }];
/** Under a process that has reached its limits. */
const limited = (name: string, config: Partial<Listener>, overload: Partial<NonNullable<DataPlaneOptions['overload']>>): FieldCase => ({
  name,
  parts: () => [listener(onLoopback('in', answers('here'), config))],
  observe: live(
    async ({ port }) => {
      const first = await RawClient.open(port());
      const [body = ''] = await bodies(port(), [['/']]);
      first.close();
      return body;
    },
    () => ({
      overload: { refreshMs: 10_000, memory: new Map([['memory', 1000]]), maxConnections: Infinity, actions: new Map(), ...overload },
    }),
  ),
  expect: 'here',
});
const beyondAll = limited('beyond-all-connections', { ignore_global_conn_limit: true }, { maxConnections: 1 });
const beyondOverload = limited(
  'beyond-overload',
  { bypass_overload_manager: true },
  { actions: new Map([['envoy.overload_actions.reject_incoming_connections', NOW]]) },
);

const quick = { base_interval: '0.001s', max_interval: '0.002s' };
let failing: Backend;
/** What a connection may hold bounds what a retry may hold. */
const listenerBytes: FieldCase = {
  name: 'listener-bytes',
  start: async () => {
    failing = await startBackend((socket) => socket.write('HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n'));
    return failing;
  },
  parts: () => [
    cluster(staticCluster('failing', [failing.port])),
    listener(
      onLoopback('in', hcm([toCluster('failing', { retry_policy: { retry_on: '5xx', num_retries: 1, retry_back_off: quick } })]), {
        per_connection_buffer_limit_bytes: 20,
      }),
    ),
  ],
  observe: live(async ({ port, plane }) => {
    await ask(port(), '/', { method: 'POST', body: 'x'.repeat(40) });
    return plane.stats.counter('cluster.failing.upstream_rq_retry').value;
  }),
  expect: 0,
};

const MUCH = 48 * 1024 * 1024;
const UPLOAD_MS = 2_500;
let deaf: Backend;
/** To a server that reads nothing, as much leaves as may wait for it. */
const clusterBytes: FieldCase = {
  name: 'cluster-bytes',
  start: async () => {
    deaf = await startBackend(() => undefined);
    deaf.server.on('connection', (socket) => socket.pause());
    return deaf;
  },
  parts: () => [
    cluster(staticCluster('deaf', [deaf.port], { per_connection_buffer_limit_bytes: 2 * MUCH })),
    listener(onLoopback('in', tcpProxy('deaf'))),
  ],
  observe: live(async ({ port }) => {
    const socket = connect({ port: port(), host: '127.0.0.1' });
    socket.on('error', () => undefined);
    try {
      await once(socket, 'connect');
      const signal = AbortSignal.timeout(UPLOAD_MS);
      const gone = new Promise<boolean>((resolve) => {
        socket.write(Buffer.alloc(MUCH), () => resolve(true));
        signal.onabort = () => resolve(false);
      });
      return await gone;
    } finally {
      socket.destroy();
    }
  }),
  expect: true,
};

const MARK = (value: string) => ({ filter_metadata: { own: { mark: value } } });
let echo: Backend;
const startEcho = async () => {
  echo = await echoServer();
  return echo;
};
const hostMetadata: FieldCase = {
  name: 'host-and-listener-metadata',
  start: startEcho,
  parts: () => [
    cluster(staticCluster('echo', [echo.port])),
    listener(
      onLoopback(
        'in',
        hcm([], {
          route_config: {
            name: 'r',
            virtual_hosts: [
              {
                name: 'v',
                domains: ['*'],
                metadata: MARK('host'),
                virtual_clusters: [{ name: 'orders', headers: [{ name: ':path', string_match: { prefix: '/orders' } }] }],
                routes: [toCluster('echo')],
                response_headers_to_add: ['VIRTUAL_HOST', 'LISTENER'].map((of) => ({
                  header: { key: `x-${of}`, value: `%METADATA(${of}:own:mark)%` },
                })),
              },
            ],
            response_headers_to_add: [{ header: { key: 'x-vcluster', value: '%VIRTUAL_CLUSTER_NAME%' } }],
          },
        }),
        { metadata: MARK('listener') },
      ),
    ),
  ],
  observe: live(async ({ port }) => {
    const seen = async (path: string) => {
      const { headers } = await ask(port(), path);
      return ['x-virtual_host', 'x-listener', 'x-vcluster'].map((name) => headers.get(name) ?? '-');
    };
    return [await seen('/orders/1'), await seen('/')];
  }),
  expect: [
    ['host', 'listener', 'orders'],
    ['host', 'listener', '-'],
  ],
};

const ON_DEMAND = {
  name: 'envoy.filters.http.on_demand',
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.filters.http.on_demand.v3.OnDemand' as const,
    odcds: { source: { ads: {} }, timeout: '0.1s' },
  },
};
const missing =
  (routesOf: Partial<VirtualHost>): FieldCase['parts'] =>
  () => [
    listener(
      onLoopback(
        'in',
        hcm([], {
          route_config: { name: 'r', validate_clusters: false, virtual_hosts: [{ name: 'v', domains: ['*'], ...routesOf }] },
          http_filters: [ON_DEMAND, ROUTER],
        }),
      ),
    ),
  ];
const toNone: Route = { match: { prefix: '/' }, route: { cluster: 'none' } };
const onDemandCluster: FieldCase = {
  name: 'on-demand-cluster',
  parts: missing({ routes: [toNone] }),
  observe: live(
    async ({ port, plane }) => {
      const from = performance.now();
      const { status } = await ask(port(), '/');
      return [status, performance.now() - from > 80, [...plane.demanded().cluster]];
    },
    () => ({ asksOnDemand: true }),
  ),
  expect: [503, true, ['none']],
};

const onDemandHost: FieldCase = {
  name: 'on-demand-host',
  parts: () => [
    routes({
      name: 'named',
      vhds: { config_source: { ads: {}, initial_fetch_timeout: '0.1s' } },
    }),
    listener(
      onLoopback('in', {
        name: 'http',
        typed_config: {
          '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
          stat_prefix: 'named',
          rds: { route_config_name: 'named', config_source: { ads: {} } },
          http_filters: [ON_DEMAND, ROUTER],
        },
      }),
    ),
  ],
  observe: live(
    async ({ port, plane }) => {
      const { status } = await ask(port(), '/');
      return [status, [...plane.demanded().host], [...plane.referencedRoutes()]];
    },
    () => ({ asksOnDemand: true }),
  ),
  expect: [404, ['named/a.test'], ['named']],
};

let lines: Backend;
/** A POST becomes a tunnel as CONNECT does. */
const postTunnel: FieldCase = {
  name: 'post-tunnel',
  start: async () => {
    lines = await startBackend((socket, text) => socket.end(text));
    return lines;
  },
  parts: () => [
    cluster(staticCluster('lines', [lines.port])),
    listener(
      onLoopback(
        'in',
        hcm([
          {
            match: { prefix: '/' },
            route: { cluster: 'lines', upgrade_configs: [{ upgrade_type: 'CONNECT', connect_config: { allow_post: true } }] },
          },
        ]),
      ),
    ),
  ],
  observe: live(async ({ port }) => {
    const client = await RawClient.open(port());
    const timer = setTimeout(() => client.close(), 800);
    client.send('POST /t HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n');
    const rest = await client.rest();
    clearTimeout(timer);
    client.close();
    return [rest.includes('POST /t'), rest.slice(0, 15)];
  }),
  expect: [false, 'HTTP/1.1 200 OK'],
};

const backlog: FieldCase = {
  name: 'listener-backlog',
  parts: () => [listener(onLoopback('in', answers('here'), { tcp_backlog_size: 77 }))],
  observe: live(async ({ port }) => {
    const seen = execFileSync('ss', ['-ltnH', `sport = :${port()}`], { encoding: 'utf8' });
    return seen.trim().split(/\s+/)[2];
  }),
  expect: '77',
};

const FAULT = 'type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault' as const;
const discoveredLate: FieldCase = {
  name: 'discovered-filter-default',
  parts: () => [
    listener(
      onLoopback(
        'in',
        hcm([{ match: { prefix: '/' }, direct_response: { status: 200 } }], {
          http_filters: [
            {
              name: 'mine',
              config_discovery: {
                config_source: { ads: {} },
                type_urls: [FAULT],
                default_config: { '@type': FAULT, abort: { http_status: 418, percentage: { numerator: 100 } } },
                apply_default_config_without_warming: true,
              },
            },
            ROUTER,
          ],
        }),
      ),
    ),
  ],
  observe: live(async ({ port }) => (await ask(port(), '/')).status),
  expect: 418,
};

/** A client whose first bytes tell too little in time. */
const goesOn: FieldCase = {
  name: 'listener-filters-undecided',
  parts: () => [
    listener(
      chains('in', [{ filters: [answers('here')] }], {
        listener_filters: [
          {
            name: 'envoy.filters.listener.tls_inspector',
            typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector' },
          },
          {
            name: 'envoy.filters.listener.http_inspector',
            typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector' },
          },
        ],
        listener_filters_timeout: '0.05s',
        continue_on_listener_filters_timeout: true,
      }),
    ),
  ],
  observe: live(async ({ port }) => {
    const client = await RawClient.open(port());
    const timer = setTimeout(() => client.close(), 1_000);
    client.send('GE');
    await new Promise((resolve) => setTimeout(resolve, 250));
    client.send('T / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n');
    const text = await client.rest();
    clearTimeout(timer);
    client.close();
    return text.slice(9, 12);
  }),
  expect: '200',
};

const CLOSE_MS = 500;
/** A client that has its answer and does not end is cut off. */
const delayedClose: FieldCase = {
  name: 'delayed-close',
  parts: () => [listener(onLoopback('in', answers('here', { delayed_close_timeout: '0.1s' })))],
  observe: live(async ({ port }) => {
    const socket = connect({ port: port(), host: '127.0.0.1', allowHalfOpen: true });
    socket.on('error', () => undefined);
    socket.resume();
    socket.write('GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n');
    await new Promise((resolve) => socket.once('end', resolve));
    const from = performance.now();
    const poke = setInterval(() => socket.write('x'), 20);
    await new Promise((resolve) => {
      socket.once('close', resolve);
      setTimeout(resolve, 2 * CLOSE_MS);
    });
    clearInterval(poke);
    socket.destroy();
    return performance.now() - from < CLOSE_MS;
  }),
  expect: true,
};

export const LISTENER_CASES: readonly FieldCase[] = [
  drainType,
  beyondAll,
  beyondOverload,
  listenerBytes,
  clusterBytes,
  hostMetadata,
  onDemandCluster,
  onDemandHost,
  postTunnel,
  goesOn,
  backlog,
  discoveredLate,
  delayedClose,
];
