// Which host and which cluster get a request: hash policies, subsets of labels, weights, priorities, health, copies.
import { randomUUID } from 'node:crypto';
import type { Cluster, ClusterLoadAssignment, LbEndpoint, Route, RouteAction, RouteConfiguration } from '../../../src/xds/gen/types.ts';
import { type Backend, eventually, hcm, httpBackend, listener as onLoopback, staticCluster } from '../../proxy/harness.ts';
import { cluster, endpoints, type FieldCase, type LivePlane, listener, live, routes } from '../case.ts';
import { type Ask, ask } from '../http-probe.ts';

const HOSTS = 4;
let hosts: Backend[] = [];
/** Copies that came, by `x-key`. */
const copies = new Map<string, string>();
const start = async () => {
  hosts = await Promise.all(
    Array.from({ length: HOSTS }, (_, i) =>
      httpBackend((_n, head) => {
        const key = /^x-key: (.*)$/im.exec(head)?.[1];
        const host = /^host: (.*)$/im.exec(head)?.[1] ?? '';
        if (key !== undefined && i === 1) copies.set(key, host);
        const status = /^x-fail: (.*)$/im.exec(head)?.[1] ?? '';
        return status.includes(String(i)) ? 'HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n' : String(i);
      }),
    ),
  );
  return { [Symbol.asyncDispose]: async () => void (await Promise.all(hosts.map((h) => h[Symbol.asyncDispose]()))) };
};
const endpoint = (i: number, more: Partial<LbEndpoint> = {}): LbEndpoint => ({
  endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: hosts[i]?.port ?? 0 } }, hostname: `host-${i}` },
  ...more,
});
const all = () => hosts.map((h) => h.port);

/** Which hosts answer `count` requests, in order, each once. */
const answering = async (port: number, path: string, count: number, more: (n: number) => Ask = () => ({})): Promise<string> => {
  const seen = new Set<string>();
  for (let n = 0; n < count; n++) {
    const answer = await ask(port, path, more(n));
    seen.add(answer.status === 200 ? answer.body : String(answer.status));
  }
  return [...seen].sort().join('');
};

const one = (
  name: string,
  config: () => Partial<Cluster>,
  action: RouteAction,
  probe: (at: LivePlane) => Promise<unknown>,
  expect: unknown,
  random?: () => number,
): FieldCase => ({
  name,
  start,
  parts: () => [
    cluster(staticCluster('c', all(), config())),
    listener(onLoopback('in', hcm([{ match: { prefix: '/' }, route: { cluster: 'c', ...action } }]))),
  ],
  observe: live(probe, () => (random === undefined ? {} : { random })),
  expect,
});

const ring: Partial<Cluster> = { lb_policy: 'RING_HASH', ring_hash_lb_config: { minimum_ring_size: 64 } };
const MANY = 12;
const sticky = async (port: number, more: (n: number) => [string, Ask?]): Promise<string> => {
  const seen = new Set<string>();
  for (let n = 0; n < MANY; n++) {
    const [path, asked] = more(n);
    seen.add((await ask(port, path, asked)).body);
  }
  return seen.size === 1 ? 'one' : 'several';
};

const hashed = (
  name: string,
  hash_policy: RouteAction['hash_policy'],
  probe: (port: number) => Promise<unknown>,
  expect: unknown,
): FieldCase =>
  one(
    name,
    () => ring,
    hash_policy === undefined ? {} : { hash_policy },
    ({ port }) => probe(port()),
    expect,
  );

