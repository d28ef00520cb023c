// What the rate-limit server decides: windows, hits, overrides, replacement, shadow mode, its local cache; and over a real Redis.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { describe, test } from 'node:test';
import { MetricRegistry } from '../../src/base/metrics.ts';
import { parseConfig } from '../../src/ratelimit/config-document.ts';
import type { Counters, Hit } from '../../src/ratelimit/counters.ts';
import { LimitMetrics } from '../../src/ratelimit/limit-metrics.ts';
import { MemoryCounters } from '../../src/ratelimit/memory-counters.ts';
import { RedisCounters } from '../../src/ratelimit/redis-counters.ts';
import { RateLimitService, type ServiceOptions } from '../../src/ratelimit/service.ts';
import type { RateLimitDescriptor, RateLimitRequest, RateLimitResponse } from '../../src/xds/gen/types.ts';
import { freePort } from '../free-port.ts';

const CONFIG = `
domain: shop
descriptors:
  - { key: user, rate_limit: { unit: minute, requests_per_unit: 3 } }
  - { key: tried, rate_limit: { unit: minute, requests_per_unit: 1 }, shadow_mode: true }
  - { key: free, rate_limit: { unlimited: true } }
  - { key: all, rate_limit: { unit: hour, requests_per_unit: 1, name: all } }
  - { key: vip, rate_limit: { unit: hour, requests_per_unit: 9, replaces: [{ name: all }] } }
  - { key: told, detailed_metric: true, rate_limit: { unit: minute, requests_per_unit: 10 } }
`;
/** In the middle of a minute. */
const NOW = 1_800_000_030_000;

class Spy implements Counters {
  readonly ready = true;
  readonly asked: Hit[][] = [];
  readonly #memory: MemoryCounters;
  constructor(now: () => number) {
    this.#memory = new MemoryCounters(now);
  }
  add(hits: readonly Hit[]): Promise<readonly number[]> {
    this.asked.push([...hits]);
    return this.#memory.add(hits);
  }
  close(): Promise<void> {
    return Promise.resolve();
  }
}

const start = (more: Partial<ServiceOptions> = {}) => {
  let now = NOW;
  const { domains, problems } = parseConfig('shop.yaml', CONFIG);
  assert.deepEqual(problems, []);
  const known = new Map(domains.map((d) => [d.domain, d]));
  const counters = new Spy(() => now);
  const registry = new MetricRegistry();
  const service = new RateLimitService({
    domains: () => known,
    counters,
    metrics: new LimitMetrics(registry),
    now: () => now,
    random: () => 0.5,
    jitterSeconds: 0,
    localCacheKeys: 100,
    nearRatio: 0.8,
    responseHeaders: false,
    shadow: false,
    keyPrefix: '',
    ...more,
  });
  return {
    service,
    registry,
    asked: counters.asked,
    pass: (ms: number) => {
      now += ms;
    },
    ask: (request: RateLimitRequest): Promise<RateLimitResponse> => service.decide({ domain: 'shop', ...request }),
  };
};
const of = (key: string, value: string, more: Partial<RateLimitDescriptor> = {}): RateLimitDescriptor => ({
  entries: [{ key, value }],
  ...more,
});
const brief = ({ overall_code, statuses }: RateLimitResponse): string =>
  [
    overall_code,
    ...(statuses ?? []).map((s) => `${s.code}${s.current_limit === undefined ? '' : ` ${s.limit_remaining} ${s.duration_until_reset}`}`),
  ].join('; ');

