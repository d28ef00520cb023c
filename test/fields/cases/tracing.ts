// Traces: what is decided of a request, what its application is told, which spans arrive and with which tags.
import type {
  AnyMessage,
  Bootstrap,
  CustomTag,
  HttpConnectionManager,
  HttpConnectionManager_Tracing,
  Listener,
  Route,
} from '../../../src/xds/gen/types.ts';
import { type Backend, hcm, listener as onLoopback, staticCluster } from '../../proxy/harness.ts';
import { type Collector, type SpanSeen, startCollector, startGrpcCollector } from '../../proxy/tracing-rig.ts';
import { cluster, type FieldCase, type LivePlane, listener, live, only } from '../case.ts';
import { ask, echoServer } from '../http-probe.ts';

let echo: Backend;
let zipkin: Collector;
let otlp: Collector;
let grpc: Collector;
const start = async (): Promise<AsyncDisposable> => {
  const all = await Promise.all([echoServer(), startCollector('zipkin'), startCollector('otlp'), startGrpcCollector()]);
  [echo, zipkin, otlp, grpc] = all;
  return {
    [Symbol.asyncDispose]: async () => {
      await Promise.all(all.map((server) => server[Symbol.asyncDispose]()));
    },
  };
};

const CONFIG = 'type.googleapis.com/envoy.config.trace.v3.';
const EXTENSION = 'type.googleapis.com/envoy.extensions.tracers.opentelemetry.';
const HTTP2 = {
  'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
    '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
    explicit_http_config: { http2_protocol_options: {} },
  },
} as const;

const provider = (config: object): HttpConnectionManager_Tracing['provider'] => ({ name: 'tracer', typed_config: config as AnyMessage });
const byZipkin = (more: object = {}) =>
  provider({
    '@type': `${CONFIG}ZipkinConfig`,
    collector_cluster: 'zipkin',
    collector_endpoint: '/spans',
    collector_endpoint_version: 'HTTP_JSON',
    ...more,
  });
const byOtlp = (more: object = {}) =>
  provider({
    '@type': `${CONFIG}OpenTelemetryConfig`,
    http_service: { http_uri: { uri: 'otlp/v1', cluster: 'otlp', timeout: '1s' } },
    ...more,
  });

interface Traced {
  readonly tracing: HttpConnectionManager_Tracing;
  readonly manager?: Partial<HttpConnectionManager>;
  readonly routes?: readonly Route[];
  readonly around?: Partial<Listener>;
}

const traced = (
  name: string,
  { tracing, manager = {}, routes = [{ match: { prefix: '/' }, route: { cluster: 'echo' } }], around = {} }: Traced,
) => listener(onLoopback(name, hcm(routes, { tracing, always_set_request_id_in_response: true, ...manager }), around));

let runs = 0;
/** Of one run: its spans are known by it, whatever runs beside it. */
const unique = (): string => (++runs).toString(16).padStart(12, '0');

interface Seen {
  /** Headers that the application was sent. */
  readonly told: ReadonlyMap<string, string>;
  /** The request's, as the answer says it. */
  readonly id: string;
}

const send = async (at: LivePlane, name: string, path: string, headers: readonly string[]): Promise<Seen> => {
  const { body, headers: answered } = await ask(at.port(name), path, { headers });
  const lines = body.split('\n').slice(1);
  return {
    told: new Map(lines.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)])),
    id: answered.get('x-request-id') ?? '',
  };
};

/** The spans whose requests had this id. */
const arrived = async ({ plane }: LivePlane, of: Collector, tail: string): Promise<readonly SpanSeen[]> => {
  await plane.close();
  const own = of.spans().filter(({ tags }) => tags['guid:x-request-id']?.endsWith(tail) === true);
  const ids = new Set(own.map(({ traceId }) => traceId));
  return of
    .spans()
    .filter(({ traceId }) => ids.has(traceId))
    .sort((a, b) => a.kind.localeCompare(b.kind));
};
const idOf = (tail: string, mark = '4'): string => `x-request-id: 00000001-0000-${mark}000-8000-${tail}`;

