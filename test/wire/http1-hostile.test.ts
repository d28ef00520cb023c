// Bytes that two readers could understand differently, or that no honest peer sends: each is refused, whole and cut.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { feed } from './recorder.ts';

const H1 = 'GET / HTTP/1.1\r\nHost: a\r\n';
const POST = 'POST / HTTP/1.1\r\nHost: a\r\n';
const CHUNKED = `${POST}Transfer-Encoding: chunked\r\n\r\n`;

// [what, bytes, status, code]
const requests: readonly [string, string, number, string?][] = [
  [
    'content-length and transfer-encoding',
    `${POST}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    400,
    'http1.content_length_and_chunked_not_allowed',
  ],
  ['transfer-encoding and content-length', `${POST}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n`, 400],
  ['two equal content-lengths', `${POST}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc`, 400],
  ['two different content-lengths', `${POST}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd`, 400],
  ['content-length list', `${POST}Content-Length: 3, 3\r\n\r\nabc`, 400],
  ['content-length with plus', `${POST}Content-Length: +3\r\n\r\nabc`, 400],
  ['content-length with minus', `${POST}Content-Length: -3\r\n\r\nabc`, 400],
  ['content-length hexadecimal', `${POST}Content-Length: 0x3\r\n\r\nabc`, 400],
  ['content-length with space inside', `${POST}Content-Length: 3 3\r\n\r\nabc`, 400],
  ['content-length empty', `${POST}Content-Length: \r\n\r\n`, 400],
  ['content-length too large', `${POST}Content-Length: 99999999999999999999\r\n\r\n`, 400],
  ['content-length fraction', `${POST}Content-Length: 3.0\r\n\r\nabc`, 400],
  ['transfer-encoding gzip', `${POST}Transfer-Encoding: gzip\r\n\r\n`, 501, 'http1.invalid_transfer_encoding'],
  ['transfer-encoding gzip, chunked', `${POST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`, 501],
  ['transfer-encoding chunked, identity', `${POST}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`, 501],
  ['transfer-encoding chunked twice', `${POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 501],
  ['transfer-encoding quoted', `${POST}Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n`, 501],
  ['transfer-encoding xchunked', `${POST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`, 501],
  ['transfer-encoding with vertical tab', `${POST}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n`, 400, 'http1.invalid_characters'],
  ['transfer-encoding in HTTP/1.0', 'POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 426],
  ['space before colon', `${POST}Content-Length : 3\r\n\r\nabc`, 400, 'http1.codec_error'],
  ['tab before colon', `${POST}Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n`, 400],
  ['space before the first name', 'GET / HTTP/1.1\r\n Host: a\r\n\r\n', 400],
  ['obs-fold', `${H1}X: a\r\n b\r\n\r\n`, 400],
  ['obs-fold with tab', `${H1}X: a\r\n\tb\r\n\r\n`, 400],
  ['bare LF after request line', 'GET / HTTP/1.1\nHost: a\r\n\r\n', 400],
  ['bare LF after header', `GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n`, 400],
  ['bare LF as end of head', `${H1}\n`, 400],
  ['LF LF', 'GET / HTTP/1.1\nHost: a\n\n', 400],
  ['bare CR in value', `${H1}X: a\rb\r\n\r\n`, 400],
  ['CR CR LF', `${H1}X: a\r\r\n\r\n`, 400],
  ['bare CR at end of head', `${H1}\rX: b\r\n\r\n`, 400],
  ['NUL in value', `${H1}X: a\0b\r\n\r\n`, 400, 'http1.invalid_characters'],
  ['DEL in value', `${H1}X: a\x7fb\r\n\r\n`, 400, 'http1.invalid_characters'],
  ['escape in value', `${H1}X: \x1b[0m\r\n\r\n`, 400, 'http1.invalid_characters'],
  ['NUL in name', `${H1}X\0Y: a\r\n\r\n`, 400],
  ['empty name', `${H1}: a\r\n\r\n`, 400],
  ['no colon', `${H1}garbage\r\n\r\n`, 400],
  ['space in name', `${H1}X Y: a\r\n\r\n`, 400],
  ['obs-text in name', `${H1}X\xe4: a\r\n\r\n`, 400],
  ['parenthesis in name', `${H1}X(: a\r\n\r\n`, 400],
  ['slash in name', `${H1}X/Y: a\r\n\r\n`, 400],
  ['no Host', 'GET / HTTP/1.1\r\nX: a\r\n\r\n', 400, 'missing_host_header'],
  ['two Hosts', 'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n', 400],
  ['two equal Hosts', 'GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n', 400],
  ['Host with user', 'GET / HTTP/1.1\r\nHost: user@a\r\n\r\n', 400, 'http.invalid_authority'],
  ['Host with path', 'GET / HTTP/1.1\r\nHost: a/b\r\n\r\n', 400],
  ['Host with space', 'GET / HTTP/1.1\r\nHost: a b\r\n\r\n', 400],
  ['no target', 'GET  HTTP/1.1\r\nHost: a\r\n\r\n', 400],
  ['space in target', 'GET /a b HTTP/1.1\r\nHost: a\r\n\r\n', 400],
  ['NUL in target', 'GET /a\0 HTTP/1.1\r\nHost: a\r\n\r\n', 400],
  ['obs-text in target', 'GET /\xe4 HTTP/1.1\r\nHost: a\r\n\r\n', 400],
  ['relative target', 'GET a HTTP/1.1\r\nHost: a\r\n\r\n', 400, 'http1.codec_error'],
  ['asterisk for GET', 'GET * HTTP/1.1\r\nHost: a\r\n\r\n', 400, 'http1.invalid_url'],
  ['absolute form with user', 'GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n', 400],
  ['absolute form without host', 'GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n', 400],
  ['absolute form, other scheme', 'GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n', 400, 'http1.invalid_scheme'],
  ['CONNECT with path', 'CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n', 400],
  ['CONNECT without port', 'CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n', 400],
  ['CONNECT with body', 'CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc', 400, 'http1.body_disallowed'],
  ['tab after method', 'GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n', 400],
  ['space at the start', ' GET / HTTP/1.1\r\nHost: a\r\n\r\n', 400],
  ['two spaces before version', 'GET /  HTTP/1.1\r\nHost: a\r\n\r\n', 400],
  ['space after version', 'GET / HTTP/1.1 \r\nHost: a\r\n\r\n', 400],
  ['HTTP/0.9', 'GET /\r\n', 400],
  ['HTTP/2.0', 'GET / HTTP/2.0\r\nHost: a\r\n\r\n', 426, 'low_version'],
  ['HTTP/1.2', 'GET / HTTP/1.2\r\nHost: a\r\n\r\n', 426, 'low_version'],
  ['HTTP/1.10', 'GET / HTTP/1.10\r\nHost: a\r\n\r\n', 400],
  ['http/1.1 in lower case', 'GET / http/1.1\r\nHost: a\r\n\r\n', 400],
  ['HTTP/1.0 not accepted', 'GET / HTTP/1.0\r\n\r\n', 426, 'low_version'],
  ['TLS ClientHello', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400],
  ['only empty lines', '\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n', 400],
  ['endless method', `${'A'.repeat(100)} / HTTP/1.1\r\nHost: a\r\n\r\n`, 400],
  ['endless target', `GET /${'a'.repeat(70_000)} HTTP/1.1\r\nHost: a\r\n\r\n`, 431, 'http1.headers_too_large'],
  ['endless header', `${H1}X: ${'a'.repeat(70_000)}\r\n\r\n`, 431, 'http1.headers_too_large'],
  ['101 headers', `GET / HTTP/1.1\r\n${Array.from({ length: 101 }, (_, i) => `X${i}: a\r\n`).join('')}\r\n`, 431, 'http1.too_many_headers'],
  ['chunk size empty', `${CHUNKED}\r\nabc\r\n0\r\n\r\n`, 400],
  ['chunk size not hexadecimal', `${CHUNKED}xyz\r\n`, 400],
  ['chunk size with 0x', `${CHUNKED}0x3\r\nabc\r\n0\r\n\r\n`, 400],
  ['chunk size negative', `${CHUNKED}-1\r\n`, 400],
  ['chunk size overflow', `${CHUNKED}fffffffffffffffff\r\n`, 400],
  ['chunk size of 2^64', `${CHUNKED}10000000000000003\r\nabc\r\n`, 400],
  ['chunk size with space', `${CHUNKED}3 \r\nabc\r\n0\r\n\r\n`, 400],
  ['chunk size with leading space', `${CHUNKED} 3\r\nabc\r\n0\r\n\r\n`, 400],
  ['chunk line with bare LF', `${CHUNKED}3\nabc\r\n0\r\n\r\n`, 400],
  ['chunk line with bare CR', `${CHUNKED}3\rabc\r\n0\r\n\r\n`, 400],
  ['chunk longer than its size', `${CHUNKED}3\r\nabcd\r\n0\r\n\r\n`, 400],
  ['chunk shorter than its size', `${CHUNKED}5\r\nabc\r\n0\r\n\r\n`, 400],
  ['chunk ended by bare LF', `${CHUNKED}3\r\nabc\n0\r\n\r\n`, 400],
  ['chunk extension with LF', `${CHUNKED}3;a\nb\r\nabc\r\n0\r\n\r\n`, 400],
  ['chunk extension too long', `${CHUNKED}3;${'a'.repeat(300)}\r\nabc\r\n0\r\n\r\n`, 400],
  ['many chunk extensions', `${CHUNKED}${`1;${'a'.repeat(250)}\r\nx\r\n`.repeat(80)}0\r\n\r\n`, 400],
  ['trailer content-length', `${CHUNKED}0\r\nContent-Length: 3\r\n\r\n`, 400],
  ['trailer transfer-encoding', `${CHUNKED}0\r\nTransfer-Encoding: chunked\r\n\r\n`, 400],
  ['trailer host', `${CHUNKED}0\r\nHost: b\r\n\r\n`, 400],
  ['trailer folded', `${CHUNKED}0\r\nX: a\r\n b\r\n\r\n`, 400],
  ['trailer with NUL', `${CHUNKED}0\r\nX: a\0\r\n\r\n`, 400],
  ['endless trailer', `${CHUNKED}0\r\nX: ${'a'.repeat(70_000)}\r\n\r\n`, 431],
];

const responses: readonly [string, string, string?][] = [
  ['content-length and transfer-encoding', 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
  ['two content-lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabc'],
  ['transfer-encoding gzip', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n'],
  ['transfer-encoding in HTTP/1.0', 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
  ['204 with transfer-encoding', 'HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
  ['204 with content-length', 'HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello'],
  ['100 with content-length', 'HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\nhello'],
  ['101 without a protocol', 'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n'],
  ['status of two digits', 'HTTP/1.1 20 OK\r\n\r\n'],
  ['status of four digits', 'HTTP/1.1 2000 OK\r\n\r\n'],
  ['status 000', 'HTTP/1.1 000 OK\r\n\r\n'],
  ['status with letters', 'HTTP/1.1 2x0 OK\r\n\r\n'],
  ['bare LF', 'HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n'],
  ['NUL in reason', 'HTTP/1.1 200 O\0K\r\n\r\n'],
  ['HTTP/2', 'HTTP/2 200 OK\r\n\r\n'],
  ['not HTTP', 'SSH-2.0-OpenSSH_9.2\r\n'],
  ['obs-fold', 'HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n'],
  ['space before colon', 'HTTP/1.1 200 OK\r\nX : a\r\n\r\n'],
];

describe('hostile requests', () => {
  for (const [what, bytes, status, code] of requests) {
    test(what, () => {
      for (const cuts of [[], 'bytes', [bytes.length >> 1]] as const) {
        const seen = feed('request', bytes, { cuts });
        assert.ok(seen.problem, `accepted (cuts ${cuts})`);
        assert.equal(seen.problem.status, status);
        if (code !== undefined) assert.equal(seen.problem.code, code);
        assert.ok(
          seen.messages.every((m) => !m.ended),
          'a message was taken as complete',
        );
      }
    });
  }
});

describe('hostile responses', () => {
  for (const [what, bytes, method] of responses) {
    test(what, () => {
      for (const cuts of [[], 'bytes'] as const) {
        const seen = feed('response', bytes, { cuts, methods: [method ?? 'GET'] });
        assert.ok(seen.problem, `accepted (cuts ${cuts})`);
        assert.equal(seen.messages.length, 0);
      }
    });
  }
});

test('underscores are refused or dropped when asked', () => {
  const bytes = `${H1}x_y: 1\r\nx-y: 2\r\n\r\n`;
  assert.equal(feed('request', bytes).last.headers.length, 3);
  assert.equal(feed('request', bytes, { limits: { underscores: 'reject' } }).problem?.code, 'http1.unexpected_underscore');
  assert.deepEqual(feed('request', bytes, { limits: { underscores: 'drop' } }).last.headers, [
    ['host', 'a'],
    ['x-y', '2'],
  ]);
});

test('a truncated message is an error at the end of the connection, a whole one is none', () => {
  assert.ok(feed('request', `${POST}Content-Length: 5\r\n\r\nabc`, { finish: true }).problem);
  assert.ok(feed('request', `${CHUNKED}3\r\nabc\r\n`, { finish: true }).problem);
  assert.ok(feed('request', 'GET / HT', { finish: true }).problem);
  assert.equal(feed('request', `${H1}\r\n`, { finish: true }).problem, undefined);
  assert.equal(feed('request', '', { finish: true }).problem, undefined);
});
