// Route decisions on configurations as Istio sends them.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { applyHeaderOps } from '../../src/plan/header-ops.ts';
import { PlanError } from '../../src/plan/plan-error.ts';
import { redirectLocation, rewrittenHost, rewrittenPath } from '../../src/plan/rewrite.ts';
import { compileRoutes, matchRoute, type RouteMatch } from '../../src/plan/route.ts';
import type { Route, RouteConfiguration, RouteMatch as RouteMatchConfig, VirtualHost } from '../../src/xds/gen/types.ts';
import { type block, info, request } from './request.ts';

const config = (routes: readonly Route[], host: Partial<VirtualHost> = {}, rc: Partial<RouteConfiguration> = {}): RouteConfiguration => ({
  name: '80',
  virtual_hosts: [{ name: 'v', domains: ['*'], ...host, routes }],
  ...rc,
});
const to = (cluster: string, match: RouteMatchConfig = { prefix: '/' }): Route => ({ name: cluster, match, route: { cluster } });
const decide = (rc: RouteConfiguration, req: ReturnType<typeof request>, random: () => number = Math.random): string => {
  const m = matchRoute(compileRoutes(rc), req, random);
  return m.kind === 'route' ? m.clusterName || m.route.name : m.kind;
};
const matched = (rc: RouteConfiguration, req: ReturnType<typeof request>): RouteMatch => {
  const m = matchRoute(compileRoutes(rc), req, () => 0);
  assert.equal(m.kind, 'route');
  return m as RouteMatch;
};
const refuses = (rc: RouteConfiguration, path: string): void => {
  assert.throws(
    () => compileRoutes(rc),
    (e) => {
      assert.ok(e instanceof PlanError);
      assert.equal(e.path, path);
      return true;
    },
  );
};

describe('virtual hosts', () => {
  const rc: RouteConfiguration = {
    ignore_port_in_host_matching: true,
    virtual_hosts: [
      ['exact', ['api.example.com', '[::1]']],
      ['suffix', ['*.example.com']],
      ['long suffix', ['*-api.example.com']],
      ['prefix', ['api.*']],
      ['long prefix', ['api.foo.*']],
    ].map(([name, domains]) => ({ name: name as string, domains: domains as string[], routes: [to(name as string)] })),
  };
  const cases: [string, string][] = [
    ['api.example.com', 'exact'],
    ['API.Example.COM', 'exact'],
    ['api.example.com:8080', 'exact'],
    ['[::1]:80', 'exact'],
    ['[::1]', 'exact'],
    ['x.example.com', 'suffix'],
    ['x.y.example.com', 'suffix'],
    ['x-api.example.com', 'long suffix'],
    ['example.com', 'no-vhost'],
    ['.example.com', 'no-vhost'],
    ['api.foo', 'prefix'],
    ['api.foo.bar', 'long prefix'],
    ['', 'no-vhost'],
  ];
  for (const [host, want] of cases) test(host || '(empty)', () => assert.equal(decide(rc, request('/', { authority: host })), want));

  test('with ports counted and a catch-all', () => {
    const hosts = {
      virtual_hosts: [
        { name: 'a', domains: ['a:80'], routes: [to('a')] },
        { name: 'b', domains: ['*'], routes: [to('b')] },
      ],
    };
    assert.equal(decide(hosts, request('/', { authority: 'a:80' })), 'a');
    assert.equal(decide(hosts, request('/', { authority: 'a' })), 'b');
  });

  test('a domain may stand once', () => {
    refuses(
      {
        virtual_hosts: [
          { name: 'a', domains: ['x'] },
          { name: 'b', domains: ['X'] },
        ],
      },
      'virtual_hosts[1].domains[0]',
    );
    refuses(
      {
        virtual_hosts: [
          { name: 'a', domains: ['*'] },
          { name: 'b', domains: ['*'] },
        ],
      },
      'virtual_hosts[1].domains[0]',
    );
    refuses(
      {
        virtual_hosts: [
          { name: 'a', domains: ['x'] },
          { name: 'a', domains: ['y'] },
        ],
      },
      'virtual_hosts[1].name',
    );
  });
});

