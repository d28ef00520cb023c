// The writing end of HTTP/2 connections: what goes wrong on one is no other's business.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { Http2Output } from '../../src/proxy/sockets/http2-output.ts';
import { TurnOutput } from '../../src/proxy/sockets/turn-output.ts';
import type { Http2Connection } from '../../src/wire/http2-connection.ts';

test('a connection whose machine fails while it is written costs itself alone', { timeout: 120_000 }, async () => {
  const turn = new TurnOutput();
  const machine = (take: () => Buffer[]) => ({ takeOutput: take }) as unknown as Http2Connection;
  const [broken, fine] = [new PassThrough(), new PassThrough()];
  const failing = new Http2Output(
    broken as unknown as Socket,
    machine(() => {
      throw new Error('broken invariant');
    }),
    turn,
  );
  const pieces = [Buffer.from('said')];
  const other = new Http2Output(
    fine as unknown as Socket,
    machine(() => pieces.splice(0)),
    turn,
  );
  const closed = once(broken, 'close');
  failing.wake();
  other.wake();
  assert.equal(String((await once(fine, 'data'))[0]), 'said');
  await closed;
  pieces.push(Buffer.from('again'));
  other.wake();
  assert.equal(String((await once(fine, 'data'))[0]), 'again');
  failing.drained();
});
