// The same requests to the proxy and to a stock Envoy, both with the same tracers: spans and what is handed on must agree but for ids,
// times and ports.
import assert from 'node:assert/strict';
import { request as httpRequest } from 'node:http';
import { test } from 'node:test';
import type { Cluster, HttpConnectionManager, Listener } from '../../src/xds/gen/types.ts';
import { type Backend, hcm, listener, startBackend, startPlane, staticCluster } from './harness.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';
import { type Collector, type SpanSeen, startCollector } from './tracing-rig.ts';

const TYPE = 'type.googleapis.com/envoy.config.trace.v3.';
const ZIPKIN = {
  '@type': `${TYPE}ZipkinConfig`,
  collector_cluster: 'zipkin',
  collector_endpoint: '/api/v2/spans',
  collector_endpoint_version: 'HTTP_JSON',
};
const WIDE = { ...ZIPKIN, trace_id_128bit: true, shared_span_context: false };
const OTLP = {
  '@type': `${TYPE}OpenTelemetryConfig`,
  service_name: 'svc',
  http_service: { http_uri: { uri: 'otel.example/v1/traces', cluster: 'otlp', timeout: '1s' } },
};
type Tracing = NonNullable<HttpConnectionManager['tracing']>;
const SAMPLERS = 'type.googleapis.com/envoy.extensions.tracers.opentelemetry.samplers.v3.';
const RATIO = { '@type': `${SAMPLERS}TraceIdRatioBasedSamplerConfig`, sampling_percentage: { numerator: 50 } };

const traced = (
  name: string,
  config: object | undefined,
  more: Tracing = {},
  manager: Partial<HttpConnectionManager> = {},
  direction: 'INBOUND' | 'OUTBOUND' = 'INBOUND',
): Listener =>
  listener(
    name,
    hcm([], {
      stat_prefix: name,
      tracing: {
        ...(config === undefined ? {} : { provider: { name: 'tracer', typed_config: config as { '@type': string } } }),
        custom_tags: [
          { tag: 'literal', literal: { value: 'x' } },
          { tag: 'header', request_header: { name: 'x-tenant', default_value: 'nobody' } },
          { tag: 'absent', request_header: { name: 'x-absent' } },
          { tag: 'environment', environment: { name: 'SKEIN_NOT_SET', default_value: 'unset' } },
          { tag: 'metadata', metadata: { kind: { route: {} }, metadata_key: { key: 'm', path: [{ key: 'a' }] } } },
          { tag: 'format', value: '%REQ(:METHOD)%-%RESPONSE_CODE%%REQ(X-ABSENT)%' },
          { tag: 'emptyformat', value: '%REQ(X-ABSENT)%' },
        ],
        ...more,
      },
      route_config: {
        name: 'r',
        validate_clusters: false,
        virtual_hosts: [
          {
            name: 'v',
            domains: ['*'],
            routes: [
              { match: { prefix: '/plain' }, route: { cluster: 'app' } },
              { match: { prefix: '/local' }, direct_response: { status: 403 } },
              { match: { prefix: '/rewritten' }, route: { cluster: 'app', prefix_rewrite: '/plain', host_rewrite_literal: 'other.host' } },
              {
                match: { prefix: '/dead' },
                route: {
                  cluster: 'dead',
                  retry_policy: { retry_on: 'connect-failure', num_retries: 1, retry_back_off: { base_interval: '0.001s' } },
                },
              },
              { match: { prefix: '/quiet' }, route: { cluster: 'app' }, decorator: { operation: 'quiet', propagate: false } },
              {
                match: { prefix: '/own' },
                route: { cluster: 'app' },
                tracing: { random_sampling: { numerator: 100 }, custom_tags: [{ tag: 'literal', literal: { value: 'route' } }] },
              },
              {
                match: { prefix: '/app' },
                route: { cluster: 'app', retry_policy: { retry_on: '5xx', num_retries: 1, retry_back_off: { base_interval: '0.001s' } } },
                metadata: { filter_metadata: { m: { a: 'b' } } },
                decorator: { operation: 'deco/op' },
              },
            ],
          },
        ],
      },
      ...manager,
    }),
    { traffic_direction: direction },
  );

