// envoy.config.rbac.v3.RBAC: policies in the order of their names; the first that matches says what becomes of a request.
import type { Policy, Rbac_RBAC } from '../../xds/gen/types.ts';
import { PlanError } from '../plan-error.ts';
import type { AuthzMatch, AuthzView } from './authz-view.ts';
import { AuthzCompilation, allOf, anyOf } from './matchers.ts';
import { compilePermission } from './permission.ts';
import { compilePrincipal } from './principal.ts';

export type AuthzAction = 'ALLOW' | 'DENY' | 'LOG';

/** No policy matches. */
export const NO_POLICY = -1;

export interface AuthzPolicies {
  readonly action: AuthzAction;
  /** In the order in which they are asked. */
  readonly names: readonly string[];
  /** The index of the policy that matches, or NO_POLICY. */
  match(view: AuthzView): number;
  /** What a match, or none, leads to. */
  allows(match: number): boolean;
}

/** `connections`: for what has no headers. */
export const compilePolicies = (rules: Rbac_RBAC, connections: boolean, path: string): AuthzPolicies => {
  const action = rules.action ?? 'ALLOW';
  if (action !== 'ALLOW' && action !== 'DENY' && action !== 'LOG') throw new PlanError(`${path}.action`, `${action} is not known`);
  rules.audit_logging_options?.logger_configs?.forEach((logger, i) => {
    if (logger.is_optional !== true) throw new PlanError(`${path}.audit_logging_options.logger_configs[${i}]`, 'is not supported');
  });
  const compilation = new AuthzCompilation(connections);
  const names = Object.keys(rules.policies ?? {}).sort(byBytes);
  const matches = names.map((name) => compilePolicy(rules.policies?.[name] ?? {}, compilation, `${path}.policies.${name}`));
  const match = (view: AuthzView): number => {
    for (let i = 0; i < matches.length; i++) if ((matches[i] as AuthzMatch)(view)) return i;
    return NO_POLICY;
  };
  const allows = (at: number): boolean => (action === 'LOG' ? true : (at === NO_POLICY) === (action === 'DENY'));
  return { action, names, match, allows };
};

const compilePolicy = (policy: Policy, compilation: AuthzCompilation, path: string): AuthzMatch => {
  for (const field of ['condition', 'checked_condition', 'cel_config'] as const)
    if (policy[field] !== undefined) throw new PlanError(`${path}.${field}`, 'CEL conditions are not supported');
  const { permissions = [], principals = [] } = policy;
  if (permissions.length === 0) throw new PlanError(`${path}.permissions`, 'must not be empty');
  if (principals.length === 0) throw new PlanError(`${path}.principals`, 'must not be empty');
  const asked = anyOf(permissions.map((p, i) => compilePermission(p, compilation, `${path}.permissions[${i}]`)));
  const asking = anyOf(principals.map((p, i) => compilePrincipal(p, compilation, `${path}.principals[${i}]`)));
  return allOf([asked, asking]);
};

// As bytes of UTF-8 compare, which differs from how JavaScript compares only where surrogates stand.
const byBytes = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));
