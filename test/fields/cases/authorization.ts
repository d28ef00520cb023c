// Who may: RBAC of requests and of connections, JSON web tokens.
import type {
  HeaderMatcher,
  HttpFilter,
  JwtAuthentication,
  JwtProvider,
  Permission,
  Principal,
  Rbac_RBAC,
  Route,
} from '../../../src/xds/gen/types.ts';
import {
  type Backend,
  chains,
  hcm,
  listener as onLoopback,
  RawClient,
  ROUTER,
  startBackend,
  staticCluster,
  tcpProxy,
} from '../../proxy/harness.ts';
import { jwtAuthn, KEYS, provider } from '../../proxy/jwt-rig.ts';
import { CLAIMS, mint, OTHER_RSA, RSA } from '../../proxy/token-mint.ts';
import { cluster, type FieldCase, listener, live } from '../case.ts';
import { type Ask, ask, bodies, echoServer, seenHeaders } from '../http-probe.ts';

const RBAC = 'type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC';
const PER_ROUTE = 'type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute';
const NAME = 'envoy.filters.http.rbac';
const ANY = { any: true } as const;

const permission = (p: Permission, principal: Principal = ANY): Rbac_RBAC => ({
  policies: { p: { permissions: [p], principals: [principal] } },
});
const principal = (p: Principal): Rbac_RBAC => permission(ANY, p);
const header = (matcher: HeaderMatcher) => ({ header: matcher });
const hasA = header({ name: 'x-a', present_match: true });
const hasB = header({ name: 'x-b', present_match: true });
const loopback = { address_prefix: '127.0.0.0', prefix_len: 8 };

const A = ['x-a: 1'];
const B = ['x-b: 1'];
/** Rules, with requests that they let through and requests that they do not. */
const RULES: readonly (readonly [name: string, rules: Rbac_RBAC, yes: Ask & { path?: string }, no: Ask & { path?: string }])[] = [
  ['and', permission({ and_rules: { rules: [hasA, hasB] } }), { headers: [...A, ...B] }, { headers: A }],
  ['or', permission({ or_rules: { rules: [hasA, hasB] } }), { headers: B }, {}],
  ['not', permission({ not_rule: hasA }), {}, { headers: A }],
  ['path', permission({ url_path: { path: { exact: '/path/a' } } }), { path: '/path/a' }, { path: '/path/b' }],
  [
    'template',
    permission({
      uri_template: {
        name: 'envoy.path.match.uri_template.uri_template_matcher',
        typed_config: {
          '@type': 'type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig',
          path_template: '/template/*/x',
        },
      },
    }),
    { path: '/template/1/x' },
    { path: '/template/x' },
  ],
  ['destination', permission({ and_rules: { rules: [{ destination_ip: loopback }, hasA] } }), { headers: A }, {}],
  ['ports', permission({ and_rules: { rules: [{ destination_port_range: { start: 1, end: 65535 } }, hasA] } }), { headers: A }, {}],
  ['deny', { action: 'DENY', policies: { p: { permissions: [hasA], principals: [ANY] } } }, {}, { headers: A }],
  ['p-and', principal({ and_ids: { ids: [hasA, hasB] } }), { headers: [...A, ...B] }, { headers: A }],
  ['p-or', principal({ or_ids: { ids: [hasA, hasB] } }), { headers: B }, {}],
  ['p-not', principal({ not_id: hasA }), {}, { headers: A }],
  ['p-path', principal({ url_path: { path: { prefix: '/p-path/a' } } }), { path: '/p-path/a' }, { path: '/p-path/b' }],
  ['p-direct', principal({ and_ids: { ids: [{ direct_remote_ip: loopback }, hasA] } }), { headers: A }, {}],
  ['p-remote', principal({ remote_ip: { address_prefix: '9.9.9.9', prefix_len: 32 } }), { headers: ['x-forwarded-for: 9.9.9.9'] }, {}],
  ['p-source', principal({ and_ids: { ids: [{ source_ip: loopback }, hasA] } }), { headers: A }, {}],
];

let echo: Backend;
const start = async () => {
  echo = await echoServer();
  return echo;
};
const rbac = (config: object): HttpFilter => ({ name: NAME, typed_config: { '@type': RBAC, ...config } });

