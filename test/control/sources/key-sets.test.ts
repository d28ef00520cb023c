// Keys for tokens: fetched from their address within bounds, kept fresh, kept through a restart, and replaced by nobody's key where
// there are none. No key and no credential appears in words.
import assert from 'node:assert/strict';
import { createHash, createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createLog } from '../../../src/base/log.ts';
import { err, ok, type Result } from '../../../src/base/result.ts';
import { KEY_SET_BYTES_MAX, KEY_SOURCES_MAX, KEYS_PER_SET_MAX } from '../../../src/control/limits.ts';
import { PIPELINE } from '../../../src/control/pipeline.ts';
import { fetchKeySet } from '../../../src/control/sources/key-set-fetch.ts';
import { KeySetStore } from '../../../src/control/sources/key-set-store.ts';
import { UNOWNED_KEY_SET } from '../../../src/control/unowned-key.ts';
import type { KeySource } from '../../../src/mesh/key-sets.ts';
import { eventually, startRig, XdsClient } from '../rig.ts';

const KEY = { kty: 'oct', kid: 'k1', alg: 'HS256', k: 'AAAA' };
/** A set that a verifier can read, told from others by its name. */
const set = (kid: string): string => JSON.stringify({ keys: [{ ...KEY, kid }] });
const SET = JSON.stringify({ keys: [KEY] });

const serve = async (
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  use: (url: string) => Promise<void>,
): Promise<void> => {
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    await use(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
};

const source = (url: string, extra: Partial<KeySource> = {}): KeySource => ({
  id: `keys ${url}`,
  url,
  discovery: false,
  timeout: '5s',
  ...extra,
});

test('a key set is fetched from its address, without the halves that only an owner may have', async () => {
  await serve(
    (_, response) =>
      response.end(
        JSON.stringify({
          keys: [
            { ...KEY, d: 'secret', p: 'secret' },
            { kty: 'oct', k: 'shared' },
          ],
        }),
      ),
    async (url) => {
      assert.deepEqual(await fetchKeySet(source(`${url}/keys`)), ok(JSON.stringify({ keys: [KEY, { kty: 'oct', k: 'shared' }] })));
    },
  );
});

test('an issuer names where its keys are', async () => {
  const asked: (string | undefined)[] = [];
  await serve(
    (request, response) => {
      asked.push(request.url);
      const own = `http://${request.headers.host}`;
      response.end(request.url === '/.well-known/openid-configuration' ? JSON.stringify({ jwks_uri: `${own}/certs` }) : SET);
    },
    async (url) => {
      assert.deepEqual(await fetchKeySet(source(`${url}/.well-known/openid-configuration`, { discovery: true })), ok(SET));
      assert.deepEqual(asked, ['/.well-known/openid-configuration', '/certs']);
    },
  );
});

test('what is no key set is told in words that hold neither key nor credential', async () => {
  const bodies: Readonly<Record<string, string>> = {
    '/text': 'top secret',
    '/empty': '{"keys":[]}',
    '/list': '[]',
    '/nokty': '{"keys":[{"n":"top secret"}]}',
    '/many': JSON.stringify({ keys: Array.from({ length: KEYS_PER_SET_MAX + 1 }, () => KEY) }),
    '/large': JSON.stringify({ keys: [{ ...KEY, n: 'x'.repeat(KEY_SET_BYTES_MAX) }] }),
  };
  await serve(
    (request, response) => {
      const body = bodies[new URL(request.url ?? '', 'http://x').pathname];
      if (body === undefined) response.statusCode = 404;
      response.end(body ?? 'top secret');
    },
    async (url) => {
      for (const path of [...Object.keys(bodies), '/absent']) {
        const got = await fetchKeySet(source(`${url.replace('//', '//user:password@')}${path}?token=secret`));
        assert.ok(!got.ok, path);
        assert.doesNotMatch(got.error, /secret|password|abc/, path);
      }
      const absent = await fetchKeySet(source(`${url}/absent`));
      assert.match(absent.ok ? '' : absent.error, /answers 404/);
    },
  );
  for (const url of ['ftp://a/b', 'issuer@example.com/.well-known/openid-configuration', 'http://'])
    assert.equal((await fetchKeySet(source(url))).ok, false, url);
  const refused = await fetchKeySet(source('http://127.0.0.1:1/keys'));
  assert.equal(refused.ok, false);
});

test('an address that does not answer is given up after its time', async () => {
  await serve(
    () => undefined,
    async (url) => {
      const startedAt = Date.now();
      const got = await fetchKeySet(source(url, { timeout: '0.1s' }));
      assert.match(got.ok ? '' : got.error, /no answer within 0.1 s/);
      assert.ok(Date.now() - startedAt < 20_000);
    },
  );
});

const log: string[] = [];
const withStore = async (
  answers: (source: KeySource) => Promise<Result<string, string>>,
  use: (store: KeySetStore, changes: () => number, folder: string, again: () => KeySetStore) => Promise<void>,
): Promise<void> => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-keys-'));
  let changes = 0;
  const stores: KeySetStore[] = [];
  const make = (): KeySetStore => {
    const store = new KeySetStore({
      folder,
      fetch: answers,
      changed: () => changes++,
      refreshMs: 20,
      prepareMs: 50,
      retryMs: { first: 5, max: 20 },
      log: createLog(
        'test',
        (line) => log.push(line),
        () => new Date(),
      ),
    });
    stores.push(store);
    return store;
  };
  try {
    await use(make(), () => changes, folder, make);
  } finally {
    for (const s of stores) s.close();
    rmSync(folder, { recursive: true });
  }
};

