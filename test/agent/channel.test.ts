// The gRPC client against independent servers: TLS, TCP, refused certificates, deadlines, silence.
import assert from 'node:assert/strict';
import {
  createServer as createHttp2Server,
  createSecureServer,
  type Http2Server,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import { type AddressInfo, createServer } from 'node:net';
import { test } from 'node:test';
import { GrpcChannel } from '../../src/agent/grpc-channel.ts';
import type { GrpcTarget } from '../../src/agent/grpc-target.ts';
import { createLog } from '../../src/base/log.ts';
import { frameMessage, GrpcUnframer } from '../../src/wire/grpc-frames.ts';
import { x509 } from './x509.ts';

const quiet = createLog(
  'test',
  () => {},
  () => new Date(),
);
const channelTo = (target: GrpcTarget): GrpcChannel => new GrpcChannel({ target, metadata: () => ({ 'x-a': 'b' }), log: quiet });
const tcp = (port: number, caPem?: string): GrpcTarget => ({ kind: 'tcp', host: '127.0.0.1', port, caPem, localAddress: undefined });

/** Answers every message with `x-a` and the message. */
const echo = (stream: ServerHttp2Stream, headers: { readonly [name: string]: unknown }): void => {
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
  const unframer = new GrpcUnframer((m) => stream.write(frameMessage(Buffer.from(`${String(headers['x-a'])} ${Buffer.from(m)}`))), 1_000);
  stream.on('data', (chunk: Buffer) => unframer.push(chunk));
  stream.on('end', () => stream.end());
  stream.on('error', () => {});
};

const listening = async (
  server: Http2Server | ReturnType<typeof createSecureServer> | ReturnType<typeof createServer>,
): Promise<number> => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
};

const selfSigned = async () => {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
  const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: '01',
    name: 'CN=control plane',
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + 3_600_000),
    keys,
    signingAlgorithm: algorithm,
    extensions: [
      new x509.SubjectAlternativeNameExtension([{ type: 'ip', value: '127.0.0.1' }]),
      new x509.BasicConstraintsExtension(true, undefined, true),
    ],
  });
  const pkcs8 = Buffer.from(await crypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
  return { cert: certificate.toString('pem'), key: `-----BEGIN PRIVATE KEY-----\n${pkcs8}\n-----END PRIVATE KEY-----\n` };
};

test('a unary call over TCP, with metadata', async () => {
  const server = createHttp2Server().on('stream', echo);
  const channel = channelTo(tcp(await listening(server)));
  try {
    const answer = await channel.unary('/s/m', Buffer.from('hello'), 5_000);
    assert.equal(answer.ok && Buffer.from(answer.value).toString(), 'b hello');
  } finally {
    channel.close();
    server.close();
  }
});

test('TLS: the server is checked against the given bundle', async () => {
  const [own, other] = await Promise.all([selfSigned(), selfSigned()]);
  const server = createSecureServer(own).on('stream', echo);
  server.on('sessionError', () => {});
  const port = await listening(server);
  const good = channelTo(tcp(port, own.cert));
  const bad = channelTo(tcp(port, other.cert));
  try {
    const answer = await good.unary('/s/m', Buffer.from('hello'), 5_000);
    assert.equal(answer.ok && Buffer.from(answer.value).toString(), 'b hello');
    const refused = await bad.unary('/s/m', Buffer.from('hello'), 500);
    assert.deepEqual(refused.ok ? 'answered' : refused.error.code, 4);
  } finally {
    good.close();
    bad.close();
    server.close();
  }
});

test('a call whose server does not answer ends at its deadline; a closed channel ends what waits', async () => {
  const silent = createServer((s) => s.on('error', () => {}));
  const channel = channelTo(tcp(await listening(silent)));
  try {
    const late = await channel.unary('/s/m', Buffer.of(1), 100);
    assert.deepEqual(late.ok ? 'answered' : late.error.code, 4);
    const waiting = channel.unary('/s/m', Buffer.of(1), 5_000);
    channel.close();
    const closed = await waiting;
    assert.deepEqual(closed.ok ? 'answered' : closed.error.code, 1);
  } finally {
    silent.close();
  }
});

