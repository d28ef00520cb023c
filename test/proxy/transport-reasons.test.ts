// What a log says of a handshake that failed: whatever a server answers, no address of memory and no file of the runtime's sources.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { test } from 'node:test';
import { connect } from 'node:tls';
import { transportReason } from '../../src/proxy/transport/transport-failure.ts';

/** Records of TLS that no client takes at this place. */
const ANSWERS: Readonly<Record<string, string>> = {
  'a hello that ends early': '160303000402000000',
  'a hello of no version': '16030300260200002200000000000000000000000000000000000000000000000000000000000000000000130100',
  'a finished handshake': '16030300041400000c',
  'application data': '1703030005aaaaaaaaaa',
  'a change of ciphers of two bytes': '14030300020101',
  'an alert of one byte': '150303000128',
  'an alert that nobody knows': '150303000202c8',
  'a record of 64 KiB': '160303ffff',
  'a record of an unknown kind': '63030300021111',
};

const reasonOf = async (answer: string): Promise<string> => {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => socket.end(Buffer.from(answer, 'hex')));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = connect({ host: '127.0.0.1', port: (server.address() as AddressInfo).port, rejectUnauthorized: false });
  const [error] = (await once(socket, 'error').catch((thrown: Error) => [thrown])) as [Error];
  socket.destroy();
  server.close();
  return transportReason(error, 'tls');
};

for (const [name, answer] of Object.entries(ANSWERS)) {
  test(`${name}: a reason that can be shown`, async () => {
    const reason = await reasonOf(answer);
    assert.doesNotMatch(reason, /\.cc?:|0x[0-9a-f]|[0-9A-F]{12,}|routines:\w+:.*\//);
    assert.match(reason, /^$|^TLS_error:\|[\w :./()-]+:TLS_error_end$/);
  });
}
