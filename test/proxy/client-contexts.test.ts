// Contexts for connecting are shared by what they are made of.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clientContext } from '../../src/proxy/transport/client-contexts.ts';

test('the same options are one context, others are another', () => {
  const first = clientContext({ minVersion: 'TLSv1.2' });
  assert.equal(clientContext({ minVersion: 'TLSv1.2' }), first);
  assert.notEqual(clientContext({ minVersion: 'TLSv1.3' }), first);
});

test('what cannot be made throws each time', () => {
  for (let i = 0; i < 2; i++) assert.throws(() => clientContext({ cert: 'x', key: 'y' }));
});
