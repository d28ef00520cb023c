// What is said of policies that a connected proxy cannot carry out: which policy, which proxies, and what happens to their traffic.
import type { Problem } from '../api/problem.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import type { ProxyNode } from '../translate/proxy-node.ts';
import type { Pipeline } from './pipeline.ts';

/** Proxies named in one message; of more, how many. */
const NAMED_MAX = 5;

interface Case {
  readonly problem: Omit<Problem, 'message'>;
  readonly what: string;
  readonly filters: Set<string>;
  readonly proxies: Set<string>;
}

/** One problem per policy, in order of place. Errors where traffic is refused, warnings where only a report is missing. */
export const unenforcedProblems = (
  pipeline: Pick<Pipeline, 'unenforced'>,
  snapshot: Snapshot,
  nodes: Iterable<ProxyNode>,
): readonly Problem[] => {
  const cases = new Map<string, Case>();
  for (const node of nodes) {
    for (const { policy, filter, refuses } of pipeline.unenforced(snapshot, node)) {
      const key = `${policy.kind}/${policy.namespace}/${policy.name}`;
      const found = cases.get(key) ?? caseOf(policy, refuses);
      cases.set(key, found);
      found.filters.add(filter);
      found.proxies.add(`${node.name}.${node.namespace}`);
    }
  }
  return [...cases.values()].map(said).sort((a, b) => (a.file < b.file ? -1 : a.file > b.file ? 1 : a.line - b.line));
};

const caseOf = (policy: ReturnType<Pipeline['unenforced']>[number]['policy'], refuses: boolean): Case => ({
  problem: {
    code: 'NOT_YET_ENFORCED',
    severity: refuses ? 'error' : 'warning',
    file: policy.origin.file,
    ...policy.origin.at('kind'),
    path: 'kind',
    hint: 'Envoy enforces it: run the workload behind Envoy (skein up --proxy envoy), or take the policy back',
  },
  what: `${policy.kind} ${policy.namespace}/${policy.name}`,
  filters: new Set(),
  proxies: new Set(),
});

const said = ({ problem, what, filters, proxies }: Case): Problem => {
  const all = [...proxies].sort();
  const rest = all.length - NAMED_MAX;
  const names = `${all.slice(0, NAMED_MAX).join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`;
  const lacking = `not yet enforced by ${names}, which announced no ${[...filters].sort().join(' and no ')} filter`;
  const then =
    problem.severity === 'error'
      ? 'where the policy is in force, what it governs is refused there'
      : 'nothing is refused, and nothing is reported there';
  return { ...problem, message: `${what} is ${lacking}: ${then}` };
};