describe('paths', () => {
  const cases: [RouteMatchConfig, readonly string[], readonly string[]][] = [
    [{ prefix: '/foo' }, ['/foo', '/foobar', '/foo/x', '/foo?x=/'], ['/fo', '/FOO', '/']],
    [{ prefix: '/Foo', case_sensitive: false }, ['/foo', '/FOOBAR'], ['/fo']],
    [{ path: '/foo' }, ['/foo', '/foo?x'], ['/foo/', '/foobar', '/Foo']],
    [{ path: '/Foo', case_sensitive: false }, ['/foo', '/FOO?a'], ['/foo/']],
    [{ path_separated_prefix: '/foo' }, ['/foo', '/foo/bar', '/foo?x', '/foo/'], ['/foobar', '/fo']],
    [{ safe_regex: { regex: '/a/\\d+' } }, ['/a/12', '/a/1?q=b'], ['/a/', '/a/1/', '/x/a/1']],
    [{ safe_regex: { regex: '(?i)/a|/b' } }, ['/A', '/b'], ['/ab', '/bb']],
  ];
  for (const [match, yes, no] of cases)
    test(JSON.stringify(match), () => {
      for (const path of yes) assert.equal(decide(config([to('c', match)]), request(path)), 'c', path);
      for (const path of no) assert.equal(decide(config([to('c', match)]), request(path)), 'no-route', path);
    });

  test('CONNECT needs its own matcher', () => {
    const rc = config([to('plain'), to('connect', { connect_matcher: {} })]);
    assert.equal(decide(rc, request('', { method: 'CONNECT' })), 'connect');
    assert.equal(decide(rc, request('/')), 'plain');
  });

  test('path parameters are ignored when asked', () => {
    assert.equal(decide(config([to('c', { path: '/a' })]), request('/a;v=1')), 'no-route');
    assert.equal(
      decide(config([to('c', { path: '/a' })], {}, { ignore_path_parameters_in_path_matching: true }), request('/a;v=1?x')),
      'c',
    );
  });

  test('the index finds what trying in order finds', () => {
    const segment = fc.constantFrom('a', 'b', 'cc', '');
    const path = fc.array(segment, { minLength: 1, maxLength: 3 }).map((s) => `/${s.join('/')}`);
    const match: fc.Arbitrary<RouteMatchConfig> = fc.oneof(
      path.map((p) => ({ path: p })),
      path.map((p) => ({ prefix: p })),
      path.map((p) => ({ path: p.toUpperCase(), case_sensitive: false })),
      fc.constantFrom('/a', '/b/cc').map((p) => ({ path_separated_prefix: p })),
      path.map((p) => ({ path: p, headers: [{ name: 'x', present_match: true }] })),
    );
    fc.assert(
      fc.property(fc.array(match, { minLength: 8, maxLength: 24 }), path, fc.boolean(), (matches, target, header) => {
        const req = request(target, { headers: header ? { x: '1' } : {} });
        const indexed = decide(config(matches.map((m, i) => to(String(i), m))), req);
        const one = matches.findIndex((m) => decide(config([to('hit', m)]), req) === 'hit');
        assert.equal(indexed, one < 0 ? 'no-route' : String(one));
      }),
    );
  });
});

