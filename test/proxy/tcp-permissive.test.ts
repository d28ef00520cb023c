// A port that takes TLS and plain text, before a server that speaks first: the greeting is for who says nothing, and never lands in
// the middle of a handshake.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { test } from 'node:test';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { createAuthority } from './certificates.ts';
import { type Backend, chains, type Plane, RawClient, startBackend, startPlane, staticCluster, tcpProxy } from './harness.ts';

const LISTENER = 'type.googleapis.com/envoy.extensions.filters.listener';
const GREETING = 'hello';
const authority = createAuthority('permissive');
const own = authority.issue({ dns: 'b.test' });

const greeter = async (): Promise<Backend> => {
  const backend = await startBackend(() => {});
  backend.server.on('connection', (socket: Socket) => socket.write(GREETING));
  return backend;
};

const permissive = (port: number): Promise<Plane> =>
  startPlane({
    clusters: [staticCluster('app', [port])],
    listeners: [
      chains(
        'in',
        [
          {
            filter_chain_match: { transport_protocol: 'tls' },
            filters: [tcpProxy('app')],
            transport_socket: {
              name: 'tls',
              typed_config: {
                '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
                common_tls_context: {
                  tls_certificates: [{ certificate_chain: { inline_string: own.certificate }, private_key: { inline_string: own.key } }],
                },
              },
            },
          },
          { filter_chain_match: { transport_protocol: 'raw_buffer' }, filters: [tcpProxy('app')] },
        ],
        {
          listener_filters: [{ name: 'tls', typed_config: { '@type': `${LISTENER}.tls_inspector.v3.TlsInspector` } }],
          listener_filters_timeout: '0s',
        },
      ),
    ],
  });

const dialled = (plane: Plane): number => plane.plane.stats.find('server_first.dialled')?.value ?? 0;

const greetedOverTls = async (socket: Socket): Promise<string> => {
  const tls: TLSSocket = connectTls({ socket, servername: 'b.test', ca: authority.pem });
  const text = await new Promise<string>((resolve) => {
    tls.on('data', (bytes: Buffer) => resolve(bytes.toString()));
    tls.on('error', (error) => resolve(error.message));
    tls.on('close', () => resolve('closed'));
  });
  tls.destroy();
  return text;
};

const open = async (plane: Plane): Promise<Socket> => {
  const socket = connect({ host: '127.0.0.1', port: plane.port('in') });
  await once(socket, 'connect');
  return socket;
};

test('where clients have come with TLS a slow handshake is not taken for silence', async () => {
  await using backend = await greeter();
  await using plane = await permissive(backend.port);
  assert.equal(await greetedOverTls(await open(plane)), GREETING);
  const before = dialled(plane);
  const slow = await open(plane);
  await new Promise((resolve) => setTimeout(resolve, 25));
  assert.equal(await greetedOverTls(slow), GREETING);
  assert.equal(dialled(plane), before);
});

test('there who says nothing is still greeted, and that does not change what is known', async () => {
  await using backend = await greeter();
  await using plane = await permissive(backend.port);
  await greetedOverTls(await open(plane));
  const silent = await RawClient.open(plane.port('in'));
  assert.equal(await silent.bytes(5), GREETING);
  silent.close();
  const slow = await open(plane);
  await new Promise((resolve) => setTimeout(resolve, 25));
  assert.equal(await greetedOverTls(slow), GREETING);
});

test('after a silent client a handshake that comes at once has nothing dialled before it', async () => {
  await using backend = await greeter();
  await using plane = await permissive(backend.port);
  const silent = await RawClient.open(plane.port('in'));
  assert.equal(await silent.bytes(5), GREETING);
  silent.close();
  const before = backend.sockets.length;
  // Its hello is on the way before the proxy can see it: one segment behind the other.
  const tls = connectTls({ host: '127.0.0.1', port: plane.port('in'), servername: 'b.test', ca: authority.pem });
  const [bytes] = (await once(tls, 'data')) as [Buffer];
  assert.equal(bytes.toString(), GREETING);
  assert.equal(backend.sockets.length, before + 1);
  tls.destroy();
});
