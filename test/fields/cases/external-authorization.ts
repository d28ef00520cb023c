// External authorization: over gRPC, over HTTP, and of connections. The servers deny most and say in the answer what they were told.
import type { CheckRequest, CheckResponse, HttpConnectionManager, Listener_Filter, Route } from '../../../src/xds/gen/types.ts';
import { type AuthzServer, grpcAuthz, httpAuthz } from '../../proxy/ext-authz-rig.ts';
import { type Backend, hcm, listener as onLoopback, RawClient, ROUTER, staticCluster, tcpProxy } from '../../proxy/harness.ts';
import { HTTP2_CLUSTER } from '../../proxy/http2-peers.ts';
import { cluster, type FieldCase, type LivePlane, listener, live } from '../case.ts';
import { ask, echoServer } from '../http-probe.ts';

const HTTP = 'type.googleapis.com/envoy.extensions.filters.http';
const NAME = 'envoy.filters.http.ext_authz';

interface Servers {
  readonly grpc: AuthzServer;
  readonly http: Backend;
  readonly echo: Backend;
}
let servers: Servers;

const told = (request: CheckRequest): string => {
  const { request: asked, context_extensions, metadata_context, route_metadata_context, tls_session } = request.attributes ?? {};
  const { headers, header_map, body, size } = asked?.http ?? {};
  const raw = header_map?.headers?.map((h) => h.key).filter((key) => key?.startsWith('x-t'));
  const names = Object.entries(headers ?? {}).filter(([key]) => key.startsWith('x-t') || key.endsWith('partial-body'));
  const bytes = asked?.http?.raw_body === undefined ? undefined : Buffer.from(asked.http.raw_body).toString();
  const metadata = [metadata_context?.filter_metadata, route_metadata_context?.filter_metadata];
  return JSON.stringify([Object.fromEntries(names), raw, body, bytes, size, context_extensions, metadata, tls_session !== undefined]);
};

/** `x-t-answer` chooses; everything else is denied with what was told. */
const decide = (request: CheckRequest): CheckResponse | number | 'silent' => {
  const headers = request.attributes?.request?.http?.headers ?? {};
  switch (headers['x-t-answer']) {
    case 'fail':
      return 14;
    case 'silent':
      return 'silent';
    case 'elsewhere':
      return { ok_response: { headers: [{ header: { key: 'x-to', value: 'b' } }] }, dynamic_metadata: { user: 'ann' } };
    case 'bad':
      return { ok_response: { headers: [{ header: { key: 'a b', value: 'c' } }] } };
    default:
      return { status: { code: 7 }, denied_response: { status: { code: 'Unauthorized' }, body: told(request) } };
  }
};

const start = async (): Promise<AsyncDisposable> => {
  const grpc = await grpcAuthz(decide);
  const http = await httpAuthz();
  const echo = await echoServer();
  servers = { grpc, http, echo };
  return {
    [Symbol.asyncDispose]: async () => {
      for (const server of [grpc, http, echo]) await server[Symbol.asyncDispose]();
    },
  };
};
const clusters = () => [
  cluster(staticCluster('grpc', [servers.grpc.port], HTTP2_CLUSTER)),
  cluster(staticCluster('http', [servers.http.port])),
  cluster(staticCluster('echo', [servers.echo.port])),
];
const manager = (name: string, config: object, routes: readonly Route[], more: Partial<HttpConnectionManager> = {}) =>
  listener(
    onLoopback(
      name,
      hcm(routes, {
        http_filters: [{ name: NAME, typed_config: { '@type': `${HTTP}.ext_authz.v3.ExtAuthz`, ...config } }, ROUTER],
        ...more,
      }),
    ),
  );
const grpc_service = { envoy_grpc: { cluster_name: 'grpc' }, timeout: '1s' };
const own = (settings: object): Pick<Route, 'typed_per_filter_config'> => ({
  typed_per_filter_config: { [NAME]: { '@type': `${HTTP}.ext_authz.v3.ExtAuthzPerRoute`, ...settings } },
});
const answer = (status: number, more: Partial<Route> = {}): Route => ({ match: { prefix: '/' }, direct_response: { status }, ...more });
const T = (value: string): readonly string[] => [`x-t-answer: ${value}`];
const seen = async (at: LivePlane, name: string, path: string, more: Parameters<typeof ask>[2] = {}): Promise<string> => {
  const { status, body, headers } = await ask(at.port(name), path, more);
  return [status, body, headers.get('x-user') ?? '', headers.get('x-seen') ?? ''].join(' ').trim();
};
const count = (at: LivePlane, name: string): number => at.plane.stats.find(name)?.value ?? 0;
const md = (filter: string) => ({ filter_metadata: { [filter]: { k: 'v' } } });
const exact = (text: string) => ({ patterns: [{ exact: text }] });