describe('rate-limit service', () => {
  test('a window is counted up to its limit, for each value by itself, and begins anew', async () => {
    const rig = start();
    const ask = async (user: string): Promise<string> => brief(await rig.ask({ descriptors: [of('user', user)] }));
    assert.equal(await ask('ann'), 'OK; OK 2 30s');
    assert.equal(await ask('ann'), 'OK; OK 1 30s');
    assert.equal(await ask('ann'), 'OK; OK 0 30s');
    assert.equal(await ask('ann'), 'OVER_LIMIT; OVER_LIMIT 0 30s');
    assert.equal(await ask('bob'), 'OK; OK 2 30s');
    assert.deepEqual(rig.asked[0], [{ key: 'shop_user_ann_60_1800000000', hits: 1, expireSeconds: 60 }]);
    const before = rig.asked.length;
    assert.equal(await ask('ann'), 'OVER_LIMIT; OVER_LIMIT 0 30s');
    assert.equal(rig.asked.length, before, 'known to be over: nobody is asked');
    rig.pass(30_000);
    assert.equal(await ask('ann'), 'OK; OK 2 60s');
  });

  test('several descriptors are one round trip; one that is over makes the answer', async () => {
    const rig = start();
    const descriptors = [of('user', 'ann', { hits_addend: 3 }), of('nothing', 'x'), of('free', 'x'), of('told', 'y')];
    assert.equal(brief(await rig.ask({ descriptors })), 'OK; OK 0 30s; OK; OK; OK 9 30s');
    assert.equal(brief(await rig.ask({ descriptors })), 'OVER_LIMIT; OVER_LIMIT 0 30s; OK; OK; OK 8 30s');
    assert.deepEqual(
      rig.asked.map((hits) => hits.length),
      [2, 2],
    );
  });

  test('hits: of the request, of a descriptor, none, and given back', async () => {
    const rig = start();
    assert.equal(brief(await rig.ask({ descriptors: [of('told', 'a')], hits_addend: 4 })), 'OK; OK 6 30s');
    assert.equal(brief(await rig.ask({ descriptors: [of('told', 'a', { hits_addend: 5 })], hits_addend: 1 })), 'OK; OK 1 30s');
    assert.equal(brief(await rig.ask({ descriptors: [of('told', 'a', { hits_addend: 0 })] })), 'OK; OK 1 30s');
    assert.equal(brief(await rig.ask({ descriptors: [of('told', 'a', { hits_addend: 4, is_negative_hits: true })] })), 'OK; OK 5 30s');
  });

  test('values that a client chooses never share a count with others', async () => {
    const rig = start();
    const lists = [
      [{ key: 'user', value: 'a_user_b' }],
      [
        { key: 'user', value: 'a' },
        { key: 'user', value: 'b' },
      ],
      [{ key: 'user', value: 'a\\' }],
      [{ key: 'user', value: 'a\\_' }],
    ];
    const limit = { requests_per_unit: 10, unit: 'HOUR' } as const;
    await rig.ask({ descriptors: lists.map((entries) => ({ entries, limit })) });
    assert.equal(new Set(rig.asked[0]?.map(({ key }) => key)).size, lists.length);
  });

  test('one request adds at most what a sum in Redis can bear for ever', async () => {
    const rig = start();
    const huge = 2 ** 63;
    await rig.ask({
      descriptors: [of('told', 'a', { hits_addend: huge }), of('told', 'b', { hits_addend: huge, is_negative_hits: true })],
    });
    await rig.ask({ descriptors: [of('told', 'c')], hits_addend: huge });
    assert.deepEqual(
      rig.asked.flat().map(({ hits }) => hits),
      [1e9, -1e9, 1e9],
    );
  });

  test('a request may bring its limit; another limit may replace one; shadow limits refuse nobody', async () => {
    const rig = start();
    const own = of('any', 'x', { limit: { requests_per_unit: 1, unit: 'HOUR' } });
    assert.deepEqual(
      [brief(await rig.ask({ descriptors: [own] })).slice(0, 8), brief(await rig.ask({ descriptors: [own] })).slice(0, 10)],
      ['OK; OK 0', 'OVER_LIMIT'],
    );
    for (let i = 0; i < 3; i++) assert.match(brief(await rig.ask({ descriptors: [of('all', 'x'), of('vip', 'y')] })), /^OK; OK; OK \d/);
    assert.match(brief(await rig.ask({ descriptors: [of('all', 'x')] })), /^OK; OK 0/);
    assert.match(brief(await rig.ask({ descriptors: [of('all', 'x')] })), /^OVER_LIMIT/);
    for (let i = 0; i < 3; i++) assert.equal(brief(await rig.ask({ descriptors: [of('tried', 'x')] })), 'OK; OK 0 30s');
    const shadow = start({ shadow: true });
    for (let i = 0; i < 5; i++) assert.match(brief(await shadow.ask({ descriptors: [of('user', 'x')] })), /^OK/);
  });

  test('what is asked wrongly is refused in words', async () => {
    const rig = start();
    await assert.rejects(rig.service.decide({ descriptors: [of('user', 'x')] }), /domain must not be empty/);
    await assert.rejects(rig.ask({ descriptors: [] }), /descriptor list must not be empty/);
    assert.equal(brief(await rig.ask({ domain: 'nobody', descriptors: [of('user', 'x')] })), 'OK; OK');
    assert.equal(brief(await rig.ask({ descriptors: [{}] })), 'OK; OK');
  });

  test('metrics tell hits, refusals, near misses; headers tell the least that is left; jitter spreads the ends', async () => {
    const rig = start({ responseHeaders: true, jitterSeconds: 10 });
    const descriptors = [of('user', 'ann'), of('told', 'b')];
    let last: RateLimitResponse = {};
    for (let i = 0; i < 5; i++) last = await rig.ask({ descriptors });
    assert.deepEqual(last.response_headers_to_add, [
      { key: 'RateLimit-Limit', value: '3' },
      { key: 'RateLimit-Remaining', value: '0' },
      { key: 'RateLimit-Reset', value: '30' },
    ]);
    assert.equal(rig.asked[0]?.[0]?.expireSeconds, 65);
    const text = rig.registry.render();
    for (const line of [
      'total_hits{key="shop.user"} 5',
      'over_limit{key="shop.user"} 2',
      'over_limit_with_local_cache{key="shop.user"} 1',
      'within_limit{key="shop.user"} 3',
      'near_limit{key="shop.user"} 1',
      'total_hits{key="shop.told told_b"} 5',
    ])
      assert.ok(text.includes(`ratelimit_service_rate_limit_${line}\n`), `${line}\n${text}`);
  });
});

