// Every kind: which are read, by which table and checks; which are known by name and refused until a later version. One row per kind.

import type { Findings } from './findings.ts';
import { checkForm } from './reading/check-form.ts';
import type { MapNode } from './reading/document-node.ts';
import { child } from './reading/field-path.ts';
import { readValue } from './reading/read-value.ts';
import type { Kind, Specs } from './resource.ts';
import { checkEndpointSlice, checkEndpoints } from './rules/kubernetes/validate-endpoints.ts';
import { checkPod } from './rules/kubernetes/validate-pod.ts';
import { checkConfigMap, checkSecret } from './rules/kubernetes/validate-secret.ts';
import { checkService } from './rules/kubernetes/validate-service.ts';
import { checkDestinationRule } from './rules/networking/validate-destination-rule.ts';
import { checkEnvoyFilter } from './rules/networking/validate-envoy-filter.ts';
import { checkGateway } from './rules/networking/validate-gateway.ts';
import { checkProxyConfig } from './rules/networking/validate-proxy-config.ts';
import { checkServiceEntry } from './rules/networking/validate-service-entry.ts';
import { checkSidecar } from './rules/networking/validate-sidecar.ts';
import { checkVirtualService } from './rules/networking/validate-virtual-service.ts';
import { checkWorkloadEntry } from './rules/networking/validate-workload-entry.ts';
import { checkWorkloadGroup } from './rules/networking/validate-workload-group.ts';
import { checkAuthorizationPolicy } from './rules/security/validate-authorization-policy.ts';
import { checkPeerAuthentication } from './rules/security/validate-peer-authentication.ts';
import { checkRequestAuthentication } from './rules/security/validate-request-authentication.ts';
import type { Check, CheckContext } from './rules/validate-context.ts';
import { checkTelemetry } from './rules/validate-telemetry.ts';
import { checkTrafficExtension, checkWasmPlugin } from './rules/validate-wasm-plugin.ts';
import { checkWorkload } from './rules/validate-workload.ts';
import { authorizationPolicy } from './schema/authorization-policy.ts';
import { destinationRule } from './schema/destination-rule.ts';
import { envoyFilter } from './schema/envoy-filter.ts';
import { gateway } from './schema/gateway.ts';
import { kubernetesNamespace, kubernetesService, kubernetesServiceAccount } from './schema/kubernetes.ts';
import { kubernetesConfigMap, kubernetesSecret } from './schema/kubernetes-data.ts';
import { endpointSlice, kubernetesEndpoints, kubernetesPod } from './schema/kubernetes-workload.ts';
import { peerAuthentication } from './schema/peer-authentication.ts';
import { proxyConfigResource } from './schema/proxy-config.ts';
import { requestAuthentication } from './schema/request-authentication.ts';
import type { AnyMessage, Infer, Schema } from './schema/schema.ts';
import { serviceEntry } from './schema/service-entry.ts';
import { sidecar } from './schema/sidecar.ts';
import { telemetry } from './schema/telemetry.ts';
import { virtualService } from './schema/virtual-service.ts';
import { trafficExtension, wasmPlugin } from './schema/wasm-plugin.ts';
import { workload } from './schema/workload.ts';
import { workloadEntry } from './schema/workload-entry.ts';
import { workloadGroup } from './schema/workload-group.ts';

export const DRY_RUN_ANNOTATION = 'istio.io/dry-run';

export interface KindEntry {
  readonly kind: Kind;
  readonly group: string;
  readonly versions: readonly string[];
  readonly namespaced: boolean;
  /** Where the fields stand: below `spec`, or beside `metadata`. */
  readonly body: 'spec' | 'root';
  readonly schema: AnyMessage;
  /** Fields and values; semantic checks only when the structure is sound. */
  read(node: MapNode, path: string, findings: Findings, context: CheckContext): Specs[Kind];
}

const row = <K extends Kind, S extends AnyMessage & Schema>(
  kind: K,
  group: string,
  versions: readonly string[],
  schema: S & { readonly kind: 'message' },
  check: Check<Specs[K]>,
  more: { readonly namespaced?: boolean; readonly body?: 'root'; readonly sealed?: boolean } = {},
): KindEntry => ({
  kind,
  group,
  versions,
  namespaced: more.namespaced ?? true,
  body: more.body ?? 'spec',
  schema,
  read: (node, path, findings, context) => {
    const before = findings.list.length;
    findings.sealed = more.sealed ?? false;
    const spec: Infer<S> & object = readValue<S>(schema, node, path, findings) as Infer<S> & object;
    const sound = findings.list.slice(before).every((f) => f.severity !== 'error' || f.code === 'FIELD_LIMIT' || f.code === 'FIELD_SIZE');
    // The table of the kind and the kind's type come from one schema; the compiler cannot see it through the row's generics.
    if (sound) check(spec as Specs[K], path, findings, context);
    if (group.endsWith('istio.io')) checkForm(schema, node, path, findings);
    if (group.endsWith('istio.io')) checkDryRun(kind, spec, findings, context);
    return spec as Specs[K];
  },
});

