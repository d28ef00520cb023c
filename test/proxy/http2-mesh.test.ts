// HTTP/2 through two sidecars as a mesh has them: mutual TLS, Istio's ALPN, the cluster's ways to choose a protocol, gRPC.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { constants, type ServerHttp2Stream } from 'node:http2';
import { test } from 'node:test';
import { connect as connectTls, createServer as createTlsServer } from 'node:tls';
import * as grpc from '@grpc/grpc-js';
import type { Cluster } from '../../src/xds/gen/types.ts';
import { createAuthority } from './certificates.ts';
import { chains, hcm, httpBackend, listener, startPlane, staticCluster, toCluster } from './harness.ts';
import { exchange, FRAME, frame, HTTP2_CLUSTER, http2Backend, openSession, PREFACE, protocolOptions } from './http2-peers.ts';
import { startPair } from './mesh-pair.ts';

const bytes = (value: Buffer): Buffer => value;
const method = (path: string, requestStream: boolean, responseStream: boolean): grpc.MethodDefinition<Buffer, Buffer> => ({
  path,
  requestStream,
  responseStream,
  requestSerialize: bytes,
  requestDeserialize: bytes,
  responseSerialize: bytes,
  responseDeserialize: bytes,
});
const SERVICE = {
  Unary: method('/test.Echo/Unary', false, false),
  Fails: method('/test.Echo/Fails', false, false),
  Chat: method('/test.Echo/Chat', true, true),
};
const Client = grpc.makeClientConstructor(SERVICE, 'Echo');

const grpcServer = async (): Promise<{ readonly port: number; readonly server: grpc.Server }> => {
  const server = new grpc.Server();
  server.addService(SERVICE, {
    Unary: (call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) => {
      const trailer = new grpc.Metadata();
      trailer.set('x-end', 'yes');
      done(null, Buffer.concat([Buffer.from('re:'), call.request]), trailer);
    },
    Fails: (_call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) =>
      done({ code: grpc.status.FAILED_PRECONDITION, details: 'no, not now' }),
    Chat: (call: grpc.ServerDuplexStream<Buffer, Buffer>) => {
      call.on('data', (piece: Buffer) => call.write(Buffer.concat([Buffer.from('re:'), piece])));
      call.on('end', () => call.end());
    },
  });
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (problem, bound) =>
      problem ? reject(problem) : resolve(bound),
    ),
  );
  return { port, server };
};

type Call = (
  request: Buffer,
  metadata: grpc.Metadata,
  options: grpc.CallOptions,
  done: (e: grpc.ServiceError | null, v?: Buffer) => void,
) => grpc.ClientUnaryCall;

const unary = (client: InstanceType<typeof Client>, name: 'Unary' | 'Fails', request: Buffer) =>
  new Promise<{ readonly error: grpc.ServiceError | null; readonly value: string; readonly end: string }>((resolve) => {
    let end = '';
    const call = (client[name] as Call).call(client, request, new grpc.Metadata(), { deadline: Date.now() + 20_000 }, (error, value) =>
      setImmediate(() => resolve({ error, value: value?.toString() ?? '', end })),
    );
    call.on('status', (status) => {
      end = String(status.metadata.get('x-end')[0] ?? '');
    });
  });

for (const tls of [false, true])
  test(`gRPC through two sidecars${tls ? ' with mutual TLS' : ''}: unary, errors, streams both ways`, async () => {
    const backend = await grpcServer();
    await using pair = await startPair(backend.port, { tls, cluster: HTTP2_CLUSTER });
    const client = new Client(`127.0.0.1:${pair.port}`, grpc.credentials.createInsecure());
    try {
      const good = await unary(client, 'Unary', Buffer.from('hi'));
      assert.deepEqual([good.error, good.value, good.end], [null, 're:hi', 'yes']);
      const large = await unary(client, 'Unary', Buffer.alloc(1_000_000, 'x'));
      assert.equal(large.value.length, 1_000_003);
      const bad = await unary(client, 'Fails', Buffer.from('hi'));
      assert.deepEqual([bad.error?.code, bad.error?.details], [grpc.status.FAILED_PRECONDITION, 'no, not now']);
      const chat = (client['Chat'] as () => grpc.ClientDuplexStream<Buffer, Buffer>).call(client);
      for (const word of ['one', 'two', 'three']) {
        chat.write(Buffer.from(word));
        assert.equal(String((await once(chat, 'data'))[0]), `re:${word}`);
      }
      chat.end();
      const [status] = (await once(chat.resume(), 'status')) as [grpc.StatusObject];
      assert.equal(status.code, grpc.status.OK);
      assert.deepEqual([...new Set(pair.server.http.map((r) => r.flags))], ['']);
    } finally {
      client.close();
      backend.server.forceShutdown();
    }
  });

