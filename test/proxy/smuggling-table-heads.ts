// Hostile HTTP/1 requests as data: request lines, targets and authorities, hop-by-hop nominations, protocol changes, expectations,
// sizes, HTTP/1.0 and pipelining.
import { GET, type HostileRow, HostileRows, POST, SECOND, shown } from './smuggling-row.ts';

const table = new HostileRows();
const HOST = 'Host: a\r\n';
const PAIR = ['GET a /a ', 'GET a /second '];
const CHUNKS = '3\r\nabc\r\n0\r\n\r\n';

// --- request line ---

for (const line of [
  ' GET /a HTTP/1.1',
  '\tGET /a HTTP/1.1',
  'GET\t/a HTTP/1.1',
  'GET  /a HTTP/1.1',
  'GET /a  HTTP/1.1',
  'GET /a\tHTTP/1.1',
  'GET /a HTTP/1.1 ',
  'GET /a HTTP/1.1\t',
  'GET /a HTTP/1.1 x',
  'GET /a b HTTP/1.1',
  'GET /a\tb HTTP/1.1',
  'GET /a\xa0b HTTP/1.1',
  'GET /\xe4 HTTP/1.1',
  'GET',
  'GET ',
  'GET /a',
  'GET /a ',
  '/a HTTP/1.1',
  'GETHTTP/1.1',
  'G(T /a HTTP/1.1',
  'G,T /a HTTP/1.1',
  'G:T /a HTTP/1.1',
  '"GET" /a HTTP/1.1',
  'G\xe4T /a HTTP/1.1',
  '\xef\xbb\xbfGET /a HTTP/1.1',
  'HTTP/1.1 200 OK',
  `${'A'.repeat(65)} /a HTTP/1.1`,
])
  table.refuse(`request line ${shown(line)}`, `${line}\r\n${HOST}\r\n${SECOND}`);
for (const version of ['http/1.1', 'Http/1.1', 'HTTP/.1', 'HTTP/1.01', 'HTTP/1.10', 'HTTP/1.1.1'])
  table.refuse(`version ${version}`, `GET /a ${version}\r\n${HOST}\r\n${SECOND}`);
for (const version of [
  'HTTP /1.1',
  'HTTP/ 1.1',
  'HTTP/+1.1',
  'HTTP/-1.1',
  'HTTPS/1.1',
  'XHTTP/1.1',
  'HTTP1.1',
  'HTTP\\1.1',
  'ICY/1.1',
  'RTSP/1.0',
])
  table.refuse(`version ${version}`, `GET /a ${version}\r\n${HOST}\r\n${SECOND}`);
for (const version of ['HTTP/1,1', 'HTTP/1', 'HTTP/1.', 'HTTP/01.1', 'HTTP/1. 1'])
  table.refuse(`version ${version}`, `GET /a ${version}\r\n${HOST}\r\n${SECOND}`);
for (const version of ['HTTP/0.9', 'HTTP/1.2', 'HTTP/1.9', 'HTTP/2.0', 'HTTP/3.0', 'HTTP/9.9'])
  table.refuse(`version ${version}`, `GET /a ${version}\r\n${HOST}\r\n${SECOND}`, 426);
table.refuse('the HTTP/2 preface', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 426);
table.refuse('HTTP/1.0 where it is not accepted', `GET /a HTTP/1.0\r\n${HOST}\r\n${SECOND}`, 426);
for (const method of ['get', 'Get', 'GETX', 'POSTGET', 'X', '!#$%', 'GET_', 'M-SEARCH', 'A'.repeat(64)])
  table.refuse(`method ${shown(method)}`, `${method} /a HTTP/1.1\r\n${HOST}\r\n${SECOND}`);
for (const method of ['PROPFIND', 'MSEARCH', 'UNSUBSCRIBE', 'PATCH', 'PURGE'])
  table.pass(`method ${method}`, `${method} /a HTTP/1.1\r\n${HOST}\r\n${SECOND}`, [`${method} a /a `, 'GET a /second ']);

// --- targets ---

