// One immutable picture of the mesh: everything the translation for any proxy needs, built from resources and running instances alone.
// The same input in any order gives the same snapshot. The parts are independent of each other, so that each can be rebuilt alone.

import type { MeshConfig } from '../api/mesh-config/mesh-config.ts';
import type { Problem } from '../api/problem.ts';
import { type Kind, ofKind, type Resource } from '../api/resource.ts';
import { Memo } from '../base/memo.ts';
import { type AuthorizationIndex, buildAuthorization } from './authorization.ts';
import { buildDestinationRules, type DestinationRuleIndex } from './destination-rules.ts';
import { discovered } from './discovery.ts';
import { buildEnvoyFilters, type EnvoyFilterIndex } from './envoy-filters.ts';
import { findProblems } from './findings.ts';
import { buildGateways, type GatewayRule } from './gateways.ts';
import { CLUSTER_DOMAIN } from './host.ts';
import type { Instance } from './instance.ts';
import { type KeySets, NO_KEY_SETS } from './key-sets.ts';
import { buildNetworks, isEntrance, type Networks } from './networks.ts';
import { buildPeerAuthentication, type PeerAuthenticationIndex } from './peer-authentication.ts';
import { buildRequestAuthentication, type RequestAuthenticationIndex } from './request-authentication.ts';
import { buildSecrets, type SecretIndex } from './secrets.ts';
import { buildServiceIndex, type ServiceIndex } from './service-index.ts';
import { buildServices } from './services.ts';
import { type SessionService, sessionServices } from './sessions.ts';
import { buildSidecarScopes, type SidecarScopes } from './sidecar-scope.ts';
import { buildTelemetry, type TelemetryIndex } from './telemetry.ts';
import { buildVirtualServices, type VirtualServiceIndex } from './virtual-services.ts';

export interface Snapshot {
  readonly meshConfig: MeshConfig;
  readonly services: ServiceIndex;
  readonly virtualServices: VirtualServiceIndex;
  readonly destinationRules: DestinationRuleIndex;
  /** What each proxy may see of the above. */
  readonly scopes: SidecarScopes;
  readonly gateways: readonly GatewayRule[];
  readonly peerAuthentication: PeerAuthenticationIndex;
  readonly secrets: SecretIndex;
  readonly networks: Networks;
  readonly authorization: AuthorizationIndex;
  readonly requestAuthentication: RequestAuthenticationIndex;
  readonly keySets: KeySets;
  readonly envoyFilters: EnvoyFilterIndex;
  readonly telemetry: TelemetryIndex;
  /** By `namespace/name`. */
  readonly workloadGroups: ReadonlyMap<string, Resource<'WorkloadGroup'>>;
  readonly sessions: readonly SessionService[];
  /** PEM; the roots that workloads trust, as the certificate authority has them now. */
  readonly trustAnchors: readonly string[];
}

export interface SnapshotInput {
  readonly resources: readonly Resource[];
  readonly instances: readonly Instance[];
  readonly meshConfig: MeshConfig;
  /** Suffix that completes short names; `cluster.local` when absent. */
  readonly clusterDomain?: string;
  /** Keys that were fetched for token rules. */
  readonly keySets?: KeySets;
  readonly trustAnchors?: readonly string[];
  /** Of the snapshot before: what it was made from and this one is too, is the same object in both. */
  readonly memo?: Memo;
}

/** Kinds that say nothing of services and their endpoints. */
const NOT_OF_SERVICES: ReadonlySet<string> = new Set<Kind>([
  'VirtualService',
  'DestinationRule',
  'Gateway',
  'Sidecar',
  'PeerAuthentication',
  'AuthorizationPolicy',
  'RequestAuthentication',
  'EnvoyFilter',
  'Telemetry',
  'Secret',
  'ConfigMap',
  'WorkloadGroup',
]);

const NO_ANCHORS: readonly string[] = [];

export const buildSnapshot = (input: SnapshotInput): { readonly snapshot: Snapshot; readonly problems: readonly Problem[] } => {
  const { instances, meshConfig, memo = new Memo() } = input;
  const resources = discovered(input.resources, meshConfig);
  const domain = input.clusterDomain ?? CLUSTER_DOMAIN;
  const root = meshConfig.rootNamespace;
  // Each part again only when what it is made from has changed: who reads a part can tell by its identity.
  const part = <K extends Kind, T>(kind: K, build: (list: readonly Resource<K>[]) => T): T => {
    const list = ofKind(resources, kind);
    return memo.use(kind, [list, meshConfig, domain], () => build(list));
  };
  const virtualServices = part('VirtualService', (list) => buildVirtualServices(list, meshConfig, domain, memo));
  const ofServices = resources.filter((r) => !NOT_OF_SERVICES.has(r.kind));
  const services = memo.use('services', [ofServices, instances, meshConfig], () =>
    buildServiceIndex(
      memo.settle(
        'service',
        buildServices({ ...input, resources: ofServices, memo }),
        (s) => `${s.registry} ${s.namespace}/${s.name} ${s.host}`,
      ),
    ),
  );
  const sidecars = ofKind(resources, 'Sidecar');
  const configMaps = ofKind(resources, 'ConfigMap');
  const namespaces = ofKind(resources, 'Namespace');
  const entrances = ofKind(resources, 'Service').filter(isEntrance);
  const snapshot: Snapshot = {
    meshConfig,
    services,
    scopes: memo.use('scopes', [sidecars, services, virtualServices, meshConfig], () =>
      buildSidecarScopes(sidecars, { services, virtualServices: virtualServices.index, meshConfig, memo }),
    ),
    virtualServices: virtualServices.index,
    destinationRules: part('DestinationRule', (list) => buildDestinationRules(list, meshConfig, domain, memo)),
    gateways: part('Gateway', (list) => buildGateways(list)),
    peerAuthentication: part('PeerAuthentication', (list) => buildPeerAuthentication(list, root)),
    secrets: memo.use('secrets', [ofKind(resources, 'Secret'), configMaps], () => buildSecrets(ofKind(resources, 'Secret'), configMaps)),
    networks: memo.use('networks', [configMaps, namespaces, entrances, root], () => buildNetworks(configMaps, namespaces, entrances, root)),
    authorization: part('AuthorizationPolicy', (list) => buildAuthorization(list, root)),
    requestAuthentication: part('RequestAuthentication', (list) => buildRequestAuthentication(list, root)),
    keySets: input.keySets ?? NO_KEY_SETS,
    trustAnchors: input.trustAnchors ?? NO_ANCHORS,
    envoyFilters: part('EnvoyFilter', (list) => buildEnvoyFilters(list, root)),
    telemetry: part('Telemetry', (list) => buildTelemetry(list, root)),
    sessions: memo.use('sessions', [services], () =>
      memo.settle('session', sessionServices(services.all), (s) => `${s.namespace} ${s.host}`),
    ),
    workloadGroups: part('WorkloadGroup', (list) => new Map(list.map((g) => [`${g.namespace}/${g.name}`, g]))),
  };
  return { snapshot, problems: findProblems(snapshot, virtualServices) };
};
