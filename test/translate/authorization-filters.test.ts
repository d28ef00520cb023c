// Authorization policies as Envoy's filters: every attribute and value form of the API, in HTTP and on plain connections.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ofKind } from '../../src/api/resource.ts';
import { err, ok, type Result } from '../../src/base/result.ts';
import { buildAuthorization } from '../../src/mesh/authorization.ts';
import { authorizationFilters, externalFilters } from '../../src/translate/authorization-filters.ts';
import type { ExternalAuthorizer } from '../../src/translate/external-authorization.ts';
import { expandPrincipals } from '../../src/translate/trust-domains.ts';
import type { HttpFilter, HttpRbac_RBAC, Permission, Principal } from '../../src/xds/gen/types.ts';
import { decide } from '../conformance/corpora/rbac-engine.ts';
import { resourcesOf } from './mesh-fixture.ts';

type Build = typeof authorizationFilters;

const authorizer: ExternalAuthorizer = { http: { stat_prefix: 'asked' }, tcp: { stat_prefix: 'asked' } };

interface Options {
  readonly tcp?: boolean;
  readonly domains?: readonly string[];
  readonly authorizer?: (name: string) => Result<ExternalAuthorizer, string>;
}

const built = (build: Build, policies: readonly string[], o: Options = {}): readonly HttpFilter[] => {
  const yaml = policies.map((p) => `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n${p}\n---\n`).join('');
  const mine = buildAuthorization(ofKind(resourcesOf(yaml), 'AuthorizationPolicy'), 'root').forWorkload({ namespace: 'ns', labels: {} });
  const context = { trustDomains: o.domains ?? ['cluster.local'], authorizer: o.authorizer ?? (() => ok(authorizer)) };
  return build(mine, o.tcp ?? false, context);
};

const policy = (spec: string, name = 'p', annotation = ''): string =>
  `metadata: {name: ${name}, namespace: ns${annotation === '' ? '' : `, annotations: {istio.io/dry-run: "${annotation}"}`}}\nspec: ${spec}`;

const configOf = (f: HttpFilter | undefined) => f?.typed_config as unknown as HttpRbac_RBAC & { readonly stat_prefix?: string };

const onlyRule = (rule: string, o: Options = {}) => {
  const [filter] = built(authorizationFilters, [policy(`{rules: [${rule}]}`)], o);
  return Object.values(configOf(filter).rules?.policies ?? {})[0];
};

const permission = (rule: string): Permission | undefined => onlyRule(rule)?.permissions?.[0]?.and_rules?.rules?.[0];
const principal = (rule: string, o: Options = {}): Principal | undefined => onlyRule(rule, o)?.principals?.[0]?.and_ids?.ids?.[0];

const id = (matcher: object) => ({ authenticated: { principal_name: matcher } });
const regex = (text: string) => ({ safe_regex: { regex: text } });
const claim = (path: readonly string[], value: object) => ({
  metadata: { filter: 'envoy.filters.http.jwt_authn', path: ['payload', ...path].map((key) => ({ key })), value },
});
const anyOf = (...values: readonly object[]) => ({ or_match: { value_matchers: values } });
const eq = (exact: string) => ({ string_match: { exact } });

test('what an operation asks for', () => {
  const cases: readonly (readonly [string, unknown])[] = [
    ['hosts: [a.com]', { header: { name: ':authority', string_match: { exact: 'a.com', ignore_case: true } } }],
    ['hosts: ["*.b.com"]', { header: { name: ':authority', string_match: { suffix: '.b.com', ignore_case: true } } }],
    ['hosts: ["c:*"]', { header: { name: ':authority', string_match: { prefix: 'c:', ignore_case: true } } }],
    ['hosts: ["*"]', { header: { name: ':authority', present_match: true } }],
    ['methods: [GET]', { header: { name: ':method', string_match: { exact: 'GET' } } }],
    ['methods: ["P*"]', { header: { name: ':method', string_match: { prefix: 'P' } } }],
    ['paths: [/a]', { url_path: { path: { exact: '/a' } } }],
    ['paths: ["/a*"]', { url_path: { path: { prefix: '/a' } } }],
    ['paths: ["*/z"]', { url_path: { path: { suffix: '/z' } } }],
    ['paths: ["/a/*/b"]', { url_path: { path: { exact: '/a/*/b' } } }],
    ['paths: ["*"]', { url_path: { path: regex('.+') } }],
    [
      'paths: ["/a/{*}/b/{**}"]',
      {
        uri_template: {
          name: 'uri-template',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig',
            path_template: '/a/*/b/**',
          },
        },
      },
    ],
    ['ports: ["8080"]', { destination_port: 8080 }],
  ];
  for (const [operation, want] of cases) {
    assert.deepEqual(permission(`{to: [{operation: {${operation}}}]}`), { or_rules: { rules: [want] } }, operation);
    const not = `not${operation[0]?.toUpperCase()}${operation.slice(1)}`;
    assert.deepEqual(permission(`{to: [{operation: {${not}}}]}`), { not_rule: { or_rules: { rules: [want] } } }, not);
  }
});

