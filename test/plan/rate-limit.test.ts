// What Envoy 1.40 makes of RateLimit actions: every row as a recorded rate limit service was asked.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { PlanError } from '../../src/plan/plan-error.ts';
import type { LimitedRequest } from '../../src/plan/rate-limit/descriptor.ts';
import { maskedAddress } from '../../src/plan/rate-limit/masked-address.ts';
import { compileOwnRateLimits, compileRateLimits, describeRequest } from '../../src/plan/rate-limit/policy.ts';
import { rateLimitHeaders, retryAfterSeconds } from '../../src/plan/rate-limit/service-answer.ts';
import { StreamInfo } from '../../src/plan/stream-info.ts';
import { HeaderBlock } from '../../src/wire/header-block.ts';
import type { RateLimit_Action, Route_RateLimit } from '../../src/xds/gen/types.ts';

const from = (path = '/', headers: Record<string, string> = {}, sourceIp = '10.1.2.3'): LimitedRequest => {
  const block = new HeaderBlock();
  for (const [name, value] of Object.entries(headers)) block.add(name, value);
  const info = new StreamInfo();
  info.routeMetadata = { filter_metadata: { ns: { s: 'text', n: 5, deep: { x: 'far' }, limit: { requests_per_unit: 7, unit: 'HOUR' } } } };
  info.clusterMetadata = { filter_metadata: { ns: { s: 'of the cluster' } } };
  info.dynamicMetadata = {
    ns: { s: 'dynamic', limit: { requests_per_unit: 7, unit: 'HOUR' }, odd: { requests_per_unit: 'x', unit: 'HOUR' } },
  };
  return {
    request: { method: 'GET', path, authority: 'a.test', scheme: 'http', headers: block, sourceIp },
    info,
    clusterName: 'c',
    ownCluster: 'me',
  };
};

const describeBy = (rule: Route_RateLimit, request: LimitedRequest) => {
  const [compiled] = compileRateLimits([rule], 'rate_limits');
  assert.ok(compiled);
  return describeRequest(compiled, request);
};
/** `key=value,…`; undefined: the descriptor is dropped. */
const entriesOf = (actions: readonly RateLimit_Action[], request: LimitedRequest): string | undefined =>
  describeBy({ actions }, request)
    ?.entries.map(({ key, value }) => `${key}=${value}`)
    .join();

