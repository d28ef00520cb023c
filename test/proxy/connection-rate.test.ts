// Rates of connections: envoy.filters.network.local_ratelimit and the listener's, as Envoy closes and counts them.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { systemClock } from '../../src/proxy/clock.ts';
import { StatsStore } from '../../src/proxy/stats-store.ts';
import type { Listener, NetworkLocalRatelimit_LocalRateLimit } from '../../src/xds/gen/types.ts';
import { chains, eventually, hcm, RawClient, startPlane } from './harness.ts';

const NETWORK = 'type.googleapis.com/envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit';
const LISTENER = 'type.googleapis.com/envoy.extensions.filters.listener.local_ratelimit.v3.LocalRateLimit';
const rate = (type: string, more: NetworkLocalRatelimit_LocalRateLimit = {}) => ({
  name: 'local_ratelimit',
  typed_config: { '@type': type, stat_prefix: 'few', token_bucket: { max_tokens: 2, tokens_per_fill: 1, fill_interval: '10s' }, ...more },
});
const direct = hcm([{ match: { prefix: '/' }, direct_response: { status: 200 } }]);
const network = (more?: NetworkLocalRatelimit_LocalRateLimit): Listener => chains('l', [{ filters: [rate(NETWORK, more), direct] }]);
const onAccept = (more?: NetworkLocalRatelimit_LocalRateLimit): Listener =>
  chains('l', [{ filters: [direct] }], { listener_filters: [rate(LISTENER, more)] });

const start = async (listener: Listener) => {
  const stats = new StatsStore();
  let ahead = 0;
  const rig = await startPlane(
    { listeners: [listener] },
    { stats, clock: { ...systemClock, monotonicMs: () => performance.now() + ahead } },
  );
  /** Whether a connection is served. */
  const served = async (): Promise<boolean> => {
    const client = await RawClient.open(rig.port('l'));
    try {
      return (await client.get('/')).status === 200;
    } catch {
      return false;
    } finally {
      client.close();
    }
  };
  return {
    rig,
    served,
    pass: (ms: number) => {
      ahead += ms;
    },
    count: (name: string) => stats.find(name)?.value,
    [Symbol.asyncDispose]: () => rig[Symbol.asyncDispose](),
  };
};

describe('connection rates', () => {
  for (const [what, of, counter] of [
    ['a network filter', network, 'local_rate_limit.few.rate_limited'],
    ['a listener filter', onAccept, 'listener_local_ratelimit.few.rate_limited'],
  ] as const) {
    test(`${what} lets as many begin as there are tokens, and closes the others`, async () => {
      await using limited = await start(of());
      assert.deepEqual([await limited.served(), await limited.served(), await limited.served()], [true, true, false]);
      assert.equal(limited.count(counter), 1);
      limited.pass(10_100);
      assert.deepEqual([await limited.served(), await limited.served()], [true, false]);
    });

    test(`${what} that is off limits nothing; one without a bucket is refused`, async () => {
      await using off = await start(of({ runtime_enabled: { default_value: false, runtime_key: 'k' } }));
      assert.deepEqual([await off.served(), await off.served(), await off.served()], [true, true, true]);
      await assert.rejects(start(of({ token_bucket: undefined })), /token_bucket: is required/);
      await assert.rejects(start(of({ stat_prefix: '' })), /stat_prefix: is required/);
    });
  }

  test('what a network filter closes is logged as Envoy logs it', async () => {
    await using limited = await start(network());
    for (let i = 0; i < 3; i++) await limited.served();
    await eventually(() => limited.rig.connections.some((c) => c.flags === 'URX'), 'logged');
    await assert.rejects(start(network({ share_key: 'k' })), /share_key: is not supported/);
  });
});
