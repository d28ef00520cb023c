// Valid messages: what the parser tells, however the bytes are cut, beside node:http's parser, and back through the writer.
import assert from 'node:assert/strict';
import { createServer, request as httpRequest } from 'node:http';
import { connect, createServer as createTcpServer } from 'node:net';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { HeaderBlock } from '../../src/wire/header-block.ts';
import { H } from '../../src/wire/header-name.ts';
import { removeHopByHop, skipRule } from '../../src/wire/hop-by-hop.ts';
import { Http1Parser } from '../../src/wire/http1-parser.ts';
import { CRLF_BYTES, Http1Writer, LAST_CHUNK } from '../../src/wire/http1-writer.ts';
import { feed, Recorder } from './recorder.ts';

describe('requests', () => {
  test('two pipelined requests wait for resume', () => {
    const recorder = new Recorder();
    const parser = new Http1Parser('request', recorder);
    const bytes = Buffer.from('GET /a HTTP/1.1\r\nHost: x\r\n\r\nPOST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi');
    const first = parser.execute(bytes);
    assert.equal(bytes.toString('latin1', first, first + 7), 'POST /b');
    assert.equal(recorder.messages.length, 1);
    assert.equal(parser.execute(bytes, first), first);
    const kept = parser.headers;
    assert.equal(kept.get('host'), 'x');
    parser.resume();
    assert.equal(parser.execute(bytes, first), bytes.length);
    assert.equal(recorder.last.body, 'hi');
  });

  test('target forms', () => {
    const cases: [string, string, string, string][] = [
      ['GET /a?b=1', '/a?b=1', 'h:8080', ''],
      ['GET http://other:81/x?y', '/x?y', 'other:81', 'http'],
      ['GET HTTPS://other', '/', 'other', 'https'],
      ['GET http://other?q', '?q', 'other', 'http'],
      ['OPTIONS *', '*', 'h:8080', ''],
      ['CONNECT t:443', '', 't:443', ''],
      ['CONNECT [::1]:443', '', '[::1]:443', ''],
    ];
    for (const [start, path, authority, scheme] of cases) {
      let seen: string[] = [];
      const parser = new Http1Parser('request', {
        onHead: (p) => {
          seen = [p.path, p.authority, p.scheme];
        },
        onBody: () => {},
        onEnd: () => {},
        onError: (p) => assert.fail(p.message),
      });
      parser.execute(Buffer.from(`${start} HTTP/1.1\r\nHost: h:8080\r\n\r\n`));
      assert.deepEqual(seen, [path, authority, scheme], start);
    }
  });

  test('metadata that came before is taken as read, and nothing else is', () => {
    const metadata = 'Q2hF'.repeat(60);
    const head = (value: string): string => `GET / HTTP/1.1\r\nHost: x\r\nX-Envoy-Peer-Metadata: ${value}\r\n\r\n`;
    const cases: readonly [string, string | undefined][] = [
      [metadata, metadata],
      [`${metadata}more`, `${metadata}more`],
      [metadata.slice(0, -4), metadata.slice(0, -4)],
      [`${metadata} \t`, metadata],
      [`${metadata}\0`, undefined],
      [`${metadata.slice(0, -1)}\0`, undefined],
      [`${metadata}\n`, undefined],
      [`${metadata}\r\r`, undefined],
    ];
    for (const [value, read] of cases) {
      for (const cuts of [[], 'bytes'] as const) {
        const { last, problem, messages } = feed('request', head(metadata) + head(metadata) + head(value), { cuts });
        if (read === undefined) assert.ok(problem !== undefined && messages.length === 2, value);
        else assert.equal(Object.fromEntries(last.headers)['x-envoy-peer-metadata'], read);
      }
    }
  });

  test('chunked with extensions and trailers', () => {
    const text =
      'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n3;a=b\r\nabc\r\n00A\r\n0123456789\r\n0\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\n';
    for (const cuts of [[], 'bytes'] as const) {
      const { last, problem } = feed('request', text, { cuts });
      assert.equal(problem, undefined);
      assert.equal(last.body, 'abc0123456789');
      assert.deepEqual(last.trailers, [
        ['x-sum', '1'],
        ['x-sum', '2'],
      ]);
      assert.ok(last.ended);
    }
  });

  test('keep-alive and upgrade', () => {
    const of = (version: string, head: string): [boolean, boolean] => {
      const { last } = feed('request', `GET / HTTP/${version}\r\nHost: x\r\n${head}\r\n`, { limits: { acceptHttp10: true } });
      return [last.keepAlive, last.upgrade];
    };
    assert.deepEqual(of('1.1', ''), [true, false]);
    assert.deepEqual(of('1.1', 'Connection: close\r\n'), [false, false]);
    assert.deepEqual(of('1.1', 'Connection: x, Close\r\n'), [false, false]);
    assert.deepEqual(of('1.1', 'Connection: keep-alive\r\nConnection: close\r\n'), [false, false]);
    assert.deepEqual(of('1.0', ''), [false, false]);
    assert.deepEqual(of('1.0', 'Connection: keep-alive\r\n'), [true, false]);
    assert.deepEqual(of('1.1', 'Connection: Upgrade\r\nUpgrade: websocket\r\n'), [true, true]);
    assert.deepEqual(of('1.1', 'Connection: Upgrade\r\n'), [true, false]);
  });

  test('HTTP/1.0 without Host when accepted', () => {
    assert.ok(feed('request', 'GET / HTTP/1.0\r\n\r\n', { limits: { acceptHttp10: true } }).last.ended);
  });

  test('an empty line before the request is passed over', () => {
    for (const cuts of [[], 'bytes'] as const)
      assert.equal(feed('request', '\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n', { cuts }).messages.length, 1);
  });
});

