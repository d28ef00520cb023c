// The names by which people call kinds, as kubectl takes them: the kind, its plural, its short name, any case.

const KINDS: { readonly [kind: string]: readonly string[] } = {
  VirtualService: ['virtualservices', 'vs'],
  DestinationRule: ['destinationrules', 'dr'],
  Gateway: ['gateways', 'gw'],
  ServiceEntry: ['serviceentries', 'se'],
  WorkloadEntry: ['workloadentries', 'we'],
  WorkloadGroup: ['workloadgroups', 'wg'],
  Sidecar: ['sidecars'],
  EnvoyFilter: ['envoyfilters', 'ef'],
  ProxyConfig: ['proxyconfigs', 'pc'],
  Telemetry: ['telemetries'],
  PeerAuthentication: ['peerauthentications', 'pa'],
  RequestAuthentication: ['requestauthentications', 'ra'],
  AuthorizationPolicy: ['authorizationpolicies', 'ap'],
  Service: ['services', 'svc'],
  ServiceAccount: ['serviceaccounts', 'sa'],
  Namespace: ['namespaces', 'ns'],
  Pod: ['pods', 'po'],
  Endpoints: ['endpoints', 'ep'],
  EndpointSlice: ['endpointslices', 'eps'],
  Secret: ['secrets'],
  ConfigMap: ['configmaps', 'cm'],
  Workload: ['workloads', 'wl'],
};

/** Undefined for a name that is no kind. `networking.istio.io` behind a dot is allowed, as kubectl does. */
export const kindOf = (name: string): string | undefined => {
  const word = name.toLowerCase().split('.')[0] ?? '';
  return Object.keys(KINDS).find((kind) => kind.toLowerCase() === word || KINDS[kind]?.includes(word));
};

export const kindList = (): string =>
  Object.entries(KINDS)
    .map(([kind, [, short]]) => (short === undefined ? kind.toLowerCase() : `${kind.toLowerCase()} (${short})`))
    .join(', ');

export const isClusterWide = (kind: string): boolean => kind === 'Namespace';

/** `virtualservice/payment-service.production`. */
export const objectLabel = (o: { readonly kind: string; readonly namespace: string; readonly name: string }): string =>
  `${o.kind.toLowerCase()}/${o.name}${o.namespace === '' ? '' : `.${o.namespace}`}`;
