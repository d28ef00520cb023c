// ext_authz of connections: asked before anything is read or dialled, in its place among the other network filters.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import type { Listener_Filter, NetworkExtAuthz_ExtAuthz } from '../../src/xds/gen/types.ts';
import { createAuthority } from './certificates.ts';
import { type AuthzServer, grpcAuthz } from './ext-authz-rig.ts';
import { chains, eventually, hcm, RawClient, startBackend, startPlane, staticCluster, tcpProxy, toCluster } from './harness.ts';
import { HTTP2_CLUSTER } from './http2-peers.ts';

const authzFilter = (more: NetworkExtAuthz_ExtAuthz = {}): Listener_Filter => ({
  name: 'envoy.filters.network.ext_authz',
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.filters.network.ext_authz.v3.ExtAuthz',
    stat_prefix: 'l4',
    grpc_service: { envoy_grpc: { cluster_name: 'authz' }, timeout: '5s' },
    ...more,
  },
});
const limitFilter: Listener_Filter = {
  name: 'limit',
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit',
    stat_prefix: 'cl',
    max_connections: 1,
  },
};

const startRig = async (authz: AuthzServer, filters: readonly Listener_Filter[]) => {
  const echo = await startBackend((socket, text) => socket.write(`echo ${text}`));
  const rig = await startPlane({
    clusters: [staticCluster('echo', [echo.port]), staticCluster('authz', [authz.port], HTTP2_CLUSTER)],
    listeners: [chains('in', [{ filters: [...filters, tcpProxy('echo')] }])],
  });
  return {
    ...rig,
    echo,
    stat: (name: string): number => rig.plane.stats.find(name)?.value ?? 0,
    [Symbol.asyncDispose]: async () => {
      await rig[Symbol.asyncDispose]();
      await echo[Symbol.asyncDispose]();
    },
  };
};

test('a connection is served once the server allows it, and nothing of what it said meanwhile is lost', async () => {
  await using authz = await grpcAuthz(() => ({ dynamic_metadata: { a: 'b' } }));
  await using rig = await startRig(authz, [authzFilter({ include_tls_session: true })]);
  const client = await RawClient.open(rig.port('in'));
  assert.equal(await client.send('early').bytes(10), 'echo early');
  const attributes = authz.asked[0]?.attributes;
  assert.equal(attributes?.destination?.address?.socket_address?.port_value, rig.port('in'));
  assert.deepEqual([attributes.request, attributes.tls_session], [undefined, {}]);
  assert.deepEqual(
    ['total', 'ok', 'active', 'cx_closed'].map((name) => rig.stat(`ext_authz.l4.${name}`)),
    [1, 1, 0, 0],
  );
  client.close();
});

test('a connection that is denied is closed before anything is dialled for it', async () => {
  await using authz = await grpcAuthz(() => ({ status: { code: 7 } }));
  await using rig = await startRig(authz, [limitFilter, authzFilter()]);
  for (let i = 0; i < 2; i++) {
    const client = await RawClient.open(rig.port('in'));
    assert.equal(await client.rest(), '');
    client.close();
  }
  await eventually(() => rig.connections.length === 2, 'logged');
  assert.deepEqual([rig.connections[1]?.flags, rig.connections[1]?.details], ['UAEX', 'ext_authz_denied']);
  assert.equal(rig.echo.sockets.length, 0);
  // The limit before it got its place back each time.
  assert.deepEqual([rig.stat('ext_authz.l4.denied'), rig.stat('connection_limit.cl.active_connections')], [2, 0]);
});

test('a server that fails closes the connection, unless it may fail open', async () => {
  await using authz = await grpcAuthz(() => 14);
  await using closed = await startRig(authz, [authzFilter()]);
  const client = await RawClient.open(closed.port('in'));
  assert.equal(await client.rest(), '');
  client.close();
  await eventually(() => closed.connections[0]?.details === 'ext_authz_error', 'logged');
  await using open = await startRig(authz, [authzFilter({ failure_mode_allow: true })]);
  const let_in = await RawClient.open(open.port('in'));
  assert.equal(await let_in.send('x').bytes(6), 'echo x');
  assert.deepEqual([open.stat('ext_authz.l4.error'), open.stat('ext_authz.l4.failure_mode_allowed')], [1, 1]);
  let_in.close();
});

