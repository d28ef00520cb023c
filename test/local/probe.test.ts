// When a TCP probe passes: only while something listens in the workload's network, whoever else takes the connection.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { probeTcp } from '../../src/local/probe.ts';
import { answer } from '../../src/local/relay-protocol.ts';

const listening = async (server: Server, where: string | { readonly host: string; readonly port: number }): Promise<number> => {
  server.listen(where);
  await once(server, 'listening');
  return typeof where === 'string' ? 0 : (server.address() as AddressInfo).port;
};

/** A hub through which every connection is taken, as a sidecar takes them. */
const takesAll = (): Server =>
  createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => answer(socket, { ok: true }));
  });

for (const host of ['127.0.0.1', '::1', '0.0.0.0'])
  test(`a TCP probe fails while nothing listens on ${host}, though the connection is taken, and passes once something does`, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'skein-probe-'));
    const hub = takesAll();
    const application = createServer();
    try {
      const hubSocket = join(folder, 'hub.sock');
      await listening(hub, hubSocket);
      const port = await listening(application, { host, port: 0 });
      const target = { hubSocket, address: '127.0.0.1', port, timeoutMs: 2000, pid: process.pid };
      assert.equal(await probeTcp(target), true);
      application.close();
      await once(application, 'close');
      assert.equal(await probeTcp(target), false);
    } finally {
      hub.close();
      application.close();
      rmSync(folder, { recursive: true, force: true });
    }
  });
