// Values in authorization rules: keys of conditions, service accounts, trust domains, path templates. Failures in words, or undefined.

import { checkSubnet } from './ip-text.ts';

const free: ReadonlySet<string> = new Set([
  ...['source.namespace', 'source.principal', 'request.auth.principal', 'request.auth.audiences', 'request.auth.presenter'],
  'connection.sni',
]);
const subnets: ReadonlySet<string> = new Set(['source.ip', 'remote.ip', 'destination.ip']);

/** A condition's key and the values it is compared with. */
export const checkAttribute = (key: string, values: readonly string[]): string | undefined => {
  if (values.includes('')) return 'values must not be empty';
  if (free.has(key)) return undefined;
  if (subnets.has(key)) return first(values, checkSubnet);
  if (key === 'source.serviceAccount') return first(values, checkServiceAccount);
  if (key === 'source.trustDomain') return first(values, checkTrustDomainMatch);
  if (key === 'destination.port') {
    return first(values, (v) => (/^\d{1,5}$/.test(v) && Number(v) <= 65535 ? undefined : `invalid port ${v}`));
  }
  if (key.startsWith('request.headers') || key.startsWith('request.auth.claims')) return checkMapKey(key);
  // Envoy's own filter metadata: the name may have no key in brackets.
  if (key.startsWith('experimental.envoy.filters.')) return key.includes('[') ? checkMapKey(key) : undefined;
  return `unknown attribute: ${key}`;
};

const first = (values: readonly string[], check: (value: string) => string | undefined): string | undefined => {
  for (const value of values) {
    const failure = check(value);
    if (failure !== undefined) return failure;
  }
  return undefined;
};

const checkMapKey = (key: string): string | undefined => {
  const open = key.indexOf('[');
  return open !== -1 && key.endsWith(']') && key.length > open + 2 ? undefined : `bad key ${JSON.stringify(key)}: should be name[key]`;
};

/** `[namespace/]name`, no wildcards. */
export const checkServiceAccount = (text: string): string | undefined => {
  const parts = text.split('/');
  if (text.includes('*')) return `wildcards are not supported in service account ${JSON.stringify(text)}`;
  return parts.length <= 2 && !parts.includes('')
    ? undefined
    : `service account ${JSON.stringify(text)} must be "name" or "namespace/name"`;
};

/** One `*`, at the beginning or the end. */
export const checkTrustDomainMatch = (text: string): string | undefined => {
  if (text === '') return 'trust domain cannot be empty';
  if (text === '*') return undefined;
  const stars = text.split('*').length - 1;
  const valid = stars === 0 || (stars === 1 && (text.startsWith('*') || text.endsWith('*')));
  return valid ? undefined : `trust domain ${JSON.stringify(text)}: "*" is only supported at the beginning or the end`;
};

/** `{*}` is one segment, `{**}` all that follow; beside either only segments of plain path characters stand. */
export const checkPathTemplate = (path: string): string | undefined => {
  const template = path.includes('{*}') || path.includes('{**}');
  let rest = false;
  for (const segment of path.replace(/^\/+|\/+$/g, '').split('/')) {
    const wildcard = segment === '{*}' || segment === '{**}';
    if (wildcard && rest) return `invalid or unsupported path ${path}: {**} is not the last operator`;
    rest ||= segment === '{**}';
    if (wildcard) continue;
    if (/[{}]/.test(segment))
      return `invalid or unsupported path ${path}: contains '{' or '}', only {*} and {**} are supported as whole segments`;
    if (template && !pathCharacters.test(segment))
      return `invalid or unsupported path ${path}: segment ${JSON.stringify(segment)} beside {*} or {**} is not plain path text`;
  }
  return undefined;
};

/** Of RFC 3986's path characters all but `*`. */
const pathCharacters = /^[a-zA-Z0-9\-._~%!$&'()+,;:@=]+$/;
