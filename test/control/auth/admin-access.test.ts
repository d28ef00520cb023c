// The admin API by its doors: the owner's socket, and a port where a token says what its holder may do.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { Attempts, peerKey } from '../../../src/control/auth/attempts.ts';
import { ControlPlaneError } from '../../../src/control/control-plane.ts';
import { type Rig, startRig, temporaryFolder } from '../rig.ts';

const MESH = { 'a.yaml': 'kind: Service\nname: s\nspec: {}\n' };

const withPort = async (run: (rig: Rig, url: string) => Promise<void>): Promise<void> => {
  const rig = await startRig(MESH, { adminPorts: ['127.0.0.1:0'] });
  try {
    await run(rig, rig.controlPlane.adminPorts[0] ?? '');
  } finally {
    await rig.close();
  }
};

const created = async (rig: Rig, body: unknown): Promise<{ readonly id: string; readonly token: string }> => {
  const made = await rig.admin('POST', '/v1/access-tokens', body);
  assert.equal(made.status, 201);
  return made.body as { id: string; token: string };
};

const ask = async (url: string, token: string | undefined, method: string, path: string, body?: unknown): Promise<number> => {
  const headers: Record<string, string> = { connection: 'close', ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) };
  const reply = await fetch(`${url}${path}`, { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
  await reply.text();
  return reply.status;
};

const CHANGES: readonly (readonly [string, string, unknown])[] = [
  ['POST', '/v1/apply', { documents: [{ file: 'b.yaml', text: 'kind: Service\nname: t\nspec: {}\n' }] }],
  ['DELETE', '/v1/resources/Service/default/s', undefined],
  ['PUT', '/v1/instances/default/x', {}],
  ['DELETE', '/v1/instances/default/x', undefined],
  ['POST', '/v1/tokens', { namespace: 'default', serviceAccount: 'default', name: 'x' }],
  ['POST', '/v1/join-tokens', { namespace: 'default', serviceAccount: 'default' }],
  ['POST', '/v1/access-tokens', { role: 'write' }],
  ['DELETE', '/v1/access-tokens/000000000000', undefined],
  ['POST', '/v1/proxies/default/x/admin/quitquitquit', undefined],
  ['POST', '/v1/proxies/default/x/admin/tap', {}],
  ['POST', '/v1/shutdown', undefined],
];

test('a token for reading sees everything and changes nothing; one for writing does; none does neither', async () => {
  await withPort(async (rig, url) => {
    const read = await created(rig, { role: 'read' });
    const write = await created(rig, { role: 'write' });
    for (const path of ['/v1/status', '/v1/proxies', '/v1/resources', '/metrics', '/v1/join-tokens', '/healthz']) {
      assert.equal(await ask(url, undefined, 'GET', path), 401, path);
      assert.equal(await ask(url, read.token, 'GET', path), 200, path);
    }
    for (const [method, path, body] of CHANGES) assert.equal(await ask(url, read.token, method, path, body), 403, `${method} ${path}`);
    assert.equal(await ask(url, write.token, 'POST', '/v1/join-tokens', { namespace: 'a', serviceAccount: 'b' }), 201);
    assert.equal((await rig.admin('DELETE', `/v1/access-tokens/${write.id}`)).status, 200);
    assert.equal(await ask(url, write.token, 'GET', '/v1/status'), 401);
    assert.equal(await ask(url, `${read.token.slice(0, -2)}AA`, 'GET', '/v1/status'), 401);
  });
});

test('who keeps connections to the port open is cut off at a number, and leaves room again', async () => {
  await withPort(async (rig, url) => {
    const { token } = await created(rig, { role: 'read' });
    const port = Number(new URL(url).port);
    const open: Socket[] = [];
    const stay = async (): Promise<void> => {
      const socket = connect(port, '127.0.0.1');
      socket.on('error', () => undefined);
      open.push(socket);
      await once(socket, 'connect');
      socket.write('GET /v1/status HTTP/1.1\r\n');
    };
    for (let i = 0; i < 256; i++) await stay();
    const late = connect(port, '127.0.0.1');
    late.on('error', () => undefined);
    let said = '';
    late.on('data', (bytes: Buffer) => {
      said += bytes.toString();
    });
    late.write(`GET /v1/status HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ${token}\r\n\r\n`);
    await new Promise((resolve) => late.once('close', resolve));
    assert.equal(said, '');
    for (const socket of open) socket.destroy();
    for (const until = Date.now() + 20_000; Date.now() < until; ) {
      if ((await ask(url, token, 'GET', '/v1/status').catch(() => 0)) === 200) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assert.fail('no room was left');
  });
});

test('who guesses admin tokens is slowed down, and who has one is not', async () => {
  await withPort(async (rig, url) => {
    const { token } = await created(rig, { role: 'read' });
    const codes: number[] = [];
    for (let i = 0; i < 25; i++) codes.push(await ask(url, 'skein_admin_wrong', 'GET', '/v1/status'));
    assert.equal(codes[0], 401);
    assert.equal(codes.at(-1), 429);
    assert.equal(await ask(url, token, 'GET', '/v1/status'), 200);
  });
});

test('admin tokens would travel in clear beyond this machine: such a port is refused', async () => {
  await assert.rejects(startRig(MESH, { adminPorts: ['0.0.0.0:0'] }), ControlPlaneError);
  const rig = await startRig(MESH, { adminPorts: ['tls:127.0.0.1:0'] });
  assert.match(rig.controlPlane.adminPorts[0] ?? '', /^https:/);
  await rig.close();
});

test('tokens are shown once, and nothing that the process keeps, prints or writes has one in it', async () => {
  const root = temporaryFolder();
  const rig = await startRig(MESH, { adminPorts: ['127.0.0.1:0'] }, root);
  const secrets = [
    (await created(rig, { role: 'read' })).token,
    ((await rig.admin('POST', '/v1/join-tokens', { namespace: 'a', serviceAccount: 'b' })).body as { token: string }).token,
    await rig.token('r'),
  ].map((token) => token.slice(-40));
  await ask(rig.controlPlane.adminPorts[0] ?? '', 'skein_admin_nonsense_that_is_long', 'GET', '/v1/status');
  const shown: string[] = [...rig.log];
  for (const path of ['/v1/status', '/v1/proxies', '/v1/resources', '/v1/instances', '/v1/join-tokens', '/v1/access-tokens', '/metrics'])
    shown.push(JSON.stringify((await rig.admin('GET', path)).body));
  const loose: string[] = [];
  for (const entry of readdirSync(rig.state, { withFileTypes: true, recursive: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) shown.push(readFileSync(path, 'utf8'));
    if ((entry.isFile() || entry.isSocket() || entry.isDirectory()) && (statSync(path).mode & 0o077) !== 0) loose.push(path);
  }
  await rig.close();
  assert.deepEqual(loose, []);
  for (const secret of secrets) assert.equal(shown.filter((text) => text.includes(secret)).length, 0);
  assert.ok(!shown.some((text) => text.includes('nonsense_that_is_long')));
});

test('attempts come back with time, and a flood of new peers takes them from nobody who is known', () => {
  let now = 0;
  const attempts = new Attempts({ burst: 2, perSecond: 1, peersMax: 3 }, () => now);
  assert.deepEqual([attempts.take('a'), attempts.take('a'), attempts.take('a')], [true, true, false]);
  assert.equal(attempts.allows('a'), false);
  now = 1000;
  assert.deepEqual([attempts.take('a'), attempts.take('a')], [true, false]);
  for (let i = 0; i < 1000; i++) attempts.take(`new-${i}`);
  assert.equal(attempts.size, 3);
  assert.equal(attempts.allows('new-999'), false);
  assert.equal(attempts.allows('a'), false);
  now = 10_000;
  assert.equal(attempts.allows('b'), true);
});

test('a host of IPv6 is one peer however many addresses it has', () => {
  assert.equal(peerKey('2001:db8:1:2:3::4'), peerKey('2001:db8:1:2:ffff::9'));
  assert.notEqual(peerKey('2001:db8:1:2::4'), peerKey('2001:db8:1:3::4'));
  assert.equal(peerKey('::ffff:10.0.0.1'), '10.0.0.1');
  assert.equal(peerKey('::1'), '0:0:0:0::/64');
});
