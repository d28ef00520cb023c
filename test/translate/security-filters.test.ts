// Security policies in the chains of proxies: which filters stand where, tokens, external authorizers, and what becomes of a proxy that
// announced that it has not got a filter.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { externalAuthorizer } from '../../src/translate/external-authorization.ts';
import { unenforced } from '../../src/translate/security-filters.ts';
import type { HttpFilter, JwtAuthentication } from '../../src/xds/gen/types.ts';
import { meshConfigOf } from './mesh-fixture.ts';
import {
  chainsOf,
  configFor,
  httpSecurity,
  type MeshOptions,
  managersOf,
  names,
  nodeOf,
  snapshotOf,
  tcpSecurity,
} from './security-mesh.ts';

const object = (kind: string, name: string, spec: string, namespace = 'shop', annotations = '{}'): string =>
  `apiVersion: security.istio.io/v1\nkind: ${kind}\nmetadata: {name: ${name}, namespace: ${namespace}, annotations: ${annotations}}\nspec: ${spec}\n---\n`;

const DENY = object('AuthorizationPolicy', 'deny', '{action: DENY, rules: [{to: [{operation: {paths: [/x]}}]}]}');
const ALLOW = object('AuthorizationPolicy', 'allow', '{rules: [{}]}');
const AUDIT = object('AuthorizationPolicy', 'audit', '{action: AUDIT, rules: [{}]}');
const CUSTOM = object('AuthorizationPolicy', 'ask', '{action: CUSTOM, provider: {name: asker}, rules: [{}]}');
const TOKENS = object('RequestAuthentication', 'tokens', '{jwtRules: [{issuer: i, jwks: "{}"}]}');
const ASKER = {
  mesh: { extensionProviders: [{ name: 'asker', envoyExtAuthzHttp: { service: 'authz.shop.svc.cluster.local', port: 8000 } }] },
};

const sidecar = (yaml: string, options: MeshOptions = {}) => configFor(yaml, options);
const http = (yaml: string, options: MeshOptions = {}): readonly (readonly string[])[] =>
  httpSecurity(chainsOf(sidecar(yaml, options), 8080, options.gateway)).map(names);

test('filters stand in the order in which they decide: external authorizer, token, audit, deny, allow, then routing', () => {
  const config = sidecar(ALLOW + TOKENS + AUDIT + CUSTOM + DENY, ASKER);
  const want = ['rbac', 'ext_authz', 'jwt_authn', 'rbac', 'rbac', 'rbac'].map((n) => `envoy.filters.http.${n}`);
  const chains = httpSecurity(chainsOf(config, 8080)).map(names);
  assert.deepEqual(chains, [want, want], 'under mutual TLS and in plaintext');
  const [manager] = managersOf(chainsOf(config, 8080));
  assert.deepEqual(names(manager?.http_filters ?? []).slice(0, 6), want, 'before all others');
});

test('a port that no service exposes is governed too', () => {
  const inbound = sidecar(DENY).listeners.find((l) => l.name === 'virtualInbound')?.filter_chains ?? [];
  const rest = inbound.filter((c) => c.filter_chain_match?.destination_port === undefined);
  assert.ok(httpSecurity(rest).length > 0 && tcpSecurity(rest).length > 0);
  for (const filters of [...httpSecurity(rest), ...tcpSecurity(rest)]) assert.equal(filters.length, 1);
});

test('a connection that is not HTTP has network filters, and no token is read there', () => {
  const tcp = tcpSecurity(chainsOf(sidecar(ALLOW + TOKENS + DENY + CUSTOM, ASKER), 9000)).map(names);
  const want = ['envoy.filters.network.rbac', 'envoy.filters.network.rbac'];
  assert.deepEqual(tcp, [want, want, want], "mutual TLS, the application's own TLS, plaintext; the authorizer speaks HTTP");
});

test('policies never act on what a sidecar sends', () => {
  const config = sidecar(DENY + TOKENS);
  const outbound = config.listeners.filter((l) => l.traffic_direction === 'OUTBOUND');
  const chains = outbound.flatMap((l) => [
    ...(l.filter_chains ?? []),
    ...(l.default_filter_chain === undefined ? [] : [l.default_filter_chain]),
  ]);
  assert.ok(chains.length > 2);
  assert.deepEqual([...httpSecurity(chains), ...tcpSecurity(chains)].flat(), []);
});