test('what a source asks for', () => {
  const cases: readonly (readonly [string, unknown])[] = [
    ['principals: ["td/ns/a/sa/b"]', id({ exact: 'spiffe://td/ns/a/sa/b' })],
    ['principals: ["td/ns/a/*"]', id({ prefix: 'spiffe://td/ns/a/' })],
    ['principals: ["*/sa/b.c"]', id(regex('spiffe://.*/sa/b\\.c'))],
    ['principals: ["*"]', id(regex('.+'))],
    ['namespaces: [a]', id(regex('.*/ns/a/.*'))],
    ['namespaces: ["a*b.c"]', id(regex('.*/ns/a.*b\\.c/.*'))],
    ['serviceAccounts: [sa]', id(regex('spiffe://.+/ns/ns/(.+/|)sa/sa(/.+)?'))],
    ['serviceAccounts: [other/s.a]', id(regex('spiffe://.+/ns/other/(.+/|)sa/s\\.a(/.+)?'))],
    ['trustDomains: [evil]', id({ prefix: 'spiffe://evil/' })],
    ['trustDomains: ["ev*"]', id({ prefix: 'spiffe://ev' })],
    ['trustDomains: ["*il"]', id(regex('spiffe://[^/]*il/.*'))],
    ['ipBlocks: [10.0.0.0/8]', { direct_remote_ip: { address_prefix: '10.0.0.0', prefix_len: 8 } }],
    ['ipBlocks: ["2001:db8::1"]', { direct_remote_ip: { address_prefix: '2001:db8::1', prefix_len: 128 } }],
    ['remoteIpBlocks: [1.2.3.4]', { remote_ip: { address_prefix: '1.2.3.4', prefix_len: 32 } }],
  ];
  for (const [source, want] of cases) {
    assert.deepEqual(principal(`{from: [{source: {${source}}}]}`), { or_ids: { ids: [want] } }, source);
    const not = `not${source[0]?.toUpperCase()}${source.slice(1)}`;
    assert.deepEqual(principal(`{from: [{source: {${not}}}]}`), { not_id: { or_ids: { ids: [want] } } }, not);
  }
});

test('a request principal is issuer and subject, parted at the last slash', () => {
  const some = { string_match: regex('.+') };
  const cases: readonly (readonly [string, object, object])[] = [
    ['https://i/s', eq('https://i'), eq('s')],
    ['*', some, some],
    ['https://i/*', eq('https://i'), some],
    ['*/s', some, eq('s')],
    ['*s', some, { string_match: { suffix: 's' } }],
    ['i*', { string_match: { prefix: 'i' } }, some],
    ['https://i*', eq('https:/'), { string_match: { prefix: 'i' } }],
    ['i', eq('i'), eq('')],
  ];
  for (const [value, issuer, subject] of cases) {
    const want = { and_ids: { ids: [claim(['iss'], issuer), claim(['sub'], subject)] } };
    assert.deepEqual(principal(`{from: [{source: {requestPrincipals: ["${value}"]}}]}`), want, value);
    assert.deepEqual(principal(`{when: [{key: request.auth.principal, values: ["${value}"]}]}`), want, value);
  }
});