for (const target of ['a', '?a', '#a', 'a/b', '..', '.', ':', 'a:80', '/\\', '//']) {
  if (target.startsWith('/'))
    table.pass(`target ${target}`, `GET ${target} HTTP/1.1\r\n${HOST}\r\n${SECOND}`, [`GET a ${target} `, 'GET a /second ']);
  else table.refuse(`target ${target}`, `GET ${target} HTTP/1.1\r\n${HOST}\r\n${SECOND}`);
}
for (const target of [
  '/..;/',
  '/%2e%2e/',
  '/%00',
  '/%0d%0aX:%20y',
  '/%0a',
  '/a%20HTTP/1.1',
  '/a?x=/../',
  '/"',
  '/<>',
  '/{}|^`',
  '/a;b=c',
  '/http://b/',
])
  table.pass(`target ${target}`, `GET ${target} HTTP/1.1\r\n${HOST}\r\n${SECOND}`, [`GET a ${target} `, 'GET a /second ']);
table.refuse('a fragment', `GET /a#b HTTP/1.1\r\n${HOST}\r\n${SECOND}`);
table.refuse('asterisk for GET', `GET * HTTP/1.1\r\n${HOST}\r\n${SECOND}`);
for (const [target, arrives] of [
  ['http://b/c', 'GET b /c '],
  ['http://b', 'GET b / '],
  ['HTTP://b/c', 'GET b /c '],
  ['http://b:81/c', 'GET b:81 /c '],
  ['http://b//c', 'GET b //c '],
  ['http://[::1]:81/c', 'GET [::1]:81 /c '],
  ['http://[::ffff:1.2.3.4]/c', 'GET [::ffff:1.2.3.4] /c '],
  ['http://b.-/c', 'GET b.- /c '],
  ['https://b/c', 'GET b /c '],
] as const)
  table.pass(`absolute form ${target}, another Host`, `GET ${target} HTTP/1.1\r\n${HOST}\r\n${SECOND}`, [arrives, 'GET a /second ']);
for (const target of ['http:///c', 'http://', 'http:/b/c', 'http:b', '://b/c', 'ftp://b/c', 'file:///c', 'javascript://b/c', 'http//b/c'])
  table.refuse(`absolute form ${target}`, `GET ${target} HTTP/1.1\r\n${HOST}\r\n${SECOND}`);
for (const target of [
  'http://u@b/c',
  'http://u:p@b/c',
  'http://b@/c',
  'http://b\\c/',
  'http://b"c/',
  'http://b#c',
  'http://b<c/',
  'http://b^/',
  'http://b:/',
  'http://b:x/',
  'http://b:65536/',
  'http://:80/',
  'http://b:80:80/',
  'http://b_c/',
  'http://b%20c/',
  'http://b,c/',
  'http://b;c/',
  'http://*/',
  'http://::1/',
  'http://[::1/',
  'http://[::1]x/',
  'http://[:]/',
  'http://[1::2::3]/',
])
  table.refuse(`absolute form ${target}`, `GET ${target} HTTP/1.1\r\n${HOST}\r\n${SECOND}`);
table.refuse('absolute form with a query and no path', `GET http://b?x HTTP/1.1\r\n${HOST}\r\n`, 404);
table.refuse('absolute form, no Host', `GET http://b/c HTTP/1.1\r\n\r\n${SECOND}`);
table.refuse('absolute form, two Hosts', `GET http://b/c HTTP/1.1\r\n${HOST}${HOST}\r\n${SECOND}`);
table.refuse('absolute form, a Host with a user', `GET http://b/c HTTP/1.1\r\nHost: u@a\r\n\r\n${SECOND}`);
for (const target of [
  '/a',
  'http://a/',
  'a',
  'a:',
  'a:x',
  ':80',
  'a:80/',
  'a:80?x',
  'a:80#x',
  'u@a:80',
  'a b:80',
  '*',
  'a:999999',
  'a:65536',
  '[::1:80',
  '[:]:80',
  '[1::2::3]:80',
  '[1:2:3:4:5:6:7]:80',
  '[12345::1]:80',
  'a:80:80',
  'a_b:80',
  'a%20b:80',
  "a'b:80",
  'a,b:80',
  '*:80',
])
  table.refuse(`CONNECT ${target}`, `CONNECT ${target} HTTP/1.1\r\n${HOST}\r\n${SECOND}`, 400, { on: 'upgrade' });
table.refuse('CONNECT with a body', `CONNECT a:80 HTTP/1.1\r\n${HOST}Content-Length: 3\r\n\r\nabc`, 400, { on: 'upgrade' });
table.refuse('CONNECT with chunks', `CONNECT a:80 HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n${CHUNKS}`, 501, { on: 'upgrade' });
table.refuse('CONNECT without a route for it', `CONNECT a:80 HTTP/1.1\r\n${HOST}\r\n${SECOND}`, 404);

