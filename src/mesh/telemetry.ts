// Telemetry: which objects speak for a workload, and what they say together. Mesh first, then namespace, then workload: of objects for a
// whole namespace the oldest counts, of objects for workloads all do, oldest first, and what comes later overrides.

import type { Resource } from '../api/resource.ts';
import type { TelemetryAccessLogging, TelemetryMetrics, TelemetryTracing } from '../api/specs.ts';
import { compareAge, creationMsOf } from './order.ts';
import { type PolicyWorkload, reaches } from './policy-target.ts';

export type Telemetry = Resource<'Telemetry'>;

export interface WorkloadTelemetry {
  /** Widest first. */
  readonly policies: readonly Telemetry[];
  readonly metrics: readonly TelemetryMetrics[];
  /** One list a level. */
  readonly logging: readonly (readonly TelemetryAccessLogging[])[];
  readonly tracing: readonly TelemetryTracing[];
}

export interface TelemetryIndex {
  readonly all: readonly Telemetry[];
  /** Objects for a whole namespace beside an older one, which is in force. */
  readonly shadowed: readonly { readonly policy: Telemetry; readonly winner: Telemetry }[];
  forWorkload(workload: PolicyWorkload): WorkloadTelemetry;
}

const targetsOf = ({ spec }: Telemetry): NonNullable<Telemetry['spec']['targetRefs']> => [
  ...(spec.targetRef === undefined ? [] : [spec.targetRef]),
  ...(spec.targetRefs ?? []),
];

const isWide = (policy: Telemetry): boolean =>
  Object.keys(policy.spec.selector?.matchLabels ?? {}).length === 0 && targetsOf(policy).length === 0;

export const buildTelemetry = (policies: readonly Telemetry[], rootNamespace: string): TelemetryIndex => {
  const all = policies
    .map((p) => ({ name: p.name, namespace: p.namespace, creationMs: creationMsOf(p.creationTimestamp), p }))
    .sort(compareAge)
    .map(({ p }) => p);
  const wide = new Map<string, Telemetry>();
  const narrow = new Map<string, Telemetry[]>();
  const shadowed: { policy: Telemetry; winner: Telemetry }[] = [];
  for (const p of all) {
    const winner = wide.get(p.namespace);
    if (!isWide(p)) narrow.set(p.namespace, [...(narrow.get(p.namespace) ?? []), p]);
    else if (winner === undefined) wide.set(p.namespace, p);
    else shadowed.push({ policy: p, winner });
  }
  return {
    all,
    shadowed,
    forWorkload: (workload) => {
      const levels = [
        ...[...new Set([rootNamespace, workload.namespace])].flatMap((ns) => wide.get(ns) ?? []),
        ...(narrow.get(workload.namespace) ?? []).filter((p) => reaches(targetsOf(p), p.spec.selector?.matchLabels ?? {}, p, workload)),
      ];
      return {
        policies: levels,
        metrics: levels.flatMap((p) => p.spec.metrics ?? []),
        logging: levels.map((p) => p.spec.accessLogging ?? []).filter((l) => l.length > 0),
        tracing: levels.flatMap((p) => p.spec.tracing ?? []),
      };
    },
  };
};
