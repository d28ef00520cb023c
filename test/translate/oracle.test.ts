// Our translation beside the recorded answers of a real istiod, by the runner of `npm run conformance -- --translate`: the same YAML and
// node must mean the same; and the comparison itself must be able to fail.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkTranslation, printTranslation } from '../conformance/translate.ts';
import { compareResources } from '../conformance/translate-compare.ts';

const folder = [process.env['SKEIN_SHARED'], join(import.meta.dirname, '../../../shared')]
  .filter((d): d is string => d !== undefined)
  .map((d) => join(d, 'oracle'))
  .find(existsSync);

const skip = folder === undefined ? 'the recordings (../shared/oracle or $SKEIN_SHARED/oracle) are not here' : false;

test('the same YAML and node give what istiod gave, and what it refuses is refused', { skip }, () => {
  const report = checkTranslation(folder ?? '', []);
  assert.equal(report.failed, 0, printTranslation(report));
  assert.ok(report.passed >= 325, `only ${report.passed} records`);
});

const compared = (type: 'clusters' | 'listeners' | 'routes', expected: unknown, got: unknown, source = '') => {
  const ignored: string[] = [];
  const { differences } = compareResources(type, [expected], [got], source, (rule) => void ignored.push(rule));
  return { paths: differences.map((d) => d.path), ignored };
};

test('a default written out equals a default left out', () => {
  const e = { name: 'a', lb_policy: 'ROUND_ROBIN', connect_timeout: '1.500s' };
  assert.deepEqual(compared('clusters', e, { name: 'a', connect_timeout: '1.5s' }), { paths: [], ignored: [] });
});

test('a different number, a missing message and a resource too many are differences', () => {
  const e = { name: 'a', connect_timeout: '1s', circuit_breakers: { thresholds: [{ max_connections: 7 }] } };
  assert.deepEqual(compared('clusters', e, { name: 'a', connect_timeout: '2s' }).paths, ['.connect_timeout', '.circuit_breakers']);
  assert.deepEqual(compared('clusters', e, { ...e, name: 'b' }).paths, ['', '']);
});

test('order of domains and virtual hosts is nothing, order of routes and filters something', () => {
  const host = (name: string, domains: string[], routes: string[] = []) => ({
    name,
    domains,
    ...(routes.length === 0 ? {} : { routes: routes.map((r) => ({ name: r, match: { prefix: r }, route: { cluster: r } })) }),
  });
  const e = { name: 'r', virtual_hosts: [host('a', ['x', 'y'], ['/1', '/2']), host('b', ['z'])] };
  const moved = { name: 'r', virtual_hosts: [host('b', ['z']), host('a', ['y', 'x'], ['/1', '/2'])] };
  assert.deepEqual(compared('routes', e, moved), { paths: [], ignored: ['order of virtual_hosts', 'order of domains'] });
  const turned = { name: 'r', virtual_hosts: [host('a', ['x', 'y'], ['/2', '/1']), host('b', ['z'])] };
  assert.equal(compared('routes', e, turned).paths.length, 1);
});

test('names that only statistics read are counted and left out', () => {
  const e = { name: 'a', alt_stat_name: 'one' };
  assert.deepEqual(compared('clusters', e, { name: 'a', alt_stat_name: 'two' }), { paths: [], ignored: ['alt_stat_name'] });
  assert.deepEqual(compared('clusters', e, { name: 'a' }).paths, ['.alt_stat_name']);
});
