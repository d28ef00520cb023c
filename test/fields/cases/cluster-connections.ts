// Connections of a cluster: where they lead, how many there are, when they end.
import { execFileSync } from 'node:child_process';
import type { Cluster, HealthCheck, Route } from '../../../src/xds/gen/types.ts';
import {
  type Backend,
  hcm,
  httpBackend,
  listener as onLoopback,
  RawClient,
  ROUTER,
  startBackend,
  staticCluster,
  tcpProxy,
} from '../../proxy/harness.ts';
import { cluster, endpoints, type FieldCase, type LivePlane, listener, live } from '../case.ts';
import { ask } from '../http-probe.ts';

const WAITS_MS = 1_200;
const within = async (check: () => boolean): Promise<boolean> => {
  const until = performance.now() + WAITS_MS;
  while (!check() && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 10));
  return check();
};
const all = (more: Partial<Route> = {}) => listener(onLoopback('in', hcm([{ match: { prefix: '/' }, route: { cluster: 'c' }, ...more }])));

/** Answers with the number of the connection; nothing where that is asked for. */
const numbering = (): Promise<Backend> =>
  startBackend((socket, text, n) => {
    if (!/^x-silent/im.test(text)) socket.write(`HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n${n}`);
  });
let backend: Backend;
const start = async () => {
  backend = await httpBackend(() => 'here');
  return backend;
};

const destinationHeader: FieldCase = {
  name: 'destination-header',
  start,
  parts: () => [
    cluster({
      name: 'c',
      type: 'ORIGINAL_DST',
      lb_policy: 'CLUSTER_PROVIDED',
      original_dst_lb_config: { use_http_header: true, http_header_name: 'x-to', upstream_port_override: backend.port },
    }),
    all(),
  ],
  observe: live(async ({ port }) => (await ask(port(), '/', { headers: ['x-to: 127.0.0.1:1'] })).body),
  expect: 'here',
};

const destinationMetadata: FieldCase = {
  name: 'destination-metadata',
  start,
  parts: () => [
    cluster({
      name: 'c',
      type: 'ORIGINAL_DST',
      lb_policy: 'CLUSTER_PROVIDED',
      original_dst_lb_config: { metadata_key: { key: 'found', path: [{ key: 'to' }] } },
    }),
    listener(
      onLoopback(
        'in',
        hcm([{ match: { prefix: '/' }, route: { cluster: 'c' } }], {
          http_filters: [
            {
              name: 'says',
              typed_config: {
                '@type': 'type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config',
                metadata: [{ metadata_namespace: 'found', value: { to: `127.0.0.1:${backend.port}` } }],
              },
            },
            ROUTER,
          ],
        }),
      ),
    ),
  ],
  observe: live(async ({ port }) => (await ask(port(), '/')).body),
  expect: 'here',
};

const clusterMetadata: FieldCase = {
  name: 'cluster-metadata',
  start,
  parts: () => [
    cluster(staticCluster('c', [backend.port], { metadata: { filter_metadata: { own: { team: 'red' } } } })),
    all({ response_headers_to_add: [{ header: { key: 'x-team', value: '%CLUSTER_METADATA(own:team)%' } }] }),
  ],
  observe: live(async ({ port }) => (await ask(port(), '/')).headers.get('x-team')),
  expect: 'red',
};

const EDS: Partial<Cluster> = { type: 'EDS', eds_cluster_config: { service_name: 'hosts', eds_config: { ads: {} } } };
const hostCount = ({ plane }: LivePlane): number => [...plane.clusters()].flatMap((c) => [...c.hosts()]).length;
const at = (port: number) => ({ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } } } });
const staleEndpoints: FieldCase = {
  name: 'stale-endpoints',
  start,
  parts: () => [
    cluster({ name: 'c', ...EDS }),
    endpoints({
      cluster_name: 'hosts',
      policy: { endpoint_stale_after: '0.05s' },
      endpoints: [{ lb_endpoints: [at(backend.port)] }],
    }),
  ],
  observe: live((plane) => within(() => hostCount(plane) === 0)),
  expect: true,
};

/** With a server of its own: what other runs do is not seen. */
const alone = (
  name: string,
  config: Partial<Cluster>,
  happens: (at: LivePlane, own: Backend) => Promise<unknown>,
  expect: unknown,
): FieldCase => ({
  name,
  parts: () => [cluster({ name: 'c', ...EDS, connect_timeout: '1s', ...config }), all()],
  observe: async (parts) => {
    await using own = await numbering();
    return await live(async (plane) => {
      plane.plane.setEndpoints({ cluster_name: 'hosts', endpoints: [{ lb_endpoints: [at(own.port)] }] });
      return await happens(plane, own);
    })(parts);
  },
  expect,
});
const silently = async (port: number, act: () => Promise<unknown>): Promise<unknown> => {
  const client = await RawClient.open(port);
  client.send('GET / HTTP/1.1\r\nhost: a.test\r\nx-silent: 1\r\n\r\n');
  try {
    return await act();
  } finally {
    client.close();
  }
};

