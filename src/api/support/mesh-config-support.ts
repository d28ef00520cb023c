// Which keys of MeshConfig have an effect in this version, as data in the notation of support.ts. The others are accepted with a
// warning: none of them opens anything when it is left out. What would is refused below.

import type { KindSupport } from './support.ts';
import { expandBraces } from './support-path.ts';

/** Our own sidecar takes no part in these. */
const OF_ENVOY = [
  'defaultConfig.proxyStatsMatcher',
  'defaultConfig.extraStatTags',
  'defaultConfig.runtimeValues',
  'defaultConfig.statsdUdpAddress',
  'enableEnvoyAccessLogService',
  'defaultConfig.tracing.datadog',
  'defaultConfig.proxyHeaders.preserveHttp1HeaderCase',
];

/** What has no effect, and what to do instead. */
const INSTEAD: readonly (readonly [string, string])[] = [
  ['write a Sidecar whose egress listener has a port of protocol HTTP_PROXY', 'proxyHttpPort'],
  ['there are no ambient proxies', 'hboneIdleTimeout'],
  [
    'Kubernetes Ingress is not read; write a Gateway and a VirtualService',
    '{ingressClass,ingressService,ingressControllerMode,ingressSelector}',
  ],
  [
    'name an extension provider envoyHttpAls in defaultProviders.accessLogging, and a DestinationRule with tls for its service',
    'defaultConfig.envoyAccessLogService.{tlsSettings,tcpKeepalive}',
  ],
  ['there is one cluster', '{serviceSettings,serviceScopeConfigs}'],
  ['the control plane reads a folder and applied objects (--config)', 'configSources'],
  [
    "the control plane is the mesh's certificate authority; give it another root by --ca-dir",
    '{ca,certificates,defaultConfig.caCertificatesPem}',
  ],
  [
    'give the roots as pem, and whose names they may sign as trustDomains; which trust domains are let in is said by trustDomainAliases',
    'caCertificates.{spiffeBundleUrl,certSigners}',
  ],
  ['the agent merges the metrics of the application whenever it is asked for them', 'enablePrometheusMerge'],
  ['servers are always verified', 'verifyCertificateAtClient'],
  ['write a DestinationRule for the hosts that need TLS', 'outboundTrafficPolicy.tls'],
  ['it is a flag of the agent: skein agent --help', 'defaultConfig.{discoveryAddress,proxyAdminPort,statusPort,meshId,readinessProbe}'],
  ["name the workload by the label app, or by the agent's --workload", 'defaultConfig.{serviceCluster,tracingServiceName}'],
  [
    'the agent chooses its own folders and makes the bootstrap',
    'defaultConfig.{configPath,binaryPath,customConfigFile,proxyBootstrapTemplatePath}',
  ],
  ['the agent and the control plane always prove who they are', 'defaultConfig.{controlPlaneAuthPolicy,sds}'],
  [
    'write an extension provider zipkin or opentelemetry, and a Telemetry that names it',
    'defaultConfig.{zipkinAddress,tracing.lightstep,tracing.stackdriver,tracing.openCensusAgent}',
  ],
  ['write a DestinationRule with tls for the host of the tracer, and an extension provider', 'defaultConfig.tracing.tlsSettings'],
  ['Envoy has no such tracer any more; write an extension provider opentelemetry', 'extensionProviders.{lightstep,opencensus,stackdriver}'],
  ['certificates come from the control plane or from files', 'extensionProviders.sds'],
  ['the service is named by the label app and the namespace', 'extensionProviders.opentelemetry.serviceAttributeEnrichment'],
  [
    "statistics are read from the proxy's Prometheus port",
    'defaultConfig.{envoyMetricsService,envoyMetricsServiceAddress,statsCompression}',
  ],
  [
    'name it in the arguments of the Envoy behind `skein agent --`',
    'defaultConfig.{fileFlushInterval,fileFlushMinSizeKb,statNameLength,privateKeyProvider}',
  ],
  [
    'skein up starts an application when its sidecar is ready; elsewhere wait for the readiness port',
    'defaultConfig.holdApplicationUntilProxyStarts',
  ],
  ['write the setting with an EnvoyFilter, or the timeouts and limits of a DestinationRule', 'defaultConfig.connectionSettings'],
  ['say it on the workload, by its capture annotations', 'defaultConfig.interceptionMode'],
  ['say it on the workload, by --locality of its agent', 'defaultConfig.availabilityZone'],
  ['proxies here are processes, not images', 'defaultConfig.image'],
  ['the control plane sends what has changed as soon as it has', 'defaultConfig.discoveryRefreshDelay'],
  ['consecutive5xxErrors or consecutiveGatewayErrors take its place', 'defaultTrafficPolicy.outlierDetection.consecutiveErrors'],
];