test('a connection that ends while its question is open takes it back, and its place in what was counted before', async () => {
  await using authz = await grpcAuthz(() => 'silent');
  await using rig = await startRig(authz, [limitFilter, authzFilter()]);
  const client = await RawClient.open(rig.port('in'));
  await eventually(() => authz.asked.length === 1, 'asked');
  assert.equal(rig.stat('connection_limit.cl.active_connections'), 1);
  client.socket.resetAndDestroy();
  await rig.plane.close();
  await eventually(() => rig.stat('connection_limit.cl.active_connections') === 0, 'given back');
  assert.equal(rig.stat('ext_authz.l4.active'), 0);
  assert.equal(rig.connections.length, 1);
});

test('filters behind it are asked after it, HTTP is served behind it, and metadata may switch it off', async () => {
  await using authz = await grpcAuthz();
  const never = { filter: 'none', path: [{ key: 'k' }], value: { present_match: true } };
  await using rig = await startPlane({
    clusters: [staticCluster('authz', [authz.port], HTTP2_CLUSTER)],
    listeners: [
      chains('in', [{ filters: [authzFilter(), limitFilter, hcm([{ match: { prefix: '/' }, direct_response: { status: 202 } }])] }]),
      chains('off', [{ filters: [authzFilter({ filter_enabled_metadata: never }), hcm([toCluster('none')])] }]),
    ],
  });
  const first = await RawClient.open(rig.port('in'));
  assert.equal((await first.get('/')).status, 202);
  const second = await RawClient.open(rig.port('in'));
  assert.equal(await second.rest(), '');
  const off = await RawClient.open(rig.port('off'));
  assert.equal((await off.get('/')).status, 503);
  assert.equal(authz.asked.length, 2);
  for (const client of [first, second, off]) client.close();
});

test('a connection over TLS is asked for by who its ends are, and what it says meanwhile waits', async () => {
  const authority = createAuthority('authz');
  const server = authority.issue({ uri: 'spiffe://a/server', dns: 'a.test' });
  const own = authority.issue({ uri: 'spiffe://a/client' });
  const transport_socket = {
    name: 'tls',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
      require_client_certificate: true,
      common_tls_context: {
        tls_certificates: [{ certificate_chain: { inline_string: server.certificate }, private_key: { inline_string: server.key } }],
        validation_context: { trusted_ca: { inline_string: authority.pem } },
      },
    },
  };
  await using authz = await grpcAuthz();
  const answered = { match: { prefix: '/' }, direct_response: { status: 202 } };
  const filters = [authzFilter({ include_tls_session: true, include_peer_certificate: true }), hcm([answered])];
  await using rig = await startPlane({
    clusters: [staticCluster('authz', [authz.port], HTTP2_CLUSTER)],
    listeners: [chains('in', [{ filters, transport_socket }])],
  });
  const options = { port: rig.port('in'), host: '127.0.0.1', ca: authority.pem, cert: own.certificate, key: own.key, servername: 'a.test' };
  const socket = connectTls({ ...options, ALPNProtocols: ['http/1.1'] });
  const client = new RawClient(socket);
  assert.equal((await client.get('/')).status, 202);
  const attributes = authz.asked[0]?.attributes;
  assert.deepEqual(
    [attributes?.source?.principal, attributes?.destination?.principal, attributes?.tls_session],
    ['spiffe://a/client', 'spiffe://a/server', { sni: 'a.test' }],
  );
  assert.match(attributes?.source?.certificate ?? '', /^-----BEGIN%20CERTIFICATE-----/);
  client.close();
});
