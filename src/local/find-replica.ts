// Finds what a person means by `payment-v1`, `payment-v1-0` or `payment-v1-0.production` in the record of what runs. Pure.

import { err, ok, type Result } from '../base/result.ts';
import type { RunProcess, RunRecord } from './state.ts';

export interface FoundReplica {
  readonly name: string;
  readonly namespace: string;
  readonly workload: string;
  readonly processes: readonly RunProcess[];
}

/** The first replica when a workload is named. */
export const findReplica = (record: RunRecord, text: string): Result<FoundReplica, string> => {
  const replicas = replicasOf(record);
  const matches = replicas.filter((r) => matchesName(r, text));
  const namespaces = new Set(matches.map((r) => r.namespace));
  if (namespaces.size > 1) return err(`"${text}" is in several namespaces (${[...namespaces].join(', ')}): write ${text}.NAMESPACE`);
  const [first] = matches;
  if (first !== undefined) return ok(first);
  return err(`there is no workload "${text}"; running: ${replicas.map((r) => `${r.name}.${r.namespace}`).join(' ') || 'none'}`);
};

const matchesName = ({ name, namespace, workload }: FoundReplica, text: string): boolean =>
  [name, workload, `${name}.${namespace}`, `${workload}.${namespace}`].includes(text);

const replicasOf = (record: RunRecord): FoundReplica[] => {
  const found = new Map<string, FoundReplica>();
  for (const p of record.processes) {
    if (p.workload === undefined || p.namespace === undefined) continue;
    const key = `${p.namespace}/${p.name}`;
    found.set(key, { name: p.name, namespace: p.namespace, workload: p.workload, processes: [...(found.get(key)?.processes ?? []), p] });
  }
  const number = (name: string): number => Number(/-(\d+)$/.exec(name)?.[1] ?? 0);
  return [...found.values()].sort((a, b) =>
    a.workload === b.workload ? number(a.name) - number(b.name) : a.workload < b.workload ? -1 : 1,
  );
};