test('a gRPC call the client gives up on is reset all the way to the backend', async () => {
  // A backend that never ends a call: a gRPC server would hold the deadline by itself.
  const arrived = Promise.withResolvers<ServerHttp2Stream>();
  await using backend = await http2Backend((stream) => arrived.resolve(stream));
  await using pair = await startPair(backend.port, { tls: false, cluster: HTTP2_CLUSTER });
  const client = new Client(`127.0.0.1:${pair.port}`, grpc.credentials.createInsecure());
  try {
    const call = (client['Unary'] as Call).call(
      client,
      Buffer.from('hi'),
      new grpc.Metadata(),
      { deadline: Date.now() + 60_000 },
      () => {},
    );
    const ended = once(call, 'status') as Promise<[grpc.StatusObject]>;
    const stream = await arrived.promise;
    const closed = new Promise((resolve) => stream.once('close', resolve));
    call.cancel();
    assert.equal((await ended)[0].code, grpc.status.CANCELLED);
    await closed;
    assert.notEqual(stream.rstCode, constants.NGHTTP2_NO_ERROR);
    const both = () => pair.server.http.length > 0 && pair.client.http.length > 0;
    for (const deadline = Date.now() + 20_000; !both() && Date.now() < deadline; ) await new Promise((resolve) => setTimeout(resolve, 10));
    assert.deepEqual([pair.client.http[0]?.flags, pair.client.http[0]?.details], ['DR', 'http2.remote_reset']);
    assert.deepEqual([pair.server.http[0]?.flags, pair.server.http[0]?.details], ['DR', 'http2.remote_reset']);
  } finally {
    client.close();
  }
});

test('without a backend gRPC clients are told UNAVAILABLE', async () => {
  await using pair = await startPair(9, { tls: false, cluster: HTTP2_CLUSTER });
  const client = new Client(`127.0.0.1:${pair.port}`, grpc.credentials.createInsecure());
  try {
    const none = await unary(client, 'Unary', Buffer.from('hi'));
    assert.equal(none.error?.code, grpc.status.UNAVAILABLE);
    assert.match(none.error?.details ?? '', /upstream connect error or disconnect\/reset before headers/);
  } finally {
    client.close();
  }
});

const tlsTo = (more: object = {}): Partial<Cluster> => ({
  transport_socket: {
    name: 'envoy.transport_sockets.tls',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext',
      sni: 'b.test',
      common_tls_context: { validation_context: { trust_chain_verification: 'ACCEPT_UNTRUSTED', ...more } },
    },
  },
});

/** A TLS server that says which ALPN it was offered and chose, in HTTP/1; it never speaks HTTP/2. */
const alpnServer = async (protocols: string[]) => {
  const issued = createAuthority('alpn').issue({ dns: 'b.test' });
  const offered: string[][] = [];
  const server = createTlsServer({
    cert: issued.certificate,
    key: issued.key,
    ALPNCallback: ({ protocols: asked }) => {
      offered.push(asked);
      return protocols.find((p) => asked.includes(p));
    },
  });
  server.on('secureConnection', (socket) => {
    socket.on('error', () => {});
    socket.on('data', () => socket.write(`HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok`));
  });
  server.on('tlsClientError', () => {});
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { port: (server.address() as { port: number }).port, offered, server };
};

test('the cluster says what is offered by ALPN; the handshake chooses where it may', async () => {
  const backend = await alpnServer(['http/1.1']);
  const downstream = protocolOptions({ use_downstream_protocol_config: { http2_protocol_options: {} } });
  const auto = protocolOptions({ auto_config: { http2_protocol_options: {} } });
  await using plane = await startPlane({
    clusters: [
      staticCluster('explicit', [backend.port], { ...tlsTo(), ...HTTP2_CLUSTER }),
      staticCluster('downstream', [backend.port], { ...tlsTo(), ...downstream }),
      staticCluster('auto', [backend.port], { ...tlsTo(), ...auto }),
    ],
    listeners: [
      listener('in', hcm(['explicit', 'downstream', 'auto'].map((name) => ({ match: { prefix: `/${name}` }, route: { cluster: name } })))),
    ],
  });
  const session = await openSession(plane.port('in'));
  try {
    assert.deepEqual([(await exchange(session, { ':path': '/auto' })).body], ['ok']);
    assert.deepEqual([(await exchange(session, { ':path': '/auto' })).body], ['ok']);
    assert.deepEqual(backend.offered, [['h2', 'http/1.1']]);
    await exchange(session, { ':path': '/explicit' });
    assert.deepEqual(backend.offered[1], ['h2']);
    await exchange(session, { ':path': '/downstream' });
    assert.deepEqual(backend.offered[2], ['h2']);
  } finally {
    session.destroy();
    backend.server.close();
  }
});

