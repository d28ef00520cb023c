// OTLP over HTTP at a live control plane's doors: who may, in which forms, what is refused and how it is said, over HTTP/1 and HTTP/2.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer as createHttpServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { request as httpsRequest } from 'node:https';
import { type AddressInfo, createServer, connect as netConnect, type Socket } from 'node:net';
import { join as path } from 'node:path';
import { describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { OTLP_BODY_BYTES_MAX } from '../../src/control/telemetry/limits.ts';
import { TRACES_PATH } from '../../src/control/telemetry/otlp-http.ts';
import type { Trace } from '../../src/control/telemetry/trace.ts';
import { FirstBytes } from '../../src/control/xds/first-bytes.ts';
import { Http1Connection } from '../../src/control/xds/http1-connection.ts';
import type { SpanRecord } from '../../src/plan/tracing/span.ts';
import { encodeSpan, exportRequest } from '../../src/proxy/tracing/otlp-spans.ts';
import { join } from './auth/door-clients.ts';
import { type Rig, startRig, temporaryFolder } from './rig.ts';

const TRACE = '5b8efff798038103d269b633813fc60c';
const [A, B] = ['eee19b7ec3c1b174', 'eee19b7ec3c1b173'];
const START_US = 1_900_000_000_000_000;
const PROTOBUF = 'application/x-protobuf';
const JSON_FORM = 'application/json';

const span = (spanId: string, parentId: string): SpanRecord => ({
  ...{ traceId: TRACE, spanId, parentId, state: '', remoteParent: false, kind: 'server', name: 'GET /', failed: false, status: 200 },
  ...{ startUs: START_US, durationUs: 1500, tags: new Map(), events: [] },
});

const protobuf = (...spans: readonly SpanRecord[]): Buffer =>
  Buffer.from(exportRequest(new Map([['service.name', 'shop-app']]))(spans.map(encodeSpan)));

const spanJson = (more: Readonly<Record<string, unknown>> = {}): Record<string, unknown> => ({
  traceId: TRACE.toUpperCase(),
  spanId: A.toUpperCase(),
  name: 'I am a server span',
  kind: 2,
  startTimeUnixNano: `${START_US}000`,
  endTimeUnixNano: `${START_US + 1500}000`,
  ...more,
});

const json = (...spans: readonly unknown[]): Buffer =>
  Buffer.from(
    JSON.stringify({
      resourceSpans: [
        {
          resource: { attributes: [{ key: 'service.name', value: { stringValue: 'shop-app' } }] },
          scopeSpans: [{ scope: { name: 'a.library' }, spans }],
        },
      ],
    }),
  );

interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly text: string;
}

interface Sent {
  readonly token?: string;
  readonly type?: string;
  readonly body?: Buffer;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly path?: string;
  readonly tls?: { readonly ca: string; readonly key?: string; readonly cert?: string };
}

const send = (address: string, sent: Sent): Promise<Answer> => {
  const { token, type = PROTOBUF, body = Buffer.alloc(0), method = 'POST', headers = {}, tls } = sent;
  const [host = '', port = ''] = address.replace(/^tls:/, '').split(':');
  const where = address.startsWith('unix:') ? { socketPath: address.slice('unix:'.length) } : { host, port: Number(port) };
  const options = {
    ...{ ...where, method, path: sent.path ?? TRACES_PATH, agent: false },
    headers: {
      ...(type === '' ? {} : { 'content-type': type }),
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      'content-length': String(body.length),
      ...headers,
    },
  };
  return new Promise((resolve, reject) => {
    const read = (response: IncomingMessage): void => {
      const chunks: Buffer[] = [];
      response.on('data', (c: Buffer) => chunks.push(c));
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text: Buffer.concat(chunks).toString('latin1') }),
      );
    };
    const request = tls === undefined ? httpRequest(options, read) : httpsRequest({ ...options, ...tls, servername: SERVER }, read);
    request.on('error', reject);
    request.end(body);
  });
};

const SERVER = 'istiod.istio-system.svc';