test('policies of its namespace act at a gateway, on HTTP and on plain connections', () => {
  const yaml =
    object('AuthorizationPolicy', 'a', '{action: DENY, rules: [{}]}', 'istio-system') +
    TOKENS.replace('namespace: shop', 'namespace: istio-system');
  const config = configFor(yaml, { gateway: true });
  assert.deepEqual(httpSecurity(chainsOf(config, 8000, true)).map(names), [['envoy.filters.http.jwt_authn', 'envoy.filters.http.rbac']]);
  assert.deepEqual(tcpSecurity(chainsOf(config, 9000, true)).map(names), [['envoy.filters.network.rbac']]);
});

const jwtOf = (yaml: string, options: MeshOptions = {}): JwtAuthentication => {
  const filter = httpSecurity(chainsOf(configFor(yaml, options), options.gateway ? 8000 : 8080, options.gateway))[0]?.find(
    (f: HttpFilter) => f.name === 'envoy.filters.http.jwt_authn',
  );
  return filter?.typed_config as unknown as JwtAuthentication;
};

test('one token rule: no token passes, a token must be valid', () => {
  const jwt = jwtOf(TOKENS);
  assert.deepEqual(jwt.providers, {
    'origins-0': {
      issuer: 'i',
      local_jwks: { inline_string: '{}' },
      payload_in_metadata: 'payload',
      normalize_payload_in_metadata: { space_delimited_claims: ['permission', 'scope'] },
    },
  });
  assert.deepEqual(jwt.rules, [
    { match: { prefix: '/' }, requires: { requires_any: { requirements: [{ provider_name: 'origins-0' }, { allow_missing: {} }] } } },
  ]);
  assert.equal(jwt.bypass_cors_preflight, true);
});

test('several token rules: a token valid for any passes, and none may be invalid in its own place', () => {
  const jwt = jwtOf(object('RequestAuthentication', 't', '{jwtRules: [{issuer: b, jwks: "{}"}, {issuer: a, jwks: "{}"}]}'));
  const p = (provider_name: string) => ({ provider_name });
  const orNone = (name: string) => ({ requires_any: { requirements: [p(name), { allow_missing: {} }] } });
  assert.deepEqual(jwt.rules?.[0]?.requires, {
    requires_any: {
      requirements: [p('origins-0'), p('origins-1'), { requires_all: { requirements: [orNone('origins-0'), orNone('origins-1')] } }],
    },
  });
  assert.deepEqual(
    Object.values(jwt.providers ?? {}).map((x) => x.issuer),
    ['a', 'b'],
  );
});

test('everything a token rule can say', () => {
  const rule =
    '{issuer: i, jwks: "{}", audiences: [x, y], fromHeaders: [{name: x-jwt, prefix: "Tok "}, {name: other}], fromParams: [t], fromCookies: [c], forwardOriginalToken: true, outputPayloadToHeader: x-p, outputClaimToHeaders: [{header: x-sub, claim: a.b}], spaceDelimitedClaims: [roles, scope]}';
  const jwt = jwtOf(object('RequestAuthentication', 't', `{jwtRules: [${rule}]}`));
  assert.deepEqual(jwt.providers?.['origins-0'], {
    issuer: 'i',
    audiences: ['x', 'y'],
    local_jwks: { inline_string: '{}' },
    forward: true,
    from_headers: [{ name: 'x-jwt', value_prefix: 'Tok ' }, { name: 'other' }],
    from_params: ['t'],
    forward_payload_header: 'x-p',
    payload_in_metadata: 'payload',
    from_cookies: ['c'],
    claim_to_headers: [{ header_name: 'x-sub', claim_name: 'a.b' }],
    normalize_payload_in_metadata: { space_delimited_claims: ['permission', 'roles', 'scope'] },
  });
});

test('a gateway chooses the route anew once a token has been read', () => {
  const yaml = object('RequestAuthentication', 't', '{jwtRules: [{issuer: i, jwks: "{}"}]}', 'istio-system');
  assert.equal(jwtOf(yaml, { gateway: true }).providers?.['origins-0']?.clear_route_cache, true);
});

