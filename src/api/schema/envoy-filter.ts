// The fields of Istio's Envoy filter messages (networking v1alpha3). Facts only: what they mean is checked elsewhere.

import { enumeration, int32, list, map, message, string, struct, uint32 } from './schema.ts';
import { policyTargetReference } from './selector.ts';
import { workloadSelector } from './sidecar-selector.ts';

export const envoyFilterApplyTo = enumeration([
  'INVALID',
  'LISTENER',
  'FILTER_CHAIN',
  'NETWORK_FILTER',
  'HTTP_FILTER',
  'ROUTE_CONFIGURATION',
  'VIRTUAL_HOST',
  'HTTP_ROUTE',
  'CLUSTER',
  'EXTENSION_CONFIG',
  'BOOTSTRAP',
  'LISTENER_FILTER',
]);

export const envoyFilterPatchContext = enumeration(['ANY', 'SIDECAR_INBOUND', 'SIDECAR_OUTBOUND', 'GATEWAY', 'WAYPOINT']);

export const envoyFilterPatchOperation = enumeration([
  'INVALID',
  'MERGE',
  'ADD',
  'REMOVE',
  'INSERT_BEFORE',
  'INSERT_AFTER',
  'INSERT_FIRST',
  'REPLACE',
  'MERGE_AND_REPLACE_LIST',
]);

export const envoyFilterPatchFilterClass = enumeration(['UNSPECIFIED', 'AUTHN', 'AUTHZ', 'STATS']);

export const envoyFilterRouteMatchAction = enumeration(['ANY', 'ROUTE', 'REDIRECT', 'DIRECT_RESPONSE']);

export const envoyFilterProxyMatch = message('EnvoyFilter.ProxyMatch', { proxyVersion: string, metadata: map(string) });

export const envoyFilterClusterMatch = message('EnvoyFilter.ClusterMatch', {
  portNumber: uint32,
  service: string,
  subset: string,
  name: string,
});

export const envoyFilterRouteMatch = message('EnvoyFilter.RouteConfigurationMatch.RouteMatch', {
  name: string,
  action: envoyFilterRouteMatchAction,
});

export const envoyFilterVirtualHostMatch = message('EnvoyFilter.RouteConfigurationMatch.VirtualHostMatch', {
  name: string,
  domainName: string,
  route: envoyFilterRouteMatch,
});

export const envoyFilterRouteConfigurationMatch = message('EnvoyFilter.RouteConfigurationMatch', {
  portNumber: uint32,
  portName: string,
  gateway: string,
  vhost: envoyFilterVirtualHostMatch,
  name: string,
});

export const envoyFilterSubFilterMatch = message('EnvoyFilter.ListenerMatch.SubFilterMatch', { name: string });

export const envoyFilterFilterMatch = message('EnvoyFilter.ListenerMatch.FilterMatch', {
  name: string,
  subFilter: envoyFilterSubFilterMatch,
});

export const envoyFilterFilterChainMatch = message('EnvoyFilter.ListenerMatch.FilterChainMatch', {
  name: string,
  sni: string,
  transportProtocol: string,
  applicationProtocols: string,
  filter: envoyFilterFilterMatch,
  destinationPort: uint32,
});

export const envoyFilterListenerMatch = message('EnvoyFilter.ListenerMatch', {
  portNumber: uint32,
  portName: string,
  filterChain: envoyFilterFilterChainMatch,
  listenerFilter: string,
  name: string,
});

export const envoyFilterWaypointRouteMatch = message('EnvoyFilter.WaypointMatch.RouteMatch', { name: string });

export const envoyFilterWaypointSubFilterMatch = message('EnvoyFilter.WaypointMatch.FilterMatch.SubFilterMatch', { name: string });

export const envoyFilterWaypointFilterMatch = message('EnvoyFilter.WaypointMatch.FilterMatch', {
  name: string,
  subFilter: envoyFilterWaypointSubFilterMatch,
});

export const envoyFilterWaypointMatch = message('EnvoyFilter.WaypointMatch', {
  portNumber: uint32,
  route: envoyFilterWaypointRouteMatch,
  filter: envoyFilterWaypointFilterMatch,
});

export const envoyFilterPatch = message('EnvoyFilter.Patch', {
  operation: envoyFilterPatchOperation,
  value: struct,
  filterClass: envoyFilterPatchFilterClass,
});

export const envoyFilterObjectMatch = message(
  'EnvoyFilter.EnvoyConfigObjectMatch',
  {
    context: envoyFilterPatchContext,
    proxy: envoyFilterProxyMatch,
    listener: envoyFilterListenerMatch,
    routeConfiguration: envoyFilterRouteConfigurationMatch,
    cluster: envoyFilterClusterMatch,
    waypoint: envoyFilterWaypointMatch,
  },
  { oneofs: [['listener', 'routeConfiguration', 'cluster', 'waypoint']] },
);

export const envoyFilterObjectPatch = message('EnvoyFilter.EnvoyConfigObjectPatch', {
  applyTo: envoyFilterApplyTo,
  match: envoyFilterObjectMatch,
  patch: envoyFilterPatch,
});

export const envoyFilter = message(
  'EnvoyFilter',
  {
    workloadSelector: workloadSelector,
    targetRefs: list(policyTargetReference),
    configPatches: list(envoyFilterObjectPatch),
    priority: int32,
  },
  { limits: { targetRefs: { maxItems: 16 } } },
);