export const hashHeader = hashed(
  'hash-header',
  [{ header: { header_name: 'x-user', regex_rewrite: { pattern: { regex: '^(.).*$' }, substitution: '\\1' } } }],
  (port) => sticky(port, (n) => ['/', { headers: [`x-user: a${n}`] }]),
  'one',
);
export const hashQuery = hashed('hash-query', [{ query_parameter: { name: 'u' } }], (port) => sticky(port, (n) => [`/?u=1&n=${n}`]), 'one');
export const hashAddress = hashed(
  'hash-address',
  [{ connection_properties: { source_ip: true } }],
  (port) => sticky(port, () => ['/']),
  'one',
);
export const hashTerminal = hashed(
  'hash-terminal',
  [{ header: { header_name: 'x-user' }, terminal: true }, { header: { header_name: 'x-other' } }],
  (port) => sticky(port, (n) => ['/', { headers: ['x-user: a', `x-other: ${n}`] }]),
  'one',
);
export const hashCookie = hashed(
  'hash-cookie',
  [{ cookie: { name: 'stick', ttl: '60s', path: '/p', attributes: [{ name: 'SameSite', value: 'Strict' }] } }],
  async (port) => {
    const first = await ask(port, '/');
    const set = first.headers.get('set-cookie') ?? '';
    return [set.replace(/"[^"]*"/, 'VALUE'), await sticky(port, () => ['/', { headers: [`cookie: ${set.split(';')[0]}`] }])];
  },
  ['stick=VALUE; Max-Age=60; Path=/p; SameSite=Strict; HttpOnly', 'one'],
);

export const healthAndWeight: FieldCase = {
  name: 'endpoint-health',
  start,
  parts: () => [
    cluster({ name: 'c', type: 'EDS', eds_cluster_config: { service_name: 'hosts', eds_config: { ads: {} } } }),
    endpoints({
      cluster_name: 'hosts',
      policy: { overprovisioning_factor: 100 },
      endpoints: [
        { lb_endpoints: [endpoint(0, { health_status: 'UNHEALTHY' }), endpoint(1)], priority: 0 },
        { lb_endpoints: [endpoint(2)], priority: 1 },
      ],
    }),
    listener(onLoopback('in', hcm([{ match: { prefix: '/' }, route: { cluster: 'c' } }]))),
  ],
  observe: live(
    ({ port }) => answering(port(), '/', 6),
    () => ({ random: () => 0.6 }),
  ),
  expect: '2',
};

const locality = (region: string, weight: number, i: number): NonNullable<ClusterLoadAssignment['endpoints']>[number] => ({
  locality: { region, zone: 'z', sub_zone: 's' },
  load_balancing_weight: weight,
  lb_endpoints: [endpoint(i)],
});
export const localityWeights: FieldCase = {
  name: 'locality-weights',
  start,
  parts: () => [
    cluster({
      name: 'c',
      common_lb_config: { locality_weighted_lb_config: {} },
      load_assignment: { cluster_name: 'c', endpoints: [locality('a', 1, 0), locality('b', 1000, 1)] },
    }),
    listener(onLoopback('in', hcm([{ match: { prefix: '/' }, route: { cluster: 'c' } }]))),
  ],
  observe: live(
    async ({ port, plane }) => [
      await answering(port(), '/', 6),
      [...plane.clusters()].flatMap((c) => [...c.hosts()].map((h) => `${h.locality?.region} ${h.locality?.zone} ${h.locality?.sub_zone}`)),
    ],
    () => ({ random: () => 0.5 }),
  ),
  expect: ['1', ['a z s', 'b z s']],
};

export const hostWeights: FieldCase = {
  name: 'endpoint-weights',
  start,
  parts: () => [
    cluster({
      name: 'c',
      load_assignment: {
        cluster_name: 'c',
        endpoints: [{ lb_endpoints: [endpoint(0, { load_balancing_weight: 1 }), endpoint(1, { load_balancing_weight: 9 })] }],
      },
    }),
    listener(onLoopback('in', hcm([{ match: { prefix: '/' }, route: { cluster: 'c' } }]))),
  ],
  observe: live(async ({ port }) => {
    let first = 0;
    for (let n = 0; n < 10; n++) if ((await ask(port(), '/')).body === '0') first++;
    return first;
  }),
  expect: 1,
};

export const panic = one(
  'panic-threshold',
  () => ({
    common_lb_config: { healthy_panic_threshold: { value: 10 } },
    load_assignment: {
      cluster_name: 'c',
      endpoints: [
        { lb_endpoints: [endpoint(0), endpoint(1, { health_status: 'UNHEALTHY' }), endpoint(2, { health_status: 'UNHEALTHY' })] },
      ],
    },
  }),
  {},
  ({ port }) => answering(port(), '/', 6),
  '0',
);

/** Waits until the copy of a request has come; its host, or that none does. */
const copyOf = async (port: number, path: string, headers: readonly string[] = []): Promise<string> => {
  const key = randomUUID();
  await ask(port, path, { headers: [`x-key: ${key}`, ...headers] });
  try {
    await Promise.race([
      eventually(() => copies.has(key), 'a copy'),
      new Promise((_, reject) => {
        setTimeout(reject, 300);
      }),
    ]);
  } catch {
    return 'none';
  }
  return copies.get(key) ?? 'none';
};
const mirrored = (prefix: string, policy: NonNullable<RouteAction['request_mirror_policies']>[number]): Route => ({
  match: { prefix },
  route: { cluster: 'main', request_mirror_policies: [policy] },
});
const copying = (config: RouteConfiguration) => [
  cluster(staticCluster('main', [hosts[0]?.port ?? 0])),
  cluster(staticCluster('copy', [hosts[1]?.port ?? 0])),
  listener(onLoopback('in', hcm([], { route_config: config }))),
];

export const mirrors: FieldCase = {
  name: 'mirrors',
  start,
  parts: () =>
    copying({
      name: 'r',
      virtual_hosts: [
        {
          name: 'v',
          domains: ['*'],
          routes: [
            mirrored('/plain', { cluster: 'copy' }),
            mirrored('/host', { cluster: 'copy', disable_shadow_host_suffix_append: true }),
            mirrored('/header', { cluster_header: 'x-copy' }),
            mirrored('/never', { cluster: 'copy', runtime_fraction: { default_value: { numerator: 0 } } }),
          ],
        },
      ],
    }),
  observe: live(
    ({ port }) =>
      Promise.all([
        copyOf(port(), '/plain'),
        copyOf(port(), '/host'),
        copyOf(port(), '/header', ['x-copy: copy']),
        copyOf(port(), '/never'),
      ]),
    () => ({ random: () => 0.5 }),
  ),
  expect: ['a.test-shadow', 'a.test', 'a.test-shadow', 'none'],
};

export const hostMirrors: FieldCase = {
  name: 'inherited-mirrors',
  start,
  parts: () =>
    copying({
      name: 'r',
      request_mirror_policies: [{ cluster: 'copy' }],
      virtual_hosts: [
        {
          name: 'own',
          domains: ['own.test'],
          request_mirror_policies: [{ cluster: 'copy', disable_shadow_host_suffix_append: true }],
          routes: [{ match: { prefix: '/' }, route: { cluster: 'main' } }],
        },
        { name: 'v', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'main' } }] },
      ],
    }),
  observe: live(async ({ port }) => {
    const key = randomUUID();
    await ask(port(), '/', { host: 'own.test', headers: [`x-key: ${key}`] });
    await Promise.race([eventually(() => copies.has(key), 'a copy'), new Promise((resolve) => setTimeout(resolve, 300))]);
    return [await copyOf(port(), '/'), copies.get(key)];
  }),
  expect: ['a.test-shadow', 'own.test'],
};

