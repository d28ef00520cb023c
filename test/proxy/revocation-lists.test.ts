// A revocation list that changes ends the open connections of whom it names, on both sides of a connection, and of nobody else.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { Revocations } from '../../src/proxy/transport/revocations.ts';
import type { Secret } from '../../src/xds/gen/types.ts';
import {
  chains,
  fetchOnce,
  hcm,
  httpBackend,
  listener,
  type Plane,
  RawClient,
  startPlane,
  staticCluster,
  tcpProxy,
  toCluster,
} from './harness.ts';
import { CLIENT, leafSecret, mesh, rootSecret, sdsSecrets, server, stranger, strictListener } from './hostile-peers-rig.ts';

type Leaf = { readonly certificate: string; readonly key: string };

const der = (pem: string): Buffer[] =>
  [...pem.matchAll(/-----BEGIN CERTIFICATE-----([^-]+)-----/g)].map((m) => Buffer.from(m[1] ?? '', 'base64'));

const trusting = (crl: string): Secret => {
  const secret = rootSecret(mesh.pem);
  return { ...secret, validation_context: { ...secret.validation_context, crl: { inline_string: crl } } };
};

const startServer = async (port: number): Promise<Plane> => {
  const started = await startPlane({ clusters: [staticCluster('app', [port])], listeners: [strictListener('strict', sdsSecrets)] });
  started.plane.setSecret(leafSecret());
  started.plane.setSecret(trusting(mesh.takesBack()));
  await started.plane.settled();
  return started;
};

const dial = async (port: number, { certificate: cert, key }: Leaf): Promise<RawClient> => {
  const socket = connectTls({ port, host: '127.0.0.1', ca: mesh.pem, checkServerIdentity: () => undefined, cert, key });
  socket.on('error', () => {});
  await once(socket, 'secureConnect');
  return new RawClient(socket);
};

test('when a list names them, open connections of clients end within five seconds, all others stay', { timeout: 120_000 }, async () => {
  await using app = await httpBackend(() => 'served');
  await using subject = await startServer(app.port);
  const port = subject.port('strict');
  const [good, bad] = [mesh.issue(CLIENT), mesh.issue(CLIENT)];
  const [kept, busy] = await Promise.all([dial(port, good), dial(port, bad)]);
  for (const client of [kept, busy]) assert.equal((await client.get('/')).body, 'served');
  // A list of others closes nothing.
  subject.plane.setSecret(trusting(mesh.takesBack(mesh.issue(CLIENT).certificate)));
  assert.notEqual((await busy.get('/')).headers.get('connection'), 'close');
  const start = performance.now();
  subject.plane.setSecret(trusting(mesh.takesBack(bad.certificate)));
  assert.equal((await busy.get('/')).headers.get('connection'), 'close', 'a request on its way is answered');
  await busy.rest();
  assert.ok(performance.now() - start < 15_000, 'soon, also on a busy machine');
  assert.equal((await kept.get('/')).body, 'served');
  kept.close();
  const again = await dial(port, bad);
  assert.equal(await again.rest(), '', 'who is named does not come in');
});

test('when a list names a server, tunnels to it end within five seconds and new requests are refused', { timeout: 120_000 }, async () => {
  await using app = await httpBackend(() => 'served');
  await using subject = await startServer(app.port);
  const context = {
    '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext',
    common_tls_context: sdsSecrets,
  };
  const transport = { name: 'envoy.transport_sockets.tls', typed_config: context };
  await using client = await startPlane({
    clusters: [{ ...staticCluster('out', [subject.port('strict')]), transport_socket: transport }],
    listeners: [listener('http', hcm([toCluster('out')])), chains('tcp', [{ filters: [tcpProxy('out')] }])],
  });
  client.plane.setSecret(leafSecret(mesh.issue(CLIENT)));
  client.plane.setSecret(trusting(mesh.takesBack()));
  await client.plane.settled();
  const tunnel = await RawClient.open(client.port('tcp'));
  assert.equal((await tunnel.get('/')).body, 'served');
  const start = performance.now();
  client.plane.setSecret(trusting(mesh.takesBack(server.certificate)));
  assert.equal((await fetchOnce(client.port('http'), '/')).status, 503);
  await tunnel.rest();
  assert.ok(performance.now() - start < 15_000, 'soon, also on a busy machine');
});

test('a list names by issuer and number, alone or among other lists', () => {
  const [ours, theirs] = [mesh.issue(CLIENT), stranger.issue(CLIENT)];
  const both = new Revocations(mesh.takesBack(ours.certificate, server.certificate) + stranger.takesBack());
  assert.equal(both.names(der(ours.certificate)), true);
  assert.equal(both.names(der(mesh.pem + server.certificate)), true, 'anywhere in the chain');
  assert.equal(both.names(der(theirs.certificate)), false);
  // The same number of another issuer.
  assert.equal(new Revocations(stranger.takesBack(ours.certificate)).names(der(ours.certificate)), false);
  assert.equal(both.addsTo(undefined), true);
  assert.equal(new Revocations(mesh.takesBack(ours.certificate)).addsTo(both), false);
  assert.equal(new Revocations(mesh.takesBack()).addsTo(undefined), false);
});

test('what is no list, or half of one, names nobody', () => {
  const { certificate } = mesh.issue(CLIENT);
  const body = Buffer.from(mesh.takesBack(certificate).replaceAll(/-----[^-]+-----/g, ''), 'base64');
  for (let length = 0; length < body.length; length++) {
    const cut = `-----BEGIN X509 CRL-----\n${body.subarray(0, length).toString('base64')}\n-----END X509 CRL-----\n`;
    assert.equal(new Revocations(cut).names(der(certificate)), false);
  }
  assert.equal(new Revocations('no list').names(der(certificate)), false);
});
