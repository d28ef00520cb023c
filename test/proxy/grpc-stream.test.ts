// A streaming call of the proxy's own: opened when wanted, opened anew after a failure, never holding more than one message unsent.
import assert from 'node:assert/strict';
import type { ServerHttp2Stream } from 'node:http2';
import { test } from 'node:test';
import { GrpcStream } from '../../src/proxy/export/grpc-stream.ts';
import type { ProxyEnvironment } from '../../src/proxy/proxy-environment.ts';
import { Backoff } from '../../src/proxy/xds/backoff.ts';
import { frameMessage, GrpcUnframer } from '../../src/wire/grpc-frames.ts';
import { startEnvironment } from './environment-rig.ts';
import { staticCluster } from './harness.ts';
import { HTTP2_CLUSTER, http2Backend } from './http2-peers.ts';

const SERVICE = { cluster: 'logs', authority: 'logs.test', timeoutMs: undefined, metadata: [['x-token', 'abc']] as const, bare: false };

/** A stream, and what it tells, as words. */
const recorded = (env: ProxyEnvironment, first = 'hello') => {
  const told: string[] = [];
  const waiting: { word: string; resolve: () => void }[] = [];
  const tell = (word: string): void => {
    told.push(word);
    for (const w of waiting) if (word.startsWith(w.word)) w.resolve();
  };
  const stream: GrpcStream = new GrpcStream(
    env,
    SERVICE,
    '/test.Logs/Stream',
    {
      streamOpened: () => {
        tell('opened');
        stream.send(Buffer.from(first));
      },
      streamDrained: () => tell('drained'),
      streamEnded: (status, lost) => tell(`ended ${status.code}${lost ? ' lost' : ''}: ${status.message}`),
      streamMessage: (message) => tell(`message ${Buffer.from(message).toString()}`),
    },
    new Backoff(() => 0.5, 20, 40),
  );
  return {
    stream,
    told,
    next: (word: string) => new Promise<void>((resolve) => waiting.push({ word, resolve })),
  };
};

/** What a server's stream received, message by message. */
const messages = (stream: ServerHttp2Stream, got: (text: string) => void): void => {
  const unframer = new GrpcUnframer((message) => got(Buffer.from(message).toString()), 1 << 24);
  stream.on('data', (piece: Buffer) => unframer.push(piece));
};

test('a stream carries messages in order, with the headers of a gRPC call, and ends well when it is closed', async () => {
  const got: string[] = [];
  const ended = Promise.withResolvers<void>();
  await using server = await http2Backend((stream) => {
    messages(stream, (text) => got.push(text));
    stream.on('end', () => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '0' }, { endStream: true });
      ended.resolve();
    });
  });
  await using rig = await startEnvironment([staticCluster('logs', [server.port], HTTP2_CLUSTER)]);
  const { stream, told, next } = recorded(rig.env);
  const opened = next('opened');
  stream.want();
  assert.deepEqual(told, [], 'not before want has returned');
  await opened;
  assert.ok(stream.writable);
  stream.send(Buffer.from('one'));
  stream.send(Buffer.from('two'));
  stream.close();
  assert.ok(!stream.writable);
  await ended.promise;
  assert.deepEqual(got, ['hello', 'one', 'two']);
  const [head] = server.heads;
  assert.deepEqual(
    [head?.[':path'], head?.[':authority'], head?.['te'], head?.['content-type'], head?.['x-token'], head?.['x-envoy-internal']],
    ['/test.Logs/Stream', 'logs.test', 'trailers', 'application/grpc', 'abc', 'true'],
  );
  assert.deepEqual(told, ['opened'], 'its end was wished for');
});

test('a stream that ends is opened anew when it is wanted, after a wait, and says what the far end said', async () => {
  const second = Promise.withResolvers<void>();
  await using server = await http2Backend((stream, _, n) => {
    if (n === 1) second.resolve();
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '8', 'grpc-message': 'too%20much' }));
    if (n === 0) stream.end(frameMessage(Buffer.from('bye')));
  });
  await using rig = await startEnvironment([staticCluster('logs', [server.port], HTTP2_CLUSTER)]);
  const { stream, told, next } = recorded(rig.env);
  const ended = next('ended');
  stream.want();
  await ended;
  assert.deepEqual(told, ['opened', 'message bye', 'ended 8: too much']);
  stream.want();
  await second.promise;
  stream.close();
});

test('a stream to nobody fails by name, and finds its server when there is one', async () => {
  await using rig = await startEnvironment([staticCluster('plain', [1])]);
  const { stream, told, next } = recorded(rig.env);
  let ended = next('ended');
  stream.want();
  await ended;
  assert.deepEqual(told, ['ended 14: no cluster is called logs']);
  await using server = await http2Backend(() => {});
  ended = next('ended');
  rig.plane.setCluster(staticCluster('logs', [server.port]));
  stream.want();
  await ended;
  assert.equal(told.at(-1), 'ended 14: cluster logs does not speak HTTP/2');
  rig.plane.setCluster(staticCluster('logs', [server.port], HTTP2_CLUSTER));
  const opened = next('opened');
  stream.want();
  await opened;
  stream.close();
});

test('a server that does not read stops the stream: it is not writable, and says so when it is again', async () => {
  const reader = Promise.withResolvers<ServerHttp2Stream>();
  let bytes = 0;
  await using server = await http2Backend((stream) => reader.resolve(stream));
  await using rig = await startEnvironment([staticCluster('logs', [server.port], HTTP2_CLUSTER)]);
  const { stream, next } = recorded(rig.env);
  const opened = next('opened');
  stream.want();
  await opened;
  const far = await reader.promise;
  const message = Buffer.alloc(100_000, 120);
  let sent = 0;
  while (stream.writable && sent < 100) {
    stream.send(message);
    sent++;
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.ok(sent < 10, `${sent} messages without a reader`);
  const drained = next('drained');
  far.on('data', (piece: Buffer) => {
    bytes += piece.length;
  });
  await drained;
  assert.ok(stream.writable);
  stream.close();
  assert.ok(bytes > 0);
});

test('a connection that breaks behind an unsent message says that it is lost', async () => {
  await using server = await http2Backend(() => {});
  await using rig = await startEnvironment([staticCluster('logs', [server.port], HTTP2_CLUSTER)]);
  const { stream, told, next } = recorded(rig.env);
  const opened = next('opened');
  stream.want();
  await opened;
  const ended = next('ended');
  stream.send(Buffer.alloc(300_000));
  assert.ok(!stream.writable);
  for (const session of server.sessions) session.destroy();
  await ended;
  assert.match(told.at(-1) ?? '', /^ended 14 lost: /);
  stream.close();
});
