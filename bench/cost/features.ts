// The rows of the cost table: what is configured beyond a router with one route, and the request that meets it.
import { generateKeyPairSync, sign } from 'node:crypto';

type Json = { readonly [key: string]: unknown };

export interface Feature {
  readonly id: string;
  readonly title: string;
  /** In front of the router. */
  readonly filters: readonly Json[];
  readonly routes: readonly Json[];
  readonly path: string;
  readonly headers: readonly string[];
}

const FILTERS = 'type.googleapis.com/envoy.extensions.filters.http';
const filter = (name: string, type: string, config: Json): Json => ({
  name: `envoy.filters.http.${name}`,
  typed_config: { '@type': `${FILTERS}.${type}`, ...config },
});
const to = (match: Json): Json => ({ match, route: { cluster: 'backend', timeout: '0s' } });
const ALL = to({ prefix: '/' });
const plain = { filters: [], routes: [ALL], path: '/', headers: [] };

const RULES = 10;
const TOKEN_SECONDS = 24 * 3600;
const ISSUER = 'https://issuer.test';

const base64url = (text: string): string => Buffer.from(text).toString('base64url');

/** A key of our own, and a token that it has signed. `nowMs`: when the table is made. */
const jwt = (nowMs: number): Feature => {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const jwks = { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'one', alg: 'RS256', use: 'sig' }] };
  const now = Math.floor(nowMs / 1000);
  const claims = { iss: ISSUER, sub: 'client', aud: 'bench', iat: now, exp: now + TOKEN_SECONDS };
  const signed = `${base64url(JSON.stringify({ alg: 'RS256', kid: 'one', typ: 'JWT' }))}.${base64url(JSON.stringify(claims))}`;
  const signature = sign('RSA-SHA256', Buffer.from(signed), privateKey).toString('base64url');
  return {
    ...plain,
    id: 'jwt',
    title: 'JWT: RS256, keys in the configuration',
    filters: [
      filter('jwt_authn', 'jwt_authn.v3.JwtAuthentication', {
        providers: { one: { issuer: ISSUER, audiences: ['bench'], local_jwks: { inline_string: JSON.stringify(jwks) } } },
        rules: [{ match: { prefix: '/' }, requires: { provider_name: 'one' } }],
      }),
    ],
    headers: [`Authorization: Bearer ${signed}.${signature}`],
  };
};

/** The last of ten lets the request through: each rule before it asks for another path and another header. */
const rbac = (): Feature => ({
  ...plain,
  id: 'rbac',
  title: `RBAC: ${RULES} rules, the last one allows`,
  filters: [
    filter('rbac', 'rbac.v3.RBAC', {
      rules: {
        action: 'ALLOW',
        policies: Object.fromEntries(
          Array.from({ length: RULES }, (_, i) => [
            `rule-${i}`,
            {
              permissions: [
                {
                  and_rules: {
                    rules: [{ header: method('GET') }, { url_path: { path: { prefix: i === RULES - 1 ? '/' : `/area-${i}/` } } }],
                  },
                },
              ],
              principals: [{ header: { name: 'x-user', string_match: { exact: i === RULES - 1 ? 'client' : `user-${i}` } } }],
            },
          ]),
        ),
      },
    }),
  ],
  headers: ['X-User: client'],
});
const method = (name: string): Json => ({ name: ':method', string_match: { exact: name } });

const always = (name: string): Json => ({ runtime_key: name, default_value: { numerator: 100 } });

const localLimit = (): Feature => ({
  ...plain,
  id: 'local-limit',
  title: 'Local rate limit: enforced, never hit',
  filters: [
    filter('local_ratelimit', 'local_ratelimit.v3.LocalRateLimit', {
      stat_prefix: 'limit',
      token_bucket: { max_tokens: 1_000_000_000, tokens_per_fill: 1_000_000_000, fill_interval: '1s' },
      filter_enabled: always('limit_enabled'),
      filter_enforced: always('limit_enforced'),
    }),
  ],
});

const fault = (): Feature => ({
  ...plain,
  id: 'fault',
  title: 'Fault: delay and abort of 0 %',
  filters: [
    filter('fault', 'fault.v3.HTTPFault', {
      delay: { fixed_delay: '1s', percentage: { numerator: 0 } },
      abort: { http_status: 503, percentage: { numerator: 0 } },
    }),
  ],
});

const manyRoutes = (count: number): Feature => ({
  ...plain,
  id: `routes-${count}`,
  title: `${count.toLocaleString('en')} routes by prefix, the last one matches`,
  routes: [...Array.from({ length: count - 1 }, (_, i) => to({ prefix: `/service-${i}/` })), ALL],
});

const regexRoute = (): Feature => ({
  ...plain,
  id: 'regex',
  title: 'A route by regular expression',
  routes: [to({ safe_regex: { regex: '/api/v[0-9]+/users/[^/]+/orders' } })],
  path: '/api/v2/users/some-user/orders',
});

/** The first is what the others are compared with. */
export const features = (nowMs: number): readonly [Feature, ...Feature[]] => [
  { ...plain, id: 'base', title: 'router, one route' },
  jwt(nowMs),
  rbac(),
  localLimit(),
  fault(),
  manyRoutes(100),
  manyRoutes(1_000),
  regexRoute(),
];

/** The same bootstrap for both proxies. */
export const bootstrapOf = (feature: Feature, port: number, backendPort: number): string => {
  const address = (of: number): Json => ({ socket_address: { address: '127.0.0.1', port_value: of } });
  const hcm = {
    '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
    stat_prefix: 'cost',
    stream_idle_timeout: '0s',
    route_config: { name: 'cost', virtual_hosts: [{ name: 'all', domains: ['*'], routes: feature.routes }] },
    http_filters: [...feature.filters, filter('router', 'router.v3.Router', {})],
  };
  const most = 100_000;
  return JSON.stringify(
    {
      node: { id: feature.id, cluster: 'bench' },
      static_resources: {
        listeners: [
          {
            name: 'in',
            address: address(port),
            filter_chains: [{ filters: [{ name: 'envoy.filters.network.http_connection_manager', typed_config: hcm }] }],
          },
        ],
        clusters: [
          {
            name: 'backend',
            type: 'STATIC',
            connect_timeout: '10s',
            circuit_breakers: { thresholds: [{ max_connections: most, max_pending_requests: most, max_requests: most }] },
            load_assignment: { cluster_name: 'backend', endpoints: [{ lb_endpoints: [{ endpoint: { address: address(backendPort) } }] }] },
          },
        ],
      },
    },
    null,
    1,
  );
};
