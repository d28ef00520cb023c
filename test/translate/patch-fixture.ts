// EnvoyFilters for tests: written as objects, read leniently, applied to small pieces of Envoy configuration.

import { buildSnapshot } from '../../src/mesh/snapshot.ts';
import { type PatchContext, PatchSet } from '../../src/translate/patch-set.ts';
import type { ProxyNode } from '../../src/translate/proxy-node.ts';
import { parseNode } from '../../src/translate/proxy-node.ts';
import type { Node } from '../../src/xds/gen/types.ts';
import { meshConfigOf, resourceOf } from './mesh-fixture.ts';

export interface PatchText {
  readonly applyTo: string;
  readonly operation: string;
  readonly match?: Readonly<Record<string, unknown>>;
  readonly value?: Readonly<Record<string, unknown>>;
}

export interface FilterText {
  readonly name?: string;
  readonly namespace?: string;
  readonly created?: string;
  readonly spec?: Readonly<Record<string, unknown>>;
  readonly patches: readonly PatchText[];
}

export const nodeOf = (node: Partial<Node> = {}, kind: 'sidecar' | 'router' = 'sidecar'): ProxyNode => {
  const parsed = parseNode({ id: `${kind}~10.0.0.1~app-1.default~default.svc.cluster.local`, ...node });
  if (parsed === undefined) throw new Error('not a node');
  return parsed;
};

const filterObject = (f: FilterText): unknown => ({
  apiVersion: 'networking.istio.io/v1alpha3',
  kind: 'EnvoyFilter',
  metadata: { name: f.name ?? 'filter', namespace: f.namespace ?? 'default', creationTimestamp: f.created },
  spec: {
    ...f.spec,
    configPatches: f.patches.map(({ applyTo, operation, match, value }) => ({
      applyTo,
      ...(match === undefined ? {} : { match }),
      patch: { operation, ...(value === undefined ? {} : { value }) },
    })),
  },
});

export const setOf = (filters: readonly FilterText[], node: ProxyNode = nodeOf()): PatchSet => {
  const resources = filters.map((f) => resourceOf(filterObject(f))).filter((r) => r !== undefined);
  const { snapshot } = buildSnapshot({ resources, instances: [], meshConfig: meshConfigOf() });
  return new PatchSet(snapshot, node);
};

/** One patch of one object. */
export const one = (patch: PatchText, node?: ProxyNode): PatchSet => setOf([{ patches: [patch] }], node);

export const placeOf = (set: PatchSet, context: PatchContext = 'SIDECAR_OUTBOUND') => ({ set, context, servicePorts: () => undefined });
