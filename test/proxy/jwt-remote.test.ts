// Keys that are fetched: requests wait for one fetch, its failure is told, keys are forgotten when they are old, and tokens with them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RemoteJwks } from '../../src/xds/gen/types.ts';
import { type Backend, eventually, httpBackend, RawClient, type RawResponse, startPlane, staticCluster } from './harness.ts';
import { ask, bearing, jwtListener, provider } from './jwt-rig.ts';
import { CLAIMS, jwk, mint, OTHER_RSA, RSA } from './token-mint.ts';

const set = (...keys: object[]): string => JSON.stringify({ keys });
const first = set(jwk(RSA, { kid: 'k1' }));
const second = set(jwk(OTHER_RSA, { kid: 'k2' }));
const early = mint({ alg: 'RS256', kid: 'k1' }, CLAIMS, RSA);
const late = mint({ alg: 'RS256', kid: 'k2' }, CLAIMS, OTHER_RSA);

const startRig = async (keys: Backend, remote: Partial<RemoteJwks>) => {
  const remote_jwks = { http_uri: { uri: 'https://keys.test:8443/a/jwks?x=1', cluster: 'keys', timeout: '1s' }, ...remote };
  const { local_jwks: _, ...rest } = provider();
  const rig = await startPlane({
    clusters: [staticCluster('keys', [keys.port])],
    listeners: [
      jwtListener('in', { providers: { p: { ...rest, remote_jwks } } }, [{ match: { prefix: '/' }, direct_response: { status: 200 } }]),
    ],
  });
  return {
    rig,
    call: async (token: string): Promise<number> => (await ask(rig.port('in'), bearing(token))).status,
    answer: (token: string): Promise<RawResponse> => ask(rig.port('in'), bearing(token)),
    count: (name: string) => rig.plane.stats.find(`http.test.jwt_authn.${name}`)?.value,
    [Symbol.asyncDispose]: () => rig[Symbol.asyncDispose](),
  };
};

