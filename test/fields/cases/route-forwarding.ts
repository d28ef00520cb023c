// What a route does to the requests that it sends on: cluster, path, host, headers, upgrades, time.
import type { Route, RouteAction } from '../../../src/xds/gen/types.ts';
import { type Backend, hcm, listener as onLoopback, staticCluster } from '../../proxy/harness.ts';
import { cluster, type FieldCase, listener, live } from '../case.ts';
import { type Ask, ask, bodies, echoServer } from '../http-probe.ts';

let echo: Backend;
const start = async () => {
  echo = await echoServer();
  return echo;
};
const to = (prefix: string, action: RouteAction, more: Partial<Route> = {}): Route => ({
  match: { prefix },
  route: { cluster: 'echo', ...action },
  ...more,
});
const text = (key: string, value: string) => ({ header: { key, value } });
const parts =
  (routes: readonly Route[], more: Parameters<typeof hcm>[1] = {}) =>
  () => [cluster(staticCluster('echo', [echo.port])), cluster(staticCluster('other', [])), listener(onLoopback('in', hcm(routes, more)))];

const firstLines = async (port: number, asks: readonly (readonly [path: string, more?: Ask])[]): Promise<string[]> =>
  (await bodies(port, asks)).map((body) => body.split('\n')[0] ?? '');

export const routeRewrites: FieldCase = {
  name: 'route-rewrites',
  start,
  parts: parts([
    to('/prefix/', { prefix_rewrite: '/new/' }),
    to('/regex/', { regex_rewrite: { pattern: { regex: '^/regex/(.*)/end' }, substitution: '/\\1' } }),
    to('/other', { cluster: 'other', cluster_not_found_response_code: 'NOT_FOUND' }),
    to('/unknown', { cluster: 'unknown', cluster_not_found_response_code: 'NOT_FOUND' }),
    { match: { prefix: '/by-header' }, route: { cluster_header: 'x-cluster' } },
  ]),
  observe: live(({ port }) =>
    firstLines(port(), [
      ['/prefix/a?b=c'],
      ['/regex/one/end'],
      ['/other'],
      ['/unknown'],
      ['/by-header', { headers: ['x-cluster: echo'] }],
      ['/by-header', { headers: ['x-cluster: nobody'] }],
    ]),
  ),
  expect: ['GET /new/a?b=c HTTP/1.1', 'GET /one HTTP/1.1', '503 no healthy upstream', '404', 'GET /by-header HTTP/1.1', '503'],
};

const hosts = async (port: number, asks: readonly (readonly [path: string, more?: Ask])[]): Promise<string[]> => {
  const out: string[] = [];
  for (const [path, more] of asks) {
    const { body } = await ask(port, path, more);
    out.push(
      body
        .split('\n')
        .filter((line) => /^(host|x-forwarded-host)/.test(line))
        .join(' '),
    );
  }
  return out;
};
export const routeHosts: FieldCase = {
  name: 'route-hosts',
  start,
  parts: () => [
    cluster({
      ...staticCluster('echo', []),
      type: 'STRICT_DNS',
      load_assignment: {
        cluster_name: 'echo',
        endpoints: [
          {
            lb_endpoints: [
              { endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: echo.port } }, hostname: 'endpoint.test' } },
            ],
          },
        ],
      },
    }),
    listener(
      onLoopback(
        'in',
        hcm([
          to('/literal', { host_rewrite_literal: 'literal.test', append_x_forwarded_host: true }),
          to('/auto', { auto_host_rewrite: true }),
          to('/header', { host_rewrite_header: 'x-host' }),
          to('/path/', { host_rewrite_path_regex: { pattern: { regex: '^/path/(.*)$' }, substitution: '\\1.test' } }),
          to('/weight', {
            cluster: '',
            weighted_clusters: { clusters: [{ name: 'echo', weight: 1, host_rewrite_literal: 'weight.test' }] },
          }),
        ]),
      ),
    ),
  ],
  observe: live(({ port }) =>
    hosts(port(), [['/literal'], ['/auto'], ['/header', { headers: ['x-host: header.test'] }], ['/path/abc'], ['/weight']]),
  ),
  expect: [
    'host: literal.test x-forwarded-host: a.test',
    'host: endpoint.test',
    'host: header.test',
    'host: abc.test',
    'host: weight.test',
  ],
};

