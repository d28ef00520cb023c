// Which virtual host and which route a request finds, on configurations as Istio sends them.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { RouteConfiguration, RouteMatch as RouteMatchConfig } from '../../src/xds/gen/types.ts';
import { request } from './request.ts';
import { config, decide, refuses, to } from './route-rig.ts';

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