// --- Host ---

table.refuse('no Host', `GET /a HTTP/1.1\r\nX: y\r\n\r\n${SECOND}`);
table.refuse('an empty Host', `GET /a HTTP/1.1\r\nHost:\r\n\r\n${SECOND}`);
table.refuse('a Host of spaces', `GET /a HTTP/1.1\r\nHost:   \r\n\r\n${SECOND}`);
for (const [first, second] of [
  ['Host: a', 'Host: b'],
  ['Host: a', 'Host: a'],
  ['host: a', 'HOST: b'],
  ['Host: a', 'Host:'],
  ['Host:', 'Host: a'],
] as const)
  table.refuse(`${first} and ${second}`, `GET /a HTTP/1.1\r\n${first}\r\nX: y\r\n${second}\r\n\r\n${SECOND}`);
for (const host of [
  'u@a',
  'a/b',
  'a?b',
  'a#b',
  'a\\b',
  'a b',
  'a\tb',
  '"a"',
  '<a>',
  'a|b',
  'a^b',
  '{a}',
  'a`',
  'http://a',
  '\xe4',
  'a\xa0',
])
  table.refuse(`Host ${shown(host)}`, `GET /a HTTP/1.1\r\nHost: ${host}\r\n\r\n${SECOND}`);
for (const host of ['A', 'a.', 'a:80', '[::1]', '[::1]:80', '127.0.0.1', 'a_b', 'a,b', 'a:b'])
  table.pass(`Host ${host}`, `GET /a HTTP/1.1\r\nHost: ${host}\r\n\r\n${SECOND}`, [`GET ${host} /a `, 'GET a /second ']);

// --- what a client nominates in Connection ---

for (const option of [
  'host',
  'keep-alive, Host',
  ':path',
  'x-forwarded-for',
  'close, X-Forwarded-Proto',
  'x-forwarded-host',
  'a,b,c,d,e,f,g,h,i,j',
])
  table.refuse(`Connection: ${option}`, `${POST}Connection: ${option}\r\nContent-Length: 3\r\n\r\nabc${SECOND}`);
for (const option of ['content-length', 'Content-Length, close', 'transfer-encoding', 'authorization', 'a,b,c,d,e,f,g,h,i'])
  table.pass(
    `Connection: ${option}`,
    `${POST}Connection: ${option}\r\nContent-Length: 3\r\n\r\nabc${option.includes('close') ? '' : SECOND}`,
    option.includes('close') ? ['POST a /a abc'] : ['POST a /a abc', 'GET a /second '],
  );
table.pass(
  'Connection: transfer-encoding with chunks',
  `${POST}Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n${CHUNKS}${SECOND}`,
  ['POST a /a abc', 'GET a /second '],
);
table.pass('Proxy-Connection: close', `${GET}Proxy-Connection: close\r\n\r\n${SECOND}`, ['GET a /a ']);
for (const line of ['Keep-Alive: x', 'TE: chunked', 'TE: trailers', 'Trailer: content-length', 'Connection: upgrade', 'Upgrade: x'])
  table.pass(line, `${GET}${line}\r\n\r\n${SECOND}`, PAIR);
for (const line of [
  'Range: bytes=0-',
  'Range: bytes=0-0,0-0,0-0',
  'X-HTTP-Method-Override: DELETE',
  'X-Original-URL: /admin',
  'Content-Length-X: 3',
])
  table.pass(line, `${GET}${line}\r\n\r\n${SECOND}`, PAIR);

// --- other protocols ---

for (const [what, lines] of [
  ['h2c', 'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n'],
  ['h2c without settings', 'Connection: Upgrade\r\nUpgrade: h2c\r\n'],
  ['H2C', 'Connection: upgrade\r\nUpgrade: H2C\r\n'],
] as const) {
  table.pass(`an upgrade to ${what}`, `${GET}${lines}\r\n${SECOND}`, PAIR);
  table.pass(`an upgrade to ${what} with a body`, `${POST}${lines}Content-Length: ${SECOND.length}\r\n\r\n${SECOND}`, [
    `POST a /a ${SECOND}`,
  ]);
}
for (const name of ['websocket', 'x', 'websocket, h2c', 'TLS/1.0'])
  table.refuse(`an upgrade to ${name} where none is allowed`, `${GET}Connection: Upgrade\r\nUpgrade: ${name}\r\n\r\n${SECOND}`, 403);
