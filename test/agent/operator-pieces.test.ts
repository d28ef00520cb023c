// A proxy in another process than its agent, tapped: what its admin port tells in pieces goes to the operator piece by piece, its end is an
// end, its loss a cut, and it hears when nobody reads any more.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { pageOverHttp } from '../../src/agent/admin-client.ts';
import { EnvoyProcess } from '../../src/agent/envoy-process.ts';
import { createLog } from '../../src/base/log.ts';
import { ProxyServer } from '../../src/proxy/bootstrap/proxy-server.ts';
import { Arrivals, scratch } from './fake-control-plane.ts';
import { withAgent } from './setup.ts';

interface Piece {
  readonly id: number;
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: string;
  readonly more?: boolean;
  readonly cut?: boolean;
}

interface Admin {
  readonly port: number;
  readonly answers: Arrivals<ServerResponse>;
  readonly bodies: string[];
}

/** Any other answer than that of /tap is whole. */
const withAdmin = async (run: (admin: Admin) => Promise<void>): Promise<void> => {
  const answers = new Arrivals<ServerResponse>();
  const bodies: string[] = [];
  const server: Server = createServer((req, res) => {
    let body = '';
    req.on('data', (chunk: Buffer) => {
      body += chunk.toString();
    });
    req.on('end', () => {
      bodies.push(`${req.method} ${req.url} ${body}`);
      if (req.url !== '/tap')
        return res
          .writeHead(req.url === '/refused' ? 429 : 200, { 'content-length': Buffer.byteLength(`${req.url}\n`) })
          .end(`${req.url}\n`);
      res.writeHead(200, { 'content-type': 'application/x-ndjson' });
      res.flushHeaders();
      return answers.push(res);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    await run({ port: (server.address() as AddressInfo).port, answers, bodies });
  } finally {
    server.closeAllConnections();
    server.close();
  }
};

test('pieces of a proxy in another process go to the operator as they come, and its end with them', async () => {
  await withAdmin(async ({ port, answers, bodies }) => {
    await withAgent({ adminPort: port }, async ({ control }) => {
      const { call, replies } = await control.operators.next();
      const ask = (value: unknown): void => void call.write(Buffer.from(JSON.stringify(value)));
      ask({ id: 1, method: 'POST', path: '/tap', body: '{"count":1}', stream: true });
      const answer = await answers.next();
      const head: Piece = await replies.next();
      assert.deepEqual(
        [head.id, head.status, head.headers?.['content-type'], head.body, head.more],
        [1, 200, 'application/x-ndjson', '', true],
      );
      // The agent asks /ready meanwhile.
      assert.ok(bodies.includes('POST /tap {"count":1}'), bodies.join());
      answer.write('{"n":1}\n');
      assert.deepEqual(await replies.next(), { id: 1, body: '{"n":1}\n', more: true }, 'before the answer has an end');
      const letter = Buffer.from('ü\n');
      answer.write(letter.subarray(0, 1));
      answer.write(letter.subarray(1));
      assert.equal((await replies.next()).body, 'ü\n', 'a character over two pieces');
      answer.end();
      assert.deepEqual(await replies.next(), { id: 1, body: '', more: false });
      ask({ id: 2, method: 'POST', path: '/refused', stream: true });
      const refused: Piece = await replies.next();
      assert.deepEqual([refused.id, refused.status, refused.body, refused.more], [2, 429, '/refused\n', undefined]);
      ask({ id: 3, method: 'GET', path: '/whole', stream: true });
      assert.equal((await replies.next()).body, '/whole\n');
    });
  });
});

test('a proxy in another process hears that nobody reads any more, and its loss is a cut', async () => {
  await withAdmin(async ({ port, answers }) => {
    await withAgent({ adminPort: port }, async ({ control }) => {
      const { call, replies } = await control.operators.next();
      const ask = (value: unknown): void => void call.write(Buffer.from(JSON.stringify(value)));
      ask({ id: 1, method: 'POST', path: '/tap', stream: true });
      const first = await answers.next();
      await replies.next();
      const left = once(first, 'close');
      ask({ id: 1, cancel: true });
      await left;
      ask({ id: 2, method: 'POST', path: '/tap', stream: true });
      const second = await answers.next();
      assert.equal((await replies.next()).id, 2, 'nothing of the first came after it was cancelled');
      second.destroy();
      assert.deepEqual(await replies.next(), { id: 2, body: '', more: false, cut: true });
      ask({ id: 3, method: 'POST', path: '/tap', stream: true });
      const third = await answers.next();
      await replies.next();
      const lost = once(third, 'close');
      control.kill();
      await lost;
    });
  });
});

test('who takes no pieces gets a page that comes in pieces whole', async () => {
  await withAdmin(async ({ port, answers }) => {
    const page = pageOverHttp(
      { host: '127.0.0.1', port, bytesMax: 1000, timeoutMs: 20_000 },
      { method: 'POST', path: '/tap', body: '', pieces: true },
    );
    const answer = await answers.next();
    answer.write('a');
    answer.end('b');
    const { stream, body } = await page;
    assert.deepEqual([stream, body], [undefined, 'ab']);
  });
});

test("Skein's proxy in another process is tapped through its agent", async () => {
  const proxy = new ProxyServer({
    bootstrap: { node: { id: 'p' }, admin: { address: { socket_address: { address: '127.0.0.1', port_value: 0 } } } },
    log: createLog(
      't',
      () => undefined,
      () => new Date(),
    ),
    version: '0.1.0',
    quit: () => undefined,
  });
  proxy.start();
  await proxy.openAdmin();
  try {
    await withAgent({ adminPort: Number(proxy.adminAddress?.split(':').at(-1)) }, async ({ control }) => {
      const { call, replies } = await control.operators.next();
      const ask = (value: unknown): void => void call.write(Buffer.from(JSON.stringify(value)));
      ask({ id: 1, method: 'POST', path: '/tap', body: '{"tcp":"yes"}', stream: true });
      assert.match((await replies.next()).body, /tcp is true or false/);
      ask({ id: 2, method: 'POST', path: '/tap', body: '{"tcp":true}', stream: true });
      const head: Piece = await replies.next();
      assert.deepEqual([head.status, head.more], [200, true]);
      assert.match((await replies.next()).body, /"tap":\{"open":true,"proxy":"p"/);
      await proxy.close();
      let last: Piece = await replies.next();
      for (; !last.body.includes('"ended":"the proxy ends"'); last = await replies.next());
      for (; last.more === true; last = await replies.next());
      assert.deepEqual([last.more, last.cut], [false, undefined]);
    });
  } finally {
    await proxy.close();
  }
});

test('a launcher that is told what to be, as `skein proxy`, hears that before the options', async () => {
  const { dir, remove } = scratch();
  const told = join(dir, 'told');
  // Stays until it is asked to go, as a proxy.
  writeFileSync(join(dir, 'skein'), `#!/bin/sh\nprintf '%s\\n' "$@" > ${told}.part && mv ${told}.part ${told}\nexec sleep 60\n`, {
    mode: 0o755,
  });
  const child = new EnvoyProcess({
    command: [join(dir, 'skein'), 'proxy', '--log-level', 'debug'],
    bootstrap: {},
    runDir: dir,
    drainTimeS: 1,
    drainWaitMs: 0,
    ownPorts: [],
    admin: async () => ({ status: 200, headers: {}, body: '' }),
    log: createLog(
      't',
      () => undefined,
      () => new Date(),
    ),
  });
  try {
    await child.start();
    while (!existsSync(told)) await new Promise((resolve) => setTimeout(resolve, 5));
    const argv = readFileSync(told, 'utf8').trim().split('\n');
    assert.deepEqual([argv[0], argv[1], argv.at(-2), argv.at(-1)], ['proxy', '-c', '--log-level', 'debug']);
  } finally {
    await child.stop();
    remove();
  }
});
