// The smuggling table against the live data plane: the backend sees the requests the proxy understood, in a form that leaves no room
// for a second reading, and nothing else; a refused request reaches nobody, and whoever comes next gets its own answer.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { startPlane } from './harness.ts';
import { type Played, play, recordingBackend, stage } from './smuggling-rig.ts';
import type { HostileRow } from './smuggling-row.ts';
import { STRICTER } from './smuggling-stricter.ts';
import { FRAMING_ROWS } from './smuggling-table.ts';
import { HEAD_ROWS } from './smuggling-table-heads.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';

const ROWS = [...FRAMING_ROWS, ...HEAD_ROWS];
/** A connection that ended before its request did: no reader takes that for a request. */
const whole = (arrived: readonly string[]): readonly string[] => arrived.filter((line) => !line.startsWith('PARTIAL '));
const statusesOf = (row: HostileRow): readonly number[] => [
  ...row.arrives.map(() => 200),
  ...(row.status === undefined ? [] : [row.status]),
];
const same = (a: readonly unknown[], b: readonly unknown[]): boolean => JSON.stringify(a) === JSON.stringify(b);

describe('hostile HTTP/1 requests', () => {
  for (const [how, cut] of [
    ['in one piece', 'whole'],
    ['in two pieces', 'halves'],
  ] as const)
    test(`never become a second request, sent ${how}`, { timeout: 120_000 }, async () => {
      await using backend = await recordingBackend();
      await using plane = await startPlane(stage(backend.port));
      const wrong: string[] = [];
      for (const row of ROWS) {
        const played = await play(row, (on) => plane.port(on), backend, 1000, cut);
        const arrived = cut === 'whole' ? played.arrived : whole(played.arrived);
        if (same(played.statuses, statusesOf(row)) && same(arrived, row.arrives) && played.victim === 'for /victim') continue;
        wrong.push(`${row.what}: ${JSON.stringify(played)}, wanted ${JSON.stringify([statusesOf(row), row.arrives])}`);
      }
      assert.deepEqual(wrong, []);
      assert.deepEqual(plane.problems, []);
    });

  test('the table has no row twice and is large', () => {
    assert.equal(new Set(ROWS.map((row) => row.what)).size, ROWS.length);
    assert.ok(ROWS.length >= 500, String(ROWS.length));
  });

  test('what stock Envoy refuses is refused, and where we are stricter a reason is given', {
    timeout: 120_000,
    skip: NO_ENVOY,
  }, async () => {
    await using backend = await recordingBackend();
    await using envoy = await startEnvoy(stage(backend.port));
    const unexplained: string[] = [];
    const used = new Set<RegExp>();
    for (const row of ROWS) {
      const played: Played = await play(row, (on) => envoy.port(on), backend, 250, 'whole');
      const arrived = whole(played.arrived);
      if (same(arrived, row.arrives)) continue;
      const rules = STRICTER.filter((rule) => rule.rows.test(row.what));
      for (const rule of rules) used.add(rule.rows);
      if (rules.length === 0 || arrived.length < row.arrives.length)
        unexplained.push(
          `${row.what}: Envoy ${JSON.stringify([played.statuses, arrived])}, we ${JSON.stringify([statusesOf(row), row.arrives])}`,
        );
    }
    assert.deepEqual(unexplained, []);
    assert.deepEqual(
      STRICTER.filter((rule) => !used.has(rule.rows)).map((rule) => rule.reason),
      [],
      'rules that explain nothing',
    );
  });
});
