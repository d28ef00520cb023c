// What a ledger says of connections: who ended them, what went over them, open and closed; and that unused kinds say nothing.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { after, before, test } from 'node:test';
import { connectionLedger, type LedgerKind } from '../../src/proxy/connection-ledger.ts';
import { StatsStore } from '../../src/proxy/stats-store.ts';
import { hcm, listener, RawClient, startPlane } from './harness.ts';

let server: Server;
before(async () => {
  server = createServer({ allowHalfOpen: false }, (socket) => {
    socket.on('error', () => {});
    // Echoes; ends when it is told to.
    socket.on('data', (bytes) => (String(bytes) === 'leave' ? socket.end('bye') : socket.write(bytes)));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
});
after(() => void server.close());

const dial = async (): Promise<Socket> => {
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  await once(socket, 'connect');
  return socket;
};

const say = async (socket: Socket, text: string): Promise<void> => {
  socket.write(text);
  await once(socket, 'data');
};

const PREFIX = 'cluster.a.upstream_cx_';

const rig = (kind: LedgerKind) => {
  const store = new StatsStore();
  const ledger = connectionLedger(store, PREFIX, kind);
  return { store, ledger, value: (name: string): number | undefined => store.find(PREFIX + name)?.value };
};

test('a kind that never had a connection tells nothing', () => {
  const { store } = rig('upstream');
  assert.deepEqual([...store.all()], []);
});

test('bytes of open and closed connections add up, and go on doing so', async () => {
  const { ledger, value } = rig('upstream');
  const socket = await dial();
  ledger.opened(socket, 0).speaks('http1');
  await say(socket, 'twelve bytes');
  assert.equal(value('rx_bytes_total'), 12);
  assert.equal(value('tx_bytes_total'), 12);
  socket.destroy();
  ledger.closed(socket, 250, false);
  assert.equal(value('rx_bytes_total'), 12);
  assert.equal(value('tx_bytes_total'), 12);
  assert.equal(value('http1_total'), 1);
  assert.equal(value('http2_total'), 0);
});

test('who ends a connection first is told, with what was under way', async () => {
  const { store, ledger, value } = rig('upstream');
  const own = await dial();
  ledger.opened(own, 0);
  own.destroy();
  ledger.closed(own, 100, true);
  const theirs = await dial();
  ledger.opened(theirs, 0);
  const ended = once(theirs, 'end');
  await say(theirs, 'leave');
  await ended;
  theirs.destroy();
  ledger.closed(theirs, 300, false);
  const told = ['destroy', 'destroy_local', 'destroy_remote', 'destroy_with_active_rq', 'destroy_local_with_active_rq'].map(value);
  assert.deepEqual(told, [2, 1, 1, 1, 1]);
  assert.equal(value('destroy_remote_with_active_rq'), 0);
  const [length] = [...store.histograms()];
  assert.deepEqual([length?.name, length?.count, length?.sum], [`${PREFIX}length_ms`, 2, 400]);
});

test('a tunnel whose peer ends its half is not ended by it', async () => {
  const { ledger, value } = rig('upstream');
  const socket = await dial();
  ledger.opened(socket, 0, false, true);
  const ended = once(socket, 'end');
  await say(socket, 'leave');
  await ended;
  ledger.closed(socket, 1, true);
  assert.deepEqual([value('destroy_local'), value('destroy_remote')], [1, 0]);
});

test('a connection is closed once, and one that was never opened not at all', async () => {
  const { ledger, value } = rig('upstream');
  const [socket, stranger] = [await dial(), await dial()];
  ledger.opened(socket, 0);
  ledger.closed(stranger, 1, true);
  ledger.closed(socket, 1, false);
  ledger.closed(socket, 1, false);
  assert.equal(value('destroy'), 1);
  for (const s of [socket, stranger]) s.destroy();
});

test('connections of clients say which protocol and TLS they have now; resetting begins counters anew, not gauges', async () => {
  const { store, ledger, value } = rig('http');
  const [a, b] = [await dial(), await dial()];
  ledger.opened(a, 0, true).speaks('http2');
  ledger.opened(b, 0).speaks('http1');
  assert.deepEqual(['http1_active', 'http2_active', 'ssl_active', 'ssl_total'].map(value), [1, 1, 1, 1]);
  b.destroy();
  ledger.closed(b, 5, true);
  assert.deepEqual(['http1_active', 'http1_total', 'destroy_local_active_rq'].map(value), [0, 1, 1]);
  store.resetCounters();
  assert.deepEqual(['http2_active', 'http1_total', 'destroy', 'ssl_total'].map(value), [1, 0, 0, 0]);
  a.destroy();
});

test('a removed owner’s counts are forgotten, and its successor begins anew', async () => {
  const { store, ledger, value } = rig('upstream');
  const socket = await dial();
  ledger.opened(socket, 0);
  assert.equal(connectionLedger(store, PREFIX, 'upstream'), ledger);
  store.drop('cluster.a.');
  assert.equal(value('destroy'), undefined);
  assert.notEqual(connectionLedger(store, PREFIX, 'upstream'), ledger);
  socket.destroy();
});

test('what ends behind its owner puts nothing into the store again', async () => {
  const { store, ledger } = rig('upstream');
  const socket = await dial();
  ledger.opened(socket, 0);
  store.drop('cluster.a.');
  ledger.connected(1);
  socket.destroy();
  ledger.closed(socket, 5, true);
  assert.deepEqual([[...store.all()], [...store.histograms()]], [[], []]);
});

test('counters that begin anew forget what open connections have carried so far', async () => {
  const { store, ledger, value } = rig('tcp');
  const socket = await dial();
  ledger.opened(socket, 0);
  await say(socket, 'twelve bytes');
  store.resetCounters();
  const told = () => ['total', 'rx_bytes_total', 'tx_bytes_total'].map(value);
  assert.deepEqual(told(), [0, 0, 0]);
  await say(socket, 'four');
  assert.deepEqual(told(), [0, 4, 4]);
  socket.destroy();
  ledger.closed(socket, 5, true);
  assert.deepEqual(told(), [0, 4, 4]);
});

test('clients whose time is over are counted by what was over', async () => {
  const route = [{ match: { prefix: '/' }, direct_response: { status: 200 } }];
  const ends = { idle_timeout: { idle_timeout: '0.05s' }, max_duration_reached: { max_connection_duration: '0.05s' } };
  for (const [name, common_http_protocol_options] of Object.entries(ends)) {
    await using plane = await startPlane({ listeners: [listener('l', hcm(route, { common_http_protocol_options }))] });
    const client = await RawClient.open(plane.port('l'));
    await client.send('GET / HTTP/1.1\r\nhost: a.test\r\n\r\n').response('GET');
    await client.rest();
    assert.equal(plane.plane.stats.find(`http.test.downstream_cx_${name}`)?.value, 1, name);
  }
});
