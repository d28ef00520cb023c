// RequestAuthentication: the token rules of a workload, from all policies that govern it together.

import type { Resource } from '../api/resource.ts';
import { type JwtRule, type KeySource, keySourceOf } from './key-sets.ts';
import { compareText } from './order.ts';
import { buildPolicyIndex, type PolicyWorkload } from './policy-target.ts';

export type RequestAuthenticationPolicy = Resource<'RequestAuthentication'>;

export interface RequestAuthenticationIndex {
  readonly all: readonly RequestAuthenticationPolicy[];
  /** By issuer. Empty: tokens are not looked at. */
  rulesFor(workload: PolicyWorkload): readonly JwtRule[];
  policiesFor(workload: PolicyWorkload): readonly RequestAuthenticationPolicy[];
}

export const buildRequestAuthentication = (
  policies: readonly RequestAuthenticationPolicy[],
  rootNamespace: string,
): RequestAuthenticationIndex => {
  const index = buildPolicyIndex(policies, rootNamespace);
  return {
    all: index.all,
    policiesFor: index.forWorkload,
    rulesFor: (workload) =>
      index
        .forWorkload(workload)
        .flatMap((p) => p.spec.jwtRules ?? [])
        .sort((a, b) => compareText(a.issuer ?? '', b.issuer ?? '')),
  };
};

/** Where keys have to be fetched from, each once; of several timeouts the longest. */
export const keySources = (policies: readonly RequestAuthenticationPolicy[]): readonly KeySource[] => {
  const sources = new Map<string, KeySource>();
  for (const rule of policies.flatMap((p) => p.spec.jwtRules ?? [])) {
    const source = keySourceOf(rule);
    if (source === undefined) continue;
    const other = sources.get(source.id);
    if (other === undefined || Number.parseFloat(other.timeout) < Number.parseFloat(source.timeout)) sources.set(source.id, source);
  }
  return [...sources.values()];
};
