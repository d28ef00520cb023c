// Issuers that fail, as the control plane sees them: real servers that are down, slow, huge, redirecting, without JSON, behind a
// certificate of their own authority, or with other keys than before. Nothing hangs, and what is in force stays in force.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { createLog } from '../../../src/base/log.ts';
import { KEY_SET_BYTES_MAX } from '../../../src/control/limits.ts';
import { fetchKeySet } from '../../../src/control/sources/key-set-fetch.ts';
import { KeySetStore, keyRefreshMs } from '../../../src/control/sources/key-set-store.ts';
import type { KeySource } from '../../../src/mesh/key-sets.ts';
import { createAuthority } from '../../proxy/certificates.ts';
import { eventually } from '../rig.ts';

const set = (kid: string): string => JSON.stringify({ keys: [{ kty: 'oct', kid, alg: 'HS256', k: 'AAAA' }] });
const source = (url: string, more: Partial<KeySource> = {}): KeySource => ({
  id: `keys ${url}`,
  url,
  discovery: false,
  timeout: '0.3s',
  ...more,
});
/** Longer than any answer is waited for here. */
const BOUND_MS = 20_000;

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

const start = async (answer: Answer, tls?: { readonly key: string; readonly cert: string }) => {
  const server = tls === undefined ? createServer(answer) : createTlsServer(tls, answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
};

const problemOf = async (url: string, more: Partial<KeySource> = {}): Promise<string> => {
  const startedAt = performance.now();
  const got = await fetchKeySet(source(url, more));
  assert.ok(performance.now() - startedAt < BOUND_MS, `it hangs: ${url}`);
  return got.ok ? 'none' : got.error;
};

test('an issuer that is down, silent, slow, endless or swollen is told as such, in its time', async () => {
  const timers: NodeJS.Timeout[] = [];
  await using issuer = await start(({ url }, response) => {
    if (url === '/silent') return;
    response.writeHead(200, url === '/bomb' ? { 'content-encoding': 'gzip' } : {});
    if (url === '/bomb') response.end(gzipSync(Buffer.alloc(64 * 1024 * 1024)));
    else if (url === '/cut') {
      response.write('{"keys":[');
      setTimeout(() => response.destroy(), 20);
    } else {
      const bytes = url === '/endless' ? Buffer.alloc(64 * 1024, ' ') : Buffer.from(' ');
      timers.push(setInterval(() => response.write(bytes), url === '/endless' ? 1 : 50));
    }
  });
  try {
    const gone = await start(() => undefined);
    await gone[Symbol.asyncDispose]();
    assert.match(await problemOf(`${gone.url}/keys`), /ECONNREFUSED|ConnectionRefused/);
    for (const path of ['/silent', '/slow']) assert.match(await problemOf(`${issuer.url}${path}`), /no answer within 0.3 s/, path);
    for (const path of ['/endless', '/bomb'])
      assert.match(await problemOf(`${issuer.url}${path}`, { timeout: '4s' }), new RegExp(`more than ${KEY_SET_BYTES_MAX} bytes`), path);
    assert.notEqual(await problemOf(`${issuer.url}/cut`), 'none');
  } finally {
    for (const timer of timers) clearInterval(timer);
  }
});

test('an issuer that answers with something else than keys is told as such', async () => {
  await using issuer = await start(({ url }, response) => {
    if (url === '/500') response.writeHead(500).end(set('a'));
    else if (url === '/204') response.writeHead(204).end();
    else response.end({ '/html': '<html>', '/empty': '', '/cut': '{"keys":[{', '/null': 'null' }[url ?? '']);
  });
  for (const path of ['/html', '/empty', '/cut']) assert.match(await problemOf(`${issuer.url}${path}`), /the answer is not JSON/, path);
  assert.match(await problemOf(`${issuer.url}/null`), /not a JSON web key set/);
  for (const status of ['500', '204']) assert.match(await problemOf(`${issuer.url}/${status}`), new RegExp(`answers ${status}`));
});

test('redirects are followed, a few of them, and never from TLS to none', async () => {
  let asked = 0;
  const answer: Answer = ({ url = '' }, response) => {
    asked++;
    const to = { '/one': '/keys', '/round': '/round', '/none': '', '/bad': 'http://', '/file': 'file:///etc/passwd' }[url];
    if (url === '/keys') response.end(set('a'));
    else if (url.startsWith('/to?')) response.writeHead(302, { location: decodeURIComponent(url.slice(4)) }).end();
    else response.writeHead(url === '/one' ? 307 : 301, to === undefined || to === '' ? {} : { location: to }).end();
  };
  await using issuer = await start(answer);
  assert.deepEqual(await fetchKeySet(source(`${issuer.url}/one`)), { ok: true, value: set('a') });
  asked = 0;
  assert.match(await problemOf(`${issuer.url}/round`), /redirects more than 5 times/);
  assert.equal(asked, 6);
  assert.match(await problemOf(`${issuer.url}/none`), /answers 301/);
  assert.match(await problemOf(`${issuer.url}/bad`), /redirects to no address/);
  assert.match(await problemOf(`${issuer.url}/file`), /redirects to an address without TLS/);
});

test('keys that change at the issuer are picked up; while it fails those before hold', async () => {
  let body = set('first');
  let asked = 0;
  await using issuer = await start((_, response) => {
    asked++;
    response.end(body);
  });
  const folder = mkdtempSync(join(tmpdir(), 'skein-issuer-'));
  const log = createLog(
    'test',
    () => undefined,
    () => new Date(),
  );
  const store = new KeySetStore({
    folder,
    fetch: fetchKeySet,
    log,
    changed: () => undefined,
    refreshMs: 20,
    retryMs: { first: 5, max: 20 },
  });
  const known = (): string | undefined => store.current.known.get(`keys ${issuer.url}/`);
  try {
    store.want([source(`${issuer.url}/`)]);
    await eventually('the first keys', () => known() === set('first'));
    for (const broken of ['<html>', '{"keys":[]}', 'x'.repeat(KEY_SET_BYTES_MAX + 1)]) {
      body = broken;
      const failing = asked + 2;
      await eventually('asked while it fails', () => asked > failing);
      assert.equal(known(), set('first'));
    }
    body = set('second');
    await eventually('the second keys', () => known() === set('second'));
  } finally {
    store.close();
    rmSync(folder, { recursive: true });
  }
});

test('how often keys are fetched again is told as istiod is told it', () => {
  const ms = (text: string): number => keyRefreshMs({ PILOT_JWT_PUB_KEY_REFRESH_INTERVAL: text });
  assert.deepEqual([keyRefreshMs({}), ms('5m'), ms('1ms'), ms('often'), ms('1000h')], [1_200_000, 300_000, 1000, 1_200_000, 86_400_000]);
});

test('an issuer with a certificate of its own authority is believed when the authority is given, else not', async () => {
  const ca = createAuthority('issuers');
  const { key, certificate: cert } = ca.issue({ ip: '127.0.0.1' });
  const plain = await start((_, response) => response.end(set('plain')));
  await using issuer = await start(
    ({ url }, response) => {
      if (url === '/down') response.writeHead(302, { location: `${plain.url}/` }).end();
      else if (url === '/discovery') response.end(JSON.stringify({ jwks_uri: `${plain.url}/` }));
      else response.end(set('private'));
    },
    { key, cert },
  );
  const folder = mkdtempSync(join(tmpdir(), 'skein-issuer-'));
  try {
    const roots = join(folder, 'roots.pem');
    writeFileSync(roots, ca.pem);
    assert.match(await problemOf(`${issuer.url}/`), /CERT|SIGNATURE|UNABLE_TO|SELF_SIGNED/i);
    const trusting = { NODE_EXTRA_CA_CERTS: roots };
    assert.deepEqual(await fetchedBy(trusting, source(`${issuer.url}/`)), { ok: true, value: set('private') });
    assert.match((await fetchedBy(trusting, source(`${issuer.url}/down`))).error ?? '', /redirects to an address without TLS/);
    const discovered = await fetchedBy(trusting, source(`${issuer.url}/discovery`, { discovery: true }));
    assert.match(discovered.error ?? '', /names a jwks_uri without TLS/);
  } finally {
    await plain[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  }
});

/** By a process of its own: authorities are read when it starts. */
const fetchedBy = async (
  env: Readonly<Record<string, string>>,
  from: KeySource,
): Promise<{ ok: boolean; value?: string; error?: string }> => {
  const program = `import { fetchKeySet } from ${JSON.stringify(new URL('../../../src/control/sources/key-set-fetch.ts', import.meta.url).href)};
process.stdout.write(JSON.stringify(await fetchKeySet(${JSON.stringify({ ...from, timeout: '3s' })})));`;
  const args = 'bun' in process.versions ? ['-e', program] : ['--input-type=module', '-e', program];
  const child = spawn(process.execPath, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'inherit'] });
  let out = '';
  child.stdout.on('data', (bytes: Buffer) => {
    out += bytes;
  });
  await once(child, 'close');
  return JSON.parse(out) as { ok: boolean; value?: string; error?: string };
};
