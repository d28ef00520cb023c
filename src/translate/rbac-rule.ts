// One rule of an AuthorizationPolicy as a policy of Envoy's RBAC: OR(from) AND OR(to) AND all conditions. Attributes of requests mean
// nothing on a TCP connection: an ALLOW rule that has one matches nothing there, a rule that denies or audits goes without it.

import type { AuthorizationPolicy } from '../mesh/authorization.ts';
import type { Permission, Policy, Principal } from '../xds/gen/types.ts';
import * as match from './rbac-matchers.ts';
import { expandPrincipals, expandTrustDomains } from './trust-domains.ts';

type Rule = NonNullable<AuthorizationPolicy['spec']['rules']>[number];
type Values = readonly string[] | undefined;

export interface RuleContext {
  readonly policyNamespace: string;
  /** The mesh's trust domain, then its aliases. */
  readonly trustDomains: readonly string[];
  readonly tcp: boolean;
  /** Attributes that cannot be told make the rule match nothing; otherwise they are left out. */
  readonly allows: boolean;
}

/** What one attribute asks for, given the values it may have. */
interface Attribute<T> {
  readonly httpOnly: boolean;
  /** Undefined for a key without a meaning. */
  readonly matcher: ((values: readonly string[]) => T) | undefined;
  readonly values: Values;
  readonly notValues: Values;
}

const anyRule = (rules: readonly Permission[]): Permission => ({ or_rules: { rules } });
const anyId = (ids: readonly Principal[]): Principal => ({ or_ids: { ids } });
const permissions = (each: (value: string) => Permission) => (values: readonly string[]) => anyRule(values.map(each));
const principals = (each: (value: string) => Principal) => (values: readonly string[]) => anyId(values.map(each));

const of = <T>(httpOnly: boolean, matcher: Attribute<T>['matcher'], values: Values, notValues: Values): Attribute<T> => ({
  httpOnly,
  matcher,
  values,
  notValues,
});

/** Undefined: the rule matches nothing here. */
export const rbacPolicy = (rule: Rule, context: RuleContext): Policy | undefined => {
  const conditions = whenAttributes(rule, context);
  const to = (rule.to ?? []).length === 0 ? [[]] : (rule.to ?? []).map((t) => operationAttributes(t.operation ?? {}));
  const from = (rule.from ?? []).length === 0 ? [[]] : (rule.from ?? []).map((f) => sourceAttributes(f.source ?? {}, context));
  const allowed = to.map((own) => all([...own, ...conditions.permissions], context, (not_rule: Permission): Permission => ({ not_rule })));
  const known = from.map((own) => all([...own, ...conditions.principals], context, (not_id: Principal): Principal => ({ not_id })));
  if (allowed.includes(undefined) || known.includes(undefined)) return undefined;
  return {
    permissions: allowed.map((rules) => ({ and_rules: { rules: rules === undefined || rules.length === 0 ? [{ any: true }] : rules } })),
    principals: known.map((ids) => ({ and_ids: { ids: ids === undefined || ids.length === 0 ? [{ any: true }] : ids } })),
  };
};

const all = <T>(attributes: readonly Attribute<T>[], context: RuleContext, not: (matched: T) => T): readonly T[] | undefined => {
  const out: T[] = [];
  for (const { httpOnly, matcher, values = [], notValues = [] } of attributes) {
    if (values.length === 0 && notValues.length === 0) continue;
    if (matcher === undefined || (httpOnly && context.tcp)) {
      if (context.allows) return undefined;
      continue;
    }
    if (values.length > 0) out.push(matcher(values));
    if (notValues.length > 0) out.push(not(matcher(notValues)));
  }
  return out;
};

type Operation = NonNullable<NonNullable<Rule['to']>[number]['operation']>;
type Source = NonNullable<NonNullable<Rule['from']>[number]['source']>;

const port = permissions((v) => ({ destination_port: Number(v) }));

const operationAttributes = (o: Operation): readonly Attribute<Permission>[] => [
  of(
    true,
    permissions((v) => ({ header: match.headerMatcher(':authority', v, true) })),
    o.hosts,
    o.notHosts,
  ),
  of(
    true,
    permissions((v) => ({ header: match.headerMatcher(':method', v) })),
    o.methods,
    o.notMethods,
  ),
  of(true, permissions(match.path), o.paths, o.notPaths),
  of(false, port, o.ports, o.notPorts),
];

