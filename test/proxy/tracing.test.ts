import assert from 'node:assert/strict';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { test } from 'node:test';
import type { Cluster, HttpConnectionManager, HttpConnectionManager_Tracing, Route } from '../../src/xds/gen/types.ts';
import { hcm, listener, type Plane, startBackend, startPlane, staticCluster } from './harness.ts';
import { type Collector, type SpanSeen, startCollector, startGrpcCollector } from './tracing-rig.ts';

const CONFIG = 'type.googleapis.com/envoy.config.trace.v3.';
const HTTP2 = {
  typed_extension_protocol_options: {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
      '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
      explicit_http_config: { http2_protocol_options: {} },
    },
  },
} satisfies Partial<Cluster>;

const zipkin = (more: object = {}): HttpConnectionManager_Tracing['provider'] => ({
  name: 'envoy.tracers.zipkin',
  typed_config: {
    '@type': `${CONFIG}ZipkinConfig`,
    collector_cluster: 'collector',
    collector_endpoint: '/api/v2/spans',
    collector_endpoint_version: 'HTTP_JSON',
    trace_id_128bit: true,
    shared_span_context: false,
    ...more,
  },
});
const otlp = (more: object = {}): HttpConnectionManager_Tracing['provider'] => ({
  name: 'envoy.tracers.opentelemetry',
  typed_config: {
    '@type': `${CONFIG}OpenTelemetryConfig`,
    service_name: 'web.shop',
    http_service: { http_uri: { uri: 'otel.example/v1/traces', cluster: 'collector', timeout: '1s' } },
    ...more,
  },
});

interface Shop extends AsyncDisposable {
  readonly plane: Plane;
  readonly port: number;
  /** Headers that the application was sent, last ones last. */
  readonly seen: Record<string, string>[];
  /** All there are, when the proxy has closed. */
  spans(): Promise<readonly SpanSeen[]>;
  ask(path: string, headers?: Record<string, string>): Promise<{ readonly status: number; readonly headers: IncomingHttpHeaders }>;
}

const startShop = async (
  collector: Collector,
  tracing: HttpConnectionManager_Tracing,
  more: { direction?: 'INBOUND' | 'OUTBOUND'; route?: Partial<Route>; http2?: boolean; manager?: Partial<HttpConnectionManager> } = {},
): Promise<Shop> => {
  const seen: Record<string, string>[] = [];
  const app = await startBackend((socket, text) => {
    seen.push(
      Object.fromEntries([...text.matchAll(/^([^:\r\n]+): (.*?)\r$/gm)].map(([, name = '', value = '']) => [name.toLowerCase(), value])),
    );
    const status = text.startsWith('GET /fails') ? 503 : 200;
    socket.write(`HTTP/1.1 ${status} x\r\ncontent-length: 2\r\n\r\nok`);
  });
  const plane = await startPlane(
    {
      clusters: [staticCluster('app', [app.port]), staticCluster('collector', [collector.port], more.http2 === true ? HTTP2 : {})],
      listeners: [
        listener(
          'l',
          hcm([{ match: { prefix: '/' }, route: { cluster: 'app', retry_policy: { retry_on: '5xx', num_retries: 1 } }, ...more.route }], {
            tracing,
            ...more.manager,
          }),
          { traffic_direction: more.direction ?? 'INBOUND' },
        ),
      ],
    },
    { nodeCluster: 'web', tracedNode: { id: 'node-1', zone: 'z1' } },
  );
  const port = plane.port('l');
  return {
    plane,
    port,
    seen,
    spans: async () => {
      await plane.plane.close();
      return collector.spans();
    },
    ask: (path, headers = {}) =>
      new Promise((resolve, reject) => {
        const request = httpRequest({ host: '127.0.0.1', port, path, headers, agent: false }, (response) => {
          response.resume();
          response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers }));
        });
        request.on('error', reject);
        request.end();
      }),
    [Symbol.asyncDispose]: async () => {
      await plane[Symbol.asyncDispose]();
      await app[Symbol.asyncDispose]();
    },
  };
};

