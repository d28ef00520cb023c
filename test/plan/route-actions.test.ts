// What a route does with a request: time, retries, rewrites, redirects, answers, mirrors; and what cannot be carried out.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { redirectTarget } from '../../src/plan/internal-redirect.ts';
import { redirectLocation, rewrittenHost, rewrittenPath } from '../../src/plan/rewrite.ts';
import type { RouteConfiguration, RouteMatch as RouteMatchConfig } from '../../src/xds/gen/types.ts';
import { request } from './request.ts';
import { config, decide, matched, refuses, to } from './route-rig.ts';

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

  test('no internal redirect leads to an address without a path to ask for', () => {
    assert.equal(redirectTarget('http://b.test')?.path, '/');
    assert.equal(redirectTarget('http://b.test/#part')?.path, '/');
    assert.equal(redirectTarget('http://b.test#part'), undefined);
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
    const policy = 'virtual_hosts[0].routes[0].route.internal_redirect_policy';
    const redirects = (more: object) => route({ internal_redirect_policy: more });
    refuses(redirects({ redirect_response_codes: [301, 302, 303, 304, 307, 308] }), `${policy}.redirect_response_codes`);
    refuses(redirects({ response_headers_to_copy: ['a', 'a'] }), `${policy}.response_headers_to_copy`);
    refuses(redirects({ response_headers_to_copy: ['a', ':path'] }), `${policy}.response_headers_to_copy[1]`);
    refuses(redirects({ response_headers_to_copy: ['Host'] }), `${policy}.response_headers_to_copy[0]`);
    refuses(redirects({ predicates: [{ name: 'own' }] }), `${policy}.predicates[0]`);
    refuses(route({ cluster: '' }), 'virtual_hosts[0].routes[0].route');
    refuses(config([{ match: {}, route: { cluster: 'c' } }]), 'virtual_hosts[0].routes[0].match');
    refuses(config([to('c', { safe_regex: { regex: '(a' } })]), 'virtual_hosts[0].routes[0].match.safe_regex.regex');
    refuses(
      config([to('c', { prefix: '/', headers: [{ name: 'x', string_match: {} }] })]),
      'virtual_hosts[0].routes[0].match.headers[0].string_match',
    );
  });
});