const noRedis = spawnSync('redis-server', ['--version']).status === 0 ? false : 'there is no redis-server';

const startRedis = async (port: number) => {
  const child = spawn('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  for await (const text of child.stdout) if (String(text).includes('eady to accept connections')) break;
  return child;
};

const within = async (what: string, ms: number, check: () => boolean): Promise<void> => {
  const until = performance.now() + ms;
  while (!check()) {
    if (performance.now() > until) throw new Error(`not within ${ms} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
};

describe('counts in Redis', { skip: noRedis }, () => {
  test('two servers count together; silence and absence are answered in time, and the way back is found', async () => {
    const port = await freePort();
    let redis = await startRedis(port);
    const told: string[] = [];
    const open = (): RedisCounters =>
      new RedisCounters({ url: `redis://127.0.0.1:${port}/1`, timeoutMs: 100, told: (what) => told.push(what) });
    const [a, b] = [open(), open()];
    const hit = (key: string, hits = 1): Hit => ({ key, hits, expireSeconds: 60 });
    try {
      await within('both are connected', 20_000, () => a.ready && b.ready);
      assert.deepEqual(await a.add([hit('x'), hit('y', 5)]), [1, 5]);
      assert.deepEqual(await b.add([hit('x'), hit('y', -2), hit('z', 0)]), [2, 3, 0]);
      redis.kill('SIGSTOP');
      // It would be silent for ever.
      await assert.rejects(a.add([hit('x')]));
      redis.kill('SIGKILL');
      await within('it is lost', 20_000, () => !a.ready && !b.ready);
      await assert.rejects(a.add([hit('x')]), /not connected/, 'nobody is waited for who is not there');
      redis = await startRedis(port);
      await within('both are connected again', 20_000, () => a.ready && b.ready);
      assert.deepEqual(await a.add([hit('x')]), [1]);
      assert.ok(told.includes('connected') && told.includes('lost'));
    } finally {
      await a.close();
      await b.close();
      redis.kill('SIGKILL');
    }
  });
});