export const extAuthzGrpc: FieldCase = {
  name: 'ext-authz-grpc',
  start,
  parts: () => [
    ...clusters(),
    manager(
      'a',
      {
        grpc_service,
        with_request_body: { max_request_bytes: 4, allow_partial_message: true },
        status_on_error: { code: 'BadGateway' },
        clear_route_cache: true,
        stat_prefix: 'pre',
        allowed_headers: { patterns: [{ prefix: 'x-t' }] },
        disallowed_headers: exact('x-t-no'),
        include_tls_session: true,
        route_metadata_context_namespaces: ['r'],
        metadata_context_namespaces: ['envoy.filters.http.ext_authz'],
        validate_mutations: true,
      },
      [
        answer(201, { match: { prefix: '/', headers: [{ name: 'x-to', string_match: { exact: 'b' } }] } }),
        answer(200, { match: { prefix: '/off' }, ...own({ disabled: true }) }),
        answer(200, {
          match: { prefix: '/own' },
          ...own({ check_settings: { context_extensions: { k: 'v' }, with_request_body: { max_request_bytes: 3, pack_as_bytes: true } } }),
        }),
        answer(200, { match: { prefix: '/bare' }, ...own({ check_settings: { disable_request_body_buffering: true } }) }),
        answer(200, {
          match: { prefix: '/http' },
          ...own({ check_settings: { http_service: { server_uri: { uri: 'x', cluster: 'http', timeout: '1s' } } } }),
        }),
        answer(200, { metadata: md('r') }),
      ],
    ),
  ],
  observe: live(async (at) => {
    const post = (body: string) => ({ method: 'POST', body });
    return [
      await seen(at, 'a', '/', { headers: ['x-t-a: 1', 'x-t-no: 2', 'y: 3'] }),
      await seen(at, 'a', '/', post('hello')),
      await seen(at, 'a', '/own', post('hel')),
      await seen(at, 'a', '/own', post('hell')),
      await seen(at, 'a', '/bare', post('hello')),
      await seen(at, 'a', '/off'),
      await seen(at, 'a', '/http', { headers: T('HTTP/1.1 402 No|content-length: 0||') }),
      await seen(at, 'a', '/', { headers: T('fail') }),
      await seen(at, 'a', '/', { headers: T('silent') }),
      await seen(at, 'a', '/', { headers: T('elsewhere') }),
      await seen(at, 'a', '/', { headers: T('bad') }),
      count(at, 'http.test.ext_authz.pre.denied'),
    ];
  }),
  expect: [
    '401 [{"x-t-a":"1"},null,null,null,null,null,[null,{"r":{"k":"v"}}],true]',
    '401 [{"x-envoy-auth-partial-body":"true"},null,"hell",null,5,null,[null,{"r":{"k":"v"}}],true]',
    '401 [{"x-envoy-auth-partial-body":"false"},null,null,"hel",3,{"k":"v"},[null,null],true]',
    '413 Payload Too Large',
    '401 [{},null,null,null,null,null,[null,null],true]',
    '200',
    '200',
    '502',
    '502',
    '201',
    '500',
    4,
  ],
};

export const extAuthzModes: FieldCase = {
  name: 'ext-authz-modes',
  start,
  parts: () => [
    ...clusters(),
    manager('open', { grpc_service, failure_mode_allow: true, failure_mode_allow_header_add: true }, [
      { match: { prefix: '/' }, route: { cluster: 'echo' } },
    ]),
    manager('share', { grpc_service, filter_enabled: { default_value: { numerator: 0 } } }, [answer(200)]),
    manager(
      'deny',
      { grpc_service, filter_enabled: { default_value: { numerator: 0 } }, deny_at_disable: { default_value: true, runtime_key: 'k' } },
      [answer(200)],
    ),
    manager(
      'metadata',
      {
        grpc_service,
        filter_enabled_metadata: { filter: 'none', path: [{ key: 'k' }], value: { string_match: { exact: 'v' } } },
      },
      [answer(200)],
    ),
    manager('raw', { grpc_service, encode_raw_headers: true, charge_cluster_response_stats: false }, [
      { match: { prefix: '/' }, route: { cluster: 'echo' } },
    ]),
    manager('untold', { grpc_service, enable_dynamic_metadata_ingestion: false }, [
      answer(200, {
        response_headers_to_add: [{ header: { key: 'x-user', value: '%DYNAMIC_METADATA(envoy.filters.http.ext_authz:user)%' } }],
      }),
    ]),
  ],
  observe: live(async (at) => [
    (await seen(at, 'open', '/', { headers: T('fail') })).includes('x-envoy-auth-failure-mode-allowed'),
    await seen(at, 'share', '/'),
    await seen(at, 'deny', '/'),
    await seen(at, 'metadata', '/'),
    await seen(at, 'raw', '/', { headers: ['x-t-a: 1'] }),
    count(at, 'cluster.echo.upstream_rq_4xx'),
    await seen(at, 'untold', '/', { headers: T('elsewhere') }),
  ]),
  expect: [true, '200', '403', '200', '401 [{},["x-t-a"],null,null,null,null,[null,null],false]', 0, '200'],
};

