// The identity machine under a virtual clock: certificates are issued and renewed and roots replace each other for thirteen months, and at
// every tick every certificate in use is trusted by everybody.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { leafLifeMs } from '../../src/identity/certificate-profile.ts';
import { checkLives, type Lives, overlapMs, successorDueMs } from '../../src/identity/lives.ts';
import {
  activeRoot,
  dueStep,
  firstRoot,
  nextStep,
  phaseOf,
  type RootRecord,
  type Roots,
  revokeRoot,
  takeStep,
  withLeafLife,
} from '../../src/identity/root-rotation.ts';
import { renewInMs } from '../../src/identity/rotation.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const LIVES: Lives = { leafMs: DAY, intermediateMs: 7 * DAY, rootMs: 60 * DAY };

/** Deterministic: a failure can be run again. */
const randomOf = (seed: number) => (): number => {
  seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
  return seed / 2 ** 32;
};

interface Workload {
  leaf: { root: string; notAfterMs: number };
  trusted: ReadonlySet<string>;
  renewAtMs: number;
  /** Cannot reach the authority until then. */
  awayUntilMs: number;
  /** How far its clock is off. */
  readonly skewMs: number;
}

interface World {
  roots: Roots;
  readonly workloads: Workload[];
  readonly random: () => number;
  made: number;
  issued: number;
}

const record = (world: { made: number }, nowMs: number, lives: Lives): RootRecord => {
  world.made += 1;
  return { id: `r${world.made}`, notBeforeMs: nowMs - MINUTE, notAfterMs: nowMs + lives.rootMs };
};

/** As the authority does it: the leaf ends with its issuer at the latest, and everything that is trusted comes along. */
const issue = (world: World, workload: Workload, nowMs: number, lives: Lives): void => {
  const root = activeRoot(world.roots);
  workload.leaf = { root: root.id, notAfterMs: Math.min(nowMs + leafLifeMs(0, lives.leafMs), root.notAfterMs) };
  workload.trusted = new Set(world.roots.trusted.map((r) => r.id));
  workload.renewAtMs = nowMs + renewInMs({ notBeforeMs: nowMs, notAfterMs: workload.leaf.notAfterMs }, nowMs, world.random());
  world.issued += 1;
};

const newWorld = (lives: Lives, count: number): World => {
  const counter = { made: 0 };
  const world: World = {
    roots: firstRoot(record(counter, 0, lives), lives.leafMs, 0),
    workloads: [],
    random: randomOf(20_261_121),
    made: counter.made,
    issued: 0,
  };
  for (let i = 0; i < count; i++) {
    const skewMs = (world.random() * 2 - 1) * Math.min(MINUTE, lives.leafMs) * 0.9;
    const workload: Workload = { leaf: { root: '', notAfterMs: 0 }, trusted: new Set(), renewAtMs: 0, awayUntilMs: 0, skewMs };
    issue(world, workload, 0, lives);
    world.workloads.push(workload);
  }
  return world;
};

/** Who would refuse whom now, by anybody's clock. */
const refusals = ({ workloads }: World, nowMs: number): readonly string[] => {
  const found: string[] = [];
  for (const [i, client] of workloads.entries()) {
    for (const [k, server] of workloads.entries()) {
      const ended = client.leaf.notAfterMs <= nowMs + server.skewMs;
      // A certificate that has ended is nobody's fault but its owner's, who was away too long; see the count of those.
      if (!ended && server.leaf.notAfterMs > nowMs && !server.trusted.has(client.leaf.root))
        found.push(`${i} by ${k}: ${client.leaf.root}`);
    }
  }
  return found;
};

const tick = (world: World, nowMs: number, lives: Lives, force = false): void => {
  const due = dueStep(world.roots, nowMs) ?? (force && phaseOf(world.roots) !== 'steady' ? nextStep(world.roots).step : undefined);
  if (due !== undefined) {
    const fresh = due === 'prepare' ? { fresh: record(world, nowMs, lives) } : {};
    const taken = takeStep(world.roots, due, nowMs, { ...fresh, force });
    assert.ok(taken.ok);
    world.roots = taken.value;
  }
  for (const workload of world.workloads) {
    // Now and then one is cut off, but not for longer than a renewal may be late.
    if (world.random() < 0.0005) workload.awayUntilMs = nowMs + world.random() * lives.leafMs * 0.4;
    if (nowMs >= workload.renewAtMs && nowMs >= workload.awayUntilMs) issue(world, workload, nowMs, lives);
  }
};

