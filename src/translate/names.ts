// Names by which clusters, routes and listeners find each other; Istio's own, so that its tools read them.

export const BLACKHOLE = 'BlackHoleCluster';
export const PASSTHROUGH = 'PassthroughCluster';
export const INBOUND_PASSTHROUGH = 'InboundPassthroughCluster';
export const VIRTUAL_OUTBOUND = 'virtualOutbound';
export const VIRTUAL_INBOUND = 'virtualInbound';
export const WILDCARD_ADDRESS = '0.0.0.0';
export const LOCALHOST = '127.0.0.1';

export const outboundCluster = (port: number, subset: string, host: string): string => `outbound|${port}|${subset}|${host}`;
export const inboundCluster = (port: number): string => `inbound|${port}||`;
export const clusterSni = (port: number, subset: string, host: string): string => `outbound_.${port}_.${subset}_.${host}`;

/** Stat names end in `;` so that Envoy's tag rules can cut them off. */
export const statName = (name: string): string => `${name};`;

/** Reference to the object a resource was made from, as Istio writes it into metadata. */
export const configPath = (
  kind: 'virtual-service' | 'destination-rule' | 'sidecar',
  r: { readonly name: string; readonly namespace: string },
): string => `/apis/networking.istio.io/v1/namespaces/${r.namespace}/${kind}/${r.name}`;

export const CREDENTIAL_SCHEME = 'kubernetes://';
/** Roots that stand in a ConfigMap. */
export const CONFIG_MAP_SCHEME = 'configmap://';
/** Ends the name of a credential's roots. */
export const CA_SUFFIX = '-cacert';

/** The name by which a `credentialName` is asked for over SDS: it stands in the namespace of the workload that asks. */
export const credentialResource = (name: string): string => (name.includes('://') ? name : `${CREDENTIAL_SCHEME}${name}`);

/** The same for its roots, which may stand in a Secret of their own. */
export const caResource = (name: string): string => {
  const resource = credentialResource(name);
  return resource.endsWith(CA_SUFFIX) ? resource : `${resource}${CA_SUFFIX}`;
};
