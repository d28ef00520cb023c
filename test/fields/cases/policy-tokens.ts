// Tokens: what is left of them in metadata, keys that are fetched, who needs one; and rules that ask for what filters have left.
import { randomUUID } from 'node:crypto';
import type { JwtAuthentication, JwtProvider, Permission, Principal, Rbac_RBAC, RemoteJwks, Route } from '../../../src/xds/gen/types.ts';
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
import { CLAIMS, mint, RSA } from '../../proxy/token-mint.ts';
import { cluster, type FieldCase, type LivePlane, listener, live, type Part } from '../case.ts';
import { type Ask, ask } from '../http-probe.ts';

const token = (claims: object = {}): string => mint({ alg: 'RS256', kid: 'k1' }, { ...CLAIMS, ...claims }, RSA);
const bearing = (text: string): Ask => ({ headers: [`authorization: Bearer ${text}`] });
const statusOf = async (at: LivePlane, name: string, text: string): Promise<number> =>
  (await ask(at.port(name), '/', bearing(text))).status;
const sure: Route = { match: { prefix: '/' }, direct_response: { status: 200 } };

const metadata = (path: string): string => `%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:${path})%`;
const told: Route = {
  ...sure,
  response_headers_to_add: ['payload:sub', 'payload:scope', 'head:kid', 'fail:code'].map((path) => ({
    header: { key: `x-${path.replace(':', '-')}`, value: metadata(path) },
  })),
};
const tokens = (name: string, config: Partial<JwtAuthentication>, routes: readonly Route[] = [told]): Part =>
  listener(onLoopback(name, hcm(routes, { http_filters: [jwtAuthn(config), ROUTER] })));
const of = (more: Partial<JwtProvider>): Partial<JwtAuthentication> => ({
  providers: { p: provider({ local_jwks: { inline_string: KEYS }, ...more }) },
});
const rest = async (at: LivePlane, name: string, more: Ask): Promise<string> => {
  const { status, headers } = await ask(at.port(name), '/', more);
  return [status, ...['x-payload-sub', 'x-payload-scope', 'x-head-kid', 'x-fail-code'].map((key) => headers.get(key) ?? '-')].join(' ');
};
const count = (at: LivePlane, name: string): number => at.plane.stats.find(`http.test.jwt_authn.${name}`)?.value ?? 0;

export const policyTokenMetadata: FieldCase = {
  name: 'policy-token-metadata',
  parts: () => [
    tokens(
      'told',
      of({
        payload_in_metadata: 'payload',
        header_in_metadata: 'head',
        normalize_payload_in_metadata: { space_delimited_claims: ['scope'] },
      }),
    ),
    tokens('failed', {
      ...of({ failed_status_in_metadata: 'fail' }),
      rules: [{ match: { prefix: '/' }, requires: { allow_missing_or_failed: {} } }],
    }),
    tokens('cleared', of({ clear_route_cache: true, claim_to_headers: [{ header_name: 'x-sub', claim_name: 'sub' }] }), [
      { match: { prefix: '/', headers: [{ name: 'x-sub', present_match: true }] }, direct_response: { status: 201 } },
      sure,
    ]),
    tokens('expires', of({ require_expiration: true })),
    tokens('short', of({ max_lifetime: '60s' })),
  ],
  observe: live(async (at) => {
    const now = Math.floor(Date.now() / 1000);
    return [
      await rest(at, 'told', bearing(token({ scope: 'a b' }))),
      await rest(at, 'failed', bearing(token({ exp: now - 1_000 }))),
      await rest(at, 'failed', bearing(token())),
      await statusOf(at, 'cleared', token()),
      await statusOf(at, 'expires', token({ exp: undefined })),
      await statusOf(at, 'expires', token()),
      await statusOf(at, 'short', token({ iat: now, exp: now + 40 })),
      await statusOf(at, 'short', token({ iat: now, exp: now + 4_000 })),
    ];
  }),
  expect: ['200 alice ["a","b"] k1 -', '200 - - - 3', '200 alice - - -', 201, 401, 200, 200, 401],
};

// --- remembered

