// The fields of Istio's config messages (mesh v1alpha1). Facts only: what they mean is checked elsewhere.

import {
  clientTLSSettings,
  connectionPoolSettings,
  connectionPoolSettingsTCPSettingsTcpKeepalive,
  localityLoadBalancerSetting,
  outlierDetection,
  zoneAwareLoadBalancerSetting,
} from './destination-rule.ts';
import { proxyConfig } from './mesh-proxy-config.ts';
import { bool, duration, enumeration, int32, int64, list, map, message, string, struct, uint32 } from './schema.ts';
import { httpRetry } from './virtual-service.ts';

export const meshConfigIngressControllerMode = enumeration(['UNSPECIFIED', 'OFF', 'DEFAULT', 'STRICT']);

export const meshConfigAccessLogEncoding = enumeration(['TEXT', 'JSON']);

export const meshConfigOutboundTrafficPolicyMode = enumeration(['REGISTRY_ONLY', 'ALLOW_ANY', 'ALLOW_ANY_DYNAMIC_DNS'], [0, 1, 3]);

export const meshConfigInboundTrafficPolicyMode = enumeration(['PASSTHROUGH', 'LOCALHOST']);

export const meshConfigH2UpgradePolicy = enumeration(['DO_NOT_UPGRADE', 'UPGRADE']);

export const meshConfigServiceScopeConfigsScope = enumeration(['LOCAL', 'GLOBAL']);

export const meshConfigExtensionProviderZipkinTracingProviderTraceContextOption = enumeration(['USE_B3', 'USE_B3_WITH_W3C_PROPAGATION']);

export const meshConfigExtensionProviderOpenCensusAgentTracingProviderTraceContext = enumeration([
  'UNSPECIFIED',
  'W3C_TRACE_CONTEXT',
  'GRPC_BIN',
  'CLOUD_TRACE_CONTEXT',
  'B3',
]);

export const meshConfigExtensionProviderServiceAttributeEnrichment = enumeration(['ISTIO_CANONICAL', 'OTEL_SEMANTIC_CONVENTIONS']);

export const meshConfigProxyPathNormalizationNormalizationType = enumeration([
  'DEFAULT',
  'NONE',
  'BASE',
  'MERGE_SLASHES',
  'DECODE_AND_MERGE_SLASHES',
]);

export const meshConfigTLSConfigTLSProtocol = enumeration(['TLS_AUTO', 'TLSV1_2', 'TLSV1_3']);

export const resource = enumeration(['SERVICE_REGISTRY']);

export const serviceEntryVisibilityVisibility = enumeration(['VISIBILITY_UNSPECIFIED', 'NONE', 'NAMESPACE', 'PUBLIC']);

export const meshConfigOutboundTrafficPolicy = message('MeshConfig.OutboundTrafficPolicy', {
  mode: meshConfigOutboundTrafficPolicyMode,
  tls: clientTLSSettings,
});

export const meshConfigInboundTrafficPolicy = message('MeshConfig.InboundTrafficPolicy', {
  mode: meshConfigInboundTrafficPolicyMode,
});

export const configSource = message('ConfigSource', {
  address: string,
  tlsSettings: clientTLSSettings,
  subscribedResources: list(resource),
});

export const meshConfigCertificateData = message(
  'MeshConfig.CertificateData',
  {
    pem: string,
    spiffeBundleUrl: string,
    certSigners: list(string),
    trustDomains: list(string),
  },
  { oneofs: [['pem', 'spiffeBundleUrl']] },
);

export const certificate = message('Certificate', {
  secretName: string,
  dnsNames: list(string),
});

export const meshConfigServiceSettingsSettings = message('MeshConfig.ServiceSettings.Settings', {
  clusterLocal: bool,
});

export const meshConfigServiceSettings = message('MeshConfig.ServiceSettings', {
  settings: meshConfigServiceSettingsSettings,
  hosts: list(string),
});