describe('conditions', () => {
  const takes = (match: Omit<RouteMatchConfig, 'prefix'>, req: ReturnType<typeof request>): boolean =>
    decide(config([to('c', { prefix: '/', ...match })]), req) === 'c';
  const header = (matcher: object, headers: Parameters<typeof request>[1]): boolean =>
    takes({ headers: [{ name: 'X-User', ...matcher }] }, request('/', headers));

  test('header values', () => {
    const has = (v: string) => ({ headers: { 'x-user': v } });
    assert.ok(header({ string_match: { exact: 'beta' } }, has('beta')));
    assert.ok(!header({ string_match: { exact: 'beta' } }, has('Beta')));
    assert.ok(header({ string_match: { exact: 'beta', ignore_case: true } }, has('BETA')));
    assert.ok(header({ string_match: { prefix: 'be' } }, has('beta')));
    assert.ok(header({ string_match: { suffix: 'ta' } }, has('beta')));
    assert.ok(header({ string_match: { contains: 'ET', ignore_case: true } }, has('beta')));
    assert.ok(header({ string_match: { safe_regex: { regex: 'b.*a' } } }, has('beta')));
    assert.ok(!header({ string_match: { safe_regex: { regex: 'b.*t' } } }, has('beta')));
    assert.ok(header({ exact_match: 'beta' }, has('beta')));
    assert.ok(header({ range_match: { start: -5, end: 10 } }, has('-5')));
    assert.ok(!header({ range_match: { start: -5, end: 10 } }, has('10')));
    assert.ok(!header({ range_match: { start: -5, end: 10 } }, has('5x')));
  });

  test('presence, absence, inversion', () => {
    const none = {};
    const some = { headers: { 'x-user': 'a' } };
    assert.ok(header({}, some) && !header({}, none));
    assert.ok(header({ present_match: true }, some) && !header({ present_match: true }, none));
    assert.ok(!header({ present_match: false }, some) && header({ present_match: false }, none));
    assert.ok(!header({ present_match: true, invert_match: true }, some) && header({ present_match: true, invert_match: true }, none));
    const notB = { string_match: { exact: 'b' }, invert_match: true };
    assert.ok(header(notB, some) && !header(notB, { headers: { 'x-user': 'b' } }));
    assert.ok(!header(notB, none), 'a missing header does not match, inverted or not');
    assert.ok(header({ ...notB, treat_missing_header_as_empty: true }, none));
    assert.ok(!header({ string_match: { exact: '' }, invert_match: true, treat_missing_header_as_empty: true }, none));
  });

  test('a repeated header matches per value', () => {
    const twice = {
      headers: [
        ['x-user', 'a'],
        ['x-user', 'b'],
      ] as const,
    };
    assert.ok(header({ string_match: { exact: 'b' } }, twice));
    assert.ok(!header({ string_match: { exact: 'a,b' } }, twice));
    assert.ok(!header({ string_match: { exact: 'b' }, invert_match: true }, twice));
  });

  test('pseudo headers', () => {
    assert.ok(takes({ headers: [{ name: ':method', string_match: { exact: 'POST' } }] }, request('/', { method: 'POST' })));
    assert.ok(takes({ headers: [{ name: ':authority', string_match: { exact: 'a:80' } }] }, request('/', { authority: 'a:80' })));
    assert.ok(!takes({ headers: [{ name: ':authority', string_match: { exact: 'a' } }] }, request('/', { authority: 'a:80' })));
    assert.ok(takes({ headers: [{ name: ':scheme', string_match: { exact: 'https' } }] }, request('/', { scheme: 'https' })));
  });

  test('query parameters', () => {
    const query = (matcher: object, path: string): boolean => takes({ query_parameters: [{ name: 'q', ...matcher }] }, request(path));
    assert.ok(query({ string_match: { exact: '1' } }, '/?a=2&q=1&q=3'));
    assert.ok(!query({ string_match: { exact: '3' } }, '/?q=1&q=3'), 'the first value counts');
    assert.ok(query({ string_match: { exact: 'a%20b' } }, '/?q=a%20b'));
    assert.ok(!query({ string_match: { exact: '1' } }, '/?q=%31'), 'nothing is decoded');
    assert.ok(query({ string_match: { exact: '' } }, '/?q'));
    assert.ok(query({}, '/?q=') && !query({}, '/?qq=1') && !query({}, '/q'));
    assert.ok(query({ present_match: false }, '/?a') && !query({ present_match: false }, '/?q=1'));
  });

  test('runtime fraction uses one draw', () => {
    const half = { runtime_fraction: { default_value: { numerator: 125_000, denominator: 'MILLION' } } } as const;
    const rc = config([to('some', { prefix: '/', ...half }), to('rest')]);
    assert.equal(
      decide(rc, request('/'), () => 0.1249),
      'some',
    );
    assert.equal(
      decide(rc, request('/'), () => 0.125),
      'rest',
    );
  });

  test('grpc, TLS and dynamic metadata', () => {
    assert.ok(takes({ grpc: {} }, request('/', { headers: { 'content-type': 'application/grpc+proto' } })));
    assert.ok(!takes({ grpc: {} }, request('/', { headers: { 'content-type': 'application/grpc-web' } })));
    assert.ok(takes({ tls_context: { presented: true } }, request('/', { tls: { presented: true, validated: false } })));
    assert.ok(!takes({ tls_context: { presented: true } }, request('/')));
    const groups = {
      dynamic_metadata: [
        {
          filter: 'envoy.filters.http.jwt_authn',
          path: [{ key: 'payload' }, { key: 'groups' }],
          value: {
            or_match: {
              value_matchers: [{ list_match: { one_of: { string_match: { exact: 'admin' } } } }, { string_match: { exact: 'admin' } }],
            },
          },
        },
      ],
    };
    const jwt = (value: string | string[]) =>
      request('/', { dynamicMetadata: { 'envoy.filters.http.jwt_authn': { payload: { groups: value } } } });
    assert.ok(
      takes(groups, jwt('admin')) && takes(groups, jwt(['x', 'admin'])) && !takes(groups, jwt('x')) && !takes(groups, request('/')),
    );
  });
});

