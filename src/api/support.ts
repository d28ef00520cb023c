// What this version implements, as data: per kind the fields of Istio's API that have an effect. A field of the schema that no line
// here covers is refused by name. Paths leave out list indices; `{a,b}` are alternatives, `**` is everything below.
// Grow this table with the feature, in the same change.

import type { Kind } from './resource.ts';

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
  /** The whole kind is understood and refused, because accepting a policy without enforcing it would be a hole. */
  readonly notEnforced?: boolean;
}

const below = (prefix: string, paths: readonly string[]): string[] => paths.map((p) => `${prefix}.${p}`);

const policyBlocks = [
  'loadBalancer.{simple,consistentHash.**,localityLbSetting.**}',
  'connectionPool.tcp.**',
  'connectionPool.http.{http1MaxPendingRequests,http2MaxRequests,maxRequestsPerConnection,maxRetries,idleTimeout}',
  'connectionPool.http.{h2UpgradePolicy,useClientProtocol,maxConcurrentStreams,http2KeepAlive.**}',
  'outlierDetection.**',
  'tls.{mode,clientCertificate,privateKey,caCertificates,subjectAltNames,sni,insecureSkipVerify}',
];
const trafficPolicy = [...policyBlocks, 'portLevelSettings.port.**', ...below('portLevelSettings', policyBlocks)];
const policyPlaces = [
  'trafficPolicy',
  'trafficPolicy.portLevelSettings',
  'subsets.trafficPolicy',
  'subsets.trafficPolicy.portLevelSettings',
];

const filesOnly = 'certificates in Secrets are not yet supported; name files';

export const support: Readonly<Record<Kind, KindSupport>> = {
  VirtualService: {
    supported: [
      '{hosts,gateways,exportTo}',
      'http.name',
      'http.match.{name,uri,scheme,method,authority,headers,withoutHeaders,queryParams}.**',
      'http.match.{ignoreUriCase,port,sourceLabels,sourceNamespace,gateways}.**',
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
    refused: [{ path: 'tcp.match.sourceSubnet', message: 'sourceSubnet is ignored by Istio itself; use sourceLabels or sourceNamespace' }],
  },
  DestinationRule: {
    supported: [
      '{host,exportTo}',
      'subsets.{name,labels.**}',
      ...below('trafficPolicy', trafficPolicy),
      ...below('subsets.trafficPolicy', trafficPolicy),
    ],
    refused: policyPlaces.map((place) => ({ path: `${place}.tls.credentialName`, message: filesOnly })),
  },
  Gateway: {
    supported: [
      'selector.**',
      'servers.{name,hosts}',
      'servers.port.{number,name,protocol}',
      'servers.tls.{httpsRedirect,mode,serverCertificate,privateKey,caCertificates,subjectAltNames}',
      'servers.tls.{minProtocolVersion,maxProtocolVersion,cipherSuites}',
    ],
    refused: [
      { path: 'servers.tls.mode', values: ['AUTO_PASSTHROUGH'], message: 'AUTO_PASSTHROUGH is not yet supported' },
      { path: 'servers.tls.credentialName', message: filesOnly },
      { path: 'servers.tls.credentialNames', message: filesOnly },
    ],
  },
  ServiceEntry: {
    supported: [
      '{hosts,addresses,location,resolution,exportTo,subjectAltNames}',
      '{ports,workloadSelector}.**',
      'endpoints.{address,ports,labels,locality,weight,serviceAccount}.**',
    ],
    refused: [
      { path: 'resolution', values: ['DYNAMIC_DNS'], message: 'resolution DYNAMIC_DNS is not yet supported' },
      { path: 'endpoints.network', message: 'several networks are not yet supported' },
    ],
  },
  WorkloadEntry: {
    supported: ['{address,ports,labels,locality,weight,serviceAccount}.**'],
    refused: [{ path: 'network', message: 'several networks are not yet supported' }],
  },
  PeerAuthentication: { supported: ['{selector,mtls,portLevelMtls}.**'] },
  RequestAuthentication: { supported: ['**'], notEnforced: true },
  AuthorizationPolicy: { supported: ['**'], notEnforced: true },
  Service: {
    supported: [
      '{type,clusterIP,clusterIPs,selector,sessionAffinity,internalTrafficPolicy,externalTrafficPolicy}.**',
      '{ipFamilies,ipFamilyPolicy,healthCheckNodePort,allocateLoadBalancerNodePorts}.**',
      'ports.{name,port,targetPort,protocol,appProtocol,nodePort}',
      'publishNotReadyAddresses',
    ],
    refused: [
      { path: 'type', values: ['ExternalName'], message: 'services of type ExternalName are not yet supported; write a ServiceEntry' },
      {
        path: 'sessionAffinity',
        values: ['ClientIP'],
        message: 'sessionAffinity is not supported; write a DestinationRule with consistentHash',
      },
      { path: 'internalTrafficPolicy', values: ['Local'], message: 'internalTrafficPolicy Local is not supported' },
      { path: 'publishNotReadyAddresses', values: [true], message: 'publishNotReadyAddresses is not yet supported' },
      { path: 'ports.protocol', values: ['SCTP'], message: 'SCTP is not supported' },
    ],
    warned: [
      { path: 'type', values: ['NodePort', 'LoadBalancer'], message: 'is read as ClusterIP: only a gateway is reachable from outside' },
      { path: 'ports.nodePort', message: 'has no effect: only a gateway is reachable from outside' },
      { path: 'ports.protocol', values: ['UDP'], message: 'UDP is not proxied' },
    ],
  },
  ServiceAccount: { supported: ['**'] },
  Namespace: { supported: ['**'] },
  Workload: {
    supported: ['**'],
    warned: [{ path: 'resources.limits', message: 'limits of the application are not yet applied' }],
  },
};