describe('responses', () => {
  test('informational, then final', () => {
    const text =
      'HTTP/1.1 100 Continue\r\nX: 1\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
    for (const cuts of [[], 'bytes'] as const) {
      const seen = feed('response', text, { cuts });
      assert.deepEqual(seen.informational, [100, 103]);
      assert.equal(seen.last.body, 'ok');
      assert.deepEqual(seen.last.headers, [['content-length', '2']]);
    }
  });

  test('no body: HEAD, 204, 304, and the next response is read as such', () => {
    const next = 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx';
    for (const [method, head] of [
      ['HEAD', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n'],
      ['HEAD', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'],
      ['GET', 'HTTP/1.1 204 No Content\r\n\r\n'],
      ['GET', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n'],
    ] as const) {
      const seen = feed('response', head + next, { methods: [method, 'GET'] });
      assert.equal(seen.messages.length, 2, head);
      assert.equal(seen.last.body, 'x');
    }
  });

  test('body until the connection ends', () => {
    const seen = feed('response', 'HTTP/1.0 200\r\nServer: old\r\n\r\nall of it', { cuts: [20, 40], finish: true });
    assert.deepEqual(
      [seen.last.bodyKind, seen.last.body, seen.last.ended, seen.last.keepAlive, seen.problem],
      ['eof', 'all of it', true, false, undefined],
    );
  });

  test('101 and CONNECT 200 leave the rest to the caller', () => {
    for (const [method, head] of [
      ['GET', 'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n'],
      ['CONNECT', 'HTTP/1.1 200 OK\r\n\r\n'],
    ] as const) {
      const recorder = new Recorder();
      const parser = new Http1Parser('response', recorder);
      parser.expect(method);
      const bytes = Buffer.from(`${head}raw`);
      assert.equal(parser.execute(bytes), head.length);
      assert.ok(recorder.last.upgrade && recorder.last.ended);
    }
  });

  test('bytes nobody asked for are an error or left over', () => {
    const recorder = new Recorder();
    const parser = new Http1Parser('response', recorder);
    parser.execute(Buffer.from('HTTP/1.1 200 OK\r\n\r\n'));
    assert.ok(recorder.problem);
    const seen = feed('response', 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n');
    assert.equal(seen.messages.length, 1);
  });

  test('a sink may stop the machine inside a call', () => {
    const recorder = new Recorder();
    const parser = new Http1Parser('response', {
      onHead: (p) => p.stop(),
      onBody: () => assert.fail('body after stop'),
      onEnd: () => assert.fail('end after stop'),
      onError: () => assert.fail('error after stop'),
    });
    parser.expect('GET');
    parser.execute(Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc'));
    assert.equal(recorder.messages.length, 0);
  });
});

// --- properties ---

const token = fc
  .stringMatching(/^[a-z][a-z0-9-]{0,15}$/)
  .filter((n) => !['host', 'connection', 'content-length', 'transfer-encoding', 'te', 'upgrade', 'trailer'].includes(n));
const value = fc.stringMatching(/^(?:[!-~\xa1-\xff](?:[ -~\xa1-\xff]{0,30}[!-~\xa1-\xff])?)?$/);
const fields = fc.array(fc.tuple(token, value), { maxLength: 20 });
const message = fc.record({
  method: fc.constantFrom('GET', 'POST', 'PUT', 'PURGE'),
  path: fc.stringMatching(/^\/[!-~]{0,40}$/),
  fields,
  body: fc.array(fc.stringMatching(/^[ -~]{1,40}$/), { maxLength: 4 }),
  chunked: fc.boolean(),
  trailers: fc.array(fc.tuple(token, value), { maxLength: 3 }),
});

const mixCase = (name: string): string => name.replace(/(^|-)[a-z]/g, (m) => m.toUpperCase());
const lines = (list: readonly (readonly [string, string])[]): string => list.map(([n, v]) => `${mixCase(n)}: ${v}\r\n`).join('');

const render = (m: {
  method: string;
  path: string;
  fields: [string, string][];
  body: string[];
  chunked: boolean;
  trailers: [string, string][];
}): string => {
  const head = `${m.method} ${m.path} HTTP/1.1\r\nHost: svc\r\n${lines(m.fields)}`;
  if (m.chunked)
    return `${head}Transfer-Encoding: chunked\r\n\r\n${m.body.map((b) => `${b.length.toString(16)}\r\n${b}\r\n`).join('')}0\r\n${lines(m.trailers)}\r\n`;
  const body = m.body.join('');
  return `${head}Content-Length: ${body.length}\r\n\r\n${body}`;
};

test('any cutting of any messages tells the same', () => {
  fc.assert(
    fc.property(fc.array(message, { minLength: 1, maxLength: 3 }), fc.array(fc.nat({ max: 2000 }), { maxLength: 12 }), (messages, cuts) => {
      const text = messages.map(render).join('');
      const cut = feed('request', text, { cuts: cuts.filter((c) => c < text.length) });
      assert.equal(cut.problem, undefined);
      assert.deepEqual(cut.messages, feed('request', text).messages);
      assert.deepEqual(cut.messages, feed('request', text, { cuts: 'bytes' }).messages);
      assert.equal(cut.messages.length, messages.length);
      messages.forEach((m, i) => {
        const got = cut.messages[i];
        assert.equal(got?.start, `${m.method} ${m.path} 1.1`);
        assert.equal(got.body, m.body.join(''));
        assert.deepEqual(got.headers.slice(1, -1), m.fields);
        if (m.chunked) assert.deepEqual(got.trailers, m.trailers);
      });
    }),
    { numRuns: 150 },
  );
});

test('what the writer writes reads as what was parsed', () => {
  fc.assert(
    fc.property(message, fc.array(fc.tuple(fc.constantFrom('set', 'add', 'remove'), token, value), { maxLength: 6 }), (m, changes) => {
      const recorder = new Recorder();
      const parser = new Http1Parser('request', recorder);
      parser.execute(Buffer.from(render(m), 'latin1'));
      const headers = parser.headers;
      const model: [string, string][] = headers.entries();
      for (const [op, name, text] of changes) {
        if (op === 'set') {
          headers.set(name, text);
          const at = model.findIndex(([n]) => n === name);
          if (at < 0) model.push([name, text]);
          else {
            model[at] = [name, text];
            for (let i = model.length - 1; i > at; i--) if (model[i]?.[0] === name) model.splice(i, 1);
          }
        } else if (op === 'add') {
          headers.add(name, text);
          model.push([name, text]);
        } else {
          assert.equal(headers.remove(name), model.filter(([n]) => n === name).length);
          for (let i = model.length - 1; i >= 0; i--) if (model[i]?.[0] === name) model.splice(i, 1);
        }
      }
      assert.deepEqual(headers.entries(), model);
      assert.equal(headers.count, model.length);
      assert.equal(
        headers.byteSize,
        model.reduce((n, [k, v]) => n + k.length + v.length, 0),
      );
      const copy = new HeaderBlock();
      copy.copyFrom(headers);
      headers.own();
      for (const block of [headers, copy]) {
        const writer = new Http1Writer();
        writer.requestLine(m.method, m.path, 'svc');
        writer.fields(block, skipRule([H.HOST]));
        writer.endHead();
        const head = writer.take();
        const out = m.chunked
          ? Buffer.concat([head, ...m.body.flatMap((b) => [writer.chunkStart(b.length), Buffer.from(b), CRLF_BYTES]), LAST_CHUNK])
          : Buffer.concat([head, Buffer.from(m.body.join(''))]);
        const again = feed('request', out.toString('latin1'));
        assert.equal(again.problem, undefined);
        assert.deepEqual(again.last.headers, [['host', 'svc'], ...model.filter(([n]) => n !== 'host')]);
        assert.equal(again.last.body, m.body.join(''));
      }
    }),
    { numRuns: 150 },
  );
});

test('heads written one after another do not disturb each other', () => {
  const writer = new Http1Writer();
  const block = new HeaderBlock();
  const heads: Buffer[] = [];
  for (let i = 0; i < 2000; i++) {
    block.clear();
    block.set('x-n', String(i).repeat(20));
    writer.statusLine(200, 'OK');
    writer.fields(block);
    writer.endHead();
    heads.push(writer.take());
  }
  heads.forEach((h, i) => {
    assert.equal(h.toString(), `HTTP/1.1 200 OK\r\nx-n: ${String(i).repeat(20)}\r\n\r\n`);
  });
});

test('no value can write a line of its own', () => {
  const block = new HeaderBlock();
  block.set('x-a', 'a\r\nx-evil: 1');
  block.set('x-b', 'ü€\r\nx-evil: 1');
  const writer = new Http1Writer();
  writer.statusLine(299, 'odd\r\nx-evil: 1');
  writer.fields(block);
  writer.fieldById(H.SERVER, '€\nx-evil: 1');
  writer.endHead();
  const seen = feed('response', writer.take().toString('latin1'));
  assert.ok(!seen.last.headers.some(([n]) => n === 'x-evil'));
});

test('hop-by-hop headers end here', () => {
  const left = (text: string, keepUpgrade = false): string => {
    const parser = new Http1Parser('request', new Recorder());
    parser.execute(Buffer.from(`GET / HTTP/1.1\r\nHost: a\r\n${text}\r\n`));
    removeHopByHop(parser.headers, keepUpgrade);
    return parser.headers
      .entries()
      .map(([n, v]) => `${n}=${v}`)
      .join(' ');
  };
  assert.equal(left('Connection: close, X-A\r\nX-A: 1\r\nX-B: 2\r\n'), 'host=a x-b=2');
  assert.equal(left('Keep-Alive: 5\r\nProxy-Connection: x\r\nTE: gzip\r\n'), 'host=a');
  assert.equal(left('TE: gzip, trailers;q=0.5\r\n'), 'host=a te=trailers');
  assert.equal(left('Connection: upgrade\r\nUpgrade: websocket\r\n'), 'host=a');
  assert.equal(left('Connection: upgrade\r\nUpgrade: websocket\r\n', true), 'host=a upgrade=websocket');
  assert.equal(left('Connection: host, x-forwarded-for\r\nX-Forwarded-For: 1.2.3.4\r\n'), 'host=a x-forwarded-for=1.2.3.4');
});

// node:http as the other reader: the same bytes must give the same message.
test('agrees with node:http on valid requests', async () => {
  const samples = fc.sample(message, { numRuns: 25, seed: 7 }).filter((m) => m.method !== 'PURGE');
  const seen: { start: string; headers: string[]; body: string }[] = [];
  const server = createServer((req, res) => {
    let body = '';
    req.setEncoding('latin1');
    req.on('data', (d: string) => {
      body += d;
    });
    req.on('end', () => {
      seen.push({ start: `${req.method} ${req.url}`, headers: req.rawHeaders, body });
      res.end();
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  for (const m of samples) {
    await new Promise<void>((done, fail) => {
      const socket = connect(address.port, '127.0.0.1', () => socket.write(Buffer.from(render(m), 'latin1')));
      socket.once('data', () => socket.destroy());
      socket.once('error', fail);
      socket.once('close', () => done());
    });
  }
  await new Promise((done) => {
    server.close(done);
    server.closeAllConnections();
  });
  assert.equal(seen.length, samples.length);
  samples.forEach((m, i) => {
    const ours = feed('request', render(m)).last;
    const theirs = seen[i];
    assert.equal(ours.start, `${theirs?.start} 1.1`);
    assert.equal(ours.body, theirs?.body);
    const raw = theirs?.headers ?? [];
    const pairs = raw.flatMap((n, j) => (j % 2 === 0 ? [`${n.toLowerCase()}=${raw[j + 1]}`] : []));
    assert.deepEqual(ours.headers.map(([n, v]) => `${n}=${v}`).sort(), pairs.sort());
  });
});

test('agrees with node:http on valid responses', async () => {
  const answers = [
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\n\r\nok',
    'HTTP/1.1 404\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n',
    'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end',
    'HTTP/1.0 200 OK\r\n\r\nold',
  ];
  let next = 0;
  const server = createTcpServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.end(Buffer.from(answers[next++] ?? '')));
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  for (const answer of answers) {
    const theirs = await new Promise<string>((done, fail) => {
      const req = httpRequest({ port: address.port, host: '127.0.0.1', agent: false }, (res) => {
        let body = '';
        res.on('data', (d: Buffer) => {
          body += d.toString();
        });
        res.on('end', () => done(`${res.statusCode} ${body}`));
      });
      req.on('error', fail);
      req.end();
    });
    const ours = feed('response', answer, { finish: true });
    assert.equal(`${ours.last.start.split(' ')[0]} ${ours.last.body}`, theirs);
  }
  await new Promise((done) => server.close(done));
});
