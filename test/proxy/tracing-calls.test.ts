// What the proxy asks of others for a request, and the copies it sends, in the request's trace: spans and headers beside a stock Envoy's.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { createServer as createHttp2Server, type Http2Server } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { frameMessage } from '../../src/wire/grpc-frames.ts';
import type { Cluster, HttpFilter, Listener, Route } from '../../src/xds/gen/types.ts';
import { hcm, listener, startBackend, startPlane, staticCluster } from './harness.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';
import { type Collector, type SpanSeen, startCollector } from './tracing-rig.ts';

const EXTENSIONS = 'type.googleapis.com/envoy.extensions.filters.http.';
const filter = (type: string, fields: object): HttpFilter => ({
  name: type,
  typed_config: { '@type': `${EXTENSIONS}${type}`, ...fields } as { '@type': string },
});
const ROUTER = filter('router.v3.Router', {});
const GRPC = { envoy_grpc: { cluster_name: 'grpc' } };
const FILTERS: Readonly<Record<string, readonly HttpFilter[]>> = {
  'authz-grpc': [filter('ext_authz.v3.ExtAuthz', { transport_api_version: 'V3', grpc_service: { ...GRPC, timeout: '2s' } })],
  'authz-http': [
    filter('ext_authz.v3.ExtAuthz', {
      transport_api_version: 'V3',
      http_service: { server_uri: { uri: 'http://authz', cluster: 'authz', timeout: '2s' } },
    }),
  ],
  limit: [
    filter('ratelimit.v3.RateLimit', {
      ...{ domain: 'd', timeout: '2s' },
      rate_limit_service: { grpc_service: GRPC, transport_api_version: 'V3' },
    }),
  ],
  mirror: [],
};

const TRACERS: Readonly<Record<string, object>> = {
  otlp: {
    '@type': 'type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig',
    service_name: 'svc',
    http_service: { http_uri: { uri: 'otel.example/v1/traces', cluster: 'otlp', timeout: '1s' } },
  },
  zipkin: {
    '@type': 'type.googleapis.com/envoy.config.trace.v3.ZipkinConfig',
    ...{ collector_cluster: 'zipkin', collector_endpoint: '/api/v2/spans', collector_endpoint_version: 'HTTP_JSON' },
    ...{ trace_id_128bit: true, shared_span_context: false },
  },
};

const routes = (mirrored: boolean): readonly Route[] => [
  {
    match: { prefix: '/' },
    route: {
      cluster: 'app',
      rate_limits: [{ actions: [{ generic_key: { descriptor_value: 'k' } }] }],
      ...(mirrored ? { request_mirror_policies: [{ cluster: 'copy' }] } : {}),
    },
  },
];

const LISTENERS: readonly Listener[] = Object.entries(TRACERS).flatMap(([tracer, config]) =>
  Object.entries(FILTERS).map(([name, filters]) =>
    listener(
      `${tracer} ${name}`,
      hcm(routes(name === 'mirror'), {
        http_filters: [...filters, ROUTER],
        tracing: { provider: { name: tracer, typed_config: config as { '@type': string } }, random_sampling: { value: 100 } },
      }),
      { traffic_direction: 'OUTBOUND' },
    ),
  ),
);

const CARRIED = /^(traceparent|tracestate|x-b3-[a-z]+)$/;
const carried = (headers: Readonly<Record<string, unknown>>): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).flatMap(([k, v]) => (CARRIED.test(k) && v !== '' ? [[k, String(v)]] : [])));

const carriedIn = (text: string): Record<string, string> =>
  carried(Object.fromEntries([...text.matchAll(/^([^:\r\n]+): (.*?)\r$/gm)].map(([, k = '', v = '']) => [k.toLowerCase(), v])));

interface Seen {
  readonly who: string;
  readonly headers: Record<string, string>;
}