test('keys that were fetched are sent, and a key of nobody where there are none', () => {
  const keySets = { known: new Map([['keys https://k/1', 'known']]), failed: new Map(), refusing: 'nobody' };
  const yaml = object(
    'RequestAuthentication',
    't',
    '{jwtRules: [{issuer: a, jwksUri: "https://k/1"}, {issuer: b, jwksUri: "https://k/2"}, {issuer: c}]}',
  );
  const sent = Object.values(jwtOf(yaml, { keySets }).providers ?? {}).map((p) => p.local_jwks?.inline_string);
  assert.deepEqual(sent, ['known', 'nobody', 'nobody']);
});

const provider = (kind: string, fields: object) =>
  externalAuthorizer(
    meshConfigOf({ extensionProviders: [{ name: 'p', [kind]: { service: 'authz.shop.svc.cluster.local', port: 9000, ...fields } }] }),
    snapshotOf('').snapshot.services.all,
    'p',
  );

const TRIGGER = (filter: string) => ({
  filter,
  path: [{ key: 'istio_ext_authz_shadow_effective_policy_id' }],
  value: { string_match: { prefix: 'istio-ext-authz-p' } },
});

test('an authorizer over HTTP: headers it is shown and may set, body, status and time', () => {
  const made = provider('envoyExtAuthzHttp', {
    timeout: '2s',
    pathPrefix: '/check',
    failOpen: true,
    clearRouteCache: true,
    statusOnError: '503',
    includeRequestHeadersInCheck: ['a', 'b-*', '*-c'],
    includeHeadersInCheck: ['not-this'],
    includeAdditionalHeadersInCheck: { z: '1', y: '2' },
    includeRequestBodyInCheck: { maxRequestBytes: 10, allowPartialMessage: true, packAsBytes: true },
    headersToUpstreamOnAllow: ['u'],
    headersToDownstreamOnDeny: ['d'],
    headersToDownstreamOnAllow: ['o'],
  });
  const header = (matcher: object) => ({ patterns: [{ ...matcher, ignore_case: true }] });
  assert.ok(made.ok);
  assert.equal(made.value.tcp, undefined);
  assert.deepEqual(made.value.http, {
    http_service: {
      server_uri: { uri: 'http://authz.shop.svc.cluster.local', cluster: 'outbound|9000||authz.shop.svc.cluster.local', timeout: '2s' },
      path_prefix: '/check',
      authorization_request: {
        headers_to_add: [
          { key: 'y', value: '2' },
          { key: 'z', value: '1' },
        ],
      },
      authorization_response: {
        allowed_upstream_headers: header({ exact: 'u' }),
        allowed_client_headers: header({ exact: 'd' }),
        allowed_client_headers_on_success: header({ exact: 'o' }),
      },
    },
    transport_api_version: 'V3',
    failure_mode_allow: true,
    clear_route_cache: true,
    status_on_error: { code: 503 },
    with_request_body: { max_request_bytes: 10, allow_partial_message: true, pack_as_bytes: true },
    filter_enabled_metadata: TRIGGER('envoy.filters.http.rbac'),
    allowed_headers: {
      patterns: [
        { exact: 'a', ignore_case: true },
        { prefix: 'b-', ignore_case: true },
        { suffix: '-c', ignore_case: true },
      ],
    },
  });
});

test('an authorizer over gRPC answers for HTTP and for plain connections, in ten minutes when nothing is said', () => {
  const made = provider('envoyExtAuthzGrpc', {});
  const grpc_service = {
    envoy_grpc: {
      cluster_name: 'outbound|9000||authz.shop.svc.cluster.local',
      authority: 'authz.shop.svc.cluster.local',
    },
    timeout: '600s',
  };
  assert.ok(made.ok);
  assert.deepEqual(made.value.http, {
    grpc_service,
    transport_api_version: 'V3',
    filter_enabled_metadata: TRIGGER('envoy.filters.http.rbac'),
  });
  assert.deepEqual(made.value.tcp, {
    stat_prefix: 'tcp.',
    grpc_service,
    transport_api_version: 'V3',
    filter_enabled_metadata: TRIGGER('envoy.filters.network.rbac'),
  });
});

