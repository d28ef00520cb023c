// What Istio's webhook asks of a RequestAuthentication.

import type { Findings } from '../../findings.ts';
import { child, item } from '../../reading/field-path.ts';
import type { RequestAuthentication } from '../../specs.ts';
import { checkDuration } from '../../values/duration-text.ts';
import { checkStrictHeaderName } from '../../values/header-text.ts';
import { checkPort } from '../../values/host-name.ts';
import { asKeySet, readableKeys } from '../../values/web-key.ts';
import type { Check } from '../validate-context.ts';
import { checkTargets } from '../validate-target-ref.ts';

type JwtRule = NonNullable<RequestAuthentication['jwtRules']>[number];

export const checkRequestAuthentication: Check<RequestAuthentication> = (spec, path, findings) => {
  checkTargets(spec, path, findings);
  for (const [index, rule] of (spec.jwtRules ?? []).entries()) checkJwtRule(rule, item(child(path, 'jwtRules'), index), findings);
};

const checkJwtRule = (rule: JwtRule, path: string, findings: Findings): void => {
  if (!rule.issuer && !rule.jwksUri) findings.error(path, 'issuer or jwksUri must be set');
  checkNotEmpty(rule.audiences, child(path, 'audiences'), findings, 'audience');
  checkNotEmpty(rule.fromParams, child(path, 'fromParams'), findings, 'location query');
  checkNotEmpty(rule.fromCookies, child(path, 'fromCookies'), findings, 'cookie name');
  checkNotEmpty(rule.spaceDelimitedClaims, child(path, 'spaceDelimitedClaims'), findings, 'claim name');
  if (rule.jwksUri) findings.unless(child(path, 'jwksUri'), checkJwksUri(rule.jwksUri));
  if (rule.jwks) checkJwks(rule.jwks, child(path, 'jwks'), findings);
  for (const [index, header] of (rule.fromHeaders ?? []).entries()) {
    if (!header.name) findings.error(item(child(path, 'fromHeaders'), index), 'location header name must be non-empty string');
  }
  for (const [index, output] of (rule.outputClaimToHeaders ?? []).entries()) {
    const at = item(child(path, 'outputClaimToHeaders'), index);
    if (!output.claim || !output.header) findings.error(at, 'outputClaimToHeaders header and claim value must be non-empty string');
    else findings.unless(child(at, 'header'), checkStrictHeaderName(output.header));
  }
  if (rule.timeout !== undefined) findings.unless(child(path, 'timeout'), checkDuration(rule.timeout));
};

const checkNotEmpty = (values: readonly string[] | undefined, path: string, findings: Findings, what: string): void => {
  for (const [index, value] of (values ?? []).entries())
    if (value === '') findings.error(item(path, index), `${what} must be non-empty string`);
};

/** A password in the address is repeated by no message. */
export const checkJwksUri = (text: string): string | undefined => {
  if (/^https?:\/\/[^/?#]*:[^/?#]*@/.test(text)) return 'an address may not hold a password';
  const found = /^(https?):\/\/(\[[^\]]+\]|[^/:?#\s]+)(?::([^/?#]*))?(?:[/?#]\S*)?$/.exec(text);
  if (!found) return `${JSON.stringify(text)} is not an http:// or https:// address`;
  const port = found[3];
  return port === undefined || (/^\d+$/.test(port) && checkPort(Number(port)) === undefined)
    ? undefined
    : `invalid port ${JSON.stringify(port)}`;
};

const checkJwks = (text: string, path: string, findings: Findings): void => {
  const read = readableKeys(text);
  if (read === undefined) {
    findings.error(path, 'not a JSON web key set');
    return;
  }
  const { keys, unreadable } = read;
  if (keys === undefined) {
    const message = `no key that a proxy can read${unreadable === undefined ? '' : ` (${unreadable})`}`;
    findings.error(path, message, 'a proxy would refuse everything that listens at the workload along with the set');
  } else if (unreadable !== undefined) findings.warn(path, `keys that no proxy can read are left out (${unreadable})`);
  if (holdsPrivate(text)) findings.warn(path, 'the key set contains private keys', 'only public keys belong into a policy');
};

/** Of a text that is a key set or one key. */
const holdsPrivate = (text: string): boolean => {
  const { keys } = JSON.parse(asKeySet(text)) as { readonly keys: readonly unknown[] };
  return keys.some((key) => typeof key === 'object' && key !== null && ('d' in key || 'k' in key));
};