/** Authorization and limits: both say yes. */
const startGrpc = async (seen: Seen[]): Promise<Http2Server> => {
  const server = createHttp2Server();
  server.on('stream', (stream, headers) => {
    const path = String(headers[':path']);
    seen.push({ who: path, headers: carried(headers) });
    stream.on('error', () => undefined);
    stream.resume();
    stream.on('end', () => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.end(Buffer.from(frameMessage(path.includes('ratelimit') ? Uint8Array.of(8, 1) : new Uint8Array(0))));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
};

const get = (port: number, headers: Readonly<Record<string, string>>): Promise<void> =>
  new Promise((resolve, reject) => {
    const request = httpRequest(
      { host: '127.0.0.1', port, path: '/x', headers: { host: 'shop', ...headers }, agent: false },
      (response) => {
        response.resume();
        response.on('end', resolve);
      },
    );
    request.on('error', reject);
    request.end();
  });

const REQUESTS: readonly Readonly<Record<string, string>>[] = [
  {},
  { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00', 'x-b3-sampled': '0' },
];

/** New ids become letters in order of their appearance; what differs by nature goes. */
const anonymous = (told: unknown, ports: ReadonlySet<string>): unknown => {
  const letters = new Map<string, string>();
  const text = JSON.stringify(told)
    .replace(/\b(?:[0-9a-f]{32}|[0-9a-f]{16})\b/g, (id) => {
      if (!letters.has(id)) letters.set(id, `<${letters.size}>`);
      return letters.get(id) ?? '';
    })
    .replace(/\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b/g, 'ID')
    .replace(/\d+/g, (number) => (ports.has(number) ? 'PORT' : number));
  return JSON.parse(text);
};

const spanOf = ({ startUs: _, durationUs: __, flags: ___, ...span }: SpanSeen): unknown => span;

/** One request after another; of each what others were sent, and its spans. */
const tell = async (
  port: (name: string) => number,
  seen: Seen[],
  flush: (count: number) => Promise<readonly SpanSeen[]>,
  copied: () => Promise<void>,
): Promise<Readonly<Record<string, unknown>>> => {
  const told: Record<string, { readonly others: readonly Seen[]; readonly times: readonly [number, number] }> = {};
  for (const { name = '' } of LISTENERS)
    for (const [i, headers] of REQUESTS.entries()) {
      seen.length = 0;
      const at = Date.now();
      await get(port(name), headers);
      if (name.endsWith('mirror')) await copied();
      await new Promise((resolve) => setTimeout(resolve, 3));
      told[`${name} ${i}`] = { others: [...seen].sort((a, b) => (a.who < b.who ? -1 : 1)), times: [at, Date.now()] };
    }
  // Of each sampled request two.
  const spans = await flush(LISTENERS.length * 2);
  return Object.fromEntries(
    Object.entries(told).map(([name, { others, times }]) => [
      name,
      {
        others,
        spans: spans
          .filter(({ startUs }) => startUs >= times[0] * 1000 && startUs < times[1] * 1000)
          .sort((a, b) => (a.parentId === '' ? -1 : b.parentId === '' ? 1 : 0))
          .map(spanOf),
      },
    ]),
  );
};

test('calls of filters and copies are spans of their own below the request, and carry its trace', { skip: NO_ENVOY }, async () => {
  const seen: Seen[] = [];
  const grpc = await startGrpc(seen);
  await using zipkin = await startCollector('zipkin');
  await using otlp = await startCollector('otlp');
  const answer = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok';
  let copied = (): void => undefined;
  const backend = (who: string) =>
    startBackend((socket, text) => {
      seen.push({ who, headers: carriedIn(text) });
      socket.write(answer);
      if (who === 'copy') copied();
    });
  await using app = await backend('app');
  await using copy = await backend('copy');
  await using authz = await backend('authz');
  const http2: Partial<Cluster> = {
    typed_extension_protocol_options: {
      'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
        '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
        explicit_http_config: { http2_protocol_options: {} },
      } as { '@type': string },
    },
  };
  const grpcPort = (grpc.address() as AddressInfo).port;
  const clusters = [
    ...[staticCluster('app', [app.port]), staticCluster('copy', [copy.port]), staticCluster('authz', [authz.port])],
    ...[staticCluster('zipkin', [zipkin.port]), staticCluster('otlp', [otlp.port]), staticCluster('grpc', [grpcPort], http2)],
  ];
  const ports = new Set([app.port, copy.port, authz.port, grpcPort].map(String));
  const both =
    (z: Collector, o: Collector, from: readonly [number, number]) =>
    async (count: number): Promise<readonly SpanSeen[]> => [
      ...(await z.whenSpans(from[0] + count / 2)).slice(from[0]),
      ...(await o.whenSpans(from[1] + count / 2)).slice(from[1]),
    ];
  const whenCopied = (): Promise<void> =>
    seen.some(({ who }) => who === 'copy') ? Promise.resolve() : new Promise((resolve) => (copied = resolve));
  try {
    let ours: Readonly<Record<string, unknown>>;
    {
      await using plane = await startPlane({ clusters, listeners: LISTENERS }, { tracedNode: { id: 'n', zone: 'z' }, nodeCluster: 'svc' });
      ours = await tell((name) => plane.port(name), seen, both(zipkin, otlp, [0, 0]), whenCopied);
    }
    const from = [zipkin.spans().length, otlp.spans().length] as const;
    const quick = { 'tracing.opentelemetry.min_flush_spans': 1, 'tracing.zipkin.min_flush_spans': 1 };
    await using envoy = await startEnvoy(
      { clusters, listeners: LISTENERS },
      { node: { id: 'n', cluster: 'svc', locality: { zone: 'z' } }, layered_runtime: { layers: [{ name: 's', static_layer: quick }] } },
    );
    const theirs = await tell((name) => envoy.port(name), seen, both(zipkin, otlp, from), whenCopied);
    for (const name of Object.keys(theirs)) assert.deepEqual(anonymous(ours[name], ports), anonymous(theirs[name], ports), name);
  } finally {
    grpc.close();
  }
});
