// What the local commands refuse, in which words and with which exit code; nothing is started.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const root = mkdtempSync(join(tmpdir(), 'skein-'));
const state = join(root, 's');
const skein = (args: readonly string[], env: Readonly<Record<string, string>> = {}) => {
  const done = spawnSync(process.execPath, [main, ...args], {
    encoding: 'utf8',
    env: { PATH: '/usr/bin:/bin', HOME: root, SKEIN_STATE: state, ...env },
  });
  return { code: done.status, out: done.stdout, err: done.stderr };
};
const folder = (name: string, yaml: string): string => {
  const path = join(root, name);
  mkdirSync(join(path, 'mesh'), { recursive: true });
  writeFileSync(join(path, 'mesh', 'a.yaml'), yaml);
  return path;
};
const WORKLOAD = "apiVersion: skein.dev/v1\nkind: Workload\nmetadata: {name: a}\nspec: {command: ['true']}\n";

const cases: readonly (readonly [string, () => ReturnType<typeof skein>, number, RegExp])[] = [
  ['a directory without mesh', () => skein(['up', root]), 1, /mesh does not exist/],
  [
    'a folder without workloads',
    () => skein(['up', folder('none', 'apiVersion: v1\nkind: Namespace\nmetadata: {name: n}\n')]),
    1,
    /has no Workload/,
  ],
  ['a broken document', () => skein(['up', folder('broken', `${WORKLOAD}---\nkind: [\n`)]), 1, /a\.yaml:\d+:\d+: error /],
  ['a wrong proxy', () => skein(['up', '--proxy', 'nginx', root]), 2, /--proxy is skein or envoy/],
  ['a wrong ingress', () => skein(['up', '--ingress', '8080', root]), 2, /HOST:PORT/],
  ['no directory', () => skein(['up']), 2, /missing required argument/],
  ['an unknown option', () => skein(['down', '--all']), 2, /unknown option/],
  [
    'Envoy that is not there',
    () => skein(['up', '--proxy', 'envoy', folder('e', WORKLOAD)], { ENVOY: '/nonexistent/envoy' }),
    1,
    /needs Envoy: set ENVOY/,
  ],
  ['exec without a mesh', () => skein(['exec', 'a', '--', 'true']), 3, /no mesh is running/],
  ['exec without a command', () => skein(['exec', 'a']), 2, /the command is missing/],
  ['logs of nothing', () => skein(['logs', 'a']), 1, /there is no log of "a"/],
  ['a capture of a wrong port', () => skein(['capture', 'show', '--inbound-ports', 'x']), 1, /"x" is not a port/],
  ['a capture without action', () => skein(['capture', 'off']), 2, /apply, remove or show/],
];
for (const [what, run, code, message] of cases) {
  test(`refused: ${what}`, () => {
    const answer = run();
    assert.match(answer.err, message);
    assert.equal(answer.code, code);
  });
}

test('help names examples and exit codes', () => {
  for (const name of ['up', 'down', 'exec', 'logs', 'capture']) {
    const { code, out } = skein([name, '--help']);
    assert.equal(code, 0, name);
    assert.match(out, /Examples:/, name);
    assert.match(out, /Exit codes:/, name);
  }
});

test('down of nothing is no failure and leaves nothing', () => {
  assert.deepEqual(skein(['down']), { code: 0, out: 'nothing was running\n', err: '' });
  assert.equal(existsSync(join(state, 'run.json')), false);
  rmSync(root, { recursive: true, force: true });
});
