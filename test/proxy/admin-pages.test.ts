// The admin API's sockets under clients that are slow, many, impolite or half gone.
import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { test } from 'node:test';
import { PagePort } from '../../src/proxy/admin/page-port.ts';
import { ADMIN_CONNECTIONS_MAX } from '../../src/proxy/limits.ts';
import { ListeningSockets } from '../../src/proxy/listener/listening-sockets.ts';

const withPort = async (body: string, run: (dial: () => Socket, port: PagePort) => Promise<void>): Promise<void> => {
  const pages = new PagePort(async ({ path }) => ({ status: 200, headers: {}, body: `${path} ${body}` }));
  const address = await pages.listen(new ListeningSockets().take({ kind: 'tcp', host: '127.0.0.1', port: 0, name: 'x' }));
  assert.ok(address !== null && typeof address === 'object');
  const sockets: Socket[] = [];
  const dial = (): Socket => {
    const socket = connect({ port: address.port, host: '127.0.0.1' });
    socket.on('error', () => undefined);
    sockets.push(socket);
    return socket;
  };
  try {
    await run(dial, pages);
  } finally {
    for (const s of sockets) s.destroy();
    await pages.close();
  }
};

const untilEnd = (socket: Socket): Promise<string> =>
  new Promise((resolve) => {
    const chunks: Buffer[] = [];
    socket.on('data', (c: Buffer) => chunks.push(c));
    socket.on('end', () => resolve(Buffer.concat(chunks).toString('latin1')));
  });
const closed = (socket: Socket): Promise<void> => new Promise((resolve) => socket.on('close', () => resolve()));

test('a client that ends its side behind the request gets all of a large page', async () => {
  const body = 'x'.repeat(8_000_000);
  await withPort(body, async (dial) => {
    const socket = dial();
    socket.end('GET /big HTTP/1.1\r\nHost: x\r\n\r\n');
    socket.pause();
    await new Promise((r) => setTimeout(r, 50));
    const whole = untilEnd(socket);
    socket.resume();
    const text = await whole;
    assert.equal(text.length - text.indexOf('\r\n\r\n') - 4, body.length + 5);
  });
});

test('silent connections do not keep a scraper out', async () => {
  await withPort('', async (dial) => {
    const first = dial();
    const gone = closed(first.resume());
    await new Promise((r) => first.once('connect', r));
    for (let i = 0; i < ADMIN_CONNECTIONS_MAX; i++) {
      const socket = dial();
      await new Promise((r) => socket.once('connect', r));
    }
    const scraper = dial();
    scraper.end('GET /stats HTTP/1.1\r\nHost: x\r\n\r\n');
    assert.match(await untilEnd(scraper), /^HTTP\/1\.1 200 OK/);
    await gone;
  });
});

test('when the port is released idle connections end and the one that asks is answered', async () => {
  await withPort('page', async (dial, port) => {
    const idle = dial();
    const text = untilEnd(idle);
    idle.write('GET /1 HTTP/1.1\r\nHost: x\r\n\r\n');
    await new Promise((r) => idle.once('data', r));
    port.release();
    assert.match(await text, /\/1 page$/);
    idle.destroy();
    await port.close();
  });
});
