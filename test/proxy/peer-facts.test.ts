// Facts of a peer's certificate are shared by its connections, and never mixed up between peers.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { connect, createServer, type TLSSocket } from 'node:tls';
import { tlsFacts } from '../../src/proxy/transport/upstream-transport.ts';
import { createAuthority } from './certificates.ts';

const authority = createAuthority('peer facts');
const server = authority.issue({ dns: 'b.test' });

test('one object for each certificate; Bun reads a known one by its fingerprint alone', async () => {
  const names = ['spiffe://a/one', 'spiffe://a/two'];
  const clients = names.map((uri) => authority.issue({ uri }));
  const listening = createServer({ cert: server.certificate, key: server.key, ca: authority.pem, requestCert: true });
  listening.listen(0, '127.0.0.1');
  await once(listening, 'listening');
  const { port } = listening.address() as AddressInfo;
  const seen: (object | undefined)[] = [];
  try {
    for (const [i, of] of [0, 1, 0, 1].entries()) {
      const own = clients[of];
      const client = connect({ port, host: '127.0.0.1', servername: 'b.test', ca: authority.pem, cert: own?.certificate, key: own?.key });
      const [socket] = (await once(listening, 'secureConnection')) as [TLSSocket];
      socket.on('error', () => {});
      if (i > 1 && process.versions['bun'] !== undefined)
        socket.getPeerCertificate = () => assert.fail('a whole certificate is read for each connection');
      const { peer } = tlsFacts(socket);
      assert.deepEqual(peer?.uriSans, [names[of]]);
      seen.push(peer);
      client.destroy();
      socket.destroy();
    }
  } finally {
    listening.close();
  }
  assert.equal(seen[0], seen[2]);
  assert.equal(seen[1], seen[3]);
  assert.notEqual(seen[0], seen[1]);
});