export const labelSelectorRequirement = message('LabelSelectorRequirement', {
  key: string,
  operator: string,
  values: list(string),
});

export const labelSelector = message('LabelSelector', {
  matchLabels: map(string),
  matchExpressions: list(labelSelectorRequirement),
});

export const meshConfigServiceScopeConfigs = message('MeshConfig.ServiceScopeConfigs', {
  namespaceSelector: labelSelector,
  servicesSelector: labelSelector,
  scope: meshConfigServiceScopeConfigsScope,
});

export const meshConfigCA = message('MeshConfig.CA', {
  address: string,
  tlsSettings: clientTLSSettings,
  requestTimeout: duration,
  istiodSide: bool,
});

export const meshConfigExtensionProviderEnvoyExternalAuthorizationRequestBody = message(
  'MeshConfig.ExtensionProvider.EnvoyExternalAuthorizationRequestBody',
  {
    maxRequestBytes: uint32,
    allowPartialMessage: bool,
    packAsBytes: bool,
  },
);

export const meshConfigExtensionProviderEnvoyExternalAuthorizationHttpProvider = message(
  'MeshConfig.ExtensionProvider.EnvoyExternalAuthorizationHttpProvider',
  {
    service: string,
    port: uint32,
    timeout: duration,
    pathPrefix: string,
    failOpen: bool,
    clearRouteCache: bool,
    statusOnError: string,
    includeHeadersInCheck: list(string),
    includeRequestHeadersInCheck: list(string),
    includeAdditionalHeadersInCheck: map(string),
    includeRequestBodyInCheck: meshConfigExtensionProviderEnvoyExternalAuthorizationRequestBody,
    headersToUpstreamOnAllow: list(string),
    headersToDownstreamOnDeny: list(string),
    headersToDownstreamOnAllow: list(string),
  },
  { deprecated: ['includeHeadersInCheck'] },
);

export const meshConfigExtensionProviderEnvoyExternalAuthorizationGrpcProvider = message(
  'MeshConfig.ExtensionProvider.EnvoyExternalAuthorizationGrpcProvider',
  {
    service: string,
    port: uint32,
    timeout: duration,
    failOpen: bool,
    clearRouteCache: bool,
    statusOnError: string,
    includeRequestBodyInCheck: meshConfigExtensionProviderEnvoyExternalAuthorizationRequestBody,
  },
);

export const meshConfigExtensionProviderHttpHeader = message(
  'MeshConfig.ExtensionProvider.HttpHeader',
  {
    name: string,
    value: string,
    envName: string,
  },
  { oneofs: [['value', 'envName']] },
);

export const meshConfigExtensionProviderZipkinTracingProvider = message('MeshConfig.ExtensionProvider.ZipkinTracingProvider', {
  service: string,
  port: uint32,
  maxTagLength: uint32,
  enable64bitTraceId: bool,
  path: string,
  traceContextOption: meshConfigExtensionProviderZipkinTracingProviderTraceContextOption,
  timeout: duration,
  headers: list(meshConfigExtensionProviderHttpHeader),
});

export const meshConfigExtensionProviderLightstepTracingProvider = message('MeshConfig.ExtensionProvider.LightstepTracingProvider', {
  service: string,
  port: uint32,
  accessToken: string,
  maxTagLength: uint32,
});

export const meshConfigExtensionProviderDatadogTracingProvider = message('MeshConfig.ExtensionProvider.DatadogTracingProvider', {
  service: string,
  port: uint32,
  maxTagLength: uint32,
});

export const meshConfigExtensionProviderStackdriverProviderLogging = message('MeshConfig.ExtensionProvider.StackdriverProvider.Logging', {
  labels: map(string),
});

export const meshConfigExtensionProviderStackdriverProvider = message(
  'MeshConfig.ExtensionProvider.StackdriverProvider',
  {
    debug: bool,
    maxNumberOfAttributes: int64,
    maxNumberOfAnnotations: int64,
    maxNumberOfMessageEvents: int64,
    maxTagLength: uint32,
    logging: meshConfigExtensionProviderStackdriverProviderLogging,
  },
  { deprecated: ['debug', 'maxNumberOfAttributes', 'maxNumberOfAnnotations', 'maxNumberOfMessageEvents'] },
);

