// The TypeScript names of what documents say, inferred from the shape tables in schema/. Everything is readonly and optional but
// the fields Istio requires, which the reader guarantees. Durations are canonical seconds (`3600s`), enums their value names.

import type * as authz from './schema/authorization-policy.ts';
import type * as dr from './schema/destination-rule.ts';
import type * as envoy from './schema/envoy-filter.ts';
import type * as gw from './schema/gateway.ts';
import type * as k8s from './schema/kubernetes.ts';
import type * as k8sData from './schema/kubernetes-data.ts';
import type * as k8sWorkload from './schema/kubernetes-workload.ts';
import type * as mesh from './schema/mesh-config.ts';
import type * as networks from './schema/mesh-networks.ts';
import type * as proxy from './schema/mesh-proxy-config.ts';
import type * as peer from './schema/peer-authentication.ts';
import type * as proxyResource from './schema/proxy-config.ts';
import type * as jwt from './schema/request-authentication.ts';
import type { Infer } from './schema/schema.ts';
import type * as entry from './schema/service-entry.ts';
import type * as sc from './schema/sidecar.ts';
import type * as tel from './schema/telemetry.ts';
import type * as vs from './schema/virtual-service.ts';
import type * as wasm from './schema/wasm-plugin.ts';
import type * as wl from './schema/workload.ts';
import type * as we from './schema/workload-entry.ts';
import type * as wg from './schema/workload-group.ts';

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
export type ZoneAwareLoadBalancerSetting = Infer<typeof dr.zoneAwareLoadBalancerSetting>;
export type ConnectionPoolSettings = Infer<typeof dr.connectionPoolSettings>;
export type OutlierDetection = Infer<typeof dr.outlierDetection>;
export type ClientTLSSettings = Infer<typeof dr.clientTLSSettings>;

export type Gateway = Infer<typeof gw.gateway>;
export type GatewayServer = Infer<typeof gw.server>;
export type ServerTLSSettings = Infer<typeof gw.serverTLSSettings>;

export type ServiceEntry = Infer<typeof entry.serviceEntry>;
export type WorkloadEntry = Infer<typeof we.workloadEntry>;

export type WorkloadGroup = Infer<typeof wg.workloadGroup>;

export type Sidecar = Infer<typeof sc.sidecar>;
export type SidecarIngressListener = Infer<typeof sc.istioIngressListener>;
export type SidecarEgressListener = Infer<typeof sc.istioEgressListener>;
export type SidecarPort = Infer<typeof sc.sidecarPort>;

export type EnvoyFilter = Infer<typeof envoy.envoyFilter>;
export type EnvoyFilterPatch = Infer<typeof envoy.envoyFilterObjectPatch>;
export type EnvoyFilterMatch = Infer<typeof envoy.envoyFilterObjectMatch>;

/** The kind ProxyConfig; the mesh's message of that name is `MeshProxyConfigSpec`. */
export type ProxyConfig = Infer<typeof proxyResource.proxyConfigResource>;

export type Telemetry = Infer<typeof tel.telemetry>;
export type TelemetryTracing = Infer<typeof tel.tracing>;
export type TelemetryMetrics = Infer<typeof tel.metrics>;
export type TelemetryAccessLogging = Infer<typeof tel.accessLogging>;

export type WasmPlugin = Infer<typeof wasm.wasmPlugin>;
export type WasmConfig = Infer<typeof wasm.wasmConfig>;
export type TrafficExtension = Infer<typeof wasm.trafficExtension>;

export type PeerAuthentication = Infer<typeof peer.peerAuthentication>;
export type RequestAuthentication = Infer<typeof jwt.requestAuthentication>;
export type AuthorizationPolicy = Infer<typeof authz.authorizationPolicy>;

export type Service = Infer<typeof k8s.kubernetesService>;
export type ServicePort = Infer<typeof k8s.kubernetesServicePort>;
export type Namespace = Infer<typeof k8s.kubernetesNamespace>;
export type ServiceAccount = Infer<typeof k8s.kubernetesServiceAccount>;

/** `spec` and `status` as the object has them. */
export type Pod = Infer<typeof k8sWorkload.kubernetesPod>;
export type Endpoints = Infer<typeof k8sWorkload.kubernetesEndpoints>;
export type EndpointSlice = Infer<typeof k8sWorkload.endpointSlice>;
export type Secret = Infer<typeof k8sData.kubernetesSecret>;
export type ConfigMap = Infer<typeof k8sData.kubernetesConfigMap>;

export type Workload = Infer<typeof wl.workload>;
export type WorkloadReadiness = Infer<typeof wl.workloadReadiness>;

/** MeshConfig and its ProxyConfig as written; with defaults they are `MeshConfig` of mesh-config.ts. */
export type MeshConfigSpec = Infer<typeof mesh.meshConfig>;
export type MeshNetworksSpec = Infer<typeof networks.meshNetworks>;
export type MeshProxyConfigSpec = Infer<typeof proxy.proxyConfig>;