const ALL: HttpConnectionManager_Tracing = { random_sampling: { value: 100 } };
const NONE: HttpConnectionManager_Tracing = { random_sampling: { value: 0 }, client_sampling: { value: 0 } };
const CALLER = { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331' };
const TRACEPARENT = `00-${CALLER.traceId}-${CALLER.spanId}-01`;

test('a request without a context begins a trace, told to the application and to Zipkin', async () => {
  await using collector = await startCollector('zipkin');
  await using shop = await startShop(collector, { ...ALL, provider: zipkin() }, { route: { decorator: { operation: 'app:80/*' } } });
  assert.equal((await shop.ask('/a?q=1', { 'user-agent': 'ua' })).status, 200);
  const [span] = await shop.spans();
  const [headers] = shop.seen;
  assert.equal(headers?.['x-b3-traceid'], span?.traceId);
  assert.equal(headers?.['x-b3-spanid'], span?.id);
  assert.equal(headers?.['x-b3-sampled'], '1');
  assert.equal(headers?.['x-b3-parentspanid'], undefined);
  assert.equal(span?.traceId.length, 32);
  assert.equal(span?.parentId, '');
  assert.equal(span?.kind, 'server');
  assert.equal(span?.name, 'app:80/*');
  assert.equal(span?.service, 'web');
  assert.equal(collector.reports[0]?.path, '/api/v2/spans');
  const { 'guid:x-request-id': id, ...tags } = span?.tags ?? {};
  assert.equal(id, headers?.['x-request-id']);
  assert.equal(id?.[14], '9');
  assert.deepEqual(tags, {
    component: 'proxy',
    downstream_cluster: '-',
    'http.method': 'GET',
    'http.protocol': 'HTTP/1.1',
    'http.status_code': '200',
    'http.url': `http://127.0.0.1:${shop.port}/a?q=1`,
    node_id: 'node-1',
    'peer.address': '127.0.0.1',
    request_size: '0',
    response_flags: '-',
    response_size: '2',
    upstream_cluster: 'app',
    'upstream_cluster.name': 'app',
    user_agent: 'ua',
    zone: 'z1',
  });
});

test('a tag of the configuration stands for the one of its name: an address without its query', async () => {
  await using collector = await startCollector('otlp');
  const address = [{ tag: 'http.url', value: '%REQ(:SCHEME)%://%REQ(:AUTHORITY)%%PATH(NQ)%' }];
  await using shop = await startShop(collector, { ...ALL, custom_tags: address, provider: otlp() });
  await shop.ask('/a?token=hidden');
  const [span] = await shop.spans();
  assert.equal(span?.tags['http.url'], `http://127.0.0.1:${shop.port}/a`);
  assert.doesNotMatch(JSON.stringify(span), /hidden/);
});

test('a caller in a trace is continued over OTLP and HTTP', async () => {
  await using collector = await startCollector('otlp');
  await using shop = await startShop(collector, { ...ALL, provider: otlp() }, { direction: 'OUTBOUND' });
  await shop.ask('/x', { traceparent: TRACEPARENT, tracestate: 'a=b', baggage: 'k=v' });
  const [span] = await shop.spans();
  const [headers] = shop.seen;
  assert.deepEqual([span?.traceId, span?.parentId, span?.kind, span?.service], [CALLER.traceId, CALLER.spanId, 'client', 'web.shop']);
  assert.equal(span?.name, `egress 127.0.0.1:${shop.port}`);
  assert.equal(headers?.['traceparent'], `00-${CALLER.traceId}-${span?.id}-01`);
  assert.equal(headers?.['tracestate'], 'a=b');
  assert.equal(headers?.['baggage'], 'k=v');
  assert.equal(span?.state, 'a=b');
  assert.equal(collector.reports[0]?.headers.host, 'otel.example');
  assert.equal(collector.reports[0]?.headers['content-type'], 'application/x-protobuf');
});

test('spans go over gRPC', async () => {
  await using collector = await startGrpcCollector();
  const provider = otlp({ http_service: undefined, grpc_service: { envoy_grpc: { cluster_name: 'collector', authority: 'otel' } } });
  await using shop = await startShop(collector, { ...ALL, provider }, { http2: true });
  await shop.ask('/x');
  const [span] = await shop.spans();
  assert.equal(span?.name, 'ingress');
  assert.equal(collector.reports[0]?.path, '/opentelemetry.proto.collector.trace.v1.TraceService/Export');
});

test('a request that is not sampled hands on ids and is not reported', async () => {
  await using collector = await startCollector('otlp');
  await using shop = await startShop(collector, { ...NONE, provider: otlp() });
  await shop.ask('/quiet');
  assert.match(shop.seen[0]?.['traceparent'] ?? '', /^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
  assert.equal(shop.seen[0]?.['x-request-id']?.[14], '4');
  await shop.plane.plane.close();
  assert.equal(collector.asked, 0);
  assert.equal(shop.plane.plane.stats.find('http.test.tracing.not_traceable')?.value, 1);
});

test('without a provider a request is decided on and hands on no context', async () => {
  await using collector = await startCollector('otlp');
  await using shop = await startShop(collector, ALL);
  await shop.ask('/x');
  assert.equal(shop.seen[0]?.['traceparent'], undefined);
  assert.equal(shop.seen[0]?.['x-request-id']?.[14], '9');
  assert.equal(shop.plane.plane.stats.find('http.test.tracing.random_sampling')?.value, 1);
});

test('a context that cannot be read is handed on untouched and begins nothing', async () => {
  await using collector = await startCollector('otlp');
  await using shop = await startShop(collector, { ...ALL, provider: otlp() });
  const broken = `00-${CALLER.traceId}-b7ad6b716920333-01`;
  await shop.ask('/x', { traceparent: broken });
  assert.equal(shop.seen[0]?.['traceparent'], broken);
  await shop.plane.plane.close();
  assert.equal(collector.asked, 0);
});

test('every attempt has a span of its own where that is asked for', async () => {
  await using collector = await startCollector('zipkin');
  await using shop = await startShop(collector, { ...ALL, provider: zipkin(), spawn_upstream_span: true });
  assert.equal((await shop.ask('/fails')).status, 503);
  const [first, second, server] = await shop.spans();
  assert.deepEqual([first?.kind, second?.kind, server?.kind], ['client', 'client', 'server']);
  assert.equal(first?.name, 'router app egress');
  assert.deepEqual([first?.parentId, second?.parentId], [server?.id, server?.id]);
  assert.deepEqual([first?.tags['canceled'], second?.tags['canceled']], ['true', undefined]);
  assert.deepEqual([first?.tags['http.status_code'], second?.tags['http.status_code']], ['503', '503']);
  assert.deepEqual([first?.tags['retry.count'], second?.tags['retry.count']], [undefined, '1']);
  assert.equal(server?.tags['response_flags'], 'URX');
  assert.deepEqual(
    shop.seen.map((headers) => headers['x-b3-spanid']),
    [first?.id, second?.id],
  );
});

test('a route has its own share and its own tags', async () => {
  await using collector = await startCollector('zipkin');
  const tags = [
    { tag: 'both', literal: { value: 'listener' } },
    { tag: 'host', request_header: { name: 'x-tenant', default_value: 'nobody' } },
    { tag: 'none', request_header: { name: 'x-absent' } },
  ];
  const route = { tracing: { random_sampling: { numerator: 100 }, custom_tags: [{ tag: 'both', literal: { value: 'route' } }] } };
  await using shop = await startShop(collector, { ...NONE, provider: zipkin(), custom_tags: tags }, { route });
  await shop.ask('/x', { 'x-tenant': 'acme' });
  const [span] = await shop.spans();
  assert.equal(span?.tags['both'], 'route');
  assert.equal(span?.tags['host'], 'acme');
  assert.equal(span?.tags['none'], undefined);
});

test('many spans leave in few reports', async () => {
  await using collector = await startCollector('zipkin');
  await using shop = await startShop(collector, { ...ALL, provider: zipkin() });
  await Promise.all(Array.from({ length: 40 }, () => shop.ask('/x')));
  assert.equal((await shop.spans()).length, 40);
  assert.ok(collector.reports.length <= 4, `${collector.reports.length} reports`);
  assert.equal(shop.plane.plane.stats.find('tracing.zipkin.spans_sent')?.value, 40);
});

test('closing sends the spans that wait', async () => {
  await using collector = await startCollector('zipkin');
  await using shop = await startShop(collector, { ...ALL, provider: zipkin() });
  await shop.ask('/x');
  await shop.plane.plane.close();
  assert.equal(collector.spans().length, 1);
});
