// The machine behind the process's own pages, fed in pieces, with a reader that does not read and with what an attacker sends.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PageReader, pageRequestBytes } from '../../src/wire/http1-page-client.ts';
import { PageConnection, type PagePhase, type PageRequest } from '../../src/wire/http1-page-server.ts';

const rig = (options: { keepAlive?: boolean; full?: boolean; manual?: boolean; body?: string } = {}) => {
  const requests: PageRequest[] = [];
  const phases: PagePhase[] = [];
  const out: Buffer[] = [];
  let ended = 0;
  const state = { full: options.full ?? false };
  const connection: PageConnection = new PageConnection(
    {
      request: (r) => {
        requests.push(r);
        if (!options.manual) answer();
      },
      write: (b) => {
        out.push(b);
        return !state.full;
      },
      end: () => void ended++,
      phase: (p) => void phases.push(p),
    },
    { bodyBytesMax: 100, keepAlive: options.keepAlive ?? true },
  );
  const answer = (): void =>
    connection.answer({ status: 200, headers: { 'x-a': 'b\r\nc' }, body: options.body ?? `${requests.at(-1)?.path}\n` });
  const send = (text: string): void => connection.receive(Buffer.from(text, 'latin1'));
  const text = (): string => Buffer.concat(out).toString('latin1');
  const statuses = (): string[] => [...text().matchAll(/HTTP\/1\.1 (\d+)/g)].map((m) => m[1] ?? '');
  return { connection, requests, phases, send, text, statuses, answer, state, out, ended: () => ended };
};

test('a request in single bytes is answered whole, and the connection goes on', () => {
  const r = rig();
  for (const byte of 'GET /a?b=1 HTTP/1.1\r\nHost: x\r\n\r\n') r.send(byte);
  assert.deepEqual(r.requests, [{ method: 'GET', path: '/a?b=1', body: '' }]);
  assert.equal(r.text(), 'HTTP/1.1 200 OK\r\nx-a: b  c\r\ncontent-length: 7\r\n\r\n/a?b=1\n');
  assert.equal(r.phases.at(-1), 'idle');
  r.send('GET /2 HTTP/1.1\r\nHost: x\r\n\r\n');
  assert.equal(r.requests.length, 2);
  assert.equal(r.ended(), 0);
});

test('bodies by length and in chunks reach the handler', () => {
  const r = rig();
  r.send('POST /l HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel');
  r.send('loPOST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n');
  assert.deepEqual(
    r.requests.map(({ path, body }) => [path, body]),
    [
      ['/l', 'hello'],
      ['/c', 'abcd'],
    ],
  );
});

test('HEAD has the length and no body', () => {
  const r = rig({ body: 'twelve bytes' });
  r.send('HEAD / HTTP/1.1\r\nHost: x\r\n\r\n');
  assert.match(r.text(), /content-length: 12\r\n\r\n$/);
});

test('pipelined requests wait for their turn, and too much of them ends the connection', () => {
  const r = rig({ manual: true });
  r.send('GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n');
  assert.equal(r.requests.length, 1);
  r.answer();
  assert.deepEqual(
    r.requests.map((q) => q.path),
    ['/1', '/2'],
  );
  r.send('x'.repeat(70_000));
  assert.equal(r.ended(), 1);
  r.answer();
  assert.deepEqual(r.statuses(), ['200'], 'nobody is written to any more');
});

test('a page goes out piece by piece as the reader takes it', () => {
  const body = 'p'.repeat(1_000_000);
  const r = rig({ full: true, body });
  r.send('GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /next HTTP/1.1\r\nHost: x\r\n\r\n');
  assert.equal(r.out.length, 1);
  assert.ok((r.out[0]?.length ?? 0) <= 64 * 1024);
  assert.equal(r.phases.at(-1), 'write');
  for (let i = 0; i < 20 && r.requests.length < 2; i++) r.connection.drained();
  assert.equal(r.requests.length, 2, 'the next request is looked at when the page is out');
  assert.ok(r.text().includes(`\r\n\r\n${body}HTTP/1.1 200 OK`));
});

