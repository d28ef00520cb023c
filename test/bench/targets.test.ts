import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SCENARIOS, takesPart } from '../../bench/scenarios.ts';
import type { Medians } from '../../bench/statistics.ts';
import { holds, judge, verdictText } from '../../bench/targets.ts';

const row = (figures: Partial<Medians>): Medians => ({ counted: 5, measured: 5, ...figures });
const verdictOf = (name: string, scenario: string, rows: Record<string, Medians>) => {
  const found = judge({ scenarios: new Map([[scenario, new Map(Object.entries(rows))]]) }).find((v) => v.name === name);
  assert.ok(found, `no target is named ${name}`);
  return found;
};
const CPU = '(b) CPU per request against Envoy full';

test('a ratio within its limit holds', () => {
  const v = verdictOf(CPU, 'b', { skein: row({ cpu: 1.2 }), 'envoy-full': row({ cpu: 2 }) });
  assert.equal(v.value, 0.6);
  assert.equal(verdictText(v), 'holds');
});

test('in the mesh Skein stands beside the Envoy of the mesh, alone beside the Envoy of the same configuration', () => {
  const rows = { skein: row({ cpu: 1 }), 'skein-full': row({ cpu: 1 }), 'envoy-mesh': row({ cpu: 4 }), 'envoy-full': row({ cpu: 2 }) };
  assert.equal(verdictOf('(b) in the mesh: CPU per request against Envoy there', 'b', rows).value, 0.25);
  assert.equal(verdictOf('(b) alone, same configuration: CPU per request against Envoy full', 'b', rows).value, 0.5);
});

test('a miss says by how much', () => {
  const v = verdictOf(CPU, 'b', { skein: row({ cpu: 1.8 }), 'envoy-full': row({ cpu: 2 }) });
  assert.equal(holds(v), false);
  assert.equal(verdictText(v), 'misses by 0.30 (50 %)');
});

test('without the peer’s clean rounds nothing is claimed', () => {
  const v = verdictOf(CPU, 'b', { skein: row({ cpu: 1 }), 'envoy-full': row({ counted: 0 }) });
  assert.equal(holds(v), false);
  assert.match(verdictText(v), /^not measured: no clean figure of envoy-full/);
});

test('added latency is over the direct row of each one’s own network', () => {
  const rows = {
    direct: row({ p50Ms: 1 }),
    'direct-mesh': row({ p50Ms: 2 }),
    skein: row({ p50Ms: 3 }),
    'envoy-full': row({ p50Ms: 3 }),
  };
  assert.equal(verdictOf('(b) added p50 against Envoy full', 'b', rows).value, 0.5);
});

test('a peer that adds nothing measurable is no divisor', () => {
  const rows = (skein: number) => ({
    direct: row({ p99Ms: 2 }),
    'direct-mesh': row({ p99Ms: 2 }),
    skein: row({ p99Ms: skein }),
    'envoy-full': row({ p99Ms: 2 }),
  });
  assert.equal(
    verdictText(verdictOf('(f) added p99 against Envoy full', 'f', rows(3))),
    'not measured: envoy-full adds nothing measurable',
  );
  assert.equal(holds(verdictOf('(f) added p99 against Envoy full', 'f', rows(1))), true);
});

test('more connections a second than Envoy holds, fewer misses', () => {
  const name = '(g) connections/s against Envoy';
  assert.equal(holds(verdictOf(name, 'g', { skein: row({ perSecond: 11 }), envoy: row({ perSecond: 10 }) })), true);
  assert.equal(verdictText(verdictOf(name, 'g', { skein: row({ perSecond: 5 }), envoy: row({ perSecond: 10 }) })), 'misses by 0.50 (50 %)');
});

test('targets of scenarios that were not asked for are left out', () => {
  const names = judge({ scenarios: new Map([['e', new Map()]]) }).map((v) => v.name);
  assert.ok(names.includes('(e) CPU per GiB against Envoy'));
  assert.ok(!names.includes(CPU));
});

test('who is asked for by name takes part, with the direct row of its network', () => {
  const b = SCENARIOS.find((s) => s.id === 'b');
  assert.ok(b);
  assert.equal(takesPart(b, 'skein', ['skein']), true);
  assert.equal(takesPart(b, 'direct-mesh', ['skein']), true);
  assert.equal(takesPart(b, 'direct', ['skein']), false);
  assert.equal(takesPart(b, 'direct', ['nginx']), true);
  assert.equal(takesPart(b, 'haproxy', ['skein']), false);
  assert.equal(takesPart(b, 'haproxy', undefined), true);
});
