// The TypeScript names of what documents say, inferred from the shape tables in schema/. Everything is readonly and optional but
// the fields Istio requires, which the reader guarantees. Durations are canonical seconds (`3600s`), enums their value names.

import type * as authz from './schema/authorization-policy.ts';
import type * as dr from './schema/destination-rule.ts';
import type * as gw from './schema/gateway.ts';
import type * as k8s from './schema/kubernetes.ts';
import type * as mesh from './schema/mesh-config.ts';
import type * as proxy from './schema/mesh-proxy-config.ts';
import type * as peer from './schema/peer-authentication.ts';
import type * as jwt from './schema/request-authentication.ts';
import type { Infer } from './schema/schema.ts';
import type * as entry from './schema/service-entry.ts';
import type * as vs from './schema/virtual-service.ts';
import type * as wl from './schema/workload.ts';
import type * as we from './schema/workload-entry.ts';

export type VirtualService = Infer<typeof vs.virtualService>;
export type HttpRoute = Infer<typeof vs.httpRoute>;
export type HttpMatchRequest = Infer<typeof vs.httpMatchRequest>;
export type StringMatch = Infer<typeof vs.stringMatch>;
export type HttpRouteDestination = Infer<typeof vs.httpRouteDestination>;
export type RouteDestination = Infer<typeof vs.routeDestination>;
export type Destination = Infer<typeof vs.destination>;
export type Headers = Infer<typeof vs.headers>;
export type HeaderOperations = Infer<typeof vs.headersHeaderOperations>;
export type HttpRedirect = Infer<typeof vs.httpRedirect>;
export type HttpDirectResponse = Infer<typeof vs.httpDirectResponse>;
export type HttpRewrite = Infer<typeof vs.httpRewrite>;
export type HttpRetry = Infer<typeof vs.httpRetry>;
export type HttpFaultInjection = Infer<typeof vs.httpFaultInjection>;
export type HttpMirrorPolicy = Infer<typeof vs.httpMirrorPolicy>;
export type CorsPolicy = Infer<typeof vs.corsPolicy>;
export type TcpRoute = Infer<typeof vs.tcpRoute>;
export type TlsRoute = Infer<typeof vs.tlsRoute>;
export type L4MatchAttributes = Infer<typeof vs.l4MatchAttributes>;
export type TlsMatchAttributes = Infer<typeof vs.tlsMatchAttributes>;

export type DestinationRule = Infer<typeof dr.destinationRule>;
export type Subset = Infer<typeof dr.subset>;
export type TrafficPolicy = Infer<typeof dr.trafficPolicy>;
export type PortTrafficPolicy = Infer<typeof dr.trafficPolicyPortTrafficPolicy>;
export type LoadBalancerSettings = Infer<typeof dr.loadBalancerSettings>;
export type ConsistentHashLB = Infer<typeof dr.loadBalancerSettingsConsistentHashLB>;
export type LocalityLoadBalancerSetting = Infer<typeof dr.localityLoadBalancerSetting>;
export type ConnectionPoolSettings = Infer<typeof dr.connectionPoolSettings>;
export type OutlierDetection = Infer<typeof dr.outlierDetection>;
export type ClientTLSSettings = Infer<typeof dr.clientTLSSettings>;

export type Gateway = Infer<typeof gw.gateway>;
export type GatewayServer = Infer<typeof gw.server>;
export type ServerTLSSettings = Infer<typeof gw.serverTLSSettings>;

export type ServiceEntry = Infer<typeof entry.serviceEntry>;
export type WorkloadEntry = Infer<typeof we.workloadEntry>;

export type PeerAuthentication = Infer<typeof peer.peerAuthentication>;
export type RequestAuthentication = Infer<typeof jwt.requestAuthentication>;
export type AuthorizationPolicy = Infer<typeof authz.authorizationPolicy>;

export type Service = Infer<typeof k8s.kubernetesService>;
export type ServicePort = Infer<typeof k8s.kubernetesServicePort>;
export type Namespace = Infer<typeof k8s.kubernetesNamespace>;
export type ServiceAccount = Infer<typeof k8s.kubernetesServiceAccount>;

export type Workload = Infer<typeof wl.workload>;
export type WorkloadReadiness = Infer<typeof wl.workloadReadiness>;

/** MeshConfig and its ProxyConfig as written; with defaults they are `MeshConfig` of mesh-config.ts. */
export type MeshConfigSpec = Infer<typeof mesh.meshConfig>;
export type MeshProxyConfigSpec = Infer<typeof proxy.proxyConfig>;