test('requests that need keys wait for one fetch, later ones for none', async () => {
  let release = (): void => {};
  let heads = '';
  await using keys = await httpBackend((_, head) => {
    heads += head;
    release = () => {
      for (const socket of keys.sockets) socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${first.length}\r\n\r\n${first}`);
    };
    return 'silent';
  });
  await using rig = await startRig(keys, {});
  const waiting = [rig.call(early), rig.call(early), rig.call(late)];
  const gone = await RawClient.open(rig.rig.port('in'));
  gone.send(`GET / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ${early}\r\n\r\n`);
  await eventually(() => heads !== '' && (rig.count('jwt_cache_miss') ?? 0) >= 4, 'all of them wait');
  gone.close();
  release();
  assert.deepEqual(await Promise.all(waiting), [200, 200, 401]);
  assert.equal(await rig.call(early), 200);
  assert.match(heads, /^GET \/a\/jwks\?x=1 HTTP\/1\.1\r\nhost: keys\.test:8443\r\n/i);
  assert.equal(heads.match(/GET /g)?.length, 1);
  assert.deepEqual([rig.count('jwks_fetch_success'), rig.count('jwks_fetch_failed')], [1, 0]);
  assert.equal(heads.includes(early), false);
});

test('a fetch that fails fails the request, and the next request tries again', async () => {
  const answers = ['HTTP/1.1 503 no\r\ncontent-length: 0\r\n\r\n', 'no keys here', 'reset', first];
  await using keys = await httpBackend((n) => answers[n] ?? first);
  await using rig = await startRig(keys, {});
  for (const _ of [1, 2, 3]) {
    const answer = await rig.answer(early);
    assert.deepEqual([answer.status, answer.body], [401, 'Jwks remote fetch is failed']);
  }
  assert.equal(await rig.call(early), 200);
  assert.deepEqual([rig.count('jwks_fetch_success'), rig.count('jwks_fetch_failed')], [1, 3]);
  assert.equal(rig.rig.problems.join('').includes(early), false, 'no token in the log');
});

test('a cluster that is not there, and an answer that never comes, are failures too', async () => {
  await using keys = await httpBackend(() => 'silent');
  await using nowhere = await startRig(keys, { http_uri: { uri: 'keys.test', cluster: 'none', timeout: '1s' } });
  assert.equal((await nowhere.answer(early)).body, 'Jwks remote fetch is failed');
  await using slow = await startRig(keys, { http_uri: { uri: 'keys.test', cluster: 'keys', timeout: '0.1s' } });
  assert.equal((await slow.answer(early)).body, 'Jwks remote fetch is failed');
});

test('it is tried again before it has failed when that is asked for', async () => {
  await using keys = await httpBackend((n) => (n < 2 ? 'HTTP/1.1 503 no\r\ncontent-length: 0\r\n\r\n' : first));
  await using rig = await startRig(keys, { retry_policy: { num_retries: 2, retry_back_off: { base_interval: '0.01s' } } });
  assert.equal(await rig.call(early), 200);
  assert.deepEqual([rig.count('jwks_fetch_success'), rig.count('jwks_fetch_failed')], [1, 0]);
});

test('keys that are too old are fetched again, and what was signed with those that are gone is not remembered', async () => {
  let current = first;
  await using keys = await httpBackend(() => current);
  await using rig = await startRig(keys, { cache_duration: '0.05s' });
  assert.deepEqual([await rig.call(early), await rig.call(late)], [200, 401]);
  current = second;
  await new Promise((resolve) => setTimeout(resolve, 80));
  assert.deepEqual([await rig.call(early), await rig.call(late)], [401, 200]);
});

test('keys may be fetched before anybody asks, and again before they are old', async () => {
  let fetches = 0;
  await using keys = await httpBackend(() => (++fetches < 2 ? 'HTTP/1.1 503 no\r\ncontent-length: 0\r\n\r\n' : first));
  await using rig = await startRig(keys, { cache_duration: '0.05s', async_fetch: { failed_refetch_duration: '0.02s' } });
  await eventually(() => fetches >= 4, 'they are fetched again and again');
  assert.equal(await rig.call(early), 200);
  assert.equal(rig.count('jwks_fetch_failed'), 1);
});

test('a request that waits for keys gets them although its listener was replaced', async () => {
  let asked = 0;
  await using keys = await httpBackend(() => {
    asked++;
    return 'silent';
  });
  await using rig = await startRig(keys, { async_fetch: {} });
  const waiting = rig.call(early);
  await eventually(() => asked === 1 && (rig.count('jwt_cache_miss') ?? 0) === 1, 'the request waits');
  const listener = jwtListener('in', {}, [{ match: { prefix: '/' }, direct_response: { status: 200 } }]);
  rig.rig.plane.setListener(listener);
  await rig.rig.plane.settled();
  for (const socket of keys.sockets) socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${first.length}\r\n\r\n${first}`);
  assert.equal(await waiting, 200);
});

test('keys that are not to be kept are fetched for each request, once', async () => {
  let fetches = 0;
  await using keys = await httpBackend(() => {
    fetches++;
    return first;
  });
  await using rig = await startRig(keys, { cache_duration: '0s' });
  assert.deepEqual([await rig.call(early), fetches], [200, 1]);
  assert.deepEqual([await rig.call(early), fetches], [200, 2]);
  assert.deepEqual([await rig.call(late), fetches], [401, 3]);
});

test('a server of keys that is slow, swollen, or sends elsewhere is a failure in its time, and is asked again', async () => {
  const huge = `{"keys":[],"pad":"${'x'.repeat(1024 * 1024)}"}`;
  const answers = [
    `HTTP/1.1 200 OK\r\ncontent-length: ${huge.length}\r\n\r\n${huge}`,
    'HTTP/1.1 302 Found\r\nlocation: /keys\r\ncontent-length: 0\r\n\r\n',
    'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"keys":[',
    '<html>',
    '{"keys":[]}',
  ];
  await using keys = await httpBackend((n) => answers[n] ?? first);
  await using rig = await startRig(keys, { http_uri: { uri: 'keys.test', cluster: 'keys', timeout: '0.5s' } });
  for (const _ of answers) {
    const startedAt = performance.now();
    assert.equal((await rig.answer(early)).body, 'Jwks remote fetch is failed');
    assert.ok(performance.now() - startedAt < 15_000);
  }
  assert.equal(await rig.call(early), 200);
  assert.equal(rig.count('jwks_fetch_failed'), answers.length);
});