test('until keys are there a key of nobody stands for them, and it is the same in each process', async () => {
  await withStore(
    async () => err('down'),
    async (store, changes, _, again) => {
      const before = store.want([source('http://a')]);
      await eventually('the failure is told', () => store.current.failed.get('keys http://a') === 'down');
      assert.equal(store.current.refusing, before.refusing);
      assert.equal(changes(), 1, 'the same failure again is no change');
      assert.equal(again().want([source('http://a')]).refusing, before.refusing);
      // Other words here would make other listeners of every proxy that waits for keys.
      const hash = createHash('sha256').update(before.refusing).digest('hex');
      assert.equal(hash, '82a36c293b9727b7d4a19682b79091ca7c6d60800fb7fbcdd06deff47a61180a');
    },
  );
});

test('the key of nobody is a key as a verifier takes it, and refuses what others signed', async () => {
  const { keys } = JSON.parse(UNOWNED_KEY_SET) as { readonly keys: readonly Readonly<Record<string, string>>[] };
  assert.deepEqual(
    keys.map((k) => Object.keys(k)),
    [['kty', 'crv', 'x', 'y']],
  );
  const key = createPublicKey({ key: keys[0] ?? {}, format: 'jwk' });
  assert.deepEqual([key.type, key.asymmetricKeyDetails?.namedCurve], ['public', 'prime256v1']);
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  assert.equal(verify('sha256', Buffer.from('text'), key, sign('sha256', Buffer.from('text'), privateKey)), false);
});

test('keys are fetched again, replaced when they change, and stay in force while their address is down', async () => {
  let answer: Result<string, string> = ok(set('first'));
  let asked = 0;
  await withStore(
    async () => {
      asked++;
      return answer;
    },
    async (store, changes) => {
      store.want([source('http://a')]);
      await eventually('the first keys', () => store.current.known.get('keys http://a') === set('first'));
      const at = store.current;
      await eventually('asked again', () => asked > 3);
      assert.equal(store.current, at, 'nothing has changed, so nothing is pushed');
      assert.equal(changes(), 1);
      answer = err('down');
      const failing = asked + 3;
      await eventually('asked while down', () => asked > failing);
      assert.equal(store.current.known.get('keys http://a'), set('first'));
      assert.equal(store.current.failed.size, 0);
      answer = ok(set('second'));
      await eventually('the new keys', () => store.current.known.get('keys http://a') === set('second'));
    },
  );
});

