// The authorization policies of a workload as Envoy's filters: those that ask an external authorizer, and those that RBAC decides
// itself (AUDIT, then DENY, then ALLOW). A policy on trial is evaluated beside the others and decides nothing.

import type { Result } from '../base/result.ts';
import { type AuthorizationPolicy, isDryRun, type WorkloadAuthorization } from '../mesh/authorization.ts';
import { compareText } from '../mesh/order.ts';
import type { HttpFilter, Listener_Filter, Policy, Rbac_RBAC } from '../xds/gen/types.ts';
import {
  EXTERNAL_SHADOW_PREFIX,
  type ExternalAuthorizer,
  externalPrefix,
  HTTP_RBAC,
  NETWORK_RBAC,
  TCP_STAT_PREFIX,
} from './external-authorization.ts';
import { rbacPolicy } from './rbac-rule.ts';

export interface AuthorizationContext {
  /** The mesh's trust domain, then its aliases. */
  readonly trustDomains: readonly string[];
  /** An authorizer by the name of its provider, or why there is none. */
  authorizer(provider: string): Result<ExternalAuthorizer, string>;
}

type Action = NonNullable<Rbac_RBAC['action']>;
type TypedFilter = HttpFilter & Listener_Filter;

const TYPES = 'type.googleapis.com/envoy.extensions.filters';
const DRY_RUN_ALLOW = 'istio_dry_run_allow_';
const DRY_RUN_DENY = 'istio_dry_run_deny_';

const NEVER: Policy = { permissions: [{ not_rule: { any: true } }], principals: [{ not_id: { any: true } }] };

const rbac = (tcp: boolean, fields: Readonly<Record<string, unknown>>): TypedFilter => ({
  name: tcp ? NETWORK_RBAC : HTTP_RBAC,
  typed_config: {
    '@type': `${TYPES}.${tcp ? 'network' : 'http'}.rbac.v3.RBAC`,
    ...fields,
    ...(tcp ? { stat_prefix: TCP_STAT_PREFIX } : {}),
  },
});

/** An ALLOW without policies denies everything: it must be there even when it is empty. */
const ruleSet = (action: Action, policies: Readonly<Record<string, Policy>>): Rbac_RBAC => ({
  ...(action === 'ALLOW' ? {} : { action }),
  ...(Object.keys(policies).length === 0 ? {} : { policies }),
});

type Named = readonly (readonly [name: string, policy: Policy])[];

const named = (policy: AuthorizationPolicy, prefix: string, action: Action, tcp: boolean, c: AuthorizationContext): Named => {
  const name = (index: number): string => `${prefix}ns[${policy.namespace}]-policy[${policy.name}]-rule[${index}]`;
  const rules = policy.spec.rules ?? [];
  if (rules.length === 0) return [[name(0), NEVER]];
  const context = { policyNamespace: policy.namespace, trustDomains: c.trustDomains, tcp, allows: action === 'ALLOW' };
  return rules.flatMap((rule, index) => {
    const made = rbacPolicy(rule, context);
    return made === undefined ? [] : [[name(index), made] as const];
  });
};

const merged = (parts: readonly Named[]): Readonly<Record<string, Policy>> =>
  Object.fromEntries(parts.flat().sort((a, b) => compareText(a[0], b[0])));

/** The filters that decide by themselves. */
export const authorizationFilters = (policies: WorkloadAuthorization, tcp: boolean, c: AuthorizationContext): readonly TypedFilter[] => {
  const stages: readonly (readonly [Action, readonly AuthorizationPolicy[]])[] = [
    ['LOG', policies.audit],
    ['DENY', policies.deny],
    ['ALLOW', policies.allow],
  ];
  return stages.filter(([, list]) => list.length > 0).map(([action, list]) => stage(action, list, tcp, c));
};

const stage = (action: Action, list: readonly AuthorizationPolicy[], tcp: boolean, c: AuthorizationContext): TypedFilter => {
  const trial = list.filter(isDryRun);
  const force = list.filter((p) => !isDryRun(p));
  const rules = (part: readonly AuthorizationPolicy[]): Rbac_RBAC => ruleSet(action, merged(part.map((p) => named(p, '', action, tcp, c))));
  const prefix = trial.length === 0 || action === 'ALLOW' ? DRY_RUN_ALLOW : action === 'DENY' ? DRY_RUN_DENY : undefined;
  return rbac(tcp, {
    ...(force.length === 0 ? {} : { rules: rules(force) }),
    ...(trial.length === 0 ? {} : { shadow_rules: rules(trial) }),
    ...(prefix === undefined ? {} : { shadow_rules_stat_prefix: prefix }),
  });
};

/**
 * The filters that ask an external authorizer: the policies are evaluated without effect, and what they matched triggers the question.
 * Where the authorizer cannot be asked, what they match is denied. A workload has one authorizer.
 */
export const externalFilters = (policies: WorkloadAuthorization, tcp: boolean, c: AuthorizationContext): readonly TypedFilter[] => {
  const providers = new Map<string, AuthorizationPolicy[]>();
  for (const p of policies.custom) {
    const provider = p.spec.provider?.name ?? '';
    const list = providers.get(provider);
    if (list === undefined) providers.set(provider, [p]);
    else list.push(p);
  }
  return [...providers.entries()]
    .sort((a, b) => compareText(a[0], b[0]))
    .flatMap(([provider, list]) => external(provider, list, providers.size > 1, tcp, c));
};

const external = (
  provider: string,
  list: readonly AuthorizationPolicy[],
  ambiguous: boolean,
  tcp: boolean,
  c: AuthorizationContext,
): readonly TypedFilter[] => {
  const prefix = externalPrefix(provider);
  const rules = (part: readonly AuthorizationPolicy[]): Readonly<Record<string, Policy>> =>
    merged(part.map((p) => named(p, prefix, 'DENY', tcp, c)));
  const authorizer = c.authorizer(provider);
  const force = rules(list.filter((p) => !isDryRun(p)));
  // To ask an authorizer on trial would be to obey it: what such a policy matches is denied.
  const trial = rules(list.filter(isDryRun));
  if (ambiguous || !authorizer.ok) {
    const denied = Object.fromEntries(Object.entries(force).map(([k, v]) => [`${k}-deny-due-to-bad-CUSTOM-action`, v]));
    return [rbac(tcp, { rules: ruleSet('DENY', denied) })];
  }
  const config = tcp ? authorizer.value.tcp : authorizer.value.http;
  if (config === undefined) return [];
  return [
    rbac(tcp, {
      ...(Object.keys(trial).length === 0 ? {} : { rules: ruleSet('DENY', trial) }),
      shadow_rules: ruleSet('DENY', force),
      shadow_rules_stat_prefix: EXTERNAL_SHADOW_PREFIX,
    }),
    {
      name: `envoy.filters.${tcp ? 'network' : 'http'}.ext_authz`,
      typed_config: { '@type': `${TYPES}.${tcp ? 'network' : 'http'}.ext_authz.v3.ExtAuthz`, ...config },
    },
  ];
};