const NONE: Tracing = { random_sampling: { value: 0 }, client_sampling: { value: 0 } };
const EDGE: Partial<HttpConnectionManager> = { use_remote_address: true };
const INTERNAL: Partial<HttpConnectionManager> = {
  use_remote_address: true,
  internal_address_config: { cidr_ranges: [{ address_prefix: '127.0.0.0', prefix_len: 8 }] },
};
const uuid = (fields: object): Partial<HttpConnectionManager> => ({
  request_id_extension: {
    typed_config: { '@type': 'type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig', ...fields },
  },
});

const LISTENERS: readonly Listener[] = [
  traced('zipkin-in', WIDE),
  traced('zipkin-out', WIDE, {}, {}, 'OUTBOUND'),
  traced('zipkin-shared', ZIPKIN),
  traced('zipkin-w3c', { ...WIDE, trace_context_option: 1 }, {}, {}, 'OUTBOUND'),
  traced('zipkin-spawn', WIDE, { spawn_upstream_span: true }),
  traced('zipkin-verbose', WIDE, { verbose: true, spawn_upstream_span: true }),
  traced('zipkin-spawn-out', WIDE, { spawn_upstream_span: true, max_path_tag_length: 3 }, {}, 'OUTBOUND'),
  traced('zipkin-none', WIDE, NONE),
  traced('zipkin-edge', WIDE, NONE, EDGE),
  traced('zipkin-kept', WIDE, NONE, { ...EDGE, preserve_external_request_id: true }),
  traced('zipkin-internal', WIDE, NONE, INTERNAL),
  traced('zipkin-client', WIDE, { random_sampling: { value: 0 } }),
  traced('zipkin-half', WIDE, { random_sampling: { value: 50 } }),
  traced('zipkin-overall', WIDE, { overall_sampling: { value: 0 } }),
  traced('zipkin-unasked', WIDE, NONE, uuid({ use_request_id_for_trace_sampling: false })),
  traced('zipkin-unpacked', WIDE, {}, uuid({ pack_trace_reason: false })),
  traced('zipkin-no-id', WIDE, {}, { generate_request_id: false }),
  traced('zipkin-alone', WIDE, { no_context_propagation: true }, {}, 'OUTBOUND'),
  traced('nobody', undefined, {}, {}, 'OUTBOUND'),
  traced('otlp-in', OTLP),
  traced('otlp-out', OTLP, {}, {}, 'OUTBOUND'),
  traced('otlp-spawn', OTLP, { spawn_upstream_span: true, verbose: true }),
  traced('otlp-none', OTLP, NONE),
  traced('otlp-ratio', { ...OTLP, sampler: { name: 'ratio', typed_config: RATIO } }),
  traced('otlp-parent', {
    ...OTLP,
    sampler: {
      name: 'parent',
      typed_config: { '@type': `${SAMPLERS}ParentBasedSamplerConfig`, wrapped_sampler: { name: 'ratio', typed_config: RATIO } },
    },
  }),
  traced('otlp-always', { ...OTLP, sampler: { name: 'always', typed_config: { '@type': `${SAMPLERS}AlwaysOnSamplerConfig` } } }),
];

const ID = '19af2be9-3ef9-4cdc-a329-25489019b42c';
const marked = (mark: string): string => ID.slice(0, 14) + mark + ID.slice(15);
const B3 = { 'x-b3-traceid': '463ac35c9f6413ad', 'x-b3-spanid': 'a2fb4a1d1a96d312' };
const SINGLE = '80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1';
const PARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331';
type Headers = Readonly<Record<string, string>>;