export const meshConfigExtensionProviderOpenCensusAgentTracingProvider = message(
  'MeshConfig.ExtensionProvider.OpenCensusAgentTracingProvider',
  {
    service: string,
    port: uint32,
    context: list(meshConfigExtensionProviderOpenCensusAgentTracingProviderTraceContext),
    maxTagLength: uint32,
  },
);

export const meshConfigExtensionProviderSkyWalkingTracingProvider = message('MeshConfig.ExtensionProvider.SkyWalkingTracingProvider', {
  service: string,
  port: uint32,
  accessToken: string,
});

export const meshConfigExtensionProviderHttpService = message('MeshConfig.ExtensionProvider.HttpService', {
  path: string,
  timeout: duration,
  headers: list(meshConfigExtensionProviderHttpHeader),
});

export const meshConfigExtensionProviderGrpcService = message('MeshConfig.ExtensionProvider.GrpcService', {
  timeout: duration,
  initialMetadata: list(meshConfigExtensionProviderHttpHeader),
});

export const meshConfigExtensionProviderResourceDetectorsEnvironmentResourceDetector = message(
  'MeshConfig.ExtensionProvider.ResourceDetectors.EnvironmentResourceDetector',
  {},
);

export const meshConfigExtensionProviderResourceDetectorsDynatraceResourceDetector = message(
  'MeshConfig.ExtensionProvider.ResourceDetectors.DynatraceResourceDetector',
  {},
);

export const meshConfigExtensionProviderResourceDetectors = message('MeshConfig.ExtensionProvider.ResourceDetectors', {
  environment: meshConfigExtensionProviderResourceDetectorsEnvironmentResourceDetector,
  dynatrace: meshConfigExtensionProviderResourceDetectorsDynatraceResourceDetector,
});

export const meshConfigExtensionProviderOpenTelemetryTracingProviderDynatraceSamplerDynatraceApi = message(
  'MeshConfig.ExtensionProvider.OpenTelemetryTracingProvider.DynatraceSampler.DynatraceApi',
  {
    service: string,
    port: uint32,
    http: meshConfigExtensionProviderHttpService,
  },
);

export const meshConfigExtensionProviderOpenTelemetryTracingProviderDynatraceSampler = message(
  'MeshConfig.ExtensionProvider.OpenTelemetryTracingProvider.DynatraceSampler',
  {
    tenant: string,
    clusterId: int32,
    rootSpansPerMinute: uint32,
    httpService: meshConfigExtensionProviderOpenTelemetryTracingProviderDynatraceSamplerDynatraceApi,
  },
);

export const meshConfigExtensionProviderOpenTelemetryTracingProvider = message(
  'MeshConfig.ExtensionProvider.OpenTelemetryTracingProvider',
  {
    service: string,
    port: uint32,
    maxTagLength: uint32,
    http: meshConfigExtensionProviderHttpService,
    grpc: meshConfigExtensionProviderGrpcService,
    resourceDetectors: meshConfigExtensionProviderResourceDetectors,
    serviceAttributeEnrichment: meshConfigExtensionProviderServiceAttributeEnrichment,
    dynatraceSampler: meshConfigExtensionProviderOpenTelemetryTracingProviderDynatraceSampler,
  },
);

export const meshConfigExtensionProviderPrometheusMetricsProvider = message('MeshConfig.ExtensionProvider.PrometheusMetricsProvider', {});

export const meshConfigExtensionProviderEnvoyFileAccessLogProviderLogFormat = message(
  'MeshConfig.ExtensionProvider.EnvoyFileAccessLogProvider.LogFormat',
  {
    text: string,
    labels: struct,
  },
  { oneofs: [['text', 'labels']] },
);

