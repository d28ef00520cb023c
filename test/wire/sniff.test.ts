// First bytes: ClientHello and HTTP, in any pieces.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { describe, test } from 'node:test';
import { connect } from 'node:tls';
import fc from 'fast-check';
import { sniffHttp } from '../../src/wire/http-sniff.ts';
import { inspectClientHello } from '../../src/wire/tls-hello.ts';

const u16 = (n: number): number[] => [n >> 8, n & 255];
const vec16 = (b: readonly number[]): number[] => [...u16(b.length), ...b];
const vec8 = (b: readonly number[]): number[] => [b.length, ...b];
const bytes = (s: string): number[] => [...Buffer.from(s)];

const hello = (extensions: readonly number[] | undefined): number[] => {
  const body = [
    3,
    3,
    ...Array(32).fill(7),
    ...vec8(Array(32).fill(1)),
    ...vec16([0x13, 0x01]),
    ...vec8([0]),
    ...(extensions ? vec16(extensions) : []),
  ];
  return [1, 0, ...u16(body.length), ...body];
};
const sniExt = (name: string): number[] => [0, 0, ...vec16(vec16([0, ...vec16(bytes(name))]))];
const alpnExt = (names: readonly string[]): number[] => [0, 16, ...vec16(vec16(names.flatMap((n) => vec8(bytes(n)))))];
const records = (handshake: readonly number[], size: number): Buffer => {
  const out: number[] = [];
  for (let i = 0; i < handshake.length; i += size) out.push(22, 3, 1, ...vec16(handshake.slice(i, i + size)));
  return Buffer.from(out);
};

describe('ClientHello', () => {
  test('a real one', async () => {
    const server = createServer();
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    const address = server.address();
    assert.ok(address !== null && typeof address === 'object');
    const client = connect({
      port: address.port,
      host: '127.0.0.1',
      servername: 'Payment.Production',
      ALPNProtocols: ['h2', 'istio'],
      rejectUnauthorized: false,
    });
    client.on('error', () => {});
    const [socket] = await once(server, 'connection');
    let got = Buffer.alloc(0);
    let seen = inspectClientHello(got);
    while (seen.kind === 'need-more') {
      const [chunk] = await once(socket, 'data');
      got = Buffer.concat([got, chunk]);
      seen = inspectClientHello(got);
    }
    client.destroy();
    socket.destroy();
    server.close();
    assert.deepEqual(seen, { kind: 'tls', sni: 'payment.production', alpn: ['h2', 'istio'] });
  });

  test('cut anywhere and split over records', () => {
    const h = hello([...sniExt('a.example'), 0, 43, ...vec16([2, 3, 4]), ...alpnExt(['http/1.1'])]);
    for (const size of [h.length, 40, 7, 1]) {
      const all = records(h, size);
      for (let n = 0; n < all.length; n++) assert.equal(inspectClientHello(all.subarray(0, n)).kind, 'need-more', `${size}/${n}`);
      assert.deepEqual(inspectClientHello(all), { kind: 'tls', sni: 'a.example', alpn: ['http/1.1'] });
      assert.deepEqual(inspectClientHello(Buffer.concat([all, Buffer.from('more')])), {
        kind: 'tls',
        sni: 'a.example',
        alpn: ['http/1.1'],
      });
    }
  });

  test('without extensions', () => {
    assert.deepEqual(inspectClientHello(records(hello(undefined), 999)), { kind: 'tls', alpn: [] });
    assert.deepEqual(inspectClientHello(records(hello([]), 999)), { kind: 'tls', alpn: [] });
  });

  test('other protocols are known by their first bytes', () => {
    for (const text of ['GET /', 'PRI *', '\x16\x02\0\0\0', '\x17\x03\x01\0\x05', '\x00\0\0\0\0'])
      assert.equal(inspectClientHello(Buffer.from(text, 'latin1')).kind, 'not-tls', text);
    // Short of a record header nothing is ruled out.
    for (const text of ['', 'G', 'hi', '\x00\0\0\0']) assert.equal(inspectClientHello(Buffer.from(text, 'latin1')).kind, 'need-more', text);
    assert.equal(inspectClientHello(Buffer.from([22, 3])).kind, 'need-more');
    assert.equal(inspectClientHello(Buffer.from([22, 3, 1, 0, 5, 2])).kind, 'not-tls'); // ServerHello
    assert.equal(inspectClientHello(Buffer.from([22, 3, 1, 0, 0])).kind, 'not-tls');
    assert.equal(inspectClientHello(Buffer.from([22, 3, 1, 255, 255])).kind, 'not-tls');
  });

  test('lengths that lie', () => {
    const good = hello([...sniExt('a.example'), ...alpnExt(['h2'])]);
    const broken = [
      hello([0, 0, ...u16(50), 0]),
      hello([0, 0, ...vec16([...u16(99), 0, ...u16(1), 97])]),
      hello([0, 16, ...vec16(vec16([5, 97]))]),
      hello([0, 16, ...vec16(vec16([0]))]),
      hello([0]),
      [1, 0, 0, 10, ...good.slice(4, 14)],
      [1, 0, ...u16(good.length), ...good.slice(4), 0, 0, 0, 0],
    ];
    for (const b of broken) assert.equal(inspectClientHello(records(b, 999)).kind, 'not-tls');
    assert.equal(inspectClientHello(records([1, 255, 255, 255, 3, 3], 99)).kind, 'not-tls');
  });

  test('never throws, never waits for more than its bound', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat({ max: 200 }), fc.nat({ max: 255 }), (noise, at, byte) => {
        inspectClientHello(noise);
        inspectClientHello(Uint8Array.from([22, 3, 1, ...noise]));
        const b = records(hello([...sniExt('a.example'), ...alpnExt(['h2'])]), 60);
        b[at % b.length] = byte;
        inspectClientHello(b);
      }),
    );
    assert.equal(inspectClientHello(records([1, 0, 255, 255, ...Array(70_000).fill(0)], 100)).kind, 'not-tls');
  });
});

describe('HTTP', () => {
  const cases: [string, string][] = [
    ['GET / HTTP/1.1\r\n', 'http/1.1'],
    ['GET / HTTP/1.0\r\nHost: x\r\n', 'http/1.0'],
    ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'h2c'],
    ['M-SEARCH * HTTP/1.1\r\n', 'http/1.1'],
    ['GET http://x/ HTTP/1.1\r\n', 'http/1.1'],
  ];
  test('whole, and need-more before', () => {
    for (const [text, kind] of cases) {
      const end = kind === 'h2c' ? text.length : text.indexOf('\r\n') + 2;
      for (let n = 0; n < end; n++) assert.equal(sniffHttp(Buffer.from(text.slice(0, n))), 'need-more', `${text.slice(0, n)}`);
      assert.equal(sniffHttp(Buffer.from(text)), kind);
    }
  });
  test('not HTTP', () => {
    for (const text of [
      'hello',
      'get / HTTP/1.1\r\n',
      'GETX',
      'GET  /',
      'GET / HTTP/2',
      'GET / FTP',
      'GET /\r\n',
      'SSH-2.0',
      '*1\r\n$4\r\nPING',
      '\x16\x03',
      'PRI * HTTP/1.1\r\n',
      'GET / HTTP/1.1\n',
      'X',
    ])
      assert.equal(sniffHttp(Buffer.from(text)), 'none', text);
    assert.equal(sniffHttp(Buffer.from(`GET /${'a'.repeat(70_000)}`)), 'none');
  });
});
