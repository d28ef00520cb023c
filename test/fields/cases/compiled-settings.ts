// Settings whose effect a run of milliseconds does not show, as the code that acts on them has them: back-off, socket options, bounds
// of HTTP/2, whose audit logs are refused. What that code does with them is tested in test/plan/ and test/proxy/.
import { compilePolicies } from '../../../src/plan/authz/policies.ts';
import { LineBuffer } from '../../../src/plan/line-buffer.ts';
import { compileSubstitutionFormat } from '../../../src/plan/log-format.ts';
import { PlanError } from '../../../src/plan/plan-error.ts';
import { compileRetry, rateLimitedBackOffMs, retryBackOffMs } from '../../../src/plan/retry.ts';
import { StreamInfo } from '../../../src/plan/stream-info.ts';
import { announcedNode } from '../../../src/proxy/bootstrap/node.ts';
import { compileDnsSettings } from '../../../src/proxy/cluster/dns-settings.ts';
import { buildMembership } from '../../../src/proxy/cluster/membership.ts';
import { discoverySettings } from '../../../src/proxy/extension-configs.ts';
import { bindAddresses } from '../../../src/proxy/listener/listener-socket.ts';
import { PROCESS_FACTS } from '../../../src/proxy/process-facts.ts';
import { compileHttp2 } from '../../../src/proxy/sockets/http2-options.ts';
import { compileTcpProxy } from '../../../src/proxy/tcp/tcp-plan.ts';
import { compileAccessLogs, type LogSinks } from '../../../src/proxy/telemetry/access-log.ts';
import { LogExports } from '../../../src/proxy/telemetry/log-exports.ts';
import type { LogSink } from '../../../src/proxy/telemetry/log-sink.ts';
import { parseSource, reconnectBackoff, routeSources } from '../../../src/proxy/xds/config-source.ts';
import { HeaderBlock } from '../../../src/wire/header-block.ts';
import { IDEMPOTENT_RETRIES_TYPE } from '../../../src/xds/client-features.ts';
import type { AccessLog, AnyMessage, Listener, MessageTypes } from '../../../src/xds/gen/types.ts';
import { type FieldCase, only } from '../case.ts';

const RETRY = 'type.googleapis.com/envoy.extensions.retry.host';

/** One message, and what the code that reads it makes of it; `refused PATH` when it refuses. */
const compiled = <K extends keyof MessageTypes & string>(
  name: string,
  type: K,
  message: MessageTypes[K] & object,
  observe: (message: MessageTypes[K]) => unknown,
  expect: unknown,
): FieldCase => ({
  name,
  parts: () => [{ type, message }],
  observe: (parts) => {
    try {
      return observe(only(parts, type));
    } catch (problem) {
      if (problem instanceof PlanError) return `refused ${problem.path}`;
      throw problem;
    }
  },
  expect,
});

const asks = (wait: string): HeaderBlock => {
  const headers = new HeaderBlock();
  headers.add('x-reset', wait);
  return headers;
};
const retryRules = compiled(
  'retry-rules',
  'envoy.config.route.v3.RetryPolicy',
  {
    retry_on: '5xx',
    per_try_idle_timeout: '0.25s',
    retry_back_off: { base_interval: '0.1s', max_interval: '0.3s' },
    rate_limited_retry_back_off: { reset_headers: [{ name: 'x-reset', format: 'UNIX_TIMESTAMP' }], max_interval: '2s' },
    retry_host_predicate: [
      {
        name: 'omit',
        typed_config: {
          '@type': `${RETRY}.omit_host_metadata.v3.OmitHostMetadataConfig`,
          metadata_match: { filter_metadata: { 'envoy.lb': { old: 'yes' } } },
        } as AnyMessage,
      },
    ],
    host_selection_retry_max_attempts: 5,
    retry_priority: { name: 'envoy.retry_priorities.previous_priorities' },
    retry_options_predicates: [{ name: IDEMPOTENT_RETRIES_TYPE }],
  },
  (policy) => {
    const plan = compileRetry(policy);
    const { perTryIdleTimeoutMs, omitHosts, hostSelectionMaxAttempts, previousPrioritiesEvery, ofUnsafe } = plan;
    return {
      backOff: [1, 5].map((attempt) => retryBackOffMs(plan, attempt, () => 0.5)),
      asked: ['11', '14'].map((until) => rateLimitedBackOffMs(plan, asks(until), 10_000, () => 0)),
      hosts: [omitHosts, hostSelectionMaxAttempts, previousPrioritiesEvery],
      others: [perTryIdleTimeoutMs, ofUnsafe !== undefined],
    };
  },
  {
    backOff: [50, 150],
    asked: [1000, undefined],
    hosts: [{ old: 'yes' }, 5, 1],
    others: [250, true],
  },
);

