// The Kubernetes kinds Skein reads, cut to the fields that mean something without a cluster. A field of the real kind that is not here
// is refused by name like any other unknown field; what only a cluster's edge needs is listed so that exported Services read
// unchanged, and support.ts says what of it has an effect.

import { bool, enumeration, ignoring, int32, intOrString, list, map, message, string, uint32 } from './schema.ts';

export const servicePortProtocol = enumeration(['TCP', 'UDP', 'SCTP']);

export const kubernetesServicePort = message(
  'v1.ServicePort',
  { name: string, port: uint32, targetPort: intOrString, protocol: servicePortProtocol, appProtocol: string, nodePort: uint32 },
  { required: ['port'] },
);

export const clientIPConfig = message('v1.ClientIPConfig', { timeoutSeconds: int32 });
export const sessionAffinityConfig = message('v1.SessionAffinityConfig', { clientIP: clientIPConfig });

export const kubernetesService = message('v1.ServiceSpec', {
  type: enumeration(['ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName']),
  clusterIP: string,
  clusterIPs: list(string),
  selector: map(string),
  ports: list(kubernetesServicePort),
  externalName: string,
  sessionAffinity: enumeration(['None', 'ClientIP']),
  sessionAffinityConfig: sessionAffinityConfig,
  publishNotReadyAddresses: bool,
  internalTrafficPolicy: enumeration(['Cluster', 'Local']),
  externalTrafficPolicy: enumeration(['Cluster', 'Local']),
  trafficDistribution: enumeration(['PreferClose', 'PreferSameZone', 'PreferSameNode']),
  ipFamilies: list(enumeration(['IPv4', 'IPv6'])),
  ipFamilyPolicy: enumeration(['SingleStack', 'PreferDualStack', 'RequireDualStack']),
  externalIPs: list(string),
  loadBalancerIP: string,
  loadBalancerSourceRanges: list(string),
  loadBalancerClass: string,
  allocateLoadBalancerNodePorts: bool,
  healthCheckNodePort: uint32,
});

/** What a namespace or service account carries for the mesh is its metadata. */
export const kubernetesNamespace = message('v1.NamespaceSpec', ignoring('finalizers'));
export const kubernetesServiceAccount = message(
  'v1.ServiceAccount',
  ignoring('secrets', 'imagePullSecrets', 'automountServiceAccountToken'),
);
