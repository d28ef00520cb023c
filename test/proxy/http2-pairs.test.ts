// Every pairing of HTTP/1 and HTTP/2 through one proxy: framing, bodies, trailers, bodiless answers, 1xx, upgrades.
import assert from 'node:assert/strict';
import type * as http2 from 'node:http2';
import { connect } from 'node:net';
import { after, before, suite, test } from 'node:test';
import { type Backend, hcm, httpBackend, listener, ok, type Plane, startPlane, staticCluster, toCluster } from './harness.ts';
import { exchange, HTTP2_CLUSTER, type Http2Backend, http2Backend, openSession, protocolOptions } from './http2-peers.ts';

const TRAILERS = protocolOptions({ explicit_http_config: { http_protocol_options: { enable_trailers: true } } });

const h1Answer = (head: string): string => {
  const path = /^\S+ (\S+)/.exec(head)?.[1] ?? '';
  if (head.startsWith('HEAD')) return 'HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n';
  if (path.endsWith('/chunked'))
    return 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nx-trailer: t\r\n\r\n';
  if (path.endsWith('/204')) return 'HTTP/1.1 204 No Content\r\n\r\n';
  if (path.endsWith('/304')) return 'HTTP/1.1 304 Not Modified\r\netag: "a"\r\ncontent-length: 9\r\n\r\n';
  if (path.endsWith('/empty')) return 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n';
  if (path.endsWith('/early-hints')) return `HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n${ok('late')}`;
  if (/\r\nupgrade: websocket/i.test(head))
    return 'HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nwelcome';
  return ok(head.replaceAll('\r\n', '|'));
};

const h2Answer = (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders): void => {
  const path = String(headers[':path']);
  if (headers[':method'] === 'CONNECT') {
    stream.respond({ ':status': 200 });
    stream.on('data', (bytes) => stream.write(`echo ${bytes}`));
    stream.on('end', () => stream.end());
    return;
  }
  if (headers[':method'] === 'HEAD') stream.respond({ ':status': 200, 'content-length': '7' }, { endStream: true });
  else if (path.endsWith('/chunked')) {
    stream.respond({ ':status': 200 }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-trailer': 't' }));
    stream.write('abc');
    stream.end('de');
  } else if (path.endsWith('/204')) stream.respond({ ':status': 204 }, { endStream: true });
  else if (path.endsWith('/304')) stream.respond({ ':status': 304, etag: '"a"' }, { endStream: true });
  else if (path.endsWith('/empty')) stream.respond({ ':status': 200 }, { endStream: true });
  else {
    if (path.endsWith('/early-hints')) stream.additionalHeaders({ ':status': 103, link: '</a>' });
    const pieces: Buffer[] = [];
    stream.on('data', (piece: Buffer) => pieces.push(piece));
    stream.on('trailers', (fields) => pieces.push(Buffer.from(` trailer ${fields['x-asked']}`)));
    stream.on('end', () => {
      const body = path.endsWith('/early-hints') ? 'late' : `${JSON.stringify(headers)} body ${Buffer.concat(pieces)}`;
      stream.respond({ ':status': 200, 'content-length': body.length });
      stream.end(body);
    });
  }
};

/** One HTTP/1 exchange as text, on a connection of its own; `until` ends it. */
const http1 = (port: number, request: string, until: RegExp): Promise<string> =>
  new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    let text = '';
    const timer = setTimeout(() => socket.destroy(new Error(`not in time: ${text}`)), 5000);
    socket.on('data', (bytes) => {
      text += bytes.toString('latin1');
      if (until.test(text)) socket.destroy();
    });
    socket.on('error', reject);
    socket.on('close', () => {
      clearTimeout(timer);
      resolve(text);
    });
    socket.write(request);
  });

