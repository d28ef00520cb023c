// Tracing of a connection manager: how many requests, with which tags, reported to whom.

import type { ExtensionProvider, MeshProxyConfig } from '../api/mesh-config/mesh-config.ts';
import { compareText } from '../mesh/order.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import type { TracingChoice } from '../mesh/telemetry-merge.ts';
import type { AnyMessage, CustomTag, HttpConnectionManager_Tracing } from '../xds/gen/types.ts';
import { mayUnderstand, type ProxyNode } from './proxy-node.ts';
import { type Collector, controlPlaneCollector, findCollector, isControlPlane, typed } from './telemetry-providers.ts';

const DRY_RUN_TAGS: readonly (readonly [tag: string, key: string])[] = [
  ['istio.authorization.dry_run.allow_policy.name', 'istio_dry_run_allow_shadow_effective_policy_id'],
  ['istio.authorization.dry_run.allow_policy.result', 'istio_dry_run_allow_shadow_engine_result'],
  ['istio.authorization.dry_run.deny_policy.name', 'istio_dry_run_deny_shadow_effective_policy_id'],
  ['istio.authorization.dry_run.deny_policy.result', 'istio_dry_run_deny_shadow_engine_result'],
];

const DEFAULT_SAMPLING = 1;
/** Envoy wants one. */
const COLLECTOR_TIMEOUT = '5s';

type ProxyTracing = MeshProxyConfig['tracing'];
type WrittenTag =
  | NonNullable<NonNullable<TracingChoice['customTags']>[string]>
  | NonNullable<NonNullable<NonNullable<ProxyTracing>['customTags']>[string]>;

/** Without a word of Telemetry: the mesh's settings, and no provider but one that the proxy brought with it. */
export const legacyTracing = (node: ProxyNode, proxy: ProxyTracing): HttpConnectionManager_Tracing => ({
  ...sampling(proxySampling(proxy)),
  custom_tags: tags(node, proxy?.enableIstioTags ?? true, proxy?.customTags),
  ...pathLength(proxy?.maxPathTagLength),
});

export const tracingOf = (
  node: ProxyNode,
  proxy: ProxyTracing,
  choice: TracingChoice,
  reporting: Reporting | undefined,
): HttpConnectionManager_Tracing => {
  const own = Object.keys(choice.customTags ?? {}).length > 0 ? choice.customTags : proxy?.customTags;
  return {
    ...sampling(reporting?.samples === true ? 100 : (choice.sampling ?? proxySampling(proxy))),
    custom_tags: tags(node, choice.istioTags, own),
    ...pathLength(reporting?.maxTagLength || proxy?.maxPathTagLength),
    ...(reporting === undefined ? {} : { provider: { name: reporting.name, typed_config: reporting.config } }),
    ...(reporting?.spawnsSpan === true ? { spawn_upstream_span: true } : {}),
    ...(choice.propagates ? {} : { no_context_propagation: true }),
  };
};

const proxySampling = (proxy: ProxyTracing): number => {
  const written = proxy?.sampling ?? 0;
  return written === 0 || written > 100 ? DEFAULT_SAMPLING : written;
};

const sampling = (percent: number): HttpConnectionManager_Tracing => ({
  client_sampling: { value: 100 },
  random_sampling: { value: percent },
  overall_sampling: { value: 100 },
});

const pathLength = (length: number | undefined): HttpConnectionManager_Tracing =>
  length === undefined || length === 0 ? {} : { max_path_tag_length: length };

const tags = (node: ProxyNode, istioTags: boolean, own: Readonly<Record<string, WrittenTag>> | undefined): readonly CustomTag[] =>
  [...(istioTags ? meshTags(node) : []), ...Object.entries(own ?? {}).flatMap(([tag, written]) => ownTag(tag, written))].sort((a, b) =>
    compareText(a.tag ?? '', b.tag ?? ''),
  );

const meshTags = (node: ProxyNode): readonly CustomTag[] => [
  ...DRY_RUN_TAGS.map(([tag, key]) => ({
    tag,
    metadata: { kind: { request: {} }, metadata_key: { key: 'envoy.filters.http.rbac', path: [{ key }] } },
  })),
  ...(
    [
      ['istio.canonical_revision', node.labels['service.istio.io/canonical-revision'] ?? 'latest'],
      ['istio.canonical_service', node.labels['service.istio.io/canonical-name'] ?? 'unknown'],
      ['istio.cluster_id', node.clusterId === '' ? 'unknown' : node.clusterId],
      ['istio.mesh_id', node.meshId === '' ? 'unknown' : node.meshId],
      ['istio.namespace', node.namespace === '' ? 'default' : node.namespace],
    ] as const
  ).map(([tag, value]) => ({ tag, literal: { value } })),
];

