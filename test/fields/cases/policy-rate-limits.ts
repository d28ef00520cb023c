// A rate limit service that is asked: it refuses with what it was asked, so that an answer tells of every descriptor.
import { randomUUID } from 'node:crypto';
import { frameMessage } from '../../../src/wire/grpc-frames.ts';
import { decode, encode } from '../../../src/xds/codec.ts';
import type {
  GrpcService,
  HttpConnectionManager,
  HttpFilter,
  HttpRatelimit_RateLimit,
  RateLimit_Action,
  RateLimitPerRoute,
  RateLimitRequest,
  RateLimitResponse,
  Route,
  Route_RateLimit,
  VirtualHost,
} from '../../../src/xds/gen/types.ts';
import { type Backend, hcm, listener as onLoopback, ROUTER, staticCluster } from '../../proxy/harness.ts';
import { HTTP2_CLUSTER, type Http2Backend, http2Backend } from '../../proxy/http2-peers.ts';
import { cluster, type FieldCase, type LivePlane, listener, live, type Part } from '../case.ts';
import { type Answer, type Ask, ask, echoServer } from '../http-probe.ts';

const HTTP = 'type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3';

let echo: Backend;
let service: Http2Backend;
/** Who waits for a question that has the value in a descriptor. */
const waiting = new Map<string, (asked: string) => void>();

const entriesOf = (request: RateLimitRequest): string =>
  JSON.stringify(
    (request.descriptors ?? []).map(({ entries, limit, hits_addend, is_negative_hits }) => [
      ...(entries ?? []).map((e) => `${e.key}=${e.value}`),
      ...(limit === undefined ? [] : [`limit ${limit.requests_per_unit} ${limit.unit}`]),
      ...(hits_addend === undefined ? [] : [`hits ${is_negative_hits === true ? '-' : ''}${hits_addend}`]),
    ]),
  );

/** The domain chooses. */
const decide = (request: RateLimitRequest, head: Record<string, unknown>): RateLimitResponse | number | 'silent' => {
  switch (request.domain) {
    case 'silent':
      return 'silent';
    case 'error':
      return 14;
    case 'metadata':
      return { overall_code: 'OK', dynamic_metadata: { user: { name: 'ann' }, limit: { requests_per_unit: 7, unit: 'HOUR' } } };
    case 'head': {
      const told = [head[':authority'], head['x-called'] ?? '-', head['x-envoy-internal'] === undefined ? 'bare' : 'marked'];
      return { overall_code: 'OVER_LIMIT', raw_body: Buffer.from(told.join(' ')) };
    }
    default:
      return {
        overall_code: 'OVER_LIMIT',
        raw_body: Buffer.from(`${request.domain} ${entriesOf(request)}`),
        statuses: [
          {
            code: 'OVER_LIMIT',
            current_limit: { requests_per_unit: 5, unit: 'MINUTE' },
            limit_remaining: 0,
            duration_until_reset: '7s',
          },
        ],
      };
  }
};

