// The line of requests that wait for a connection: whoever comes first goes first, and whoever gives up costs nothing.
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { LocalLimits } from '../../src/proxy/cluster/circuit-breaker.ts';
import { createClusterStats } from '../../src/proxy/cluster/cluster-stats.ts';
import { StatsStore } from '../../src/proxy/stats-store.ts';
import { DISCARD, type UpstreamClient } from '../../src/proxy/upstream/upstream-stream.ts';
import { WaitingLine } from '../../src/proxy/upstream/waiting-line.ts';

const client = (): UpstreamClient => Object.create(DISCARD);
const limitsOf = (pendingMax: number) =>
  new LocalLimits({
    connectionsMax: 1,
    pendingMax,
    requestsMax: 1,
    retriesMax: 1,
    budgetPercent: undefined,
    budgetMin: 1,
    hostConnectionsMax: 1e9,
    poolsMax: 1e9,
    tracksRemaining: false,
  });
const start = (pendingMax: number) => {
  const stats = createClusterStats(new StatsStore(), 'c');
  return { stats, limits: limitsOf(pendingMax), line: new WaitingLine(stats) };
};

suite('the line of waiting requests', () => {
  test('keeps its order however many leave, and counts who waits', () => {
    const { stats, limits, line } = start(10_000);
    const model: UpstreamClient[] = [];
    let seed = 7;
    const random = (below: number): number => {
      seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
      return Math.floor((seed / 2_147_483_648) * below);
    };
    for (let step = 0; step < 20_000; step++) {
      const what = random(10);
      if (what < 5) {
        const one = client();
        assert.equal(line.enter(one, limits), true);
        model.push(one);
      } else if (what < 8 && model.length > 0) line.leave(model.splice(random(model.length), 1)[0] ?? client());
      else assert.equal(line.next()?.client, model.shift());
      assert.equal(line.length, model.length);
    }
    assert.equal(stats.rqPendingActive.value, model.length);
    assert.deepEqual(
      line.clear().map((waiting) => waiting.client),
      model,
    );
    assert.deepEqual([line.length, stats.rqPendingActive.value], [0, 0]);
  });

  test('refuses whom the limit refuses, and gives places back', () => {
    const { stats, limits, line } = start(2);
    const [a, b, c] = [client(), client(), client()];
    assert.deepEqual([line.enter(a, limits), line.enter(b, limits), line.enter(c, limits)], [true, true, false]);
    assert.equal(stats.rqPendingOverflow.value, 1);
    line.leave(c);
    line.leave(a);
    line.leave(a);
    assert.equal(line.enter(c, limits), true);
    assert.deepEqual([line.next()?.client, line.next()?.client, line.next()], [b, c, undefined]);
  });

  test('a crowd that gives up at once, the last first, is no work', { timeout: 120_000 }, () => {
    const { limits, line } = start(100_000);
    const crowd = Array.from({ length: 60_000 }, client);
    for (const one of crowd) line.enter(one, limits);
    const before = process.cpuUsage();
    for (const one of crowd.reverse()) line.leave(one);
    assert.equal(line.length, 0);
    const { user, system } = process.cpuUsage(before);
    assert.ok(user + system < 1_500_000, `${user + system} µs`);
  });
});
