// The SPIFFE Workload API over its socket, asked by an ordinary gRPC client.
import assert from 'node:assert/strict';
import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Client, type ClientReadableStream, credentials, Metadata, type StatusObject } from '@grpc/grpc-js';
import { parseAgentFlags } from '../../src/agent/agent-flags.ts';
import { serveGrpc } from '../../src/agent/grpc-server.ts';
import { WorkloadApi } from '../../src/agent/workload-api.ts';
import type { WorkloadSecret } from '../../src/agent/workload-identity.ts';
import { eventually } from '../control/rig.ts';
import { x509 } from './x509.ts';

const ID = 'spiffe://cluster.local/ns/shop/sa/order';
const EC = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const raw = (bytes: Buffer): Buffer => bytes;

/** The length-delimited fields of a message, by number. */
const fields = (message: Uint8Array): ReadonlyMap<number, readonly Buffer[]> => {
  const bytes = Buffer.from(message);
  const out = new Map<number, Buffer[]>();
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++] ?? 0;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    assert.equal(tag & 7, 2);
    const length = varint();
    out.set(tag >> 3, [...(out.get(tag >> 3) ?? []), bytes.subarray(at, at + length)]);
    at += length;
  }
  return out;
};

const secretOf = async (serial: string): Promise<WorkloadSecret> => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const options = EC;
  const keys = {
    privateKey: await crypto.subtle.importKey('pkcs8', privateKey.export({ type: 'pkcs8', format: 'der' }), options, true, ['sign']),
    publicKey: await crypto.subtle.importKey('spki', publicKey.export({ type: 'spki', format: 'der' }), options, true, ['verify']),
  };
  const made = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serial,
    name: 'CN=root',
    notBefore: new Date(Date.now() - 1000),
    notAfter: new Date(Date.now() + 60_000),
    signingAlgorithm: EC,
    keys,
  });
  const pem = `${made.toString('pem')}\n`;
  return {
    certificate: { chainPem: pem, rootsPem: pem + pem, notBeforeMs: 0, notAfterMs: Date.now() + 60_000, serial },
    privateKeyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  };
};

interface Stream {
  readonly messages: Buffer[];
  status(): StatusObject | undefined;
  readonly call: ClientReadableStream<Buffer>;
}

const withApi = async (run: (api: WorkloadApi, open: (method: string, marked?: boolean) => Stream, socket: string) => Promise<void>) => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-workload-'));
  const socket = join(folder, 'w.sock');
  const api = new WorkloadApi(ID);
  const server = await serveGrpc(socket, api);
  const client = new Client(`unix:${socket}`, credentials.createInsecure());
  const open = (method: string, marked = true): Stream => {
    const metadata = new Metadata();
    if (marked) metadata.set('workload.spiffe.io', 'true');
    const call = client.makeServerStreamRequest(`/SpiffeWorkloadAPI/${method}`, raw, raw, Buffer.alloc(0), metadata);
    const messages: Buffer[] = [];
    let status: StatusObject | undefined;
    call.on('data', (bytes: Buffer) => messages.push(bytes));
    call.on('error', () => undefined);
    call.on('status', (s: StatusObject) => {
      status = s;
    });
    return { messages, status: () => status, call };
  };
  try {
    await run(api, open, socket);
  } finally {
    client.close();
    api.close();
    await server.close();
    rmSync(folder, { recursive: true });
  }
};

