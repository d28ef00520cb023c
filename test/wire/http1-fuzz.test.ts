// Bytes that nearly are HTTP/1: requests and responses with pieces swapped, doubled, cut out and spoilt. However they are cut they tell the same,
// nothing is thrown, and the runtime's own parser never reads another message where this one takes one for whole.
import assert from 'node:assert/strict';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { test } from 'node:test';
import fc from 'fast-check';
import { HeaderBlock } from '../../src/wire/header-block.ts';
import { Http1Parser } from '../../src/wire/http1-parser.ts';
import { Http1Writer } from '../../src/wire/http1-writer.ts';
import { feed, Recorder } from './recorder.ts';

const REQUESTS = [
  'GET /a?b=c HTTP/1.1\r\nHost: a\r\n\r\n',
  'POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX-Y: z\r\n\r\nhello',
  'POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\na\r\n0123456789\r\n0\r\nX-T: u\r\n\r\n',
  'GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n',
  'OPTIONS http://b:81/x HTTP/1.1\r\nhost: a\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n',
];
const RESPONSES = [
  'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nSet-Cookie: a=b\r\n\r\nhello',
  'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: u\r\n\r\n',
  'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n',
  'HTTP/1.0 200\r\nServer: x\r\n\r\nto the end',
];
const BITS = [
  '\r\n',
  '\r',
  '\n',
  ' ',
  '\t',
  '\0',
  ':',
  ',',
  ';',
  '0',
  '1',
  'f',
  '-',
  '\x7f',
  '\xe4',
  'Content-Length: 3\r\n',
  'Transfer-Encoding: chunked\r\n',
];
BITS.push(
  'Transfer-Encoding: x\r\n',
  'Host: b\r\n',
  '0\r\n\r\n',
  'GET /b HTTP/1.1\r\nHost: b\r\n\r\n',
  ' HTTP/1.1',
  'chunked',
  'HTTP/1.0',
  'X: y\r\n',
);

interface Change {
  readonly at: number;
  readonly cut: number;
  readonly put: string;
}
const change: fc.Arbitrary<Change> = fc.record({ at: fc.nat(300), cut: fc.constantFrom(0, 0, 1, 2, 7), put: fc.constantFrom('', ...BITS) });
const spoilt = (texts: readonly string[]): fc.Arbitrary<string> =>
  fc
    .record({ first: fc.constantFrom(...texts), second: fc.constantFrom('', ...texts), changes: fc.array(change, { maxLength: 4 }) })
    .map(({ first, second, changes }) => {
      let text = first + second;
      for (const { at, cut, put } of changes) {
        const place = at % (text.length + 1);
        text = text.slice(0, place) + put + text.slice(place + cut);
      }
      return text;
    });

for (const [kind, texts] of [
  ['request', REQUESTS],
  ['response', RESPONSES],
] as const)
  test(`a spoilt ${kind} tells the same however it is cut`, () => {
    fc.assert(
      fc.property(spoilt(texts), fc.array(fc.nat(400), { maxLength: 8 }), fc.boolean(), (text, cuts, http10) => {
        const options = { methods: ['GET', 'GET', 'POST'], finish: true, limits: { acceptHttp10: http10 } };
        const whole = feed(kind, text, options);
        for (const way of ['bytes', cuts.filter((at) => at < text.length)] as const) {
          const cut = feed(kind, text, { ...options, cuts: way });
          assert.deepEqual(cut.messages, whole.messages);
          assert.deepEqual(cut.informational, whole.informational);
          // A line that comes in pieces is looked at when its end is there, so the end of the connection may come first.
          if (cut.problem?.message === 'connection ended inside a message') assert.ok(whole.problem);
          else assert.deepEqual([cut.problem?.status, cut.problem?.code], [whole.problem?.status, whole.problem?.code]);
        }
      }),
      { numRuns: 1500 },
    );
  });

