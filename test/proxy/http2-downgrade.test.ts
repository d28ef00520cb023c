// Hostile HTTP/2 requests towards an HTTP/1 upstream: none may ever become a second request or change the framing of the first.
import assert from 'node:assert/strict';
import { after, before, beforeEach, suite, test } from 'node:test';
import { type Backend, hcm, listener, ok, type Plane, startBackend, startPlane, staticCluster, toCluster } from './harness.ts';
import { block, END_HEADERS, END_STREAM, FRAME, frame, rawClient } from './http2-peers.ts';

type Fields = readonly (readonly [string, string])[];
const GET: Fields = [
  [':method', 'GET'],
  [':scheme', 'http'],
  [':authority', 'a'],
  [':path', '/a'],
];
const POST: Fields = [[':method', 'POST'], ...GET.slice(1)];
const having = (name: string, value: string): Fields => GET.map(([n, v]) => [n, n === name ? value : v]);
const SMUGGLED = 'GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n';

interface Row {
  readonly what: string;
  readonly head: Fields;
  readonly body?: readonly string[];
  readonly trailers?: Fields;
}

const REFUSED: readonly Row[] = [
  { what: 'transfer-encoding', head: [...POST, ['transfer-encoding', 'chunked']], body: [`0\r\n\r\n${SMUGGLED}`] },
  { what: 'transfer-encoding with a value that is none', head: [...POST, ['transfer-encoding', 'x']], body: ['x'] },
  { what: 'transfer-encoding in capitals', head: [...POST, ['Transfer-Encoding', 'chunked']], body: ['x'] },
  { what: 'connection', head: [...GET, ['connection', 'close']] },
  { what: 'connection naming another', head: [...GET, ['connection', 'content-length']] },
  { what: 'keep-alive', head: [...GET, ['keep-alive', '1']] },
  { what: 'proxy-connection', head: [...GET, ['proxy-connection', 'keep-alive']] },
  { what: 'upgrade', head: [...GET, ['upgrade', 'websocket']] },
  { what: 'te that is not trailers', head: [...GET, ['te', 'chunked']] },
  { what: 'a body shorter than its content-length', head: [...POST, ['content-length', '10']], body: ['short'] },
  { what: 'a body longer than its content-length', head: [...POST, ['content-length', '1']], body: [`x${SMUGGLED}`] },
  { what: 'a body longer than its content-length, in pieces', head: [...POST, ['content-length', '1']], body: ['x', SMUGGLED] },
  { what: 'a body where content-length says none', head: [...POST, ['content-length', '0']], body: [SMUGGLED] },
  { what: 'content-length without a body', head: [...POST, ['content-length', '5']] },
  { what: 'two lengths that differ', head: [...POST, ['content-length', '0'], ['content-length', '37']], body: [SMUGGLED] },
  { what: 'a list of lengths', head: [...POST, ['content-length', '0, 37']], body: [SMUGGLED] },
  { what: 'a length with a sign', head: [...POST, ['content-length', '+5']], body: ['short'] },
  { what: 'a length in hexadecimal', head: [...POST, ['content-length', '0x5']], body: ['short'] },
  { what: 'a length that is empty', head: [...POST, ['content-length', '']], body: ['x'] },
  { what: 'CR LF in a value', head: [...GET, ['x-a', `b\r\n\r\n${SMUGGLED}`]] },
  { what: 'LF in a value', head: [...GET, ['x-a', 'b\nx-b: c']] },
  { what: 'CR in a value', head: [...GET, ['x-a', 'b\rx-b: c']] },
  { what: 'NUL in a value', head: [...GET, ['x-a', 'b\0c']] },
  { what: 'CR LF in a name', head: [...GET, ['x-a: b\r\nx-b', 'c']] },
  { what: 'a colon in a name', head: [...GET, ['transfer-encoding: chunked', 'x']] },
  { what: 'a space in a name', head: [...GET, ['transfer-encoding ', 'chunked']] },
  { what: 'a tab before a name', head: [...GET, ['\ttransfer-encoding', 'chunked']] },
  { what: 'an empty name', head: [...GET, ['', 'x']] },
  { what: 'capitals in a name', head: [...GET, ['X-A', 'b']] },
  { what: 'a space in the path', head: having(':path', '/a b') },
  { what: 'a version in the path', head: having(':path', '/a HTTP/1.1') },
  { what: 'a request in the path', head: having(':path', `/a HTTP/1.1\r\nhost: a\r\n\r\n${SMUGGLED}`) },
  { what: 'a tab in the path', head: having(':path', '/a\tb') },
  { what: 'NUL in the path', head: having(':path', '/a\0b') },
  { what: 'an empty path', head: having(':path', '') },
  { what: 'a path without its slash', head: having(':path', 'a') },
  { what: 'an absolute path', head: having(':path', 'http://b/a') },
  { what: 'a request in the method', head: having(':method', `GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\nGET`) },
  { what: 'a space in the method', head: having(':method', 'GET /smuggled') },
  { what: 'an empty method', head: having(':method', '') },
  { what: 'a header line in the authority', head: having(':authority', 'a\r\ntransfer-encoding: chunked') },
  { what: 'a space in the authority', head: having(':authority', 'a b') },
  { what: 'a path in the authority', head: having(':authority', 'a/b') },
  { what: 'a user in the authority', head: having(':authority', 'b@a') },
  { what: 'a header line in the scheme', head: having(':scheme', 'http\r\nx-a: b') },
  { what: 'a header line in the host', head: [...GET.filter(([n]) => n !== ':authority'), ['host', 'a\r\nx-a: b']] },
  { what: 'two hosts', head: [...GET.filter(([n]) => n !== ':authority'), ['host', 'a'], ['host', 'b']] },
  { what: 'no authority at all', head: GET.filter(([n]) => n !== ':authority') },
  { what: 'two paths', head: [...GET, [':path', '/smuggled']] },
  { what: 'two methods', head: [...GET, [':method', 'POST']] },
  { what: 'no path', head: GET.filter(([n]) => n !== ':path') },
  { what: 'no method', head: GET.filter(([n]) => n !== ':method') },
  { what: 'a pseudo field behind a field', head: [['x-a', 'b'], ...GET] },
  { what: 'an unknown pseudo field', head: [...GET, [':x', 'b']] },
  { what: "a response's pseudo field", head: [...GET, [':status', '200']] },
  { what: ':protocol where it was not allowed', head: [...having(':method', 'CONNECT'), [':protocol', 'websocket']] },
  { what: ':protocol on another method', head: [...GET, [':protocol', 'websocket']] },
  { what: 'a pseudo field in trailers', head: POST, body: ['x'], trailers: [[':path', '/smuggled']] },
  { what: 'CR LF in trailers', head: POST, body: ['x'], trailers: [['x-a', `b\r\n\r\n${SMUGGLED}`]] },
  { what: 'transfer-encoding in trailers', head: POST, body: ['x'], trailers: [['transfer-encoding', 'chunked']] },
];

