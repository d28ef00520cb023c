// gRPC from browsers: what goes upstream and what comes back is what a stock Envoy makes of it, which plays the same calls beside us.
import assert from 'node:assert/strict';
import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import { test } from 'node:test';
import { hcm, listener, RawClient, ROUTER, startBackend, startPlane, staticCluster, toCluster } from './harness.ts';
import { HTTP2_CLUSTER, http2Backend } from './http2-peers.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';

const frame = (text: string): Buffer => {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(text.length, 1);
  return Buffer.concat([prefix, Buffer.from(text)]);
};
interface Named {
  readonly name: string;
  readonly typed_config: { readonly '@type': string; readonly [field: string]: unknown };
}
const SEEN = ['content-type', 'te', 'grpc-accept-encoding', 'content-length', 'accept'];
const SHOWN = ['content-type', 'content-length', 'transfer-encoding', 'grpc-status', 'grpc-message'];

/** Answers as the path says: messages `a` and `bcde` in pieces, then trailers. */
const serve = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void => {
  const path = headers[':path'] ?? '';
  const body: Buffer[] = [];
  stream.on('data', (bytes: Buffer) => body.push(bytes));
  stream.on('end', () => {
    const told = SEEN.map((name) => `${name}=${String(headers[name] ?? '')}`).join(' ');
    const seen = { 'x-seen': `${told} body=${Buffer.concat(body).toString('hex')}` };
    const type = { ':status': 200, 'content-type': 'application/grpc', ...seen };
    if (path === '/page') {
      stream.respond({ ':status': 404, 'content-type': 'text/html', 'content-length': 4 });
      stream.end('page');
      return;
    }
    if (path === '/only-head') {
      stream.respond({ ...type, 'grpc-status': '7', 'grpc-message': 'no' }, { endStream: true });
      return;
    }
    stream.respond(type, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0', 'grpc-message': 'well', 'x-own': 'y' }));
    const all = path === '/no-message' ? Buffer.alloc(0) : Buffer.concat([frame('a'), frame(''), frame('bcdefgh')]);
    const step = path === '/bytes' ? 1 : path === '/pieces' ? 7 : 1000;
    for (let at = 0; at < all.length; at += step) stream.write(all.subarray(at, at + step));
    stream.end();
  });
};

const stage = (port: number, before: readonly Named[] = []) => ({
  clusters: [staticCluster('c', [port], HTTP2_CLUSTER), staticCluster('empty', [])],
  listeners: [
    listener(
      'l',
      hcm(
        [
          { match: { prefix: '/none' }, direct_response: { status: 404 } },
          { match: { prefix: '/said' }, direct_response: { status: 403, body: { inline_string: 'not % you\n' } } },
          { match: { prefix: '/lost' }, route: { cluster: 'empty' } },
          toCluster('c'),
        ],
        {
          http_filters: [
            ...before,
            { name: 'web', typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb' } },
            ROUTER,
          ],
        },
      ),
    ),
  ],
});

const WEB = 'application/grpc-web';
const CALLS: readonly (readonly [path: string, type: string, accept: string, body: string])[] = [
  ['/whole', WEB, '', 'hello'],
  ['/whole', `${WEB}+proto`, `${WEB}+proto`, 'hello'],
  ['/bytes', `${WEB}+proto`, '', 'hello'],
  ['/only-head', WEB, '', 'hello'],
  ['/no-message', WEB, '', ''],
  ['/whole', `${WEB}-text`, `${WEB}-text`, Buffer.from('hello').toString('base64')],
  ['/pieces', `${WEB}-text+proto`, `${WEB}-text+proto`, `${Buffer.from('he').toString('base64')}${Buffer.from('llo').toString('base64')}`],
  ['/bytes', `${WEB}-text+proto`, `${WEB}-text`, Buffer.from('hello').toString('base64')],
  ['/no-message', `${WEB}-text`, `${WEB}-text`, ''],
  ['/only-head', `${WEB}-text`, `${WEB}-text`, 'aGVsbG8='],
  ['/whole', `${WEB}-text`, '', 'aGVsbG8='],
  ['/whole', WEB, `${WEB}-text`, 'hello'],
  ['/whole', `${WEB}-text`, '', 'aGVsbG8'],
  ['/whole', `${WEB}-text`, '', 'a$VsbG8='],
  ['/whole', `${WEB}+json`, '', 'hello'],
  ['/whole', 'application/grpc', '', 'hello'],
  ['/none', WEB, '', 'hello'],
  ['/said', WEB, '', 'hello'],
  ['/lost', WEB, '', 'hello'],
  ['/none', `${WEB}-text`, `${WEB}-text`, 'aGVsbG8='],
];

const call = async (port: number, [path, type, accept, body]: (typeof CALLS)[number]): Promise<string> => {
  const client = await RawClient.open(port);
  try {
    const lines = [`content-type: ${type}`, `content-length: ${body.length}`, ...(accept === '' ? [] : [`accept: ${accept}`])];
    const answered = client.send(`POST ${path} HTTP/1.1\r\nhost: a.test\r\n${lines.join('\r\n')}\r\n\r\n${body}`).response('POST');
    const { status, headers, body: text } = await answered;
    const shown = SHOWN.filter((name) => headers.has(name)).map((name) => `${name}=${headers.get(name)}`);
    const readable = JSON.stringify(text).replaceAll(/\\u00(..)/g, '~$1');
    return [status, ...shown, `seen: ${headers.get('x-seen') ?? ''}`, readable].join(' ');
  } finally {
    client.close();
  }
};
const play = async (port: number): Promise<{ readonly [call: string]: string }> =>
  Object.fromEntries(await Promise.all(CALLS.map(async (wanted) => [wanted.join(' '), await call(port, wanted)] as const)));

const EXPECTED = {
  '/whole application/grpc-web  hello':
    '200 content-type=application/grpc-web+proto transfer-encoding=chunked seen: content-type=application/grpc te=trailers grpc-accept-encoding=identity content-length= accept= body=68656c6c6f "~00~00~00~00~01a~00~00~00~00~00~00~00~00~00~07bcdefgh~00~00~00+grpc-status:0\\r\\ngrpc-message:well\\r\\nx-own:y\\r\\n"',
  '/whole application/grpc-web+proto application/grpc-web+proto hello':
    '200 content-type=application/grpc-web+proto transfer-encoding=chunked seen: content-type=application/grpc te=trailers grpc-accept-encoding=identity content-length= accept=application/grpc-web+proto body=68656c6c6f "~00~00~00~00~01a~00~00~00~00~00~00~00~00~00~07bcdefgh~00~00~00+grpc-status:0\\r\\ngrpc-message:well\\r\\nx-own:y\\r\\n"',
  '/bytes application/grpc-web+proto  hello':
    '200 content-type=application/grpc-web+proto transfer-encoding=chunked seen: content-type=application/grpc te=trailers grpc-accept-encoding=identity content-length= accept= body=68656c6c6f "~00~00~00~00~01a~00~00~00~00~00~00~00~00~00~07bcdefgh~00~00~00+grpc-status:0\\r\\ngrpc-message:well\\r\\nx-own:y\\r\\n"',
  '/only-head application/grpc-web  hello':
    '200 content-type=application/grpc-web+proto content-length=0 grpc-status=7 grpc-message=no seen: content-type=application/grpc te=trailers grpc-accept-encoding=identity content-length= accept= body=68656c6c6f ""',
  '/no-message application/grpc-web  ':
    '200 content-type=application/grpc-web+proto transfer-encoding=chunked seen: content-type=application/grpc te=trailers grpc-accept-encoding=identity content-length= accept= body= "~00~00~00+grpc-status:0\\r\\ngrpc-message:well\\r\\nx-own:y\\r\\n"',
  '/whole application/grpc-web-text application/grpc-web-text aGVsbG8=':
    '200 content-type=application/grpc-web-text+proto transfer-encoding=chunked seen: content-type=application/grpc te=trailers grpc-accept-encoding=identity content-length= accept=application/grpc-web-text body=68656c6c6f "AAAAAAFhAAAAAAA=AAAAAAdiY2RlZmdogAAAACtncnBjLXN0YXR1czowDQpncnBjLW1lc3NhZ2U6d2VsbA0KeC1vd246eQ0K"',
  '/pieces application/grpc-web-text+proto application/grpc-web-text+proto aGU=bGxv':
    '400 content-type=application/grpc-web-text+proto content-length=0 grpc-status=13 grpc-message=Bad gRPC-web request, invalid base64 data. seen:  ""',
  '/bytes application/grpc-web-text+proto application/grpc-web-text aGVsbG8=':
    '200 content-type=application/grpc-web-text+proto transfer-encoding=chunked seen: content-type=application/grpc te=trailers grpc-accept-encoding=identity content-length= accept=application/grpc-web-text body=68656c6c6f "AAAAAAFhAAAAAAA=AAAAAAdiY2RlZmdogAAAACtncnBjLXN0YXR1czowDQpncnBjLW1lc3NhZ2U6d2VsbA0KeC1vd246eQ0K"',
  '/no-message application/grpc-web-text application/grpc-web-text ':
    '200 content-type=application/grpc-web-text+proto transfer-encoding=chunked seen: content-type=application/grpc te=trailers grpc-accept-encoding=identity content-length= accept=application/grpc-web-text body= "gAAAACtncnBjLXN0YXR1czowDQpncnBjLW1lc3NhZ2U6d2VsbA0KeC1vd246eQ0K"',
  '/only-head application/grpc-web-text application/grpc-web-text aGVsbG8=':
    '200 content-type=application/grpc-web-text+proto content-length=0 grpc-status=7 grpc-message=no seen: content-type=application/grpc te=trailers grpc-accept-encoding=identity content-length= accept=application/grpc-web-text body=68656c6c6f ""',
  '/whole application/grpc-web-text  aGVsbG8=':
    '200 content-type=application/grpc-web+proto transfer-encoding=chunked seen: content-type=application/grpc te=trailers grpc-accept-encoding=identity content-length= accept= body=68656c6c6f "~00~00~00~00~01a~00~00~00~00~00~00~00~00~00~07bcdefgh~00~00~00+grpc-status:0\\r\\ngrpc-message:well\\r\\nx-own:y\\r\\n"',
  '/whole application/grpc-web application/grpc-web-text hello':
    '200 content-type=application/grpc-web-text+proto transfer-encoding=chunked seen: content-type=application/grpc te=trailers grpc-accept-encoding=identity content-length= accept=application/grpc-web-text body=68656c6c6f "AAAAAAFhAAAAAAA=AAAAAAdiY2RlZmdogAAAACtncnBjLXN0YXR1czowDQpncnBjLW1lc3NhZ2U6d2VsbA0KeC1vd246eQ0K"',
  '/whole application/grpc-web-text  aGVsbG8':
    '400 content-type=application/grpc-web+proto content-length=0 grpc-status=13 grpc-message=Bad gRPC-web request, invalid base64 data. seen:  ""',
  '/whole application/grpc-web-text  a$VsbG8=':
    '400 content-type=application/grpc-web+proto content-length=0 grpc-status=13 grpc-message=Bad gRPC-web request, invalid base64 data. seen:  ""',
  '/whole application/grpc-web+json  hello':
    '200 content-type=application/grpc transfer-encoding=chunked seen: content-type=application/grpc-web+json te= grpc-accept-encoding= content-length=5 accept= body=68656c6c6f "~00~00~00~00~01a~00~00~00~00~00~00~00~00~00~07bcdefgh"',
  '/whole application/grpc  hello':
    '200 content-type=application/grpc transfer-encoding=chunked seen: content-type=application/grpc te= grpc-accept-encoding= content-length=5 accept= body=68656c6c6f "~00~00~00~00~01a~00~00~00~00~00~00~00~00~00~07bcdefgh"',
  '/none application/grpc-web  hello': '404 content-type=application/grpc-web+proto content-length=0 seen:  ""',
  '/said application/grpc-web  hello':
    '403 content-type=application/grpc-web+proto content-length=0 grpc-status=7 grpc-message=not %25 you%0A seen:  ""',
  '/lost application/grpc-web  hello':
    '503 content-type=application/grpc-web+proto content-length=0 grpc-status=14 grpc-message=no healthy upstream seen:  ""',
  '/none application/grpc-web-text application/grpc-web-text aGVsbG8=':
    '404 content-type=application/grpc-web-text+proto content-length=0 seen:  ""',
};

test('calls of browsers are gRPC upstream, and their answers what browsers read', async () => {
  await using backend = await http2Backend(serve);
  await using plane = await startPlane(stage(backend.port));
  assert.deepEqual(await play(plane.port('l')), EXPECTED);
});

// Envoy makes a message of such a page; here its body goes nowhere.
test('what answers without gRPC has a status at least', async () => {
  await using backend = await http2Backend(serve);
  await using plane = await startPlane(stage(backend.port));
  const seen = await call(plane.port('l'), ['/page', WEB, '', 'hello']);
  assert.equal(seen, '404 content-type=application/grpc-web+proto transfer-encoding=chunked grpc-status=12 seen:  ""');
});

// A filter before it has waited for the whole body: what it held is sent with an end that a server of HTTP/1 sees.
for (const [type, body] of [
  [WEB, 'hello'],
  [`${WEB}-text`, 'aGVsbG8='],
] as const)
  test(`${type}: lengths on both sides are those of what is sent, behind a filter that waited for the body`, async () => {
    await using backend = await startBackend((socket, text) => {
      if (text.includes('hello') || text.includes(body))
        socket.write('HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ncontent-length: 6\r\n\r\n\0\0\0\0\x01a');
    });
    const { listeners } = stage(backend.port, [
      {
        name: 'all',
        typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer', max_request_bytes: 1000 },
      },
    ]);
    await using plane = await startPlane({ listeners, clusters: [staticCluster('c', [backend.port]), staticCluster('empty', [])] });
    const seen = await call(plane.port('l'), ['/whole', type, `${WEB}-text`, body]);
    assert.equal(seen, '200 content-type=application/grpc-web-text+proto transfer-encoding=chunked seen:  "AAAAAAFh"');
    assert.match(backend.received.join(''), /\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n$/);
  });

test('a stock Envoy does the same', { skip: NO_ENVOY }, async () => {
  await using backend = await http2Backend(serve);
  await using envoy = await startEnvoy(stage(backend.port));
  const got = await play(envoy.port('l'));
  if (process.env['SKEIN_RECORD'] !== undefined) process.stderr.write(`RECORD ${JSON.stringify(got)}\n`);
  assert.deepEqual(got, EXPECTED);
});
