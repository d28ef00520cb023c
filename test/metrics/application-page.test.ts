// What an application says behind the proxy's metrics is read by strict readers too: escapes and numbers that only a lenient one takes would
// cost them the whole page.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cleanExposition, ExpositionError } from '../../src/agent/exposition.ts';
import { unknownFindings } from './promtool.ts';
import { readStrictly } from './strict-text.ts';

const cleaned = (text: string, openMetrics = false): string =>
  [...cleanExposition(text, { openMetrics, taken: new Set(), leftOut: () => undefined })].join('');

const strict = (text: string, openMetrics = false): ReturnType<typeof readStrictly>['samples'] => {
  const page = cleaned(text, openMetrics);
  const { problems, samples } = readStrictly(page);
  assert.deepEqual(problems, []);
  assert.deepEqual(unknownFindings(page) ?? [], []);
  return samples;
};

test('a backslash that escapes nothing is a backslash, in help and in labels', () => {
  const samples = strict(
    '# HELP app_paths Of C:\\data and \\\\share\\n, a \\"word\\"\\\n# TYPE app_paths gauge\napp_paths{path="C:\\data",other="\\\\a\\n\\"b\\""} 1\n',
  );
  assert.deepEqual(samples, [{ name: 'app_paths', labels: { path: 'C:\\data', other: '\\a\n"b"' }, value: 1 }]);
});

test('a quote that OpenMetrics escapes in help is a quote', () => {
  assert.match(cleaned('# HELP app A \\"word\\" \\\\ \\n\n# TYPE app gauge\napp 1\n# EOF\n', true), /^# HELP app A "word" \\\\ \\n$/m);
  strict('# HELP app A \\"word\\".\n# TYPE app gauge\napp 1\n# EOF\n', true);
});

test('numbers are those that Prometheus reads, and no others', () => {
  const numbers = ['1', '+1.', '-.5', '1e3', '1E-3', 'NaN', '+Inf', '-inf', 'Infinity'];
  assert.equal(cleaned(numbers.map((n, i) => `app_${i} ${n}\n`).join('')).split('\n').length, numbers.length + 1);
  assert.equal(cleaned('app 1 1700000000000\n'), 'app 1 1700000000000\n');
  assert.equal(cleaned('app 1 1700000000.5\n', true), 'app 1 1700000000500\n');
  for (const line of ['app 0x10', 'app 0b1', 'app 0o7', 'app 1_000', 'app e5', 'app .', 'app 1 1.5', 'app 1 1e3'])
    assert.throws(() => cleaned(`${line}\n`), ExpositionError, line);
});