suite('HTTP/1 and HTTP/2 on either side', () => {
  let h1: Backend;
  let h2: Http2Backend;
  let plane: Plane;
  let port = 0;
  let session: http2.ClientHttp2Session;
  before(async () => {
    h1 = await httpBackend((_n, head) => h1Answer(head));
    h2 = await http2Backend(h2Answer, { enableConnectProtocol: true });
    plane = await startPlane({
      clusters: [
        staticCluster('h1', [h1.port], TRAILERS),
        staticCluster('h2', [h2.port], HTTP2_CLUSTER),
        staticCluster('h1-plain', [h1.port]),
      ],
      listeners: [
        listener(
          'in',
          hcm(
            [
              { match: { prefix: '/1/' }, route: { cluster: 'h1' } },
              { match: { prefix: '/2/' }, route: { cluster: 'h2' } },
              { match: { prefix: '/plain/' }, route: { cluster: 'h1-plain' } },
            ],
            {
              http_protocol_options: { enable_trailers: true },
              http2_protocol_options: { allow_connect: true },
              upgrade_configs: [{ upgrade_type: 'websocket' }],
            },
          ),
        ),
        listener('no-trailers', hcm([toCluster('h2')])),
      ],
    });
    port = plane.port('in');
    session = await openSession(port);
  });
  after(async () => {
    session.destroy();
    await plane[Symbol.asyncDispose]();
    await h1[Symbol.asyncDispose]();
    await h2[Symbol.asyncDispose]();
  });

  for (const to of ['1', '2'] as const) {
    test(`HTTP/2 to HTTP/${to}: bodies of unknown length come whole, with their trailers`, async () => {
      const answer = await exchange(session, { ':path': `/${to}/chunked` });
      assert.deepEqual([answer.status, answer.body, answer.trailers['x-trailer'], answer.code], [200, 'abcde', 't', 0]);
      assert.equal(answer.headers['transfer-encoding'], undefined);
    });

    test(`HTTP/2 to HTTP/${to}: HEAD, 204, 304 and an empty body end with their head`, async () => {
      const head = await exchange(session, { ':path': `/${to}/x`, ':method': 'HEAD' });
      assert.deepEqual([head.status, head.body, head.headers['content-length']], [200, '', '7']);
      for (const [path, status] of [
        ['204', 204],
        ['304', 304],
        ['empty', 200],
      ] as const) {
        const answer = await exchange(session, { ':path': `/${to}/${path}` });
        assert.deepEqual([answer.status, answer.body, answer.code], [status, '', 0]);
      }
    });

    test(`HTTP/2 to HTTP/${to}: early hints pass`, async () => {
      const answer = await exchange(session, { ':path': `/${to}/early-hints` });
      assert.deepEqual([answer.informational, answer.status, answer.body], [[103], 200, 'late']);
    });

    test(`HTTP/2 to HTTP/${to}: leave to send the body is given here`, async () => {
      const answer = await exchange(
        session,
        { ':path': `/${to}/x`, ':method': 'POST', expect: '100-continue', 'content-length': '2' },
        'ab',
      );
      assert.deepEqual([answer.informational, answer.status], [[100], 200]);
      assert.doesNotMatch(answer.body, /100-continue/);
    });

    test(`HTTP/1 to HTTP/${to}: bodies of unknown length come chunked, with their trailers`, async () => {
      const text = await http1(port, `GET /${to}/chunked HTTP/1.1\r\nhost: a\r\n\r\n`, /\r\n0\r\n(.+\r\n)*\r\n/);
      assert.match(text, /transfer-encoding: chunked/);
      assert.match(text, /\r\n0\r\nx-trailer: t\r\n\r\n$/);
    });

    test(`HTTP/1 to HTTP/${to}: HEAD, 204, 304 and an empty body keep the connection in step`, async () => {
      const requests = ['HEAD x', 'GET 204', 'GET 304', 'GET empty', 'GET last'].map((r) => {
        const [method, path] = r.split(' ');
        return `${method} /${to}/${path} HTTP/1.1\r\nhost: a\r\n\r\n`;
      });
      const text = await http1(port, requests.join(''), /\/last/);
      assert.deepEqual(text.match(/HTTP\/1.1 \d+/g), ['HTTP/1.1 200', 'HTTP/1.1 204', 'HTTP/1.1 304', 'HTTP/1.1 200', 'HTTP/1.1 200']);
      assert.match(text, /HTTP\/1.1 200 OK\r\n(?:\S+: .+\r\n)*content-length: 0\r\n/);
    });

    test(`HTTP/1 to HTTP/${to}: early hints pass`, async () => {
      const text = await http1(port, `GET /${to}/early-hints HTTP/1.1\r\nhost: a\r\n\r\n`, /late$/);
      assert.match(text, /^HTTP\/1.1 103 Early Hints\r\nlink: <\/a>\r\n\r\nHTTP\/1.1 200 OK\r\n/);
    });

    test(`a WebSocket over HTTP/2 reaches HTTP/${to}`, async () => {
      const stream = session.request({
        ':method': 'CONNECT',
        ':protocol': 'websocket',
        ':path': `/${to}/ws`,
        ':scheme': 'http',
        ':authority': 'a',
      });
      const heard: string[] = [];
      const status = await new Promise((resolve) => stream.on('response', (head) => resolve(head[':status'])));
      assert.equal(status, 200);
      stream.write('hello');
      await new Promise<void>((resolve) =>
        stream.on('data', (bytes) => {
          heard.push(String(bytes));
          resolve();
        }),
      );
      stream.close();
      assert.deepEqual(heard, [to === '1' ? 'welcome' : 'echo hello']);
    });

    test(`a WebSocket over HTTP/1 reaches HTTP/${to}`, async () => {
      const request = `GET /${to}/ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello`;
      const text = await http1(port, request, /welcome$|echo hello$/);
      assert.match(text, /^HTTP\/1.1 101 Switching Protocols\r\n/);
      assert.match(text, /upgrade: websocket/);
      assert.doesNotMatch(text, /transfer-encoding/);
    });
  }

  test('a request body of unknown length is chunked towards HTTP/1, one of known length is not', async () => {
    const chunked = await exchange(session, { ':path': '/1/x', ':method': 'POST' }, 'body');
    assert.match(chunked.body, /transfer-encoding: chunked/);
    const known = await exchange(session, { ':path': '/1/x', ':method': 'POST', 'content-length': '4' }, 'body');
    assert.doesNotMatch(known.body, /transfer-encoding/);
    const none = await exchange(session, { ':path': '/1/x', ':method': 'POST' });
    assert.match(none.body, /content-length: 0/);
  });

  test('request trailers pass where both sides have them', async () => {
    const answer = await exchange(session, { ':path': '/2/x', ':method': 'POST' }, 'body', { 'x-asked': 'yes' });
    assert.match(answer.body, /body body trailer yes$/);
    const text = await http1(
      port,
      'POST /2/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nx-asked: 1\r\n\r\n',
      /trailer 1$/,
    );
    assert.match(text, /body ab trailer 1$/);
  });

  test('trailers end at a side of HTTP/1 that has them switched off', async () => {
    const answer = await exchange(session, { ':path': '/plain/chunked' });
    assert.deepEqual([answer.body, answer.trailers['x-trailer']], ['abcde', undefined]);
    const text = await http1(plane.port('no-trailers'), 'GET /chunked HTTP/1.1\r\nhost: a\r\n\r\n', /\r\n0\r\n(.+\r\n)*\r\n/);
    assert.match(text, /\r\n0\r\n\r\n$/);
  });

  test('cookie crumbs are one header upstream, te: trailers stays, the host is the authority', async () => {
    const answer = await exchange(session, { ':path': '/1/x', ':authority': 'front', cookie: ['a=1', 'b=2'], te: 'trailers' });
    assert.match(answer.body, /\|cookie: a=1; b=2\|/);
    assert.match(answer.body, /\|te: trailers\|/);
    assert.match(answer.body, /\|host: front\|/);
    const over = await exchange(session, { ':path': '/2/x', ':authority': 'front', te: 'trailers' }, '');
    assert.match(over.body, /":authority":"front"/);
    assert.match(over.body, /"te":"trailers"/);
  });

  test('an HTTP/1 request with connection headers becomes a clean HTTP/2 request', async () => {
    const request =
      'GET /2/x HTTP/1.1\r\nhost: front\r\nconnection: keep-alive, x-own\r\nkeep-alive: 1\r\nx-own: 1\r\nproxy-connection: a\r\n\r\n';
    const text = await http1(port, request, /body $/);
    assert.match(text, /":authority":"front"/);
    assert.doesNotMatch(text, /x-own|keep-alive|proxy-connection|"host"/);
  });
});