const tracing = (
  name: string,
  listeners: readonly (readonly [string, Traced])[],
  probe: (at: LivePlane) => Promise<unknown>,
  expect: unknown,
): FieldCase => ({
  name,
  start,
  parts: () => [
    cluster(staticCluster('echo', [echo.port], { metadata: { filter_metadata: { m: { c: 'of-cluster' } } } })),
    cluster(staticCluster('zipkin', [zipkin.port])),
    cluster(staticCluster('otlp', [otlp.port])),
    cluster(staticCluster('grpc', [grpc.port], { typed_extension_protocol_options: HTTP2 })),
    ...listeners.map(([at, what]) => traced(at, what)),
  ],
  observe: live(probe),
  expect,
});

const spans = tracing(
  'tracing-spans',
  [
    [
      'in',
      { tracing: { verbose: true, max_path_tag_length: 4, spawn_upstream_span: true, provider: byOtlp({ service_name: 'web.shop' }) } },
    ],
  ],
  async (at) => {
    const tail = unique();
    await send(at, 'in', '/path', [idOf(tail)]);
    return (await arrived(at, otlp, tail)).map((span) => [span.kind, span.service, span.tags['http.url'], span.events.length > 0]);
  },
  [
    ['client', 'web.shop', undefined, true],
    ['server', 'web.shop', 'http://a.test/pat', true],
  ],
);

const zipkinForm = tracing(
  'tracing-zipkin',
  [
    [
      'in',
      {
        tracing: {
          provider: byZipkin({
            trace_id_128bit: true,
            shared_span_context: false,
            collector_hostname: 'zip.host',
            trace_context_option: 1,
          }),
        },
      },
    ],
  ],
  async (at) => {
    const tail = unique();
    const { told } = await send(at, 'in', '/', [idOf(tail)]);
    const seen = await arrived(at, zipkin, tail);
    const report = zipkin.reports.find((r) => r.spans.some(({ traceId }) => traceId === seen[0]?.traceId));
    return [seen.map(({ traceId, shared }) => [traceId.length, shared]), told.has('traceparent'), report?.path, report?.headers.host];
  },
  [[[32, false]], true, '/spans', 'zip.host'],
);

const zipkinService = tracing(
  'tracing-zipkin-service',
  [
    [
      'in',
      {
        tracing: {
          provider: provider({
            '@type': `${CONFIG}ZipkinConfig`,
            collector_endpoint_version: 'HTTP_JSON',
            collector_service: {
              http_uri: { uri: 'http://zip.host/api', cluster: 'zipkin', timeout: '1s' },
              request_headers_to_add: [{ header: { key: 'x-key', value: 'secret' } }],
            },
          }),
        },
      },
    ],
  ],
  async (at) => {
    const tail = unique();
    await send(at, 'in', '/', [idOf(tail)]);
    const [span] = await arrived(at, zipkin, tail);
    const report = zipkin.reports.find((r) => r.spans.some(({ traceId }) => traceId === span?.traceId));
    return [report?.path, report?.headers.host, report?.headers['x-key']];
  },
  ['/api', 'zip.host', 'secret'],
);

const overGrpc = tracing(
  'tracing-grpc',
  [
    [
      'in',
      {
        tracing: {
          provider: provider({ '@type': `${CONFIG}OpenTelemetryConfig`, grpc_service: { envoy_grpc: { cluster_name: 'grpc' } } }),
        },
      },
    ],
  ],
  async (at) => {
    const tail = unique();
    await send(at, 'in', '/', [idOf(tail)]);
    return (await arrived(at, grpc, tail)).length;
  },
  1,
);

const resource = tracing(
  'tracing-resource',
  [
    [
      'in',
      {
        tracing: {
          provider: byOtlp({
            resource_detectors: [
              {
                name: 'static',
                typed_config: {
                  '@type': `${EXTENSION}resource_detectors.v3.StaticConfigResourceDetectorConfig`,
                  attributes: { 'service.name': 'said' },
                },
              },
            ],
          }),
        },
      },
    ],
  ],
  async (at) => {
    const tail = unique();
    await send(at, 'in', '/', [idOf(tail)]);
    return (await arrived(at, otlp, tail)).map(({ service }) => service);
  },
  ['said'],
);