const PASSED: readonly (Row & { readonly arrives: RegExp })[] = [
  {
    what: 'a chunk in a body',
    head: POST,
    body: [`0\r\n\r\n${SMUGGLED}`],
    arrives: /\r\n28\r\n0\r\n\r\nGET \/smuggled HTTP\/1.1\r\nhost: a\r\n\r\n\r\n0\r\n\r\n$/,
  },
  {
    what: 'a request in a body of its length',
    head: [...POST, ['content-length', String(SMUGGLED.length)]],
    body: [SMUGGLED],
    arrives: /content-length: 35\r\n(?:.+\r\n)*\r\nGET \/smuggled/,
  },
  {
    what: 'a length with leading zeros, which some take for octal',
    head: [...POST, ['content-length', '0011']],
    body: ['eleven bytes'.slice(1)],
    arrives: /content-length: 11\r\n(?:.+\r\n)*\r\nleven bytes$/,
  },
  { what: 'a request in a value with escapes', head: [...GET, ['x-a', '%0d%0a%0d%0aGET /smuggled']], arrives: /x-a: %0d%0a/ },
  {
    what: 'a host beside the authority',
    head: [...GET, ['host', 'b']],
    arrives: /^GET \/a HTTP\/1.1\r\nhost: a\r\n(?:(?!host:).+\r\n)+\r\n$/,
  },
  {
    what: 'an unknown method without a body',
    head: having(':method', 'FOO'),
    arrives: /^FOO \/a HTTP\/1.1\r\n(?:.+\r\n)*content-length: 0\r\n/,
  },
];

suite('HTTP/2 requests towards HTTP/1', () => {
  let backend: Backend;
  let plane: Plane;
  before(async () => {
    backend = await startBackend((socket) => {
      socket.write(ok('x'));
    });
    plane = await startPlane({
      clusters: [staticCluster('app', [backend.port])],
      listeners: [listener('in', hcm([{ match: { connect_matcher: {} }, route: { cluster: 'app' } }, toCluster('app')]))],
    });
  });
  after(async () => {
    await plane[Symbol.asyncDispose]();
    await backend[Symbol.asyncDispose]();
  });
  let seen: number[] = [];
  beforeEach(() => {
    seen = backend.received.map((text) => text.length);
  });
  /** What reached the backend in this test, connection by connection. */
  const arrivals = (): string[] => backend.received.map((text, n) => text.slice(seen[n] ?? 0)).filter((text) => text !== '');

  const play = async (row: Row): Promise<number> => {
    using client = await rawClient(plane.port('in'));
    const body = row.body ?? [];
    const last = (n: number) => n === body.length - 1 && row.trailers === undefined;
    client.send(
      frame(FRAME.headers, END_HEADERS | (body.length === 0 ? END_STREAM : 0), 1, block(row.head)),
      ...body.map((piece, n) => frame(FRAME.data, last(n) ? END_STREAM : 0, 1, Buffer.from(piece))),
      ...(row.trailers === undefined ? [] : [frame(FRAME.headers, END_HEADERS | END_STREAM, 1, block(row.trailers))]),
    );
    const answer = await client.until(
      (f) => f.type === FRAME.goaway || (f.id === 1 && (f.type === FRAME.headers || f.type === FRAME.reset)),
    );
    return answer?.type === FRAME.headers && answer.payload[0] === 0x88 ? 200 : 0;
  };

  for (const row of REFUSED)
    test(`refused: ${row.what}`, async () => {
      assert.notEqual(await play(row), 200);
      const arrived = arrivals().join('\n');
      assert.doesNotMatch(arrived, /smuggled|transfer-encoding: chunked\r\n(?:.+\r\n)*\r\n0\r\n\r\n|x-b/);
      assert.ok((arrived.match(/HTTP\/1.1\r\n/g) ?? []).length <= 1, arrived);
    });

  for (const row of PASSED)
    test(`arrives as one request: ${row.what}`, async () => {
      assert.equal(await play(row), 200);
      assert.match(arrivals().join(''), row.arrives);
    });

  test('a connection to the backend that a refused request was on is not used again', async () => {
    await play({ what: '', head: [...POST, ['content-length', '1']], body: ['x', SMUGGLED] });
    assert.equal(await play({ what: '', head: GET }), 200);
    const arrived = arrivals().filter((text) => text.includes('GET /a'));
    assert.equal(arrived.length, 1);
    assert.ok(arrived[0]?.startsWith('GET /a HTTP/1.1\r\n'));
  });
});