const REQUESTS: readonly (readonly [listener: string, path: string, headers?: Headers])[] = [
  ...[
    'zipkin-in',
    'zipkin-out',
    'zipkin-spawn',
    'otlp-in',
    'otlp-out',
    'otlp-spawn',
    'nobody',
    'zipkin-verbose',
    'zipkin-spawn-out',
  ].flatMap((name): (readonly [string, string, Headers?])[] => [
    [name, '/app?q=1', { 'user-agent': 'ua', 'x-tenant': 'acme' }],
    [name, '/app/500'],
    [name, '/app/404'],
    [name, '/local'],
    [name, '/nowhere'],
    [name, '/plain'],
    [name, '/quiet'],
    [name, '/rewritten'],
    [name, '/dead'],
    [name, '/app/renames', { 'x-envoy-decorator-operation': 'from-caller' }],
    [name, '/own'],
    [name, '/app/grpc', { 'content-type': 'application/grpc', 'grpc-timeout': '1S' }],
    [name, '/app/grpc-unknown', { 'content-type': 'application/grpc' }],
    [name, '/app/grpc-missing', { 'content-type': 'application/grpc' }],
  ]),
  ...['zipkin-in', 'zipkin-none', 'zipkin-shared', 'zipkin-w3c'].flatMap((name): (readonly [string, string, Headers])[] => [
    [name, '/app', { b3: `${SINGLE}-1-05e3ac9a4f6e3b90` }],
    [name, '/app', { b3: `${SINGLE}-0` }],
    [name, '/app', { b3: `${SINGLE}-d` }],
    [name, '/app', { b3: SINGLE }],
    [name, '/app', { b3: '0' }],
    [name, '/app', { b3: '1' }],
    [name, '/app', { b3: 'nothing' }],
    [name, '/app', { ...B3, 'x-b3-sampled': '1' }],
    [name, '/app', { ...B3, 'x-b3-sampled': '0', 'x-b3-parentspanid': 'e457b5a2e4d86bd1' }],
    [name, '/app', { ...B3, 'x-b3-flags': '1' }],
    [name, '/app', { ...B3, 'x-b3-traceid': 'nothing' }],
    [name, '/app', { 'x-b3-sampled': '1' }],
    [name, '/app', { traceparent: `${PARENT}-01`, tracestate: 'a=b' }],
    [name, '/app', { traceparent: `${PARENT}-00` }],
    [name, '/app', { ...B3, traceparent: `${PARENT}-01` }],
  ]),
  ...['otlp-in', 'otlp-none', 'otlp-ratio', 'otlp-parent', 'otlp-always'].flatMap((name): (readonly [string, string, Headers])[] => [
    [name, '/app', { traceparent: `${PARENT}-01`, tracestate: 'a=b,c=d', baggage: 'k=v' }],
    [name, '/app', { traceparent: `${PARENT}-00` }],
    [name, '/app', { traceparent: `00-f0ffffffffffffff8448eb211c80319c-b7ad6b7169203331-01` }],
    [name, '/app', { traceparent: `00-01ffffffffffffff8448eb211c80319c-b7ad6b7169203331-01` }],
    [name, '/app', { traceparent: `${PARENT}-03` }],
    [name, '/app', { traceparent: `${PARENT.slice(0, -1)}-01` }],
    [name, '/app', { traceparent: `00-${'0'.repeat(32)}-b7ad6b7169203331-01` }],
    [name, '/app', { traceparent: `01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01` }],
  ]),
  ...[
    'zipkin-none',
    'zipkin-edge',
    'zipkin-kept',
    'zipkin-internal',
    'zipkin-client',
    'zipkin-half',
    'zipkin-overall',
    'zipkin-unasked',
    'zipkin-unpacked',
    'zipkin-no-id',
    'nobody',
    'otlp-none',
  ].flatMap((name): (readonly [string, string, Headers?])[] => [
    [name, '/app', { 'x-request-id': ID }],
    [name, '/app', { 'x-request-id': marked('9') }],
    [name, '/app', { 'x-request-id': marked('a') }],
    [name, '/app', { 'x-request-id': marked('b') }],
    [name, '/app', { 'x-request-id': 'short' }],
    [name, '/app', { 'x-request-id': '00000005-3ef9-4cdc-a329-25489019b42c' }],
    [name, '/app', { 'x-request-id': '0000270f-3ef9-4cdc-a329-25489019b42c' }],
    [name, '/app', { 'x-envoy-force-trace': 'true', 'x-request-id': ID }],
    [name, '/app', { 'x-client-trace-id': 'mine', 'x-request-id': ID }],
  ]),
  ['otlp-in', '/app', { b3: `${SINGLE}-1` }],
  ['zipkin-no-id', '/app'],
  ['zipkin-alone', '/app'],
];