const ratio = (numerator: number) => ({
  name: 'ratio',
  typed_config: { '@type': `${EXTENSION}samplers.v3.TraceIdRatioBasedSamplerConfig`, sampling_percentage: { numerator } },
});
const parentBased = (wrapped: object) => ({
  name: 'parent',
  typed_config: { '@type': `${EXTENSION}samplers.v3.ParentBasedSamplerConfig`, wrapped_sampler: wrapped },
});

const sampler = tracing(
  'tracing-sampler',
  [
    ['ratio', { tracing: { provider: byOtlp({ sampler: ratio(100) }) } }],
    ['parent', { tracing: { provider: byOtlp({ sampler: parentBased(ratio(0)) }) } }],
  ],
  async (at) => {
    const unsampled = 'traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00';
    const first = await send(at, 'ratio', '/', [unsampled]);
    const second = await send(at, 'parent', '/', []);
    return [first, second].map(({ told }) => told.get('traceparent')?.slice(-2));
  },
  ['01', '00'],
);

const bounded = tracing(
  'tracing-bounded',
  [['in', { tracing: { provider: byOtlp({ max_cache_size: 1 }) } }]],
  async (at) => {
    const tail = unique();
    for (let i = 0; i < 3; i++) await send(at, 'in', '/', [idOf(tail)]);
    return (await arrived(at, otlp, tail)).length;
  },
  1,
);

const markOf = ({ id }: Seen): string => id[14] ?? '';

const shares = tracing(
  'tracing-shares',
  [['in', { tracing: { client_sampling: { value: 0 }, random_sampling: { value: 0 } } }]],
  async (at) => markOf(await send(at, 'in', '/', [idOf(unique()), 'x-client-trace-id: c'])),
  '4',
);

const overall = tracing(
  'tracing-overall',
  [['in', { tracing: { overall_sampling: { value: 0 } } }]],
  async (at) => markOf(await send(at, 'in', '/', [idOf(unique())])),
  '4',
);

const alone = tracing(
  'tracing-alone',
  [['in', { tracing: { provider: byZipkin(), no_context_propagation: true } }]],
  async (at) => {
    const tail = unique();
    const { told } = await send(at, 'in', '/', [idOf(tail)]);
    return [told.has('x-b3-traceid'), (await arrived(at, zipkin, tail)).length];
  },
  [false, 1],
);

const children = tracing(
  'tracing-children',
  [
    [
      'router',
      {
        tracing: { provider: byZipkin() },
        manager: {
          http_filters: [
            {
              name: 'router',
              typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router', start_child_span: true },
            },
          ],
        },
      },
    ],
    ['split', { tracing: { provider: byZipkin({ split_spans_for_request: true }) } }],
  ],
  async (at) => {
    const [one, other] = [unique(), unique()];
    await send(at, 'router', '/', [idOf(one)]);
    await send(at, 'split', '/', [idOf(other)]);
    return [(await arrived(at, zipkin, one)).length, (await arrived(at, zipkin, other)).length];
  },
  [2, 2],
);

const uuid = (fields: object): Partial<HttpConnectionManager> => ({
  request_id_extension: {
    typed_config: { '@type': 'type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig', ...fields },
  },
});

const ids = tracing(
  'tracing-ids',
  [
    ['unpacked', { tracing: {}, manager: uuid({ pack_trace_reason: false }) }],
    [
      'unasked',
      { tracing: { random_sampling: { value: 0 }, provider: byZipkin() }, manager: uuid({ use_request_id_for_trace_sampling: false }) },
    ],
  ],
  async (at) => [
    markOf(await send(at, 'unpacked', '/', [idOf(unique())])),
    (await send(at, 'unasked', '/', [idOf(unique())])).told.get('x-b3-sampled'),
  ],
  ['4', '1'],
);

