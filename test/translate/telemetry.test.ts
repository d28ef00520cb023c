// Telemetry as proxies get it: access logs, tracing and the configuration of the stats filter.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildSnapshot } from '../../src/mesh/snapshot.ts';
import { announcedNode } from '../../src/proxy/bootstrap/node.ts';
import { compileSampler } from '../../src/proxy/tracing/otel-sampler.ts';
import { resourceAttributes } from '../../src/proxy/tracing/otlp-resource.ts';
import { type NodeTelemetry, nodeTelemetry } from '../../src/translate/node-telemetry.ts';
import { decodeNamed, encodeNamed } from '../../src/xds/codec.ts';
import type { HttpConnectionManager_Tracing, Node, OpenTelemetryConfig } from '../../src/xds/gen/types.ts';
import { meshConfigOf, resourcesOf } from './mesh-fixture.ts';
import { nodeOf } from './patch-fixture.ts';

const COLLECTOR = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: c, namespace: obs}
spec:
  hosts: [collector.obs.svc.cluster.local]
  ports: [{number: 4317, name: grpc, protocol: GRPC}]
  resolution: STATIC
---
`;
const service = { service: 'obs/collector.obs.svc.cluster.local', port: 4317 };
const CLUSTER = 'outbound|4317||collector.obs.svc.cluster.local';

const telemetry = (
  spec: string,
  mesh: Record<string, unknown> = {},
  node: Partial<Node> = {},
  kind: 'sidecar' | 'router' = 'sidecar',
): NodeTelemetry => {
  const yaml =
    spec === ''
      ? COLLECTOR
      : `${COLLECTOR}apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {name: t, namespace: default}\nspec:\n${spec}`;
  const { snapshot } = buildSnapshot({ resources: resourcesOf(yaml), instances: [], meshConfig: meshConfigOf(mesh) });
  return nodeTelemetry(snapshot, nodeOf(node, kind));
};

const ENVOY = { name: 'envoy', envoyFileAccessLog: { path: '/dev/stdout' } };
const logsOf = (t: NodeTelemetry): readonly Record<string, unknown>[] =>
  t
    .accessLogs('outbound')
    .map((l) => decodeNamed('envoy.config.accesslog.v3.AccessLog', encodeNamed('envoy.config.accesslog.v3.AccessLog', l)));
const logTo = (provider: Record<string, unknown>, spec = '  accessLogging: [{providers: [{name: p}]}]'): Record<string, unknown> =>
  (logsOf(telemetry(spec, { extensionProviders: [{ name: 'p', ...provider }] }))[0]?.['typed_config'] ?? {}) as Record<string, unknown>;

test('without Telemetry the log of the mesh is written, and at listeners for what no chain took', () => {
  const t = telemetry('', { accessLogFile: '/log', accessLogEncoding: 'JSON', accessLogFormat: '{"a":"%RESPONSE_CODE%"}' });
  assert.deepEqual(logsOf(t)[0]?.['typed_config'], {
    '@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog',
    path: '/log',
    log_format: { json_format: { a: '%RESPONSE_CODE%' }, json_format_options: {} },
  });
  assert.deepEqual(t.listenerLogs('inbound')[0]?.filter, { response_flag_filter: { flags: ['NR'] } });
  assert.deepEqual(telemetry('', { accessLogFile: '/log', disableEnvoyListenerLog: true }).listenerLogs('inbound'), []);
  assert.deepEqual(telemetry('').accessLogs('inbound'), []);
});

test('the built-in provider writes as the mesh says, others as they say themselves', () => {
  const mesh = { accessLogFormat: 'mesh %PROTOCOL%', extensionProviders: [ENVOY] };
  const text = (t: NodeTelemetry) => JSON.stringify(logsOf(t)[0]?.['typed_config']);
  assert.match(text(telemetry('  accessLogging: [{providers: [{name: envoy}]}]', mesh)), /"inline_string":"mesh %PROTOCOL%\\n"/);
  assert.deepEqual(logTo({ envoyFileAccessLog: { logFormat: { text: 'own' }, omitEmptyValues: true } }), {
    '@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog',
    path: '/dev/stdout',
    log_format: { text_format_source: { inline_string: 'own\n' }, omit_empty_values: true },
  });
  assert.deepEqual(
    (logTo({ envoyFileAccessLog: { path: '/x', logFormat: { labels: { a: '1' } } } })['log_format'] as Record<string, unknown>)[
      'json_format'
    ],
    { a: '1' },
  );
  assert.match(
    JSON.stringify(logTo({ envoyFileAccessLog: { logFormat: { text: '%REQ_WITHOUT_QUERY(X)%' } } })),
    /envoy\.formatter\.req_without_query/,
  );
});

test('the log service of the mesh is logged to where a proxy’s bootstrap has it, after the file', () => {
  const asked = { enableEnvoyAccessLogService: true, accessLogFile: '/log' };
  const named = { ...asked, defaultConfig: { envoyAccessLogService: { address: 'als.obs:15000' } } };
  const t = telemetry('', named);
  const shown = (list: ReturnType<NodeTelemetry['accessLogs']>) =>
    list.map((l) => [l.name, (l.typed_config as { readonly common_config?: { readonly log_name?: string } }).common_config?.log_name]);
  const file = ['envoy.access_loggers.file', undefined];
  assert.deepEqual(shown(t.accessLogs('outbound')), [file, ['envoy.access_loggers.http_grpc', 'http_envoy_accesslog']]);
  assert.deepEqual(shown(t.tcpLogs('inbound')), [file, ['envoy.tcp_grpc_access_log', 'tcp_envoy_accesslog']]);
  assert.deepEqual(shown(t.listenerLogs('inbound')), [file, ['envoy.tcp_grpc_access_log', 'listener_envoy_accesslog']]);
  assert.deepEqual(logsOf(t)[1]?.['typed_config'], {
    '@type': 'type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig',
    common_config: {
      log_name: 'http_envoy_accesslog',
      grpc_service: { envoy_grpc: { cluster_name: 'envoy_accesslog_service' } },
      transport_api_version: 'V3',
      filter_state_objects_to_log: [
        'upstream_peer',
        'downstream_peer',
        'wasm.upstream_peer',
        'wasm.upstream_peer_id',
        'wasm.downstream_peer',
        'wasm.downstream_peer_id',
      ],
    },
  });
  assert.deepEqual(shown(telemetry('', asked).accessLogs('outbound')), [file], 'no proxy has a cluster for it');
  const own = { metadata: { PROXY_CONFIG: { envoyAccessLogService: { address: 'als.obs:15000' } } } };
  assert.equal(telemetry('', asked, own).accessLogs('outbound').length, 2, 'this proxy says that it has one');
  assert.equal(
    telemetry('  accessLogging: [{providers: [{name: envoy}], disabled: true}]', { ...named, extensionProviders: [ENVOY] }).accessLogs(
      'outbound',
    ).length,
    0,
  );
});

test('log services are reached through their cluster', () => {
  const http = logTo({ envoyHttpAls: { ...service, additionalRequestHeadersToLog: ['x'] } });
  assert.deepEqual(http['common_config'], {
    log_name: 'http_envoy_accesslog',
    grpc_service: { envoy_grpc: { cluster_name: CLUSTER, authority: 'collector.obs.svc.cluster.local' } },
    transport_api_version: 'V3',
    filter_state_objects_to_log: ['upstream_peer', 'downstream_peer'],
  });
  assert.deepEqual(http['additional_request_headers_to_log'], ['x']);
  assert.match(String(logTo({ envoyTcpAls: { ...service, logName: 'l' } })['@type']), /TcpGrpcAccessLogConfig$/);
  const otel = logTo({ envoyOtelAls: { ...service, logFormat: { text: 'T', labels: { b: '2', a: '1' } } } });
  assert.deepEqual(otel['body'], { string_value: 'T' });
  assert.deepEqual(otel['attributes'], {
    values: [
      { key: 'a', value: { string_value: '1' } },
      { key: 'b', value: { string_value: '2' } },
    ],
  });
  assert.deepEqual(logTo({ envoyHttpAls: { service: 'nowhere', port: 1 } }), {}, 'a service that nobody has');
});

test('an expression filters exchanges, and at listeners beside their own filter', () => {
  const t = telemetry("  accessLogging: [{providers: [{name: envoy}], filter: {expression: 'response.code >= 400'}}]", {
    extensionProviders: [ENVOY],
  });
  const cel = {
    extension_filter: {
      name: 'envoy.access_loggers.extension_filters.cel',
      typed_config: {
        '@type': 'type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter',
        expression: 'response.code >= 400',
      },
    },
  };
  assert.deepEqual(t.accessLogs('outbound')[0]?.filter, cel);
  assert.deepEqual(t.listenerLogs('outbound')[0]?.filter, { and_filter: { filters: [{ response_flag_filter: { flags: ['NR'] } }, cel] } });
});

test('a log that is switched off is not written, one to nobody leaves the log of the mesh', () => {
  const mesh = { accessLogFile: '/log', extensionProviders: [ENVOY] };
  assert.deepEqual(telemetry('  accessLogging: [{providers: [{name: envoy}], disabled: true}]', mesh).accessLogs('outbound'), []);
  assert.match(JSON.stringify(telemetry('  accessLogging: [{providers: [{name: nobody}]}]', mesh).accessLogs('outbound')), /\/log/);
  const servers = telemetry('  accessLogging: [{match: {mode: SERVER}, providers: [{name: envoy}], disabled: true}]', mesh);
  assert.deepEqual(servers.accessLogs('inbound'), []);
  assert.equal(servers.accessLogs('outbound').length, 1);
});

const tracingOf = (t: NodeTelemetry, side: 'outbound' | 'gateway' = 'outbound'): HttpConnectionManager_Tracing => {
  const type = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.Tracing';
  const tracing = t.tracing(side);
  assert.ok(tracing);
  return decodeNamed(type, encodeNamed(type, tracing)) as HttpConnectionManager_Tracing;
};
const traceTo = (provider: Record<string, unknown>, more = '', kind: 'sidecar' | 'router' = 'sidecar') =>
  tracingOf(
    telemetry(
      `  tracing: [{providers: [{name: p}]${more}}]`,
      { extensionProviders: [{ name: 'p', ...provider }] },
      { cluster: 'me.default' },
      kind,
    ),
    kind === 'router' ? 'gateway' : 'outbound',
  );

test('without Telemetry requests are sampled as the mesh says, with its tags', () => {
  const tracing = tracingOf(
    telemetry('', { defaultConfig: { tracing: { sampling: 25, maxPathTagLength: 9, customTags: { z: { header: { name: 'x-z' } } } } } }),
  );
  assert.deepEqual(tracing.random_sampling, { value: 25 });
  assert.equal(tracing.max_path_tag_length, 9);
  assert.ok(tracing.custom_tags?.some((t) => t.tag === 'z' && t.request_header?.name === 'x-z'));
  assert.ok(tracing.custom_tags?.some((t) => t.tag === 'istio.mesh_id'));
  const own = { metadata: { PROXY_CONFIG: { tracing: { sampling: 7, enableIstioTags: false } } } };
  const told = tracingOf(telemetry('', { defaultConfig: { tracing: { sampling: 25 } } }, own));
  assert.deepEqual(told.random_sampling, { value: 7 });
  assert.equal(told.custom_tags, undefined);
  assert.equal(telemetry('', { enableTracing: false }).tracing('outbound'), undefined);
});

test('spans go to the provider, sampled and tagged as Telemetry says', () => {
  const tags =
    'customTags: {b: {literal: {value: v}}, a: {environment: {name: E, defaultValue: d}}, f: {formatter: {value: "%PROTOCOL%"}}}';
  const tracing = traceTo({ zipkin: { ...service, maxTagLength: 12 } }, `, randomSamplingPercentage: 33, enableIstioTags: false, ${tags}`);
  assert.deepEqual(tracing.random_sampling, { value: 33 });
  assert.equal(tracing.max_path_tag_length, 12);
  assert.deepEqual(tracing.custom_tags, [
    { tag: 'a', environment: { name: 'E', default_value: 'd' } },
    { tag: 'b', literal: { value: 'v' } },
    { tag: 'f', value: '%PROTOCOL%' },
  ]);
  assert.equal(tracing.spawn_upstream_span, undefined);
  assert.deepEqual(tracing.provider?.typed_config, {
    '@type': 'type.googleapis.com/envoy.config.trace.v3.ZipkinConfig',
    trace_id_128bit: true,
    shared_span_context: false,
    collector_endpoint_version: 'HTTP_JSON',
    collector_service: { http_uri: { uri: 'http://collector.obs.svc.cluster.local/api/v2/spans', cluster: CLUSTER, timeout: '5s' } },
  });
});

test('every tracer has its own configuration, gateways begin a span for what they send', () => {
  const grpc = { envoy_grpc: { cluster_name: CLUSTER, authority: 'collector.obs.svc.cluster.local' } };
  const otel = traceTo({ opentelemetry: { ...service, resourceDetectors: { environment: {} } } }, '', 'router');
  assert.equal(otel.spawn_upstream_span, true);
  const config = otel.provider?.typed_config as unknown as Record<string, unknown>;
  assert.deepEqual([config['service_name'], config['grpc_service']], ['me.default', grpc]);
  assert.match(JSON.stringify(config['resource_detectors']), /EnvironmentResourceDetectorConfig/);
  const http = traceTo({
    opentelemetry: { ...service, http: { path: '/v1/traces', timeout: '3s', headers: [{ name: 'k', value: 'v' }] } },
  });
  assert.match(
    JSON.stringify(http.provider),
    /collector\.obs\.svc\.cluster\.local\/v1\/traces","cluster":"outbound\|4317\|\|collector.*"timeout":"3s".*"key":"k"/,
  );
  assert.equal(traceTo({ datadog: service }).provider?.name, 'envoy.tracers.datadog');
  assert.equal(traceTo({ skywalking: service }).spawn_upstream_span, true);
});

test('nothing is traced when reporting is disabled or nobody takes the spans', () => {
  const providers = {
    extensionProviders: [{ name: 'p', zipkin: service }, { name: 'lost', zipkin: { service: 'nowhere', port: 1 } }, ENVOY],
  };
  assert.equal(telemetry('  tracing: [{providers: [{name: p}], disableSpanReporting: true}]', providers).tracing('outbound'), undefined);
  assert.equal(telemetry('  tracing: [{providers: [{name: lost}]}]', providers).tracing('outbound'), undefined);
  assert.equal(telemetry('  tracing: [{providers: [{name: envoy}]}]', providers).tracing('outbound'), undefined);
  const quiet = telemetry(
    '  tracing: [{providers: [{name: p}], useRequestIdForTraceSampling: false, disableContextPropagation: true}]',
    providers,
  );
  assert.equal(quiet.tracesByRequestId('outbound'), false);
  assert.equal(tracingOf(quiet).no_context_propagation, true);
});

const METRICS = `  metrics:
  - providers: [{name: prometheus}]
    reportingInterval: 15s
    overrides:
    - {match: {metric: REQUEST_COUNT, mode: CLIENT}, disabled: true, tagOverrides: {method: {value: request.method}, response_flags: {operation: REMOVE}}}
