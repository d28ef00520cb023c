// Which of several clusters a request goes to, and whose header operations it meets on the way.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { applyHeaderOps } from '../../src/plan/header-ops.ts';
import { rewrittenHost } from '../../src/plan/rewrite.ts';
import type { RouteConfiguration } from '../../src/xds/gen/types.ts';
import { type block, info, request } from './request.ts';
import { config, decide, matched, refuses, to } from './route-rig.ts';

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