export const rbacRules: FieldCase = {
  name: 'rbac-rules',
  parts: () => [
    listener(
      onLoopback(
        'in',
        hcm(
          [
            ...RULES.map(
              ([name, rules]): Route => ({
                match: { prefix: `/${name}` },
                direct_response: { status: 200, body: { inline_string: 'in' } },
                typed_per_filter_config: { [NAME]: { '@type': PER_ROUTE, rbac: { rules } } },
              }),
            ),
            { match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: 'in' } } },
          ],
          { http_filters: [rbac({ rules: permission(header({ name: 'x-main', present_match: true })) }), ROUTER] },
        ),
      ),
    ),
  ],
  observe: live(async ({ port }) => [
    ...(await bodies(
      port(),
      RULES.flatMap(([name, , yes, no]) => [yes, no].map(({ path, ...more }) => [path ?? `/${name}`, more] as const)),
    )),
    ...(await bodies(port(), [['/', { headers: ['x-main: 1'] }], ['/']])),
  ]),
  expect: [...RULES, 'main'].flatMap(() => ['in', '403 RBAC: access denied']),
};

export const rbacShadow: FieldCase = {
  name: 'rbac-shadow',
  parts: () => [
    listener(
      onLoopback(
        'in',
        hcm(
          [
            {
              match: { prefix: '/' },
              direct_response: { status: 200 },
              response_headers_to_add: [
                { header: { key: 'x-tried', value: '%DYNAMIC_METADATA(envoy.filters.http.rbac:tried_shadow_engine_result)%' } },
              ],
            },
          ],
          {
            http_filters: [rbac({ shadow_rules: permission(hasA), shadow_rules_stat_prefix: 'tried_' }), ROUTER],
          },
        ),
      ),
    ),
  ],
  observe: live(async ({ port }) => [
    (await ask(port(), '/')).headers.get('x-tried'),
    (await ask(port(), '/', { headers: A })).headers.get('x-tried'),
  ]),
  expect: ['denied', 'allowed'],
};

let lines: Backend;
const startLines = async () => {
  lines = await startBackend((socket, text) => socket.write(text));
  return lines;
};
const NETWORK = 'type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC';
const through = async (port: number): Promise<string> => {
  const client = await RawClient.open(port);
  const timer = setTimeout(() => client.close(), 800);
  const answer = await client
    .send('hi')
    .bytes(2)
    .catch(() => 'closed');
  clearTimeout(timer);
  client.close();
  return answer;
};
const connection = (name: string, config: object, probe: (port: number) => Promise<unknown>, expect: unknown): FieldCase => ({
  name,
  start: startLines,
  parts: () => [
    cluster(staticCluster('lines', [lines.port])),
    listener(
      chains('in', [
        { filters: [{ name: 'rbac', typed_config: { '@type': NETWORK, stat_prefix: 'tcp.', ...config } }, tcpProxy('lines')] },
      ]),
    ),
  ],
  observe: live(({ port, plane }) => probe(port()).then((said) => [said, plane.stats.counter('tcp.rbac.denied').value])),
  expect,
});
export const rbacConnections = connection(
  'rbac-connections',
  { rules: principal({ direct_remote_ip: { address_prefix: '10.0.0.0', prefix_len: 8 } }), delay_deny: '0.1s' },
  async (port) => {
    const from = performance.now();
    return [await through(port), performance.now() - from > 80];
  },
  [['closed', true], 1],
);
export const rbacConnectionsAllowed = connection('rbac-connections-allowed', { rules: permission({ destination_ip: loopback }) }, through, [
  'hi',
  0,
]);

// --- tokens

const token = (claims: object = {}, pair = RSA): string => mint({ alg: 'RS256', kid: 'k1' }, { ...CLAIMS, ...claims }, pair);
const bearing = (text: string): Ask => ({ headers: [`authorization: Bearer ${text}`] });

const jwt = (
  name: string,
  config: Partial<JwtAuthentication>,
  observe: (port: number) => Promise<unknown>,
  expect: unknown,
  routes?: readonly Route[],
): FieldCase => ({
  name,
  start,
  parts: () => [
    cluster(staticCluster('echo', [echo.port])),
    listener(
      onLoopback(
        'in',
        hcm(routes ?? [{ match: { prefix: '/' }, route: { cluster: 'echo' } }], { http_filters: [jwtAuthn(config), ROUTER] }),
      ),
    ),
  ],
  observe: live(({ port }) => observe(port())),
  expect,
});
const statuses = async (port: number, asks: readonly (readonly [path: string, more?: Ask])[]): Promise<number[]> => {
  const out: number[] = [];
  for (const [path, more] of asks) out.push((await ask(port, path, more)).status);
  return out;
};
const seen = async (port: number, path: string, more: Ask): Promise<string[]> =>
  seenHeaders((await ask(port, path, more)).body).filter((line) => !line.startsWith('host'));
const of = (more: Partial<JwtProvider>): Partial<JwtAuthentication> => ({
  providers: { p: provider({ local_jwks: { inline_string: KEYS }, ...more }) },
});

const past = (seconds: number): number => Math.floor(Date.now() / 1000) - seconds;

