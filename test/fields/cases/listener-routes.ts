// Routes on a listener: settings of filters level by level, which host of a cluster is chosen, what a request meets on the way.
import { randomUUID } from 'node:crypto';
import type {
  AnyMessage,
  Cluster,
  HttpConnectionManager,
  LbEndpoint,
  Route,
  RouteAction,
  RouteConfiguration,
} from '../../../src/xds/gen/types.ts';
import { type Backend, hcm, httpBackend, listener as onLoopback, ROUTER, staticCluster } from '../../proxy/harness.ts';
import { cluster, type FieldCase, type LivePlane, listener, live, type Part } from '../case.ts';
import { ask } from '../http-probe.ts';

let hosts: Backend[] = [];
/** Host 0 fails where it is asked to; the first try of `x-late` is not answered. Both say who they are. */
const start = async (): Promise<AsyncDisposable> => {
  const tries = new Set<string>();
  hosts = await Promise.all(
    ['a', 'b'].map((name) =>
      httpBackend((_, head) => {
        const late = /^x-late: (.*)$/im.exec(head)?.[1];
        if (late !== undefined && !tries.has(late)) {
          tries.add(late);
          return 'silent';
        }
        if (name === 'a' && /^x-fail/im.test(head)) return 'HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n';
        const told = /^(x-in|x-envoy-is-timeout-retry): .*$/im.exec(head)?.[0];
        return told === undefined ? name : `${name} ${told}`;
      }),
    ),
  );
  const started = hosts;
  return { [Symbol.asyncDispose]: async () => void (await Promise.all(started.map((host) => host[Symbol.asyncDispose]()))) };
};

const FAULT = 'envoy.filters.http.fault';
const HTTP_FAULT = 'type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault';
const abort = (http_status: number): { readonly [name: string]: AnyMessage } => ({
  [FAULT]: { '@type': HTTP_FAULT, abort: { http_status, percentage: { numerator: 100 } } },
});
const to = (prefix: string, action: RouteAction = { cluster: 'a' }, more: Partial<Route> = {}): Route => ({
  match: { prefix },
  route: action,
  ...more,
});
const configured = (
  name: string,
  route_config: Partial<RouteConfiguration>,
  routes: readonly Route[],
  more: Partial<HttpConnectionManager> = {},
): Part =>
  listener(
    onLoopback(
      name,
      hcm([], { route_config: { name: 'r', virtual_hosts: [{ name: 'v', domains: ['*'], routes }], ...route_config }, ...more }),
    ),
  );

const endpoint = (i: number, v: string): LbEndpoint => ({
  endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: hosts[i]?.port ?? 0 } } },
  metadata: { filter_metadata: { 'envoy.lb': { v } } },
});
const grouped = (name: string, more: Partial<Cluster>, priorities: boolean): Cluster => {
  const [a, b] = [endpoint(0, 'a'), endpoint(1, 'b')];
  return staticCluster(name, [], {
    load_assignment: {
      cluster_name: name,
      endpoints: priorities ? [{ lb_endpoints: [a] }, { lb_endpoints: [b], priority: 1 }] : [{ lb_endpoints: [a, b] }],
    },
    ...more,
  });
};
const ofVersion = (v: string) => ({ metadata_match: { filter_metadata: { 'envoy.lb': { v } } } });
const previous = (update_frequency: number): RouteAction => ({
  cluster: 'tiers',
  retry_policy: {
    retry_on: '5xx',
    num_retries: 1,
    retry_back_off: { base_interval: '0.001s' },
    retry_priority: {
      name: 'envoy.retry_priorities.previous_priorities',
      typed_config: {
        '@type': 'type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig',
        update_frequency,
      },
    },
  },
});
const FAILS = { headers: ['x-fail: 1'] };

const routed = (
  name: string,
  listeners: () => readonly Part[],
  observe: (at: LivePlane) => Promise<unknown>,
  expect: unknown,
): FieldCase => ({
  name,
  start,
  parts: () => [
    cluster(staticCluster('a', [hosts[0]?.port ?? 0])),
    cluster(staticCluster('b', [hosts[1]?.port ?? 0])),
    cluster(
      grouped(
        'versions',
        { lb_policy: 'RANDOM', lb_subset_config: { fallback_policy: 'ANY_ENDPOINT', subset_selectors: [{ keys: ['v'] }] } },
        false,
      ),
    ),
    cluster(grouped('tiers', {}, true)),
    ...listeners(),
  ],
  observe: live(observe, () => ({ random: () => 0.5 })),
  expect,
});
const seen = async (at: LivePlane, name: string, path: string, more: Parameters<typeof ask>[2] = {}): Promise<string> => {
  const { status, body } = await ask(at.port(name), path, more);
  return status === 200 ? body : String(status);
};

