// What Istio's ProxyConfig says of an Envoy's start and xDS cannot change later: which statistics it keeps, tags, runtime values, the
// tracer of connection managers that name none, where statistics are sent. Skein's own proxy takes the tracer and the
// service of access logs. Pure.

import type { Bootstrap, Cluster, JsonObject, StatsMatcher, StatsSink, TagSpecifier } from '../xds/gen/types.ts';

/** As it was handed to the agent, unread. */
type Written = Readonly<Record<string, unknown>>;

export interface BootstrapSettings {
  readonly matcher: StatsMatcher | undefined;
  readonly tags: readonly TagSpecifier[];
  readonly runtime: JsonObject;
  readonly tracing: Bootstrap['tracing'];
  readonly sinks: readonly StatsSink[];
  /** That the others lead to. */
  readonly clusters: readonly Cluster[];
}

const object = (v: unknown): Written => (typeof v === 'object' && v !== null && !Array.isArray(v) ? (v as Written) : {});
const texts = (v: unknown): readonly string[] => (Array.isArray(v) ? v.filter((t): t is string => typeof t === 'string') : []);

export const bootstrapSettings = (proxyConfig: unknown, serviceName: string): BootstrapSettings => {
  const config = object(proxyConfig);
  const tracer = tracerOf(object(config['tracing']), serviceName);
  const statsd = hostPort(config['statsdUdpAddress']);
  return {
    matcher: statsMatcher(object(config['proxyStatsMatcher'])),
    tags: texts(config['extraStatTags']).map((tag) => ({ tag_name: tag, regex: `(${escaped(tag)}\\.=(.*?);\\.)` })),
    runtime: object(config['runtimeValues']) as JsonObject,
    tracing: tracer?.tracing,
    sinks: statsd === undefined ? [] : [statsdSink(statsd)],
    clusters: [...(tracer === undefined ? [] : [tracer.cluster]), ...settingsClusters(config)],
  };
};

/** Clusters that configuration from the control plane counts on. */
const settingsClusters = (proxyConfig: unknown): readonly Cluster[] => {
  const logs = hostPort(object(object(proxyConfig)['envoyAccessLogService'])['address']);
  return logs === undefined ? [] : [logService(logs)];
};

/** What Skein's own proxy takes of it. */
export const ownSettings = (proxyConfig: unknown): BootstrapSettings => {
  const written = object(proxyConfig);
  const { zipkin } = object(written['tracing']);
  return bootstrapSettings({ tracing: { zipkin }, envoyAccessLogService: written['envoyAccessLogService'] }, '');
};

/** Draining, readiness and `istio_` metrics need these whatever else is kept. */
const ALWAYS = {
  prefixes: ['cluster_manager', 'listener_manager', 'server', 'cluster.xds-grpc', 'wasm', 'istiocustom', 'reporter='],
  suffixes: ['rbac.allowed', 'rbac.denied', 'shadow_allowed', 'shadow_denied', 'downstream_cx_active'],
};

/** Without a word of it every statistic is kept. */
const statsMatcher = (written: Written): StatsMatcher | undefined => {
  const [prefixes, suffixes, regexps] = ['inclusionPrefixes', 'inclusionSuffixes', 'inclusionRegexps'].map((k) => texts(written[k]));
  if ([prefixes, suffixes, regexps].every((list) => (list ?? []).length === 0)) return undefined;
  return {
    inclusion_list: {
      patterns: [
        ...[...ALWAYS.prefixes, ...(prefixes ?? [])].map((prefix) => ({ prefix })),
        ...[...ALWAYS.suffixes, ...(suffixes ?? [])].map((suffix) => ({ suffix })),
        ...(regexps ?? []).map((regex) => ({ safe_regex: { regex } })),
      ],
    },
  };
};

const escaped = (text: string): string => text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');

interface HostPort {
  readonly host: string;
  readonly port: number;
}

const hostPort = (v: unknown): HostPort | undefined => {
  const match = typeof v === 'string' ? /^\[?(.+?)\]?:(\d+)$/.exec(v) : null;
  return match === null ? undefined : { host: match[1] ?? '', port: Number(match[2]) };
};

const tracerOf = (
  written: Written,
  serviceName: string,
): { readonly tracing: Bootstrap['tracing']; readonly cluster: Cluster } | undefined => {
  const zipkin = hostPort(object(written['zipkin'])['address']);
  const datadog = hostPort(object(written['datadog'])['address']);
  if (zipkin !== undefined) {
    const settings = { collector_endpoint: '/api/v2/spans', collector_endpoint_version: 'HTTP_JSON', trace_id_128bit: true };
    const config = { ...settings, collector_cluster: 'zipkin', shared_span_context: false };
    return { tracing: tracer('zipkin', 'ZipkinConfig', config), cluster: byName('zipkin', zipkin) };
  }
  if (datadog === undefined) return undefined;
  const config = { collector_cluster: 'datadog_agent', service_name: serviceName };
  return { tracing: tracer('datadog', 'DatadogConfig', config), cluster: byName('datadog_agent', datadog) };
};

const tracer = (name: string, type: string, fields: JsonObject): Bootstrap['tracing'] => ({
  http: { name: `envoy.tracers.${name}`, typed_config: { '@type': `type.googleapis.com/envoy.config.trace.v3.${type}`, ...fields } },
});

const byName = (name: string, { host, port }: HostPort): Cluster => ({
  name,
  type: 'STRICT_DNS',
  connect_timeout: '1s',
  respect_dns_ttl: true,
  load_assignment: {
    cluster_name: name,
    endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: host, port_value: port } } } }] }],
  },
});

/** A gRPC service, and so HTTP/2. */
const logService = (address: HostPort): Cluster => ({
  ...byName('envoy_accesslog_service', address),
  typed_extension_protocol_options: {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
      '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
      explicit_http_config: { http2_protocol_options: {} },
    },
  },
});

const statsdSink = ({ host, port }: HostPort): StatsSink => ({
  name: 'envoy.stat_sinks.statsd',
  typed_config: {
    '@type': 'type.googleapis.com/envoy.config.metrics.v3.StatsdSink',
    address: { socket_address: { address: host, port_value: port, protocol: 'UDP' } },
  },
});