export const meshConfigExtensionProviderEnvoyFileAccessLogProvider = message('MeshConfig.ExtensionProvider.EnvoyFileAccessLogProvider', {
  path: string,
  logFormat: meshConfigExtensionProviderEnvoyFileAccessLogProviderLogFormat,
  omitEmptyValues: bool,
});

export const meshConfigExtensionProviderEnvoyHttpGrpcV3LogProvider = message('MeshConfig.ExtensionProvider.EnvoyHttpGrpcV3LogProvider', {
  service: string,
  port: uint32,
  logName: string,
  filterStateObjectsToLog: list(string),
  additionalRequestHeadersToLog: list(string),
  additionalResponseHeadersToLog: list(string),
  additionalResponseTrailersToLog: list(string),
});

export const meshConfigExtensionProviderEnvoyTcpGrpcV3LogProvider = message('MeshConfig.ExtensionProvider.EnvoyTcpGrpcV3LogProvider', {
  service: string,
  port: uint32,
  logName: string,
  filterStateObjectsToLog: list(string),
});

export const meshConfigExtensionProviderEnvoyOpenTelemetryLogProviderLogFormat = message(
  'MeshConfig.ExtensionProvider.EnvoyOpenTelemetryLogProvider.LogFormat',
  {
    text: string,
    labels: struct,
  },
);

export const meshConfigExtensionProviderEnvoyOpenTelemetryLogProvider = message(
  'MeshConfig.ExtensionProvider.EnvoyOpenTelemetryLogProvider',
  {
    service: string,
    port: uint32,
    logName: string,
    logFormat: meshConfigExtensionProviderEnvoyOpenTelemetryLogProviderLogFormat,
  },
);

export const meshConfigExtensionProviderSDSProvider = message('MeshConfig.ExtensionProvider.SDSProvider', {
  name: string,
  service: string,
  port: uint32,
});

export const meshConfigExtensionProvider = message(
  'MeshConfig.ExtensionProvider',
  {
    name: string,
    envoyExtAuthzHttp: meshConfigExtensionProviderEnvoyExternalAuthorizationHttpProvider,
    envoyExtAuthzGrpc: meshConfigExtensionProviderEnvoyExternalAuthorizationGrpcProvider,
    zipkin: meshConfigExtensionProviderZipkinTracingProvider,
    lightstep: meshConfigExtensionProviderLightstepTracingProvider,
    datadog: meshConfigExtensionProviderDatadogTracingProvider,
    stackdriver: meshConfigExtensionProviderStackdriverProvider,
    opencensus: meshConfigExtensionProviderOpenCensusAgentTracingProvider,
    skywalking: meshConfigExtensionProviderSkyWalkingTracingProvider,
    opentelemetry: meshConfigExtensionProviderOpenTelemetryTracingProvider,
    prometheus: meshConfigExtensionProviderPrometheusMetricsProvider,
    envoyFileAccessLog: meshConfigExtensionProviderEnvoyFileAccessLogProvider,
    envoyHttpAls: meshConfigExtensionProviderEnvoyHttpGrpcV3LogProvider,
    envoyTcpAls: meshConfigExtensionProviderEnvoyTcpGrpcV3LogProvider,
    envoyOtelAls: meshConfigExtensionProviderEnvoyOpenTelemetryLogProvider,
    sds: meshConfigExtensionProviderSDSProvider,
  },
  {
    oneofs: [
      [
        'envoyExtAuthzHttp',
        'envoyExtAuthzGrpc',
        'zipkin',
        'lightstep',
        'datadog',
        'stackdriver',
        'opencensus',
        'skywalking',
        'opentelemetry',
        'prometheus',
        'envoyFileAccessLog',
        'envoyHttpAls',
        'envoyTcpAls',
        'envoyOtelAls',
        'sds',
      ],
    ],
    deprecated: ['lightstep', 'opencensus'],
  },
);