const withRig = async (act: (rig: Rig, address: string) => Promise<void>, over: Parameters<typeof startRig>[1] = {}): Promise<void> => {
  const rig = await startRig({}, over);
  try {
    await act(rig, rig.controlPlane.xds[0] ?? '');
  } finally {
    await rig.close();
  }
};

const withTls = (act: (rig: Rig, address: string, ca: string) => Promise<void>): Promise<void> => {
  const root = temporaryFolder();
  return withRig(
    async (rig) => {
      const folder = path(rig.state, 'ca');
      const files = readdirSync(folder, { withFileTypes: true, recursive: true }).filter((e) => e.isFile());
      const pems = files.flatMap(
        (e) =>
          readFileSync(path(e.parentPath, e.name), 'utf8').match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----\n?/g) ?? [],
      );
      await act(rig, rig.controlPlane.xds[1] ?? '', pems.join(''));
    },
    { xds: [`unix:${path(root, 'x.sock')}`, 'tls:127.0.0.1:0'] },
  );
};

const traceOf = async (rig: Rig): Promise<Trace> => {
  const { status, body } = await rig.admin('GET', `/v1/telemetry/traces/${TRACE}`);
  assert.equal(status, 200, JSON.stringify(body));
  return body as Trace;
};

const shape = ({ spans }: Trace): readonly unknown[] =>
  spans.map((s) => [s.spanId, s.parentSpanId, s.kind, s.service, s.durationUs, s.attributes['reported.by']]);

test('spans as protobuf and as JSON, packed or not, are of who has proven to send them', () =>
  withRig(async (rig, address) => {
    const token = await rig.token('web');
    const first = await send(address, { token, body: protobuf(span(A, '')) });
    assert.deepEqual([first.status, first.text, first.headers['content-type']], [200, '', PROTOBUF]);
    const second = { token, type: `${JSON_FORM}; charset=utf-8`, headers: { 'content-encoding': 'gzip' } };
    const child = spanJson({ spanId: B, parentSpanId: A, startTimeUnixNano: START_US * 1000 + 1_000_000 });
    const answer = await send(address, { ...second, body: gzipSync(json(child)) });
    assert.deepEqual([answer.status, answer.text, answer.headers['content-type']], [200, '{}', JSON_FORM]);
    assert.deepEqual(shape(await traceOf(rig)), [
      [A, '', 'server', 'shop-app', 1500, 'web.default'],
      [B, A, 'server', 'shop-app', 500, 'web.default'],
    ]);
  }));

test('of JSON what is kept is what protobuf would have brought', () =>
  withRig(async (rig, address) => {
    const attributes = [
      { key: 'text', value: { stringValue: 'a\nb' } },
      { key: 'flag', value: { boolValue: false } },
      { key: 'whole', value: { intValue: '-9007199254740991' } },
      { key: 'number', value: { intValue: 7 } },
      { key: 'double', value: { doubleValue: 0.5 } },
      { key: 'none', value: { doubleValue: 'NaN' } },
      { key: 'list', value: { arrayValue: { values: [{ stringValue: 'x' }, { intValue: 1 }, { arrayValue: {} }] } } },
      { key: 'map', value: { kvlistValue: { values: [] } } },
      { key: 'http.request.header.authorization', value: { stringValue: 'Bearer s3cret' } },
      { key: '__proto__', value: { stringValue: 'x' } },
      { key: 'absent' },
    ];
    const more = { attributes, status: { code: 2, message: 'no' }, kind: 77, events: null, unknown: { deep: [1] }, parentSpanId: '' };
    const answer = await send(address, { token: await rig.token('web'), type: JSON_FORM, body: json(spanJson(more)) });
    assert.equal(answer.status, 200, answer.text);
    const [kept] = (await traceOf(rig)).spans;
    assert.deepEqual([kept?.status, kept?.kind], ['error', 'internal']);
    assert.deepEqual(kept?.attributes, {
      ...{ text: 'a b', flag: 'false', whole: -9007199254740991, number: 7, double: 0.5, none: 'NaN', list: 'x, 1, ', map: '' },
      ...{ 'http.request.header.authorization': '(not kept)', 'reported.by': 'web.default' },
    });
  }));