test('what a condition asks of the caller', () => {
  const one = (value: object) => anyOf({ list_match: { one_of: value } }, value);
  const cases: readonly (readonly [string, string, unknown])[] = [
    ['request.headers[X-A]', 'v', { or_ids: { ids: [{ header: { name: 'X-A', string_match: { exact: 'v' } } }] } }],
    ['request.headers[x-a]', '*', { or_ids: { ids: [{ header: { name: 'x-a', present_match: true } }] } }],
    ['source.ip', '10.0.0.1', { or_ids: { ids: [{ direct_remote_ip: { address_prefix: '10.0.0.1', prefix_len: 32 } }] } }],
    ['remote.ip', '10.0.0.1', { or_ids: { ids: [{ remote_ip: { address_prefix: '10.0.0.1', prefix_len: 32 } }] } }],
    ['source.namespace', 'a', { or_ids: { ids: [id(regex('.*/ns/a/.*'))] } }],
    ['source.principal', 'td/x', { or_ids: { ids: [id({ exact: 'spiffe://td/x' })] } }],
    ['source.serviceAccount', 'a/b', { or_ids: { ids: [id(regex('spiffe://.+/ns/a/(.+/|)sa/b(/.+)?'))] } }],
    ['source.trustDomain', 'td', { or_ids: { ids: [id({ prefix: 'spiffe://td/' })] } }],
    ['request.auth.audiences', 'aud', claim(['aud'], one(eq('aud')))],
    ['request.auth.presenter', 'azp', claim(['azp'], one(eq('azp')))],
    ['request.auth.claims[a][b c]', 'v', claim(['a', 'b c'], one(eq('v')))],
    ['request.auth.claims[groups]', '*', claim(['groups'], one({ string_match: regex('.+') }))],
  ];
  for (const [key, value, want] of cases) {
    assert.deepEqual(principal(`{when: [{key: "${key}", values: ["${value}"]}]}`), want, key);
    assert.deepEqual(principal(`{when: [{key: "${key}", notValues: ["${value}"]}]}`), { not_id: want }, key);
  }
});

test('what a condition asks of the connection', () => {
  const cases: readonly (readonly [string, string, unknown])[] = [
    ['destination.ip', '10.0.0.0/8', { or_rules: { rules: [{ destination_ip: { address_prefix: '10.0.0.0', prefix_len: 8 } }] } }],
    ['destination.port', '80', { or_rules: { rules: [{ destination_port: 80 }] } }],
    ['connection.sni', '*.a', { or_rules: { rules: [{ requested_server_name: { suffix: '.a' } }] } }],
    ['experimental.envoy.filters.a.b[c]', 'v', { metadata: { filter: 'envoy.filters.a.b', path: [{ key: 'c' }], value: eq('v') } }],
    [
      'experimental.envoy.filters.a.b[c]',
      '[v]',
      { metadata: { filter: 'envoy.filters.a.b', path: [{ key: 'c' }], value: { list_match: { one_of: eq('v') } } } },
    ],
  ];
  for (const [key, value, want] of cases) {
    assert.deepEqual(permission(`{when: [{key: "${key}", values: ["${value}"]}]}`), want, key);
    assert.deepEqual(permission(`{when: [{key: "${key}", notValues: ["${value}"]}]}`), { not_rule: want }, key);
  }
});

const request = {
  method: 'GET',
  host: 'a.com',
  path: '/',
  destinationPort: 80,
  sourceIP: '10.0.0.1',
  peerPrincipal: 'spiffe://cluster.local/ns/a/sa/b',
};
const decision = (policies: readonly string[], change: object = {}, o: Options = {}) =>
  decide(built(authorizationFilters, policies, o), { ...request, ...change });

test('a rule is OR of sources, OR of operations and all conditions', () => {
  const rule =
    '{from: [{source: {namespaces: [a], ipBlocks: [10.0.0.1]}}, {source: {namespaces: [z]}}], to: [{operation: {methods: [GET], paths: [/]}}, {operation: {methods: [PUT]}}], when: [{key: "request.headers[x]", values: ["1"]}, {key: destination.port, values: ["80"]}]}';
  const allowed = (change: object): boolean =>
    decision([policy(`{rules: [${rule}]}`)], { headers: { x: '1' }, ...change }).decision === 'ALLOW';
  assert.ok(allowed({}));
  assert.ok(allowed({ method: 'PUT', path: '/other' }));
  assert.ok(allowed({ peerPrincipal: 'spiffe://td/ns/z/sa/q', sourceIP: '1.1.1.1' }));
  assert.ok(!allowed({ sourceIP: '1.1.1.1' }));
  assert.ok(!allowed({ path: '/other' }));
  assert.ok(!allowed({ headers: {} }));
  assert.ok(!allowed({ destinationPort: 81 }));
  assert.ok(!allowed({ peerPrincipal: undefined }));
});