export const retryHosts = one(
  'retry-hosts',
  () => ({}),
  {
    retry_policy: {
      retry_on: '5xx',
      num_retries: 1,
      retry_host_predicate: [{ name: 'envoy.retry_host_predicates.previous_hosts' }],
      host_selection_retry_max_attempts: 5,
      retry_back_off: { base_interval: '0.001s' },
    },
  },
  async ({ port }) => {
    const seen = new Set<number>();
    for (let n = 0; n < 8; n++) seen.add((await ask(port(), '/', { headers: ['x-fail: 0'] })).status);
    return [...seen];
  },
  [200],
  () => 0.1,
);

export const routesByName: FieldCase = {
  name: 'routes-by-name',
  start,
  parts: () => [
    cluster(staticCluster('c', all())),
    routes({
      name: 'named',
      virtual_hosts: [{ name: 'v', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'c' } }] }],
    }),
    listener(
      onLoopback('in', {
        name: 'http',
        typed_config: {
          '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
          stat_prefix: 'named',
          rds: { route_config_name: 'named', config_source: { ads: {} } },
          http_filters: [
            {
              name: 'envoy.filters.http.router',
              typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
            },
          ],
        },
      }),
    ),
  ],
  observe: live(async ({ port, plane }) => [(await ask(port(), '/')).status, plane.stats.counter('http.named.downstream_cx_total').value]),
  expect: [200, 1],
};