const start = async (): Promise<AsyncDisposable> => {
  echo = await echoServer();
  service = await http2Backend((stream, head) => {
    const got: Buffer[] = [];
    stream.on('error', () => {});
    stream.on('data', (bytes: Buffer) => got.push(bytes));
    stream.on('end', () => {
      const request = decode('envoy.service.ratelimit.v3.RateLimitRequest', Buffer.concat(got).subarray(5));
      for (const { entries } of request.descriptors ?? [])
        for (const { value } of entries ?? []) waiting.get(value ?? '')?.(entriesOf(request).replaceAll(value ?? '', 'RUN'));
      const said = decide(request, head);
      if (request.domain === 'later') setTimeout(() => answer(said), 300);
      else answer(said);
    });
    const answer = (said: ReturnType<typeof decide>): void => {
      if (said === 'silent' || stream.destroyed) return;
      if (typeof said === 'number') {
        stream.respond({ 'content-type': 'application/grpc', 'grpc-status': String(said) }, { endStream: true });
        return;
      }
      stream.respond({ 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.end(frameMessage(encode('envoy.service.ratelimit.v3.RateLimitResponse', said)));
    };
  });
  const servers = [echo, service];
  return {
    [Symbol.asyncDispose]: async () => {
      for (const server of servers) await server[Symbol.asyncDispose]();
    },
  };
};

const clusters = (): Part[] => [
  cluster(staticCluster('echo', [echo.port], { metadata: { filter_metadata: { c: { name: 'of-cluster' } } } })),
  cluster(staticCluster('rls', [service.port], HTTP2_CLUSTER)),
];
const filter = (name: string, more: HttpRatelimit_RateLimit, grpc: Partial<GrpcService> = {}): HttpFilter => ({
  name,
  typed_config: {
    '@type': `${HTTP}.RateLimit`,
    domain: 'd',
    timeout: '3s',
    rate_limit_service: { transport_api_version: 'V3', grpc_service: { envoy_grpc: { cluster_name: 'rls' }, ...grpc } },
    ...more,
  },
});
const generic = (value: string, more: Partial<Route_RateLimit> = {}): Route_RateLimit => ({
  actions: [{ generic_key: { descriptor_value: value } }],
  ...more,
});
const own = (settings: RateLimitPerRoute, name = 'main'): Pick<Route, 'typed_per_filter_config'> => ({
  typed_per_filter_config: { [name]: { '@type': `${HTTP}.RateLimitPerRoute`, ...settings } },
});
const to = (prefix: string, limits: readonly Route_RateLimit[], more: Partial<Route> = {}): Route => ({
  match: { prefix },
  route: { cluster: 'echo', ...(limits.length === 0 ? {} : { rate_limits: limits }) },
  ...more,
});
const asking = (
  name: string,
  filters: readonly HttpFilter[],
  routes: readonly Route[],
  host: Partial<VirtualHost> = {},
  more: Partial<HttpConnectionManager> = {},
): Part =>
  listener(
    onLoopback(
      name,
      hcm([], {
        route_config: { name: 'r', virtual_hosts: [{ name: 'v', domains: ['*'], routes, ...host }] },
        http_filters: [...filters, ROUTER],
        ...more,
      }),
    ),
  );
const limitedCase = (
  name: string,
  listeners: () => readonly Part[],
  observe: (at: LivePlane) => Promise<unknown>,
  expect: unknown,
): FieldCase => ({
  name,
  start,
  parts: () => [...clusters(), ...listeners()],
  observe: live(observe, () => ({ random: () => 0.5, nodeCluster: 'own' })),
  expect,
});
const said = async (at: LivePlane, path: string, more?: Ask, name?: string): Promise<string> => {
  const { status, body } = await ask(at.port(name), path, more);
  return status === 200 ? '200' : `${status} ${body}`;
};

// --- what descriptors are made of

const key = (filter: string, ...path: string[]) => ({ key: filter, path: path.map((part) => ({ key: part })) });
const ME = { address_prefix: '127.0.0.0', prefix_len: 8 };
/** Actions, what they are asked with, and the descriptors that are made. */
const ACTIONS: readonly (readonly [
  name: string,
  actions: readonly RateLimit_Action[],
  query: string,
  headers: readonly string[],
  made: string,
])[] = [
  ['source', [{ source_cluster: {} }, { destination_cluster: {} }], '', [], '["source_cluster=own","destination_cluster=echo"]'],
  ['masked', [{ masked_remote_address: { v4_prefix_mask_len: 16 } }], '', [], '["masked_remote_address=127.0.0.0/16"]'],
  [
    'masked-6',
    [{ masked_remote_address: { v6_prefix_mask_len: 32 } }],
    '',
    ['x-forwarded-for: 2001:db8:1::1'],
    '["masked_remote_address=2001:db8::/32"]',
  ],
  ['query', [{ query_parameters: { query_parameter_name: 'a', descriptor_key: 'k' } }], '?a=1', [], '["k=1"]'],
  [
    'skips',
    [
      { query_parameters: { query_parameter_name: 'a', descriptor_key: 'k', skip_if_absent: true } },
      { request_headers: { header_name: 'x-no', descriptor_key: 'h', skip_if_absent: true } },
      { metadata: { descriptor_key: 'm', metadata_key: key('none', 'x'), skip_if_absent: true } },
      { generic_key: { descriptor_value: 'g' } },
    ],
    '',
    [],
    '["generic_key=g"]',
  ],
  [
    'address',
    [{ remote_address_match: { descriptor_key: 'from', descriptor_value: 'me', address_matcher: { ranges: [ME] } } }],
    '',
    [],
    '["from=me"]',
  ],
  [
    'elsewhere',
    [
      {
        remote_address_match: {
          descriptor_value: 'other',
          address_matcher: { ranges: [{ address_prefix: '9.0.0.0', prefix_len: 8 }], invert_match: true },
        },
      },
    ],
    '',
    [],
    '["remote_address_match=other"]',
  ],
  [
    'unasked',
    [
      {
        query_parameter_value_match: {
          descriptor_key: 'q',
          descriptor_value: 'no',
          expect_match: false,
          query_parameters: [{ name: 'a', string_match: { exact: 'x' } }],
        },
      },
    ],
    '?a=1',
    [],
    '["q=no"]',
  ],
  ['dynamic', [{ dynamic_metadata: { descriptor_key: 'u', metadata_key: key('ns', 'user', 'name') } }], '', [], '["u=ann"]'],
  [
    'default',
    [
      { dynamic_metadata: { descriptor_key: 'u', metadata_key: key('none', 'x'), default_value: 'nobody' } },
      { metadata: { descriptor_key: 'm', metadata_key: key('none', 'x'), default_value: 'none' } },
    ],
    '',
    [],
    '["u=nobody","m=none"]',
  ],
  [
    'metadata',
    [
      { metadata: { descriptor_key: 'd', metadata_key: key('ns', 'user', 'name') } },
      { metadata: { descriptor_key: 'r', metadata_key: key('r', 'name'), source: 'ROUTE_ENTRY' } },
      { metadata: { descriptor_key: 'c', metadata_key: key('c', 'name'), source: 'CLUSTER_ENTRY' } },
    ],
    '',
    [],
    '["d=ann","r=of-route","c=of-cluster"]',
  ],
];

export const policyLimitActions = limitedCase(
  'policy-limit-actions',
  () => [
    asking(
      'in',
      [filter('first', { domain: 'metadata', metadata_namespace: 'ns', rate_limits: [generic('first')] }), filter('main', {})],
      ACTIONS.map(([name, actions]) => to(`/${name}/`, [{ actions }], { metadata: { filter_metadata: { r: { name: 'of-route' } } } })),
    ),
  ],
  (at) => Promise.all(ACTIONS.map(([name, , query, headers]) => said(at, `/${name}/${query}`, { headers }))),
  ACTIONS.map(([, , , , made]) => `429 d [${made}]`),
);

// --- whose rules count

const HOST_LIMITS: Partial<VirtualHost> = { rate_limits: [generic('host')] };
export const policyLimitRules = limitedCase(
  'policy-limit-rules',
  () => [
    asking(
      'in',
      [filter('main', { stage: 2 })],
      [
        to('/staged', [generic('zero'), generic('two', { stage: 2 })]),
        to('/over', [
          generic('fixed', { stage: 2, limit: { rate_limit: { requests_per_unit: 3, unit: 'DAY' } } }),
          generic('told', { stage: 2, limit: { dynamic_metadata: { metadata_key: key('ns', 'limit') } } }),
        ]),
      ],
    ),
    asking(
      'told',
      [filter('first', { domain: 'metadata', metadata_namespace: 'ns', rate_limits: [generic('first')] }), filter('main', {})],
      [to('/', [generic('told', { limit: { dynamic_metadata: { metadata_key: key('ns', 'limit') } } })])],
    ),
    asking(
      'host',
      [filter('main', {})],
      [
        to('/include', [generic('route')], own({ vh_rate_limits: 'INCLUDE' })),
        to('/ignore', [], own({ vh_rate_limits: 'IGNORE' })),
        to('/option', [generic('route')], own({ override_option: 'INCLUDE_POLICY' })),
        to('/domain', [], own({ domain: 'elsewhere' })),
        to('/own', [], own({ rate_limits: [generic('of-filter')] })),
        { match: { prefix: '/action' }, route: { cluster: 'echo', include_vh_rate_limits: true, rate_limits: [generic('route')] } },
        to('/', []),
      ],
      HOST_LIMITS,
    ),
    asking(
      'hits',
      [
        filter('main', {
          rate_limits: [
            generic('many', { hits_addend: { number: 4 } }),
            generic('back', { hits_addend: { number: 2, is_negative_hits: true } }),
            generic('read', { hits_addend: { format: '%REQ(x-hits)%' } }),
          ],
        }),
      ],
      [to('/', [])],
    ),
  ],
  async (at) => [
    await said(at, '/staged', {}, 'in'),
    await said(at, '/over', {}, 'in'),
    await said(at, '/', {}, 'told'),
    ...(await Promise.all(['include', 'ignore', 'option', 'domain', 'own', 'action', ''].map((path) => said(at, `/${path}`, {}, 'host')))),
    await said(at, '/', { headers: ['x-hits: 9'] }, 'hits'),
  ],
  [
    '429 d [["generic_key=two"]]',
    '429 d [["generic_key=fixed","limit 3 DAY"],["generic_key=told"]]',
    '429 d [["generic_key=told","limit 7 HOUR"]]',
    '429 d [["generic_key=route"],["generic_key=host"]]',
    '200',
    '429 d [["generic_key=route"],["generic_key=host"]]',
    '429 elsewhere [["generic_key=host"]]',
    '429 d [["generic_key=of-filter"]]',
    '429 d [["generic_key=route"],["generic_key=host"]]',
    '429 d [["generic_key=host"]]',
    '429 d [["generic_key=many","hits 4"],["generic_key=back","hits -2"],["generic_key=read","hits 9"]]',
  ],
);

/** Asked about when the answer is over: the client has it by then. */
export const policyLimitAtEnd = limitedCase(
  'policy-limit-at-end',
  () => [
    asking(
      'in',
      [
        filter('main', {
          rate_limits: [
            {
              actions: [{ request_headers: { header_name: 'x-run', descriptor_key: 'run' } }],
              apply_on_stream_done: true,
              hits_addend: { format: '%RESPONSE_CODE%' },
            },
          ],
        }),
      ],
      [to('/', [])],
    ),
  ],
  async (at) => {
    const run = randomUUID();
    let timer: NodeJS.Timeout | undefined;
    const asked = new Promise<string>((resolve) => {
      waiting.set(run, resolve);
      timer = setTimeout(() => resolve('not asked'), 3_000);
    });
    try {
      return [await said(at, '/', { headers: [`x-run: ${run}`] }).then((text) => text.slice(0, 3)), await asked];
    } finally {
      clearTimeout(timer);
      waiting.delete(run);
    }
  },
  ['200', '[["run=RUN","hits 200"]]'],
);

// --- what becomes of the answer

const seen = ({ status, body, headers }: Answer): string =>
  [
    status,
    body.split('\n')[0],
    ...['x-envoy-ratelimited', 'x-limited', 'x-ratelimit-limit', 'retry-after', 'grpc-status']
      .map((name) => headers.get(name))
      .map((value) => value ?? '-'),
  ].join(' ');
const one = (name: string, config: HttpRatelimit_RateLimit, more: Partial<HttpConnectionManager> = {}, grpc?: Partial<GrpcService>): Part =>
  asking(name, [filter('main', { rate_limits: [generic('x')], ...config }, grpc)], [to('/', [])], {}, more);
const asInside: Partial<HttpConnectionManager> = {
  internal_address_config: { cidr_ranges: [{ address_prefix: '9.0.0.0', prefix_len: 8 }] },
};
const GRPC: Ask = { method: 'POST', headers: ['content-type: application/grpc', 'content-length: 0'] };

/** Each on a listener of its own. */
const ANSWERS: readonly (readonly [name: string, part: () => Part, saw: string, more?: Ask])[] = [
  [
    'told',
    () =>
      one('told', {
        enable_x_ratelimit_headers: 'DRAFT_VERSION_03',
        disable_x_envoy_ratelimited_header: true,
        rate_limited_status: { code: 'ServiceUnavailable' },
        response_headers_to_add: [{ header: { key: 'x-limited', value: 'yes' } }],
        enable_retry_after_header: true,
      }),
    '503 d [["generic_key=x"]] - yes 5, 5;w=60 7 -',
  ],
  ['grpc', () => one('grpc', { rate_limited_as_resource_exhausted: true }), '200  true - - - 8', GRPC],
  [
    'inside',
    () => one('inside', { request_type: 'external' }, asInside),
    '200 GET / HTTP/1.1 - - - - -',
    { headers: ['x-forwarded-for: 9.9.9.9'] },
  ],
  ['off', () => one('off', { filter_enabled: { default_value: { numerator: 10 } } }), '200 GET / HTTP/1.1 - - - - -'],
  ['tried', () => one('tried', { filter_enforced: { default_value: { numerator: 10 } } }), '200 GET / HTTP/1.1 true - - - -'],
  ['deny', () => one('deny', { domain: 'error', failure_mode_deny: true }), '500  - - - - -'],
  [
    'percent',
    () =>
      one('percent', {
        domain: 'error',
        failure_mode_deny_percent: { default_value: { numerator: 90 } },
        status_on_error: { code: 'BadGateway' },
      }),
    '502  - - - - -',
  ],
  ['later', () => one('later', { domain: 'later' }), '429 later [["generic_key=x"]] true - - - -'],
  ['late', () => one('late', { domain: 'silent', timeout: '0.05s' }), '200 GET / HTTP/1.1 - - - - -'],
  [
    'head',
    () =>
      one(
        'head',
        { domain: 'head' },
        {},
        {
          envoy_grpc: { cluster_name: 'rls', authority: 'limits.test', skip_envoy_headers: true },
          initial_metadata: [{ key: 'x-called', value: 'by-us' }],
        },
      ),
    '429 limits.test by-us bare true - - - -',
  ],
];

export const policyLimitAnswers = limitedCase(
  'policy-limit-answers',
  () => [...ANSWERS.map(([, part]) => part()), one('counted', { domain: 'error', stat_prefix: 'pre' })],
  async (at) => [
    ...(await Promise.all(ANSWERS.map(async ([name, , , more]) => seen(await ask(at.port(name), '/', more)).trim()))),
    (await ask(at.port('counted'), '/')).status,
    at.plane.stats.find('cluster.echo.ratelimit.pre.error')?.value ?? 0,
  ],
  [...ANSWERS.map(([, , saw]) => saw), 200, 1],
);
