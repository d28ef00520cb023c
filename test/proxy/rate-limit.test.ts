// envoy.filters.http.ratelimit against a rate limit service: what it asks, what its answers lead to, and what happens without one.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { unary } from '../../src/cli/unary-grpc.ts';
import { GrpcServer } from '../../src/control/xds/grpc-server.ts';
import { type Observer, silentObserver } from '../../src/proxy/exchange/observer.ts';
import { StatsStore } from '../../src/proxy/stats-store.ts';
import type { GrpcStatus } from '../../src/wire/grpc-frames.ts';
import { decode, encode } from '../../src/xds/codec.ts';
import type {
  Cluster,
  HttpRatelimit_RateLimit,
  JsonObject,
  RateLimitRequest,
  RateLimitResponse,
  Route,
  Route_RateLimit,
  VirtualHost,
} from '../../src/xds/gen/types.ts';
import {
  eventually,
  fetchOnce,
  hcm,
  httpBackend,
  listener,
  RawClient,
  type RawResponse,
  ROUTER,
  startPlane,
  staticCluster,
  toCluster,
} from './harness.ts';
import { HTTP2_CLUSTER } from './http2-peers.ts';

const TYPE = 'type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit';
const NAME = 'envoy.filters.http.ratelimit';
const METHOD = '/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit';

type Answer = RateLimitResponse | GrpcStatus | 'never';

const startService = async (answer: (request: RateLimitRequest) => Answer) => {
  const asked: RateLimitRequest[] = [];
  const method = unary(async (bytes) => {
    const request = decode('envoy.service.ratelimit.v3.RateLimitRequest', bytes);
    asked.push(request);
    const outcome = answer(request);
    if (outcome === 'never') return await new Promise<never>(() => {});
    return 'message' in outcome
      ? (outcome as GrpcStatus)
      : encode('envoy.service.ratelimit.v3.RateLimitResponse', outcome as RateLimitResponse);
  });
  const server = new GrpcServer({
    methods: new Map([[METHOD, method]]),
    messageBytesMax: 65_536,
    now: () => performance.now(),
    failed: (problem) => assert.fail(String(problem)),
  });
  const port = await server.listen({ host: '127.0.0.1', port: 0 });
  return { port, asked, [Symbol.asyncDispose]: () => server.close() };
};

const filter = (more: HttpRatelimit_RateLimit = {}) => ({
  name: NAME,
  typed_config: {
    '@type': TYPE,
    domain: 'shop',
    timeout: '2s',
    rate_limit_service: { transport_api_version: 'V3', grpc_service: { envoy_grpc: { cluster_name: 'rls' } } },
    ...more,
  },
});
const generic = (value: string, more: Partial<Route_RateLimit> = {}): Route_RateLimit => ({
  actions: [{ generic_key: { descriptor_value: value } }],
  ...more,
});
const LIMITED = { rate_limits: [generic('own')] };

interface Rig extends AsyncDisposable {
  readonly port: number;
  /** Calls to the service that are not over. */
  active(): number;
  readonly asked: RateLimitRequest[];
  readonly logged: string[];
  readonly metadata: JsonObject[];
  readonly seen: string[];
  counters(): Record<string, number>;
  get(path: string, headers?: string): Promise<RawResponse>;
}

const start = async (
  answer: (request: RateLimitRequest) => Answer,
  config: HttpRatelimit_RateLimit,
  routes: readonly Route[],
  host: Partial<VirtualHost> = {},
  rls: (port: number) => Cluster = (port) => staticCluster('rls', [port], HTTP2_CLUSTER),
): Promise<Rig> => {
  const service = await startService(answer);
  const seen: string[] = [];
  const logged: string[] = [];
  const metadata: JsonObject[] = [];
  const backend = await httpBackend((_n, head) => {
    seen.push(head);
    return 'hello';
  });
  const stats = new StatsStore();
  const observer: Observer = {
    ...silentObserver,
    httpDone: (info) => {
      logged.push(`${info.responseCode} ${info.flagsShort()} ${info.responseCodeDetails}`);
      metadata.push(info.dynamicMetadata);
    },
  };
  const stop = async (): Promise<void> => {
    await backend[Symbol.asyncDispose]();
    await service[Symbol.asyncDispose]();
  };
  const plane = await startPlane(
    {
      clusters: [staticCluster('c', [backend.port]), rls(service.port)],
      listeners: [
        listener(
          'l',
          hcm([], {
            http_filters: [filter(config), ROUTER],
            route_config: { name: 'r', virtual_hosts: [{ name: 'v', domains: ['*'], routes, ...host }] },
          }),
        ),
      ],
    },
    { stats, observer, nodeCluster: 'me' },
  ).catch(async (problem: unknown) => {
    await stop();
    throw problem;
  });
  return {
    port: plane.port('l'),
    active: () => stats.find('cluster.rls.upstream_rq_active')?.value ?? 0,
    asked: service.asked,
    logged,
    metadata,
    seen,
    counters: () =>
      Object.fromEntries([...stats.all()].filter((s) => s.name.includes('ratelimit') && s.value > 0).map((s) => [s.name, s.value])),
    get: (path, headers) => fetchOnce(plane.port('l'), path, headers),
    [Symbol.asyncDispose]: async () => {
      await plane[Symbol.asyncDispose]();
      await stop();
    },
  };
};

