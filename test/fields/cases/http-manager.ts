// What the HTTP connection manager does to requests and answers, whatever their route.
import type { HttpConnectionManager, Listener } from '../../../src/xds/gen/types.ts';
import { type Backend, hcm, listener as onLoopback, RawClient, staticCluster, toCluster } from '../../proxy/harness.ts';
import { cluster, type FieldCase, type LivePlane, listener, live } from '../case.ts';
import { type Answer, type Ask, ask, bodies, echoServer } from '../http-probe.ts';

let echo: Backend;
const start = async () => {
  echo = await echoServer();
  return echo;
};

const manager = (
  name: string,
  more: Partial<HttpConnectionManager>,
  probe: (at: LivePlane) => Promise<unknown>,
  expect: unknown,
  around: Partial<Listener> = {},
): FieldCase => ({
  name,
  start,
  parts: () => [cluster(staticCluster('echo', [echo.port])), listener(onLoopback('in', hcm([toCluster('echo')], more), around))],
  observe: live(probe),
  expect,
});

/** Lines that the backend saw, those that begin with one of the names. */
const told = async (port: number, path: string, names: string, more?: Ask): Promise<string[]> => {
  const { body, status } = await ask(port, path, more);
  if (status !== 200) return [`${status} ${body}`];
  const [first = '', ...headers] = body.split('\n');
  return [first, ...headers.filter((line) => names.split(' ').some((name) => line.startsWith(`${name}:`)))];
};
const header = (answer: Answer, name: string): string => answer.headers.get(name) ?? '-';

export const managerNames = manager(
  'manager-names',
  { server_name: 'here', via: 'via', add_user_agent: true, generate_request_id: false, append_x_forwarded_port: true },
  async ({ port }) => {
    const answer = await ask(port(), '/');
    return [
      header(answer, 'server'),
      header(answer, 'via'),
      ...(await told(port(), '/', 'via user-agent x-forwarded-port')),
      (await ask(port(), '/', { headers: ['x-answer: HTTP/1.1 200 OK\\nserver: own\\ncontent-length: 0\\n\\n'] })).headers.get('server'),
    ];
  },
  ['here', 'via', 'GET / HTTP/1.1', 'user-agent: skein', 'via: via', 'here'],
);

export const managerServerHeader = manager(
  'manager-server-header',
  {
    server_header_transformation: 'PASS_THROUGH',
    always_set_request_id_in_response: true,
    preserve_external_request_id: true,
    use_remote_address: true,
  },
  async ({ port }) => {
    const answer = await ask(port(), '/', {
      headers: ['x-answer: HTTP/1.1 200 OK\\nserver: own\\ncontent-length: 0\\n\\n', 'x-request-id: mine'],
    });
    return [header(answer, 'server'), header(answer, 'x-request-id')];
  },
  ['own', 'mine'],
);

export const managerClient = manager(
  'manager-client',
  {
    use_remote_address: true,
    xff_num_trusted_hops: 1,
  },
  ({ port }) => told(port(), '/', 'x-envoy-internal x-envoy-external-address', { headers: ['x-forwarded-for: 9.9.9.9'] }),
  ['GET / HTTP/1.1', 'x-envoy-external-address: 9.9.9.9'],
);

export const managerForwardedFor = manager(
  'manager-forwarded-for',
  {
    use_remote_address: true,
    skip_xff_append: true,
    internal_address_config: { cidr_ranges: [{ address_prefix: '127.0.0.0', prefix_len: 8 }] },
  },
  ({ port }) => told(port(), '/', 'x-forwarded-for x-envoy-internal'),
  ['GET / HTTP/1.1', 'x-envoy-internal: true'],
);

export const managerPaths = manager(
  'manager-paths',
  { normalize_path: true, merge_slashes: true, path_with_escaped_slashes_action: 'REJECT_REQUEST', strip_trailing_host_dot: true },
  async ({ port }) => [
    ...(await bodies(port(), [['/a/../b'], ['/a//b'], ['/a%2fb']])).map((body) => body.split('\n')[0]),
    ...(await told(port(), '/', 'host', { host: 'a.test.' })),
  ],
  ['GET /b HTTP/1.1', 'GET /a/b HTTP/1.1', '400', 'GET / HTTP/1.1', 'host: a.test'],
);

