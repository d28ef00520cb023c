// Telemetry: targets, providers, tags, sampling, and filters in the Common Expression Language.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CEL_NAMES } from '../../src/api/values/cel-attributes.ts';
import { checkCel } from '../../src/api/values/cel-text.ts';
import { CEL_ATTRIBUTES } from '../../src/plan/cel/attributes.ts';
import { refused, taken, warned } from './spec-verdicts.ts';

test('what a Telemetry is about', () => {
  const ref = '{group: gateway.networking.k8s.io, kind: Gateway, name: g}';
  taken('Telemetry', '{}', '{selector: {matchLabels: {app: a}}}', `{targetRefs: [${ref}]}`, `{targetRef: ${ref}}`);
  refused('Telemetry', `{selector: {matchLabels: {app: a}}, targetRefs: [${ref}]}`, /only one of targetRefs or workloadSelector/);
  refused('Telemetry', '{targetRefs: [{group: apps, kind: Deployment, name: g}]}', /targetRef must be to/);
  refused('Telemetry', `{targetRefs: [${ref.replace('name: g', 'name: g, namespace: n')}]}`, /namespace/);
});

test('tracing', () => {
  const tracing = (block: string): string => `{tracing: [{${block}}]}`;
  taken(
    'Telemetry',
    tracing('randomSamplingPercentage: 100'),
    tracing('providers: [{name: a}]'),
    tracing('customTags: {a: {literal: {value: b}}}'),
  );
  refused('Telemetry', tracing('randomSamplingPercentage: 100.1'), /range \[0\.0, 100\.0\]|above 100/);
  refused('Telemetry', tracing('randomSamplingPercentage: -1'), /range|below 0/);
  refused('Telemetry', tracing("providers: [{name: ''}]"), /may not be empty/);
  refused('Telemetry', tracing('customTags: {a: {literal: {}}}'), /"value" is required/);
  refused('Telemetry', tracing("customTags: {a: {header: {name: ''}}}"), /empty/);
  refused('Telemetry', tracing("customTags: {a: {environment: {name: ''}}}"), /empty/);
  refused('Telemetry', tracing('customTags: {a: {literal: {value: b}, header: {name: c}}}'), /only one of "literal" and "header"/);
  warned('Telemetry', tracing('providers: [{name: a}, {name: b}]'), /multiple providers/);
  warned('Telemetry', '{tracing: [{}, {}]}', /tracing\[1\]: multiple tracing/);
});

test('metrics', () => {
  const tag = (block: string): string => `{metrics: [{overrides: [{match: {metric: ALL_METRICS}, tagOverrides: {a: {${block}}}}]}]}`;
  taken('Telemetry', tag('value: request.host'), tag('operation: UPSERT, value: a'), tag('operation: REMOVE'));
  refused('Telemetry', tag(''), /tagOverrides\.a: value must be set/);
  refused('Telemetry', tag("operation: UPSERT, value: ''"), /value must be set/);
  refused('Telemetry', tag('operation: REMOVE, value: a'), /must not be set/);
  refused('Telemetry', "{metrics: [{overrides: [{match: {customMetric: ''}}]}]}", /empty/);
  refused('Telemetry', '{metrics: [{overrides: [{match: {customMetric: a, metric: REQUEST_COUNT}}]}]}', /only one of/);
  refused('Telemetry', "{metrics: [{providers: [{name: ''}]}]}", /empty/);
});

test('access logs', () => {
  const filter = (text: string): string => `{accessLogging: [{filter: {expression: ${JSON.stringify(text)}}}]}`;
  taken('Telemetry', filter('response.code >= 400'), '{accessLogging: [{disabled: true, match: {mode: CLIENT}}]}');
  refused('Telemetry', filter('response.code >='), /accessLogging\[0\]\.filter\.expression: must be a valid CEL expression, column 17/);
  refused('Telemetry', '{accessLogging: [{filter: {}}]}', /CEL expression/);
  refused('Telemetry', "{accessLogging: [{providers: [{name: ''}]}]}", /empty/);
});

test('an attribute that nobody has is told, where it stands', () => {
  const filter = (text: string): string => `{accessLogging: [{filter: {expression: ${JSON.stringify(text)}}}]}`;
  const label = (text: string): string => `{metrics: [{overrides: [{tagOverrides: {a: {value: ${JSON.stringify(text)}}}}]}]}`;
  taken(
    'Telemetry',
    filter('response.flags != 0 && xds.listener_direction == 1'),
    filter("request.headers['response.none'] == 'xds.none' && metadata.response.none"),
    label("xds.upstream_host_metadata.filter_metadata['istio'].workload"),
    label('filter_state.downstream_peer.none'),
  );
  warned('Telemetry', filter('response.duration > 1'), /accessLogging\[0\]\.filter\.expression: no attribute is called response\.duration/);
  warned('Telemetry', label('xds.clustername'), /tagOverrides\.a\.value: no attribute is called xds\.clustername/);
});

test('the attributes that are known are those that sidecars have', () => {
  for (const [root, names] of Object.entries(CEL_NAMES))
    assert.deepEqual([...names].toSorted(), Object.keys(CEL_ATTRIBUTES[root] ?? {}).toSorted(), root);
});

test('expressions: what the grammar knows', () => {
  const good = [
    ...[
      'a',
      'a.b.c',
      '.a',
      '-1',
      '!-1',
      '!!a',
      '---a',
      'a ? b : c ? d : e',
      '(a)',
      '[1, 2,]',
      "{'a': 1, 'b': [2],}",
      'Foo{a: 1}',
      'a.b.C{}',
    ],
    ...[
      'a[0].b("x", 1u)',
      'a in [1]',
      '1 < 2 && !a || b != c',
      '0x1F',
      '.5 + 1e3 % 2.0',
      '"a\\n\\u0041\\101"',
      "r'\\q'",
      'b"x"',
      '"""a\nb"""',
    ],
    ...['has(a.b)', 'a.all(x, x > 1)', 'a.map(x, x > 1, x * 2)', 'a // and so on', "request.headers['x'].startsWith('a')"],
  ];
  for (const text of good) assert.equal(checkCel(text), undefined, text);
  const bad = [
    ...[
      '',
      ')',
      'a b',
      'a.',
      'a +',
      '1.',
      'a ? b',
      '[1',
      '{a}',
      'a[',
      'in',
      'if',
      'a.in',
      '"a',
      "'a\nb'",
      '"\\q"',
      '!-a',
      'a = b',
      'a & b',
    ],
    ...['has(a)', 'has(a[0])', 'a.all(x.y, true)', 'a.filter(1, true)', 'a == // b', 'f(a,)', '@', `${'('.repeat(500)}a${')'.repeat(500)}`],
  ];
  for (const text of bad) assert.notEqual(checkCel(text), undefined, text);
});
