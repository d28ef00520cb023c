// Connections of a listener that has changed, drained gradually: each is asked at a moment of its own, and all are gone at the end.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hcm, httpBackend, listener, startPlane, staticCluster, toCluster } from './harness.ts';
import { FRAME, rawClient } from './http2-peers.ts';

const DRAIN_MS = 500;

test('gradually: asked within the drain time, at a moment of its own, and closed at its end', async () => {
  await using backend = await httpBackend(() => 'x');
  const of = (name: string) => listener('in', hcm([toCluster('app')], { server_name: name, drain_timeout: '60s' }));
  const moments = [0, 0.6];
  await using plane = await startPlane(
    { clusters: [staticCluster('app', [backend.port])], listeners: [of('before')] },
    { drainTimeMs: DRAIN_MS, drainGradually: true, random: () => moments.shift() ?? 0 },
  );
  using early = await rawClient(plane.port('in'));
  assert.ok(await early.until((f) => f.type === FRAME.settings && f.flags === 1));
  using late = await rawClient(plane.port('in'));
  assert.ok(await late.until((f) => f.type === FRAME.settings && f.flags === 1));
  moments.splice(0, moments.length, 0, 0.6);
  const started = performance.now();
  plane.plane.setListener(of('after'));
  await plane.plane.settled();
  assert.ok(await early.until((f) => f.type === FRAME.goaway));
  assert.ok(!late.frames.some((f) => f.type === FRAME.goaway), 'not both at once');
  assert.ok(await late.until((f) => f.type === FRAME.goaway));
  const asked = performance.now() - started;
  assert.ok(asked > DRAIN_MS * 0.5, `asked after ${asked} ms`);
  assert.deepEqual([early.closed, late.closed], [false, false]);
  await Promise.all([early.until(() => false), late.until(() => false)]);
  assert.ok(performance.now() - started >= DRAIN_MS * 0.9);
});
