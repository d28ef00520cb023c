// Our gRPC client against a server that is not ours (grpc-js), over TCP and a Unix socket.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import net, { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import grpc from '@grpc/grpc-js';
import { createGrpcClient, type GrpcTarget } from '../../src/proxy/xds/grpc-client.ts';
import { createAuthority } from './certificates.ts';

const METHOD = '/test.Echo/Both';
const same = (b: Buffer): Buffer => b;

/** Echoes each message; `quit` ends with OK, `fail` with PERMISSION_DENIED. */
const startServer = (
  where: string,
  credentials = grpc.ServerCredentials.createInsecure(),
): Promise<{ server: grpc.Server; port: number; metadata: grpc.Metadata[] }> => {
  const metadata: grpc.Metadata[] = [];
  const server = new grpc.Server();
  const definition = {
    Both: {
      path: METHOD,
      requestStream: true,
      responseStream: true,
      requestSerialize: same,
      requestDeserialize: same,
      responseSerialize: same,
      responseDeserialize: same,
    },
  };
  server.addService(definition, {
    Both: (call: grpc.ServerDuplexStream<Buffer, Buffer>) => {
      metadata.push(call.metadata);
      call.on('data', (b: Buffer) => {
        const said = b.toString();
        if (said === 'quit') call.end();
        else if (said === 'fail') call.emit('error', { code: grpc.status.PERMISSION_DENIED, details: 'no: ünknown' });
        else call.write(b);
      });
      call.on('error', () => undefined);
    },
  });
  return new Promise((resolve, reject) => {
    server.bindAsync(where, credentials, (e, port) => (e ? reject(e) : resolve({ server, port, metadata })));
  });
};

const talk = (target: GrpcTarget, says: readonly string[]): Promise<{ heard: string[]; status: { code: number; message: string } }> =>
  new Promise((resolve) => {
    const client = createGrpcClient(target);
    const heard: string[] = [];
    const stream = client.open(METHOD, {
      message: (bytes) => void heard.push(Buffer.from(bytes).toString()),
      end: (status) => {
        client.close();
        resolve({ heard, status });
      },
    });
    for (const s of says) stream.send(Buffer.from(s));
  });

describe('gRPC client', () => {
  test('messages both ways over TCP, OK at the end, metadata sent', async () => {
    const { server, port, metadata } = await startServer('127.0.0.1:0');
    const big = 'x'.repeat(300_000);
    const { heard, status } = await talk({ address: { host: '127.0.0.1', port }, metadata: { authorization: 'Bearer t' } }, [
      'one',
      big,
      'quit',
    ]);
    assert.deepEqual(heard, ['one', big]);
    assert.equal(status.code, 0);
    assert.deepEqual(metadata[0]?.get('authorization'), ['Bearer t']);
    server.forceShutdown();
  });

  test('over a Unix socket; a status with text', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'skein-grpc-'));
    const path = join(dir, 's.sock');
    const { server } = await startServer(`unix:${path}`);
    const { heard, status } = await talk({ address: { path } }, ['one', 'fail']);
    assert.deepEqual(heard, ['one']);
    assert.deepEqual(status, { code: 7, message: 'no: ünknown' });
    server.forceShutdown();
    rmSync(dir, { recursive: true });
  });

  test('an unknown method, a closed port and a killed server end with a status', async () => {
    const { server, port } = await startServer('127.0.0.1:0');
    const client = createGrpcClient({ address: { host: '127.0.0.1', port } });
    const unknown = await new Promise<{ code: number }>((resolve) => {
      client.open('/no.Such/Method', { message: () => undefined, end: resolve });
    });
    assert.equal(unknown.code, 12);
    const killed = new Promise<{ code: number }>((resolve) => {
      const stream = client.open(METHOD, { message: () => server.forceShutdown(), end: resolve });
      stream.send(Buffer.from('hello'));
    });
    assert.notEqual((await killed).code, 0);
    const refused = await new Promise<{ code: number }>((resolve) => {
      client.open(METHOD, { message: () => undefined, end: resolve });
    });
    assert.equal(refused.code, 14);
    client.close();
  });

  test('over TLS with a client certificate; a server of another name or authority gets nothing', async () => {
    const authority = createAuthority('mesh');
    const own = authority.issue({ uri: 'spiffe://mesh/cp', ip: '127.0.0.1' });
    const me = authority.issue({ uri: 'spiffe://mesh/me' });
    const pair = { private_key: Buffer.from(own.key), cert_chain: Buffer.from(own.certificate) };
    const { server, port, metadata } = await startServer(
      '127.0.0.1:0',
      grpc.ServerCredentials.createSsl(Buffer.from(authority.pem), [pair], true),
    );
    const tls = { ca: authority.pem, cert: me.certificate, key: me.key };
    const to = (more: object): GrpcTarget => ({ address: { host: '127.0.0.1', port }, tls: { ...tls, ...more } });
    const big = 'x'.repeat(2_000_000);
    const good = await talk(to({ subjectAltNames: ['spiffe://mesh/cp'] }), ['one', big, 'quit']);
    assert.deepEqual([good.heard[0], good.heard[1]?.length, good.status.code], ['one', big.length, 0]);
    for (const wrong of [{ subjectAltNames: ['spiffe://mesh/other'] }, { ca: createAuthority('other').pem }]) {
      const { heard, status } = await talk(to(wrong), ['one']);
      assert.deepEqual([heard, status.code], [[], 14]);
    }
    assert.equal(metadata.length, 1);
    server.forceShutdown();
  });

  test('GOAWAY: the stream begun goes on, the next one dials anew; a peer that never speaks is given up in time', async () => {
    const sessions: ServerHttp2Session[] = [];
    const peer = createServer().on('stream', (stream: ServerHttp2Stream) => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
      stream.on('data', (chunk: Buffer) => stream.write(chunk));
      stream.on('error', () => undefined);
    });
    peer.on('session', (session: ServerHttp2Session) => sessions.push(session));
    await new Promise<void>((resolve) => peer.listen(0, '127.0.0.1', resolve));
    const client = createGrpcClient({ address: { host: '127.0.0.1', port: (peer.address() as AddressInfo).port } });
    const waiting: ((text: string) => void)[] = [];
    const message = (bytes: Uint8Array): void => waiting.shift()?.(Buffer.from(bytes).toString());
    const open = () => client.open(METHOD, { message, end: () => undefined });
    const say = (stream: ReturnType<typeof open>, text: string): Promise<string> =>
      new Promise((resolve) => {
        waiting.push(resolve);
        stream.send(Buffer.from(text));
      });
    const first = open();
    assert.equal(await say(first, 'one'), 'one');
    sessions[0]?.goaway(0, 0x7fffffff);
    assert.equal(await say(first, 'two'), 'two');
    assert.equal(await say(open(), 'three'), 'three');
    assert.equal(await say(first, 'four'), 'four');
    assert.equal(sessions.length, 2);
    client.close();
    peer.close();

    const silent = net.createServer((socket) => socket.on('error', () => undefined));
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const { status } = await talk({ address: { host: '127.0.0.1', port: (silent.address() as AddressInfo).port }, connectTimeoutMs: 100 }, [
      'x',
    ]);
    assert.deepEqual(status, { code: 14, message: 'connect timeout' });
    silent.close();
  });
});