`;
const PROMETHEUS = { extensionProviders: [{ name: 'prometheus', prometheus: {} }] };

test('metrics are changed as Telemetry says, for clients and servers apart', () => {
  const t = telemetry(METRICS, PROMETHEUS);
  assert.deepEqual(t.stats('outbound'), [
    {
      tcp_reporting_duration: '15s',
      metrics: [{ name: 'requests_total', dimensions: { method: 'request.method' }, tags_to_remove: ['response_flags'], drop: true }],
    },
  ]);
  assert.deepEqual(t.stats('inbound'), [{ disable_host_header_fallback: true, tcp_reporting_duration: '15s' }]);
});

test('what our own proxy cannot do is left out and noted at the object', () => {
  const HCM = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
  const types = [HCM, 'stats.PluginConfig', 'envoy.extensions.access_loggers.file.v3.FileAccessLog'];
  const node = { user_agent_name: 'skein', extensions: types.map((t) => ({ name: t, type_urls: [`type.googleapis.com/${t}`] })) };
  const spec = `${METRICS}  accessLogging: [{providers: [{name: envoy}, {name: als}], filter: {expression: 'true'}}]\n  tracing: [{providers: [{name: z}]}]\n`;
  const mesh = {
    extensionProviders: [...PROMETHEUS.extensionProviders, ENVOY, { name: 'als', envoyHttpAls: service }, { name: 'z', zipkin: service }],
  };
  const t = telemetry(spec, mesh, node);
  assert.deepEqual(t.stats('outbound')[0]?.metrics, [
    { name: 'requests_total', dimensions: { method: 'request.method' }, tags_to_remove: ['response_flags'], drop: true },
  ]);
  assert.deepEqual(
    t.accessLogs('outbound').map((l) => [l.name, l.filter]),
    [['envoy.access_loggers.file', undefined]],
  );
  assert.equal(tracingOf(t).provider, undefined);
  assert.deepEqual(
    t
      .notes()
      .map((n) => n.path)
      .sort(),
    ['spec.accessLogging', 'spec.accessLogging', 'spec.tracing'],
  );
});

test("Dynatrace's sampler decides by itself, asked where the spans go or where it is said", () => {
  const sampled = (sampler: Record<string, unknown>): HttpConnectionManager_Tracing | undefined =>
    telemetry('  tracing: [{providers: [{name: p}], randomSamplingPercentage: 5}]', {
      extensionProviders: [
        {
          name: 'p',
          opentelemetry: { ...service, http: { path: '/v1/traces', headers: [{ name: 'a', value: 'b' }] }, dynatraceSampler: sampler },
        },
      ],
    }).tracing('outbound');
  const tracing = sampled({ tenant: 'abc', clusterId: 7, rootSpansPerMinute: 100 });
  assert.equal(tracing?.random_sampling?.value, 100);
  const config = tracing?.provider?.typed_config as { readonly sampler?: { readonly typed_config?: Record<string, unknown> } } | undefined;
  assert.deepEqual(config?.sampler?.typed_config, {
    '@type': 'type.googleapis.com/envoy.extensions.tracers.opentelemetry.samplers.v3.DynatraceSamplerConfig',
    tenant: 'abc',
    cluster_id: 7,
    root_spans_per_minute: 100,
    http_service: {
      http_uri: { uri: 'collector.obs.svc.cluster.local/api/v2/samplingConfiguration', cluster: CLUSTER, timeout: '5s' },
      request_headers_to_add: [{ header: { key: 'a', value: 'b' }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' }],
    },
  });
  const own = sampled({ tenant: 'abc', clusterId: 7, httpService: { ...service, http: { path: 'asked', timeout: '1s' } } });
  assert.match(JSON.stringify(own?.provider), /"uri":"collector.obs.svc.cluster.local\/asked","cluster":"[^"]*","timeout":"1s"\}\}/);
});

test('the control plane is a provider of spans that costs nothing before it is named: a cluster through the agent that takes them', () => {
  const named = '  tracing: [{providers: [{name: skein}], randomSamplingPercentage: 100}]';
  const metadata = { SKEIN_SPANS: '/run/web/xds.sock' };
  const mesh = { extensionProviders: [{ name: 'skein', opentelemetry: { service: 'control-plane.skein.internal', port: 4317 } }] };
  const t = telemetry(named, mesh, { metadata });
  assert.equal(tracingOf(t).provider?.name, 'envoy.tracers.opentelemetry');
  const [cluster, ...more] = t.collectors();
  assert.equal(more.length, 0);
  const { grpc_service } = (tracingOf(t).provider?.typed_config ?? {}) as { grpc_service?: { envoy_grpc?: { cluster_name?: string } } };
  assert.equal(grpc_service?.envoy_grpc?.cluster_name, cluster?.name);
  assert.equal(cluster?.load_assignment?.endpoints?.[0]?.lb_endpoints?.[0]?.endpoint?.address?.pipe?.path, '/run/web/xds.sock');
  assert.equal(telemetry(named, mesh, { metadata }, 'router').collectors().length, 1);
  assert.deepEqual(telemetry('', mesh, { metadata }).collectors(), []);
  assert.deepEqual(telemetry('  tracing: [{providers: [{name: skein}], disableSpanReporting: true}]', mesh, { metadata }).collectors(), []);
  const alone = telemetry(named, mesh);
  assert.deepEqual([alone.tracing('outbound'), alone.collectors()], [undefined, []]);
  assert.match(
    alone
      .notes()
      .map((n) => n.what)
      .join(),
    /nothing beside it hands them on/,
  );
});

test('a sampler and a detector that our own proxy would refuse are not sent to it, and that is noted at the object', () => {
  const mesh = {
    extensionProviders: [
      {
        name: 'p',
        opentelemetry: {
          ...service,
          resourceDetectors: { environment: {}, dynatrace: {} },
          dynatraceSampler: { tenant: 't', clusterId: 1 },
        },
      },
    ],
  };
  const spec = '  tracing: [{providers: [{name: p}], randomSamplingPercentage: 5}]';
  const sent = (node: Partial<Node>) => {
    const t = telemetry(spec, mesh, node);
    const { random_sampling, provider } = tracingOf(t);
    return { t, random_sampling, config: provider?.typed_config as unknown as OpenTelemetryConfig };
  };
  const ours = sent(announcedNode({ id: 'sidecar~10.0.0.1~app-1.default~default.svc.cluster.local' }, '1.0.0'));
  assert.equal(ours.config.sampler, undefined);
  assert.deepEqual(ours.random_sampling, { value: 5 });
  assert.deepEqual(
    ours.config.resource_detectors?.map((d) => d.name),
    ['envoy.tracers.opentelemetry.resource_detectors.environment'],
  );
  const notes = ours.t.notes().map(({ path, what }) => `${path} ${what}`);
  assert.equal(notes.length, 2);
  assert.match(notes.join(), /spec\.tracing .*DynatraceSamplerConfig.*spec\.tracing .*DynatraceResourceDetectorConfig/);
  // What is sent is taken, and what was left out would have been refused.
  compileSampler(ours.config.sampler, 'sampler');
  resourceAttributes(ours.config, 'config');
  const theirs = sent({});
  assert.deepEqual(theirs.random_sampling, { value: 100 });
  assert.throws(() => compileSampler(theirs.config.sampler, 'sampler'), /Dynatrace/);
  assert.throws(() => resourceAttributes(theirs.config, 'config'), /Dynatrace/);
  assert.deepEqual(theirs.t.notes(), []);
});