export const policyTokenCache: FieldCase = {
  name: 'policy-token-cache',
  parts: () => [tokens('in', of({ jwt_cache_config: { jwt_cache_size: 1 } }))],
  observe: live(async (at) => {
    const [a, b, c] = [token(), token({ n: 1 }), token({ n: 2 })];
    for (const text of [a, b, c, a]) await statusOf(at, 'in', text);
    return [count(at, 'jwt_cache_hit'), count(at, 'jwt_cache_miss')];
  }),
  expect: [0, 4],
};

// --- fetched

let keys: Backend;
/** Stands for what is of one run only in addresses. */
const RUN = 'RUN';
const startKeys = async () => {
  const asked = new Map<string, number>();
  keys = await startBackend((socket, text) => {
    const path = /^GET (\S+)/.exec(text)?.[1] ?? '';
    const n = (asked.get(path) ?? 0) + 1;
    asked.set(path, n);
    const good = path.endsWith('/good') || (path.endsWith('/later') && n > 1);
    socket.write(
      good
        ? `HTTP/1.1 200 OK\r\ncontent-length: ${Buffer.byteLength(KEYS)}\r\n\r\n${KEYS}`
        : 'HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n',
    );
  });
  return keys;
};
const fetched = (path: string, more: Partial<RemoteJwks> = {}): Partial<JwtAuthentication> => {
  const { local_jwks: _, ...others } = provider();
  const http_uri = { uri: `http://keys.test/${RUN}/${path}`, cluster: 'keys', timeout: '3s' };
  return { providers: { p: { ...others, remote_jwks: { http_uri, ...more } } } };
};
const QUICK = { num_retries: 1, retry_back_off: { base_interval: '0.001s' } };
const reaches = async (what: () => boolean, withinMs: number): Promise<boolean> => {
  for (const from = performance.now(); performance.now() - from < withinMs; ) {
    if (what()) return true;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return what();
};
const fetching =
  (probe: (at: LivePlane) => Promise<unknown>): FieldCase['observe'] =>
  (parts) =>
    live(probe)(JSON.parse(JSON.stringify(parts).replaceAll(RUN, randomUUID())) as readonly Part[]);
const fetchCase = (
  name: string,
  config: Partial<JwtAuthentication>,
  probe: (at: LivePlane) => Promise<unknown>,
  expect: unknown,
): FieldCase => ({
  name,
  start: startKeys,
  parts: () => [cluster(staticCluster('keys', [keys.port])), tokens('in', config, [sure])],
  observe: fetching(probe),
  expect,
});

export const policyKeysRetried = fetchCase(
  'policy-keys-retried',
  fetched('later', { retry_policy: QUICK }),
  (at) => statusOf(at, 'in', token()),
  200,
);
export const policyKeysOld = fetchCase(
  'policy-keys-old',
  fetched('good', { cache_duration: '0.02s' }),
  async (at) => {
    const first = await statusOf(at, 'in', token());
    await new Promise((resolve) => setTimeout(resolve, 100));
    return [first, await statusOf(at, 'in', token()), count(at, 'jwks_fetch_success')];
  },
  [200, 200, 2],
);
export const policyKeysAhead = fetchCase(
  'policy-keys-ahead',
  fetched('good', { async_fetch: {} }),
  (at) => reaches(() => count(at, 'jwks_fetch_success') > 0, 3_000),
  true,
);
/** Otherwise a second later: three times at most. */
export const policyKeysAgain = fetchCase(
  'policy-keys-again',
  fetched('bad', { async_fetch: { failed_refetch_duration: '0.02s' } }),
  (at) => reaches(() => count(at, 'jwks_fetch_failed') > 4, 2_900),
  true,
);

// --- what filters before have left

const STATE = {
  name: 'state',
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.filters.network.set_filter_state.v3.Config',
    on_new_connection: [
      { object_key: 'who', factory_key: 'envoy.string', format_string: { text_format_source: { inline_string: 'ann' } } },
    ],
  },
};
const RBAC = 'type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC';
const rules = (permission: Permission, principal: Principal): Rbac_RBAC => ({
  policies: { p: { permissions: [permission], principals: [principal] } },
});
const claims = (value: string) => ({
  filter: 'envoy.filters.http.jwt_authn',
  path: [{ key: 'payload' }, { key: 'sub' }],
  value: { string_match: { exact: value } },
});
const ofRoute = (value: string) => ({
  metadata_source: 'ROUTE' as const,
  metadata_matcher: { filter: 'r', path: [{ key: 'k' }], value: { string_match: { exact: value } } },
});
const ANY = { any: true } as const;
/** Rules, and whether a request with a token is let through. */
const RULES: readonly (readonly [name: string, rules: Rbac_RBAC, status: number])[] = [
  ['metadata', rules({ metadata: claims('alice') }, ANY), 200],
  ['sourced', rules({ sourced_metadata: ofRoute('v') }, ANY), 200],
  ['port', rules({ not_rule: { destination_port: 1 } }, ANY), 200],
  ['name', rules({ requested_server_name: { exact: '' } }, ANY), 200],
  ['p-metadata', rules(ANY, { metadata: claims('alice') }), 200],
  ['p-sourced', rules(ANY, { sourced_metadata: ofRoute('v') }), 200],
  ['p-state', rules(ANY, { filter_state: { key: 'who', string_match: { exact: 'ann' } } }), 200],
  ['p-other-state', rules(ANY, { filter_state: { key: 'who', string_match: { exact: 'bob' } } }), 403],
];
export const policyLeft: FieldCase = {
  name: 'policy-left',
  parts: () => [
    ...RULES.map(([name, config]) =>
      listener(
        chains(name, [
          {
            filters: [
              STATE,
              hcm([{ ...sure, metadata: { filter_metadata: { r: { k: 'v' } } } }], {
                http_filters: [jwtAuthn(of({})), { name: 'rbac', typed_config: { '@type': RBAC, rules: config } }, ROUTER],
              }),
            ],
          },
        ]),
      ),
    ),
    listener(
      chains('state', [
        {
          filters: [
            STATE,
            hcm([sure], {
              http_filters: [
                jwtAuthn({ ...of({}), rules: [], filter_state_rules: { name: 'who', requires: { ann: { provider_name: 'p' } } } }),
                ROUTER,
              ],
            }),
          ],
        },
      ]),
    ),
  ],
  observe: live(async (at) => [
    ...(await Promise.all(RULES.map(([name]) => statusOf(at, name, token())))),
    await statusOf(at, 'state', 'bad'),
    await statusOf(at, 'state', token()),
  ]),
  expect: [...RULES.map(([, , status]) => status), 401, 200],
};

