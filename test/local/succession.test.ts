// A supervised process that hands over to a successor of its own: the supervisor follows it, and loses nobody.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { ManagedProcess } from '../../src/local/managed-process.ts';
import { isAlive, type ProcessIdentity } from '../../src/local/process-identity.ts';

// On SIGUSR2 it starts a successor in a session of its own, which says so; the first goes on for as long as `linger` says.
const PROGRAM = `
linger=$1
hand_over() { setsid sh "$0" "$linger" & wait_for=$!; sleep 0.05; if [ "$linger" = no ]; then exit 0; fi; }
trap hand_over USR2
trap 'exit 0' TERM
[ -n "$STARTED" ] && echo "MAINPID=$$" >&4
export STARTED=yes
echo "$$" >> "$LOG_OF_PIDS"
while :; do sleep 0.02; done
`;

const until = async (holds: () => boolean, what: string): Promise<void> => {
  for (const end = Date.now() + 20_000; !holds(); await new Promise((resolve) => setTimeout(resolve, 10)))
    if (Date.now() > end) throw new Error(what);
};

const supervised = (linger: 'yes' | 'no') => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-succ-'));
  const program = join(folder, 'program.sh');
  const pids = join(folder, 'pids');
  writeFileSync(program, PROGRAM);
  writeFileSync(pids, '');
  const seen: string[] = [];
  const identities: ProcessIdentity[] = [];
  const process = new ManagedProcess({
    name: 'p',
    logs: folder,
    handsOver: true,
    launch: () => Promise.resolve({ command: ['/bin/sh', program, linger], env: { LOG_OF_PIDS: pids, PATH: '/usr/bin:/bin' } }),
    started: (identity) => {
      seen.push('started');
      identities.push(identity);
    },
    succeeded: (identity) => {
      seen.push('succeeded');
      identities.push(identity);
    },
    ended: (reason) => seen.push(`ended: ${reason}`),
  });
  const written = (): number => readFileSync(pids, 'utf8').split('\n').length - 1;
  return { process, seen, identities, written, remove: () => rmSync(folder, { recursive: true, force: true }) };
};

const handOver = async ({ process: managed, identities, written }: ReturnType<typeof supervised>): Promise<void> => {
  const [before, count] = [identities.length, written()];
  process.kill(managed.identity?.pid ?? 0, 'SIGUSR2');
  await until(() => identities.length > before && written() > count, 'no successor');
};

describe('a process that hands over', { timeout: 120_000 }, () => {
  test('its successor is the one that is kept running: no restart when the first ends, one when the successor does', async () => {
    const s = supervised('no');
    try {
      await s.process.start();
      await until(() => s.written() === 1, 'not started');
      await handOver(s);
      await handOver(s);
      const [first, second, third] = s.identities as [ProcessIdentity, ProcessIdentity, ProcessIdentity];
      await until(() => !isAlive(first) && !isAlive(second), 'the first ones are still there');
      assert.deepEqual(s.seen, ['started', 'succeeded', 'succeeded']);
      assert.deepEqual(s.process.identity, third);
      process.kill(third.pid, 'SIGKILL');
      await until(() => s.seen.length === 5, s.seen.join());
      assert.deepEqual(s.seen.slice(3), ['ended: its process ended', 'started']);
      assert.equal(s.process.restarts, 1);
      await until(() => s.written() === 4, 'not started again');
      await handOver(s);
    } finally {
      await s.process.stop(2_000);
      assert.ok(!s.identities.some(isAlive));
      s.remove();
    }
  });

  test('a stop in the moment of a handing over ends the successor too', async () => {
    const s = supervised('no');
    try {
      await s.process.start();
      await until(() => s.written() === 1, 'not started');
      process.kill(s.process.identity?.pid ?? 0, 'SIGUSR2');
      // Its word to us may still be on the way.
      await until(() => s.written() === 2, 'no successor');
      await s.process.stop(1_000);
      await until(() => !s.identities.some(isAlive), 'somebody is left');
      assert.equal(s.identities.length, 2);
    } finally {
      for (const identity of s.identities) if (isAlive(identity)) process.kill(identity.pid, 'SIGKILL');
      s.remove();
    }
  });

  test('a stop ends the successor and those that still finish their connections', async () => {
    const s = supervised('yes');
    try {
      await s.process.start();
      await until(() => s.written() === 1, 'not started');
      await handOver(s);
      assert.equal(s.identities.filter(isAlive).length, 2);
      await s.process.stop(2_000);
      assert.equal(s.identities.filter(isAlive).length, 0);
      assert.deepEqual(s.seen, ['started', 'succeeded']);
    } finally {
      await s.process.stop(2_000);
      s.remove();
    }
  });
});
