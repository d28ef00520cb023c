// Local rate limits: which rules a filter reads, whose buckets it takes from, what it says. Buckets fill so slowly that time is none.
import type {
  HttpFilter,
  HttpLocalRatelimit_LocalRateLimit,
  LocalRateLimitDescriptor,
  Route,
  Route_RateLimit,
  VirtualHost,
} from '../../../src/xds/gen/types.ts';
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
} from '../../proxy/harness.ts';
import { cluster, type FieldCase, type LivePlane, listener, live, type Part } from '../case.ts';
import { type Answer, type Ask, ask, echoServer } from '../http-probe.ts';

let echo: Backend;
const start = async () => {
  echo = await echoServer();
  return echo;
};
const ALWAYS = { default_value: { numerator: 100 } };
const bucket = (max_tokens: number, tokens_per_fill = 1) => ({ max_tokens, tokens_per_fill, fill_interval: '100s' });
const descriptor = (key: string, value: string, more: Partial<LocalRateLimitDescriptor> = {}): LocalRateLimitDescriptor => ({
  entries: [{ key, ...(value === '' ? {} : { value }) }],
  token_bucket: bucket(1),
  ...more,
});
const generic = (value: string, more: Partial<Route_RateLimit> = {}): Route_RateLimit => ({
  actions: [{ generic_key: { descriptor_value: value } }],
  ...more,
});
const user: Route_RateLimit = { actions: [{ request_headers: { header_name: 'x-user', descriptor_key: 'user' } }] };
const as = (name: string): Ask => ({ headers: [`x-user: ${name}`] });
const GRPC: Ask = { method: 'POST', headers: ['content-type: application/grpc', 'content-length: 0'] };

interface Sample {
  readonly name: string;
  readonly filter: HttpLocalRatelimit_LocalRateLimit;
  readonly limits?: readonly Route_RateLimit[];
  readonly host?: Partial<VirtualHost>;
  readonly asks: readonly Ask[];
  readonly look?: (answer: Answer) => unknown;
  readonly expect: readonly unknown[];
}
const NOBODY = bucket(1000);
const status = (answer: Answer): number => answer.status;
/** Each on a listener of its own. */
const SAMPLES: readonly Sample[] = [
  {
    name: 'stage',
    filter: { stage: 1, token_bucket: NOBODY, descriptors: [descriptor('generic_key', 'one')] },
    limits: [generic('one', { stage: 1 })],
    asks: [{}, {}],
    expect: [200, 429],
  },
  // There is no runtime that would say that the rule is in force.
  {
    name: 'disabled',
    filter: { token_bucket: NOBODY, descriptors: [descriptor('generic_key', 'one')] },
    limits: [generic('one', { disable_key: 'key' })],
    asks: [{}, {}],
    expect: [200, 200],
  },
  { name: 'connection', filter: { local_rate_limit_per_downstream_connection: true }, asks: [{}, {}], expect: [200, 200] },
  {
    name: 'host',
    filter: { vh_rate_limits: 'IGNORE', token_bucket: NOBODY, descriptors: [descriptor('generic_key', 'host')] },
    host: { rate_limits: [generic('host')] },
    asks: [{}, {}],
    expect: [200, 200],
  },
  {
    name: 'not-all',
    filter: { always_consume_default_token_bucket: false, descriptors: [descriptor('generic_key', 'one', { token_bucket: NOBODY })] },
    limits: [generic('one')],
    asks: [{}, {}],
    expect: [200, 200],
  },
  {
    name: 'grpc',
    filter: { rate_limited_as_resource_exhausted: true },
    asks: [GRPC, GRPC],
    look: ({ headers }) => headers.get('grpc-status') ?? '-',
    expect: ['-', '8'],
  },
  {
    name: 'own',
    filter: { token_bucket: NOBODY, rate_limits: [generic('own')], descriptors: [descriptor('generic_key', 'own')] },
    asks: [{}, {}],
    expect: [200, 429],
  },
  // The second value takes the first one's place, so that the first begins anew.
  {
    name: 'open',
    filter: { token_bucket: NOBODY, max_dynamic_descriptors: 1, descriptors: [descriptor('user', '')] },
    limits: [user],
    asks: [as('ann'), as('bob'), as('ann')],
    expect: [200, 200, 200],
  },
  {
    name: 'fixed',
    filter: { token_bucket: NOBODY, descriptors: [descriptor('user', 'ann')] },
    limits: [user],
    asks: [as('bob'), as('bob'), as('ann'), as('ann')],
    expect: [200, 200, 200, 429],
  },
  {
    name: 'shadow',
    filter: { token_bucket: NOBODY, descriptors: [descriptor('generic_key', 'one', { shadow_mode: true })] },
    limits: [generic('one')],
    asks: [{}, {}],
    expect: [200, 200],
  },
  {
    name: 'after',
    filter: { enable_retry_after_header: true, token_bucket: bucket(1, 5) },
    asks: [{}, {}],
    look: ({ headers }) => {
      const seconds = Number(headers.get('retry-after') ?? '-1');
      return seconds > 0 && seconds <= 20;
    },
    expect: [false, true],
  },
  {
    name: 'told',
    filter: {
      token_bucket: NOBODY,
      rate_limits: [generic('own', { x_ratelimit_option: 'DRAFT_VERSION_03' })],
      descriptors: [descriptor('generic_key', 'own', { token_bucket: bucket(9) })],
    },
    asks: [{}],
    look: ({ headers }) => headers.get('x-ratelimit-limit') ?? '-',
    expect: ['9'],
  },
  {
    name: 'costs',
    filter: {
      token_bucket: NOBODY,
      rate_limits: [generic('own', { hits_addend: { number: 4 } })],
      descriptors: [descriptor('generic_key', 'own', { token_bucket: bucket(5) })],
    },
    asks: [{}, {}],
    expect: [200, 429],
  },
];
const filterOf = ({ filter }: Sample): HttpFilter => ({
  name: 'limit',
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit',
    stat_prefix: 'rl',
    token_bucket: bucket(1),
    filter_enabled: ALWAYS,
    filter_enforced: ALWAYS,
    ...filter,
  },
});
const routeOf = ({ limits }: Sample): Route => ({
  match: { prefix: '/' },
  route: { cluster: 'echo', ...(limits === undefined ? {} : { rate_limits: limits }) },
});
const listening = (sample: Sample): Part =>
  listener(
    onLoopback(
      sample.name,
      hcm([], {
        route_config: { name: 'r', virtual_hosts: [{ name: 'v', domains: ['*'], routes: [routeOf(sample)], ...sample.host }] },
        http_filters: [filterOf(sample), ROUTER],
      }),
    ),
  );
