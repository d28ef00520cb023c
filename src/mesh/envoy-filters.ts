// EnvoyFilter: the patches of the mesh, and which of them are about a proxy, in the order in which they are applied: by priority,
// those of the root namespace first, the oldest first; within one object as they are written.

import type { Resource } from '../api/resource.ts';
import type { EnvoyFilterMatch, EnvoyFilterPatch } from '../api/specs.ts';
import { compareText, creationMsOf } from './order.ts';
import { type PolicyWorkload, reaches } from './policy-target.ts';

type Written = Required<EnvoyFilterPatch>;

export type PatchTarget = Written['applyTo'];
export type PatchOperation = NonNullable<Written['patch']['operation']>;

export interface Patch {
  readonly resource: Resource<'EnvoyFilter'>;
  /** Place in `configPatches`. */
  readonly index: number;
  readonly applyTo: PatchTarget;
  readonly operation: PatchOperation;
  readonly match: EnvoyFilterMatch;
  readonly value: Readonly<Record<string, unknown>>;
}

export interface EnvoyFilterIndex {
  readonly all: readonly Patch[];
  forWorkload(workload: PolicyWorkload): readonly Patch[];
}

/** `spec.configPatches[2]`. */
export const patchPath = (patch: Pick<Patch, 'index'>): string => `spec.configPatches[${patch.index}]`;

export const patchesOf = (resource: Resource<'EnvoyFilter'>): readonly Patch[] =>
  (resource.spec.configPatches ?? []).flatMap((p, index) =>
    p.patch === undefined
      ? []
      : [
          {
            resource,
            index,
            applyTo: p.applyTo ?? 'INVALID',
            operation: p.patch.operation ?? 'INVALID',
            match: p.match ?? {},
            value: p.patch.value ?? {},
          },
        ],
  );

const compare =
  (rootNamespace: string) =>
  (a: Resource<'EnvoyFilter'>, b: Resource<'EnvoyFilter'>): number => {
    const outside = (r: Resource): number => (r.namespace === rootNamespace ? 0 : 1);
    return (
      (a.spec.priority ?? 0) - (b.spec.priority ?? 0) ||
      outside(a) - outside(b) ||
      creationMsOf(a.creationTimestamp) - creationMsOf(b.creationTimestamp) ||
      compareText(`${a.name}.${a.namespace}`, `${b.name}.${b.namespace}`)
    );
  };

export const buildEnvoyFilters = (resources: readonly Resource<'EnvoyFilter'>[], rootNamespace: string): EnvoyFilterIndex => {
  const sorted = [...resources].sort(compare(rootNamespace)).map((resource) => ({ resource, patches: patchesOf(resource) }));
  return {
    all: sorted.flatMap((s) => s.patches),
    forWorkload: (workload) =>
      sorted.flatMap(({ resource, patches }) => {
        if (resource.namespace !== rootNamespace && resource.namespace !== workload.namespace) return [];
        const { targetRefs, workloadSelector } = resource.spec;
        return reaches(targetRefs ?? [], workloadSelector?.labels ?? {}, resource, workload) ? patches : [];
      }),
  };
};