describe('weights', () => {
  const weighted = (weights: readonly number[], more: object = {}): RouteConfiguration =>
    config([
      {
        match: { prefix: '/' },
        route: { weighted_clusters: { clusters: weights.map((weight, i) => ({ name: `v${i + 1}`, weight })), ...more } },
      },
    ]);

  test('follow the draw in proportion', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat({ max: 100 }), { minLength: 1, maxLength: 5 }),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        (weights, draw) => {
          const sum = weights.reduce((a, b) => a + b, 0);
          if (sum === 0) return;
          const got = decide(weighted(weights), request('/'), () => draw);
          const want = weights.findIndex((_, i) => draw * sum < weights.slice(0, i + 1).reduce((a, b) => a + b, 0));
          assert.equal(got, `v${want + 1}`);
          assert.ok((weights[want] ?? 0) > 0, 'a zero is a zero');
        },
      ),
    );
  });

  test('the draw may come from a header', () => {
    assert.equal(decide(weighted([90, 10], { header_name: 'x-draw' }), request('/', { headers: { 'x-draw': '195' } })), 'v2');
  });

  test('sums are checked', () => {
    refuses(weighted([0, 0]), 'virtual_hosts[0].routes[0].route.weighted_clusters');
    // Deprecated: the sum counts.
    matched(weighted([1, 1], { total_weight: 100 }), request('/'));
  });

  test('header ops: most specific first unless asked otherwise', () => {
    const set = (key: string, value: string) => [{ header: { key, value }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' as const }];
    const rc = (wins: boolean): RouteConfiguration =>
      config(
        [
          {
            match: { prefix: '/' },
            request_headers_to_add: set('x', 'route'),
            route: {
              weighted_clusters: {
                clusters: [{ name: 'a', weight: 1, request_headers_to_add: set('x', 'weight'), host_rewrite_literal: 'a.host' }],
              },
              host_rewrite_literal: 'r.host',
            },
          },
        ],
        {},
        { most_specific_header_mutations_wins: wins },
      );
    for (const [wins, want] of [
      [false, 'route'],
      [true, 'weight'],
    ] as const) {
      const req = request('/');
      const m = matched(rc(wins), req);
      applyHeaderOps(m.requestHeaderOps, req.headers, info());
      assert.deepEqual(req.headers.values('x'), [want]);
      // The weight's comes first, the route's behind it.
      assert.deepEqual([m.hostRewriteLiteral, rewrittenHost(m, req, undefined)], ['a.host', 'r.host']);
    }
  });
});

