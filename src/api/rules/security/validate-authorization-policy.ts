// What Istio's webhook asks of an AuthorizationPolicy.

import type { Findings } from '../../findings.ts';
import { child, item } from '../../reading/field-path.ts';
import type { AuthorizationPolicy } from '../../specs.ts';
import { checkAttribute, checkPathTemplate, checkServiceAccount, checkTrustDomainMatch } from '../../values/authorization-value.ts';
import { checkSubnet } from '../../values/ip-text.ts';
import type { Check } from '../validate-context.ts';
import { checkTargets } from '../validate-target-ref.ts';

type Rule = NonNullable<AuthorizationPolicy['rules']>[number];
type Source = NonNullable<NonNullable<Rule['from']>[number]['source']>;
type Operation = NonNullable<NonNullable<Rule['to']>[number]['operation']>;

export const checkAuthorizationPolicy: Check<AuthorizationPolicy> = (spec, path, findings) => {
  const action = spec.action ?? 'ALLOW';
  checkTargets(spec, path, findings);
  if ((action === 'CUSTOM' || action === 'DENY') && !spec.rules?.length) {
    findings.error(
      path,
      `${action} action without \`rules\` is meaningless as it will never be triggered`,
      'add an empty rule {} to trigger it for every request',
    );
  }
  if (action === 'CUSTOM' && spec.rules !== undefined && !spec.provider?.name) findings.error(path, '`provider.name` must not be empty');
  if (action !== 'CUSTOM' && spec.provider)
    findings.error(child(path, 'provider'), `\`provider\` must not be with non CUSTOM action, found ${action}`);
  for (const [index, rule] of (spec.rules ?? []).entries()) {
    const at = item(child(path, 'rules'), index);
    checkRule(rule, at, findings);
    if (action === 'CUSTOM') checkCustomRule(rule, at, findings);
    if (action === 'DENY') warnDenyOfTcp(rule, at, findings);
  }
};

const checkRule = (rule: Rule, path: string, findings: Findings): void => {
  for (const side of ['from', 'to'] as const) {
    if (rule[side]?.length === 0) findings.error(child(path, side), `\`${side}\` must not be empty`);
  }
  for (const [index, from] of (rule.from ?? []).entries()) {
    const at = item(child(path, 'from'), index);
    if (!from.source) findings.error(at, '`from.source` must not be nil');
    else checkSource(from.source, child(at, 'source'), findings);
  }
  for (const [index, to] of (rule.to ?? []).entries()) {
    const at = item(child(path, 'to'), index);
    if (!to.operation) findings.error(at, '`to.operation` must not be nil');
    else checkOperation(to.operation, child(at, 'operation'), findings);
  }
  for (const [index, condition] of (rule.when ?? []).entries()) {
    const at = item(child(path, 'when'), index);
    const key = condition.key ?? '';
    if (key === '') findings.error(at, '`key` must not be empty');
    else if (!condition.values?.length && !condition.notValues?.length) {
      findings.error(at, `at least one of \`values\` or \`notValues\` must be set for key ${key}`);
    } else {
      for (const field of ['values', 'notValues'] as const) {
        const values = condition[field] ?? [];
        if (values.length > 0) findings.unless(child(at, field), checkAttribute(key, values));
      }
    }
  }
};

type Lists = { readonly [field: string]: readonly string[] | undefined };

/** Every list of the block: some value there, none of them empty. */
const checkLists = (lists: Lists, what: string, path: string, findings: Findings): void => {
  const filled = Object.entries(lists).filter(([, values]) => (values ?? []).length > 0);
  if (filled.length === 0) findings.error(path, `\`${what}\` must not be empty`);
  for (const [field, values] of filled) {
    for (const [index, value] of (values ?? []).entries()) {
      if (value === '') findings.error(item(child(path, field), index), 'empty value, found ""');
    }
  }
};

