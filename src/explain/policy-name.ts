// The names that RBAC's policies have in a proxy's configuration, in its access logs and in its metrics, and the rule that each stands for.

import type { AuthorizationPolicy } from '../mesh/authorization.ts';
import { type KnownMesh, type Place, placeOf } from './known-mesh.ts';

export interface PolicyName {
  readonly namespace: string;
  readonly name: string;
  readonly rule: number;
  /** Of an external authorizer; '' for policies that decide themselves. */
  readonly provider: string;
  /** The authorizer cannot be asked. */
  readonly broken: boolean;
}

const NAME =
  /^(?:istio-ext-authz-(?:(?<provider>.*?)-)?)?ns\[(?<namespace>[^\]]*)\]-policy\[(?<name>[^\]]*)\]-rule\[(?<rule>\d+)\](?<bad>-deny-due-to-bad-CUSTOM-action)?$/;

/** Undefined for names of no AuthorizationPolicy, as those that an EnvoyFilter brings. */
export const readPolicyName = (text: string): PolicyName | undefined => {
  const groups = NAME.exec(text)?.groups;
  if (groups === undefined) return undefined;
  const { namespace = '', name = '', rule = '0', provider = '', bad } = groups;
  return { namespace, name, rule: Number(rule), provider, broken: bad !== undefined };
};

export interface DecidingRule extends Place {
  readonly action: string;
  readonly rule: number;
}

export const ruleOf = (policy: AuthorizationPolicy, rule: number): DecidingRule => {
  const written = policy.spec.rules?.[rule] !== undefined;
  return { ...placeOf(policy, written ? `spec.rules[${rule}]` : ''), action: policy.spec.action ?? 'ALLOW', rule };
};

/** The rule that a name in a proxy stands for; undefined when there is no such policy now. */
export const findRule = (mesh: Pick<KnownMesh, 'snapshot'>, text: string): DecidingRule | undefined => {
  const read = readPolicyName(text);
  const policy = mesh.snapshot.authorization.all.find((p) => p.name === read?.name && p.namespace === read.namespace);
  return read === undefined || policy === undefined ? undefined : ruleOf(policy, read.rule);
};