interface Told {
  readonly handedOn: readonly unknown[];
  readonly answer: unknown;
  readonly spans: readonly unknown[];
}

const CARRIED = [
  'x-b3-traceid',
  'x-b3-spanid',
  'x-b3-parentspanid',
  'x-b3-sampled',
  'x-b3-flags',
  'b3',
  'traceparent',
  'tracestate',
  'baggage',
];
const CARRIED_TOO = ['x-request-id', 'x-envoy-decorator-operation', 'x-client-trace-id', 'x-envoy-force-trace'];

/** Ids that came with the request stay, new ones become letters in order of appearance, ports go. */
const anonymous = (told: Told, ports: ReadonlySet<string>, given: string): unknown => {
  const letters = new Map<string, string>();
  const letter = (id: string): string => {
    if (given.includes(id)) return id;
    if (!letters.has(id)) letters.set(id, `<${letters.size}:${id.length}>`);
    return letters.get(id) ?? '';
  };
  const text = JSON.stringify(told)
    .replace(/\b[0-9a-f]{8}-[0-9a-f]{4}-([0-9a-f])[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\b/g, (id, mark) =>
      given.includes(id) ? id : `<id ${mark}>`,
    )
    .replace(/\b(?:[0-9a-f]{32}|[0-9a-f]{16})\b/g, letter)
    .replace(/\d+/g, (number) => (ports.has(number) ? 'PORT' : number));
  return JSON.parse(text);
};

const plain = ({ startUs: _, durationUs, ...span }: SpanSeen): unknown => {
  assert.ok(durationUs > 0 && durationUs < 10_000_000, `lasts ${durationUs} µs`);
  return span;
};

const startApp = async (seen: Record<string, string>[]): Promise<Backend> =>
  startBackend((socket, text) => {
    const headers = Object.fromEntries(
      [...text.matchAll(/^([^:\r\n]+): (.*?)\r$/gm)].map(([, name = '', value = '']) => [name.toLowerCase(), value]),
    );
    seen.push(
      Object.fromEntries(
        [...CARRIED, ...CARRIED_TOO].flatMap((name) =>
          headers[name] === undefined || (name === 'tracestate' && headers[name] === '') ? [] : [[name, headers[name]]],
        ),
      ),
    );
    const path = /^\S+ (\S+)/.exec(text)?.[1] ?? '';
    const status = /\/(\d\d\d)/.exec(path)?.[1] ?? '200';
    const more = path.includes('renames') ? 'x-envoy-decorator-operation: from-server\r\n' : '';
    const grpc = path.includes('grpc')
      ? `content-type: application/grpc\r\n${path.includes('missing') ? '' : `grpc-status: ${path.includes('unknown') ? '2' : '0'}\r\ngrpc-message: said\r\n`}`
      : '';
    socket.write(`HTTP/1.1 ${status} x\r\n${more}${grpc}content-length: 2\r\n\r\nok`);
  });

const ask = (port: number, path: string, headers: Headers): Promise<unknown> =>
  new Promise((resolve, reject) => {
    const request = httpRequest({ host: '127.0.0.1', port, path, headers, agent: false }, (response) => {
      response.resume();
      response.on('end', () => resolve([response.statusCode, response.headers['x-envoy-decorator-operation']]));
    });
    request.on('error', reject);
    request.end();
  });

/** One request after another, then all spans at once: they are known by x-request-id or by what was handed on. */
const tell = async (
  port: (name: string) => number,
  seen: Record<string, string>[],
  flush: () => Promise<readonly SpanSeen[]>,
): Promise<Told[]> => {
  const asked: { seen: readonly Record<string, string>[]; answer: unknown; at: number; until: number }[] = [];
  for (const [name, path, headers = {}] of REQUESTS) {
    seen.length = 0;
    const at = Date.now();
    const answer = await ask(port(name), path, headers);
    await new Promise((resolve) => setTimeout(resolve, 2));
    asked.push({ seen: [...seen], answer, at, until: Date.now() });
  }
  const spans = await flush();
  return asked.map(({ seen: handedOn, answer, at, until }) => ({
    handedOn,
    answer,
    spans: spans
      .filter(({ startUs }) => startUs >= at * 1000 && startUs < until * 1000)
      .sort((a, b) => (a.kind + a.tags['retry.count']).localeCompare(b.kind + b.tags['retry.count']))
      .map(plain),
  }));
};

const clusters = (app: number, zipkin: Collector, otlp: Collector): readonly Cluster[] => [
  staticCluster('app', [app]),
  staticCluster('dead', [1]),
  staticCluster('zipkin', [zipkin.port]),
  staticCluster('otlp', [otlp.port]),
];

test('spans and contexts are those of a stock Envoy', { skip: NO_ENVOY, timeout: 120_000 }, async () => {
  const seen: Record<string, string>[] = [];
  await using app = await startApp(seen);
  await using zipkin = await startCollector('zipkin');
  await using otlp = await startCollector('otlp');
  const resources = { clusters: clusters(app.port, zipkin, otlp), listeners: LISTENERS };
  const all = () => [...zipkin.spans(), ...otlp.spans()];

  const plane = await startPlane(resources, { nodeCluster: 'nc', tracedNode: { id: 'node-1', zone: 'z1' } });
  const ourPorts = new Map(LISTENERS.map(({ name = '' }) => [name, plane.port(name)]));
  const ours = await tell(
    (name) => ourPorts.get(name) ?? 0,
    seen,
    async () => {
      await plane.plane.close();
      return all();
    },
  );
  assert.deepEqual(plane.problems, []);
  const reports = zipkin.reports.length + otlp.reports.length;
  zipkin.reports.length = 0;
  otlp.reports.length = 0;

  await using envoy = await startEnvoy(resources, {
    node: { id: 'node-1', cluster: 'nc', locality: { zone: 'z1' } },
    layered_runtime: {
      layers: [{ name: 's', static_layer: { 'tracing.zipkin.flush_interval_ms': 100, 'tracing.opentelemetry.flush_interval_ms': 100 } }],
    },
  });
  const theirs = await tell(
    (name) => envoy.port(name),
    seen,
    async () => {
      await new Promise((resolve) => setTimeout(resolve, 400));
      return all();
    },
  );
  assert.ok(reports > 0);
  const ports = new Set([app.port, ...ourPorts.values(), ...LISTENERS.map(({ name = '' }) => envoy.port(name))].map(String));
  const problems: string[] = [];
  REQUESTS.forEach(([name, path, headers], i) => {
    const given = JSON.stringify(headers ?? {});
    const [a, b] = [ours[i], theirs[i]].map((told) => anonymous(told as Told, ports, given));
    try {
      assert.deepEqual(a, b);
    } catch (problem) {
      problems.push(`${name} ${path} ${given}: ${problem instanceof Error ? problem.message : ''}`);
    }
  });
  assert.equal(problems.length, 0, `${problems.length} of ${REQUESTS.length}\n${problems.join('\n')}`);
});