const answersOf = async (at: LivePlane, { name, asks, look }: Sample): Promise<unknown[]> => {
  const out: unknown[] = [];
  for (const asked of asks) out.push((look ?? status)(await ask(at.port(name), '/', asked)));
  return out;
};

export const policyLocalLimits: FieldCase = {
  name: 'policy-local-limits',
  start,
  parts: () => [cluster(staticCluster('echo', [echo.port])), ...SAMPLES.map(listening)],
  observe: live((at) => Promise.all(SAMPLES.map((sample) => answersOf(at, sample)))),
  expect: SAMPLES.map(({ expect }) => expect),
};

// --- connections

let lines: Backend;
const through = async (port: number): Promise<string> => {
  const client = await RawClient.open(port);
  const timer = setTimeout(() => client.close(), 2_000);
  const answer = await client
    .send('hi')
    .bytes(2)
    .catch(() => 'closed');
  clearTimeout(timer);
  client.close();
  return answer;
};
const NETWORK_LIMIT = 'type.googleapis.com/envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit';
const LISTENER_LIMIT = 'type.googleapis.com/envoy.extensions.filters.listener.local_ratelimit.v3.LocalRateLimit';
const OFF = { runtime_enabled: { default_value: false } };
const limit = (type: string, more: object = {}) => ({
  name: 'limit',
  typed_config: { '@type': type, stat_prefix: 'few', token_bucket: bucket(1), ...more },
});
const tcp = (name: string, network: readonly object[], inFront: readonly object[] = []): Part =>
  listener(chains(name, [{ filters: [...network, tcpProxy('lines')] }], { listener_filters: inFront }));

export const policyConnectionRates: FieldCase = {
  name: 'policy-connection-rates',
  start: async () => {
    lines = await startBackend((socket, text) => socket.write(text));
    return lines;
  },
  parts: () => [
    cluster(staticCluster('lines', [lines.port])),
    tcp('off', [limit(NETWORK_LIMIT, OFF)]),
    tcp('front', [], [limit(LISTENER_LIMIT)]),
    tcp('front-off', [], [limit(LISTENER_LIMIT, OFF)]),
  ],
  observe: live(async (at) => {
    const out: string[] = [];
    for (const name of ['off', 'front', 'front-off']) out.push(await through(at.port(name)), await through(at.port(name)));
    return [out, at.plane.stats.find('listener_local_ratelimit.few.rate_limited')?.value ?? 0];
  }),
  expect: [['hi', 'hi', 'hi', 'closed', 'hi', 'hi'], 1],
};
