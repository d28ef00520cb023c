// Requests that wait for the same keys: the end of one, which the answer to another may bring about, is heard at once.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { providerKeys } from '../../src/proxy/filters/jwt-keys.ts';
import type { ProxyEnvironment } from '../../src/proxy/proxy-environment.ts';

test('who is told of keys may end what another request waits for', async () => {
  const env = {
    cluster: () => undefined,
    wheel: { arm: () => {}, drop: () => {} },
    clock: { monotonicMs: () => 0 },
    log: { warning: () => {} },
    ownAddress: '127.0.0.1',
    random: () => 0,
  } as unknown as ProxyEnvironment;
  const counts = { succeeded: { value: 0 }, failed: { value: 0 } } as unknown as Parameters<typeof providerKeys>[2];
  const remote_jwks = { http_uri: { uri: 'keys.test', cluster: 'none', timeout: '1s' } };
  const keys = providerKeys({ remote_jwks }, env, counts, 'p');
  const told: string[] = [];
  const over = new Promise<void>((resolve) => {
    keys.fetch(() => {
      told.push('first');
      second.cancel();
      resolve();
    });
  });
  const second = keys.fetch(() => told.push('second'));
  keys.fetch(() => told.push('third'));
  await over;
  assert.deepEqual(told, ['first', 'third']);
});
