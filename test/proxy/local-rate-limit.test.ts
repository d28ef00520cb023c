// envoy.filters.http.local_ratelimit as Envoy 1.40 answers for the same configuration: buckets, descriptors, headers, counters.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { systemClock } from '../../src/proxy/clock.ts';
import { StatsStore } from '../../src/proxy/stats-store.ts';
import type {
  HttpLocalRatelimit_LocalRateLimit,
  LocalRateLimitDescriptor,
  Route,
  Route_RateLimit,
  VirtualHost,
} from '../../src/xds/gen/types.ts';
import { eventually, hcm, httpBackend, listener, type Plane, RawClient, ROUTER, startPlane, staticCluster, toCluster } from './harness.ts';

const TYPE = 'type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit';
const NAME = 'envoy.filters.http.local_ratelimit';
const ALWAYS = { default_value: { numerator: 100 } };

const limit = (max: number, more: HttpLocalRatelimit_LocalRateLimit = {}) => ({
  '@type': TYPE,
  stat_prefix: 'rl',
  token_bucket: { max_tokens: max, tokens_per_fill: 1, fill_interval: '10s' },
  filter_enabled: ALWAYS,
  filter_enforced: ALWAYS,
  ...more,
});
const descriptor = (
  value: string,
  max: number,
  more: Partial<LocalRateLimitDescriptor> = {},
  every = '100s',
): LocalRateLimitDescriptor => ({
  entries: [{ key: 'generic_key', value }],
  token_bucket: { max_tokens: max, tokens_per_fill: 1, fill_interval: every },
  ...more,
});
const generic = (value: string, more: Partial<Route_RateLimit> = {}): Route_RateLimit => ({
  actions: [{ generic_key: { descriptor_value: value } }],
  ...more,
});

interface Rig extends AsyncDisposable {
  readonly plane: Plane;
  readonly client: RawClient;
  readonly stats: StatsStore;
  readonly seen: string[];
  statuses(path: string, times: number, headers?: string): Promise<number[]>;
  pass(ms: number): void;
  counters(): Record<string, number>;
}

const start = async (filter: object, routes: (cluster: string) => readonly Route[], host: Partial<VirtualHost> = {}): Promise<Rig> => {
  const seen: string[] = [];
  const backend = await httpBackend((_n, head) => {
    seen.push(head);
    return 'hello';
  });
  const stats = new StatsStore();
  let ahead = 0;
  const plane = await startPlane(
    {
      clusters: [staticCluster('c', [backend.port])],
      listeners: [
        listener(
          'l',
          hcm([], {
            http_filters: [{ name: NAME, typed_config: filter as never }, ROUTER],
            route_config: { name: 'r', virtual_hosts: [{ name: 'v', domains: ['*'], routes: routes('c'), ...host }] },
          }),
        ),
      ],
    },
    { stats, clock: { ...systemClock, monotonicMs: () => performance.now() + ahead } },
  ).catch(async (problem: unknown) => {
    await backend[Symbol.asyncDispose]();
    throw problem;
  });
  const client = await RawClient.open(plane.port('l'));
  return {
    plane,
    client,
    stats,
    seen,
    statuses: async (path, times, headers) => {
      const out: number[] = [];
      for (let i = 0; i < times; i++) out.push((await client.get(path, headers)).status);
      return out;
    },
    pass: (ms) => {
      ahead += ms;
    },
    counters: () =>
      Object.fromEntries([...stats.all()].filter((s) => s.name.includes('rate_limit') && s.value > 0).map((s) => [s.name, s.value])),
    [Symbol.asyncDispose]: async () => {
      client.close();
      await plane[Symbol.asyncDispose]();
      await backend[Symbol.asyncDispose]();
    },
  };
};

const per = (config: object): Pick<Route, 'typed_per_filter_config'> => ({ typed_per_filter_config: { [NAME]: config as never } });
const own = (config: object, more: Route['route'] = {}): ((cluster: string) => readonly Route[]) => {
  return (cluster) => [{ ...toCluster(cluster, more), ...per(config) }];
};
const OFF = { '@type': TYPE, stat_prefix: 'top' };