/** The annotation that lets an authorization policy only report: known for no other kind, and not for every action. */
const checkDryRun = (kind: Kind, spec: object, findings: Findings, context: CheckContext): void => {
  const value = context.annotations[DRY_RUN_ANNOTATION];
  if (value === undefined) return;
  const path = child('metadata.annotations', DRY_RUN_ANNOTATION);
  const action = 'action' in spec ? spec.action : 'ALLOW';
  if (kind !== 'AuthorizationPolicy') findings.error(path, `${kind} does not know the annotation ${DRY_RUN_ANNOTATION}`);
  else if (action !== 'ALLOW' && action !== 'DENY')
    findings.error(path, `${DRY_RUN_ANNOTATION} only supports action ALLOW/DENY, found ${String(action)}`);
  else if (!/^(?:1|0|t|T|true|TRUE|True|f|F|false|FALSE|False)$/.test(value))
    findings.error(path, `${JSON.stringify(value)} is neither true nor false`);
};

const networking = ['v1', 'v1beta1', 'v1alpha3'];
const security = ['v1', 'v1beta1'];
const nothing = (): void => undefined;

export const kinds: readonly KindEntry[] = [
  row('VirtualService', 'networking.istio.io', networking, virtualService, checkVirtualService),
  row('DestinationRule', 'networking.istio.io', networking, destinationRule, checkDestinationRule),
  row('Gateway', 'networking.istio.io', networking, gateway, checkGateway),
  row('ServiceEntry', 'networking.istio.io', networking, serviceEntry, checkServiceEntry),
  row('WorkloadEntry', 'networking.istio.io', networking, workloadEntry, checkWorkloadEntry),
  row('WorkloadGroup', 'networking.istio.io', networking, workloadGroup, checkWorkloadGroup),
  row('Sidecar', 'networking.istio.io', networking, sidecar, checkSidecar),
  row('EnvoyFilter', 'networking.istio.io', ['v1alpha3'], envoyFilter, checkEnvoyFilter),
  row('ProxyConfig', 'networking.istio.io', ['v1beta1'], proxyConfigResource, checkProxyConfig),
  row('Telemetry', 'telemetry.istio.io', ['v1', 'v1alpha1'], telemetry, checkTelemetry),
  row('WasmPlugin', 'extensions.istio.io', ['v1alpha1'], wasmPlugin, checkWasmPlugin),
  row('TrafficExtension', 'extensions.istio.io', ['v1alpha1'], trafficExtension, checkTrafficExtension),
  row('PeerAuthentication', 'security.istio.io', security, peerAuthentication, checkPeerAuthentication),
  row('RequestAuthentication', 'security.istio.io', security, requestAuthentication, checkRequestAuthentication),
  row('AuthorizationPolicy', 'security.istio.io', security, authorizationPolicy, checkAuthorizationPolicy),
  row('Service', '', ['v1'], kubernetesService, checkService),
  row('ServiceAccount', '', ['v1'], kubernetesServiceAccount, nothing, { body: 'root' }),
  row('Namespace', '', ['v1'], kubernetesNamespace, nothing, { namespaced: false }),
  row('Pod', '', ['v1'], kubernetesPod, checkPod, { body: 'root' }),
  row('Endpoints', '', ['v1'], kubernetesEndpoints, checkEndpoints, { body: 'root' }),
  row('EndpointSlice', 'discovery.k8s.io', ['v1'], endpointSlice, checkEndpointSlice, { body: 'root' }),
  row('Secret', '', ['v1'], kubernetesSecret, checkSecret, { body: 'root', sealed: true }),
  row('ConfigMap', '', ['v1'], kubernetesConfigMap, checkConfigMap, { body: 'root' }),
  row('Workload', 'skein.dev', ['v1'], workload, checkWorkload),
];

export interface RefusedKind {
  readonly kind: string;
  readonly group: string;
  /** Empty: any. */
  readonly versions: readonly string[];
  readonly hint: string;
}

const later = 'a later version supports it';
const elsewhere = 'it means nothing to the mesh: keep it out of the mesh folder';

const refused = (group: string, versions: readonly string[], hint: string, names: readonly string[]): RefusedKind[] =>
  names.map((kind) => ({ kind, group, versions, hint }));

export const refusedKinds: readonly RefusedKind[] = [
  ...refused('gateway.networking.k8s.io', [], later, ['GatewayClass', 'Gateway', 'HTTPRoute', 'GRPCRoute', 'TLSRoute', 'TCPRoute']),
  ...refused('gateway.networking.k8s.io', [], later, ['UDPRoute', 'ReferenceGrant', 'BackendTLSPolicy', 'ListenerSet']),
  ...refused('gateway.networking.x-k8s.io', [], later, ['XBackendTrafficPolicy', 'XListenerSet', 'XMesh']),
  ...refused('networking.k8s.io', ['v1'], later, ['Ingress', 'IngressClass']),
  ...refused('', ['v1'], elsewhere, ['PersistentVolume', 'PersistentVolumeClaim', 'ReplicationController', 'Node', 'Event']),
  ...refused('', ['v1'], elsewhere, ['LimitRange', 'ResourceQuota', 'PodTemplate']),
];

const runs = 'Skein runs the processes that Workload (skein.dev/v1) describes';

/** Groups whose every kind is somebody else's. */
export const refusedGroups: Readonly<Record<string, string>> = {
  apps: runs,
  batch: runs,
  autoscaling: elsewhere,
  policy: elsewhere,
  'rbac.authorization.k8s.io': elsewhere,
  'apiextensions.k8s.io': elsewhere,
  'storage.k8s.io': elsewhere,
  'admissionregistration.k8s.io': elsewhere,
  'install.istio.io': elsewhere,
};