const each = (
  values: readonly string[] | undefined,
  path: string,
  findings: Findings,
  check: (value: string) => string | undefined,
): void => {
  for (const [index, value] of (values ?? []).entries()) if (value !== '') findings.unless(item(path, index), check(value));
};

const checkSource = (source: Source, path: string, findings: Findings): void => {
  checkLists(source, 'from.source', path, findings);
  for (const field of ['ipBlocks', 'notIpBlocks', 'remoteIpBlocks', 'notRemoteIpBlocks'] as const) {
    each(source[field], child(path, field), findings, checkSubnet);
  }
  for (const field of ['serviceAccounts', 'notServiceAccounts'] as const)
    each(source[field], child(path, field), findings, checkServiceAccount);
  for (const field of ['trustDomains', 'notTrustDomains'] as const)
    each(source[field], child(path, field), findings, checkTrustDomainMatch);
  const accounts = source.serviceAccounts ?? source.notServiceAccounts;
  const others = source.principals ?? source.notPrincipals ?? source.namespaces ?? source.notNamespaces;
  if (accounts && others)
    findings.error(path, 'Cannot set serviceAccounts with namespaces or principals', 'write the account as "namespace/name" alone');
};

const checkOperation = (operation: Operation, path: string, findings: Findings): void => {
  checkLists(operation, 'to.operation', path, findings);
  for (const field of ['ports', 'notPorts'] as const) {
    each(operation[field], child(path, field), findings, (port) => (isPortText(port) ? undefined : `invalid port ${port}`));
  }
  for (const field of ['paths', 'notPaths'] as const) each(operation[field], child(path, field), findings, checkPathTemplate);
};

const isPortText = (text: string): boolean => /^\d{1,5}$/.test(text) && Number(text) <= 65535;

/** An external authorizer runs before the checks that know identities and claims. */
const checkCustomRule = (rule: Rule, path: string, findings: Findings): void => {
  const refuse = (at: string, what: string): void => findings.error(at, `${what} is currently not supported with CUSTOM action`);
  const identities = [
    ...['namespaces', 'notNamespaces', 'principals', 'notPrincipals', 'requestPrincipals', 'notRequestPrincipals'],
    ...['serviceAccounts', 'notServiceAccounts', 'trustDomains', 'notTrustDomains'],
  ] as const;
  for (const [index, from] of (rule.from ?? []).entries()) {
    const source: Lists = from.source ?? {};
    for (const field of identities) {
      if ((source[field] ?? []).length > 0) refuse(child(item(child(path, 'from'), index), `source.${field}`), `from.${field}`);
    }
  }
  const keys = ['source.namespace', 'source.principal', 'source.serviceAccount', 'source.trustDomain'];
  for (const [index, { key = '' }] of (rule.when ?? []).entries()) {
    if (keys.includes(key) || key.startsWith('request.auth.')) refuse(item(child(path, 'when'), index), key);
  }
};

/** On a TCP port HTTP attributes of a DENY rule fall away and what is left denies more than was meant. */
const warnDenyOfTcp = (rule: Rule, path: string, findings: Findings): void => {
  const from = (rule.from ?? []).map((f) => f.source).filter((s) => s !== undefined);
  const to = (rule.to ?? []).map((t) => t.operation).filter((o) => o !== undefined);
  const httpOnly = (field: string): boolean => field === 'requestPrincipals' || field === 'notRequestPrincipals';
  const tcpInFrom = from.some((source) => Object.keys(source).some((field) => !httpOnly(field)));
  const tcpInTo = to.some((operation) => operation.ports !== undefined || operation.notPorts !== undefined);
  const onlyHttpFrom = from.length > 0 && to.length === 0 && !tcpInFrom;
  if (!onlyHttpFrom && !(to.length > 0 && !tcpInTo)) return;
  const message =
    'configured AuthorizationPolicy will deny all traffic to TCP ports under its scope due to the use of only HTTP attributes in a DENY rule';
  findings.warn(path, `${message}; it is recommended to explicitly specify the port`);
};
