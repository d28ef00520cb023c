// Operator requests through the agent to the proxy's admin API, and the agent's readiness and metrics ports.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Agent, startAgent } from '../../src/agent/agent.ts';
import { createLog } from '../../src/base/log.ts';
import { scratch } from './fake-control-plane.ts';
import { testConfig, withAgent } from './setup.ts';

const quiet = createLog(
  'test',
  () => {},
  () => new Date(),
);

/** Certificates come in the background: ready is when one is there and the proxy says so. */
const ready = async (agent: Agent): Promise<void> => {
  for (const deadline = Date.now() + 20_000; !agent.ready() && Date.now() < deadline; ) await new Promise((r) => setTimeout(r, 20));
};

const ask = async (port: number, path: string, init: RequestInit = {}) => {
  const res = await fetch(`http://127.0.0.1:${port}${path}`, init);
  return { status: res.status, body: await res.text() };
};

test('operator requests reach the proxy in the process and answers go back, also after a restart of the control plane', async () => {
  await withAgent({}, async ({ control, agent }) => {
    agent.onAdminRequest(async ({ method, path, body }) => {
      if (path === '/boom') throw new Error('no such thing');
      return { status: 200, headers: { 'content-type': 'text/plain' }, body: `${method} ${path} ${body}` };
    });
    const first = await control.operators.next();
    const send = (value: unknown): void => void first.call.write(Buffer.from(JSON.stringify(value)));
    send({ id: 1, method: 'POST', path: '/logging?level=debug', body: 'ü' });
    assert.deepEqual(await first.replies.next(), {
      id: 1,
      status: 200,
      headers: { 'content-type': 'text/plain' },
      body: 'POST /logging?level=debug ü',
    });
    send({ id: 2, method: 'GET', path: '/boom' });
    const failed = await first.replies.next();
    assert.deepEqual([failed.id, failed.status], [2, 502]);
    assert.match(failed.body, /no such thing/);
    send({ id: 3, method: 'GET', path: 'http://elsewhere/' });
    first.call.write(Buffer.from('not JSON'));
    send({ id: 4, method: 'GET', path: '/x' });
    assert.equal((await first.replies.next()).id, 4, 'what is not a request to the admin API is not answered');
    control.kill();
    await control.start();
    const second = await control.operators.next();
    second.call.write(Buffer.from(JSON.stringify({ id: 9, method: 'GET', path: '/again' })));
    assert.equal((await second.replies.next()).body, 'GET /again ');
  });
});

test('an answer in pieces goes back piece by piece until it is cancelled, or the stream is lost', async () => {
  await withAgent({}, async ({ control, agent }) => {
    const stopped: string[] = [];
    let send: (piece: string) => boolean = () => false;
    let end = (): void => undefined;
    agent.onAdminRequest(async ({ path }) => ({
      status: 200,
      headers: { 'content-type': 'application/x-ndjson' },
      body: '',
      stream: (reader) => {
        send = (piece) => reader.send(piece);
        end = () => reader.end();
        return () => stopped.push(path);
      },
    }));
    const { call, replies } = await control.operators.next();
    const ask = (value: unknown): void => void call.write(Buffer.from(JSON.stringify(value)));
    ask({ id: 1, method: 'POST', path: '/tap', stream: true });
    const head = { id: 1, status: 200, headers: { 'content-type': 'application/x-ndjson' }, body: '', more: true };
    assert.deepEqual(await replies.next(), head);
    send('one\n');
    assert.deepEqual(await replies.next(), { id: 1, body: 'one\n', more: true });
    ask({ id: 1, cancel: true });
    ask({ id: 2, method: 'POST', path: '/tap' });
    assert.equal((await replies.next()).status, 406, 'who asks for a whole answer gets none that never ends');
    assert.deepEqual(stopped, ['/tap']);
    assert.equal(send('late'), false);
    ask({ id: 3, method: 'POST', path: '/again', stream: true });
    assert.equal((await replies.next()).id, 3);
    end();
    assert.deepEqual(await replies.next(), { id: 3, body: '', more: false });
    ask({ id: 4, method: 'POST', path: '/lost', stream: true });
    assert.equal((await replies.next()).id, 4);
    control.kill();
    for (const until = Date.now() + 20_000; stopped.length < 2 && Date.now() < until; ) await new Promise((r) => setTimeout(r, 10));
    assert.deepEqual(stopped, ['/tap', '/lost']);
  });
});

