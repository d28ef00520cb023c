// AuthorizationPolicy: what governs a workload, parted by action in the order in which proxies decide.

import type { Resource } from '../api/resource.ts';
import { buildPolicyIndex, type PolicyWorkload } from './policy-target.ts';

export type AuthorizationPolicy = Resource<'AuthorizationPolicy'>;

export interface WorkloadAuthorization {
  readonly custom: readonly AuthorizationPolicy[];
  readonly audit: readonly AuthorizationPolicy[];
  readonly deny: readonly AuthorizationPolicy[];
  readonly allow: readonly AuthorizationPolicy[];
}

export interface AuthorizationIndex {
  readonly all: readonly AuthorizationPolicy[];
  forWorkload(workload: PolicyWorkload): WorkloadAuthorization;
}

/** What the annotation may say for "yes"; every other text is "no", so that the policy is in force. */
const YES: ReadonlySet<string> = new Set(['1', 't', 'T', 'true', 'TRUE', 'True']);

/** The policy is evaluated and reported, and decides nothing. */
export const isDryRun = (policy: AuthorizationPolicy): boolean => YES.has(policy.annotations['istio.io/dry-run'] ?? '');

export const buildAuthorization = (policies: readonly AuthorizationPolicy[], rootNamespace: string): AuthorizationIndex => {
  const index = buildPolicyIndex(policies, rootNamespace);
  return {
    all: index.all,
    forWorkload: (workload) => {
      const mine = index.forWorkload(workload);
      const of = (action: string): readonly AuthorizationPolicy[] => mine.filter((p) => (p.spec.action ?? 'ALLOW') === action);
      return { custom: of('CUSTOM'), audit: of('AUDIT'), deny: of('DENY'), allow: of('ALLOW') };
    },
  };
};