export const routeHeaders: FieldCase = {
  name: 'route-headers',
  start,
  parts: () => [
    cluster(staticCluster('echo', [echo.port])),
    listener(
      onLoopback(
        'in',
        hcm([], {
          route_config: {
            name: 'headers',
            most_specific_header_mutations_wins: true,
            request_headers_to_add: [text('x-rc', 'rc'), { ...text('x-level', 'rc'), append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' }],
            request_headers_to_remove: ['x-out-rc'],
            response_headers_to_add: [text('x-r-rc', 'rc')],
            response_headers_to_remove: ['x-b-rc'],
            virtual_hosts: [
              {
                name: 'v',
                domains: ['*'],
                request_headers_to_add: [text('x-vh', 'vh')],
                request_headers_to_remove: ['x-out-vh'],
                response_headers_to_add: [text('x-r-vh', 'vh')],
                response_headers_to_remove: ['x-b-vh'],
                routes: [
                  {
                    match: { prefix: '/' },
                    request_headers_to_add: [
                      { ...text('x-level', 'route'), append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' },
                      { ...text('x-absent', 'added'), append_action: 'ADD_IF_ABSENT' },
                      { ...text('x-given', 'not added'), append_action: 'ADD_IF_ABSENT' },
                      { ...text('x-old', 'replaced'), append: false },
                      { ...text('x-empty', ''), keep_empty_value: true },
                      { header: { key: 'x-raw', raw_value: Buffer.from('raw') } },
                    ],
                    request_headers_to_remove: ['x-out-route'],
                    response_headers_to_add: [text('x-r-route', 'route')],
                    response_headers_to_remove: ['x-b-route'],
                    route: {
                      weighted_clusters: {
                        clusters: [
                          {
                            name: 'echo',
                            weight: 1,
                            request_headers_to_add: [text('x-weight', 'weight')],
                            request_headers_to_remove: ['x-out-weight'],
                            response_headers_to_add: [text('x-r-weight', 'weight')],
                            response_headers_to_remove: ['x-b-weight'],
                          },
                        ],
                      },
                    },
                  },
                ],
              },
            ],
          },
        }),
      ),
    ),
  ],
  observe: live(async ({ port }) => {
    const headers = ['x-out-rc: 1', 'x-out-vh: 1', 'x-out-route: 1', 'x-out-weight: 1', 'x-given: given', 'x-old: old'];
    const { body } = await ask(port(), '/', { headers });
    const answer = await ask(port(), '/', {
      headers: ['x-answer: HTTP/1.1 200 OK\\nx-b-rc: 1\\nx-b-vh: 1\\nx-b-route: 1\\nx-b-weight: 1\\ncontent-length: 0\\n\\n'],
    });
    return {
      request: body.split('\n').slice(1),
      response: answer.head
        .split('\n')
        .filter((line) => /^x-[rb]/.test(line))
        .sort(),
    };
  }),
  expect: {
    request: [
      'host: a.test',
      'x-absent: added',
      'x-empty: ',
      'x-given: given',
      'x-level: route',
      'x-old: replaced',
      'x-raw: raw',
      'x-rc: rc',
      'x-vh: vh',
      'x-weight: weight',
    ],
    response: ['x-r-rc: rc', 'x-r-route: route', 'x-r-vh: vh', 'x-r-weight: weight'],
  },
};

export const routeWeights: FieldCase = {
  name: 'route-weights',
  start,
  parts: () => [
    cluster(staticCluster('echo', [echo.port])),
    cluster(staticCluster('other', [])),
    listener(
      onLoopback(
        'in',
        hcm([
          {
            match: { prefix: '/random' },
            route: {
              weighted_clusters: {
                total_weight: 10,
                clusters: [
                  { name: 'other', weight: 4 },
                  { name: 'echo', weight: 6 },
                ],
              },
            },
          },
          {
            match: { prefix: '/header' },
            route: {
              weighted_clusters: {
                header_name: 'x-draw',
                clusters: [
                  { name: 'other', weight: 5 },
                  { cluster_header: 'x-cluster', weight: 5 },
                ],
              },
            },
          },
        ]),
      ),
    ),
  ],
  observe: live(
    ({ port }) =>
      firstLines(port(), [
        ['/random'],
        ['/header', { headers: ['x-draw: 7', 'x-cluster: echo'] }],
        ['/header', { headers: ['x-draw: 2'] }],
      ]),
    () => ({ random: () => 0.45 }),
  ),
  expect: ['GET /random HTTP/1.1', 'GET /header HTTP/1.1', '503 no healthy upstream'],
};

export const routeRedirects: FieldCase = {
  name: 'route-redirects',
  parts: () => [
    listener(
      onLoopback(
        'in',
        hcm([
          { match: { prefix: '/a' }, redirect: { host_redirect: 'new.test', response_code: 'FOUND', https_redirect: true } },
          {
            match: { prefix: '/b' },
            redirect: { path_redirect: '/new', strip_query: true, port_redirect: 8443, scheme_redirect: 'https' },
          },
          { match: { prefix: '/c/' }, redirect: { prefix_rewrite: '/d/' } },
          {
            match: { prefix: '/e' },
            redirect: { regex_rewrite: { pattern: { regex: '^/e(.*)' }, substitution: '/f\\1' } },
          },
          { match: { prefix: '/tea' }, direct_response: { status: 418, body: { inline_bytes: Buffer.from('tea') } } },
          { match: { prefix: '/none' }, non_forwarding_action: {} },
        ]),
      ),
    ),
  ],
  observe: live(async ({ port }) => {
    const out: string[] = [];
    for (const path of ['/a?x=1', '/b?x=1', '/c/x', '/e1', '/tea']) {
      const { status, headers, body } = await ask(port(), path);
      out.push(`${status} ${headers.get('location') ?? body}`);
    }
    return out;
  }),
  expect: ['302 https://new.test/a?x=1', '301 https://a.test:8443/new', '301 http://a.test/d/x', '301 http://a.test/f1', '418 tea'],
};

export const virtualHosts: FieldCase = {
  name: 'virtual-hosts',
  start,
  parts: () => [
    cluster(staticCluster('echo', [echo.port])),
    listener(
      onLoopback(
        'in',
        hcm([], {
          route_config: {
            name: 'hosts',
            ignore_port_in_host_matching: true,
            ignore_path_parameters_in_path_matching: true,
            max_direct_response_body_size_bytes: 5000,
            virtual_hosts: [
              { name: 'tls', domains: ['tls.test'], require_tls: 'ALL', routes: [to('/', {})] },
              {
                name: 'count',
                domains: ['count.test'],
                include_request_attempt_count: true,
                include_attempt_count_in_response: true,
                routes: [to('/', {})],
              },
              {
                name: 'any',
                domains: ['*'],
                routes: [
                  { match: { path: '/p' }, direct_response: { status: 200, body: { inline_string: 'p' } } },
                  { match: { path: '/long' }, direct_response: { status: 200, body: { inline_string: 'x'.repeat(4500) } } },
                ],
              },
            ],
          },
        }),
      ),
    ),
  ],
  observe: live(async ({ port }) => {
    const counted = await ask(port(), '/', { host: 'count.test' });
    return [
      (await ask(port(), '/x', { host: 'tls.test:80' })).headers.get('location'),
      counted.body.split('\n').find((line) => line.startsWith('x-envoy-attempt')),
      counted.headers.get('x-envoy-attempt-count'),
      ...(await bodies(port(), [['/p;v=1']])),
      (await ask(port(), '/long')).body.length,
    ];
  }),
  expect: ['https://tls.test:80/x', 'x-envoy-attempt-count: 1', '1', 'p', 4500],
};