test('the identity comes with key, chain and roots, waits until there is one, and comes again at each renewal', async () => {
  await withApi(async (api, open) => {
    const stream = open('FetchX509SVID');
    const bundles = open('FetchX509Bundles');
    const first = await secretOf('01');
    api.publish(first);
    await eventually('the first identity', () => stream.messages.length === 1 && bundles.messages.length === 1);
    const [svidBytes] = fields(stream.messages[0] ?? Buffer.alloc(0)).get(1) ?? [];
    const svid = fields(svidBytes ?? Buffer.alloc(0));
    assert.equal(svid.get(1)?.[0]?.toString(), ID);
    const leaf = new X509Certificate(svid.get(2)?.[0] ?? '');
    const key = createPrivateKey({ key: svid.get(3)?.[0] ?? Buffer.alloc(0), format: 'der', type: 'pkcs8' });
    assert.ok(leaf.checkPrivateKey(key));
    assert.equal(svid.get(4)?.[0]?.length, leaf.raw.length * 2);
    const [entry] = fields(bundles.messages[0] ?? Buffer.alloc(0)).get(2) ?? [];
    const bundle = fields(entry ?? Buffer.alloc(0));
    assert.equal(bundle.get(1)?.[0]?.toString(), 'spiffe://cluster.local');
    assert.deepEqual(bundle.get(2)?.[0], svid.get(4)?.[0]);
    api.publish(await secretOf('02'));
    await eventually('the second identity', () => stream.messages.length === 2);
    assert.equal(stream.status(), undefined);
    stream.call.cancel();
    bundles.call.cancel();
  });
});

test('roots that are for one trust domain are told as that trust domain’s', async () => {
  await withApi(async (api, open) => {
    const stream = open('FetchX509SVID');
    const bundles = open('FetchX509Bundles');
    const secret = await secretOf('01');
    const [own = '', other = ''] = [secret, await secretOf('02')].map(({ certificate }) => certificate.chainPem);
    const rootsPem = `# trust domains cluster.local\n${own}# trust domains partner.test\n${other}`;
    api.publish({ ...secret, certificate: { ...secret.certificate, rootsPem } });
    await eventually('both answers', () => stream.messages.length === 1 && bundles.messages.length === 1);
    const read = (message: Buffer | undefined, field: number) =>
      (fields(message ?? Buffer.alloc(0)).get(field) ?? []).map((entry) => {
        const parts = fields(entry);
        return [parts.get(1)?.[0]?.toString(), new X509Certificate(parts.get(2)?.[0] ?? '').serialNumber];
      });
    const partner = ['spiffe://partner.test', '02'];
    assert.deepEqual(read(bundles.messages[0], 2), [['spiffe://cluster.local', '01'], partner]);
    assert.deepEqual(read(stream.messages[0], 3), [partner]);
    stream.call.cancel();
    bundles.call.cancel();
  });
});

test('without the metadata nothing is given, JWT identities are said not to be there, and an unknown method too', async () => {
  await withApi(async (api, open, socket) => {
    assert.equal(statSync(socket).mode & 0o777, 0o600);
    api.publish(await secretOf('01'));
    for (const [method, marked, code, text] of [
      ['FetchX509SVID', false, 3, /workload\.spiffe\.io/],
      ['FetchJWTSVID', true, 12, /no JWT-SVIDs/],
      ['FetchJWTBundles', true, 12, /no JWT-SVIDs/],
      ['ValidateJWTSVID', true, 12, /no JWT-SVIDs/],
      ['toString', true, 12, /not served/],
    ] as const) {
      const stream = open(method, marked);
      const status = await eventually(`${method} ends`, () => stream.status());
      assert.equal(status.code, code, method);
      assert.match(status.details, text);
      assert.equal(stream.messages.length, 0);
    }
  });
});

test('streams are bounded, and one that ends makes room', async () => {
  await withApi(async (api, open) => {
    api.publish(await secretOf('01'));
    const streams = Array.from({ length: 64 }, () => open('FetchX509SVID'));
    await eventually('all are served', () => streams.every((s) => s.messages.length === 1));
    const more = open('FetchX509SVID');
    assert.equal((await eventually('it is refused', () => more.status())).code, 8);
    for (const { call } of streams) call.cancel();
    const refused = async (): Promise<boolean> => {
      const stream = open('FetchX509SVID');
      await eventually('an answer', () => stream.messages.length > 0 || stream.status() !== undefined);
      stream.call.cancel();
      return stream.messages.length === 0;
    };
    while (await refused());
  });
});

test('it is off unless a socket is named', () => {
  const base = ['--xds', 'unix:/x', '--run-dir', '/r', '--no-dns'];
  assert.equal(parseAgentFlags(base, {}, 'agent').config.workloadApi, undefined);
  assert.equal(parseAgentFlags([...base, '--workload-api', 'unix:///run/w.sock'], {}, 'agent').config.workloadApi, '/run/w.sock');
});