test('who has proven nothing is not heard, and is told so before a byte of the body came', () =>
  withRig(async (rig, address) => {
    const body = protobuf(span(A, ''));
    for (const token of [undefined, 'nonsense']) {
      const answer = await send(address, { ...(token === undefined ? {} : { token }), body });
      assert.equal(answer.status, 401);
      assert.equal(answer.headers['www-authenticate'], 'Bearer');
      assert.equal(answer.headers['content-type'], PROTOBUF);
      assert.match(answer.text, /workload token/);
    }
    const head = `POST ${TRACES_PATH} HTTP/1.1\r\nhost: a\r\ncontent-type: ${JSON_FORM}\r\ncontent-length: 1000000\r\n\r\n`;
    assert.match(await exchange(address, head), /^HTTP\/1\.1 401 [\s\S]*connection: close[\s\S]*"code":16/);
    assert.equal((await rig.admin('GET', `/v1/telemetry/traces/${TRACE}`)).status, 404);
  }));

/** All that comes for those bytes, until the other side ends. */
const exchange = (address: string, bytes: string): Promise<string> =>
  new Promise((resolve, reject) => {
    let text = '';
    const socket = netConnect(address.slice('unix:'.length), () => socket.write(bytes));
    socket.on('data', (c: Buffer) => {
      text += c.toString('latin1');
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(text));
  });

test('what is no batch is refused with the status that says why, in the form of the request', () =>
  withRig(async (rig, address) => {
    const token = await rig.token('web');
    const gzip = { 'content-encoding': 'gzip' };
    const large = Buffer.alloc(OTLP_BODY_BYTES_MAX + 1);
    const cases: readonly (readonly [number, RegExp, Sent])[] = [
      [400, /malformed/, { body: Buffer.from([0x0a, 0xff]) }],
      [400, /"code":3,"message":"malformed message: not JSON/, { type: JSON_FORM, body: Buffer.from('{') }],
      [400, /not JSON/, { type: JSON_FORM, body: Buffer.alloc(0) }],
      [400, /kind is not a number/, { type: JSON_FORM, body: json(spanJson({ kind: 'SPAN_KIND_SERVER' })) }],
      [400, /startTimeUnixNano/, { type: JSON_FORM, body: json(spanJson({ startTimeUnixNano: 'now' })) }],
      [400, /spans is not an object/, { type: JSON_FORM, body: json(7) }],
      [400, /gzip/, { headers: gzip, body: protobuf(span(A, '')) }],
      [413, /larger than 4194304/, { headers: gzip, body: gzipSync(large) }],
      [413, /larger than 4194304/, { headers: { 'content-length': '4194305', expect: '100-continue' }, body: large }],
      [415, /application\/json/, { type: 'text/plain', body: protobuf(span(A, '')) }],
      [415, /application\/json/, { type: '', body: protobuf(span(A, '')) }],
      [415, /gzip/, { headers: { 'content-encoding': 'zstd' }, body: protobuf(span(A, '')) }],
      [404, /nothing at this path/, { path: '/v1/metrics' }],
    ];
    for (const [status, text, sent] of cases) {
      const answer = await send(address, { token, ...sent });
      assert.equal(answer.status, status, `${text} ${answer.text}`);
      assert.match(answer.text, text);
      if (status === 400 || status === 413) assert.equal(answer.headers['content-type'], sent.type ?? PROTOBUF);
    }
    const get = await send(address, { token, method: 'GET' });
    assert.deepEqual([get.status, get.headers['allow']], [405, 'POST']);
    assert.equal((await rig.admin('GET', `/v1/telemetry/traces/${TRACE}`)).status, 404);
  }));

test('a body without a length is bounded as well', () =>
  withRig(async (rig, address) => {
    const head = `POST ${TRACES_PATH} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ${await rig.token('web')}\r\ncontent-type: ${PROTOBUF}\r\n`;
    const piece = `${(1 << 20).toString(16)}\r\n${'x'.repeat(1 << 20)}\r\n`;
    assert.match(await exchange(address, `${head}transfer-encoding: chunked\r\n\r\n${piece.repeat(5)}0\r\n\r\n`), /^HTTP\/1\.1 413 /);
  }));

test('spans without ids are counted in the answer, in the form of the request', () =>
  withRig(async (rig, address) => {
    const token = await rig.token('web');
    const told = await send(address, {
      token,
      type: JSON_FORM,
      body: json(spanJson(), spanJson({ spanId: '00' }), spanJson({ traceId: null })),
    });
    assert.equal(told.status, 200);
    assert.deepEqual(JSON.parse(told.text), {
      partialSuccess: { rejectedSpans: '2', errorMessage: '2 spans without a valid trace id and span id' },
    });
    const binary = await send(address, { token, body: protobuf(span(A, ''), span('0'.repeat(16), A)) });
    assert.deepEqual([...Buffer.from(binary.text, 'latin1').subarray(0, 5)], [0x0a, binary.text.length - 2, 0x08, 1, 0x12]);
    assert.match(binary.text, /1 spans without a valid trace id and span id$/);
    assert.equal((await traceOf(rig)).spans.length, 1);
  }));

test('who reports faster than it is read is told to come back later', () =>
  withRig(async (rig, address) => {
    const token = await rig.token('flood');
    const body = protobuf(...Array.from({ length: 64 }, () => ({ ...span(A, ''), name: 'x'.repeat(30_000) })));
    let last: Answer | undefined;
    for (let i = 0; i < 20 && (last === undefined || last.status === 200); i++) last = await send(address, { token, body });
    assert.deepEqual([last?.status, last?.headers['retry-after']], [429, '1']);
    assert.equal((await send(address, { token: await rig.token('web'), body: protobuf(span(B, '')) })).status, 200);
  }));

test('requests follow each other on one connection, also when they were sent at once', () =>
  withRig(async (rig, address) => {
    const body = json(spanJson()).toString('latin1');
    const head = `POST ${TRACES_PATH} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ${await rig.token('web')}\r\ncontent-type: ${JSON_FORM}\r\n`;
    const one = `${head}content-length: ${body.length}\r\n\r\n${body}`;
    const text = await exchange(address, `${one.repeat(3)}GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n`);
    assert.deepEqual(text.match(/HTTP\/1\.1 \d+/g), ['HTTP/1.1 200', 'HTTP/1.1 200', 'HTTP/1.1 200', 'HTTP/1.1 404']);
  }));

test('a body waits while somebody else is asked who its sender is', async () => {
  const asked = Promise.withResolvers<ServerResponse>();
  const reviewer = createHttpServer((_, response) => asked.resolve(response));
  await new Promise<void>((resolve) => reviewer.listen(0, '127.0.0.1', resolve));
  const { port } = reviewer.address() as AddressInfo;
  const audiences = ['istio-ca'];
  const review = { server: `http://127.0.0.1:${port}`, caPem: undefined, token: () => 'reviewer', audiences };
  await withRig(
    async (rig, address) => {
      const sent = send(address, { token: 'a.b.c', body: protobuf(span(A, '')) });
      const response = await asked.promise;
      const user = { username: 'system:serviceaccount:shop:web', groups: ['system:serviceaccounts', 'system:authenticated'] };
      response.writeHead(200, { 'content-type': JSON_FORM });
      response.end(JSON.stringify({ status: { authenticated: true, audiences, user } }));
      assert.equal((await sent).status, 200);
      assert.equal((await traceOf(rig)).spans[0]?.attributes['reported.by'], 'web.shop');
    },
    { review },
  );
  reviewer.close();
});

test('on an insecure port strangers report as nobody; a replica proves its own name there too', () =>
  withRig(
    async (rig, address) => {
      assert.equal((await send(address, { body: protobuf(span(A, '')) })).status, 200);
      const headers = { 'x-skein-node': 'sidecar~10.0.0.1~web.default~default.svc.cluster.local' };
      await send(address, { token: await rig.token('web'), headers, body: protobuf(span(B, A)) });
      const told = (await traceOf(rig)).spans.map((s) => [s.service, s.attributes['reported.by']]);
      assert.deepEqual(told, [
        ['web.default', 'web.default'],
        ['shop-app', 'nobody proven at 127.0.0.1'],
      ]);
    },
    { xds: ['127.0.0.1:0'], insecure: true },
  ));

test('without telemetry the door speaks gRPC alone', () =>
  withRig(
    async (rig, address) => {
      const sent = send(address, { token: await rig.token('web'), body: protobuf(span(A, '')) });
      await assert.rejects(sent);
    },
    { withoutTelemetry: true },
  ));

describe('over TLS', () => {
  test('a certificate of the mesh is proof enough, and none is not, over HTTP/1', () =>
    withTls(async (rig, address, ca) => {
      const { token } = (await rig.admin('POST', '/v1/join-tokens', { namespace: 'default', serviceAccount: 'vm' })).body as {
        token: string;
      };
      const own = await join({ address, rootsPem: ca }, { token }, 'spiffe://cluster.local/ns/default/sa/vm');
      const body = protobuf(span(A, ''));
      assert.equal((await send(address, { body, tls: { ca } })).status, 401);
      assert.equal((await send(address, { body, token, tls: { ca } })).status, 401);
      const proven = { ca, key: own.keyPem, cert: own.chainPem };
      assert.equal((await send(address, { body, tls: proven })).status, 200);
      assert.equal((await traceOf(rig)).spans[0]?.attributes['reported.by'], 'vm.default');
    }));

  test('the same requests come over HTTP/2, beside gRPC', () =>
    withTls(async (rig, address, ca) => {
      const token = await rig.token('web');
      const session = connectHttp2(`https://${address.slice('tls:'.length)}`, { ca, servername: SERVER });
      const ask = (headers: Readonly<Record<string, string>>, body: Buffer): Promise<readonly [number, string]> =>
        new Promise((resolve, reject) => {
          const stream = session.request({ ':method': 'POST', ':path': TRACES_PATH, 'content-type': JSON_FORM, ...headers });
          let [status, text] = [0, ''];
          stream.on('response', (head) => {
            status = Number(head[':status']);
          });
          stream.on('data', (c: Buffer) => {
            text += c.toString();
          });
          stream.on('end', () => resolve([status, text]));
          stream.on('error', reject);
          stream.end(body);
        });
      try {
        const authorization = `Bearer ${token}`;
        assert.deepEqual(await ask({ authorization }, json(spanJson())), [200, '{}']);
        assert.equal((await ask({ authorization, 'content-encoding': 'gzip' }, gzipSync(json(spanJson({ spanId: B })))))[0], 200);
        assert.equal((await ask({}, json(spanJson())))[0], 401);
        assert.equal((await ask({ authorization, ':path': '/elsewhere' }, Buffer.alloc(0)))[0], 415);
        assert.equal((await traceOf(rig)).spans.length, 2);
      } finally {
        session.destroy();
      }
    }));
});

describe('a connection that does not move', () => {
  /** A client that writes these bytes, and no more, to a connection of `make` sees its end. */
  const ended = async (bytes: string, make: (socket: Socket) => { tick(): void }): Promise<void> => {
    const accepted = Promise.withResolvers<{ tick(): void }>();
    const server = createServer((socket) => accepted.resolve(make(socket)));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const socket = netConnect({ host: '127.0.0.1', port: (server.address() as AddressInfo).port });
    socket.on('error', () => undefined);
    const closed = new Promise<void>((resolve) => socket.on('close', () => resolve()));
    if (bytes !== '') socket.write(bytes);
    const connection = await accepted.promise;
    for (let i = 0; i < 5; i++) connection.tick();
    await closed;
    await new Promise<void>((resolve) => server.close(() => resolve()));
  };

  const failed = (error: unknown): void => assert.fail(String(error));

  test('and says nothing is ended', async () => {
    let gone = 0;
    await ended(
      '',
      (socket) =>
        new FirstBytes(
          socket,
          () => assert.fail('nothing was said'),
          () => {
            gone++;
          },
        ),
    );
    assert.ok(gone > 0);
  });

  test('in the middle of a request is ended', async () => {
    let gone = 0;
    const services = new Map();
    await ended(
      'POST / HTTP/1.1\r\nhost: a\r\n',
      (socket) => new Http1Connection(socket, undefined, { services, failed }, () => void gone++),
    );
    assert.ok(gone > 0);
  });
});