const OK: RateLimitResponse = { overall_code: 'OK' };
const OVER: RateLimitResponse = { overall_code: 'OVER_LIMIT' };
const STATUSES: RateLimitResponse['statuses'] = [
  {
    code: 'OK',
    current_limit: { requests_per_unit: 10, unit: 'MINUTE', name: 'ten' },
    limit_remaining: 7,
    duration_until_reset: '33.500s',
  },
  { code: 'OVER_LIMIT', current_limit: { requests_per_unit: 5, unit: 'HOUR' }, limit_remaining: 3, duration_until_reset: '100s' },
  { code: 'OK' },
];
const namesOf = (request: RateLimitRequest | undefined): string[] =>
  (request?.descriptors ?? []).map((d) => (d.entries ?? []).map((e) => `${e.key}=${e.value}`).join(','));

describe('rate limit service', () => {
  test('it is asked with the descriptors of the route, and its answer lets the request pass with headers added', async () => {
    const answer: RateLimitResponse = {
      ...OK,
      statuses: STATUSES,
      request_headers_to_add: [{ key: 'x-req', value: '1' }],
      response_headers_to_add: [{ key: 'X-Res', value: 'a' }],
      dynamic_metadata: { k: 'v' },
    };
    const actions = [{ source_cluster: {} }, { destination_cluster: {} }, { remote_address: {} }];
    await using rig = await start(() => answer, { enable_x_ratelimit_headers: 'DRAFT_VERSION_03' }, [
      toCluster('c', {
        rate_limits: [
          { actions },
          generic('stage', { stage: 3 }),
          { actions: [{ request_headers: { header_name: 'x-no', descriptor_key: 'k' } }] },
        ],
      }),
    ]);
    const response = await rig.get('/');
    const told = ['x-res', 'x-ratelimit-limit', 'x-ratelimit-remaining', 'x-ratelimit-reset'].map((name) => response.headers.get(name));
    assert.deepEqual([response.status, ...told], [200, 'a', '5, 10;w=60;name="ten", 5;w=3600', '3', '100']);
    assert.match(rig.seen[0] ?? '', /x-req: 1/);
    assert.deepEqual(
      [rig.asked[0]?.domain, namesOf(rig.asked[0])],
      ['shop', ['source_cluster=me,destination_cluster=c,remote_address=127.0.0.1']],
    );
    await eventually(() => rig.logged.length === 1, 'logged');
    assert.deepEqual(rig.metadata[0], { [NAME]: { k: 'v' } });
    assert.deepEqual(rig.counters(), { 'cluster.c.ratelimit.ok': 1 });
  });

  test('over the limit: 429, the service’s headers and body, Envoy’s flag and details', async () => {
    const answer: RateLimitResponse = {
      ...OVER,
      statuses: STATUSES,
      response_headers_to_add: [
        { key: 'x-res', value: 'a' },
        { key: 'content-type', value: 'text/weird' },
      ],
      raw_body: Buffer.from('too much'),
    };
    await using rig = await start(
      () => answer,
      {
        enable_retry_after_header: true,
        response_headers_to_add: [{ header: { key: 'x-added', value: '%REQ(:path)%' } }],
        stat_prefix: 'sp',
      },
      [toCluster('c', LIMITED)],
    );
    const { status, body, headers } = await rig.get('/a');
    const told = ['x-res', 'content-type', 'x-envoy-ratelimited', 'retry-after', 'x-added'].map((name) => headers.get(name));
    assert.deepEqual([status, body, ...told], [429, 'too much', 'a', 'text/weird', 'true', '100', '/a']);
    await eventually(() => rig.logged.length === 1, 'logged');
    assert.deepEqual([rig.logged[0], rig.seen.length], ['429 RL request_rate_limited', 0]);
    assert.deepEqual(rig.counters(), { 'cluster.c.ratelimit.sp.over_limit': 1 });
  });

  test('a refusal can be another status, gRPC’s, silent, or not enforced at all', async () => {
    const answer = { ...OVER, response_headers_to_add: [{ key: 'content-type', value: 'text/weird' }] };
    await using own = await start(
      () => answer,
      { rate_limited_status: { code: 'ServiceUnavailable' }, disable_x_envoy_ratelimited_header: true },
      [toCluster('c', LIMITED)],
    );
    const refused = await own.get('/');
    assert.deepEqual(
      [refused.status, refused.body, refused.headers.has('x-envoy-ratelimited'), refused.headers.has('content-type')],
      [503, '', false, false],
    );
    await using grpc = await start(() => answer, { rate_limited_as_resource_exhausted: true }, [toCluster('c', LIMITED)]);
    const { status, headers } = await grpc.get('/', 'content-type: application/grpc\r\n');
    assert.deepEqual([status, headers.get('grpc-status'), headers.get('content-type')], [200, '8', 'application/grpc']);
    await using lenient = await start(() => answer, { filter_enforced: { default_value: { numerator: 0 } } }, [toCluster('c', LIMITED)]);
    assert.deepEqual([(await lenient.get('/')).status, lenient.counters()], [200, { 'cluster.c.ratelimit.over_limit': 1 }]);
    await using off = await start(() => answer, { filter_enabled: { default_value: { numerator: 0 } } }, [toCluster('c', LIMITED)]);
    assert.deepEqual([(await off.get('/')).status, off.asked.length], [200, 0]);
  });

  test('a service that errs, is silent, answers nonsense or is not there: failure_mode_deny decides, in time', async () => {
    const nobody = (): Cluster => staticCluster('rls', [1], HTTP2_CLUSTER);
    const rows: [string, () => Answer, HttpRatelimit_RateLimit, ((port: number) => Cluster)?][] = [
      ['an error', () => ({ code: 14, message: 'redis is down' }), {}],
      ['no answer', () => 'never', { timeout: '0.1s' }],
      ['nobody there', () => OK, {}, nobody],
      ['no such cluster', () => OK, { rate_limit_service: { grpc_service: { envoy_grpc: { cluster_name: 'nowhere' } } } }],
    ];
    for (const [what, answer, config, rls] of rows) {
      const begin = performance.now();
      await using open = await start(answer, config, [toCluster('c', LIMITED)], {}, rls);
      assert.equal((await open.get('/')).status, 200, what);
      assert.deepEqual(open.counters(), { 'cluster.c.ratelimit.error': 1, 'cluster.c.ratelimit.failure_mode_allowed': 1 }, what);
      await using closed = await start(answer, { ...config, failure_mode_deny: true }, [toCluster('c', LIMITED)], {}, rls);
      const refused = await closed.get('/');
      await eventually(() => closed.logged.length === 1, 'logged');
      assert.deepEqual([refused.body, closed.logged[0]], ['', '500 RLSE rate_limiter_error'], what);
      assert.deepEqual(closed.counters(), { 'cluster.c.ratelimit.error': 1 }, what);
      assert.ok(performance.now() - begin < 15_000, what);
    }
    await using percent = await start(
      () => ({ code: 13, message: '' }),
      { failure_mode_deny_percent: { default_value: { numerator: 100 } }, status_on_error: { code: 'BadGateway' } },
      [toCluster('c', LIMITED)],
    );
    assert.equal((await percent.get('/')).status, 502);
  });

  test('rules of the virtual host, of the filter and of a route’s own configuration', async () => {
    const per = (config: JsonObject): Pick<Route, 'typed_per_filter_config'> => ({
      typed_per_filter_config: { [NAME]: { '@type': `${TYPE}PerRoute`, ...config } },
    });
    const at = (path: string, action: Route['route'], more: Partial<Route> = {}): Route => ({
      ...toCluster('c', action),
      match: { path },
      ...more,
    });
    const routes = [
      at('/none', {}),
      at('/own', LIMITED),
      at('/include', { ...LIMITED, include_vh_rate_limits: true }),
      at('/per-include', LIMITED, per({ vh_rate_limits: 'INCLUDE' })),
      at('/policy', LIMITED, per({ vh_rate_limits: 'IGNORE', override_option: 'INCLUDE_POLICY' })),
      at('/ignore', {}, per({ vh_rate_limits: 'IGNORE' })),
      at('/embedded', LIMITED, per({ domain: 'other', rate_limits: [{ actions: [{ generic_key: { descriptor_value: 'e' } }] }] })),
      { match: { path: '/direct' }, direct_response: { status: 200 } },
    ];
    await using rig = await start(() => OK, {}, routes, { rate_limits: [generic('host'), generic('later', { stage: 2 })] });
    const asked: string[] = [];
    for (const { match } of routes) {
      const before = rig.asked.length;
      assert.equal((await rig.get(match?.path ?? '')).status, 200);
      const request = rig.asked[before];
      asked.push(`${match?.path}: ${request === undefined ? 'nobody' : `${request.domain} ${namesOf(request).join(' ')}`}`);
    }
    assert.deepEqual(asked, [
      '/none: shop generic_key=host',
      '/own: shop generic_key=own',
      '/include: shop generic_key=own generic_key=host',
      '/per-include: shop generic_key=own generic_key=host',
      '/policy: shop generic_key=own generic_key=host',
      '/ignore: nobody',
      '/embedded: other generic_key=e',
      '/direct: nobody',
    ]);
  });

  test('the filter’s own rules carry hits, limits, and what is only counted at the end of the response', async () => {
    const rate_limits = [
      generic('plain'),
      generic('hits', { hits_addend: { number: 4 } }),
      generic('back', { hits_addend: { number: 4, is_negative_hits: true } }),
      generic('limit', { limit: { rate_limit: { requests_per_unit: 42, unit: 'HOUR' } } }),
      generic('end', { apply_on_stream_done: true, hits_addend: { format: '%BYTES_SENT%' } }),
    ];
    await using rig = await start(() => OK, { rate_limits }, [toCluster('c', LIMITED)]);
    assert.equal((await rig.get('/')).status, 200);
    await eventually(() => rig.asked.length === 2, 'asked again');
    const [first, last] = rig.asked.map((request) =>
      request.descriptors?.map(({ entries, ...rest }) => ({ of: entries?.[0]?.value, ...rest })),
    );
    assert.deepEqual(first, [
      { of: 'plain' },
      { of: 'hits', hits_addend: 4 },
      { of: 'back', hits_addend: 4, is_negative_hits: true },
      { of: 'limit', limit: { requests_per_unit: 42, unit: 'HOUR' } },
    ]);
    assert.deepEqual(last, [{ of: 'end', hits_addend: 5 }]);
  });

  test('a client that goes away while the service is asked is logged, and its call is given up', async () => {
    await using rig = await start(() => 'never', { timeout: '30s' }, [toCluster('c', LIMITED)]);
    const client = await RawClient.open(rig.port);
    client.send('GET / HTTP/1.1\r\nhost: a.test\r\n\r\n');
    await eventually(() => rig.asked.length === 1, 'asked');
    client.close();
    await eventually(() => rig.logged.length === 1, 'logged');
    assert.deepEqual([rig.logged[0], rig.counters()], ['0 DC downstream_remote_disconnect', {}]);
    await eventually(() => rig.active() === 0, 'nobody waits for the service');
  });

  test('what cannot be honoured is refused, with the field', async () => {
    const rows: [string, HttpRatelimit_RateLimit][] = [
      ['domain', { domain: '' }],
      ['stage', { stage: 11 }],
      ['request_type', { request_type: 'some' }],
      ['rate_limit_service', { rate_limit_service: undefined }],
      ['rate_limit_service.transport_api_version', { rate_limit_service: { transport_api_version: 'V2' } }],
      ['rate_limit_service.grpc_service.google_grpc', { rate_limit_service: { grpc_service: { google_grpc: {} } } }],
    ];
    for (const [path, config] of rows)
      await assert.rejects(
        async () => void (await start(() => OK, config, [toCluster('c')])),
        (problem: { path?: string }) => {
          assert.ok(problem.path?.endsWith(`http_filters[0].typed_config.${path}`), `${path}: ${problem.path}`);
          return true;
        },
      );
  });
});