export const managerAnyPort = manager(
  'manager-any-port',
  { strip_any_host_port: true, scheme_header_transformation: { scheme_to_overwrite: 'https' } },
  async ({ port }) => [
    ...(await told(port(), '/', 'host', { host: 'a.test:1234' })),
    (await ask(port(), '/')).body.includes('x-forwarded-proto: https'),
  ],
  ['GET / HTTP/1.1', 'host: a.test', false],
);

export const managerOwnPort = manager(
  'manager-own-port',
  { strip_matching_host_port: true },
  async ({ port }) => await told(port(), '/', 'host', { host: `a.test:${port()}` }),
  ['GET / HTTP/1.1', 'host: a.test'],
);

export const managerBounds = manager(
  'manager-bounds',
  {
    max_request_headers_kb: 1,
    common_http_protocol_options: { max_headers_count: 5, headers_with_underscores_action: 'DROP_HEADER', max_requests_per_connection: 1 },
  },
  async ({ port }) => [
    (await ask(port(), '/', { headers: [`x-long: ${'x'.repeat(2000)}`] })).status,
    (await ask(port(), '/', { headers: ['a: 1', 'b: 1', 'c: 1', 'd: 1', 'e: 1'] })).status,
    await told(port(), '/', 'a_b a-b', { headers: ['a_b: 1', 'a-b: 2'] }),
    header(await ask(port(), '/'), 'connection'),
  ],
  [431, 431, ['GET / HTTP/1.1', 'a-b: 2'], 'close'],
);

const silent = { headers: ['x-answer: silent'] };
const status = async (asked: Promise<Answer>): Promise<number | string> => {
  try {
    return (await asked).status;
  } catch {
    return 'none';
  }
};
/** Milliseconds until the proxy closes, in steps of a quarter second. */
const untilClosed = async (port: number, text: string): Promise<string> => {
  const client = await RawClient.open(port);
  const from = performance.now();
  const timer = setTimeout(() => client.close(), 1_500);
  client.send(text);
  const rest = await client.rest();
  clearTimeout(timer);
  client.close();
  return `${rest.split('\r\n')[0]} ${performance.now() - from > 1_400 ? 'late' : 'soon'}`;
};

export const managerStreamIdle = manager(
  'manager-stream-idle',
  {
    stream_idle_timeout: '0.05s',
    route_config: { name: 'r', virtual_hosts: [{ name: 'v', domains: ['*'], routes: [toCluster('echo', { timeout: '0s' })] }] },
  },
  ({ port }) => status(ask(port(), '/', silent)),
  504,
);

export const managerRequestTime = manager(
  'manager-request-time',
  { request_timeout: '0.05s' },
  ({ port }) => untilClosed(port(), 'POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 10\r\n\r\n12'),
  'HTTP/1.1 408 Request Timeout soon',
);

export const managerHeadTime = manager(
  'manager-head-time',
  { request_headers_timeout: '0.05s' },
  ({ port }) => untilClosed(port(), 'GET / HTTP/1.1\r\nhost: a.test\r\n'),
  'HTTP/1.1 408 Request Timeout soon',
);

export const managerConnectionIdle = manager(
  'manager-connection-idle',
  { common_http_protocol_options: { idle_timeout: '0.05s' } },
  ({ port }) => untilClosed(port(), 'GET / HTTP/1.1\r\nhost: a.test\r\n\r\n'),
  'HTTP/1.1 200 OK soon',
);

export const managerConnectionTime = manager(
  'manager-connection-time',
  { common_http_protocol_options: { max_connection_duration: '0.05s' }, drain_timeout: '0.01s' },
  ({ port }) => untilClosed(port(), 'GET / HTTP/1.1\r\nhost: a.test\r\n\r\n'),
  'HTTP/1.1 200 OK soon',
);

