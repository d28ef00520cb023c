// The one file that touches a descriptor: the runtime gives us one, and a connection that was not redirected is no error.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { kernelOriginalDestination } from '../../src/proxy/listener/original-destination.ts';

test('a direct connection has no other destination than its own address', async () => {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const client = connect(port, '127.0.0.1');
  const [accepted] = (await once(server, 'connection')) as [Socket];
  const handle = (accepted as unknown as { _handle?: { fd?: number } })._handle;
  assert.equal(typeof handle?.fd, 'number');
  const destination = kernelOriginalDestination.of(accepted);
  // With connection tracking loaded the kernel names the address itself; without, nothing.
  if (destination !== undefined) assert.deepEqual(destination, { ip: '127.0.0.1', port });
  client.destroy();
  accepted.destroy();
  server.close();
});
