// Our gRPC client against a server that is not ours (grpc-js), over TCP and a Unix socket.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import grpc from '@grpc/grpc-js';
import { createGrpcClient, type GrpcTarget } from '../../src/proxy/xds/grpc-client.ts';

const METHOD = '/test.Echo/Both';
const same = (b: Buffer): Buffer => b;

/** Echoes each message; `quit` ends with OK, `fail` with PERMISSION_DENIED. */
const startServer = (where: string): Promise<{ server: grpc.Server; port: number; metadata: grpc.Metadata[] }> => {
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
    server.bindAsync(where, grpc.ServerCredentials.createInsecure(), (e, port) => (e ? reject(e) : resolve({ server, port, metadata })));
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
});
