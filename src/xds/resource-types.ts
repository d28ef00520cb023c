// The resource types that travel over xDS: type URLs, their short names, the order in which a server pushes them
// (make before break: clusters before the routes that name them), and how a resource of each is called.
import { TYPE_URL_PREFIX, type TypeName } from './codec.ts';

export type ResourceShortName = 'CDS' | 'EDS' | 'LDS' | 'RDS' | 'SDS' | 'ECDS' | 'VHDS' | 'NDS';

export interface ResourceType {
  readonly shortName: ResourceShortName;
  readonly type: TypeName;
  readonly url: string;
  /** An empty first request means "everything" for these; the others are always asked for by name. */
  readonly wildcard: boolean;
  /** Absence from a full answer removes a resource. Not so for EDS and RDS, whose owners drop them. */
  readonly absenceRemoves: boolean;
  /** The field that carries a resource's name; undefined when a response has one resource without a name. */
  readonly nameField: 'name' | 'cluster_name' | undefined;
}

const row = (
  shortName: ResourceShortName,
  type: TypeName,
  wildcard: boolean,
  nameField: ResourceType['nameField'] = 'name',
): ResourceType => ({ shortName, type, url: TYPE_URL_PREFIX + type, wildcard, absenceRemoves: wildcard, nameField });

export const CLUSTER_TYPE = row('CDS', 'envoy.config.cluster.v3.Cluster', true);
export const ENDPOINT_TYPE = row('EDS', 'envoy.config.endpoint.v3.ClusterLoadAssignment', false, 'cluster_name');
export const LISTENER_TYPE = row('LDS', 'envoy.config.listener.v3.Listener', true);
export const ROUTE_TYPE = row('RDS', 'envoy.config.route.v3.RouteConfiguration', false);
export const SECRET_TYPE = row('SDS', 'envoy.extensions.transport_sockets.tls.v3.Secret', false);
export const NAME_TABLE_TYPE = row('NDS', 'istio.networking.nds.v1.NameTable', true, undefined);

/** Configurations of filters that a listener names instead of holding. */
export const EXTENSION_TYPE = row('ECDS', 'envoy.config.core.v3.TypedExtensionConfig', false);

/** Virtual hosts of a route configuration, asked for one by one as `route/host`. Exists in the incremental protocol alone. */
export const VIRTUAL_HOST_TYPE = row('VHDS', 'envoy.config.route.v3.VirtualHost', false);

const SPOKEN: readonly ResourceType[] = [
  CLUSTER_TYPE,
  ENDPOINT_TYPE,
  LISTENER_TYPE,
  ROUTE_TYPE,
  VIRTUAL_HOST_TYPE,
  SECRET_TYPE,
  EXTENSION_TYPE,
  NAME_TABLE_TYPE,
];

/** A type that a server has; our own proxy's agent alone asks for its configuration. */
export type ServedType = Omit<ResourceType, 'shortName'> & { readonly shortName: ResourceShortName | 'PCDS' };

/** What an agent is to do beside its proxy. */
export const PROXY_CONFIG_TYPE: ServedType = { ...row('NDS', 'istio.mesh.v1alpha1.ProxyConfig', true, undefined), shortName: 'PCDS' };

/** Requests of this type carry no subscription: an agent says that its workload is healthy, or in `error_detail` why it is not. */
export const HEALTH_TYPE_URL = `${TYPE_URL_PREFIX}istio.v1.HealthInformation`;

/** In push order. */
export const RESOURCE_TYPES: readonly ServedType[] = [...SPOKEN, PROXY_CONFIG_TYPE];

const byUrl = new Map(SPOKEN.map((t) => [t.url, t]));

/** Undefined for a type that our own proxy does not speak. */
export const resourceType = (url: string): ResourceType | undefined => byUrl.get(url);

/** Position in push order; unknown types come last. */
export const pushRank = (url: string): number => {
  const at = RESOURCE_TYPES.findIndex((t) => t.url === url);
  return at < 0 ? RESOURCE_TYPES.length : at;
};

export const ADS_METHOD = '/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources';
export const DELTA_ADS_METHOD = '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources';
export const SDS_METHOD = '/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets';

const STREAM_METHODS: { readonly [K in ServedType['shortName']]?: string } = {
  CDS: '/envoy.service.cluster.v3.ClusterDiscoveryService/StreamClusters',
  EDS: '/envoy.service.endpoint.v3.EndpointDiscoveryService/StreamEndpoints',
  LDS: '/envoy.service.listener.v3.ListenerDiscoveryService/StreamListeners',
  RDS: '/envoy.service.route.v3.RouteDiscoveryService/StreamRoutes',
  SDS: SDS_METHOD,
  ECDS: '/envoy.service.extension.v3.ExtensionConfigDiscoveryService/StreamExtensionConfigs',
};
/** The method of the service that carries one type alone; undefined when that type rides on ADS only, or has no such variant. */
export const streamMethod = (type: Pick<ServedType, 'shortName'>): string | undefined => STREAM_METHODS[type.shortName];

/** The same for the incremental variant. */
export const deltaMethod = (type: Pick<ServedType, 'shortName'>): string | undefined =>
  type.shortName === VIRTUAL_HOST_TYPE.shortName
    ? '/envoy.service.route.v3.VirtualHostDiscoveryService/DeltaVirtualHosts'
    : streamMethod(type)?.replace('/Stream', '/Delta');

/** The name of a decoded resource; '' when it has none. */
export const resourceName = (type: Pick<ResourceType, 'nameField'>, resource: object): string => {
  const field = type.nameField;
  const name = field === undefined ? undefined : (resource as { readonly [k: string]: unknown })[field];
  return typeof name === 'string' ? name : '';
};
