// One immutable picture of the mesh: everything the translation for any proxy needs, built from resources and running instances alone.
// The same input in any order gives the same snapshot. The parts are independent of each other, so that each can be rebuilt alone.

import type { MeshConfig } from '../api/mesh-config.ts';
import type { Problem } from '../api/problem.ts';
import { ofKind, type Resource } from '../api/resource.ts';
import { buildDestinationRules, type DestinationRuleIndex } from './destination-rules.ts';
import { findProblems } from './findings.ts';
import { buildGateways, type GatewayRule } from './gateways.ts';
import { CLUSTER_DOMAIN } from './host.ts';
import type { Instance } from './instance.ts';
import { buildPeerAuthentication, type PeerAuthenticationIndex } from './peer-authentication.ts';
import { buildServiceIndex, type ServiceIndex } from './service-index.ts';
import { buildServices } from './services.ts';
import { buildVirtualServices, type VirtualServiceIndex } from './virtual-services.ts';

export interface Snapshot {
  readonly meshConfig: MeshConfig;
  readonly services: ServiceIndex;
  readonly virtualServices: VirtualServiceIndex;
  readonly destinationRules: DestinationRuleIndex;
  readonly gateways: readonly GatewayRule[];
  readonly peerAuthentication: PeerAuthenticationIndex;
}

export interface SnapshotInput {
  readonly resources: readonly Resource[];
  readonly instances: readonly Instance[];
  readonly meshConfig: MeshConfig;
  /** Suffix that completes short names; `cluster.local` when absent. */
  readonly clusterDomain?: string;
}

export const buildSnapshot = (input: SnapshotInput): { readonly snapshot: Snapshot; readonly problems: readonly Problem[] } => {
  const { resources, meshConfig } = input;
  const domain = input.clusterDomain ?? CLUSTER_DOMAIN;
  const virtualServices = buildVirtualServices(ofKind(resources, 'VirtualService'), meshConfig, domain);
  const snapshot: Snapshot = {
    meshConfig,
    services: buildServiceIndex(buildServices(input)),
    virtualServices: virtualServices.index,
    destinationRules: buildDestinationRules(ofKind(resources, 'DestinationRule'), meshConfig, domain),
    gateways: buildGateways(ofKind(resources, 'Gateway')),
    peerAuthentication: buildPeerAuthentication(ofKind(resources, 'PeerAuthentication'), meshConfig.rootNamespace),
  };
  return { snapshot, problems: findProblems(snapshot, virtualServices.missing) };
};