export const managerStreamTime = manager(
  'manager-stream-time',
  { common_http_protocol_options: { max_stream_duration: '0.05s' } },
  ({ port }) => status(ask(port(), '/', silent)),
  504,
);

export const managerOldHttp = manager(
  'manager-http1',
  {
    codec_type: 'HTTP1',
    http_protocol_options: {
      accept_http_10: true,
      default_host_for_http_10: 'old.test',
      allow_absolute_url: false,
      allow_custom_methods: true,
      header_key_format: { proper_case_words: {} },
      enable_trailers: true,
    },
  },
  async ({ port }) => [
    ...(await told(port(), '/', 'host', { version: '1.0', host: '' })),
    (await ask(port(), 'http://b.test/x')).body.split('\n')[0],
    (await ask(port(), '/', { method: 'UNHEARD' })).status,
    (await ask(port(), '/')).head.split('\n').includes('Content-Length: 27'),
    await untilClosed(port(), 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  ],
  ['GET / HTTP/1.1', 'host: old.test', '', 200, true, 'HTTP/1.1 426 Upgrade Required soon'],
);

export const managerUpgrade = manager(
  'manager-upgrade',
  { upgrade_configs: [{ upgrade_type: 'websocket' }, { upgrade_type: 'off', enabled: false }] },
  async ({ port }) => [
    ...(await told(port(), '/', 'upgrade', {
      headers: ['connection: upgrade', 'upgrade: websocket', 'x-answer: HTTP/1.1 101 Yes\\nconnection: upgrade\\nupgrade: websocket\\n\\n'],
    })),
    ...(await told(port(), '/', 'upgrade', { headers: ['connection: upgrade', 'upgrade: off'] })),
  ],
  ['101 ', '403 '],
);

export const managerReplies = manager(
  'manager-replies',
  {
    route_config: {
      name: 'r',
      validate_clusters: false,
      virtual_hosts: [{ name: 'v', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'none' } }] }],
    },
    local_reply_config: {
      mappers: [
        {
          filter: { header_filter: { header: { name: ':path', string_match: { exact: '/mapped' } } } },
          status_code: 418,
          body: { inline_string: 'own body' },
          body_format_override: { text_format_source: { inline_string: '<%LOCAL_REPLY_BODY%>' }, content_type: 'text/own' },
          headers_to_add: [{ header: { key: 'x-mapped', value: 'yes' } }],
        },
      ],
      body_format: { json_format: { code: '%RESPONSE_CODE%' } },
    },
  },
  async ({ port }) => {
    const mapped = await ask(port(), '/mapped');
    return [
      mapped.status,
      mapped.body,
      header(mapped, 'content-type'),
      header(mapped, 'x-mapped'),
      (await ask(port(), '/other')).body.trim(),
    ];
  },
  [418, '<own body>', 'text/own', 'yes', '{"code":503}'],
);

export const managerDecorator = manager(
  'manager-decorator',
  {
    tracing: {},
    route_config: {
      name: 'r',
      virtual_hosts: [
        {
          name: 'v',
          domains: ['*'],
          routes: [
            { match: { prefix: '/quiet' }, route: { cluster: 'echo' }, decorator: { operation: 'op', propagate: false } },
            { match: { prefix: '/' }, route: { cluster: 'echo' }, decorator: { operation: 'op' } },
          ],
        },
      ],
    },
  },
  async ({ port }) => [
    ...(await told(port(), '/', 'x-envoy-decorator-operation')),
    ...(await told(port(), '/quiet', 'x-envoy-decorator-operation')),
  ],
  ['GET / HTTP/1.1', 'x-envoy-decorator-operation: op', 'GET /quiet HTTP/1.1'],
  { traffic_direction: 'OUTBOUND' },
);

export const managerSuppress = manager(
  'manager-suppress',
  {
    http_filters: [
      {
        name: 'envoy.filters.http.router',
        typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router', suppress_envoy_headers: true },
      },
    ],
  },
  async ({ port }) => header(await ask(port(), '/'), 'x-envoy-upstream-service-time'),
  '-',
);