const socketRules = compiled(
  'socket-options',
  'envoy.config.listener.v3.Listener',
  {
    name: 'in',
    address: { socket_address: { address: '::', port_value: 80, ipv4_compat: true } },
    freebind: true,
    tcp_fast_open_queue_length: 7,
    socket_options: [
      { level: 1, name: 2, int_value: 3, state: 'STATE_LISTENING' },
      { level: 4, name: 5, buf_value: new Uint8Array([6]) },
    ],
    additional_addresses: [
      {
        address: { socket_address: { address: '127.0.0.1', port_value: 81 } },
        socket_options: { socket_options: [{ level: 9, name: 9, int_value: 9 }] },
      },
    ],
  } satisfies Listener,
  (config) =>
    bindAddresses(config).map(({ ipv6Only, options }) => [
      ipv6Only,
      ...(options ?? []).map((o) => `${o.level} ${o.name} ${Buffer.from(o.value).toString('hex')} ${o.afterBind}`),
    ]),
  [
    [false, '41 78 01000000 false', '6 23 07000000 true', '1 2 03000000 true', '4 5 06 false'],
    [false, '9 9 09000000 false'],
  ],
);
const socketProtocol: FieldCase = {
  ...compiled(
    'socket-protocol',
    'envoy.config.listener.v3.Listener',
    { name: 'in', address: { socket_address: { protocol: 'UDP', address: '127.0.0.1', port_value: 80 } } },
    (config) => bindAddresses(config).length,
    'refused address.socket_address.protocol',
  ),
};

const http2Bounds = compiled(
  'http2-bounds',
  'envoy.config.core.v3.Http2ProtocolOptions',
  { max_outbound_frames: 11, max_outbound_control_frames: 12 },
  (options) => {
    const { maxOutboundFrames, maxOutboundControlFrames } = compileHttp2(options, '');
    return [maxOutboundFrames, maxOutboundControlFrames];
  },
  [11, 12],
);

/** An audit log that must be kept, and cannot be, is refused; one that need not be is left out. */
const auditLog = { name: 'any', typed_config: { '@type': 'type.googleapis.com/google.protobuf.Struct' } as AnyMessage };
const auditKept = compiled(
  'rbac-audit-kept',
  'envoy.config.rbac.v3.RBAC',
  { audit_logging_options: { logger_configs: [{ audit_logger: auditLog }] } },
  (rules) => compilePolicies(rules, false, 'rules').action,
  'refused rules.audit_logging_options.logger_configs[0]',
);
const auditOptional = compiled(
  'rbac-audit-optional',
  'envoy.config.rbac.v3.RBAC',
  { audit_logging_options: { logger_configs: [{ audit_logger: auditLog, is_optional: true }] } },
  (rules) => compilePolicies(rules, false, 'rules').action,
  'ALLOW',
);

const dnsOptions = compiled(
  'dns-options',
  'envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig',
  { dns_resolver_options: { no_default_search_domain: true } },
  (config) =>
    compileDnsSettings({
      name: 'c',
      type: 'STRICT_DNS',
      typed_dns_resolver_config: {
        name: 'cares',
        typed_config: {
          '@type': 'type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig',
          ...config,
        },
      },
    }) !== undefined,
  'refused typed_dns_resolver_config.typed_config.dns_resolver_options.no_default_search_domain',
);
const dnsOldOptions = compiled(
  'dns-old-options',
  'envoy.config.core.v3.DnsResolutionConfig',
  { resolvers: [], dns_resolver_options: { no_default_search_domain: true } },
  (config) => compileDnsSettings({ name: 'c', type: 'STRICT_DNS', dns_resolution_config: config }) !== undefined,
  'refused dns_resolution_config.dns_resolver_options.no_default_search_domain',
);

const CORS = 'type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors';
const discovered = compiled(
  'discovered-filter',
  'envoy.config.core.v3.ExtensionConfigSource',
  {
    config_source: { self: {} },
    type_urls: [CORS],
    default_config: { '@type': CORS },
    apply_default_config_without_warming: true,
  },
  (config) => {
    const { source, types, fallback, waits } = discoverySettings(config, '');
    return [parseSource(source, '').kind, [...types], fallback !== undefined, waits];
  },
  ['ads', ['envoy.extensions.filters.http.cors.v3.Cors'], true, false],
);