const list = (name: string) => ({ patterns: [{ exact: name }] });
export const extAuthzHttp: FieldCase = {
  name: 'ext-authz-http',
  start,
  parts: () => [
    ...clusters(),
    manager(
      'in',
      {
        http_service: {
          server_uri: { uri: 'http://a', cluster: 'http', timeout: '1s' },
          path_prefix: '/pre',
          authorization_request: { allowed_headers: { patterns: [{ prefix: 'x-' }] }, headers_to_add: [{ key: 'x-added', value: 'v' }] },
          authorization_response: {
            allowed_upstream_headers: list('x-u'),
            allowed_upstream_headers_to_append: list('x-ap'),
            allowed_client_headers: list('x-user'),
            allowed_client_headers_on_success: list('x-seen'),
            dynamic_metadata_from_headers: list('x-md'),
          },
        },
      },
      [
        {
          match: { prefix: '/' },
          route: { cluster: 'echo' },
          request_headers_to_remove: ['x-answer'],
          request_headers_to_add: [{ header: { key: 'x-told', value: '%DYNAMIC_METADATA(envoy.filters.http.ext_authz:x-md)%' } }],
        },
      ],
    ),
    manager(
      'over',
      {
        http_service: { server_uri: { uri: 'http://a', cluster: 'http', timeout: '1s' }, path_override: '/over' },
        allowed_headers: list('x-answer'),
      },
      [answer(200)],
    ),
  ],
  observe: live(async (at) => {
    const allowed = 'x-answer: HTTP/1.1 200 OK|content-length: 0|x-u: 1|x-ap: 2|x-seen: 3|x-user: 4|x-md: 5||';
    const denied = 'x-answer: HTTP/1.1 401 No|content-length: 2|x-seen: 9|x-user: 4||no';
    return [
      await seen(at, 'in', '/p', { headers: ['x-ap: 0', allowed] }),
      await seen(at, 'in', '/p', { headers: [denied] }),
      await seen(at, 'in', '/p', { headers: ['x-answer: echo'] }),
      await seen(at, 'over', '/p', { headers: ['x-answer: echo'] }),
    ];
  }),
  expect: [
    '200 GET /p HTTP/1.1\nhost: a.test\nx-ap: 0\nx-ap: 2\nx-told: 5\nx-u: 1  3',
    '401 no 4',
    '402 GET /pre/p x-added: v',
    '402 GET /over',
  ],
};

const connections = (more: object = {}): Listener_Filter => ({
  name: 'envoy.filters.network.ext_authz',
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.filters.network.ext_authz.v3.ExtAuthz',
    stat_prefix: 'l4',
    grpc_service,
    ...more,
  },
});
let connectionServer: AuthzServer;
let silentServer: AuthzServer;
let web: Backend;
const knock = async (port: number): Promise<string> => {
  const client = await RawClient.open(port);
  const timer = setTimeout(() => client.close(), 1_000);
  const text = await client
    .send('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
    .response()
    .then((r) => String(r.status))
    .catch(() => 'closed');
  clearTimeout(timer);
  client.close();
  return text;
};

export const extAuthzConnections: FieldCase = {
  name: 'ext-authz-connections',
  start: async () => {
    connectionServer = await grpcAuthz((request) => (request.attributes?.tls_session === undefined ? {} : { status: { code: 7 } }));
    silentServer = await grpcAuthz(() => 14);
    web = await echoServer();
    return {
      [Symbol.asyncDispose]: async () => {
        for (const server of [connectionServer, silentServer, web]) await server[Symbol.asyncDispose]();
      },
    };
  },
  parts: () => [
    cluster(staticCluster('grpc', [connectionServer.port], HTTP2_CLUSTER)),
    cluster(staticCluster('failing', [silentServer.port], HTTP2_CLUSTER)),
    cluster(staticCluster('web', [web.port])),
    listener(
      onLoopback('denied', tcpProxy('web'), {
        filter_chains: [{ filters: [connections({ include_tls_session: true }), tcpProxy('web')] }],
      }),
    ),
    listener(
      onLoopback('open', tcpProxy('web'), {
        filter_chains: [
          {
            filters: [
              connections({ stat_prefix: 'open', grpc_service: { envoy_grpc: { cluster_name: 'failing' } }, failure_mode_allow: true }),
              tcpProxy('web'),
            ],
          },
        ],
      }),
    ),
    listener(
      onLoopback('off', tcpProxy('web'), {
        filter_chains: [
          {
            filters: [
              connections({
                stat_prefix: 'off',
                include_tls_session: true,
                filter_enabled_metadata: { filter: 'none', path: [{ key: 'k' }], value: { present_match: true } },
              }),
              tcpProxy('web'),
            ],
          },
        ],
      }),
    ),
  ],
  observe: live(async (at) => [
    await knock(at.port('denied')),
    await knock(at.port('open')),
    await knock(at.port('off')),
    ...['l4.denied', 'open.error', 'off.disabled'].map((name) => count(at, `ext_authz.${name}`)),
  ]),
  expect: ['closed', '200', '200', 1, 1, 1],
};