const NEVER = { numerator: 0 };
const onRoutes = tracing(
  'tracing-route',
  [
    [
      'in',
      {
        tracing: { random_sampling: { value: 100 }, provider: byZipkin() },
        routes: [
          { match: { prefix: '/asked' }, route: { cluster: 'echo' }, tracing: { client_sampling: NEVER, random_sampling: NEVER } },
          { match: { prefix: '/overall' }, route: { cluster: 'echo' }, tracing: { overall_sampling: NEVER } },
          { match: { prefix: '/' }, route: { cluster: 'echo' }, tracing: { custom_tags: [{ tag: 'of', literal: { value: 'route' } }] } },
        ],
      },
    ],
  ],
  async (at) => {
    const tail = unique();
    const asked = await send(at, 'in', '/asked', [idOf(unique()), 'x-client-trace-id: c']);
    const never = await send(at, 'in', '/overall', [idOf(unique())]);
    await send(at, 'in', '/', [idOf(tail)]);
    return [markOf(asked), markOf(never), (await arrived(at, zipkin, tail))[0]?.tags['of']];
  },
  ['4', '4', 'route'],
);

const METADATA = (kind: object, key: string, step: string, more: object = {}): CustomTag => ({
  tag: `${Object.keys(kind)[0]}-${step}`,
  metadata: { kind, metadata_key: { key, path: [{ key: step }] }, ...more },
});
const tags: readonly CustomTag[] = [
  { tag: 'literal', literal: { value: 'l' } },
  { tag: 'variable', environment: { name: 'PATH' } },
  { tag: 'no-variable', environment: { name: 'SKEIN_NOT_SET', default_value: 'unset' } },
  { tag: 'header', request_header: { name: 'x-tenant' } },
  { tag: 'no-header', request_header: { name: 'x-absent', default_value: 'none' } },
  METADATA({ route: {} }, 'm', 'r'),
  METADATA({ cluster: {} }, 'm', 'c'),
  METADATA({ host: {} }, 'm', 'h', { default_value: 'no-host' }),
  METADATA({ request: {} }, 'm', 'q', { default_value: 'no-request' }),
  { tag: 'format', value: '%REQ(:METHOD)%' },
];
const tagged = tracing(
  'tracing-tags',
  [
    [
      'in',
      {
        tracing: { provider: byZipkin(), custom_tags: tags },
        routes: [{ match: { prefix: '/' }, route: { cluster: 'echo' }, metadata: { filter_metadata: { m: { r: 'of-route' } } } }],
      },
    ],
  ],
  async (at) => {
    const tail = unique();
    await send(at, 'in', '/', [idOf(tail), 'x-tenant: acme']);
    const [span] = await arrived(at, zipkin, tail);
    return tags.map(({ tag = '' }) => (tag === 'variable' ? span?.tags[tag] === process.env['PATH'] : span?.tags[tag]));
  },
  ['l', true, 'unset', 'acme', 'none', 'of-route', 'of-cluster', 'no-host', 'no-request', 'GET'],
);

const ofBootstrap: FieldCase = {
  name: 'tracing-bootstrap',
  start,
  parts: () => [
    { type: 'envoy.config.bootstrap.v3.Bootstrap', message: { tracing: { http: byZipkin() } } satisfies Bootstrap },
    cluster(staticCluster('echo', [echo.port])),
    cluster(staticCluster('zipkin', [zipkin.port])),
    traced('in', { tracing: {} }),
  ],
  observe: (parts) =>
    live(
      async (at) => {
        const tail = unique();
        await send(at, 'in', '/', [idOf(tail)]);
        return (await arrived(at, zipkin, tail)).length;
      },
      () => ({ tracer: only(parts, 'envoy.config.bootstrap.v3.Bootstrap').tracing?.http }),
    )(parts),
  expect: 1,
};

export const TRACING_CASES: readonly FieldCase[] = [
  spans,
  zipkinForm,
  zipkinService,
  overGrpc,
  resource,
  sampler,
  bounded,
  shares,
  overall,
  alone,
  children,
  ids,
  onRoutes,
  tagged,
  ofBootstrap,
];