describe('rate limit descriptors', () => {
  test('each action adds its entry; one that finds nothing drops the descriptor unless it may be skipped', () => {
    const at = { key: 'ns', path: [{ key: 's' }] };
    const number = { key: 'ns', path: [{ key: 'n' }] };
    const header = { header_name: 'X-C', descriptor_key: 'c' };
    const equalsAB = [{ name: 'q', string_match: { exact: 'a b' } }];
    const rows: [RateLimit_Action[], LimitedRequest, string | undefined][] = [
      [[{ source_cluster: {} }, { destination_cluster: {} }], from(), 'source_cluster=me,destination_cluster=c'],
      [[{ remote_address: {} }, { masked_remote_address: {} }], from(), 'remote_address=10.1.2.3,masked_remote_address=10.1.2.3/32'],
      [[{ remote_address: {} }], from('/', {}, ''), undefined],
      [[{ masked_remote_address: { v4_prefix_mask_len: 20 } }], from('/', {}, '10.1.255.3'), 'masked_remote_address=10.1.240.0/20'],
      [[{ request_headers: header }], from('/', { 'x-c': 'v' }), 'c=v'],
      [[{ request_headers: header }], from(), undefined],
      [[{ request_headers: { ...header, skip_if_absent: true } }, { destination_cluster: {} }], from(), 'destination_cluster=c'],
      [[{ request_headers: { ...header, skip_if_absent: true } }], from(), ''],
      [[{ request_headers: { header_name: ':path', descriptor_key: 'p' } }], from('/x?y'), 'p=/x?y'],
      [[{ query_parameters: { query_parameter_name: 'q', descriptor_key: 'q' } }], from('/?q=a%20b'), 'q=a b'],
      [[{ query_parameters: { query_parameter_name: 'q', descriptor_key: 'q' } }], from('/'), undefined],
      [[{ generic_key: { descriptor_value: '%REQ(x)%', default_value: 'd' } }], from(), 'generic_key=%REQ(x)%'],
      [[{ generic_key: { descriptor_value: 'v', descriptor_key: 'k' } }], from(), 'k=v'],
      [[{ header_value_match: { descriptor_value: 'v', headers: [{ name: 'x-c' }] } }], from('/', { 'x-c': '' }), 'header_match=v'],
      [[{ header_value_match: { descriptor_value: 'v', expect_match: false, headers: [{ name: 'x-c' }] } }], from(), 'header_match=v'],
      [[{ header_value_match: { descriptor_value: 'v', headers: [{ name: 'x-c' }] } }], from(), undefined],
      [[{ query_parameter_value_match: { descriptor_value: 'm', query_parameters: equalsAB } }], from('/?q=a%20b'), 'query_match=m'],
      [
        [{ query_parameter_value_match: { descriptor_value: 'm', descriptor_key: 'k', expect_match: false, query_parameters: equalsAB } }],
        from('/?q=z'),
        'k=m',
      ],
      [[{ metadata: { descriptor_key: 'k', metadata_key: at } }], from(), 'k=dynamic'],
      [[{ dynamic_metadata: { descriptor_key: 'k', metadata_key: at } }], from(), 'k=dynamic'],
      [[{ metadata: { descriptor_key: 'k', source: 'ROUTE_ENTRY', metadata_key: at } }], from(), 'k=text'],
      [[{ metadata: { descriptor_key: 'k', source: 'CLUSTER_ENTRY', metadata_key: at } } as RateLimit_Action], from(), 'k=of the cluster'],
      [
        [{ metadata: { descriptor_key: 'k', source: 'ROUTE_ENTRY', metadata_key: { key: 'ns', path: [{ key: 'deep' }, { key: 'x' }] } } }],
        from(),
        'k=far',
      ],
      [[{ metadata: { descriptor_key: 'k', source: 'ROUTE_ENTRY', metadata_key: number } }], from(), undefined],
      [[{ metadata: { descriptor_key: 'k', source: 'ROUTE_ENTRY', metadata_key: number, default_value: 'd' } }], from(), 'k=d'],
      [
        [{ metadata: { descriptor_key: 'k', metadata_key: number, skip_if_absent: true } }, { remote_address: {} }],
        from(),
        'remote_address=10.1.2.3',
      ],
      [
        [
          {
            remote_address_match: { descriptor_value: 'in', address_matcher: { ranges: [{ address_prefix: '10.0.0.0', prefix_len: 8 }] } },
          },
        ],
        from(),
        'remote_address_match=in',
      ],
      [
        [
          {
            remote_address_match: {
              descriptor_value: 'out',
              descriptor_key: 'k',
              address_matcher: { invert_match: true, ranges: [{ address_prefix: '10.0.0.0', prefix_len: 8 }] },
            },
          },
        ],
        from('/', {}, '11.0.0.1'),
        'k=out',
      ],
    ];
    for (const [actions, request, wanted] of rows) assert.equal(entriesOf(actions, request), wanted, JSON.stringify(actions));
  });

  test('addresses are cut to their networks', () => {
    assert.equal(maskedAddress('2001:db8:1:2:3:4:5:6', 32, 48), '2001:db8:1::/48');
    assert.equal(maskedAddress('2001:db8:0:1:0:0:0:6', 32, 128), '2001:db8:0:1::6/128');
    assert.equal(maskedAddress('::1', 32, 0), '::/0');
    assert.equal(maskedAddress('pipe', 32, 128), undefined);
  });

  test('a limit comes with the rule or from dynamic metadata, where it is one', () => {
    const actions = [{ source_cluster: {} }];
    const dynamic = (key: string): Route_RateLimit => ({
      actions,
      limit: { dynamic_metadata: { metadata_key: { key: 'ns', path: [{ key }] } } },
    });
    assert.deepEqual(describeBy({ actions, limit: { rate_limit: { requests_per_unit: 42, unit: 'DAY' } } }, from())?.limit, {
      requests: 42,
      unit: 'DAY',
    });
    assert.deepEqual(describeBy(dynamic('limit'), from())?.limit, { requests: 7, unit: 'HOUR' });
    assert.deepEqual([describeBy(dynamic('odd'), from())?.limit, describeBy(dynamic('none'), from())?.limit], [undefined, undefined]);
  });

  test('what Envoy refuses is refused, with the field', () => {
    const rows: [string, Route_RateLimit][] = [
      ['actions', { actions: [] }],
      ['actions[0]', { actions: [{}] }],
      ['stage', { stage: 11, actions: [{ source_cluster: {} }] }],
      ['actions[0].generic_key.descriptor_value', { actions: [{ generic_key: {} }] }],
      ['actions[0].request_headers.descriptor_key', { actions: [{ request_headers: { header_name: 'x' } }] }],
      ['actions[0].masked_remote_address.v4_prefix_mask_len', { actions: [{ masked_remote_address: { v4_prefix_mask_len: 33 } }] }],
      ['actions[0].header_value_match.headers', { actions: [{ header_value_match: { descriptor_value: 'v' } }] }],
      ['actions[0].extension', { actions: [{ extension: { name: 'cel' } }] }],
      ['actions[0].metadata.source', { actions: [{ metadata: { descriptor_key: 'k', source: 3, metadata_key: { key: 'a' } } }] }],
      ['limit', { actions: [{ source_cluster: {} }], limit: {} }],
      ['x_ratelimit_option', { actions: [{ source_cluster: {} }], x_ratelimit_option: 9 }],
    ];
    for (const [path, rule] of rows)
      for (const compile of [() => compileRateLimits([rule], 'r'), () => compileOwnRateLimits([rule], true, 'r')])
        assert.throws(compile, (problem) => problem instanceof PlanError && problem.path === `r[0].${path}`, path);
  });
});

test('the limit with the least left is told first, then all with their windows; of those exceeded the longest wait', () => {
  const limit = (requests_per_unit: number, unit: 'SECOND' | 'YEAR', more: object = {}) => ({
    current_limit: { requests_per_unit, unit, ...more },
  });
  const statuses = [
    { code: 'OVER_LIMIT' as const, ...limit(10, 'SECOND', { unit_multiplier: 5 }), limit_remaining: 7, duration_until_reset: '2.900s' },
    { code: 'OVER_LIMIT' as const, ...limit(3, 'YEAR', { name: 'y' }), duration_until_reset: '90s' },
    { code: 'OK' as const, duration_until_reset: '900s' },
  ];
  assert.deepEqual(rateLimitHeaders(statuses), [
    ['x-ratelimit-limit', '3, 10;w=5, 3;w=31536000;name="y"'],
    ['x-ratelimit-remaining', '0'],
    ['x-ratelimit-reset', '90'],
  ]);
  assert.equal(retryAfterSeconds(statuses), 90);
  assert.deepEqual([rateLimitHeaders([{ code: 'OK' }]), retryAfterSeconds([{ code: 'OK' }])], [[], undefined]);
});