test('keys outlive the process; those that nobody wants are forgotten', async () => {
  await withStore(
    async (s) => (s.url === 'http://a' ? ok(set('kept')) : new Promise(() => undefined)),
    async (store, _, folder, again) => {
      store.want([source('http://a')]);
      await eventually('the keys', () => store.current.known.size === 1);
      store.close();
      const second = again();
      assert.deepEqual([...second.want([source('http://a'), source('http://b')]).known], [['keys http://a', set('kept')]], 'at once');
      assert.equal(readdirSync(folder).length, 1);
      assert.equal(second.want([source('http://b')]).known.size, 0);
      assert.equal(readdirSync(folder).length, 0);
    },
  );
});

test('keys that were prepared are there when their rule comes into force, and an address that hangs holds nobody up for long', async () => {
  await withStore(
    async (s) => (s.url === 'http://hangs' ? new Promise(() => undefined) : ok(set('prepared'))),
    async (store) => {
      await store.prepare([source('http://a'), source('http://hangs')]);
      assert.deepEqual([...store.want([source('http://a'), source('http://hangs')]).known], [['keys http://a', set('prepared')]]);
    },
  );
});

test('fetched keys that no proxy can read are left out and told; a set of such keys alone is no set', async () => {
  const unreadable = { kty: 'RSA', kid: 'short', n: 'abc', e: 'AQAB' };
  const sets: Readonly<Record<string, readonly object[]>> = {
    'http://mixed': [unreadable, KEY],
    'http://bad': [unreadable, { kty: 'XYZ' }],
  };
  await withStore(
    async ({ url }) => ok(JSON.stringify({ keys: sets[url] })),
    async (store) => {
      await store.prepare([source('http://bad')]);
      assert.equal(store.want([source('http://mixed'), source('http://bad')]).known.size, 0);
      await eventually('both answers', () => store.current.known.size + store.current.failed.size === 2);
      assert.deepEqual([...store.current.known], [['keys http://mixed', JSON.stringify({ keys: [KEY] })]]);
      assert.match(store.current.leftOut?.get('keys http://mixed') ?? '', /^key "short": n has/);
      assert.match(store.current.failed.get('keys http://bad') ?? '', /^no key that a proxy can read: key "short": n has .*, key #1: kty/);
    },
  );
});

test('more key sets than the limit are told as failed', async () => {
  await withStore(
    async () => new Promise(() => undefined),
    async (store) => {
      const many = Array.from({ length: KEY_SOURCES_MAX + 1 }, (_, i) => source(`http://a/${i}`));
      assert.deepEqual([...store.want(many).failed.keys()], [`keys http://a/${KEY_SOURCES_MAX}`]);
    },
  );
});

test('a rule with an address gets its keys pushed once they have been fetched', async () => {
  await serve(
    (_, response) => response.end(SET),
    async (url) => {
      const mesh = `
apiVersion: v1
kind: Service
metadata: {name: a, namespace: default}
spec: {selector: {app: a}, ports: [{name: http, port: 80}]}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: jwt, namespace: default}
spec: {jwtRules: [{issuer: i, jwksUri: "${url}/keys"}]}
`;
      const rig = await startRig({ 'a.yaml': mesh }, { pipeline: PIPELINE, insecure: true, xds: ['127.0.0.1:0'] });
      const client = new XdsClient(rig.controlPlane.xds[0] ?? '');
      try {
        client.subscribe('LDS');
        for (let n = 1; !JSON.stringify(client.of('LDS').at(-1)?.response ?? {}).includes('k1'); n++)
          client.ack(await client.next('LDS', n));
        assert.doesNotMatch(rig.log.join(''), /AQAB/);
      } finally {
        client.close();
        await rig.close();
      }
    },
  );
});