test('without a proxy in the process the admin port is asked', async () => {
  const admin = createServer((req, res) => {
    res.setHeader('x-from', 'admin');
    res.statusCode = req.url === '/ready' ? 200 : 404;
    res.end(`${req.method} ${req.url}`);
  });
  await new Promise<void>((resolve) => admin.listen(0, '127.0.0.1', resolve));
  try {
    await withAgent({ adminPort: (admin.address() as AddressInfo).port }, async ({ control, agent }) => {
      const { call, replies } = await control.operators.next();
      call.write(Buffer.from(JSON.stringify({ id: 1, method: 'GET', path: '/nothing' })));
      const reply = await replies.next();
      assert.deepEqual([reply.status, reply.body], [404, 'GET /nothing']);
      const { status = 0 } = agent.ports;
      await ready(agent);
      assert.equal((await ask(status, '/healthz/ready')).status, 200);
    });
  } finally {
    admin.close();
    admin.closeAllConnections();
  }
});

test('readiness needs the certificate and the proxy', async () => {
  await withAgent(
    {},
    async ({ control, agent }) => {
      let proxyReady = true;
      agent.setProxyStatus(() => (proxyReady ? { ready: true } : { ready: false, reason: 'warming' }));
      const { status = 0, stats } = agent.ports;
      await control.csrs.next();
      assert.deepEqual(await ask(status, '/healthz/ready'), { status: 503, body: 'not ready: there is no valid certificate\n' });
      control.refuse = undefined;
      await ready(agent);
      assert.deepEqual(await ask(status, '/healthz/ready'), { status: 200, body: 'ready\n' });
      assert.equal((await ask(stats, '/healthz/ready?x=1')).status, 200);
      proxyReady = false;
      assert.deepEqual(await ask(stats, '/healthz/ready'), { status: 503, body: 'not ready: warming\n' });
      assert.equal((await ask(status, '/other')).status, 404);
    },
    (control) => {
      control.refuse = 14;
    },
  );
});

test('the agent’s port merges the proxy’s metrics and takes /quitquitquit as a POST', async () => {
  await withAgent({}, async ({ agent }) => {
    agent.setProxyStatus(() => ({ ready: true }));
    const { stats } = agent.ports;
    assert.equal((await ask(stats, '/stats/prometheus')).status, 503);
    await ready(agent);
    agent.onAdminRequest(async ({ path }) => ({ status: 200, headers: {}, body: `# ${path}\nistio_requests_total 1\n` }));
    const { status, body } = await ask(stats, '/stats/prometheus');
    assert.equal(status, 200);
    assert.ok(body.startsWith('# /stats/prometheus\nistio_requests_total 1\n'), body);
    // The fake authority's certificates live for an hour, its root for a day.
    const left = (name: string): number =>
      Number(new RegExp(`^istio_agent_cert_expiry_seconds{resource_name="${name}"} (.*)$`, 'm').exec(body)?.[1]);
    assert.ok(left('default') > 3500 && left('default') <= 3600, body);
    assert.ok(left('ROOTCA') > 86_000 && left('ROOTCA') <= 86_400, body);
    let quits = 0;
    agent.onQuit(() => quits++);
    assert.equal((await ask(stats, '/quitquitquit')).status, 405);
    assert.equal(quits, 0);
    assert.equal((await ask(stats, '/quitquitquit', { method: 'POST' })).status, 200);
    assert.equal(quits, 1);
  });
});

test('a port in use is refused by a rejection, and nothing stays behind', async () => {
  const taken = createServer().listen(0);
  await new Promise<void>((resolve) => taken.once('listening', resolve));
  const { dir, remove } = scratch();
  try {
    const config = testConfig(dir, { statsPort: (taken.address() as AddressInfo).port });
    await assert.rejects(startAgent(config, quiet), /EADDRINUSE|in use/i);
    assert.equal(existsSync(join(dir, 'run', 'xds.sock')), false);
  } finally {
    taken.close();
    remove();
  }
});