describe('the rotation of roots', () => {
  test('for thirteen months, no certificate in use is refused by anybody', () => {
    const world = newWorld(LIVES, 12);
    const endMs = 396 * DAY;
    const phases = new Set<string>();
    for (let nowMs = 0; nowMs <= endMs; nowMs += 10 * MINUTE) {
      tick(world, nowMs, LIVES);
      phases.add(phaseOf(world.roots));
      assert.deepEqual(refusals(world, nowMs), [], `day ${nowMs / DAY}: ${JSON.stringify(world.roots)}`);
      for (const w of world.workloads) assert.ok(w.leaf.notAfterMs > nowMs, 'no certificate has ended');
      const root = activeRoot(world.roots);
      assert.ok(root.notAfterMs - nowMs >= LIVES.leafMs, 'the root that signs outlives what it signs');
    }
    assert.deepEqual([...phases].sort(), ['prepared', 'steady', 'switched']);
    assert.equal(world.roots.replaced, 8, 'every 45 days and the two steps');
    assert.ok(world.issued > 12 * 700, `${world.issued} certificates`);
  });

  test('the same with lives of seconds', () => {
    const lives: Lives = { leafMs: 5000, intermediateMs: 60_000, rootMs: 180_000 };
    const world = newWorld(lives, 12);
    for (let nowMs = 0; nowMs <= 600_000; nowMs += 50) {
      tick(world, nowMs, lives);
      assert.deepEqual(refusals(world, nowMs), [], `at ${nowMs} ms`);
    }
    assert.ok(world.roots.replaced >= 3, `${world.roots.replaced} roots were replaced`);
  });

  test('steps taken too early are seen by this check, and refused without force', () => {
    const world = newWorld(LIVES, 12);
    const seen: string[] = [];
    for (let nowMs = 0; nowMs <= 60 * DAY && seen.length === 0; nowMs += 10 * MINUTE) {
      tick(world, nowMs, LIVES, true);
      seen.push(...refusals(world, nowMs));
    }
    assert.notEqual(seen.length, 0);
    const roots = firstRoot({ id: 'a', notBeforeMs: 0, notAfterMs: 60 * DAY }, DAY, 0);
    const prepared = takeStep(roots, 'prepare', 10 * DAY, { fresh: { id: 'b', notBeforeMs: 0, notAfterMs: 70 * DAY } });
    assert.ok(prepared.ok);
    const early = takeStep(prepared.value, 'switch', 10 * DAY + DAY);
    assert.ok(!early.ok && /would break connections before 1970-01-12T00:01:00/.test(early.error), JSON.stringify(early));
    assert.ok(takeStep(prepared.value, 'switch', 10 * DAY + overlapMs(DAY)).ok);
    assert.ok(takeStep(prepared.value, 'switch', 10 * DAY, { force: true }).ok);
    const skipped = takeStep(prepared.value, 'finish', 20 * DAY, { force: true });
    assert.ok(!skipped.ok && /next step is switch/.test(skipped.error));
  });

  test('a revoked root is out at once, whatever the phase', () => {
    const [a, b, c] = ['a', 'b', 'c'].map((id): RootRecord => ({ id, notBeforeMs: 0, notAfterMs: 60 * DAY }));
    assert.ok(a && b && c);
    const steady = firstRoot(a, DAY, 0);
    const prepared = takeStep(steady, 'prepare', 0, { fresh: b });
    assert.ok(prepared.ok);
    const switched = takeStep(prepared.value, 'switch', 0, { force: true });
    assert.ok(switched.ok);
    const trustedAfter = (roots: Roots, id: string): string => {
      const revoked = revokeRoot(roots, id, 1, c);
      assert.ok(revoked.ok);
      assert.equal(phaseOf(revoked.value), 'steady');
      return `${revoked.value.trusted.map((r) => r.id)} ${revoked.value.active}`;
    };
    assert.equal(trustedAfter(steady, 'a'), 'c c');
    assert.equal(trustedAfter(prepared.value, 'a'), 'b b');
    assert.equal(trustedAfter(prepared.value, 'b'), 'a a');
    assert.equal(trustedAfter(switched.value, 'a'), 'b b');
    assert.ok(!revokeRoot(steady, 'x', 1, c).ok);
  });

  test('an authority that was away until its root had ended replaces it without waiting', () => {
    let roots = firstRoot({ id: 'a', notBeforeMs: 0, notAfterMs: DAY }, DAY, 0);
    const fresh = { id: 'b', notBeforeMs: 2 * DAY, notAfterMs: 60 * DAY };
    for (const step of ['prepare', 'switch', 'finish'] as const) {
      assert.equal(dueStep(roots, 2 * DAY), step);
      const taken = takeStep(roots, step, 2 * DAY, { fresh });
      assert.ok(taken.ok);
      roots = taken.value;
    }
    assert.equal(roots.active, 'b');
  });

  test('waits for certificates of a longer life that was shortened', () => {
    const roots = withLeafLife(firstRoot({ id: 'a', notBeforeMs: 0, notAfterMs: 60 * DAY }, 3 * DAY, 0), HOUR, 10 * DAY);
    const prepared = takeStep(roots, 'prepare', 10 * DAY, { fresh: { id: 'b', notBeforeMs: 0, notAfterMs: 90 * DAY } });
    assert.ok(prepared.ok);
    assert.equal(nextStep(prepared.value).fromMs, 10 * DAY + overlapMs(3 * DAY));
    assert.equal(withLeafLife(prepared.value, 2 * DAY, 10 * DAY).leafMs, 2 * DAY);
  });
});

describe('lives', () => {
  test('that do not fit together are refused', () => {
    const of = (leafMs: number, intermediateMs: number, rootMs: number) => checkLives({ leafMs, intermediateMs, rootMs });
    assert.ok(of(5000, 60_000, 180_000).ok);
    assert.ok(of(DAY, 30 * DAY, 3650 * DAY).ok);
    assert.ok(!of(500, 60_000, 180_000).ok);
    assert.ok(!of(91 * DAY, 365 * DAY, 3650 * DAY).ok);
    assert.ok(!of(HOUR, HOUR, DAY).ok);
    assert.ok(!of(HOUR, 2 * HOUR, 3 * HOUR).ok);
  });

  test('a successor is due a quarter of the life before the end, and never too late for both steps', () => {
    assert.equal(successorDueMs({ notBeforeMs: 0, notAfterMs: 100 * DAY }, DAY), 75 * DAY);
    assert.equal(successorDueMs({ notBeforeMs: 0, notAfterMs: 10 * DAY }, DAY), 10 * DAY - 2 * overlapMs(DAY) - DAY);
  });
});
