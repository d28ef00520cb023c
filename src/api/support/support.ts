// What this version implements, as data: per kind the fields of Istio's API that have an effect. A field of the schema that no line
// here covers is refused by name. Paths leave out list indices; `{a,b}` are alternatives, `**` is everything below.
// Grow this table with the feature, in the same change.

import type { Kind } from '../resource.ts';

export interface ValueNote {
  /** In the same notation as `supported`, without `**`. */
  readonly path: string;
  /** Only these values are meant; every value when absent. */
  readonly values?: readonly (string | number | boolean)[];
  readonly message: string;
}

export interface KindSupport {
  readonly supported: readonly string[];
  /** Accepted with a warning: no effect yet, and nothing unsafe follows from that. */
  readonly warned?: readonly ValueNote[];
  /** Values of supported fields that are refused, and better words for fields that are. */
  readonly refused?: readonly ValueNote[];
  /** What the whole kind needs and never runs here: understood and refused. */
  readonly never?: string;
}

const below = (prefix: string, paths: readonly string[]): string[] => paths.map((p) => `${prefix}.${p}`);

const policyBlocks = [
  'loadBalancer.{simple,consistentHash,localityLbSetting,zoneAwareLbSetting,warmup,warmupDurationSecs}.**',
  'connectionPool.tcp.**',
  'connectionPool.http.{http1MaxPendingRequests,http2MaxRequests,maxRequestsPerConnection,maxRetries,idleTimeout}',
  'connectionPool.http.{h2UpgradePolicy,useClientProtocol,maxConcurrentStreams,http2KeepAlive.**}',
  'outlierDetection.{consecutive5xxErrors,consecutiveGatewayErrors,splitExternalLocalOriginErrors,consecutiveLocalOriginFailures}',
  'outlierDetection.{interval,baseEjectionTime,maxEjectionPercent,minHealthPercent,consecutiveErrors}',
  'outlierDetection.outlierDetectionHttpErrorCodes',
  'tls.{mode,clientCertificate,privateKey,caCertificates,caCrl,credentialName,subjectAltNames,sni,insecureSkipVerify}',
];
const trafficPolicy = [
  ...policyBlocks,
  '{tunnel,proxyProtocol,retryBudget,portLevelSettings.port}.**',
  ...below('portLevelSettings', policyBlocks),
];
/** What a policy may attach to and sidecars and gateways do not look at, in Istio either. */
const waypoints = ['targetRef.kind', 'targetRefs.kind'].map((path) => ({
  path,
  values: ['Service', 'ServiceEntry', 'GatewayClass'],
  message: 'has no effect: only a waypoint looks at it, and there are none; name a Gateway, or select workloads by label',
}));

