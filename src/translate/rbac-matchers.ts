// Values of authorization rules as Envoy's matchers. Strings: exact, `prefix*`, `*suffix`, `*` for anything that is there; a `*`
// elsewhere means itself, but in namespaces, where it stands for any characters.

import { parseRange } from '../mesh/cidr.ts';
import type {
  CidrRange,
  HeaderMatcher,
  Matcher_StringMatcher,
  MetadataMatcher,
  Permission,
  Principal,
  ValueMatcher,
} from '../xds/gen/types.ts';

const JWT_FILTER = 'envoy.filters.http.jwt_authn';
const SPIFFE = 'spiffe://';
const NOT_EMPTY: Matcher_StringMatcher = { safe_regex: { regex: '.+' } };

const quoted = (text: string): string => text.replace(/[\\.+*?()|[\]{}^$]/g, '\\$&');

export const stringMatcher = (value: string): Matcher_StringMatcher => {
  if (value === '*') return NOT_EMPTY;
  if (value.startsWith('*')) return { suffix: value.slice(1) };
  return value.endsWith('*') ? { prefix: value.slice(0, -1) } : { exact: value };
};

export const headerMatcher = (name: string, value: string, ignoreCase = false): HeaderMatcher =>
  value === '*'
    ? { name, present_match: true }
    : { name, string_match: { ...stringMatcher(value), ...(ignoreCase ? { ignore_case: true } : {}) } };

export const cidr = (text: string): CidrRange => {
  const { address, length } = parseRange(text);
  return { address_prefix: address, prefix_len: length };
};

export const path = (value: string): Permission => {
  if (!value.includes('{*}') && !value.includes('{**}')) return { url_path: { path: stringMatcher(value) } };
  return {
    uri_template: {
      name: 'uri-template',
      typed_config: {
        '@type': 'type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig',
        path_template: value.replaceAll('{*}', '*').replaceAll('{**}', '**'),
      },
    },
  };
};

const authenticated = (principal: Matcher_StringMatcher): Principal => ({ authenticated: { principal_name: principal } });
const authenticatedAs = (regex: string): Principal => authenticated({ safe_regex: { regex } });

/** The identity of the connection's peer; `*` asks for any, so for mutual TLS. */
export const principal = (value: string): Principal => {
  if (value === '*') return authenticated(NOT_EMPTY);
  if (value.startsWith('*')) return authenticatedAs(`${SPIFFE}.*${quoted(value.slice(1))}`);
  return authenticated(value.endsWith('*') ? { prefix: SPIFFE + value.slice(0, -1) } : { exact: SPIFFE + value });
};

export const sourceNamespace = (value: string): Principal => authenticatedAs(`.*/ns/${value.split('*').map(quoted).join('.*')}/.*`);

/** `[namespace/]account`; without a namespace that of the policy is meant. */
export const serviceAccount = (value: string, policyNamespace: string): Principal => {
  const [first = '', second] = value.split('/');
  const [namespace, account] = second === undefined ? [policyNamespace, first] : [first, second];
  return authenticatedAs(`${SPIFFE}.+/ns/${quoted(namespace)}/(.+/|)sa/${quoted(account)}(/.+)?`);
};

export const trustDomain = (value: string): Principal => {
  if (value === '*') return authenticated(NOT_EMPTY);
  if (value.startsWith('*')) return authenticatedAs(`${SPIFFE}[^/]*${quoted(value.slice(1))}/.*`);
  return authenticated({ prefix: value.endsWith('*') ? SPIFFE + value.slice(0, -1) : `${SPIFFE}${value}/` });
};

const anyValue = (values: readonly ValueMatcher[]): ValueMatcher =>
  values.length === 1 && values[0] !== undefined ? values[0] : { or_match: { value_matchers: values } };

const stringValues = (values: readonly string[]): ValueMatcher => anyValue(values.map((v) => ({ string_match: stringMatcher(v) })));

const payload = (claim: readonly string[], value: ValueMatcher): MetadataMatcher => ({
  filter: JWT_FILTER,
  path: ['payload', ...claim].map((key) => ({ key })),
  value,
});

/** A claim is a string or a list of strings; numbers and truth values equal nothing. */
export const claim = (names: readonly string[], values: readonly string[]): Principal => {
  const one = stringValues(values);
  return { metadata: payload(names, { or_match: { value_matchers: [{ list_match: { one_of: one } }, one] } }) };
};

/** `issuer/subject`, parted at the last slash; what stands before or after a `*` leaves the other half free. */
const requestPrincipal = (value: string): Principal => {
  const [issuer, subject] = issuerAndSubject(value);
  const both = [payload(['iss'], { string_match: issuer }), payload(['sub'], { string_match: subject })];
  return { and_ids: { ids: both.map((metadata) => ({ metadata })) } };
};

const issuerAndSubject = (value: string): readonly [issuer: Matcher_StringMatcher, subject: Matcher_StringMatcher] => {
  if (value === '*') return [NOT_EMPTY, NOT_EMPTY];
  const slash = value.lastIndexOf('/');
  const found = slash !== -1;
  const issuer = found ? value.slice(0, slash) : value;
  const subject = found ? value.slice(slash + 1) : '';
  if (value.startsWith('*')) {
    return found ? [stringMatcher(issuer), { exact: subject }] : [NOT_EMPTY, stringMatcher(value)];
  }
  if (value.endsWith('*')) {
    return found ? [{ exact: issuer }, stringMatcher(subject)] : [stringMatcher(value), NOT_EMPTY];
  }
  return [{ exact: issuer }, { exact: subject }];
};

export const requestPrincipals = (values: readonly string[]): Principal => {
  const each = values.map(requestPrincipal);
  return each.length === 1 && each[0] !== undefined ? each[0] : { or_ids: { ids: each } };
};

/** Any filter's metadata; a value in brackets asks for an element of a list. */
export const filterMetadata = (filter: string, key: string, values: readonly string[]): MetadataMatcher => ({
  filter,
  path: [{ key }],
  value: anyValue(
    values.map((v) =>
      v.startsWith('[') && v.endsWith(']')
        ? { list_match: { one_of: { string_match: stringMatcher(v.slice(1, -1)) } } }
        : { string_match: stringMatcher(v) },
    ),
  ),
});
