// The pure parts: priority loads, outlier rules, the timer wheel on a virtual clock, SAN matching, forwarded addresses.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { priorityLoads } from '../../src/proxy/balance/priority-load.ts';
import type { Clock } from '../../src/proxy/clock.ts';
import { Host } from '../../src/proxy/cluster/host.ts';
import { compileOutlier, OutlierDetector } from '../../src/proxy/cluster/outlier.ts';
import { lastForwardedFor } from '../../src/proxy/exchange/request-headers.ts';
import { callbackTimer, TimerWheel } from '../../src/proxy/timer-wheel.ts';
import { parseSans } from '../../src/proxy/transport/peer-certificate.ts';
import { coversDnsName } from '../../src/proxy/transport/san-match.ts';
import { HeaderBlock } from '../../src/wire/header-block.ts';

class VirtualClock implements Clock {
  now = 0;
  #calls: { at: number; fire: () => void }[] = [];
  wakes = 0;
  monotonicMs(): number {
    return this.now;
  }
  wallMs(): number {
    return this.now;
  }
  after(delayMs: number, fire: () => void): () => void {
    const call = { at: this.now + delayMs, fire };
    this.#calls.push(call);
    return () => {
      this.#calls = this.#calls.filter((c) => c !== call);
    };
  }
  /** Moves time on, call by call. */
  run(until: number): void {
    for (;;) {
      const next = this.#calls.toSorted((a, b) => a.at - b.at)[0];
      if (next === undefined || next.at > until) break;
      this.#calls = this.#calls.filter((c) => c !== next);
      this.now = next.at;
      this.wakes++;
      next.fire();
    }
    this.now = until;
  }
}

const hosts = (count: number, healthy: number): Host[] =>
  Array.from({ length: count }, (_, i) => {
    const host = new Host('10.0.0.1', i + 1);
    host.edsHealthy = i < healthy;
    return host;
  });
const level = (count: number, healthy: number) => {
  const all = hosts(count, healthy);
  return { localities: [{ weight: 1, hosts: all }], hosts: all };
};

test('priority loads follow Envoy: overprovisioning, spill, panic', () => {
  const loads = (...levels: [number, number][]) =>
    priorityLoads({ priorities: levels.map(([n, h]) => level(n, h)), overprovisioning: 140 }, 50).map(
      (l) => `${l.load}${l.panic ? '!' : ''}`,
    );
  assert.deepEqual(loads([10, 10], [10, 10]), ['100', '0']);
  assert.deepEqual(loads([10, 8], [10, 10]), ['100', '0']);
  assert.deepEqual(loads([10, 5], [10, 10]), ['70', '30']);
  assert.deepEqual(loads([10, 0], [10, 10]), ['0', '100']);
  assert.deepEqual(loads([10, 2], [10, 3]), ['50!', '50!']);
  assert.deepEqual(loads([10, 0], [10, 0]), ['50!', '50!']);
  assert.deepEqual(loads([4, 1]), ['100!']);
});

test('timers fire once, late by at most a slot, and can be moved and taken back', () => {
  const clock = new VirtualClock();
  const wheel = new TimerWheel(clock);
  const fired: string[] = [];
  const timers = new Map<string, ReturnType<typeof callbackTimer>>();
  const arm = (name: string, delay: number) => {
    const timer = timers.get(name) ?? callbackTimer(() => fired.push(`${name}@${clock.now}`));
    timers.set(name, timer);
    wheel.arm(timer, delay);
    return timer;
  };
  arm('a', 5);
  arm('moved', 20);
  arm('gone', 30);
  arm('hour', 3_600_000);
  arm('minute', 60_000);
  arm('moved', 100);
  wheel.disarm(timers.get('gone') ?? arm('gone', 0));
  clock.run(50);
  assert.equal(fired.length, 1);
  clock.run(4_000_000);
  assert.equal(fired.length, 4);
  for (const [name, due] of [
    ['a', 5],
    ['moved', 100],
    ['minute', 60_000],
    ['hour', 3_600_000],
  ] as const) {
    const at = Number(fired.find((f) => f.startsWith(`${name}@`))?.split('@')[1]);
    assert.ok(at >= due && at <= due + 20, `${name} fired at ${at}`);
  }
  assert.ok(clock.wakes < 2000, `${clock.wakes} wakes for four timers`);
});

test('outliers: consecutive errors eject, the percentage bounds, time grows', () => {
  const clock = new VirtualClock();
  const wheel = new TimerWheel(clock);
  const all = hosts(4, 4);
  const policy = compileOutlier({ consecutive_5xx: 3, max_ejection_percent: 25, base_ejection_time: '10s', interval: '1s' });
  const detector = new OutlierDetector(
    policy,
    wheel,
    () => 0.5,
    () => all,
    () => {},
  );
  const [first, second] = all;
  assert.ok(first && second);
  for (const status of [500, 500, 200, 500, 500]) detector.response(first, status);
  assert.equal(first.ejected, false);
  detector.localFailure(first, 'connect');
  assert.equal(first.ejected, true);
  for (let i = 0; i < 9; i++) detector.response(second, 503);
  assert.equal(second.ejected, false, 'two of four would be more than 25 %');
  clock.run(9_000);
  assert.equal(first.ejected, true);
  clock.run(11_100);
  assert.equal(first.ejected, false);
  for (let i = 0; i < 3; i++) detector.response(first, 500);
  clock.run(clock.now + 15_000);
  assert.equal(first.ejected, true, 'the second ejection lasts twice as long');
  clock.run(clock.now + 6_500);
  assert.equal(first.ejected, false);
  detector.close();
});

test('subject alternative names are read as printed, quotes included', () => {
  assert.deepEqual(parseSans('URI:spiffe://td/ns/a/sa/b, DNS:"evil, DNS:x", IP Address:10.0.0.1'), {
    uri: ['spiffe://td/ns/a/sa/b'],
    dns: ['evil, DNS:x'],
    ip: ['10.0.0.1'],
    email: [],
  });
  assert.equal(coversDnsName('*.a.test', 'x.a.test'), true);
  assert.equal(coversDnsName('*.a.test', 'x.y.a.test'), false);
});

test('the client address comes from the right place of x-forwarded-for', () => {
  const headers = new HeaderBlock();
  headers.add('x-forwarded-for', '1.1.1.1, 2.2.2.2');
  headers.add('x-forwarded-for', '3.3.3.3');
  assert.deepEqual(lastForwardedFor(headers, 0), { ip: '3.3.3.3', single: false });
  assert.deepEqual(lastForwardedFor(headers, 1), { ip: '2.2.2.2', single: false });
  assert.equal(lastForwardedFor(headers, 5), undefined);
});