export const support: Readonly<Record<Kind, KindSupport>> = {
  VirtualService: {
    supported: [
      '{hosts,gateways,exportTo}',
      'http.name',
      'http.match.{name,uri,scheme,method,authority,headers,withoutHeaders,queryParams}.**',
      'http.match.{ignoreUriCase,port,sourceLabels,sourceNamespace,gateways,statPrefix}.**',
      'http.route.{destination.host,destination.subset,destination.port.number,weight,headers.**}',
      'http.{redirect,directResponse,rewrite,retries,corsPolicy,headers,delegate}.**',
      'http.{mirror,mirrors,mirrorPercentage,mirrorPercent}.**',
      'http.fault.{delay,abort}.**',
      'http.timeout',
      'tcp.match.{port,destinationSubnets,sourceLabels,sourceNamespace,gateways}.**',
      'tcp.route.{destination.**,weight}',
      'tls.match.{sniHosts,port,destinationSubnets,sourceLabels,sourceNamespace,gateways}.**',
      'tls.route.{destination.**,weight}',
    ],
    refused: [
      {
        path: 'http.redirect.redirectCode',
        values: Array.from({ length: 100 }, (_, i) => 300 + i).filter((code) => ![301, 302, 303, 307, 308].includes(code)),
        message: 'no proxy can answer with this code: write 301, 302, 303, 307 or 308',
      },
      { path: 'tcp.match.sourceSubnet', message: 'sourceSubnet is ignored by Istio itself; use sourceLabels or sourceNamespace' },
    ],
  },
  DestinationRule: {
    supported: [
      '{host,exportTo,workloadSelector.**}',
      'subsets.{name,labels.**}',
      ...below('trafficPolicy', trafficPolicy),
      ...below('subsets.trafficPolicy', trafficPolicy),
    ],
  },
  Gateway: {
    supported: [
      'selector.**',
      'servers.{name,hosts,bind}',
      'servers.port.{number,name,protocol}',
      'servers.tls.{httpsRedirect,mode,serverCertificate,privateKey,caCertificates,caCrl,tlsCertificates.**,subjectAltNames}',
      'servers.tls.{credentialName,credentialNames,caCertCredentialName,verifyCertificateSpki,verifyCertificateHash}',
      'servers.tls.{minProtocolVersion,maxProtocolVersion,cipherSuites,insecureSkipVerify}',
      'servers.defaultEndpoint',
    ],
    warned: [{ path: 'servers.defaultEndpoint', message: 'has no effect, as in Istio: route to the endpoint with a VirtualService' }],
    refused: [
      { path: 'servers.port.targetPort', message: 'targetPort has no effect on a Gateway: it listens on the targetPort of its Service' },
    ],
  },
  ServiceEntry: {
    supported: [
      '{hosts,addresses,location,resolution,exportTo,subjectAltNames}',
      '{ports,workloadSelector}.**',
      'endpoints.{address,ports,labels,locality,weight,serviceAccount,network}.**',
    ],
    warned: [
      {
        path: 'resolution',
        values: ['DYNAMIC_DNS'],
        message: "is NONE for Skein's own proxies: only Envoy resolves each name it is asked for",
      },
    ],
  },
  WorkloadEntry: {
    supported: ['{address,ports,labels,locality,weight,serviceAccount,network}.**'],
  },
  WorkloadGroup: {
    supported: [
      'metadata.{labels,annotations}.**',
      'template.{address,ports,labels,locality,weight,serviceAccount,network}.**',
      'probe.**',
    ],
    warned: [{ path: 'template.address', message: 'has no effect, as in Istio: each workload brings its own' }],
  },
  Sidecar: {
    supported: [
      'workloadSelector.**',
      'ingress.port.{number,protocol,name}',
      'ingress.{bind,captureMode,defaultEndpoint,connectionPool.**}',
      'ingress.tls.{mode,serverCertificate,privateKey,caCertificates,caCrl,tlsCertificates.**,subjectAltNames}',
      'ingress.tls.{minProtocolVersion,maxProtocolVersion,cipherSuites,verifyCertificateSpki,verifyCertificateHash,insecureSkipVerify}',
      'egress.port.{number,protocol,name}',
      'egress.{bind,captureMode,hosts}',
      'outboundTrafficPolicy.{mode,egressProxy.**}',
      'inboundConnectionPool.**',
    ],
    refused: [
      { path: 'ingress.port.targetPort', message: 'targetPort has no effect on a Sidecar: write defaultEndpoint' },
      { path: 'egress.port.targetPort', message: 'targetPort has no effect on a Sidecar' },
      { path: 'ingress.tls.httpsRedirect', message: 'only a Gateway redirects to HTTPS' },
      { path: 'ingress.tls.credentialName', message: 'sidecars take certificates from files: serverCertificate and privateKey' },
      { path: 'ingress.tls.credentialNames', message: 'sidecars take certificates from files: tlsCertificates' },
      { path: 'ingress.tls.caCertCredentialName', message: 'sidecars take certificates from files: caCertificates' },
    ],
  },
  EnvoyFilter: {
    supported: ['{workloadSelector,targetRefs,priority,configPatches}.**'],
    refused: [
      {
        path: 'configPatches.applyTo',
        values: ['BOOTSTRAP'],
        message: 'the bootstrap is made beside the workload: change the file that the proxy is started with',
      },
    ],
    warned: [
      { path: 'configPatches.patch.filterClass', message: "has no effect, as in Istio: place the filter by the match's subFilter" },
      { path: 'configPatches.match.listener.portName', message: 'has no effect, as in Istio: use portNumber' },
      { path: 'configPatches.match.context', values: ['WAYPOINT'], message: 'has no effect: there are no waypoints' },
    ],
  },
  ProxyConfig: {
    supported: ['{selector,concurrency,environmentVariables,image}.**'],
    warned: [{ path: 'image.imageType', message: 'has no effect: proxies here are processes, not images' }],
  },
  Telemetry: { supported: ['{selector,targetRef,targetRefs,tracing,metrics,accessLogging}.**'] },
  WasmPlugin: { supported: [], never: 'WebAssembly' },
  TrafficExtension: { supported: [], never: 'WebAssembly or Lua' },
  PeerAuthentication: { supported: ['{selector,mtls,portLevelMtls}.**'] },
  RequestAuthentication: { supported: ['**'], warned: waypoints },
  AuthorizationPolicy: { supported: ['**'], warned: waypoints },
  Service: {
    supported: [
      '{type,clusterIP,clusterIPs,selector,sessionAffinity,sessionAffinityConfig,internalTrafficPolicy,externalTrafficPolicy}.**',
      '{ipFamilies,ipFamilyPolicy,healthCheckNodePort,allocateLoadBalancerNodePorts}.**',
      'ports.{name,port,targetPort,protocol,appProtocol,nodePort}',
      '{publishNotReadyAddresses,externalName,trafficDistribution,externalIPs,loadBalancerIP,loadBalancerClass}',
    ],
    refused: [
      {
        path: 'loadBalancerSourceRanges',
        message: 'loadBalancerSourceRanges are not enforced; write an AuthorizationPolicy with remoteIpBlocks for the gateway',
      },
      { path: 'ports.protocol', values: ['SCTP'], message: 'SCTP is not supported' },
    ],
    warned: [
      { path: 'type', values: ['NodePort', 'LoadBalancer'], message: 'is read as ClusterIP: only a gateway is reachable from outside' },
      ...['ports.nodePort', 'loadBalancerIP', 'loadBalancerClass'].map((path) => ({
        path,
        message: 'has no effect: only a gateway is reachable from outside',
      })),
      {
        path: 'externalIPs',
        message:
          'have no effect but at a gateway between networks (label topology.istio.io/network): write a ServiceEntry with those addresses',
      },
      {
        path: 'sessionAffinity',
        values: ['ClientIP'],
        message:
          'has no effect, as on sidecars of Istio: write a DestinationRule with consistentHash, or label the Service istio.io/persistent-session',
      },
      { path: 'ports.protocol', values: ['UDP'], message: 'UDP is not proxied' },
    ],
  },
  ServiceAccount: { supported: ['**'] },
  Namespace: { supported: ['**'] },
  Pod: { supported: ['**'] },
  Endpoints: { supported: ['**'] },
  EndpointSlice: { supported: ['**'] },
  Secret: { supported: ['**'] },
  ConfigMap: {
    supported: ['**'],
    warned: ['data', 'binaryData'].map((path) => ({
      path,
      message:
        'is read for roots (credentialName: configmap://NAME, key ca.crt) and, of the ConfigMap istio, for meshNetworks; mesh settings go to --mesh-config',
    })),
  },
  Workload: {
    supported: ['**'],
    warned: [{ path: 'resources.limits', message: 'limits of the application are not yet applied' }],
  },
};
