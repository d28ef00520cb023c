// Only the very process that was noted is stopped.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { killLeftover, writePid } from '../../src/agent/leftover.ts';
import { createLog } from '../../src/base/log.ts';
import { scratch } from './fake-control-plane.ts';

const quiet = createLog(
  'test',
  () => {},
  () => new Date(),
);

test('a child left behind is stopped; another process with its number is not', async () => {
  const { dir, remove } = scratch();
  const path = join(dir, 'pid');
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  await once(child, 'spawn');
  try {
    writePid(path, child.pid ?? 0);
    const [pid = '', started = ''] = readFileSync(path, 'utf8').trim().split(' ');
    assert.equal(Number(pid), child.pid);
    writeFileSync(path, `${pid} ${Number(started) + 1}\n`);
    await killLeftover(path, quiet);
    assert.equal(child.exitCode ?? child.signalCode, null, 'another start time: another process');
    assert.equal(existsSync(path), false);
    writePid(path, child.pid ?? 0);
    const exited = once(child, 'exit');
    await killLeftover(path, quiet);
    assert.deepEqual(await exited, [null, 'SIGKILL']);
    await killLeftover(path, quiet);
  } finally {
    child.kill('SIGKILL');
    remove();
  }
});
