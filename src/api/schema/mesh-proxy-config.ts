// The fields of Istio's proxy messages (mesh v1alpha1). Facts only: what they mean is checked elsewhere.

import { clientTLSSettings, connectionPoolSettingsTCPSettingsTcpKeepalive } from './destination-rule.ts';
import { readinessProbe } from './readiness-probe.ts';
import { bool, double, duration, enumeration, int32, int64, list, map, message, string, struct, uint32 } from './schema.ts';

export const authenticationPolicy = enumeration(['NONE', 'MUTUAL_TLS', 'INHERIT'], [0, 1, 1000]);

export const tracingOpenCensusAgentTraceContext = enumeration([
  'UNSPECIFIED',
  'W3C_TRACE_CONTEXT',
  'GRPC_BIN',
  'CLOUD_TRACE_CONTEXT',
  'B3',
]);

export const forwardClientCertDetails = enumeration([
  'UNDEFINED',
  'SANITIZE',
  'FORWARD_ONLY',
  'APPEND_FORWARD',
  'SANITIZE_SET',
  'ALWAYS_FORWARD_ONLY',
]);

export const proxyConfigTracingServiceName = enumeration([
  'APP_LABEL_AND_NAMESPACE',
  'CANONICAL_NAME_ONLY',
  'CANONICAL_NAME_AND_NAMESPACE',
]);

export const proxyConfigInboundInterceptionMode = enumeration(['REDIRECT', 'TPROXY', 'NONE']);

export const proxyConfigProxyHeadersMetadataExchangeMode = enumeration(['UNDEFINED', 'IN_MESH']);

export const proxyConfigConnectionSettingsProfile = enumeration(['SIDECAR', 'EDGE']);

export const proxyConfigConnectionSettingsHeadersWithUnderscoresAction = enumeration([
  'HEADERS_WITH_UNDERSCORES_UNSPECIFIED',
  'HEADERS_WITH_UNDERSCORES_ALLOW',
  'HEADERS_WITH_UNDERSCORES_REJECT_REQUEST',
  'HEADERS_WITH_UNDERSCORES_DROP_HEADER',
]);

export const proxyConfigConnectionSettingsPathWithEscapedSlashesAction = enumeration([
  'PATH_WITH_ESCAPED_SLASHES_UNSPECIFIED',
  'KEEP_UNCHANGED',
  'REJECT_REQUEST',
  'UNESCAPE_AND_REDIRECT',
  'UNESCAPE_AND_FORWARD',
]);

export const tracingZipkin = message('Tracing.Zipkin', {
  address: string,
});

export const tracingLightstep = message('Tracing.Lightstep', {
  address: string,
  accessToken: string,
});

export const tracingDatadog = message('Tracing.Datadog', {
  address: string,
});

export const tracingStackdriver = message('Tracing.Stackdriver', {
  debug: bool,
  maxNumberOfAttributes: int64,
  maxNumberOfAnnotations: int64,
  maxNumberOfMessageEvents: int64,
});

export const tracingOpenCensusAgent = message('Tracing.OpenCensusAgent', {
  address: string,
  context: list(tracingOpenCensusAgentTraceContext),
});

export const tracingLiteral = message('Tracing.Literal', {
  value: string,
});

export const tracingEnvironment = message('Tracing.Environment', {
  name: string,
  defaultValue: string,
});

export const tracingRequestHeader = message('Tracing.RequestHeader', {
  name: string,
  defaultValue: string,
});

export const tracingCustomTag = message(
  'Tracing.CustomTag',
  {
    literal: tracingLiteral,
    environment: tracingEnvironment,
    header: tracingRequestHeader,
  },
  { oneofs: [['literal', 'environment', 'header']] },
);

export const tracing = message(
  'Tracing',
  {
    zipkin: tracingZipkin,
    lightstep: tracingLightstep,
    datadog: tracingDatadog,
    stackdriver: tracingStackdriver,
    openCensusAgent: tracingOpenCensusAgent,
    customTags: map(tracingCustomTag),
    maxPathTagLength: uint32,
    sampling: double,
    tlsSettings: clientTLSSettings,
    enableIstioTags: bool,
  },
  { oneofs: [['zipkin', 'lightstep', 'datadog', 'stackdriver', 'openCensusAgent']] },
);

export const sds = message('SDS', {
  enabled: bool,
  k8sSaJwtPath: string,
});

export const topologyProxyProtocolConfiguration = message('Topology.ProxyProtocolConfiguration', {});

export const topology = message('Topology', {
  numTrustedProxies: uint32,
  forwardClientCertDetails: forwardClientCertDetails,
  proxyProtocol: topologyProxyProtocolConfiguration,
});

export const privateKeyProviderCryptoMb = message('PrivateKeyProvider.CryptoMb', {
  pollDelay: duration,
  fallback: bool,
});

export const privateKeyProviderQAT = message('PrivateKeyProvider.QAT', {
  pollDelay: duration,
  fallback: bool,
});

export const privateKeyProvider = message(
  'PrivateKeyProvider',
  {
    cryptomb: privateKeyProviderCryptoMb,
    qat: privateKeyProviderQAT,
  },
  { oneofs: [['cryptomb', 'qat']] },
);

export const remoteService = message('RemoteService', {
  address: string,
  tlsSettings: clientTLSSettings,
  tcpKeepalive: connectionPoolSettingsTCPSettingsTcpKeepalive,
});

