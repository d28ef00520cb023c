// What every part of one translation shares: the snapshot, the node, and what follows from the two.

import type { MeshConfig } from '../api/mesh-config/mesh-config.ts';
import type { MergedRule } from '../mesh/destination-rules.ts';
import type { Service, ServiceShape } from '../mesh/service.ts';
import type { SidecarScope } from '../mesh/sidecar-scope.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import { type IstioFilters, istioFilters } from './istio-filters.ts';
import { type NodeTelemetry, nodeTelemetry } from './node-telemetry.ts';
import type { Given, MakePart } from './part.ts';
import { proxyHeaders } from './proxy-headers.ts';
import type { ProxyNode } from './proxy-node.ts';
import { type SecurityFilters, securityFilters } from './security-filters.ts';

export interface Context {
  readonly snapshot: Snapshot;
  readonly mesh: MeshConfig;
  readonly node: ProxyNode;
  /** What the node may know: its Sidecar, and what that imports. */
  readonly scope: SidecarScope;
  /** Services in scope, one per host, oldest first. */
  readonly services: readonly Service[];
  /** The service the node means by a host. */
  service(host: string): Service | undefined;
  /** The same without its endpoints: what asks for no more is not made again when they change. */
  shape(host: string): ServiceShape | undefined;
  /** The rule for calls to a service in scope. */
  destinationRule(service: Pick<Service, 'host'>): MergedRule | undefined;
  /** The rule for calls that arrive for a service in scope. */
  inboundRule(service: Pick<Service, 'host'>): MergedRule | undefined;
  readonly telemetry: NodeTelemetry;
  readonly filters: IstioFilters;
  readonly security: SecurityFilters;
  readonly registryOnly: boolean;
  /** A part of the piece that the context is of; see part.ts. */
  part<G extends Given, T extends object>(name: string, given: G, make: (c: Context, given: G) => T): T;
}

export const buildContext = (snapshot: Snapshot, node: ProxyNode, makePart?: MakePart): Context => {
  const rules = new Map<string, MergedRule | undefined>();
  const scope = snapshot.scopes.for(node);
  const telemetry = late(() => nodeTelemetry(snapshot, node));
  const filters = late(() =>
    istioFilters(
      node,
      (side) => telemetry().stats(side),
      () => proxyHeaders({ mesh: snapshot.meshConfig, node }).metadataExchangeHeaders?.mode === 'IN_MESH',
    ),
  );
  const security = late(() => securityFilters(snapshot, node, () => scope.services));
  const context: Context = {
    snapshot,
    mesh: snapshot.meshConfig,
    node,
    scope,
    get services() {
      return scope.services;
    },
    service: scope.service,
    shape: scope.shape,
    destinationRule: ({ host }) => {
      if (rules.has(host)) return rules.get(host);
      const service = scope.shape(host);
      const rule = service === undefined ? undefined : snapshot.destinationRules.for(node, service);
      rules.set(host, rule);
      return rule;
    },
    inboundRule: ({ host }) => {
      const service = scope.shape(host);
      return service === undefined ? undefined : snapshot.destinationRules.inbound(node.namespace, service);
    },
    get telemetry() {
      return telemetry();
    },
    get filters() {
      return filters();
    },
    security: inboundOnly(security),
    get registryOnly() {
      return scope.outboundMode === 'REGISTRY_ONLY';
    },
    part: (name, given, make) =>
      makePart === undefined ? make(context, given) : makePart(name, given, (s, n, g) => make(buildContext(s, n), g)),
  };
  return context;
};

/** What is not asked for is not made: what is the same for many proxies must not look at more of the node than it needs. */
const late = <T extends object>(make: () => T): (() => T) => {
  let made: T | undefined;
  return () => (made ??= make());
};

/** Policies act on what comes in: for the other side nobody looks at whom they select. */
const inboundOnly = (security: () => SecurityFilters): SecurityFilters => ({
  http: (side) => (side === 'outbound' ? [] : security().http(side)),
  network: (side) => (side === 'outbound' ? [] : security().network(side)),
  refusesHttp: (side) => side !== 'outbound' && security().refusesHttp(side),
  refusesTcp: (side) => side !== 'outbound' && security().refusesTcp(side),
});