describe('actions', () => {
  test('defaults of a forwarding route, and what Istio sets', () => {
    const plain = matched(config([to('c')]), request('/')).route;
    assert.deepEqual(
      [plain.timeoutMs, plain.idleTimeoutMs, plain.maxGrpcTimeoutMs, plain.retry, plain.clusterNotFoundStatus],
      [15_000, undefined, undefined, undefined, 503],
    );
    const istio = matched(
      config([
        {
          match: { prefix: '/' },
          route: { cluster: 'c', timeout: '0s', max_stream_duration: { max_stream_duration: '0s', grpc_timeout_header_max: '0s' } },
        },
      ]),
      request('/'),
    ).route;
    assert.deepEqual([istio.timeoutMs, istio.streamTimes, istio.maxStreamDurationMs, istio.grpcHeaderMaxMs], [0, true, 0, 0]);
  });

  test('the retry policy of the virtual host is the default', () => {
    const retry_policy = { retry_on: '5xx', num_retries: 7 };
    assert.equal(matched(config([to('c')], { retry_policy }), request('/')).route.retry?.numRetries, 7);
    const own = config([{ match: { prefix: '/' }, route: { cluster: 'c', retry_policy: { retry_on: 'reset' } } }], { retry_policy });
    assert.equal(matched(own, request('/')).route.retry?.numRetries, 1);
  });

  test('cluster_header', () => {
    const rc = config([{ match: { prefix: '/' }, route: { cluster_header: 'X-To' } }]);
    assert.equal(decide(rc, request('/', { headers: { 'x-to': 'there' } })), 'there');
  });

  test('path rewrites', () => {
    const rewrite = (match: RouteMatchConfig, action: object, path: string): string => {
      const req = request(path);
      return rewrittenPath(matched(config([{ match, route: { cluster: 'c', ...action } }]), req), req);
    };
    assert.equal(rewrite({ prefix: '/api/' }, { prefix_rewrite: '/' }, '/api/x?y=/api/'), '/x?y=/api/');
    assert.equal(rewrite({ prefix: '/' }, { prefix_rewrite: '/v1' }, '/a'), '/v1a');
    assert.equal(rewrite({ path: '/a' }, { prefix_rewrite: '/b' }, '/a?q'), '/b?q');
    assert.equal(rewrite({ path_separated_prefix: '/a' }, { prefix_rewrite: '/b' }, '/a/c'), '/b/c');
    assert.equal(rewrite({ safe_regex: { regex: '/x/.*' } }, { prefix_rewrite: '/y' }, '/x/1?q'), '/y?q');
    const regex_rewrite = { pattern: { regex: '/rw2/([^/]+)/(.*)' }, substitution: '/\\2/\\1' };
    assert.equal(rewrite({ prefix: '/' }, { regex_rewrite }, '/rw2/a/b?c=/rw2/x/y'), '/b/a?c=/rw2/x/y');
    assert.equal(rewrite({ prefix: '/' }, { regex_rewrite }, '/other'), '/other');
    assert.equal(
      rewrite({ prefix: '/' }, { regex_rewrite: { pattern: { regex: 'a' }, substitution: '<\\0>\\\\' } }, '/banana'),
      '/b<a>\\n<a>\\n<a>\\',
    );
  });

  test('host rewrites', () => {
    const host = (action: object, req = request('/p/q')): string | undefined =>
      rewrittenHost(matched(config([{ match: { prefix: '/' }, route: { cluster: 'c', ...action } }]), req), req, 'up.host');
    assert.equal(host({}), undefined);
    assert.equal(host({ host_rewrite_literal: 'x' }), 'x');
    assert.equal(host({ auto_host_rewrite: true }), 'up.host');
    assert.equal(host({ host_rewrite_header: 'X-H' }, request('/', { headers: { 'x-h': 'y' } })), 'y');
    assert.equal(host({ host_rewrite_header: 'X-H' }), undefined);
    assert.equal(host({ host_rewrite_path_regex: { pattern: { regex: '^/(.+)/(.+)$' }, substitution: '\\2.\\1' } }), 'q.p');
    refuses(
      config([{ match: { prefix: '/' }, route: { cluster: 'c', auto_host_rewrite: true, host_rewrite_literal: 'x' } }]),
      'virtual_hosts[0].routes[0].route',
    );
  });

  test('redirects', () => {
    const location = (redirect: object, path = '/a/b?c=d', more: object = {}, match: RouteMatchConfig = { prefix: '/a' }): string => {
      const req = request(path, { authority: 'h:80', ...more });
      return redirectLocation(matched(config([{ match, redirect }]), req), req);
    };
    assert.equal(location({ host_redirect: 'o.example', path_redirect: '/new' }), 'http://o.example/new?c=d');
    assert.equal(location({ path_redirect: '/new?x' }), 'http://h:80/new?x');
    assert.equal(location({ path_redirect: '/new', strip_query: true }), 'http://h:80/new');
    assert.equal(location({ strip_query: true }), 'http://h:80/a/b');
    assert.equal(location({ prefix_rewrite: '/z' }), 'http://h:80/z/b?c=d');
    assert.equal(location({ https_redirect: true }), 'https://h/a/b?c=d');
    assert.equal(location({ scheme_redirect: 'https', port_redirect: 8443 }), 'https://h:8443/a/b?c=d');
    assert.equal(location({ https_redirect: true }, '/a', { authority: 'h:8080' }), 'https://h:8080/a');
    assert.equal(location({ port_redirect: 81 }, '/a', { authority: '[::1]:80' }), 'http://[::1]:81/a');
    assert.equal(
      matched(config([{ match: { prefix: '/' }, redirect: { response_code: 'PERMANENT_REDIRECT' } }]), request('/')).route.redirect?.status,
      308,
    );
  });

  test('require_tls answers 301 before any route', () => {
    const rc = config([], { require_tls: 'ALL' });
    const req = request('/x?y', { authority: 'h:8080' });
    const m = matched(rc, req);
    assert.deepEqual([m.route.action, m.route.redirect?.status, redirectLocation(m, req)], ['redirect', 301, 'https://h:8080/x?y']);
    assert.equal(decide(rc, request('/', { scheme: 'https' })), 'no-route');
    const external = config([to('c')], { require_tls: 'EXTERNAL_ONLY' });
    assert.equal(decide(external, request('/', { internal: true })), 'c');
    assert.equal(matched(external, request('/')).route.action, 'redirect');
  });

  test('direct responses', () => {
    const rc = config([{ match: { prefix: '/' }, direct_response: { status: 418, body: { inline_string: 'teapot' } } }]);
    const { direct } = matched(rc, request('/')).route;
    assert.deepEqual([direct?.status, Buffer.from(direct?.body ?? []).toString()], [418, 'teapot']);
    refuses(config([{ match: { prefix: '/' }, direct_response: { status: 700 } }]), 'virtual_hosts[0].routes[0].direct_response.status');
  });

  test('per-filter configuration: the most specific one', () => {
    const of = (n: number) => ({ '@type': 't', n });
    const m = matched(
      config(
        [{ ...to('c'), typed_per_filter_config: { a: of(1) } }],
        { typed_per_filter_config: { a: of(2), b: of(2) } },
        { typed_per_filter_config: { b: of(3), c: of(3) } },
      ),
      request('/'),
    );
    assert.deepEqual(
      [...m.typedPerFilterConfig],
      [
        ['b', of(2)],
        ['c', of(3)],
        ['a', of(1)],
      ],
    );
  });

  test('mirrors, hash policies, upgrades, metadata', () => {
    const m = matched(
      config([
        {
          match: { prefix: '/' },
          route: {
            cluster: 'c',
            request_mirror_policies: [
              { cluster: 'm', runtime_fraction: { default_value: { numerator: 50 } }, disable_shadow_host_suffix_append: true },
            ],
            hash_policy: [
              { cookie: { name: 's', ttl: '60s' }, terminal: true },
              { header: { header_name: 'X-User' } },
              { connection_properties: { source_ip: true } },
            ],
            upgrade_configs: [{ upgrade_type: 'WebSocket' }],
            metadata_match: { filter_metadata: { 'envoy.lb': { v: '1' } } },
          },
        },
      ]),
      request('/'),
    );
    assert.deepEqual(m.route.mirrors, [
      {
        clusterName: 'm',
        clusterHeader: '',
        probability: 0.5,
        traceSampled: undefined,
        appendShadowSuffix: false,
        host: '',
        headerOps: [],
      },
    ]);
    assert.deepEqual(
      m.route.hashPolicy.map((h) => h.kind),
      ['cookie', 'header', 'source-ip'],
    );
    assert.equal(m.route.upgrades.get('websocket'), true);
    assert.deepEqual(m.metadataMatch, { v: '1' });
  });

  test('what cannot be carried out is refused by name', () => {
    const route = (action: object): RouteConfiguration => config([{ match: { prefix: '/' }, route: { cluster: 'c', ...action } }]);
    refuses(route({ hedge_policy: { initial_requests: 0 } }), 'virtual_hosts[0].routes[0].route.hedge_policy.initial_requests');
    refuses(route({ cors: {} }), 'virtual_hosts[0].routes[0].route.cors');
    refuses(route({ path_rewrite_policy: { name: 'x' } }), 'virtual_hosts[0].routes[0].route.path_rewrite_policy');
    refuses(route({ internal_redirect_policy: {} }), 'virtual_hosts[0].routes[0].route.internal_redirect_policy');
    refuses(route({ cluster: '' }), 'virtual_hosts[0].routes[0].route');
    refuses(config([{ match: {}, route: { cluster: 'c' } }]), 'virtual_hosts[0].routes[0].match');
    refuses(config([to('c', { safe_regex: { regex: '(a' } })]), 'virtual_hosts[0].routes[0].match.safe_regex.regex');
    refuses(
      config([to('c', { prefix: '/', headers: [{ name: 'x', string_match: {} }] })]),
      'virtual_hosts[0].routes[0].match.headers[0].string_match',
    );
  });
});