// The backend does not change its protocol: what follows is a request of its own, or nothing at all, never part of the first.
for (const lines of ['', 'Content-Length: 0\r\n'])
  table.pass(
    `an allowed upgrade that does not happen, ${lines === '' ? 'no framing' : 'length 0'}`,
    `${GET}Connection: Upgrade\r\nUpgrade: websocket\r\n${lines}\r\n`,
    ['GET a /a '],
    { on: 'upgrade' },
  );

// --- expectations ---

for (const value of ['100-continue', '100-Continue', '200-ok', '100-continue, x', ''])
  table.pass(`Expect: ${value}`, `${POST}Expect: ${value}\r\nContent-Length: 3\r\n\r\nabc${SECOND}`, ['POST a /a abc', 'GET a /second ']);
table.pass('Expect without a body', `${GET}Expect: 100-continue\r\n\r\n${SECOND}`, PAIR);

// --- sizes ---

table.refuse('an endless method', 'G'.repeat(70_000), 400);
table.refuse('an endless target', `GET /${'a'.repeat(70_000)} HTTP/1.1\r\n${HOST}\r\n`, 431);
table.refuse('an endless name', `${GET}${'X'.repeat(70_000)}: y\r\n\r\n`, 431);
table.refuse('an endless value', `${GET}X: ${'y'.repeat(70_000)}\r\n\r\n`, 431);
table.refuse('an endless Content-Length', `${POST}Content-Length: ${'0'.repeat(70_000)}\r\n\r\n`, 431);
table.refuse('101 headers', `GET /a HTTP/1.1\r\n${'X: y\r\n'.repeat(100)}${HOST}\r\n`, 431);
table.refuse('many empty headers', `${GET}${'X:\r\n'.repeat(20_000)}\r\n`, 431);
table.pass('100 headers', `${GET}${'X: y\r\n'.repeat(99)}\r\n${SECOND}`, PAIR);

// --- HTTP/1.0 ---

table.pass('HTTP/1.0', 'GET /a HTTP/1.0\r\nHost: a\r\n\r\n', ['GET a /a '], { on: 'http10' });
table.pass('HTTP/1.0 without Host', 'GET /a HTTP/1.0\r\n\r\n', ['GET default /a '], { on: 'http10' });
table.pass('HTTP/1.0 keep-alive', `GET /a HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n${SECOND}`, PAIR, { on: 'http10' });
table.pass('HTTP/1.0 with a request behind it', `GET /a HTTP/1.0\r\nHost: a\r\n\r\n${SECOND}`, ['GET a /a '], { on: 'http10' });
table.refuse('HTTP/1.0 with chunks', `POST /a HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${CHUNKS}`, 400, { on: 'http10' });
table.refuse(
  'HTTP/1.0 with CL and TE',
  `POST /a HTTP/1.0\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n${CHUNKS}`,
  400,
  { on: 'http10' },
);
table.refuse('HTTP/0.9', `GET /a\r\n${SECOND}`, 400, { on: 'http10' });
table.refuse('HTTP/1.0 with two Hosts', `GET /a HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n`, 400, { on: 'http10' });

// --- behind a good request ---

for (const [what, bad] of [
  ['garbage', '\0\x01\x02\r\n\r\n'],
  ['a TLS greeting', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'],
  ['two Content-Lengths', `${POST}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd`],
  ['CL and TE', `${POST}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n${CHUNKS}`],
  ['a response', 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'],
] as const)
  table.refuse(`${what} behind a good request`, `${GET}\r\n${bad}`, 400, { arrives: ['GET a /a '] });
table.pass('Connection: close with a request behind it', `${GET}Connection: close\r\n\r\n${SECOND}`, ['GET a /a ']);
table.refuse('more body than Content-Length', `${POST}Content-Length: 3\r\n\r\nabcdef\r\n\r\n`, 400, { arrives: ['POST a /a abc'] });
table.refuse('a body without framing', `${POST}\r\n${SECOND.replace('GET ', 'GET\t')}`, 400, {
  arrives: ['POST a /a '],
});

export const HEAD_ROWS: readonly HostileRow[] = table.rows;
