// What a workload's annotation asks of its proxy's histograms.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { histogramBuckets } from '../../src/agent/histogram-buckets.ts';
import { parseDocuments } from '../../src/api/parse-documents.ts';

const asked = (text: unknown): unknown => histogramBuckets({ 'sidecar.istio.io/statsHistogramBuckets': text });

test('bounds are by prefix of a metric’s name', () => {
  assert.deepEqual(asked('{"istiocustom": [1, 5.5, 10], "cluster.": [2]}'), [
    { match: { prefix: 'istiocustom' }, buckets: [1, 5.5, 10] },
    { match: { prefix: 'cluster.' }, buckets: [2] },
  ]);
});

test('what cannot be read asks for nothing', () => {
  for (const text of ['', 'x', '[1]', '{"a": 1}', '{"a": []}', '{"a": [0]}', '{"a": ["1"]}', 7, undefined])
    assert.deepEqual(asked(text), []);
  for (const annotations of [undefined, null, 'x', []]) assert.deepEqual(histogramBuckets(annotations), []);
});

test('what cannot be read is refused where the workload is read', () => {
  const problems = (text: string): readonly string[] =>
    parseDocuments(
      'w.yaml',
      `apiVersion: skein.dev/v1\nkind: Workload\nmetadata: {name: a, annotations: {sidecar.istio.io/statsHistogramBuckets: ${JSON.stringify(text)}}}\nspec: {command: [a]}\n`,
    ).problems.map((p) => `${p.line} ${p.severity} ${p.path}`);
  assert.deepEqual(problems('{"istiocustom": [1, 5]}'), []);
  for (const text of ['x', '[1]', '{"a": [0]}']) {
    assert.deepEqual(problems(text), ['3 error metadata.annotations["sidecar.istio.io/statsHistogramBuckets"]']);
  }
});
