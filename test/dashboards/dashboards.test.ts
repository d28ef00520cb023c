// The dashboards are what Grafana can import, and every expression of theirs is one that Prometheus takes; the rules do what their cases say.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { dashboards, metricNames, panelExpressions, RULE_TESTS, RULES, ruleExpressions } from './dashboard-files.ts';
import { absent, startPrometheus } from './real-prometheus.ts';

describe('dashboards', () => {
  test('are importable: an id of their own, a schema, a choice of the data source that every panel uses', () => {
    const all = dashboards();
    assert.deepEqual(
      all.map((d) => d.uid),
      ['skein-control-plane', 'skein-mesh', 'skein-service', 'skein-workload'],
    );
    for (const { file, schemaVersion, templating, panels } of all) {
      assert.ok(schemaVersion >= 36, file);
      assert.equal(templating.list[0]?.type, 'datasource', file);
      assert.equal(new Set(panels.map((p) => p.id)).size, panels.length, `${file}: two panels of one id`);
      for (const { type, title, datasource, targets = [] } of panels) {
        if (type === 'row') continue;
        assert.deepEqual(datasource, { type: 'prometheus', uid: '$' + '{datasource}' }, `${file}, ${title}`);
        assert.ok(targets.length > 0 && targets.every((t) => t.datasource.uid === datasource.uid), `${file}, ${title}`);
      }
    }
  });

  test('ask for no variable that they do not have', () => {
    for (const { file, templating, panels } of dashboards()) {
      const known = new Set([...templating.list.map((v) => v.name), '__rate_interval']);
      const asked = [...panels.flatMap((p) => (p.targets ?? []).map((t) => t.expr)), ...templating.list.map((v) => v.definition ?? '')];
      for (const text of asked)
        for (const [, name = ''] of text.matchAll(/\$(\w+)/g)) assert.ok(known.has(name), `${file}: $${name} in ${text}`);
    }
  });

  test('lay no panel over another, nor beyond the edge', () => {
    for (const { file, panels } of dashboards())
      for (const [i, { title, gridPos: a }] of panels.entries()) {
        assert.ok(a.x + a.w <= 24, `${file}, ${title}`);
        for (const { title: other, gridPos: b } of panels.slice(i + 1))
          assert.ok(a.x + a.w <= b.x || b.x + b.w <= a.x || a.y + a.h <= b.y || b.y + b.h <= a.y, `${file}: ${title} lies over ${other}`);
      }
  });
});

test('names of metrics are found in an expression, and nothing else', () => {
  assert.deepEqual(
    metricNames('histogram_quantile(0.9, sum by (pod, le) (rate(a_bucket{x="b_c",y=~"d|e"}[5m]))) / on (z) f_total offset 5m > 1e3'),
    ['a_bucket', 'f_total'],
  );
  assert.deepEqual(metricNames('up{app="x"} == 1 or vector(0) unless service:x:rate5m'), ['up']);
});

test('what is excused for coming into being on use is asked for, too', () => {
  const asked = new Set([...panelExpressions(), ...ruleExpressions()].flatMap(({ text }) => metricNames(text)));
  const excused = readFileSync(new URL('on-use.txt', import.meta.url), 'utf8').split('\n');
  assert.deepEqual(
    excused.filter((name) => name !== '' && !name.startsWith('#') && !asked.has(name)),
    [],
  );
});

describe('rules', () => {
  test('are valid and do what their cases say', { skip: absent('promtool') }, () => {
    for (const args of [
      ['check', 'rules', RULES],
      ['test', 'rules', RULE_TESTS],
    ]) {
      const { status, stdout, stderr } = spawnSync('promtool', args, { encoding: 'utf8' });
      assert.equal(status, 0, `${stdout}${stderr}`);
    }
  });

  test('have no alert without a case', () => {
    const cases = readFileSync(RULE_TESTS, 'utf8');
    for (const { where } of ruleExpressions()) if (/^Mesh/.test(where)) assert.match(cases, new RegExp(`alertname: ${where}\\b`));
  });
});

test('Prometheus takes the expression of every panel', { skip: absent('prometheus'), timeout: 120_000 }, async () => {
  const prometheus = await startPrometheus('');
  try {
    const refused: string[] = [];
    const all = [...panelExpressions(), ...ruleExpressions()];
    assert.ok(all.length > 100);
    for (const { where, text } of all) {
      const { status, error } = await prometheus.api(`query?query=${encodeURIComponent(text)}`);
      if (status !== 'success') refused.push(`${where}: ${error}\n  ${text}`);
    }
    assert.equal(refused.length, 0, refused.join('\n'));
  } finally {
    await prometheus.stop();
  }
});
