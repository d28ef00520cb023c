// How often requests may come, and how much of a body is waited for.
import type {
  AnyMessage,
  HttpFilter,
  LocalRateLimitDescriptor,
  RateLimit_Action,
  Route,
  Route_RateLimit,
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
import { cluster, type FieldCase, listener, live } from '../case.ts';
import { type Ask, ask, echoServer } from '../http-probe.ts';

let echo: Backend;
const start = async () => {
  echo = await echoServer();
  return echo;
};
const TYPE = 'type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit';
const NAME = 'envoy.filters.http.local_ratelimit';
const ALWAYS = { default_value: { numerator: 100 } };
const bucket = (max_tokens: number) => ({ max_tokens, tokens_per_fill: 1, fill_interval: '100s' });
const limit = (more: object): AnyMessage => ({
  '@type': TYPE,
  stat_prefix: 'rl',
  token_bucket: bucket(1),
  filter_enabled: ALWAYS,
  filter_enforced: ALWAYS,
  ...more,
});
const limiting = (
  name: string,
  filter: AnyMessage,
  routes: readonly Route[],
  asks: readonly (readonly [path: string, more?: Ask])[],
  look: (answers: readonly Awaited<ReturnType<typeof ask>>[]) => unknown,
  expect: unknown,
): FieldCase => ({
  name,
  start,
  parts: () => [
    cluster(staticCluster('echo', [echo.port])),
    listener(onLoopback('in', hcm(routes, { http_filters: [{ name: NAME, typed_config: filter } as HttpFilter, ROUTER] }))),
  ],
  observe: live(
    async ({ port }) => {
      const answers: Awaited<ReturnType<typeof ask>>[] = [];
      for (const [path, more] of asks) answers.push(await ask(port(), path, more));
      return look(answers);
    },
    () => ({ random: () => 0.5 }),
  ),
  expect,
});
const to = (prefix: string, more: Partial<Route> = {}): Route => ({ match: { prefix }, route: { cluster: 'echo' }, ...more });
const perRoute = (more: object) => ({ typed_per_filter_config: { [NAME]: limit(more) } });
const statuses = (answers: readonly { readonly status: number }[]): number[] => answers.map((a) => a.status);

export const localLimit = limiting(
  'local-limit',
  limit({
    status: { code: 'TooManyRequests' },
    response_headers_to_add: [{ header: { key: 'x-limited', value: 'yes' } }],
    enable_x_ratelimit_headers: 'DRAFT_VERSION_03',
  }),
  [
    to('/status', perRoute({ token_bucket: bucket(1), status: { code: 'ServiceUnavailable' } })),
    to('/off', perRoute({ filter_enabled: { default_value: { numerator: 10 } } })),
    to(
      '/tried',
      perRoute({
        filter_enforced: { default_value: { numerator: 10 } },
        request_headers_to_add_when_not_enforced: [{ header: { key: 'x-over', value: 'yes' } }],
      }),
    ),
    to('/'),
  ],
  [['/'], ['/'], ['/status'], ['/status'], ['/off'], ['/off'], ['/tried'], ['/tried']],
  (answers) => [
    statuses(answers),
    answers[1]?.headers.get('x-limited'),
    answers[1]?.headers.get('x-ratelimit-limit'),
    answers[7]?.body.includes('x-over: yes'),
  ],
  [[200, 429, 200, 503, 200, 200, 200, 200], 'yes', '1', true],
);

/** An action, and the descriptor that it makes of a request. */
const ACTIONS: readonly (readonly [name: string, action: RateLimit_Action, key: string, value: string])[] = [
  ['generic', { generic_key: { descriptor_key: 'g', descriptor_value: 'one' } }, 'g', 'one'],
  ['header', { request_headers: { header_name: 'x-user', descriptor_key: 'user' } }, 'user', 'alice'],
  [
    'path',
    { header_value_match: { descriptor_key: 'm', descriptor_value: 'yes', headers: [{ name: 'x-user', present_match: true }] } },
    'm',
    'yes',
  ],
  [
    'none',
    { header_value_match: { descriptor_value: 'no', expect_match: false, headers: [{ name: 'x-absent', present_match: true }] } },
    'header_match',
    'no',
  ],
  [
    'query',
    { query_parameter_value_match: { descriptor_value: 'q', query_parameters: [{ name: 'a', present_match: true }] } },
    'query_match',
    'q',
  ],
  ['remote', { remote_address: {} }, 'remote_address', '127.0.0.1'],
  ['cluster', { destination_cluster: {} }, 'destination_cluster', 'echo'],
];
const descriptors: readonly LocalRateLimitDescriptor[] = ACTIONS.map(([, , key, value]) => ({
  entries: [{ key, value }],
  token_bucket: bucket(1),
}));
const limits = (action: RateLimit_Action): readonly Route_RateLimit[] => [{ actions: [action] }];

export const limitActions = limiting(
  'limit-actions',
  limit({ token_bucket: bucket(1000), descriptors }),
  ACTIONS.map(([name, action]) => ({ match: { prefix: `/${name}` }, route: { cluster: 'echo', rate_limits: limits(action) } })),
  ACTIONS.flatMap(([name]) => {
    const asked = [`/${name}?a=1`, { headers: ['x-user: alice'] }] as const;
    return [asked, asked];
  }),
  statuses,
  ACTIONS.flatMap(() => [200, 429]),
);

// --- connections

let lines: Backend;
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
export const limitConnectionRate: FieldCase = {
  name: 'limit-connection-rate',
  start: async () => {
    lines = await startBackend((socket, text) => socket.write(text));
    return lines;
  },
  parts: () => [
    cluster(staticCluster('lines', [lines.port])),
    listener(
      chains('in', [
        {
          filters: [
            {
              name: 'limit',
              typed_config: {
                '@type': 'type.googleapis.com/envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit',
                stat_prefix: 'rate',
                token_bucket: bucket(1),
              },
            },
            tcpProxy('lines'),
          ],
        },
      ]),
    ),
  ],
  observe: live(async ({ port }) => [await through(port()), await through(port())]),
  expect: ['hi', 'closed'],
};

// --- bodies

const BUFFER = 'type.googleapis.com/envoy.extensions.filters.http.buffer.v3';
export const buffers: FieldCase = {
  name: 'buffer',
  start,
  parts: () => [
    cluster(staticCluster('echo', [echo.port])),
    listener(
      onLoopback(
        'in',
        hcm(
          [
            to('/off', { typed_per_filter_config: { buffer: { '@type': `${BUFFER}.BufferPerRoute`, disabled: true } } }),
            to('/less', { typed_per_filter_config: { buffer: { '@type': `${BUFFER}.BufferPerRoute`, buffer: { max_request_bytes: 3 } } } }),
            to('/'),
          ],
          { http_filters: [{ name: 'buffer', typed_config: { '@type': `${BUFFER}.Buffer`, max_request_bytes: 8 } }, ROUTER] },
        ),
      ),
    ),
  ],
  observe: live(async ({ port }) => {
    const post = async (path: string, bytes: number): Promise<number> =>
      (await ask(port(), path, { method: 'POST', body: 'x'.repeat(bytes) })).status;
    return [await post('/', 5), await post('/', 20), await post('/off', 20), await post('/less', 5)];
  }),
  expect: [200, 413, 200, 413],
};
