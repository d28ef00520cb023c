// OTLP over gRPC from clients that pack what they send, as an OpenTelemetry Collector does by itself.
import assert from 'node:assert/strict';
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { test } from 'node:test';
import { gunzip, gzipSync } from 'node:zlib';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { TRACE_METHOD } from '../../src/control/telemetry/span-intake.ts';
import type { Trace } from '../../src/control/telemetry/trace.ts';
import { UnpackedMessages } from '../../src/control/xds/unpacked-messages.ts';
import { encodeSpan, exportRequest } from '../../src/proxy/tracing/otlp-spans.ts';
import { type Rig, startRig } from './rig.ts';

const TRACE = '5b8efff798038103d269b633813fc60c';
const SPANS = Array.from({ length: 50 }, (_, i) => ({
  ...{
    traceId: TRACE,
    spanId: (i + 1).toString(16).padStart(16, '0'),
    parentId: '',
    state: '',
    remoteParent: false,
    kind: 'server' as const,
  },
  ...{ name: 'x'.repeat(1000), failed: false, status: 200, startUs: 1_900_000_000_000_000, durationUs: 1, tags: new Map(), events: [] },
}));
const BATCH = Buffer.from(exportRequest(new Map([['service.name', 'app']]))(SPANS.map(encodeSpan)));

const withRig = async (act: (rig: Rig, path: string, token: string) => Promise<void>): Promise<void> => {
  const rig = await startRig({});
  try {
    await act(rig, (rig.controlPlane.xds[0] ?? '').slice('unix:'.length), await rig.token('web'));
  } finally {
    await rig.close();
  }
};

const spansKept = async (rig: Rig): Promise<number> => {
  const { status, body } = await rig.admin('GET', `/v1/telemetry/traces/${TRACE}`);
  return status === 200 ? (body as Trace).spans.length : 0;
};

test('a client that packs its messages with gzip is understood', () =>
  withRig(async (rig, path, token) => {
    const client = new Client(`unix:${path}`, credentials.createInsecure(), { 'grpc.default_compression_algorithm': 2 });
    const metadata = new Metadata();
    metadata.set('authorization', `Bearer ${token}`);
    const raw = (b: Buffer): Buffer => b;
    const code = await new Promise((resolve) =>
      client.makeUnaryRequest(TRACE_METHOD, raw, raw, BATCH, metadata, (error) => resolve(error?.code ?? 0)),
    );
    client.close();
    assert.equal(code, 0);
    assert.equal(await spansKept(rig), SPANS.length);
  }));

/** A gRPC message as it is on the wire. */
const framed = (bytes: Buffer, packed: number): Buffer => {
  const prefix = Buffer.alloc(5);
  prefix[0] = packed;
  prefix.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([prefix, bytes]);
};

const statusOf = (path: string, token: string, encoding: string | undefined, body: Buffer): Promise<string> =>
  new Promise((resolve, reject) => {
    const session = connectHttp2('http://door', { createConnection: () => connect(path) });
    session.on('error', reject);
    const stream = session.request({
      ...{ ':method': 'POST', ':path': TRACE_METHOD, 'content-type': 'application/grpc', te: 'trailers', authorization: `Bearer ${token}` },
      ...(encoding === undefined ? {} : { 'grpc-encoding': encoding }),
    });
    let status = '';
    stream.on('response', (head) => {
      status ||= String(head['grpc-status'] ?? '');
    });
    stream.on('trailers', (trailers) => {
      status ||= String(trailers['grpc-status'] ?? '');
    });
    stream.on('data', () => undefined);
    stream.on('error', () => undefined);
    stream.on('close', () => {
      session.destroy();
      resolve(status);
    });
    stream.end(body);
  });

test('what unpacks to too much, to nothing, or in another way is refused', () =>
  withRig(async (rig, path, token) => {
    const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024));
    const cases: readonly (readonly [string, string | undefined, Buffer])[] = [
      ['0', 'gzip', framed(gzipSync(BATCH), 1)],
      ['0', 'gzip', framed(BATCH, 0)],
      ['0', 'identity', framed(BATCH, 0)],
      ['8', 'gzip', framed(bomb, 1)],
      ['13', 'gzip', framed(BATCH, 1)],
      ['12', 'zstd', framed(BATCH, 1)],
      ['12', undefined, framed(gzipSync(BATCH), 1)],
      ['12', 'gzip', framed(gzipSync(BATCH), 2)],
    ];
    for (const [status, encoding, body] of cases)
      assert.equal(await statusOf(path, token, encoding, body), status, `${encoding} of ${body.length} bytes`);
    assert.equal(await spansKept(rig), SPANS.length);
  }));

test('nothing is unpacked before it is known whose call it is, and then all of it in its order', async () => {
  const seen: string[] = [];
  const done = Promise.withResolvers<void>();
  const messages = new UnpackedMessages('gzip', {
    message: (bytes) => void seen.push(Buffer.from(bytes).toString()),
    failed: (problem) => done.reject(new Error(problem.message)),
    idle: () => done.resolve(),
  });
  messages.push(gzipSync('first'), true);
  messages.push(Buffer.from('second'), false);
  messages.push(gzipSync('third'), true);
  await new Promise<void>((resolve) => gunzip(gzipSync('time for as much'), () => resolve()));
  assert.deepEqual([seen, messages.held], [[], true]);
  messages.start();
  await done.promise;
  assert.deepEqual([seen, messages.held], [['first', 'second', 'third'], false]);
});

test('who has proven nothing unpacks nothing', () =>
  withRig(async (_, path) => assert.equal(await statusOf(path, 'nonsense', 'gzip', framed(gzipSync(Buffer.alloc(1 << 20)), 1)), '16')));
