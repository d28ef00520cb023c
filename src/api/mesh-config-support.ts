// Which keys of MeshConfig have an effect in this version, as data in the notation of support.ts. The others are accepted with a
// warning: none of them opens anything when it is left out. What would is refused below.

import type { KindSupport } from './support.ts';

export const meshConfigSupport: KindSupport = {
  supported: [
    '{proxyListenPort,proxyInboundListenPort,connectTimeout,dnsRefreshRate,protocolDetectionTimeout,tcpKeepalive.**}',
    '{accessLogFile,accessLogFormat,accessLogEncoding,disableEnvoyListenerLog,enableTracing}',
    '{trustDomain,trustDomainAliases,rootNamespace,enableAutoMtls}',
    '{outboundTrafficPolicy.mode,inboundTrafficPolicy.mode}',
    '{defaultServiceExportTo,defaultVirtualServiceExportTo,defaultDestinationRuleExportTo}',
    '{localityLbSetting,zoneAwareLbSetting,pathNormalization,defaultHttpRetryPolicy}.**',
    'serviceEntryVisibility.**',
    '{inboundClusterStatName,outboundClusterStatName}',
    'defaultProviders.{metrics,tracing,accessLogging}',
    'h2UpgradePolicy',
    'extensionProviders.{envoyExtAuthzHttp,envoyExtAuthzGrpc}.**',
    'extensionProviders.{name,prometheus.**}',
    'extensionProviders.{envoyFileAccessLog,envoyHttpAls,envoyTcpAls,envoyOtelAls,datadog,skywalking}.**',
    'extensionProviders.zipkin.{service,port,maxTagLength,enable64bitTraceId,path,traceContextOption,timeout}',
    'extensionProviders.opentelemetry.{service,port,maxTagLength,resourceDetectors.**}',
    'extensionProviders.opentelemetry.{http.path,http.timeout,grpc.timeout}',
    'extensionProviders.{zipkin.headers,opentelemetry.http.headers,opentelemetry.grpc.initialMetadata}.{name,value}',
    'defaultConfig.{concurrency,drainDuration,terminationDrainDuration,proxyMetadata.**}',
    'defaultConfig.tracing.{sampling,customTags,maxPathTagLength,enableIstioTags}.**',
    'defaultConfig.gatewayTopology.**',
    'tlsDefaults.{minProtocolVersion,ecdhCurves,cipherSuites}',
    'defaultTrafficPolicy.connectionPool.**',
    'defaultTrafficPolicy.outlierDetection.{consecutive5xxErrors,consecutiveGatewayErrors,splitExternalLocalOriginErrors}',
    'defaultTrafficPolicy.outlierDetection.{consecutiveLocalOriginFailures,interval,baseEjectionTime}',
    'defaultTrafficPolicy.outlierDetection.{maxEjectionPercent,minHealthPercent}',
  ],
  warned: [
    {
      path: 'outboundTrafficPolicy.mode',
      values: ['ALLOW_ANY_DYNAMIC_DNS'],
      message: "is ALLOW_ANY for Skein's own sidecars: only Envoy resolves names by itself",
    },
  ],
};
