// The relay between host and hub: a connection that ends while the other half of its way is still being made leaves nothing behind.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { startHostRelay } from '../../src/local/relay-host.ts';
import { freePort } from '../free-port.ts';

for (const how of ['is reset', 'is closed'] as const)
  test(`a client that ${how} before the hub has answered takes its way in with it`, { timeout: 120_000 }, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'skein-relay-'));
    const asked: Socket[] = [];
    const hub = createServer({ allowHalfOpen: true }, (socket) => {
      asked.push(socket);
      socket.on('error', () => undefined);
    });
    hub.listen(join(folder, 'hub'));
    await once(hub, 'listening');
    const port = await freePort();
    const relay = await startHostRelay({
      socketPath: join(folder, 'host'),
      hubSocketPath: join(folder, 'hub'),
      ingress: [{ listen: { host: '127.0.0.1', port }, target: { host: '10.0.0.1', port: 80 } }],
      log: () => undefined,
    });
    try {
      const client = connect(port, '127.0.0.1');
      await once(client, 'connect');
      const [way] = asked.length > 0 ? asked : ((await once(hub, 'connection')) as Socket[]);
      assert.ok(way !== undefined);
      if (how === 'is reset') client.resetAndDestroy();
      else client.destroy();
      await once(client, 'close');
      await new Promise((resolve) => setTimeout(resolve, 50));
      way.write('{"ok":true}\n');
      way.resume();
      if (!way.readableEnded) await once(way, 'end');
    } finally {
      for (const socket of asked) socket.destroy();
      relay.close();
      hub.close();
      rmSync(folder, { recursive: true, force: true });
    }
  });
