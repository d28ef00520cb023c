// The command line that `skein exec` and applications are started with: what it says of a program that cannot be run.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import { inDirectory } from '../../src/local/namespaces.ts';

const run = (command: readonly string[]): readonly [number | null, string, string] => {
  const [program = '', ...args] = inDirectory(tmpdir(), command);
  const done = spawnSync(program, args, { encoding: 'utf8' });
  return [done.status, done.stdout, done.stderr];
};

test('a program that is not there or cannot be run is named, never the shell', () => {
  assert.deepEqual(run(['/nonexist']), [127, '', 'skein: exec: /nonexist: not found\n']);
  assert.deepEqual(run(['no-such-program', 'x']), [127, '', 'skein: exec: no-such-program: not found\n']);
  assert.deepEqual(run(['/etc/passwd']), [126, '', 'skein: exec: /etc/passwd: cannot be run\n']);
});

test('a program runs in the folder with its arguments and its own exit code', () => {
  assert.deepEqual(run(['sh', '-c', 'pwd; printf "%s|" "$@"; exit 7', 'x', 'a b', '$c']), [7, `${tmpdir()}\na b|$c|`, '']);
  assert.deepEqual(run(['/bin/echo', '-n', 'a']), [0, 'a', '']);
});