describe('local rate limit', () => {
  test('a full bucket is spent, then fills all the time; the refusal is Envoy’s', async () => {
    await using rig = await start(limit(3), (c) => [toCluster(c)]);
    assert.deepEqual(await rig.statuses('/', 4), [200, 200, 200, 429]);
    const refused = await rig.client.get('/');
    assert.deepEqual([refused.body, refused.headers.get('content-type')], ['local_rate_limited', 'text/plain']);
    await eventually(() => rig.plane.http.length === 5, 'logged');
    assert.deepEqual([rig.plane.http[4]?.flags, rig.plane.http[4]?.details], ['RL', 'local_rate_limited']);
    rig.pass(9_000);
    assert.deepEqual(await rig.statuses('/', 1), [429], 'not yet a whole token');
    rig.pass(1_500);
    assert.deepEqual(await rig.statuses('/', 2), [200, 429]);
    rig.pass(100_000);
    assert.deepEqual(await rig.statuses('/', 4), [200, 200, 200, 429], 'never above its size');
    assert.deepEqual(rig.counters(), {
      'rl.http_local_rate_limit.enabled': 12,
      'rl.http_local_rate_limit.enforced': 5,
      'rl.http_local_rate_limit.rate_limited': 5,
      'rl.http_local_rate_limit.ok': 7,
    });
  });

  test('without filter_enabled nothing is limited, without filter_enforced it is only counted and told upstream', async () => {
    const add = [{ header: { key: 'x-would', value: 'yes' } }];
    await using off = await start({ ...limit(1), filter_enabled: undefined }, (c) => [toCluster(c)]);
    assert.deepEqual(await off.statuses('/', 3), [200, 200, 200]);
    assert.deepEqual(off.counters(), {});
    await using shy = await start({ ...limit(1), filter_enforced: undefined, request_headers_to_add_when_not_enforced: add }, (c) => [
      toCluster(c),
    ]);
    assert.deepEqual(await shy.statuses('/', 2), [200, 200]);
    assert.deepEqual([/x-would/.test(shy.seen[0] ?? ''), /x-would: yes/.test(shy.seen[1] ?? '')], [false, true]);
    assert.deepEqual(shy.counters(), {
      'rl.http_local_rate_limit.enabled': 2,
      'rl.http_local_rate_limit.rate_limited': 1,
      'rl.http_local_rate_limit.ok': 1,
    });
  });

  test('a route has a bucket and settings of its own', async () => {
    const config = limit(1, {
      stat_prefix: 'own',
      status: { code: 'ServiceUnavailable' },
      response_headers_to_add: [{ header: { key: 'x-a', value: '%REQ(:path)%' } }],
      enable_x_ratelimit_headers: 'DRAFT_VERSION_03',
      enable_retry_after_header: true,
    });
    await using rig = await start(limit(2), (c) => [{ ...toCluster(c), match: { prefix: '/own' }, ...per(config) }, toCluster(c)]);
    const first = await rig.client.get('/own');
    const told = (name: string): (string | undefined)[] => ['limit', 'remaining', 'reset'].map((k) => first.headers.get(`${name}${k}`));
    assert.deepEqual([first.status, ...told('x-ratelimit-')], [200, '1', '0', '10']);
    const refused = await rig.client.get('/own');
    assert.deepEqual(
      [refused.status, refused.headers.get('x-a'), refused.headers.get('retry-after'), refused.headers.get('x-ratelimit-reset')],
      [503, '/own', undefined, '10'],
    );
    const rest = await rig.client.get('/');
    assert.deepEqual([rest.status, rest.headers.has('x-ratelimit-limit')], [200, false]);
    assert.deepEqual(await rig.statuses('/', 2), [200, 429]);
  });

  test('gRPC clients are answered in their way', async () => {
    await using rig = await start(limit(0), (c) => [
      { ...toCluster(c), match: { prefix: '/ex' }, ...per(limit(0, { rate_limited_as_resource_exhausted: true })) },
      toCluster(c),
    ]);
    for (const [path, code] of [
      ['/', '14'],
      ['/ex', '8'],
    ] as const) {
      const { status, headers } = await rig.client.get(path, 'content-type: application/grpc\r\n');
      assert.deepEqual([status, headers.get('grpc-status'), headers.get('grpc-message')], [200, code, 'local_rate_limited']);
    }
  });

  test('descriptors of the route choose buckets; the bucket for all is taken from as well unless told otherwise', async () => {
    const descriptors = [descriptor('a', 2), descriptor('b', 5)];
    const rate_limits = [generic('a'), generic('b', { stage: 1 }), generic('b', { disable_key: 'k' })];
    await using both = await start(OFF, own(limit(1, { descriptors }), { rate_limits }));
    assert.deepEqual(await both.statuses('/', 2), [200, 429]);
    await using one = await start(OFF, own(limit(1, { descriptors, always_consume_default_token_bucket: false }), { rate_limits }));
    assert.deepEqual(await one.statuses('/', 3), [200, 200, 429]);
    await using staged = await start(
      OFF,
      own(limit(1, { descriptors, stage: 1, always_consume_default_token_bucket: false }), { rate_limits }),
    );
    assert.deepEqual(await staged.statuses('/', 6), [200, 200, 200, 200, 200, 429]);
  });

  test('of several descriptors the slowest is asked first, and what it took stays taken', async () => {
    const descriptors = [descriptor('fast', 1, {}, '1s'), descriptor('slow', 2, {}, '1000s')];
    await using rig = await start(
      OFF,
      own(limit(9, { descriptors, enable_x_ratelimit_headers: 'DRAFT_VERSION_03' }), {
        rate_limits: [generic('fast'), generic('slow')],
      }),
    );
    const first = await rig.client.get('/');
    assert.deepEqual([first.status, first.headers.get('x-ratelimit-limit')], [200, '2']);
    const second = await rig.client.get('/');
    assert.deepEqual([second.status, second.headers.get('x-ratelimit-limit')], [429, '1']);
    rig.pass(2_000);
    const third = await rig.client.get('/');
    assert.deepEqual([third.status, third.headers.get('x-ratelimit-limit'), third.headers.get('x-ratelimit-reset')], [429, '2', '998']);
  });

  test('a value left open gives each value a bucket, of which the least used goes when there are too many', async () => {
    const descriptors: LocalRateLimitDescriptor[] = [
      { entries: [{ key: 'c', value: 'gold' }], token_bucket: { max_tokens: 2, fill_interval: '100s' } },
      { entries: [{ key: 'c' }], token_bucket: { max_tokens: 1, fill_interval: '100s' } },
    ];
    const rate_limits: Route_RateLimit[] = [{ actions: [{ request_headers: { header_name: 'x-c', descriptor_key: 'c' } }] }];
    await using rig = await start(OFF, own(limit(99, { descriptors, rate_limits, max_dynamic_descriptors: 2 })));
    const as = (name: string, times: number): Promise<number[]> => rig.statuses('/', times, `x-c: ${name}\r\n`);
    assert.deepEqual(await as('gold', 3), [200, 200, 429]);
    assert.deepEqual(await as('tin', 2), [200, 429]);
    assert.deepEqual(await as('lead', 2), [200, 429]);
    assert.deepEqual(await as('tin', 1), [429]);
    assert.deepEqual(await as('zinc', 1), [200]);
    assert.deepEqual(await as('lead', 1), [200], 'forgotten: tin was used since');
  });

  test('a limit in shadow mode is counted, and goes on to the others', async () => {
    const config = limit(3, { rate_limits: [generic('a')], descriptors: [descriptor('a', 1, { shadow_mode: true })] });
    await using rig = await start(OFF, own(config));
    assert.deepEqual(await rig.statuses('/', 4), [200, 200, 200, 429]);
    assert.deepEqual(rig.counters(), {
      'rl.http_local_rate_limit.enabled': 4,
      'rl.http_local_rate_limit.ok': 1,
      'rl.http_local_rate_limit.rate_limited': 3,
      'rl.http_local_rate_limit.shadow_mode': 2,
      'rl.http_local_rate_limit.enforced': 1,
    });
  });

  test('hits: a number, one read from the request, none, and those that are given back', async () => {
    const descriptors = [descriptor('a', 10)];
    const of = (hits_addend: Route_RateLimit['hits_addend']): ReturnType<typeof own> =>
      own(limit(100, { descriptors, rate_limits: [generic('a', { hits_addend })], always_consume_default_token_bucket: false }));
    await using three = await start(OFF, of({ number: 3 }));
    assert.deepEqual(await three.statuses('/', 4), [200, 200, 200, 429]);
    await using read = await start(OFF, of({ format: '%REQ(x-h)%' }));
    assert.deepEqual(await read.statuses('/', 2, 'x-h: 6\r\n'), [200, 429]);
    assert.deepEqual(await read.statuses('/', 1, 'x-h: much\r\n'), [200], 'no number: the rule does not apply');
    await using none = await start(OFF, of({ number: 0 }));
    assert.deepEqual(await none.statuses('/', 1), [429], 'as Envoy');
    await using back = await start(OFF, of({ number: 2, is_negative_hits: true }));
    assert.deepEqual(await back.statuses('/', 30), Array<number>(30).fill(200));
  });

  test('hits of a route’s own rules count one, as Envoy has it', async () => {
    const descriptors = [descriptor('a', 2)];
    await using rig = await start(OFF, own(limit(9, { descriptors }), { rate_limits: [generic('a', { hits_addend: { number: 2 } })] }));
    assert.deepEqual(await rig.statuses('/', 3), [200, 200, 429]);
  });

  test('a rule says for itself whether its limit is told', async () => {
    const of = (x_ratelimit_option: Route_RateLimit['x_ratelimit_option'], more: HttpLocalRatelimit_LocalRateLimit = {}) =>
      own(limit(9, { descriptors: [descriptor('a', 5)], rate_limits: [generic('a', { x_ratelimit_option })], ...more }));
    await using told = await start(OFF, of('DRAFT_VERSION_03'));
    assert.equal((await told.client.get('/')).headers.get('x-ratelimit-limit'), '5');
    await using hidden = await start(OFF, of('OFF', { enable_x_ratelimit_headers: 'DRAFT_VERSION_03' }));
    assert.equal((await hidden.client.get('/')).headers.has('x-ratelimit-limit'), false);
  });

  test('rules of the virtual host apply where the route has none, besides them, or never', async () => {
    const descriptors = [descriptor('route', 5), descriptor('host', 1)];
    const host: Partial<VirtualHost> = { rate_limits: [generic('host')] };
    const run = async (config: HttpLocalRatelimit_LocalRateLimit, action: Route['route']): Promise<number[]> => {
      await using rig = await start(OFF, own(limit(99, { descriptors, ...config }), action), host);
      return await rig.statuses('/', 2);
    };
    const rate_limits = [generic('route')];
    assert.deepEqual(await run({}, {}), [200, 429]);
    assert.deepEqual(await run({}, { rate_limits }), [200, 200]);
    assert.deepEqual(await run({ vh_rate_limits: 'INCLUDE' }, { rate_limits }), [200, 429]);
    assert.deepEqual(await run({}, { rate_limits, include_vh_rate_limits: true }), [200, 429]);
    assert.deepEqual(await run({ vh_rate_limits: 'IGNORE' }, {}), [200, 200]);
    assert.deepEqual(await run({ vh_rate_limits: 'IGNORE', rate_limits: [generic('host')] }, {}), [200, 429], 'its own go first');
  });

  test('each connection has its own bucket when told so', async () => {
    await using rig = await start(limit(1, { local_rate_limit_per_downstream_connection: true }), (c) => [toCluster(c)]);
    assert.deepEqual(await rig.statuses('/', 2), [200, 429]);
    const other = await RawClient.open(rig.plane.port('l'));
    assert.equal((await other.get('/')).status, 200);
    other.close();
  });

  test('direct responses are limited too', async () => {
    await using rig = await start(limit(1), () => [{ match: { prefix: '/' }, direct_response: { status: 204 } }]);
    assert.deepEqual(await rig.statuses('/', 2), [204, 429]);
  });

  test('what Envoy refuses is refused, with the field', async () => {
    const rows: [string, HttpLocalRatelimit_LocalRateLimit][] = [
      ['stat_prefix', { stat_prefix: '' }],
      ['token_bucket', { token_bucket: undefined }],
      ['token_bucket.fill_interval', { token_bucket: { max_tokens: 1, fill_interval: '0.04s' } }],
      ['token_bucket.tokens_per_fill', { token_bucket: { max_tokens: 1, tokens_per_fill: 0, fill_interval: '1s' } }],
      ['local_cluster_rate_limit', { local_cluster_rate_limit: {} }],
      ['stage', { stage: 11 }],
      ['max_dynamic_descriptors', { max_dynamic_descriptors: 0 }],
      ['descriptors[1]', { descriptors: [descriptor('a', 1), descriptor('a', 2)] }],
      ['descriptors[0].token_bucket.fill_interval', { descriptors: [descriptor('a', 1, {}, '0.01s')] }],
      ['rate_limits[0].limit', { rate_limits: [generic('a', { limit: { rate_limit: { requests_per_unit: 1, unit: 'DAY' } } })] }],
      ['rate_limits[0].stage', { rate_limits: [generic('a', { stage: 1 })] }],
      ['rate_limits[0].disable_key', { rate_limits: [generic('a', { disable_key: 'k' })] }],
      ['rate_limits[0].hits_addend', { rate_limits: [generic('a', { hits_addend: { number: 1, format: '%REQ(a)%' } })] }],
      ['rate_limits[0].hits_addend.format', { rate_limits: [generic('a', { hits_addend: { format: '%REQ(a)%%REQ(b)%' } })] }],
      ['rate_limits[0].actions', { rate_limits: [{ actions: [] }] }],
    ];
    for (const [path, config] of rows) {
      const at = 'virtual_hosts[0].routes[0].typed_per_filter_config.envoy.filters.http.local_ratelimit';
      await assert.rejects(
        async () => void (await start(OFF, own(limit(1, config)))),
        (problem: { path?: string }) => {
          assert.ok(problem.path?.endsWith(`${at}.${path}`), `${path}: ${problem.path}`);
          return true;
        },
      );
    }
  });
});