test('bytes at random are refused without a throw', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.constantFrom('request' as const, 'response' as const), (bytes, kind) => {
      feed(kind, Buffer.from(bytes).toString('latin1'), { methods: ['GET'], finish: true });
      feed(kind, `${kind === 'request' ? REQUESTS[2] : RESPONSES[1]}${Buffer.from(bytes).toString('latin1')}`, {
        methods: ['GET', 'GET'],
        finish: true,
      });
    }),
    { numRuns: 500 },
  );
});

test('whatever is accepted is written as what reads the same again', () => {
  fc.assert(
    fc.property(spoilt(REQUESTS), (text) => {
      const recorder = new Recorder();
      const written: string[] = [];
      const writer = new Http1Writer();
      const bytes = Buffer.from(text, 'latin1');
      const parser: Http1Parser = new Http1Parser('request', {
        onHead: (p) => {
          recorder.onHead(p);
          writer.requestLine(p.method, p.target, 'x');
          writer.fields(p.headers);
          writer.endHead();
          written.push(writer.take().toString('latin1').replace('host: x\r\n', ''));
        },
        onBody: (buf, start, end) => {
          recorder.onBody(buf, start, end);
          const body = buf.toString('latin1', start, end);
          written.push(parser.bodyKind === 'chunked' ? `${writer.chunkStart(end - start).toString('latin1')}${body}\r\n` : body);
        },
        onTrailers: (trailers) => recorder.onTrailers(trailers),
        onEnd: () => {
          recorder.onEnd();
          if (parser.bodyKind !== 'chunked') return;
          const trailers = new HeaderBlock();
          for (const [name, value] of recorder.last.trailers) trailers.add(name, value);
          written.push(writer.lastChunk(trailers).toString('latin1'));
        },
        onError: () => {},
      });
      for (let at = 0, next = -1; at < bytes.length && next !== at; parser.resume()) {
        next = at;
        at = parser.execute(bytes, at, bytes.length);
      }
      const messages = recorder.messages.filter((m) => m.ended);
      const again = feed('request', written.join(''));
      assert.deepEqual(again.messages.slice(0, messages.length), messages);
    }),
    { numRuns: 800 },
  );
});

interface Read {
  readonly start: string;
  body: string;
  whole: boolean;
}

// What is whole for us and refused there, or read otherwise, would be a way past one of two readers.
test("the runtime's parser reads the same requests or refuses them", { timeout: 120_000 }, async () => {
  let read: Read[] = [];
  const answer = (req: IncomingMessage, res: ServerResponse): void => {
    const message: Read = { start: `${req.method} ${req.url}`, body: '', whole: false };
    read.push(message);
    req.setEncoding('latin1');
    req.on('data', (d: string) => {
      message.body += d;
    });
    req.on('end', () => {
      message.whole = true;
      res.end('ok');
    });
    req.on('error', () => {});
  };
  const server = createServer({ insecureHTTPParser: false }, answer);
  server.on('checkExpectation', answer);
  server.on('clientError', (_problem, socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
  server.on('upgrade', (req, socket) => {
    read.push({ start: `${req.method} ${req.url}`, body: '', whole: true });
    socket.end('HTTP/1.1 400 Bad Request\r\n\r\n');
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;
  const different: string[] = [];
  for (const text of fc.sample(spoilt(REQUESTS), { numRuns: 300, seed: 11 })) {
    const ours = feed('request', text);
    read = [];
    await new Promise<void>((done) => {
      const socket = connect(port, '127.0.0.1', () => socket.end(Buffer.from(text, 'latin1')));
      socket.on('data', () => {});
      socket.on('error', () => {});
      socket.on('close', () => done());
      socket.on('end', () => socket.destroy());
      socket.setTimeout(300, () => socket.destroy());
    });
    const first = ours.messages.filter((m) => m.ended)[0];
    const theirs = read[0];
    if (first === undefined) continue;
    const mine = { start: first.start.replace(/ 1\.\d$/, ''), body: first.body };
    if (mine.start !== theirs?.start || mine.body !== theirs.body)
      different.push(`${JSON.stringify(text)}: ${JSON.stringify([mine, theirs])}`);
  }
  await new Promise((done) => {
    server.close(done);
    server.closeAllConnections();
  });
  assert.deepEqual(different, []);
});
