// HTTP filters that wait for an answer, for the body, for a time, and that change where a request goes: whatever the client does
// meanwhile, nothing is lost, nothing is sent twice, nothing grows, and nobody is left waiting.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FilterExchange, FilterTask, FilterVerdict, HttpFilter, RequestBody } from '../../src/proxy/filters/http-filter.ts';
import type { HttpConnectionManager, Route } from '../../src/xds/gen/types.ts';
import {
  eventually,
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
import { exchange as http2Exchange, openSession } from './http2-peers.ts';

interface Waiting {
  readonly exchange: FilterExchange;
  readonly task: FilterTask;
  cancelled: boolean;
  go(verdict?: FilterVerdict): void;
}

/** A filter that holds every request until the test lets it go. */
const gate = () => {
  const waiting: Waiting[] = [];
  const filter: HttpFilter = {
    onRequest: (exchange) => {
      const task: FilterTask = {
        cancel: () => {
          entry.cancelled = true;
        },
      };
      const entry: Waiting = { exchange, task, cancelled: false, go: (verdict) => exchange.proceed(task, verdict) };
      waiting.push(entry);
      return { kind: 'wait', task };
    },
  };
  const at = async (n: number): Promise<Waiting> => {
    await eventually(() => waiting.length > n, `request ${n} waits`);
    const entry = waiting[n];
    assert.ok(entry);
    return entry;
  };
  return { filter, waiting, at };
};

const DENY: FilterVerdict = { kind: 'reply', status: 403, body: 'no', details: 'test_denied', headers: [] };

/** A listener `in` whose chain is these filters. */
const startRig = (
  filters: readonly HttpFilter[],
  routes: readonly Route[],
  clusters: { readonly [name: string]: number },
  more: Partial<HttpConnectionManager> = {},
  limit?: number,
) =>
  startPlane(
    {
      clusters: Object.entries(clusters).map(([name, port]) => staticCluster(name, [port])),
      listeners: [
        listener(
          'in',
          hcm(routes, {
            http_filters: [
              ...filters.map((_, i) => ({ name: `f${i}`, typed_config: { '@type': `type.googleapis.com/test.F${i}` } })),
              ROUTER,
            ],
            ...more,
          }),
          limit === undefined ? {} : { per_connection_buffer_limit_bytes: limit },
        ),
      ],
    },
    { httpFilters: new Map(filters.map((filter, i) => [`test.F${i}`, { compile: () => filter }])) },
  );

const bodyBackend = () => httpBackend((_, head) => ok(/^\w+ (\S+)/.exec(head)?.[1] ?? ''));

test('a request that waited goes on, and those pipelined behind it keep their order', async () => {
  const held = gate();
  await using web = await bodyBackend();
  await using rig = await startRig([held.filter], [toCluster('web')], { web: web.port });
  const client = await RawClient.open(rig.port('in'));
  client.send('POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhelloGET /b HTTP/1.1\r\nhost: a\r\n\r\n');
  const first = await held.at(0);
  assert.equal(web.sockets.length, 0);
  first.go();
  assert.equal((await client.response()).body, '/a');
  (await held.at(1)).go(DENY);
  assert.equal((await client.response()).status, 403);
  assert.match(web.received[0] ?? '', /hello$/);
  assert.equal(held.waiting.length, 2);
  // What comes late is unheard.
  first.go(DENY);
  client.send('GET /c HTTP/1.1\r\nhost: a\r\n\r\n');
  (await held.at(2)).go();
  assert.equal((await client.response()).body, '/c');
  client.close();
});

test('the task of a client that went away is cancelled, and its verdict unheard', async () => {
  const held = gate();
  await using web = await bodyBackend();
  await using rig = await startRig([held.filter], [toCluster('web')], { web: web.port });
  const client = await RawClient.open(rig.port('in'));
  client.send('GET /a HTTP/1.1\r\nhost: a\r\n\r\n');
  const entry = await held.at(0);
  client.close();
  await eventually(() => entry.cancelled, 'cancelled');
  entry.go();
  await eventually(() => rig.http.length === 1, 'logged');
  assert.deepEqual([rig.http[0]?.status, rig.http[0]?.flags, rig.http[0]?.details], [0, 'DC', 'downstream_remote_disconnect']);
  assert.equal(web.sockets.length, 0);
});

test('an HTTP/2 stream that is reset while it waits is cancelled; its connection goes on', async () => {
  const held = gate();
  await using web = await bodyBackend();
  await using rig = await startRig([held.filter], [toCluster('web')], { web: web.port });
  const session = await openSession(rig.port('in'));
  const stream = session.request({ ':path': '/a', ':authority': 'a' });
  stream.on('error', () => {});
  const entry = await held.at(0);
  stream.close(8);
  await eventually(() => entry.cancelled, 'cancelled');
  const second = http2Exchange(session, { ':path': '/b', ':authority': 'a', ':method': 'POST' }, 'body');
  (await held.at(1)).go();
  assert.equal((await second).body, '/b');
  assert.match(web.received[0] ?? '', /\r\n\r\n(4\r\n)?body/);
  session.destroy();
});

test('a timeout of the whole request ends what a filter waits for', async () => {
  const held = gate();
  await using web = await bodyBackend();
  await using rig = await startRig(
    [held.filter],
    [toCluster('web')],
    { web: web.port },
    { request_timeout: '0.05s', stream_idle_timeout: '0s' },
  );
  const client = await RawClient.open(rig.port('in'));
  client.send('POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhel');
  const entry = await held.at(0);
  assert.equal((await client.response()).status, 408);
  assert.equal(entry.cancelled, true);
});

test('a stream that is silent too long is answered while a filter waits', async () => {
  const held = gate();
  await using web = await bodyBackend();
  await using rig = await startRig([held.filter], [toCluster('web')], { web: web.port }, { stream_idle_timeout: '0.05s' });
  const client = await RawClient.open(rig.port('in'));
  const response = await client.get('/a');
  assert.deepEqual([response.status, rig.http[0]?.flags], [504, 'SI']);
  assert.equal((await held.at(0)).cancelled, true);
});

test('the time a filter takes is not the route’s: its timeout begins when the request goes upstream', async () => {
  const held = gate();
  await using web = await httpBackend(() => 'silent');
  await using rig = await startRig([held.filter], [toCluster('web', { timeout: '0.1s' })], { web: web.port });
  const client = await RawClient.open(rig.port('in'));
  client.send('GET /a HTTP/1.1\r\nhost: a\r\n\r\n');
  const entry = await held.at(0);
  await new Promise((resolve) => setTimeout(resolve, 150));
  entry.go();
  const response = await client.response();
  assert.deepEqual([response.status, rig.http[0]?.flags], [504, 'UT']);
  client.close();
});

test('while a filter waits, no more than the buffer limit is read; all of it is sent afterwards', async () => {
  const held = gate();
  let got = 0;
  await using web = await startBackend((socket, text) => {
    got += text.length;
    if (got > 16_000_000) socket.write(ok('all'));
  });
  await using rig = await startRig([held.filter], [toCluster('web')], { web: web.port }, {}, 64 * 1024);
  const client = await RawClient.open(rig.port('in'));
  client.send('POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 16000000\r\n\r\n').send(Buffer.alloc(16_000_000, 'x'));
  const entry = await held.at(0);
  await new Promise((resolve) => setTimeout(resolve, 100));
  const { info } = entry.exchange;
  assert.ok(info.bytesReceived < 2_000_000, `read ${info.bytesReceived}`);
  assert.ok(client.socket.writableLength > 0);
  entry.go();
  assert.equal((await client.response()).body, 'all');
  client.close();
});

/** Asks for the body and notes what it was given. */
const reader = (most: number, after: (exchange: FilterExchange, body: RequestBody) => FilterVerdict = () => undefined) => {
  const bodies: { text: string; whole: boolean }[] = [];
  const filter: HttpFilter = {
    onRequest: () => ({ kind: 'body', most }),
    onBody: (exchange, body) => {
      bodies.push({ text: Buffer.concat([...body.pieces]).toString(), whole: body.whole });
      return after(exchange, body);
    },
  };
  return { filter, bodies };
};

test('a filter gets the body whole, or what has come once it is more than it asked for; the upstream gets all of it', async () => {
  const read = reader(5);
  await using web = await bodyBackend();
  await using rig = await startRig([read.filter], [toCluster('web')], { web: web.port });
  const client = await RawClient.open(rig.port('in'));
  assert.equal((await client.get('/none')).body, '/none');
  assert.equal((await client.send('POST /five HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n12345').response()).body, '/five');
  client.send('POST /six HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\n123456');
  await eventually(() => read.bodies.length === 3, 'more than five came');
  client.send('78');
  assert.equal((await client.response()).body, '/six');
  assert.deepEqual(read.bodies, [
    { text: '', whole: true },
    { text: '12345', whole: true },
    { text: '123456', whole: false },
  ]);
  assert.match(web.received.join(''), /12345POST \/six/);
  assert.match(web.received.join(''), /12345678$/);
  client.close();
});

test('a filter may ask for more of the body than a connection may buffer', async () => {
  const read = reader(1_000_000);
  await using web = await bodyBackend();
  await using rig = await startRig([read.filter], [toCluster('web')], { web: web.port }, {}, 16 * 1024);
  const client = await RawClient.open(rig.port('in'));
  client.send('POST /big HTTP/1.1\r\nhost: a\r\ncontent-length: 500000\r\n\r\n').send('x'.repeat(500_000));
  assert.equal((await client.response()).body, '/big');
  assert.equal(read.bodies[0]?.text.length, 500_000);
  const session = await openSession(rig.port('in'));
  const answer = await http2Exchange(session, { ':path': '/h2', ':authority': 'a', ':method': 'POST' }, 'y'.repeat(500_000));
  assert.equal(answer.body, '/h2');
  assert.deepEqual([read.bodies[1]?.text.length, read.bodies[1]?.whole], [500_000, true]);
  session.destroy();
  client.close();
});

test('a body kept for a filter beyond what may be sent again is sent once', async () => {
  const read = reader(1_000_000);
  await using web = await httpBackend((n) => (n === 0 ? 'reset' : 'second'));
  const retried = toCluster('web', { retry_policy: { retry_on: 'reset', num_retries: 2 } });
  await using rig = await startRig([read.filter], [retried], { web: web.port }, {}, 16 * 1024);
  const client = await RawClient.open(rig.port('in'));
  client.send('POST /big HTTP/1.1\r\nhost: a\r\ncontent-length: 500000\r\n\r\n').send('x'.repeat(500_000));
  assert.equal((await client.response()).status, 503);
  assert.equal(rig.http[0]?.attempts, 1);
  client.close();
});

test('a filter that reads, then waits, then refuses, has the last word', async () => {
  const held = gate();
  const refuse = gate();
  const read = reader(100, (exchange) => refuse.filter.onRequest?.(exchange, undefined));
  const slow: HttpFilter = { onRequest: () => ({ kind: 'delay', delayMs: 20 }) };
  await using web = await bodyBackend();
  await using rig = await startRig([held.filter, slow, read.filter], [toCluster('web')], { web: web.port });
  const client = await RawClient.open(rig.port('in'));
  client.send('POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n');
  (await held.at(0)).go();
  client.send('2\r\nde\r\n0\r\n\r\n');
  const last = await refuse.at(0);
  assert.deepEqual(read.bodies, [{ text: 'abcde', whole: true }]);
  last.go(DENY);
  assert.equal((await client.response()).status, 403);
  assert.equal(web.sockets.length, 0);
  client.send('GET /b HTTP/1.1\r\nhost: a\r\n\r\n');
  (await held.at(1)).go();
  (await refuse.at(1)).go();
  assert.equal((await client.response()).body, '/b');
  client.close();
});

test('an upgrade has no body to wait for, and what is sent behind it is not lost while a filter waits', async () => {
  const held = gate();
  const read = reader(100);
  await using web = await startBackend((socket, text) => {
    if (text.includes('upgrade: websocket')) socket.write('HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhi');
    if (text.endsWith('early')) socket.write('bye');
  });
  await using rig = await startRig(
    [read.filter, held.filter],
    [toCluster('web')],
    { web: web.port },
    { upgrade_configs: [{ upgrade_type: 'websocket' }] },
  );
  const client = await RawClient.open(rig.port('in'));
  client.send('GET /a HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nearly');
  (await held.at(0)).go();
  assert.equal((await client.response()).status, 101);
  assert.equal(await client.bytes(5), 'hibye');
  assert.deepEqual(read.bodies, [{ text: '', whole: true }]);
  client.close();
});

const TO_TWO: Route = {
  match: { prefix: '/', headers: [{ name: 'x-to', string_match: { exact: 'two' } }] },
  route: { cluster: 'two', timeout: '1.2s' },
};

test('a filter that clears the route sends the request elsewhere, with what the other route says', async () => {
  const held = gate();
  await using one = await httpBackend(() => 'one');
  await using two = await httpBackend((n) => (n === 0 ? 'two' : 'silent'));
  await using rig = await startRig([held.filter], [TO_TWO, toCluster('one', { idle_timeout: '1s' })], { one: one.port, two: two.port });
  const client = await RawClient.open(rig.port('in'));
  const send = async (n: number) => {
    client.send('GET /a HTTP/1.1\r\nhost: a\r\n\r\n');
    const entry = await held.at(n);
    entry.exchange.requestHeaders.set('x-to', 'two');
    entry.exchange.clearRoute();
    entry.go();
    return await client.response();
  };
  assert.equal((await send(0)).body, 'two');
  const late = await send(1);
  assert.deepEqual([late.status, rig.http[1]?.flags, rig.http[1]?.cluster], [504, 'UT', 'two']);
  assert.equal(one.sockets.length, 0);
  client.close();
});

test('a request that waited goes to its cluster as it is then', async () => {
  const held = gate();
  await using old = await httpBackend(() => 'old');
  await using young = await httpBackend(() => 'young');
  await using rig = await startRig([held.filter], [toCluster('web')], { web: old.port });
  const client = await RawClient.open(rig.port('in'));
  client.send('GET /a HTTP/1.1\r\nhost: a\r\n\r\n');
  const first = await held.at(0);
  rig.plane.setCluster(staticCluster('web', [young.port]));
  await rig.plane.settled();
  first.go();
  assert.equal((await client.response()).body, 'young');
  client.send('GET /b HTTP/1.1\r\nhost: a\r\n\r\n');
  const second = await held.at(1);
  rig.plane.removeCluster('web');
  second.go();
  const gone = await client.response();
  assert.deepEqual([gone.status, rig.http[1]?.details], [503, 'cluster_not_found']);
  assert.equal(old.sockets.length, 0);
  client.close();
});

test('a request that loses its route is not found', async () => {
  const held = gate();
  await using one = await httpBackend(() => 'one');
  await using rig = await startRig([held.filter], [{ match: { path: '/a' }, route: { cluster: 'one' } }], { one: one.port });
  const client = await RawClient.open(rig.port('in'));
  client.send('GET /a HTTP/1.1\r\nhost: a\r\n\r\n');
  const entry = await held.at(0);
  entry.exchange.path = '/b';
  entry.exchange.clearRoute();
  entry.go();
  assert.equal((await client.response()).status, 404);
  assert.deepEqual([rig.http[0]?.flags, rig.http[0]?.details], ['NR', 'route_not_found']);
  client.close();
});

test('filters see a request that no route takes, and may answer it', async () => {
  const seen: (string | undefined)[] = [];
  const filter: HttpFilter = {
    onRequest: (exchange) => {
      seen.push(exchange.route?.route.name);
      return exchange.path === '/deny' ? DENY : undefined;
    },
  };
  await using rig = await startRig([filter], [], {});
  const client = await RawClient.open(rig.port('in'));
  assert.equal((await client.get('/deny')).status, 403);
  assert.equal((await client.get('/x')).status, 404);
  assert.deepEqual(seen, [undefined, undefined]);
  client.close();
});

test('a filter’s answer may say one header several times, and a note is the request’s own', async () => {
  const filter: HttpFilter = {
    onRequest: (exchange) => {
      if (exchange.noteOf(filter) === undefined) exchange.note(filter, exchange.path);
      return {
        kind: 'reply',
        status: 200,
        body: '',
        details: 'x',
        headers: [
          ['set-cookie', 'a=1'],
          ['x-one', '1'],
          ['set-cookie', 'b=2'],
        ],
      };
    },
    onResponse: (exchange, headers) => headers.set('x-note', String(exchange.noteOf(filter))),
  };
  await using rig = await startRig([filter], [], {});
  const client = await RawClient.open(rig.port('in'));
  const first = await client.get('/1');
  assert.match(first.head, /set-cookie: a=1\n[\s\S]*set-cookie: b=2/);
  assert.equal(first.headers.get('x-note'), '/1');
  assert.equal((await client.get('/2')).headers.get('x-note'), '/2');
  client.close();
});

test('waiting exchanges end with their plane', async () => {
  const held = gate();
  await using web = await bodyBackend();
  const rig = await startRig([held.filter], [toCluster('web')], { web: web.port });
  const client = await RawClient.open(rig.port('in'));
  client.send('GET /a HTTP/1.1\r\nhost: a\r\n\r\n');
  const entry = await held.at(0);
  await rig[Symbol.asyncDispose]();
  await client.rest();
  await eventually(() => entry.cancelled, 'cancelled');
});