const tcpOnDemand = compiled(
  'tcp-on-demand',
  'envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy',
  { stat_prefix: 't', cluster: 'c', on_demand: { odcds_config: { ads: {} }, timeout: '3s' } },
  (config) =>
    compileTcpProxy(
      config,
      { kind: 'tcp', listenerName: '', direction: undefined, statPrefix: '', accessLog: [], filters: [], observed: undefined },
      true,
    ).clusterWaitMs,
  3000,
);

const grpcRetries = compiled(
  'grpc-service-retries',
  'envoy.config.core.v3.GrpcService',
  { envoy_grpc: { cluster_name: 'xds' }, retry_policy: { retry_back_off: { base_interval: '2s', max_interval: '4s' } } },
  (service) => reconnectBackoff(service),
  { baseMs: 2000, maxMs: 4000 },
);

const nodeAddresses = compiled(
  'node-addresses',
  'envoy.config.core.v3.Node',
  { id: 'n', listening_addresses: [{ socket_address: { address: '10.0.0.1', port_value: 80 } }] },
  (node) => announcedNode(node, '1.0.0').listening_addresses,
  [{ socket_address: { address: '10.0.0.1', port_value: 80 } }],
);

const formatters = compiled(
  'log-formatters',
  'envoy.config.core.v3.SubstitutionFormatString',
  { text_format_source: { inline_string: '%RESPONSE_CODE%' }, formatters: [{ name: 'own' }] },
  (format) => compileSubstitutionFormat(format, 'log_format')(new StreamInfo()),
  'refused log_format.formatters[0]',
);

/** What is written to the standard streams, and to which. */
const streams: FieldCase = {
  name: 'log-streams',
  parts: () =>
    (['StdoutAccessLog', 'StderrAccessLog'] as const).map((kind) => ({
      type: 'envoy.config.accesslog.v3.AccessLog',
      message: {
        name: kind,
        typed_config: {
          '@type': `type.googleapis.com/envoy.extensions.access_loggers.stream.v3.${kind}`,
          log_format: { text_format_source: { inline_string: `${kind} %RESPONSE_CODE%` } },
        },
      },
    })),
  observe: (parts) => {
    const paths: string[] = [];
    const lines: LineBuffer[] = [];
    const sink = (): Pick<LogSink, 'line' | 'lineWritten'> => {
      const line = new LineBuffer(64);
      lines.push(line);
      return { line: () => line, lineWritten: () => undefined };
    };
    const sinks = {
      at: (path: string) => {
        paths.push(path);
        return sink();
      },
    } as unknown as LogSinks;
    const places = { sinks, exports: new LogExports({}), env: undefined, facts: PROCESS_FACTS };
    const logs = compileAccessLogs(parts.map(({ message }) => message) as AccessLog[], 'access_log', places, () => 0);
    for (const { target } of logs) target.log(new StreamInfo(), undefined, undefined, undefined);
    return [paths, lines.map((line) => line.text())];
  },
  expect: [
    ['/dev/stdout', '/dev/stderr'],
    ['StdoutAccessLog 0', 'StderrAccessLog 0'],
  ],
};

/** Where a listener's routes are asked for. */
const routesFrom = compiled(
  'routes-from',
  'envoy.config.listener.v3.Listener',
  {
    name: 'in',
    filter_chains: [
      {
        filters: [
          {
            name: 'http',
            typed_config: {
              '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
              stat_prefix: 'in',
              rds: { route_config_name: 'named', config_source: { ads: {} } },
            },
          },
        ],
      },
    ],
  },
  (config) => [...routeSources([{ config }])],
  [['named', { ads: {} }]],
);

const localityMetadata: FieldCase = {
  name: 'locality-metadata',
  parts: () => [
    {
      type: 'envoy.config.endpoint.v3.ClusterLoadAssignment',
      message: {
        endpoints: [
          {
            metadata: { filter_metadata: { own: { near: 'yes' } } },
            lb_endpoints: [{ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: 1 } } } }],
          },
        ],
      },
    },
  ],
  observe: (parts) => {
    const info = new StreamInfo();
    info.upstreamLocality = buildMembership(only(parts, 'envoy.config.endpoint.v3.ClusterLoadAssignment'), new Map()).hosts[0]?.place;
    const format = "%CEL(xds.upstream_host_locality_metadata.filter_metadata['own'].near)%";
    return compileSubstitutionFormat({ text_format: format })(info);
  },
  expect: 'yes',
};

export const COMPILED_CASES: readonly FieldCase[] = [
  retryRules,
  socketRules,
  socketProtocol,
  http2Bounds,
  auditKept,
  auditOptional,
  dnsOptions,
  dnsOldOptions,
  discovered,
  tcpOnDemand,
  grpcRetries,
  nodeAddresses,
  formatters,
  streams,
  localityMetadata,
  routesFrom,
];