const hostSetChange = alone(
  'host-set-change',
  { common_lb_config: { close_connections_on_host_set_change: true } },
  async ({ plane, port }, own) => {
    const before = (await ask(port(), '/')).body;
    const sick = { ...at(1), health_status: 'UNHEALTHY' } as const;
    plane.setEndpoints({ cluster_name: 'hosts', endpoints: [{ lb_endpoints: [at(own.port), sick] }] });
    return (await ask(port(), '/')).body === before ? 'kept' : 'new';
  },
  'new',
);
const preconnect = alone(
  'preconnect',
  { preconnect_policy: { per_upstream_preconnect_ratio: 2 } },
  ({ port }, own) => silently(port(), () => within(() => own.sockets.length === 2)),
  true,
);
const clusterKeepAlive = alone(
  'cluster-keepalive',
  { upstream_connection_options: { tcp_keepalive: { keepalive_time: 770 } } },
  ({ port }, own) =>
    silently(port(), async () => {
      if (!(await within(() => own.received.join('').includes('x-silent')))) return 'no connection';
      const seen = execFileSync('ss', ['-tno', 'state', 'established', `dport = :${own.port}`], { encoding: 'utf8' });
      return /timer:\(keepalive,12min/.test(seen);
    }),
  true,
);

let other: Backend;
const limitPools: FieldCase = {
  name: 'limit-pools',
  start: async () => {
    backend = await numbering();
    other = await numbering();
    return {
      [Symbol.asyncDispose]: async () => {
        await backend[Symbol.asyncDispose]();
        await other[Symbol.asyncDispose]();
      },
    };
  },
  parts: () => [
    cluster(
      staticCluster('c', [backend.port, other.port], {
        circuit_breakers: { thresholds: [{ max_connections: 7, max_connection_pools: 1, track_remaining: true }] },
      }),
    ),
    all(),
  ],
  observe: live(async ({ port, plane }) => {
    const statuses = [(await ask(port(), '/')).status, (await ask(port(), '/')).status];
    return [statuses, plane.stats.find('cluster.c.circuit_breakers.default.remaining_cx')?.value];
  }),
  expect: [[200, 503], 6],
};

/** It never begins its handshake. */
const connectTimeout: FieldCase = {
  name: 'connect-timeout',
  start: async () => {
    backend = await startBackend(() => undefined);
    return backend;
  },
  parts: () => [
    cluster(
      staticCluster('c', [backend.port], {
        connect_timeout: '0.1s',
        transport_socket: {
          name: 'tls',
          typed_config: { '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext' },
        },
      }),
    ),
    all(),
  ],
  observe: live(async ({ port }) => (await ask(port(), '/')).status),
  expect: 503,
};

// --- health

const CHECKED: HealthCheck = {
  timeout: '5s',
  interval: '0.03s',
  no_traffic_interval: '0.03s',
  unhealthy_threshold: 1,
  healthy_threshold: 1,
};
const checkedBy = (path: string): Partial<Cluster> => ({ health_checks: [{ ...CHECKED, http_health_check: { path } }] });
const removedAtOnce = alone(
  'removed-at-once',
  { ...checkedBy('/'), ignore_health_on_host_removal: true },
  async (at) => {
    if (!(await within(() => [...at.plane.clusters()].every((c) => c.warm)))) return 'not warm';
    at.plane.setEndpoints({ cluster_name: 'hosts', endpoints: [] });
    return hostCount(at);
  },
  0,
);
const newHosts: FieldCase = {
  name: 'new-hosts-wait',
  start: async () => {
    backend = await startBackend(() => undefined);
    return backend;
  },
  parts: () => [
    cluster(staticCluster('c', [backend.port], { ...checkedBy('/'), common_lb_config: { ignore_new_hosts_until_first_hc: true } })),
  ],
  observe: live(async ({ plane }) => plane.stats.find('cluster.c.membership_excluded')?.value),
  expect: 1,
};
/** The checks fail once a connection stands. */
const healthCloses: FieldCase = {
  name: 'health-closes-connections',
  parts: () => [
    cluster({ name: 'c', ...EDS, ...checkedBy('/checked'), close_connections_on_host_health_failure: true }),
    listener(onLoopback('in', tcpProxy('c'))),
  ],
  observe: async (parts) => {
    let failing = false;
    await using own = await startBackend((socket, text) => {
      if (text.startsWith('GET /checked'))
        socket.write(failing ? 'HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n' : 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n');
      else socket.write('hello');
    });
    return await live(async ({ plane, port }) => {
      plane.setEndpoints({ cluster_name: 'hosts', endpoints: [{ lb_endpoints: [at(own.port)] }] });
      if (!(await within(() => [...plane.clusters()].every((c) => c.warm)))) return 'not warm';
      const client = await RawClient.open(port());
      client.send('hi');
      const said = await client.bytes(5);
      failing = true;
      const ended = await within(() => client.ended);
      client.close();
      return [said, ended];
    })(parts);
  },
  expect: ['hello', true],
};

export const CONNECTION_CASES: readonly FieldCase[] = [
  destinationHeader,
  destinationMetadata,
  clusterMetadata,
  staleEndpoints,
  hostSetChange,
  preconnect,
  clusterKeepAlive,
  limitPools,
  connectTimeout,
  removedAtOnce,
  newHosts,
  healthCloses,
];