export const meshConfigDefaultProviders = message('MeshConfig.DefaultProviders', {
  tracing: list(string),
  metrics: list(string),
  accessLogging: list(string),
});

export const meshConfigProxyPathNormalization = message('MeshConfig.ProxyPathNormalization', {
  normalization: meshConfigProxyPathNormalizationNormalizationType,
});

export const meshConfigTLSConfig = message('MeshConfig.TLSConfig', {
  minProtocolVersion: meshConfigTLSConfigTLSProtocol,
  ecdhCurves: list(string),
  cipherSuites: list(string),
});

export const meshConfigDefaultTrafficPolicy = message('MeshConfig.DefaultTrafficPolicy', {
  connectionPool: connectionPoolSettings,
  outlierDetection: outlierDetection,
});

export const serviceEntryVisibilityMatchRule = message('ServiceEntryVisibility.MatchRule', {
  namespaceSelector: labelSelector,
});

export const serviceEntryVisibilityPolicy = message('ServiceEntryVisibility.Policy', {
  visibility: serviceEntryVisibilityVisibility,
  matchingRules: list(serviceEntryVisibilityMatchRule),
});

export const serviceEntryVisibility = message('ServiceEntryVisibility', {
  defaultVisibility: serviceEntryVisibilityVisibility,
  applyToSidecars: bool,
  policies: list(serviceEntryVisibilityPolicy),
});

export const meshConfig = message(
  'MeshConfig',
  {
    proxyListenPort: int32,
    proxyInboundListenPort: int32,
    proxyHttpPort: int32,
    connectTimeout: duration,
    hboneIdleTimeout: duration,
    protocolDetectionTimeout: duration,
    tcpKeepalive: connectionPoolSettingsTCPSettingsTcpKeepalive,
    ingressClass: string,
    ingressService: string,
    ingressControllerMode: meshConfigIngressControllerMode,
    ingressSelector: string,
    enableTracing: bool,
    accessLogFile: string,
    accessLogFormat: string,
    accessLogEncoding: meshConfigAccessLogEncoding,
    enableEnvoyAccessLogService: bool,
    disableEnvoyListenerLog: bool,
    defaultConfig: proxyConfig,
    outboundTrafficPolicy: meshConfigOutboundTrafficPolicy,
    inboundTrafficPolicy: meshConfigInboundTrafficPolicy,
    configSources: list(configSource),
    enableAutoMtls: bool,
    trustDomain: string,
    trustDomainAliases: list(string),
    caCertificates: list(meshConfigCertificateData),
    defaultServiceExportTo: list(string),
    defaultVirtualServiceExportTo: list(string),
    defaultDestinationRuleExportTo: list(string),
    rootNamespace: string,
    localityLbSetting: localityLoadBalancerSetting,
    zoneAwareLbSetting: zoneAwareLoadBalancerSetting,
    dnsRefreshRate: duration,
    h2UpgradePolicy: meshConfigH2UpgradePolicy,
    inboundClusterStatName: string,
    outboundClusterStatName: string,
    certificates: list(certificate),
    serviceSettings: list(meshConfigServiceSettings),
    serviceScopeConfigs: list(meshConfigServiceScopeConfigs),
    enablePrometheusMerge: bool,
    verifyCertificateAtClient: bool,
    ca: meshConfigCA,
    extensionProviders: list(meshConfigExtensionProvider),
    defaultProviders: meshConfigDefaultProviders,
    discoverySelectors: list(labelSelector),
    pathNormalization: meshConfigProxyPathNormalization,
    defaultHttpRetryPolicy: httpRetry,
    defaultInboundHttpRetryPolicy: httpRetry,
    meshMTLS: meshConfigTLSConfig,
    tlsDefaults: meshConfigTLSConfig,
    defaultTrafficPolicy: meshConfigDefaultTrafficPolicy,
    serviceEntryVisibility: serviceEntryVisibility,
  },
  { deprecated: ['certificates', 'verifyCertificateAtClient'] },
);
