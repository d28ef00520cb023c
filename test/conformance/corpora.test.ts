// The corpora as a test of every file that is judged, and the runner itself on a folder of its own.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { missing, sharedFolder } from '../api/shared-data.ts';
import { corpora } from './corpora/registry.ts';
import { belowGoal, type CorporaReport, corporaText, runCorpora } from './corpora/run-corpora.ts';

const told = (report: CorporaReport): string => corporaText({ ...report, failures: report.failures.slice(0, 20) });

for (const [file, entry] of Object.entries(corpora)) {
  if (typeof entry !== 'function') continue;
  test(`cases of ${file} have Istio's result`, { skip: missing(`corpora/${file}`) }, () => {
    const report = runCorpora(join(sharedFolder, 'corpora'), [file]);
    const { passed, failed } = report;
    assert.ok(passed + failed > 0, 'no case was judged');
    assert.deepEqual(belowGoal(report), [], told(report));
  });
}

const withFolder = (files: Readonly<Record<string, unknown>>, look: (folder: string) => void): void => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-corpora-'));
  try {
    mkdirSync(join(folder, 'tables'));
    for (const [name, rows] of Object.entries(files)) writeFileSync(join(folder, name), JSON.stringify(rows));
    look(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
};

const name = (a: string, b: string, out: boolean): unknown => ({ test: 'TestNameMatches', case: { name: `${a} ${b}`, a, b, out } });

test('the runner counts what passes, fails and is not judged, and names the files below the goal', () => {
  const hosts = [name('*.a.b', 'c.a.b', true), name('*.a.b', 'a.b', true), { test: 'TestNobodyKnows', case: { name: 'x' } }];
  withFolder({ 'tables/pkg_config_host.json': hosts, 'iptables.json': [{}, {}], 'tables/strange.json': [{}] }, (folder) => {
    const report = runCorpora(folder, []);
    assert.deepEqual(report.files, {
      'tables/pkg_config_host.json': { passed: 1, failed: 1, skipped: 1 },
      'iptables.json': { passed: 0, failed: 0, skipped: 2 },
      'tables/strange.json': { passed: 0, failed: 0, skipped: 1 },
    });
    assert.deepEqual([report.passed, report.failed, report.skipped], [1, 1, 4]);
    assert.deepEqual(report.failures, [
      { file: 'tables/pkg_config_host.json', id: 'TestNameMatches/*.a.b a.b', expected: true, got: false },
    ]);
    assert.deepEqual(belowGoal(report), ['tables/pkg_config_host.json']);
    assert.equal(runCorpora(folder, ['iptables']).skipped, 2);
  });
});

test('a case that throws has failed, and a long text is written out', () => {
  const policy = {
    test: 'TestComposePeerAuthentication',
    case: { name: 'broken', configs: [{ kind: 'PeerAuthentication', spec: 7 }], want: null },
  };
  const domain = { level: 'fragment', inputType: 'wildcardDomain', input: { $repeat: ['a', 300, '.b'] }, expected: { valid: false } };
  withFolder({ 'tables/pilot_pkg_security_authn.json': [policy], 'validation.json': [domain] }, (folder) => {
    const { files } = runCorpora(folder, []);
    assert.equal(files['tables/pilot_pkg_security_authn.json']?.failed, 1);
    assert.equal(files['validation.json']?.passed, 1);
  });
});

test('adapters are short', () => {
  const folder = join(import.meta.dirname, 'corpora');
  const long = readdirSync(folder).filter((f) => readFileSync(join(folder, f), 'utf8').split('\n').length > 151);
  assert.deepEqual(long, [], 'at most 150 lines a file');
});
