// `skein validate` as a process: positions, exit codes, and no need of a control plane.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

const MAIN = new URL('../../src/cli/main.ts', import.meta.url).pathname;

const validate = (args: readonly string[], input = ''): { readonly code: number | null; readonly out: string; readonly err: string } => {
  const done = spawnSync(process.execPath, [MAIN, 'validate', ...args], { encoding: 'utf8', input, timeout: 60_000 });
  return { code: done.status, out: done.stdout, err: done.stderr };
};
const service = (name: string): string =>
  `apiVersion: v1\nkind: Service\nmetadata: {name: ${name}, namespace: a}\nspec: {ports: [{name: http, port: 80}]}\n`;

test('what is valid passes, warnings included', () => {
  const done = validate(['-f', '-'], `${service('a')}---\n${service('b')}`);
  assert.deepEqual([done.code, done.out], [0, '2 objects are valid\n'], done.err);
});

test('problems are told with file, line and column over all files, and the exit code says so', () => {
  const dir = mkdtempSync(join(tmpdir(), 'skein-validate-'));
  try {
    writeFileSync(join(dir, 'a.yaml'), `${service('a')}---\n${service('b').replace('port: 80', 'port: 80000')}`);
    writeFileSync(join(dir, 'b.yaml'), service('a'));
    const done = validate(['-f', dir]);
    assert.equal(done.code, 1, done.err);
    const lines = done.out.trimEnd().split('\n');
    assert.match(lines[0] ?? '', new RegExp(`^${join(dir, 'a.yaml')}:9:\\d+: error \\S+ spec\\.ports\\[0\\]\\.port: `));
    assert.match(lines[1] ?? '', /b\.yaml:3:\d+: error DUPLICATE_OBJECT metadata\.name: .*a\.yaml:1/);
    assert.equal(lines.length, 2);
    const json = JSON.parse(validate(['-f', dir, '-o', 'json']).out) as { objects: number; problems: { line: number }[] };
    assert.deepEqual([json.objects, json.problems[0]?.line], [2, 9]);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

test('wrong usage is told', () => {
  assert.equal(validate([]).code, 2);
  assert.equal(validate(['-f', '/nowhere.yaml']).code, 2);
});

test('what may never end or is beyond the limit is refused unread, with its name', () => {
  const dir = mkdtempSync(join(tmpdir(), 'skein-validate-'));
  try {
    const device = validate(['-f', '/dev/urandom']);
    assert.equal(device.code, 2);
    assert.match(device.err, /^skein: cannot read \/dev\/urandom: not a regular file/);
    const large = join(dir, 'large.yaml');
    writeFileSync(large, '');
    truncateSync(large, 4 * 1024 * 1024 + 1);
    const told = validate(['-f', large]);
    assert.deepEqual([told.code, told.err], [1, '']);
    assert.match(told.out, /large\.yaml:1:1: error FILE_TOO_LARGE the file is larger than 4194304 bytes \(split it .*\)\n$/);
    symlinkSync('/dev/urandom', join(dir, 'device.yaml'));
    symlinkSync('.', join(dir, 'ring.yaml'));
    const folder = validate(['-f', dir]);
    assert.equal(folder.code, 1);
    assert.match(folder.out, /^\S+device\.yaml:1:1: error FILE_UNREADABLE .*\n\S+large\.yaml:1:1: error FILE_TOO_LARGE .*\n$/);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

test('bytes that are no UTF-8 are told with their line, in a file, a folder and from a pipe; all else is read on', () => {
  const dir = mkdtempSync(join(tmpdir(), 'skein-validate-'));
  try {
    const object = Buffer.from('apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n');
    writeFileSync(join(dir, 'good.yaml'), object);
    const bad = join(dir, 'latin.yaml');
    writeFileSync(bad, Buffer.concat([object, Buffer.from('# grün, gr', 'utf8'), Buffer.from([0xfc]), Buffer.from('n\n')]));
    for (const path of [bad, dir]) {
      const done = validate(['-f', path]);
      assert.equal(done.code, 1);
      assert.match(done.out, /^\S+latin\.yaml:4:11: error YAML_SYNTAX the text is not UTF-8 here \(.*\)\n$/);
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

test('nothing to check is a failure that names where nothing was', () => {
  for (const [path, name] of [
    ['/dev/null', '/dev/null'],
    ['-', '<stdin>'],
  ] as const) {
    const done = validate(['-f', path]);
    assert.deepEqual([done.code, done.out, done.err], [1, '', `skein: no objects in ${name}\n`]);
  }
});

test('a rate limit that is switched on nowhere is told of, as by a control plane', () => {
  const done = validate(['-f', new URL('../../examples/shop/recipes/rate-limit.yaml', import.meta.url).pathname]);
  assert.equal(done.code, 0);
  assert.match(
    done.out,
    /rate-limit\.yaml:\d+:\d+: warning RATE_LIMIT_OFF spec\.configPatches\[0\]\.patch\.value\.typed_config: .*\n1 object is valid\n$/,
  );
});
