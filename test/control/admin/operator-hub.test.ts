// The control plane's end of an agent's stream of admin answers.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OperatorHub } from '../../../src/control/admin/operator-hub.ts';

test('an answer in pieces that nobody waits for any more is stopped', () => {
  const sent: unknown[] = [];
  const session = new OperatorHub().attach('shop', 'web-1', (bytes) => sent.push(JSON.parse(Buffer.from(bytes).toString())));
  const say = (message: object): boolean => session.received(Buffer.from(JSON.stringify(message)));
  assert.ok(say({ id: 7, status: 200, headers: {}, body: '', more: true }));
  assert.ok(say({ id: 7, body: 'a piece', more: true }));
  assert.ok(say({ id: 8, status: 200, headers: {}, body: 'whole' }));
  assert.deepEqual(sent, [{ id: 7, cancel: true }]);
  session.close();
});
