// Decides a request by Envoy's RBAC filters as Envoy does: the first filter that denies ends it. Only what our policies can contain.

import { isIP, isIPv4 } from 'node:net';
import { inRange } from '../../../src/mesh/cidr.ts';
import type {
  CidrRange,
  HeaderMatcher,
  HttpFilter,
  HttpRbac_RBAC,
  Matcher_StringMatcher,
  MetadataMatcher,
  Permission,
  Principal,
  Rbac_RBAC,
  ValueMatcher,
} from '../../../src/xds/gen/types.ts';
import { type Row, row, text } from './case.ts';

type Request = Row;

const stringMatches = (m: Matcher_StringMatcher, value: string): boolean => {
  const fold = (s: string): string => (m.ignore_case === true ? s.toLowerCase() : s);
  const v = fold(value);
  if (m.exact !== undefined) return v === fold(m.exact);
  if (m.prefix !== undefined) return v.startsWith(fold(m.prefix));
  if (m.suffix !== undefined) return v.endsWith(fold(m.suffix));
  if (m.safe_regex !== undefined) return new RegExp(`^(?:${m.safe_regex.regex})$`, 's').test(value);
  throw new Error(`no such string matcher: ${JSON.stringify(m)}`);
};

const headerOf = (request: Request, name: string): string | undefined => {
  if (name === ':authority') return request['host'] === undefined ? undefined : text(request['host']);
  if (name === ':method') return request['method'] === undefined ? undefined : text(request['method']);
  const found = Object.entries(row(request['headers'])).find(([k]) => k.toLowerCase() === name.toLowerCase());
  return found === undefined ? undefined : String(found[1]);
};

const headerMatches = (m: HeaderMatcher, request: Request): boolean => {
  const value = headerOf(request, m.name ?? '');
  if (m.present_match === true) return value !== undefined;
  return value !== undefined && stringMatches(m.string_match ?? {}, value);
};

const addressIn = (range: CidrRange, address: unknown): boolean => {
  const ip = text(address);
  const prefix = range.address_prefix ?? '';
  return isIP(ip) !== 0 && isIPv4(ip) === isIPv4(prefix) && inRange(ip, `${prefix}/${range.prefix_len ?? 0}`);
};

const valueMatches = (m: ValueMatcher, value: unknown): boolean => {
  if (m.or_match !== undefined) return (m.or_match.value_matchers ?? []).some((v) => valueMatches(v, value));
  const { list_match: list, string_match: string } = m;
  if (list !== undefined) return Array.isArray(value) && value.some((v) => valueMatches(list.one_of ?? {}, v));
  return string !== undefined && typeof value === 'string' && stringMatches(string, value);
};

const metadataMatches = (m: MetadataMatcher, request: Request): boolean => {
  const filters: Row = { 'envoy.filters.http.jwt_authn': { payload: request['jwt'] }, ...row(request['metadata']) };
  let at: unknown = filters[m.filter ?? ''];
  for (const { key = '' } of m.path ?? []) at = row(at)[key];
  return at !== undefined && valueMatches(m.value ?? {}, at);
};

/** `*` is one segment, `**` what follows or leads. */
const templateMatches = (template: string, path: string): boolean => {
  const parts = template.split('/').map((s) => (s === '**' ? '.*' : s === '*' ? '[^/]+' : s.replace(/[\\.+*?()|[\]{}^$]/g, '\\$&')));
  return new RegExp(`^${parts.join('/')}$`).test(path);
};