// --- counted

let lines: Backend;
const far: Principal = { direct_remote_ip: { address_prefix: '10.0.0.0', prefix_len: 8 } };
export const policyCounted: FieldCase = {
  name: 'policy-counted',
  start: async () => {
    lines = await startBackend((socket, text) => socket.write(text));
    return lines;
  },
  parts: () => [
    cluster(staticCluster('lines', [lines.port])),
    listener(
      chains('tcp', [
        {
          filters: [
            {
              name: 'rbac',
              typed_config: {
                '@type': 'type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC',
                stat_prefix: 'tcp.',
                shadow_rules: rules(ANY, far),
                shadow_rules_stat_prefix: 'tried.',
              },
            },
            tcpProxy('lines'),
          ],
        },
      ]),
    ),
    listener(
      onLoopback(
        'http',
        hcm([sure], {
          http_filters: [{ name: 'rbac', typed_config: { '@type': RBAC, rules: rules(ANY, far), rules_stat_prefix: 'mine.' } }, ROUTER],
        }),
      ),
    ),
  ],
  observe: live(async (at) => {
    const client = await RawClient.open(at.port('tcp'));
    const answer = await client.send('hi').bytes(2);
    client.close();
    const { status } = await ask(at.port('http'), '/');
    const found = (name: string): number => at.plane.stats.find(name)?.value ?? 0;
    return [answer, status, found('tcp.rbac.tried.shadow_denied'), found('http.test.rbac.mine.denied')];
  }),
  expect: ['hi', 403, 1, 1],
};