const sourceAttributes = (s: Source, context: RuleContext): readonly Attribute<Principal>[] => {
  const by = sourceMatchers(context);
  return [
    of(false, by.principal, s.principals, s.notPrincipals),
    of(true, match.requestPrincipals, s.requestPrincipals, s.notRequestPrincipals),
    of(false, by.serviceAccount, s.serviceAccounts, s.notServiceAccounts),
    of(false, by.trustDomain, s.trustDomains, s.notTrustDomains),
    of(false, by.namespace, s.namespaces, s.notNamespaces),
    of(false, by.remoteIp, s.remoteIpBlocks, s.notRemoteIpBlocks),
    of(false, by.directIp, s.ipBlocks, s.notIpBlocks),
  ];
};

const sourceMatchers = ({ policyNamespace, trustDomains }: RuleContext) => ({
  principal: (values: readonly string[]) => anyId(expandPrincipals(values, trustDomains).map(match.principal)),
  serviceAccount: principals((v) => match.serviceAccount(v, policyNamespace)),
  trustDomain: (values: readonly string[]) => anyId(expandTrustDomains(values, trustDomains).map(match.trustDomain)),
  namespace: principals(match.sourceNamespace),
  remoteIp: principals((v) => ({ remote_ip: match.cidr(v) })),
  directIp: principals((v) => ({ direct_remote_ip: match.cidr(v) })),
});

const FILTERS = 'experimental.envoy.filters.';
const HEADERS = 'request.headers[';
const CLAIMS = 'request.auth.claims[';

/** `[a]` → a, `[a][b]` → a and b; undefined for text without brackets around it. */
const inBrackets = (key: string, prefix: string): string | undefined =>
  key.endsWith(']') && key.length > prefix.length + 1 ? key.slice(prefix.length, -1) : undefined;

const whenAttributes = (rule: Rule, context: RuleContext) => {
  const out: { readonly permissions: Attribute<Permission>[]; readonly principals: Attribute<Principal>[] } = {
    permissions: [],
    principals: [],
  };
  for (const { key = '', values, notValues } of rule.when ?? []) {
    const permission = connectionAttribute(key);
    if (permission !== undefined) out.permissions.push(of(false, permission.matcher, values, notValues));
    else {
      const { httpOnly, matcher } = callerAttribute(key, context);
      out.principals.push(of(httpOnly, matcher, values, notValues));
    }
  }
  return out;
};

/** Of what is reached. */
const connectionAttribute = (key: string): Pick<Attribute<Permission>, 'matcher'> | undefined => {
  if (key === 'destination.ip') return { matcher: permissions((v) => ({ destination_ip: match.cidr(v) })) };
  if (key === 'destination.port') return { matcher: port };
  if (key === 'connection.sni') return { matcher: permissions((v) => ({ requested_server_name: match.stringMatcher(v) })) };
  if (!key.startsWith(FILTERS)) return undefined;
  const open = key.indexOf('[');
  const inner = open === -1 ? undefined : inBrackets(key, key.slice(0, open + 1));
  if (inner === undefined) return { matcher: undefined };
  const filter = key.slice('experimental.'.length, open);
  return { matcher: (values) => ({ metadata: match.filterMetadata(filter, inner, values) }) };
};

/** Of who calls, and with what request. */
const callerAttribute = (key: string, context: RuleContext): Pick<Attribute<Principal>, 'httpOnly' | 'matcher'> => {
  const by = sourceMatchers(context);
  const connection = new Map<string, Attribute<Principal>['matcher']>([
    ['source.ip', by.directIp],
    ['remote.ip', by.remoteIp],
    ['source.namespace', by.namespace],
    ['source.principal', by.principal],
    ['source.serviceAccount', by.serviceAccount],
    ['source.trustDomain', by.trustDomain],
  ]);
  if (connection.has(key)) return { httpOnly: false, matcher: connection.get(key) };
  if (key === 'request.auth.principal') return { httpOnly: true, matcher: match.requestPrincipals };
  if (key === 'request.auth.audiences') return { httpOnly: true, matcher: (v) => match.claim(['aud'], v) };
  if (key === 'request.auth.presenter') return { httpOnly: true, matcher: (v) => match.claim(['azp'], v) };
  const header = key.startsWith(HEADERS) ? inBrackets(key, HEADERS) : undefined;
  if (header !== undefined) return { httpOnly: true, matcher: principals((v) => ({ header: match.headerMatcher(header, v) })) };
  const claims = key.startsWith(CLAIMS) ? inBrackets(key, CLAIMS) : undefined;
  if (claims !== undefined) return { httpOnly: true, matcher: (v) => match.claim(claims.split(']['), v) };
  return { httpOnly: true, matcher: undefined };
};
