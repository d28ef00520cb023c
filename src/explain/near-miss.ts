// How near a rule of an AuthorizationPolicy came to a request: each attribute that it asks for is translated and compiled alone, as the
// translation and the data plane do it for the whole rule, and asked. So what is told of a rule is what the proxy does.

import type { AuthorizationPolicy } from '../mesh/authorization.ts';
import { compilePolicies, NO_POLICY } from '../plan/authz/policies.ts';
import { PlanError } from '../plan/plan-error.ts';
import { type RuleContext, rbacPolicy } from '../translate/rbac-rule.ts';
import type { AskedRequest } from './asked-request.ts';
import { attributeValue } from './attribute-value.ts';
import { type DecidingRule, ruleOf } from './policy-name.ts';

export interface AttributeVerdict {
  /** `spec.rules[0].from[0].source.principals`. */
  readonly path: string;
  readonly line: number;
  readonly matches: boolean;
  /** What the rule asks for, as it is written. */
  readonly wanted: readonly string[];
  /** The values are those that must not be there. */
  readonly excluded: boolean;
  /** What the request has; undefined: nothing. */
  readonly got: string | undefined;
}

export interface RuleVerdict {
  readonly rule: DecidingRule;
  readonly matches: boolean;
  /** False: an ALLOW rule that asks a connection for what only requests have, so that it matches none. */
  readonly possible: boolean;
  /** Of the nearest alternatives of the rule. */
  readonly missed: readonly AttributeVerdict[];
  readonly met: readonly AttributeVerdict[];
}

type Rule = NonNullable<AuthorizationPolicy['spec']['rules']>[number];

interface Asked {
  readonly path: string;
  /** For `attributeValue`. */
  readonly key: string;
  readonly wanted: readonly string[];
  readonly excluded: boolean;
  /** A rule of this attribute alone. */
  readonly alone: Rule;
}

const notName = (name: string): boolean => /^not[A-Z]/.test(name);
const bareName = (name: string): string => (notName(name) ? `${name.charAt(3).toLowerCase()}${name.slice(4)}` : name);

const fields = (written: object, path: string, make: (field: Readonly<Record<string, readonly string[]>>) => Rule): readonly Asked[] =>
  Object.entries(written).flatMap(([name, values]): Asked[] => {
    if (!Array.isArray(values) || values.length === 0) return [];
    const wanted = values.map(String);
    return [{ path: `${path}.${name}`, key: bareName(name), wanted, excluded: notName(name), alone: make({ [name]: wanted }) }];
  });

/** The alternatives of each part of a rule: one of each must be met as a whole. */
const alternatives = (rule: Rule, path: string): readonly (readonly (readonly Asked[])[])[] => [
  (rule.from ?? []).map((f, i) => fields(f.source ?? {}, `${path}.from[${i}].source`, (source) => ({ from: [{ source }] }))),
  (rule.to ?? []).map((t, i) => fields(t.operation ?? {}, `${path}.to[${i}].operation`, (operation) => ({ to: [{ operation }] }))),
  ...(rule.when ?? []).map(({ key = '', values = [], notValues = [] }, i) => [
    [
      ...(values.length === 0 ? [] : [condition(`${path}.when[${i}].values`, key, values, false)]),
      ...(notValues.length === 0 ? [] : [condition(`${path}.when[${i}].notValues`, key, notValues, true)]),
    ],
  ]),
];

const condition = (path: string, key: string, wanted: readonly string[], excluded: boolean): Asked => ({
  path,
  key,
  wanted,
  excluded,
  alone: { when: [{ key, ...(excluded ? { notValues: [...wanted] } : { values: [...wanted] }) }] },
});

export interface RuleSetting {
  readonly asked: AskedRequest;
  readonly trustDomains: readonly string[];
  readonly tcp: boolean;
}

const holds = (alone: Rule, context: RuleContext, { asked, tcp }: RuleSetting): boolean => {
  const policy = rbacPolicy(alone, context);
  if (policy === undefined) return false;
  try {
    return compilePolicies({ policies: { alone: policy } }, tcp, 'rules').match(asked) !== NO_POLICY;
  } catch (error) {
    // What the proxy refuses to compile matches nothing.
    if (error instanceof PlanError) return false;
    throw error;
  }
};

export const ruleVerdict = (policy: AuthorizationPolicy, index: number, setting: RuleSetting): RuleVerdict => {
  const rule = policy.spec.rules?.[index] ?? {};
  const context: RuleContext = {
    policyNamespace: policy.namespace,
    trustDomains: setting.trustDomains,
    tcp: setting.tcp,
    allows: (policy.spec.action ?? 'ALLOW') === 'ALLOW',
  };
  const tell = (a: Asked): AttributeVerdict => ({
    path: a.path,
    line: policy.origin.at(a.path).line,
    matches: holds(a.alone, context, setting),
    wanted: a.wanted,
    excluded: a.excluded,
    got: attributeValue(a.key, setting.asked),
  });
  const nearest = alternatives(rule, `spec.rules[${index}]`).flatMap((part) => {
    const told = part.map((list) => list.map(tell));
    const missing = (list: readonly AttributeVerdict[]): number => list.filter((v) => !v.matches).length;
    return [...told].sort((a, b) => missing(a) - missing(b))[0] ?? [];
  });
  return {
    rule: ruleOf(policy, index),
    matches: nearest.every((v) => v.matches),
    possible: rbacPolicy(rule, context) !== undefined,
    missed: nearest.filter((v) => !v.matches),
    met: nearest.filter((v) => v.matches),
  };
};

/** Of all rules of the policies the one that misses least; of equals the one that meets most. Undefined where none has a rule. */
export const nearestRule = (policies: readonly AuthorizationPolicy[], setting: RuleSetting): RuleVerdict | undefined =>
  policies
    .flatMap((policy) => (policy.spec.rules ?? []).map((_, index) => ruleVerdict(policy, index, setting)))
    .sort((a, b) => Number(b.possible) - Number(a.possible) || a.missed.length - b.missed.length || b.met.length - a.met.length)[0];
