// Policies and requests to be decided by them, for our filter and for a stock Envoy alike.
import type { HeaderMatcher, HttpFilter, Listener, Permission, Policy, Principal, Rbac_RBAC } from '../../src/xds/gen/types.ts';
import { hcm, listener, ROUTER } from './harness.ts';

export const RBAC = 'type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC';
export const RBAC_PER_ROUTE = 'type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute';
const TEMPLATE = 'type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig';

export const rbac = (config: object): HttpFilter => ({ name: 'envoy.filters.http.rbac', typed_config: { '@type': RBAC, ...config } });
export const ANY = { any: true } as const;
export const policy = (permission: Permission, principal: Principal = ANY): Policy => ({
  permissions: [permission],
  principals: [principal],
});
const header = (matcher: HeaderMatcher): Permission => ({ header: { name: 'x', ...matcher } });
const path = (exact: string): Permission => ({ url_path: { path: { exact } } });
const template = (path_template: string): Permission => ({
  uri_template: { name: 'envoy.path.match.uri_template.uri_template_matcher', typed_config: { '@type': TEMPLATE, path_template } },
});
const range = (address_prefix: string, prefix_len: number) => ({ address_prefix, prefix_len });

export interface RbacRequest {
  readonly path: string;
  readonly method?: string;
  readonly headers?: readonly string[];
}

export interface RbacCase {
  readonly name: string;
  readonly rules: Rbac_RBAC;
  readonly requests: readonly RbacRequest[];
}

const one = (permission: Permission, principal?: Principal): Rbac_RBAC => ({ policies: { p: policy(permission, principal) } });
const at = (...paths: readonly string[]): RbacRequest[] => paths.map((p) => ({ path: p }));
const xs = (...values: readonly (readonly string[])[]): RbacRequest[] =>
  values.map((all) => ({ path: '/', headers: all.map((v) => `x: ${v}`) }));

export const RBAC_TABLE: readonly RbacCase[] = [
  { name: 'nothing allowed', rules: {}, requests: at('/') },
  { name: 'nothing denied', rules: { action: 'DENY' }, requests: at('/') },
  { name: 'path', rules: one(path('/a')), requests: at('/a', '/a?b=/c', '/a/', '/A', '/b', '/a%2f') },
  {
    name: 'first by name',
    rules: { action: 'DENY', policies: { 'b b': policy(path('/a')), 'B\tz': policy(ANY), a: policy(path('/a')) } },
    requests: at('/a', '/b'),
  },
  {
    name: 'one exact value of several',
    rules: one(header({ string_match: { exact: 'a' } })),
    requests: xs(['a', 'b'], ['b', 'a'], ['a,b'], []),
  },
  { name: 'values are not joined', rules: one(header({ string_match: { exact: 'a,b' } })), requests: xs(['a', 'b'], ['a,b']) },
  {
    name: 'inverted',
    rules: one(header({ string_match: { exact: 'a' }, invert_match: true })),
    requests: xs(['a', 'b'], ['c', 'b'], []),
  },
  { name: 'absent', rules: one(header({ present_match: true, invert_match: true })), requests: xs([], ['']) },
  { name: 'not', rules: one({ not_rule: header({ present_match: true }) }), requests: xs([], ['1']) },
  {
    name: 'method',
    rules: one(header({ name: ':method', string_match: { exact: 'GET' } })),
    requests: [{ path: '/' }, { path: '/', method: 'PUT' }],
  },
  {
    name: 'authority',
    rules: one(header({ name: ':authority', string_match: { exact: 'A.TEST', ignore_case: true } })),
    requests: at('/'),
  },
  {
    name: 'all and any',
    rules: one({ and_rules: { rules: [ANY, { or_rules: { rules: [path('/a'), path('/b')] } }, header({ present_match: true })] } }),
    requests: [...at('/a', '/b'), { path: '/a', headers: ['x: 1'] }, { path: '/b', headers: ['x: 1'] }, { path: '/c', headers: ['x: 1'] }],
  },
  {
    name: 'template',
    rules: one(template('/a/*/b/**')),
    requests: at('/a/x/b/c/d', '/a/x/b', '/a/x/b/', '/a/x/b/c?q', '/a//b/c', '/a/x/y/b/c', '/a/x|/b/'),
  },
  { name: 'template with an ending', rules: one(template('/**.mpd')), requests: at('/x.mpd', '/a/b.mpd', '/.mpd', '/a.mpd/b', '/mpd') },
  { name: 'template of variables', rules: one(template('/a/{x=b/*}/{y}')), requests: at('/a/b/q/r', '/a/b/q', '/a/c/q/r') },
  { name: 'template behind **', rules: one(template('/a/**/b')), requests: at('/a/x/b', '/a/b', '/a/x/y/b', '/a/x/b/c', '/a//b') },
  { name: 'source', rules: one(ANY, { source_ip: range('127.0.0.0', 8) }), requests: at('/') },
  { name: 'another source', rules: one(ANY, { direct_remote_ip: range('10.0.0.0', 8) }), requests: at('/') },
  {
    name: 'forwarded for',
    rules: one(ANY, { and_ids: { ids: [{ remote_ip: range('9.9.9.0', 24) }, { not_id: { direct_remote_ip: range('9.9.9.0', 24) } }] } }),
    requests: [
      { path: '/' },
      { path: '/', headers: ['x-forwarded-for: 9.9.9.9'] },
      { path: '/', headers: ['x-forwarded-for: 9.9.9.9, 1.1.1.1'] },
    ],
  },
  { name: 'six', rules: one({ destination_ip: range('::', 0) }), requests: at('/') },
  { name: 'destination', rules: one({ destination_ip: range('127.0.0.1', 32) }), requests: at('/') },
  { name: 'ports', rules: one({ destination_port_range: { start: 1, end: 65_536 } }), requests: at('/') },
  { name: 'no such port', rules: one({ destination_port: 1 }), requests: at('/') },
  { name: 'no identity on plain text', rules: one(ANY, { authenticated: {} }), requests: at('/') },
  { name: 'no server name', rules: one({ requested_server_name: { exact: '' } }), requests: at('/') },
  {
    name: 'metadata that is not there',
    rules: one({ metadata: { filter: 'f', path: [{ key: 'k' }], value: { present_match: true }, invert: true } }),
    requests: at('/'),
  },
  {
    name: 'metadata of the route',
    rules: one({
      sourced_metadata: {
        metadata_source: 'ROUTE',
        metadata_matcher: { filter: 'f', path: [{ key: 'k' }], value: { string_match: { exact: 'v' } } },
      },
    }),
    requests: at('/', '/m', '/none/x'),
  },
  { name: 'logged', rules: { action: 'LOG', policies: { p: policy(path('/a')) } }, requests: at('/a', '/b') },
];

/** A listener a case; requests below /none lead nowhere. */
export const rbacListeners = (cluster: string): Listener[] =>
  RBAC_TABLE.map(({ name, rules }) =>
    listener(
      name,
      hcm(
        [
          { match: { prefix: '/m' }, route: { cluster }, metadata: { filter_metadata: { f: { k: 'v' } } } },
          { match: { safe_regex: { regex: '/([^n].*)?' } }, route: { cluster } },
        ],
        { http_filters: [rbac({ rules }), ROUTER], use_remote_address: true, xff_num_trusted_hops: 1 },
      ),
    ),
  );