test('an HTTP error becomes a gRPC status', async () => {
  const server = createHttp2Server().on('stream', (stream) => {
    stream.respond({ ':status': 503 });
    stream.end('down');
  });
  const channel = channelTo(tcp(await listening(server)));
  try {
    const answer = await channel.unary('/s/m', Buffer.of(1), 5_000);
    assert.deepEqual(answer.ok ? 'answered' : answer.error.code, 14);
  } finally {
    channel.close();
    server.close();
  }
});

test('requests without end while nobody is there give the call up', async () => {
  const gone = createServer();
  const port = await listening(gone);
  await new Promise((resolve) => gone.close(resolve));
  const channel = channelTo(tcp(port));
  try {
    const status = await new Promise<{ code: number }>((resolve) => {
      const stream = channel.open('/s/m', { message: () => {}, end: resolve });
      for (let i = 0; i < 6; i++) stream.send(new Uint8Array(1_000_000));
    });
    assert.equal(status.code, 8);
  } finally {
    channel.close();
  }
});

test('a large message goes and comes whole, through windows many times smaller', async () => {
  const server = createHttp2Server({ settings: { initialWindowSize: 70_000 } }).on('stream', (stream) => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.pipe(stream);
    stream.on('error', () => {});
  });
  const channel = channelTo(tcp(await listening(server)));
  const message = Buffer.alloc(3_000_000, 'skein');
  try {
    const answer = await channel.unary('/s/m', message, 20_000);
    assert.ok(answer.ok && message.equals(answer.value));
  } finally {
    channel.close();
    server.close();
  }
});

test('after GOAWAY the call begun goes on and the next one gets a new connection', async () => {
  const sessions: ServerHttp2Session[] = [];
  const server = createHttp2Server().on('stream', echo);
  server.on('session', (session) => sessions.push(session));
  const channel = channelTo(tcp(await listening(server)));
  try {
    const heard: string[] = [];
    let wake = (_: number): void => {};
    const stream = channel.open('/s/m', { message: (m) => wake(heard.push(Buffer.from(m).toString())), end: () => {} });
    const say = (text: string): Promise<void> =>
      new Promise((resolve) => {
        wake = () => resolve();
        stream.send(Buffer.from(text));
      });
    await say('one');
    sessions[0]?.goaway(0, 0x7fffffff);
    await say('two');
    const answer = await channel.unary('/s/m', Buffer.from('three'), 5_000);
    assert.equal(answer.ok && Buffer.from(answer.value).toString(), 'b three');
    await say('four');
    assert.deepEqual(heard, ['b one', 'b two', 'b four']);
    assert.equal(sessions.length, 2);
    stream.close();
  } finally {
    channel.close();
    server.close();
  }
});

test('calls that would be refused without a certificate wait for it, and the call for it does not', async () => {
  const { cert, key } = await selfSigned();
  const seen: string[] = [];
  const server = createSecureServer({ cert, key });
  server.on('stream', (stream, headers) => {
    seen.push(String(headers[':path']));
    echo(stream, headers);
  });
  const port = await listening(server);
  let certificate = false;
  const channel = new GrpcChannel({
    target: { kind: 'tcp', host: '127.0.0.1', port, caPem: cert, localAddress: undefined, own: () => undefined },
    metadata: () => ({ 'x-a': 'b' }),
    holds: (method) => !certificate && method !== '/a.B/Certificate',
    log: quiet,
  });
  try {
    const answers: string[] = [];
    const early = channel.open('/a.B/Early', { message: (bytes) => void answers.push(Buffer.from(bytes).toString()), end: () => {} });
    early.send(Buffer.from('early'));
    assert.ok((await channel.unary('/a.B/Certificate', Buffer.from('csr'), 5_000)).ok);
    // On the connection that stands now, as well.
    const second = channel.open('/a.B/Second', { message: (bytes) => void answers.push(Buffer.from(bytes).toString()), end: () => {} });
    second.send(Buffer.from('second'));
    assert.ok((await channel.unary('/a.B/Certificate', Buffer.from('csr'), 5_000)).ok);
    assert.deepEqual(seen, ['/a.B/Certificate', '/a.B/Certificate']);
    certificate = true;
    channel.renew(Date.now() + 60_000);
    for (let asked = 0; answers.length < 2 && asked < 500; asked++) await new Promise((resolve) => setTimeout(resolve, 10));
    assert.deepEqual(answers, ['b early', 'b second']);
  } finally {
    channel.close();
    server.close();
  }
});