test('what is not HTTP, is too large or asks for a tunnel is refused and the connection ended', () => {
  const cases: [string, string][] = [
    ['\x16\x03\x01\x02\x00garbage\r\n\r\n', '400'],
    ['GET / HTTP/1.1\r\n\r\n', '400'],
    ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', '426'],
    ['POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n', '400'],
    [`GET / HTTP/1.1\r\nHost: x\r\nA: ${'a'.repeat(17_000)}\r\n\r\n`, '431'],
    [`GET / HTTP/1.1\r\n${'A: a\r\n'.repeat(101)}\r\n`, '431'],
    ['POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n', '413'],
    [`POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n${'b'.repeat(101)}\r\n`, '413'],
    ['CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n', '405'],
  ];
  for (const [bytes, status] of cases) {
    const r = rig();
    r.send(bytes);
    r.send('GET /after HTTP/1.1\r\nHost: x\r\n\r\n');
    assert.deepEqual([r.statuses(), r.requests.length, r.ended()], [[status], 0, 1], JSON.stringify(bytes.slice(0, 60)));
    assert.match(r.text(), /connection: close\r\n/);
  }
});

test('a client that waits for leave to send its body gets it', () => {
  const r = rig();
  r.send('POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n');
  assert.deepEqual(r.statuses(), ['100']);
  r.send('ok');
  assert.deepEqual([r.statuses(), r.requests[0]?.body], [['100', '200'], 'ok']);
});

test('the last answer says so: one request a connection, HTTP/1.0, close asked, client ended, server leaves', () => {
  const ways: [string, (r: ReturnType<typeof rig>) => void, boolean?][] = [
    ['GET / HTTP/1.1\r\nHost: x\r\n\r\n', () => undefined, false],
    ['GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n', () => undefined],
    ['GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n', () => undefined],
    ['GET / HTTP/1.1\r\nHost: x\r\n\r\n', (r) => r.connection.finish()],
    ['GET / HTTP/1.1\r\nHost: x\r\n\r\n', (r) => r.connection.leave()],
  ];
  for (const [bytes, then, keepAlive] of ways) {
    const r = rig({ manual: true, keepAlive: keepAlive ?? true });
    r.send(bytes);
    then(r);
    assert.equal(r.ended(), 0);
    r.answer();
    assert.match(r.text(), /^HTTP\/1\.1 200 OK\r\n.*connection: close\r\n.*\/\n$/s);
    assert.equal(r.ended(), 1);
  }
});

test('an idle or half asked connection ends at once when the client does', () => {
  const idle = rig();
  idle.connection.leave();
  assert.equal(idle.ended(), 1);
  const half = rig();
  half.send('GET / HT');
  assert.equal(half.phases.at(-1), 'request');
  half.connection.finish();
  assert.deepEqual([half.ended(), half.text()], [1, '']);
});

test('the reader gives a whole answer or why there is none', () => {
  const read = (text: string, options: { method?: string; max?: number; eof?: boolean } = {}): PageReader => {
    const reader = new PageReader(options.method ?? 'GET', options.max ?? 100);
    for (const byte of text) reader.receive(Buffer.from(byte, 'latin1'));
    if (options.eof) reader.finish();
    return reader;
  };
  const whole = { status: 200, headers: { 'content-length': '2', 'x-b': '1, 2' }, body: 'ab' };
  assert.deepEqual(read('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-B: 1\r\nX-B: 2\r\n\r\nab').answer, whole);
  assert.equal(read('HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n').answer?.body, 'ab');
  assert.equal(read('HTTP/1.0 200 OK\r\n\r\nuntil the end', { eof: true }).answer?.body, 'until the end');
  assert.equal(read('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n', { method: 'HEAD' }).answer?.status, 200);
  assert.equal(read('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na').done, false);
  assert.match(read('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na', { eof: true }).failure, /ended inside/);
  assert.match(read('', { eof: true }).failure, /without an answer/);
  assert.match(read('HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n').failure, /not HTTP/);
  assert.match(read(`HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n${'a'.repeat(101)}`).failure, /above 100 bytes/);
  assert.match(read('SSH-2.0-x\r\n\r\n').failure, /status line|HTTP version/);
});

test('a request line cannot be smuggled into the client’s bytes', () => {
  assert.throws(() => pageRequestBytes({ method: 'GET', path: '/ HTTP/1.1\r\nx: y', body: '' }, 'h'));
  assert.equal(
    pageRequestBytes({ method: 'POST', path: '/q', body: 'é' }, 'h').toString(),
    'POST /q HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 2\r\n\r\né',
  );
});