export const routeLevels = routed(
  'listener-route-levels',
  () => [
    configured(
      'levels',
      {
        typed_per_filter_config: abort(410),
        virtual_hosts: [
          { name: 'own', domains: ['own.test'], typed_per_filter_config: abort(411), routes: [to('/')] },
          {
            name: 'v',
            domains: ['*'],
            routes: [
              to('/weight', { weighted_clusters: { clusters: [{ name: 'a', weight: 1, typed_per_filter_config: abort(412) }] } }),
              to('/'),
            ],
          },
        ],
      },
      [],
      { http_filters: [{ name: FAULT, typed_config: { '@type': HTTP_FAULT } }, ROUTER] },
    ),
    configured(
      'edge',
      { internal_only_headers: ['x-in'] },
      [to('/', { cluster: 'a' }, { name: 'named', response_headers_to_add: [{ header: { key: 'x-route', value: '%ROUTE_NAME%' } }] })],
      { use_remote_address: true, internal_address_config: { cidr_ranges: [{ address_prefix: '9.0.0.0', prefix_len: 8 }] } },
    ),
    configured('match', {}, [
      {
        match: {
          prefix: '/',
          headers: [
            { name: 'x-absent', present_match: false },
            { name: 'x-p', prefix_match: 'ab' },
          ],
        },
        route: { cluster: 'a' },
      },
      { match: { prefix: '/', query_parameters: [{ name: 'q', present_match: false }] }, route: { cluster: 'b' } },
      { match: { prefix: '/' }, direct_response: { status: 404 } },
    ]),
  ],
  async (at) => [
    await seen(at, 'levels', '/', { host: 'own.test' }),
    await seen(at, 'levels', '/weight'),
    await seen(at, 'levels', '/'),
    await seen(at, 'edge', '/', { headers: ['x-in: 1'] }),
    (await ask(at.port('edge'), '/')).headers.get('x-route') ?? '-',
    await seen(at, 'match', '/?q', { headers: ['x-p: abc'] }),
    await seen(at, 'match', '/?q', { headers: ['x-p: b'] }),
    await seen(at, 'match', '/', { headers: ['x-p: abc', 'x-absent: 1'] }),
    await seen(at, 'match', '/?q', { headers: ['x-p: abc', 'x-absent: 1'] }),
  ],
  ['411', '412', '410', 'a', 'named', 'a', '404', 'b', '404'],
);

const byHash: RouteAction = {
  hash_policy: [{ header: { header_name: 'x-h' } }],
  weighted_clusters: {
    use_hash_policy: true,
    clusters: [
      { name: 'a', weight: 1 },
      { name: 'b', weight: 1 },
    ],
  },
};
export const routeHosts = routed(
  'listener-route-hosts',
  () => [
    configured(
      'in',
      {},
      [
        to('/hash', byHash),
        to('/a', { cluster: 'versions', ...ofVersion('a') }),
        to('/b', { cluster: 'versions', ...ofVersion('b') }),
        to('/weight-a', { weighted_clusters: { clusters: [{ name: 'versions', weight: 1, ...ofVersion('a') }] } }),
        to('/weight-b', { weighted_clusters: { clusters: [{ name: 'versions', weight: 1, ...ofVersion('b') }] } }),
        to('/next', previous(1)),
        to('/later', previous(2)),
      ].toReversed(),
    ),
  ],
  async (at) => {
    const hashed = new Set<string>();
    for (let n = 0; n < 12; n++) hashed.add(await seen(at, 'in', '/hash', { headers: [`x-h: ${n}`] }));
    const out = [[...hashed].sort().join('')];
    for (const path of ['a', 'b', 'weight-a', 'weight-b']) out.push(await seen(at, 'in', `/${path}`));
    for (const path of ['next', 'later']) out.push(await seen(at, 'in', `/${path}`, FAILS));
    return out;
  },
  ['ab', 'a', 'b', 'a', 'b', 'b', '503'],
);

/** Some try after the first is answered, and is told why it was made. */
export const routeTimeoutRetry = routed(
  'listener-route-timeout-retry',
  () => [
    configured(
      'in',
      {
        virtual_hosts: [
          {
            name: 'v',
            domains: ['*'],
            include_is_timeout_retry_header: true,
            routes: [
              to('/', {
                cluster: 'a',
                timeout: '0s',
                retry_policy: { retry_on: '5xx', num_retries: 10, per_try_timeout: '0.1s', retry_back_off: { base_interval: '0.001s' } },
              }),
            ],
          },
        ],
      },
      [],
    ),
  ],
  (at) => seen(at, 'in', '/', { headers: [`x-late: ${randomUUID()}`] }),
  'a x-envoy-is-timeout-retry: true',
);
