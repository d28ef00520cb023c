// Certificates in files over SDS: read when asked, again when changed, never half a pair, never anything else of a file.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { SecretServer } from '../../src/agent/sds.ts';
import { decode, encode } from '../../src/xds/codec.ts';
import type { Secret } from '../../src/xds/gen/types.ts';
import { SDS_METHOD, SECRET_TYPE } from '../../src/xds/resource-types.ts';
import { Arrivals } from './fake-control-plane.ts';
import { openStream } from './setup.ts';

const skip = spawnSync('openssl', ['version']).status !== 0 && 'openssl is not here';

const makePair = (dir: string, name: string): { readonly cert: string; readonly key: string } => {
  const cert = join(dir, `${name}.pem`);
  const key = join(dir, `${name}.key`);
  const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', `/CN=${name}`];
  const made = spawnSync('openssl', [...args, '-days', '2', '-keyout', key, '-out', cert], { encoding: 'utf8' });
  assert.equal(made.status, 0, made.stderr);
  return { cert, key };
};

interface Bench {
  readonly dir: string;
  readonly server: SecretServer;
  readonly problems: Arrivals<string>;
}

const withServer = async (body: (bench: Bench) => Promise<void>): Promise<void> => {
  const dir = mkdtempSync(join(tmpdir(), 'skein-file-secrets-'));
  const problems = new Arrivals<string>();
  const onFileProblem = (name: string, problem: string): void => problems.push(`${name}: ${problem}`);
  const server = new SecretServer({ onRejected: () => undefined, onFileProblem, filePollMs: 10 });
  try {
    await body({ dir, server, problems });
  } finally {
    server.close();
    rmSync(dir, { recursive: true, force: true });
  }
};

const ask = (names: readonly string[], more = {}): Uint8Array =>
  encode('envoy.service.discovery.v3.DiscoveryRequest', { type_url: SECRET_TYPE.url, resource_names: names, ...more });
const read = (bytes: Uint8Array): { readonly nonce: string; readonly secrets: readonly Secret[] } => {
  const response = decode('envoy.service.discovery.v3.DiscoveryResponse', bytes);
  return { nonce: response.nonce ?? '', secrets: (response.resources ?? []) as readonly Secret[] };
};
const textOf = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString();

test('a pair of files is served, and again once both have changed', { skip }, async () => {
  await withServer(async ({ dir, server, problems }) => {
    const { cert, key } = makePair(dir, 'a');
    const next = makePair(dir, 'b');
    const name = `file-cert:${cert}~${key}`;
    const { messages, stream } = openStream(server, SDS_METHOD);
    stream.send(ask([name]));
    const first = read(await messages.next());
    assert.equal(first.secrets[0]?.name, name);
    assert.equal(textOf(first.secrets[0]?.tls_certificate?.certificate_chain?.inline_bytes), readFileSync(cert, 'utf8'));
    assert.match(textOf(first.secrets[0]?.tls_certificate?.private_key?.inline_bytes), /BEGIN PRIVATE KEY/);
    stream.send(ask([name], { response_nonce: first.nonce }));
    renameSync(next.cert, cert);
    assert.match(await problems.next(), /is not the key of/, 'a chain without its key is not served');
    assert.equal(messages.all.length, 1);
    renameSync(next.key, key);
    const second = read(await messages.next());
    assert.equal(textOf(second.secrets[0]?.tls_certificate?.certificate_chain?.inline_bytes), readFileSync(cert, 'utf8'));
  });
});

test('a trust bundle is served without what else its file holds, and as soon as it is there', { skip }, async () => {
  await withServer(async ({ dir, server, problems }) => {
    const { cert, key } = makePair(dir, 'ca');
    const path = join(dir, 'roots.pem');
    const { messages, stream } = openStream(server, SDS_METHOD);
    stream.send(ask([`file-root:${path}`]));
    assert.match(await problems.next(), /roots\.pem cannot be read: ENOENT/);
    writeFileSync(`${path}.part`, `# mine\n${readFileSync(key, 'utf8')}${readFileSync(cert, 'utf8')}`);
    renameSync(`${path}.part`, path);
    const { secrets } = read(await messages.next());
    assert.equal(textOf(secrets[0]?.validation_context?.trusted_ca?.inline_bytes), readFileSync(cert, 'utf8'));
  });
});

test('paths that are not absolute, or not of certificates, are refused and said once', async () => {
  await withServer(async ({ server, problems, dir }) => {
    const { messages, stream } = openStream(server, SDS_METHOD);
    writeFileSync(join(dir, 'secret.txt'), 'password\n');
    stream.send(ask(['file-root:roots.pem', 'file-cert:/a/../b~/c', 'file-cert:/only-one', `file-root:${join(dir, 'secret.txt')}`]));
    const told = [await problems.next(), await problems.next(), await problems.next(), await problems.next()];
    assert.match(told[0] ?? '', /"roots\.pem" is not an absolute path/);
    assert.match(told[1] ?? '', /"\/a\/\.\.\/b" is not an absolute path/);
    assert.match(told[2] ?? '', /wants <certificate chain>~<private key>/);
    assert.match(told[3] ?? '', /holds no PEM certificate/);
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.equal(problems.all.length, 4);
    assert.equal(messages.all.length, 0);
  });
});

test('a change of one secret is not sent to who asked for another', { skip }, async () => {
  await withServer(async ({ dir, server }) => {
    const a = makePair(dir, 'a');
    const b = makePair(dir, 'b');
    const one = openStream(server, SDS_METHOD);
    const two = openStream(server, SDS_METHOD);
    one.stream.send(ask([`file-root:${a.cert}`]));
    two.stream.send(ask([`file-root:${b.cert}`]));
    await one.messages.next();
    await two.messages.next();
    writeFileSync(b.cert, readFileSync(a.cert, 'utf8'));
    await two.messages.next();
    assert.equal(one.messages.all.length, 1);
  });
});
