// How many connections may wait to be accepted (tcp_backlog_size), as the kernel has it.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { listener, startPlane, tcpProxy } from './harness.ts';

const waiting = async (config: object): Promise<string | undefined> => {
  await using plane = await startPlane({ listeners: [listener('in', tcpProxy('none'), config)] });
  const seen = execFileSync('ss', ['-ltnH', `sport = :${plane.port('in')}`], { encoding: 'utf8' });
  return seen.trim().split(/\s+/)[2];
};

test('as many connections may wait as the listener says', async () => {
  assert.equal(await waiting({ tcp_backlog_size: 77 }), '77');
});

test("a listener that says nothing lets as many wait as Skein's default", async () => {
  assert.equal(await waiting({}), '1024');
});