describe('header operations', () => {
  const run = (add: object[], remove: string[], headers: Parameters<typeof block>[0], fields = {}): string[] => {
    const req = request('/', { headers });
    const m = matched(config([{ ...to('c'), request_headers_to_add: add, request_headers_to_remove: remove }]), req);
    applyHeaderOps(m.requestHeaderOps, req.headers, info({ method: 'GET', ...fields }), req.headers);
    return req.headers.entries().map(([n, v]) => `${n}=${v}`);
  };
  const add = (key: string, value: string, append_action?: string): object => ({
    header: { key, value },
    ...(append_action ? { append_action } : {}),
  });

  test('removes, overwrites, then adds', () => {
    assert.deepEqual(run([add('X-A', '2')], [], { 'x-a': '1' }), ['x-a=1', 'x-a=2']);
    assert.deepEqual(run([add('x-a', '3'), add('x-a', '2', 'OVERWRITE_IF_EXISTS_OR_ADD')], [], { 'x-a': '1' }), ['x-a=2', 'x-a=3']);
    assert.deepEqual(run([add('x-a', '2', 'ADD_IF_ABSENT'), add('x-b', '2', 'ADD_IF_ABSENT')], [], { 'x-a': '1' }), ['x-a=1', 'x-b=2']);
    assert.deepEqual(run([add('x-a', '2', 'OVERWRITE_IF_EXISTS'), add('x-b', '2', 'OVERWRITE_IF_EXISTS')], [], { 'x-a': '1' }), ['x-a=2']);
    assert.deepEqual(run([add('x-a', '2')], ['X-A'], { 'x-a': '1' }), ['x-a=2']);
    assert.deepEqual(run([{ header: { key: 'x-a', value: '2' }, append: false }], [], { 'x-a': '1' }), ['x-a=2']);
  });

  test('operators, escapes and empty values', () => {
    assert.deepEqual(
      run(
        [add('x-a', '%REQ(x-b)%:%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%:100%%')],
        [],
        { 'x-b': 'b' },
        { downstreamRemoteAddress: '10.0.0.1:5' },
      ),
      ['x-b=b', 'x-a=b:10.0.0.1:100%'],
    );
    assert.deepEqual(run([add('x-a', '%REQ(none)%')], [], {}), []);
    assert.deepEqual(run([{ header: { key: 'x-a', value: '' }, keep_empty_value: true }], [], {}), ['x-a=']);
  });

  test('refusals', () => {
    const path = 'virtual_hosts[0].routes[0].request_headers_to_add[0].header';
    refuses(config([{ ...to('c'), request_headers_to_add: [{ header: { key: ':path', value: '/' } }] }]), `${path}.key`);
    refuses(config([{ ...to('c'), request_headers_to_add: [{ header: { key: 'Host', value: 'x' } }] }]), `${path}.key`);
    refuses(config([{ ...to('c'), request_headers_to_add: [{ header: { key: 'x', value: '%NOPE%' } }] }]), `${path}.value`);
    refuses(config([{ ...to('c'), request_headers_to_add: [{ header: { key: 'x', value: 'a\nb' } }] }]), `${path}.value`);
    refuses(config([{ ...to('c'), request_headers_to_remove: ['host'] }]), 'virtual_hosts[0].routes[0].request_headers_to_remove[0]');
  });
});