export const jwtClaims = jwt(
  'jwt-claims',
  of({
    audiences: ['api'],
    subjects: { exact: 'alice' },
    clock_skew_seconds: 3600,
    require_expiration: true,
    max_lifetime: '315360000000s',
  }),
  (port) =>
    statuses(port, [
      ['/', bearing(token())],
      ['/', bearing(token({ iss: 'other' }))],
      ['/', bearing(token({ aud: 'other' }))],
      ['/', bearing(token({ sub: 'bob' }))],
      ['/', bearing(token({ exp: past(600) }))],
      ['/', bearing(token({}, OTHER_RSA))],
      ['/'],
    ]),
  [200, 401, 403, 401, 200, 401, 401],
);
export const jwtPlaces = jwt(
  'jwt-places',
  of({ from_headers: [{ name: 'x-token', value_prefix: 'T ' }], from_params: ['token'], from_cookies: ['token'] }),
  (port) =>
    statuses(port, [
      ['/', { headers: [`x-token: T ${token()}`] }],
      [`/?token=${token()}`],
      ['/', { headers: [`cookie: token=${token()}`] }],
      ['/', bearing(token())],
    ]),
  [200, 200, 200, 401],
);
/** Claims whose base64 needs padding. */
const PADDED = ['a', 'aa', 'aaa'].map((n) => ({ ...CLAIMS, n })).find((claims) => JSON.stringify(claims).length % 3 === 1) ?? CLAIMS;
export const jwtForwards = jwt(
  'jwt-forwards',
  of({
    forward: true,
    forward_payload_header: 'x-payload',
    pad_forward_payload_header: true,
    claim_to_headers: [{ header_name: 'x-sub', claim_name: 'sub' }],
  }),
  async (port) =>
    (await seen(port, '/', bearing(token(PADDED)))).map((line) =>
      line.startsWith('x-payload') ? `x-payload ${line.endsWith('==')}` : line.replace(/(Bearer \S{3})\S+/, '$1'),
    ),
  ['authorization: Bearer eyJ', 'x-payload true', 'x-sub: alice'],
);
export const jwtRequirements = jwt(
  'jwt-requirements',
  {
    bypass_cors_preflight: true,
    strip_failure_response: true,
    providers: { p: provider(), q: provider({ issuer: 'https://q.test' }) },
    requirement_map: { named: { provider_name: 'q' } },
    rules: [
      { match: { prefix: '/any' }, requires: { requires_any: { requirements: [{ provider_name: 'q' }, { provider_name: 'p' }] } } },
      { match: { prefix: '/all' }, requires: { requires_all: { requirements: [{ provider_name: 'q' }, { provider_name: 'p' }] } } },
      { match: { prefix: '/audience' }, requires: { provider_and_audiences: { provider_name: 'p', audiences: ['special'] } } },
      { match: { prefix: '/missing' }, requires: { requires_any: { requirements: [{ provider_name: 'p' }, { allow_missing: {} }] } } },
      { match: { prefix: '/failed' }, requires: { allow_missing_or_failed: {} } },
      { match: { prefix: '/named' }, requirement_name: 'named' },
      { match: { prefix: '/free' } },
      { match: { prefix: '/' }, requires: { provider_name: 'p' } },
    ],
  },
  async (port) => [
    ...(await statuses(port, [
      ['/any', bearing(token())],
      ['/all', bearing(token())],
      ['/audience', bearing(token())],
      ['/audience', bearing(token({ aud: 'special' }))],
      ['/missing'],
      ['/missing', bearing('bad')],
      ['/failed', bearing('bad')],
      ['/named', bearing(token())],
      ['/free'],
      ['/', { method: 'OPTIONS', headers: ['origin: http://a', 'access-control-request-method: GET'] }],
    ])),
    (await ask(port, '/')).body,
  ],
  [200, 401, 403, 200, 200, 401, 200, 401, 200, 200, ''],
);
const JWT_ROUTE = 'type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig';
export const jwtPerRoute = jwt(
  'jwt-per-route',
  { requirement_map: { open: { allow_missing_or_failed: {} } } },
  (port) => statuses(port, [['/off'], ['/open'], ['/']]),
  [200, 200, 401],
  [
    {
      match: { prefix: '/off' },
      route: { cluster: 'echo' },
      typed_per_filter_config: { 'envoy.filters.http.jwt_authn': { '@type': JWT_ROUTE, disabled: true } },
    },
    {
      match: { prefix: '/open' },
      route: { cluster: 'echo' },
      typed_per_filter_config: { 'envoy.filters.http.jwt_authn': { '@type': JWT_ROUTE, requirement_name: 'open' } },
    },
    { match: { prefix: '/' }, route: { cluster: 'echo' } },
  ],
);