for (const [alpn, offered, spoken] of [
  [['h2', 'http/1.1'], ['h2', 'http/1.1'], 'h2'],
  [['h2', 'http/1.1'], ['http/1.1'], 'http/1.1'],
  [['http/1.1'], ['h2', 'http/1.1'], 'http/1.1'],
  [[], ['h2'], false],
] as const)
  test(`a TLS listener with ALPN [${alpn}] speaks ${spoken || 'what the first bytes say'} with a client that offers [${offered}]`, async () => {
    await using backend = await httpBackend(() => 'x');
    const issued = createAuthority('listener').issue({ dns: 'a.test' });
    const tls = {
      name: 'envoy.transport_sockets.tls',
      typed_config: {
        '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
        common_tls_context: {
          alpn_protocols: [...alpn],
          tls_certificates: [{ certificate_chain: { inline_string: issued.certificate }, private_key: { inline_string: issued.key } }],
        },
      },
    };
    await using plane = await startPlane({
      clusters: [staticCluster('app', [backend.port])],
      listeners: [chains('in', [{ transport_socket: tls, filters: [hcm([toCluster('app')])] }])],
    });
    const socket = connectTls({ port: plane.port('in'), host: '127.0.0.1', ALPNProtocols: [...offered], rejectUnauthorized: false });
    await once(socket, 'secureConnect');
    assert.equal(socket.alpnProtocol || false, spoken);
    if (spoken === 'http/1.1') {
      socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
      assert.match(String((await once(socket, 'data'))[0]), /^HTTP\/1.1 200/);
    } else {
      socket.write(Buffer.concat([PREFACE, frame(FRAME.settings, 0, 0)]));
      const first = (await once(socket, 'data'))[0] as Buffer;
      assert.equal(first[3], FRAME.settings);
    }
    socket.destroy();
  });

test('use_downstream_protocol_config speaks what the client spoke', async () => {
  await using h1 = await httpBackend(() => 'one');
  await using h2 = await http2Backend((stream) => {
    stream.respond({ ':status': 200 });
    stream.end('two');
  });
  const downstream = protocolOptions({ use_downstream_protocol_config: { http2_protocol_options: {} } });
  await using plane = await startPlane({
    clusters: [staticCluster('h1', [h1.port], downstream), staticCluster('h2', [h2.port], downstream)],
    listeners: [listener('h1', hcm([toCluster('h1')])), listener('h2', hcm([toCluster('h2')]))],
  });
  const response = await fetch(`http://127.0.0.1:${plane.port('h1')}/`);
  assert.equal(await response.text(), 'one');
  const session = await openSession(plane.port('h2'));
  assert.equal((await exchange(session, { ':path': '/' })).body, 'two');
  session.destroy();
});

test('the istio.alpn filter offers the list of the protocol that is spoken', async () => {
  const backend = await alpnServer(['h2', 'http/1.1']);
  const alpn = {
    name: 'istio.alpn',
    typed_config: {
      '@type': 'type.googleapis.com/istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig',
      alpn_override: [
        { upstream_protocol: 'HTTP10', alpn_override: ['istio-http/1.0', 'istio', 'http/1.0'] },
        { upstream_protocol: 'HTTP11', alpn_override: ['istio-http/1.1', 'istio', 'http/1.1'] },
        { upstream_protocol: 'HTTP2', alpn_override: ['istio-h2', 'istio', 'h2'] },
      ],
    },
  };
  const router = {
    name: 'envoy.filters.http.router',
    typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
  };
  await using plane = await startPlane({
    clusters: [staticCluster('h1', [backend.port], tlsTo()), staticCluster('h2', [backend.port], { ...tlsTo(), ...HTTP2_CLUSTER })],
    listeners: [
      listener(
        'in',
        hcm(
          ['h1', 'h2'].map((name) => ({ match: { prefix: `/${name}` }, route: { cluster: name } })),
          { http_filters: [alpn, router] } as object,
        ),
      ),
    ],
  });
  await (await fetch(`http://127.0.0.1:${plane.port('in')}/h1`)).text();
  await (await fetch(`http://127.0.0.1:${plane.port('in')}/h2`)).text();
  assert.deepEqual(backend.offered, [
    ['istio-http/1.1', 'istio', 'http/1.1'],
    ['istio-h2', 'istio', 'h2'],
  ]);
  backend.server.close();
});