export const meshConfigSupport: KindSupport = {
  supported: [
    '{proxyListenPort,proxyInboundListenPort,connectTimeout,dnsRefreshRate,protocolDetectionTimeout,tcpKeepalive.**}',
    '{accessLogFile,accessLogFormat,accessLogEncoding,disableEnvoyListenerLog,enableTracing}',
    '{trustDomain,trustDomainAliases,rootNamespace,enableAutoMtls}',
    'caCertificates.{pem,trustDomains}',
    '{outboundTrafficPolicy.mode,inboundTrafficPolicy.mode}',
    '{defaultServiceExportTo,defaultVirtualServiceExportTo,defaultDestinationRuleExportTo}',
    '{localityLbSetting,zoneAwareLbSetting,pathNormalization,defaultHttpRetryPolicy}.**',
    '{serviceEntryVisibility,discoverySelectors}.**',
    '{inboundClusterStatName,outboundClusterStatName}',
    'defaultProviders.{metrics,tracing,accessLogging}',
    'h2UpgradePolicy',
    'extensionProviders.{envoyExtAuthzHttp,envoyExtAuthzGrpc}.**',
    'extensionProviders.{name,prometheus.**}',
    'extensionProviders.{envoyFileAccessLog,envoyHttpAls,envoyTcpAls,envoyOtelAls,datadog,skywalking}.**',
    'extensionProviders.zipkin.{service,port,maxTagLength,enable64bitTraceId,path,traceContextOption,timeout}',
    'extensionProviders.opentelemetry.{service,port,maxTagLength,resourceDetectors.**}',
    'extensionProviders.opentelemetry.{http.path,http.timeout,grpc.timeout}',
    'extensionProviders.{zipkin.headers,opentelemetry.http.headers,opentelemetry.grpc.initialMetadata}.{name,value,envName}',
    'extensionProviders.opentelemetry.dynatraceSampler.**',
    'defaultConfig.{concurrency,drainDuration,terminationDrainDuration,proxyMetadata.**}',
    'defaultConfig.tracing.{sampling,customTags,maxPathTagLength,enableIstioTags,zipkin,datadog}.**',
    'defaultConfig.{proxyStatsMatcher,extraStatTags,runtimeValues,statsdUdpAddress,envoyAccessLogService.address}.**',
    'enableEnvoyAccessLogService',
    'defaultConfig.{gatewayTopology,proxyHeaders}.**',
    'tlsDefaults.{minProtocolVersion,ecdhCurves,cipherSuites}',
    'meshMTLS.{minProtocolVersion,cipherSuites}',
    'defaultInboundHttpRetryPolicy.**',
    'defaultTrafficPolicy.connectionPool.**',
    'defaultTrafficPolicy.outlierDetection.{consecutive5xxErrors,consecutiveGatewayErrors,splitExternalLocalOriginErrors}',
    'defaultTrafficPolicy.outlierDetection.{consecutiveLocalOriginFailures,interval,baseEjectionTime}',
    'defaultTrafficPolicy.outlierDetection.{maxEjectionPercent,minHealthPercent,outlierDetectionHttpErrorCodes}',
  ],
  warned: [
    {
      path: 'outboundTrafficPolicy.mode',
      values: ['ALLOW_ANY_DYNAMIC_DNS'],
      message: "is ALLOW_ANY for Skein's own sidecars: only Envoy resolves names by itself",
    },
    ...OF_ENVOY.map((path) => ({ path, message: "is for Envoy: Skein's own proxy does without it" })),
    ...INSTEAD.flatMap(([message, paths]) => expandBraces(paths).map((path) => ({ path, message }))),
  ],
};