const withDefault = (w: { readonly name?: string; readonly defaultValue?: string }) => ({
  ...(w.name === undefined ? {} : { name: w.name }),
  ...(w.defaultValue === undefined || w.defaultValue === '' ? {} : { default_value: w.defaultValue }),
});

const ownTag = (tag: string, w: WrittenTag): readonly CustomTag[] => {
  if (w.literal !== undefined) return [{ tag, literal: { value: w.literal.value ?? '' } }];
  if (w.environment !== undefined) return [{ tag, environment: withDefault(w.environment) }];
  if (w.header !== undefined) return [{ tag, request_header: withDefault(w.header) }];
  if ('formatter' in w && w.formatter !== undefined) return [{ tag, value: w.formatter.value }];
  return [];
};

/** How spans leave the proxy. */
export interface Reporting {
  readonly name: string;
  readonly config: AnyMessage;
  readonly maxTagLength: number;
  readonly spawnsSpan: boolean;
  /** The tracer decides itself which requests it reports. */
  readonly samples: boolean;
  /** Types of what its configuration goes without, because the proxy would refuse all of it. */
  readonly without: readonly string[];
}

/** Undefined: the provider is no tracer that proxies have, or its service is not in the mesh. */
export const reportingTo = (snapshot: Snapshot, node: ProxyNode, provider: ExtensionProvider): Reporting | undefined => {
  const shared = { spawnsSpan: node.kind === 'router', samples: false, without: [] };
  const { zipkin, opentelemetry, datadog, skywalking } = provider;
  const wanted = zipkin ?? opentelemetry ?? datadog ?? skywalking;
  const collector = isControlPlane(provider)
    ? controlPlaneCollector(node, provider)
    : findCollector(snapshot, wanted?.service, wanted?.port);
  if (collector === undefined) return undefined;
  if (zipkin !== undefined) {
    const config = typed('envoy.config.trace.v3.ZipkinConfig', zipkinConfig(zipkin, collector));
    return { ...shared, name: 'envoy.tracers.zipkin', config, maxTagLength: zipkin.maxTagLength ?? 0 };
  }
  if (opentelemetry !== undefined) {
    const asked = opentelemetry.dynatraceSampler !== undefined;
    const samples = asked && mayUnderstand(node, DYNATRACE_SAMPLER);
    const config = typed('envoy.config.trace.v3.OpenTelemetryConfig', {
      ...otelConfig(opentelemetry, node, collector),
      ...(samples ? dynatraceSampler(snapshot, opentelemetry, collector) : {}),
    });
    const detectors = wantedDetectors(opentelemetry).map(([, type]) => `${DETECTOR_TYPES}${type}`);
    const without = [...(asked && !samples ? [DYNATRACE_SAMPLER] : []), ...detectors.filter((type) => !mayUnderstand(node, type))];
    return { ...shared, samples, without, name: 'envoy.tracers.opentelemetry', config, maxTagLength: opentelemetry.maxTagLength ?? 0 };
  }
  if (datadog !== undefined) {
    const config = typed('envoy.config.trace.v3.DatadogConfig', {
      collector_cluster: collector.cluster,
      service_name: node.cluster ?? '',
      collector_hostname: collector.host,
    });
    return { ...shared, name: 'envoy.tracers.datadog', config, maxTagLength: datadog.maxTagLength ?? 0 };
  }
  const config = typed('envoy.config.trace.v3.SkyWalkingConfig', { grpc_service: grpcService(collector) });
  return { ...shared, name: 'envoy.tracers.skywalking', config, maxTagLength: 0, spawnsSpan: true };
};

const grpcService = (collector: Collector) => ({ envoy_grpc: { cluster_name: collector.cluster, authority: collector.host } });

type Headers = readonly { readonly name?: string; readonly value?: string }[];