test('an authorizer that could not be asked is none', () => {
  const refused = (fields: object): string => {
    const made = provider('envoyExtAuthzHttp', fields);
    assert.ok(!made.ok, JSON.stringify(fields));
    return made.error;
  };
  assert.match(refused({ service: 'other/authz.shop.svc.cluster.local' }), /no service/);
  assert.match(refused({ service: 'shop/authz' }), /no service/);
  assert.match(refused({ port: 70000 }), /port 70000/);
  assert.match(refused({ statusOnError: '999' }), /statusOnError/);
  assert.match(refused({ pathPrefix: 'check' }), /pathPrefix/);
  assert.match(refused({ headersToUpstreamOnAllow: ['*'] }), /"\*"/);
  assert.ok(provider('envoyExtAuthzHttp', { service: 'shop/authz.shop.svc.cluster.local' }).ok);
  assert.ok(!provider('prometheus', {}).ok);
});

const BASE = ['envoy.filters.network.http_connection_manager', 'envoy.filters.network.tcp_proxy', 'envoy.filters.http.router'];
const RBAC = ['envoy.filters.http.rbac', 'envoy.filters.network.rbac'];

const answers = (yaml: string, announces: readonly string[], options: MeshOptions = {}) => {
  const config = configFor(yaml, { ...options, announces });
  const [port, tcpPort] = options.gateway ? [8000, 9000] : [8080, 9000];
  const managers = managersOf(chainsOf(config, port, options.gateway));
  const refuses = managers.map((m) => m.route_config?.virtual_hosts?.[0]?.routes?.[0]?.direct_response?.status === 403);
  const tcp = chainsOf(config, tcpPort, options.gateway).map(
    (c) => (c.filters?.at(-1)?.typed_config as { cluster?: string } | undefined)?.cluster,
  );
  assert.ok(managers.length > 0 && tcp.length > 0);
  return { http: new Set(refuses), tcp: new Set(tcp), filters: httpSecurity(chainsOf(config, port, options.gateway)).flat().length };
};

test('a proxy that announced no RBAC takes nothing that a policy governs, instead of everything', () => {
  assert.deepEqual(answers(DENY, BASE), { http: new Set([true]), tcp: new Set(['BlackHoleCluster']), filters: 0 });
  assert.deepEqual(answers(DENY, [...BASE, ...RBAC]), { http: new Set([false]), tcp: new Set(['inbound|9000||']), filters: 2 });
  assert.deepEqual(answers('', BASE).http, new Set([false]), 'without a policy nothing is refused');
  const gateway = answers(DENY.replace('namespace: shop', 'namespace: istio-system'), BASE, { gateway: true });
  assert.deepEqual([gateway.http, gateway.tcp], [new Set([true]), new Set(['BlackHoleCluster'])]);
});

test('a proxy without jwt_authn takes no request where tokens are to be checked; plain connections have none', () => {
  const got = answers(TOKENS, [...BASE, ...RBAC]);
  assert.deepEqual([got.http, got.tcp], [new Set([true]), new Set(['inbound|9000||'])]);
});

test('a proxy that cannot ask the authorizer takes no request', () => {
  assert.deepEqual(answers(CUSTOM, [...BASE, ...RBAC], ASKER).http, new Set([true]));
});

test('where a policy only tells, a proxy without RBAC goes on', () => {
  assert.deepEqual(answers(AUDIT, BASE).http, new Set([false]));
  assert.deepEqual(answers(object('AuthorizationPolicy', 'd', '{}', 'shop', '{istio.io/dry-run: "true"}'), BASE).http, new Set([false]));
});

test('a client that announces nothing is sent what Envoy has', () => {
  assert.deepEqual(http(DENY), [['envoy.filters.http.rbac'], ['envoy.filters.http.rbac']]);
});

test('who cannot carry out a policy is told by policy', () => {
  const told = (yaml: string, announces?: readonly string[]) =>
    unenforced(snapshotOf(yaml, ASKER).snapshot, nodeOf(announces === undefined ? {} : { announces })).map(
      (u) => `${u.policy.name} ${u.filter} ${u.refuses}`,
    );
  const all = DENY + AUDIT + CUSTOM + TOKENS;
  assert.deepEqual(told(all, BASE), ['ask rbac true', 'deny rbac true', 'audit rbac false', 'tokens jwt_authn true']);
  assert.deepEqual(told(all, [...BASE, ...RBAC]), ['ask ext_authz true', 'tokens jwt_authn true']);
  assert.deepEqual(told(all), []);
  assert.deepEqual(told(object('AuthorizationPolicy', 'other', '{}', 'elsewhere'), BASE), [], 'policies of other workloads are no matter');
});
