// A response that the fault filter paces: the head at once, the body as fast as allowed and whole, then the next request; the same with a
// stock Envoy.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  eventually,
  fetchOnce,
  hcm,
  httpBackend,
  listener,
  ok,
  RawClient,
  ROUTER,
  startBackend,
  startPlane,
  staticCluster,
  toCluster,
} from './harness.ts';
import { exchange, openSession } from './http2-peers.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';

const FAULT = 'type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault';
const BODY = 'abcdefgh'.repeat(2048);

const resources = (port: number, limit: object = { fixed_limit: { limit_kbps: 32 }, percentage: { numerator: 100 } }) => ({
  clusters: [staticCluster('app', [port])],
  listeners: [
    listener(
      'in',
      hcm([toCluster('app')], {
        http_filters: [
          { name: 'envoy.filters.http.fault', typed_config: { '@type': FAULT, response_rate_limit: limit, max_active_faults: 2 } },
          ROUTER,
        ],
      }),
    ),
  ],
});

interface Paced {
  readonly headMs: number;
  readonly wholeMs: number;
  readonly body: string;
}

/** Two requests on one connection; what came of the first. */
const look = async (port: number): Promise<Paced> => {
  const client = await RawClient.open(port);
  const start = performance.now();
  client.send('GET / HTTP/1.1\r\nhost: a.test\r\n\r\n');
  let headMs = 0;
  client.socket.once('data', () => {
    headMs = performance.now() - start;
  });
  const { body } = await client.response();
  const wholeMs = performance.now() - start;
  client.send('GET /small HTTP/1.1\r\nhost: a.test\r\n\r\n');
  assert.equal((await client.response()).body, 'small');
  client.close();
  return { headMs, wholeMs, body };
};

const served = (_: number, head: string): string => ok(head.startsWith('GET /small') ? 'small' : BODY);

/** Never too fast; slower than that is the machine at times, not always. How often it was looked at. */
const isPaced = async (port: number): Promise<number> => {
  let seen = '';
  for (let n = 1; n <= TRIES; n++) {
    const { headMs, wholeMs, body } = await look(port);
    assert.equal(body, BODY);
    // 16 KiB at 32 KiB/s, less the slice that may go at once.
    assert.ok(wholeMs > 380, `the whole took ${wholeMs} ms`);
    if (headMs < 200 && wholeMs < 800) return n;
    seen += ` ${headMs} ${wholeMs}`;
  }
  assert.fail(`head and whole came after ms:${seen}`);
};
const TRIES = 20;

test('a response is paced, and the connection serves the next request', async () => {
  await using app = await httpBackend(served);
  await using plane = await startPlane(resources(app.port));
  const looks = await isPaced(plane.port('in'));
  assert.equal(plane.plane.stats.find('http.test.fault.response_rl_injected')?.value, 2 * looks);
  await eventually(() => plane.plane.stats.find('http.test.fault.active_faults')?.value === 0, 'the faults are over');
  assert.equal(plane.http[0]?.sent, BODY.length);
});

test('a stock Envoy takes the same time', { skip: NO_ENVOY }, async () => {
  await using app = await httpBackend(served);
  await using envoy = await startEnvoy(resources(app.port));
  await isPaced(envoy.port('in'));
});

for (const kind of ['plane', 'a stock Envoy'] as const)
  test(`the request says how fast, and never makes it likelier (${kind})`, {
    skip: kind !== 'plane' && NO_ENVOY,
  }, async () => {
    await using app = await httpBackend(served);
    const config = resources(app.port, { header_limit: {}, percentage: { numerator: 100 } });
    await using subject = kind === 'plane' ? await startPlane(config) : await startEnvoy(config);
    const timed = async (headers: string): Promise<number> => {
      const start = performance.now();
      assert.equal((await fetchOnce(subject.port('in'), '/', headers)).body, BODY);
      return performance.now() - start;
    };
    const isFast = async (headers: string): Promise<void> => {
      for (let n = 1; n <= TRIES; n++) if ((await timed(headers)) < 300) return;
      assert.fail(headers);
    };
    assert.ok((await timed('x-envoy-fault-throughput-response: 32\r\n')) > 380);
    for (const headers of [
      '',
      'x-envoy-fault-throughput-response: 0\r\n',
      'x-envoy-fault-throughput-response: fast\r\n',
      'x-envoy-fault-throughput-response: 32\r\nx-envoy-fault-throughput-response-percentage: 0\r\n',
    ])
      await isFast(headers);
  });

test('over HTTP/2 streams are paced each for itself, and one that is taken back leaves nothing behind', async () => {
  await using app = await httpBackend(served);
  await using plane = await startPlane(resources(app.port));
  const session = await openSession(plane.port('in'));
  const start = performance.now();
  const both = await Promise.all([exchange(session, { ':path': '/' }), exchange(session, { ':path': '/' })]);
  for (const { body } of both) assert.equal(body.toString(), BODY);
  assert.ok(performance.now() - start > 380);
  const gone = session.request({ ':path': '/', ':authority': 'a.test' });
  gone.on('error', () => {});
  await new Promise((resolve) => gone.once('data', resolve));
  gone.close(8);
  await new Promise((resolve) => gone.once('close', resolve));
  assert.equal((await exchange(session, { ':path': '/small' })).body.toString(), 'small');
  await eventually(() => plane.plane.stats.find('http.test.fault.active_faults')?.value === 0, 'the faults are over');
  session.close();
});

test('a server that sends much is not read faster than the client is told', async () => {
  const much = Buffer.alloc(16 * 1024 * 1024, 'x');
  let whole = false;
  await using app = await startBackend((socket) => {
    socket.once('data', () => {
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${much.length}\r\n\r\n`);
      socket.write(much, () => {
        whole = true;
      });
    });
  });
  await using plane = await startPlane(resources(app.port));
  const client = await RawClient.open(plane.port('in'));
  client.send('GET / HTTP/1.1\r\nhost: a.test\r\n\r\n');
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.equal(whole, false, 'the rest is still at the server');
  client.close();
  // Who goes away takes the wait along.
  await eventually(() => plane.plane.stats.find('http.test.fault.active_faults')?.value === 0, 'the fault is over');
});