test('nothing written denies everything, an empty rule allows or denies everything', () => {
  assert.equal(decision([policy('{}')]).decision, 'DENY');
  assert.equal(decision([policy('{rules: []}')]).decision, 'DENY');
  assert.equal(decision([policy('{rules: [{}]}')]).decision, 'ALLOW');
  assert.equal(decision([policy('{action: DENY, rules: [{}]}')]).decision, 'DENY');
  assert.equal(decision([]).decision, 'ALLOW');
});

test('AUDIT comes first and only tells, DENY goes before ALLOW', () => {
  const policies = [
    policy('{rules: [{}]}', 'allow'),
    policy('{action: DENY, rules: [{to: [{operation: {paths: ["/x*"]}}]}]}', 'deny'),
    policy('{action: AUDIT, rules: [{to: [{operation: {paths: ["/x/y"]}}]}]}', 'audit'),
  ];
  const filters = built(authorizationFilters, policies);
  assert.deepEqual(
    filters.map((f) => configOf(f).rules?.action ?? 'ALLOW'),
    ['LOG', 'DENY', 'ALLOW'],
  );
  assert.deepEqual({ ...decision(policies, { path: '/x/y' }) }, { decision: 'DENY', dryRun: {}, audit: true, extAuthzTriggered: false });
  assert.equal(decision(policies, { path: '/a' }).decision, 'ALLOW');
  assert.deepEqual(Object.keys(configOf(filters[1]).rules?.policies ?? {}), ['ns[ns]-policy[deny]-rule[0]']);
});

test('a policy on trial decides nothing and its result is told under its action', () => {
  const allow = configOf(built(authorizationFilters, [policy('{rules: [{}]}', 'a', 'true')])[0]);
  assert.equal(allow.rules, undefined);
  assert.deepEqual([Object.keys(allow.shadow_rules ?? {}), allow.shadow_rules_stat_prefix], [['policies'], 'istio_dry_run_allow_']);
  const policies = [
    policy('{action: DENY, rules: [{}]}', 'a', 'true'),
    policy('{action: DENY, rules: [{to: [{operation: {methods: [PUT]}}]}]}', 'b'),
  ];
  const deny = configOf(built(authorizationFilters, policies)[0]);
  assert.equal(deny.shadow_rules_stat_prefix, 'istio_dry_run_deny_');
  assert.deepEqual(decision(policies).dryRun, { DENY: 'denied' });
  assert.equal(decision(policies).decision, 'ALLOW');
  assert.equal(decision(policies, { method: 'PUT' }).decision, 'DENY');
  assert.equal(decision([policy('{}', 'a', 'true')]).decision, 'ALLOW', 'an ALLOW on trial alone enforces nothing');
});

test('on a plain connection an ALLOW rule with attributes of requests matches nothing', () => {
  const tcp = { tcp: true };
  for (const rule of [
    '{to: [{operation: {methods: [GET], ports: ["80"]}}]}',
    '{to: [{operation: {hosts: [a]}}]}',
    '{to: [{operation: {ports: ["80"]}}, {operation: {notPaths: [/a]}}]}',
    '{from: [{source: {requestPrincipals: ["*"], namespaces: [a]}}]}',
    '{when: [{key: "request.headers[a]", notValues: [b]}]}',
    '{when: [{key: "request.auth.claims[a]", values: [b]}]}',
    '{when: [{key: request.auth.presenter, values: [b]}]}',
  ]) {
    assert.equal(decision([policy(`{rules: [${rule}]}`)], {}, tcp).decision, 'DENY', rule);
    assert.deepEqual(
      configOf(built(authorizationFilters, [policy(`{rules: [${rule}]}`)], tcp)[0]).rules,
      {},
      'the filter stays and denies',
    );
  }
  assert.equal(
    decision([policy('{rules: [{from: [{source: {namespaces: [a], remoteIpBlocks: [10.0.0.1]}}]}]}')], { remoteIP: '10.0.0.1' }, tcp)
      .decision,
    'ALLOW',
  );
});

