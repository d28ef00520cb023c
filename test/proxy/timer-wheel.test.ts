// The wheel of timers: what fires when, and that nobody is kept by a timer that will not fire.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { TimerWheel, WheelTimer } from '../../src/proxy/timer-wheel.ts';
import { ManualClock } from './xds-fixture.ts';

const timerOf = (fired: number[], n: number): WheelTimer => new WheelTimer({ onTimer: () => fired.push(n) }, 0);

describe('the timer wheel', () => {
  test('fires each armed timer once, never early and at most a slot late', () => {
    const step = fc.record({
      at: fc.nat(49),
      act: fc.constantFrom('arm', 'arm', 'disarm', 'drop'),
      ms: fc.nat(20_000),
      pass: fc.nat(3_000),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const clock = new ManualClock();
        const wheel = new TimerWheel(clock);
        const due = new Map<number, number>();
        const timers = Array.from({ length: 50 }, (_, n) => {
          const timer: WheelTimer = new WheelTimer(
            {
              onTimer: () => {
                const at = due.get(n);
                assert.ok(at !== undefined, 'armed');
                const now = clock.monotonicMs();
                assert.ok(now >= at, `early: ${now} < ${at}`);
                due.delete(n);
              },
            },
            0,
          );
          return timer;
        });
        for (const { at, act, ms, pass } of steps) {
          const timer = timers[at];
          if (timer === undefined) continue;
          if (act === 'arm') {
            wheel.arm(timer, ms);
            due.set(at, clock.monotonicMs() + ms);
          } else {
            due.delete(at);
            if (act === 'drop') wheel.drop(timer);
            else wheel.disarm(timer);
          }
          for (let left = pass; left > 0; left -= 10) clock.advance(Math.min(10, left));
          for (const when of due.values()) assert.ok(when + 30 > clock.monotonicMs(), 'late');
        }
        wheel.close();
      }),
      { numRuns: 60 },
    );
  });

  test('keeps no timer that was dropped', () => {
    const wheel = new TimerWheel(new ManualClock());
    const timer = timerOf([], 0);
    wheel.arm(timer, 300_000);
    wheel.drop(timer);
    assert.equal(timer.slot, undefined);
    assert.equal(timer.armed, false);
    wheel.close();
  });

  test('keeps few that were disarmed, however many there were', () => {
    const clock = new ManualClock();
    const wheel = new TimerWheel(clock);
    const fired: number[] = [];
    const lasting = timerOf(fired, -1);
    wheel.arm(lasting, 5_000);
    const gone = Array.from({ length: 20_000 }, (_, n) => timerOf(fired, n));
    for (const timer of gone) {
      wheel.arm(timer, 300_000);
      wheel.disarm(timer);
    }
    assert.ok(gone.filter((timer) => timer.slot !== undefined).length <= 1100);
    for (let ms = 0; ms <= 5_100; ms += 10) clock.advance(10);
    assert.deepEqual(fired, [-1]);
    wheel.close();
  });
});