const pathOf = (request: Request): string | undefined =>
  request['path'] === undefined ? undefined : text(request['path']).split(/[?#]/, 1)[0];

const permissionMatches = (p: Permission, request: Request): boolean => {
  if (p.any === true) return true;
  if (p.and_rules !== undefined) return (p.and_rules.rules ?? []).every((r) => permissionMatches(r, request));
  if (p.or_rules !== undefined) return (p.or_rules.rules ?? []).some((r) => permissionMatches(r, request));
  if (p.not_rule !== undefined) return !permissionMatches(p.not_rule, request);
  if (p.header !== undefined) return headerMatches(p.header, request);
  if (p.destination_port !== undefined) return request['destinationPort'] === p.destination_port;
  if (p.destination_ip !== undefined) return addressIn(p.destination_ip, request['destinationIP']);
  if (p.metadata !== undefined) return metadataMatches(p.metadata, request);
  if (p.requested_server_name !== undefined) return stringMatches(p.requested_server_name, text(request['sni']));
  const path = pathOf(request);
  if (p.url_path !== undefined) return path !== undefined && stringMatches(p.url_path.path ?? {}, path);
  if (p.uri_template !== undefined) {
    return path !== undefined && templateMatches(text(row(p.uri_template.typed_config)['path_template']), path);
  }
  throw new Error(`no such permission: ${JSON.stringify(p)}`);
};

export const principalMatches = (p: Principal, request: Request): boolean => {
  if (p.any === true) return true;
  if (p.and_ids !== undefined) return (p.and_ids.ids ?? []).every((i) => principalMatches(i, request));
  if (p.or_ids !== undefined) return (p.or_ids.ids ?? []).some((i) => principalMatches(i, request));
  if (p.not_id !== undefined) return !principalMatches(p.not_id, request);
  if (p.authenticated !== undefined) {
    const id = request['peerPrincipal'];
    return typeof id === 'string' && stringMatches(p.authenticated.principal_name ?? {}, id);
  }
  if (p.header !== undefined) return headerMatches(p.header, request);
  if (p.remote_ip !== undefined) return addressIn(p.remote_ip, request['remoteIP']);
  if (p.direct_remote_ip !== undefined) return addressIn(p.direct_remote_ip, request['sourceIP']);
  if (p.metadata !== undefined) return metadataMatches(p.metadata, request);
  throw new Error(`no such principal: ${JSON.stringify(p)}`);
};

/** The policy that matches, in order of name. */
const matched = (rules: Rbac_RBAC, request: Request): string | undefined =>
  Object.entries(rules.policies ?? {})
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .find(
      ([, p]) =>
        (p.permissions ?? []).some((x) => permissionMatches(x, request)) && (p.principals ?? []).some((x) => principalMatches(x, request)),
    )?.[0];

export interface RbacDecision {
  readonly decision: 'ALLOW' | 'DENY';
  readonly dryRun: Readonly<Record<string, 'allowed' | 'denied'>>;
  readonly audit: boolean;
  readonly extAuthzTriggered: boolean;
}

export const decide = (filters: readonly HttpFilter[], request: Request): RbacDecision => {
  let denied = false;
  let audit = false;
  let extAuthzTriggered = false;
  const dryRun: Record<string, 'allowed' | 'denied'> = {};
  for (const f of filters) {
    const config = f.typed_config as unknown as HttpRbac_RBAC & { readonly '@type': string };
    if (denied || !config['@type'].endsWith('rbac.v3.RBAC')) continue;
    const { rules, shadow_rules: shadow, shadow_rules_stat_prefix: prefix = '' } = config;
    if (shadow !== undefined) {
      const hit = matched(shadow, request) !== undefined;
      if (prefix.startsWith('istio_ext_authz')) extAuthzTriggered ||= hit;
      else dryRun[shadow.action === 'DENY' ? 'DENY' : 'ALLOW'] = hit === (shadow.action !== 'DENY') ? 'allowed' : 'denied';
    }
    if (rules === undefined) continue;
    const hit = matched(rules, request) !== undefined;
    if (rules.action === 'LOG') audit ||= hit;
    else denied = rules.action === 'DENY' ? hit : !hit;
  }
  return { decision: denied ? 'DENY' : 'ALLOW', dryRun, audit, extAuthzTriggered };
};