test('on a plain connection a DENY rule goes without the attributes of requests', () => {
  const denies = (rule: string, change: object = {}): boolean =>
    decision([policy(`{action: DENY, rules: [${rule}]}`)], change, { tcp: true }).decision === 'DENY';
  assert.ok(denies('{to: [{operation: {methods: [POST]}}]}'), 'nothing is left, so everything is denied');
  assert.ok(denies('{to: [{operation: {methods: [POST], ports: ["80"]}}]}'));
  assert.ok(!denies('{to: [{operation: {methods: [POST], ports: ["81"]}}]}'));
  assert.ok(!denies('{from: [{source: {requestPrincipals: [x], namespaces: [z]}}]}'));
});

test('the network filter counts under tcp', () => {
  const [filter] = built(authorizationFilters, [policy('{rules: [{}]}')], { tcp: true });
  assert.equal(filter?.name, 'envoy.filters.network.rbac');
  assert.equal(configOf(filter).stat_prefix, 'tcp.');
});

test('a principal of the mesh is meant under all its trust domains', () => {
  const domains = ['td1', 'td2'];
  assert.deepEqual(expandPrincipals(['td2/ns/a/sa/b'], domains), ['td1/ns/a/sa/b', 'td2/ns/a/sa/b']);
  assert.deepEqual(expandPrincipals(['cluster.local/ns/a/sa/b'], domains), ['td1/ns/a/sa/b', 'td2/ns/a/sa/b']);
  assert.deepEqual(expandPrincipals(['other/ns/a/sa/b', '*', '*/ns/a/sa/b', 'td1/x', '*x'], domains), [
    'other/ns/a/sa/b',
    '*',
    '*/ns/a/sa/b',
    'td1/x',
    '*x',
  ]);
  assert.deepEqual(expandPrincipals(['*d2/ns/a/sa/b'], domains), ['td1/ns/a/sa/b', '*d2/ns/a/sa/b']);
  assert.deepEqual(principal('{from: [{source: {trustDomains: [td1]}}]}', { domains }), {
    or_ids: { ids: [id({ prefix: 'spiffe://td1/' }), id({ prefix: 'spiffe://td2/' })] },
  });
});

const custom = (provider: string, name = 'c', annotation = ''): string =>
  policy(`{action: CUSTOM, provider: {name: ${provider}}, rules: [{to: [{operation: {paths: [/ask]}}]}]}`, name, annotation);

test('an external authorizer is asked about what its policies match', () => {
  const filters = built(externalFilters, [custom('x')]);
  assert.deepEqual(
    filters.map((f) => f.name),
    ['envoy.filters.http.rbac', 'envoy.filters.http.ext_authz'],
  );
  const shadow = configOf(filters[0]);
  assert.equal(shadow.rules, undefined);
  assert.equal(shadow.shadow_rules_stat_prefix, 'istio_ext_authz_');
  assert.deepEqual(Object.keys(shadow.shadow_rules?.policies ?? {}), ['istio-ext-authz-x-ns[ns]-policy[c]-rule[0]']);
  assert.equal(configOf(filters[1]).stat_prefix, 'asked');
  const asked = (path: string): boolean => decide(filters, { ...request, path }).extAuthzTriggered;
  assert.deepEqual([asked('/ask'), asked('/other')], [true, false]);
});

test('where no authorizer can be asked, what the policies match is denied', () => {
  const denied = (policies: readonly string[], o: Options): readonly string[] =>
    ['/ask', '/other'].map((path) => decide(built(externalFilters, policies, o), { ...request, path }).decision);
  assert.deepEqual(denied([custom('x')], { authorizer: () => err('unknown') }), ['DENY', 'ALLOW']);
  assert.deepEqual(denied([custom('x'), custom('y', 'd')], {}), ['DENY', 'ALLOW'], 'two authorizers for one workload');
  const tcp = built(externalFilters, [custom('x')], { tcp: true, authorizer: () => err('unknown') });
  assert.equal(decide(tcp, request).decision, 'DENY', 'on a plain connection the path falls away');
});

test('an authorizer that speaks HTTP is not asked about plain connections', () => {
  const http = { http: authorizer.http, tcp: undefined };
  assert.deepEqual(built(externalFilters, [custom('x')], { tcp: true, authorizer: () => ok(http) }), []);
  const both = built(externalFilters, [custom('x')], { tcp: true });
  assert.deepEqual(
    both.map((f) => f.name),
    ['envoy.filters.network.rbac', 'envoy.filters.network.ext_authz'],
  );
});