export const proxyConfigProxyStatsMatcher = message('ProxyConfig.ProxyStatsMatcher', {
  inclusionPrefixes: list(string),
  inclusionSuffixes: list(string),
  inclusionRegexps: list(string),
});

export const proxyConfigProxyHeadersSetCurrentClientCertDetails = message('ProxyConfig.ProxyHeaders.SetCurrentClientCertDetails', {
  subject: bool,
  cert: bool,
  chain: bool,
  dns: bool,
  uri: bool,
});

export const proxyConfigProxyHeadersRequestId = message('ProxyConfig.ProxyHeaders.RequestId', {
  disabled: bool,
});

export const proxyConfigProxyHeadersServer = message('ProxyConfig.ProxyHeaders.Server', {
  disabled: bool,
  value: string,
});

export const proxyConfigProxyHeadersAttemptCount = message('ProxyConfig.ProxyHeaders.AttemptCount', {
  disabled: bool,
});

export const proxyConfigProxyHeadersEnvoyDebugHeaders = message('ProxyConfig.ProxyHeaders.EnvoyDebugHeaders', {
  disabled: bool,
});

export const proxyConfigProxyHeadersMetadataExchangeHeaders = message('ProxyConfig.ProxyHeaders.MetadataExchangeHeaders', {
  mode: proxyConfigProxyHeadersMetadataExchangeMode,
});

export const proxyConfigProxyHeadersXForwardedHost = message('ProxyConfig.ProxyHeaders.XForwardedHost', {
  enabled: bool,
});

export const proxyConfigProxyHeadersXForwardedPort = message('ProxyConfig.ProxyHeaders.XForwardedPort', {
  enabled: bool,
});

export const proxyConfigProxyHeaders = message('ProxyConfig.ProxyHeaders', {
  forwardedClientCert: forwardClientCertDetails,
  setCurrentClientCertDetails: proxyConfigProxyHeadersSetCurrentClientCertDetails,
  requestId: proxyConfigProxyHeadersRequestId,
  server: proxyConfigProxyHeadersServer,
  attemptCount: proxyConfigProxyHeadersAttemptCount,
  envoyDebugHeaders: proxyConfigProxyHeadersEnvoyDebugHeaders,
  metadataExchangeHeaders: proxyConfigProxyHeadersMetadataExchangeHeaders,
  preserveHttp1HeaderCase: bool,
  xForwardedHost: proxyConfigProxyHeadersXForwardedHost,
  xForwardedPort: proxyConfigProxyHeadersXForwardedPort,
});

export const proxyConfigConnectionSettings = message('ProxyConfig.ConnectionSettings', {
  profile: proxyConfigConnectionSettingsProfile,
  listenerPerConnectionBufferLimitBytes: int32,
  clusterPerConnectionBufferLimitBytes: int32,
  httpIdleTimeout: duration,
  httpMaxConnectionDuration: duration,
  httpDrainTimeout: duration,
  httpRequestTimeout: duration,
  httpRequestHeadersTimeout: duration,
  httpStreamIdleTimeout: duration,
  httpMaxStreamDuration: duration,
  httpMaxConcurrentStreams: int32,
  http2InitialStreamWindowSize: int32,
  http2InitialConnectionWindowSize: int32,
  httpHeadersWithUnderscoresAction: proxyConfigConnectionSettingsHeadersWithUnderscoresAction,
  httpMergeSlashes: bool,
  httpPathWithEscapedSlashesAction: proxyConfigConnectionSettingsPathWithEscapedSlashesAction,
  listenerConnectionLimit: int32,
  globalDownstreamConnectionLimit: int32,
});

export const proxyConfig = message(
  'ProxyConfig',
  {
    configPath: string,
    binaryPath: string,
    serviceCluster: string,
    tracingServiceName: proxyConfigTracingServiceName,
    drainDuration: duration,
    discoveryAddress: string,
    discoveryRefreshDelay: duration,
    zipkinAddress: string,
    statsdUdpAddress: string,
    envoyMetricsServiceAddress: string,
    proxyAdminPort: int32,
    availabilityZone: string,
    controlPlaneAuthPolicy: authenticationPolicy,
    customConfigFile: string,
    statNameLength: int32,
    concurrency: int32,
    proxyBootstrapTemplatePath: string,
    interceptionMode: proxyConfigInboundInterceptionMode,
    tracing: tracing,
    sds: sds,
    envoyAccessLogService: remoteService,
    envoyMetricsService: remoteService,
    proxyMetadata: map(string),
    runtimeValues: map(string),
    statusPort: int32,
    extraStatTags: list(string),
    gatewayTopology: topology,
    terminationDrainDuration: duration,
    meshId: string,
    readinessProbe: readinessProbe,
    proxyStatsMatcher: proxyConfigProxyStatsMatcher,
    holdApplicationUntilProxyStarts: bool,
    caCertificatesPem: list(string),
    image: struct,
    privateKeyProvider: privateKeyProvider,
    proxyHeaders: proxyConfigProxyHeaders,
    fileFlushInterval: duration,
    fileFlushMinSizeKb: uint32,
    statsCompression: bool,
    connectionSettings: proxyConfigConnectionSettings,
  },
  {
    oneofs: [['serviceCluster', 'tracingServiceName']],
    deprecated: ['discoveryRefreshDelay', 'zipkinAddress', 'envoyMetricsServiceAddress', 'availabilityZone', 'sds'],
  },
);