const headers = (list: Headers | undefined) =>
  list === undefined || list.length === 0
    ? {}
    : {
        request_headers_to_add: list.map((h) => ({
          header: { key: h.name ?? '', value: h.value ?? '' },
          append_action: 'OVERWRITE_IF_EXISTS_OR_ADD',
        })),
      };

const zipkinConfig = (p: NonNullable<ExtensionProvider['zipkin']>, collector: Collector) => ({
  collector_endpoint_version: 'HTTP_JSON',
  trace_id_128bit: p.enable64bitTraceId !== true,
  shared_span_context: false,
  collector_service: {
    http_uri: {
      uri: `http://${collector.host}${p.path || '/api/v2/spans'}`,
      cluster: collector.cluster,
      timeout: p.timeout ?? COLLECTOR_TIMEOUT,
    },
    ...headers(p.headers),
  },
  ...(p.traceContextOption === 'USE_B3_WITH_W3C_PROPAGATION' ? { trace_context_option: 1 } : {}),
});

const DETECTORS = [
  ['environment', 'EnvironmentResourceDetectorConfig'],
  ['dynatrace', 'DynatraceResourceDetectorConfig'],
] as const;

const DETECTOR_TYPES = 'envoy.extensions.tracers.opentelemetry.resource_detectors.v3.';
const DYNATRACE_SAMPLER = 'envoy.extensions.tracers.opentelemetry.samplers.v3.DynatraceSamplerConfig';

const wantedDetectors = (p: NonNullable<ExtensionProvider['opentelemetry']>) =>
  DETECTORS.filter(([name]) => p.resourceDetectors?.[name] !== undefined);

const otelConfig = (p: NonNullable<ExtensionProvider['opentelemetry']>, node: ProxyNode, collector: Collector) => {
  const detectors = wantedDetectors(p)
    .filter(([, type]) => mayUnderstand(node, `${DETECTOR_TYPES}${type}`))
    .map(([name, type]) => ({
      name: `envoy.tracers.opentelemetry.resource_detectors.${name}`,
      typed_config: typed(`${DETECTOR_TYPES}${type}`, {}),
    }));
  const path = (p.http?.path ?? '').replace(/^\/*/, '/');
  const metadata = p.grpc?.initialMetadata ?? [];
  return {
    service_name: node.cluster ?? '',
    ...(p.http === undefined
      ? {
          grpc_service: {
            ...grpcService(collector),
            ...(p.grpc?.timeout === undefined ? {} : { timeout: p.grpc.timeout }),
            ...(metadata.length === 0 ? {} : { initial_metadata: metadata.map((h) => ({ key: h.name ?? '', value: h.value ?? '' })) }),
          },
        }
      : {
          http_service: {
            http_uri: {
              uri: `${collector.host}${path === '/' ? '' : path}`,
              cluster: collector.cluster,
              timeout: p.http.timeout ?? COLLECTOR_TIMEOUT,
            },
            ...headers(p.http.headers),
          },
        }),
    ...(detectors.length === 0 ? {} : { resource_detectors: detectors }),
  };
};

const SAMPLING_PATH = '/api/v2/samplingConfiguration';

/** Dynatrace tells its sampler how much it wants; asked where the spans go, unless another place is named. */
const dynatraceSampler = (snapshot: Snapshot, p: NonNullable<ExtensionProvider['opentelemetry']>, spans: Collector) => {
  const sampler = p.dynatraceSampler;
  if (sampler === undefined) return {};
  const api = sampler.httpService;
  const at = api === undefined ? spans : findCollector(snapshot, api.service, api.port);
  if (at === undefined) return {};
  const http = api === undefined ? p.http : api.http;
  const path = (api?.http?.path ?? '') === '' ? SAMPLING_PATH : (api?.http?.path ?? '').replace(/^\/*/, '/');
  return {
    sampler: {
      name: 'envoy.tracers.opentelemetry.samplers.dynatrace',
      typed_config: typed(DYNATRACE_SAMPLER, {
        tenant: sampler.tenant ?? '',
        cluster_id: sampler.clusterId ?? 0,
        root_spans_per_minute: sampler.rootSpansPerMinute ?? 0,
        http_service: {
          http_uri: { uri: `${at.host}${path}`, cluster: at.cluster, timeout: http?.timeout ?? COLLECTOR_TIMEOUT },
          ...headers(http?.headers),
        },
      }),
    },
  };
};
