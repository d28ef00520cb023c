// Hostile HTTP/1 requests as data: everything about where a message ends. Made by rule families, so that a new dress of an old trick
// is one more word in a list.
import { GET, type HostileRow, HostileRows, POST, SECOND, shown } from './smuggling-row.ts';

const table = new HostileRows();
const CHUNKS = '3\r\nabc\r\n0\r\n\r\n';
const CHUNKED = `${POST}Transfer-Encoding: chunked\r\n\r\n`;
const BOTH = ['POST a /a abc', 'GET a /second '];

// --- Content-Length ---

for (const value of [
  '+3',
  '-3',
  '-0',
  '0x3',
  '3.0',
  '3e0',
  '3,3',
  '3, 3',
  '3, 4',
  '3,',
  ',3',
  '3;',
  '3;a=b',
  '3 3',
  '3\t3',
  '"3"',
  "'3'",
  '3abc',
  'abc',
])
  table.refuse(`Content-Length ${shown(value)}`, `${POST}Content-Length: ${value}\r\n\r\nabc${SECOND}`);
for (const value of ['', ' ', '\t', '1_0', '3\x0b', '\x0c3', '3\0', '\xb3', '\xa03', '3\xa0', '\xef\xbc\x93', '-', '+', '3\x1a'])
  table.refuse(`Content-Length ${shown(value)}`, `${POST}Content-Length: ${value}\r\n\r\nabc${SECOND}`);
for (const value of [
  '18446744073709551616',
  '18446744073709551619',
  '99999999999999999999999999',
  '9223372036854775808',
  '-18446744073709551613',
])
  table.refuse(`Content-Length ${value} (overflow)`, `${POST}Content-Length: ${value}\r\n\r\nabc${SECOND}`);
table.refuse('Content-Length of 20 digits, leading zeros', `${POST}Content-Length: 00000000000000000003\r\n\r\nabc${SECOND}`);
for (const value of ['3', ' 3', '\t3', '3 ', '3\t', ' \t3\t ', '03', '0003'])
  table.pass(`Content-Length ${shown(value)}`, `${POST}Content-Length:${value}\r\n\r\nabc${SECOND}`, BOTH);
for (const [first, second] of [
  ['3', '3'],
  ['3', '4'],
  ['4', '3'],
  ['3', '0'],
  ['0', '3'],
  ['3', ''],
  ['', '3'],
  ['3', '+3'],
] as const)
  table.refuse(
    `Content-Length ${shown(first)}, then ${shown(second)}`,
    `${POST}Content-Length: ${first}\r\ncontent-LENGTH: ${second}\r\n\r\nabc${SECOND}`,
  );
table.refuse(
  'three equal Content-Lengths apart',
  `${POST}Content-Length: 3\r\nX: y\r\nContent-Length: 3\r\nY: z\r\nContent-Length: 3\r\n\r\nabc${SECOND}`,
);

// --- Transfer-Encoding ---

for (const value of ['chunked', 'Chunked', 'CHUNKED', ' chunked', '\tchunked', 'chunked ', 'chunked\t', ' \t chunked \t '])
  table.pass(`Transfer-Encoding ${shown(value)}`, `${POST}Transfer-Encoding:${value}\r\n\r\n${CHUNKS}${SECOND}`, BOTH);
for (const value of [
  'xchunked',
  'x-chunked',
  'chunkedx',
  'chunke',
  'chunked;q=1',
  'chunked;a=b',
  'chunked; ',
  'chunked, chunked',
  'chunked,chunked',
  'chunked,',
  ',chunked',
  'chunked chunked',
  'identity',
  'identity, chunked',
  'chunked, identity',
  'gzip',
  'gzip, chunked',
  'chunked, gzip',
  'deflate,chunked',
  'compress',
  'trailers',
  'chunked, trailers',
  '"chunked"',
  "'chunked'",
  '(chunked)',
  'chu nked',
  'chun\\ked',
  'cow',
  'false',
  '',
  'ch\xfcnked',
  '\xa0chunked',
  'chunked\xa0',
  'chunked\x85',
])
  table.refuse(`Transfer-Encoding ${shown(value)}`, `${POST}Transfer-Encoding: ${value}\r\n\r\n${CHUNKS}${SECOND}`, 501);
for (const [first, second] of [
  ['chunked', 'chunked'],
  ['chunked', 'identity'],
  ['identity', 'chunked'],
  ['gzip', 'chunked'],
  ['chunked', 'x'],
  ['', 'chunked'],
] as const)
  table.refuse(
    `Transfer-Encoding ${shown(first)}, then ${shown(second)}`,
    `${POST}Transfer-Encoding: ${first}\r\nTransfer-encoding: ${second}\r\n\r\n${CHUNKS}${SECOND}`,
    501,
  );

// --- both ---

for (const te of ['chunked', 'Chunked', 'identity', 'xchunked', 'chunked, identity', '']) {
  for (const length of ['0', '3', String(CHUNKS.length)]) {
    const lines = [`Content-Length: ${length}\r\n`, `Transfer-Encoding: ${te}\r\n`];
    table.refuse(`CL ${length} before TE ${shown(te)}`, `${POST}${lines.join('')}\r\n${CHUNKS}${SECOND}`);
    table.refuse(`TE ${shown(te)} before CL ${length}`, `${POST}${lines.reverse().join('')}\r\n${CHUNKS}${SECOND}`);
  }
}
table.refuse('CL.TE', `${POST}Content-Length: ${5 + SECOND.length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${SECOND}`);
table.refuse(
  'TE.CL',
  `${POST}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n${SECOND.length.toString(16)}\r\n${SECOND}\r\n0\r\n\r\n`,
);
table.refuse('CL and TE in a GET', `${GET}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${SECOND}`);

// --- a body that is a request: CL.0, 0.CL, TE.0 ---

for (const method of ['GET', 'HEAD', 'POST', 'DELETE', 'OPTIONS', 'TRACE'] as const) {
  const begin = `${method} /a HTTP/1.1\r\nHost: a\r\n`;
  table.pass(`${method} whose body is a request (CL.0)`, `${begin}Content-Length: ${SECOND.length}\r\n\r\n${SECOND}`, [
    `${method} a /a ${SECOND}`,
  ]);
  table.pass(
    `${method} whose chunk is a request (TE.0)`,
    `${begin}Transfer-Encoding: chunked\r\n\r\n${SECOND.length.toString(16)}\r\n${SECOND}\r\n0\r\n\r\n`,
    [`${method} a /a ${SECOND}`],
  );
}
table.pass('a request behind Content-Length 0 (0.CL)', `${POST}Content-Length: 0\r\n\r\n${SECOND}`, ['POST a /a ', 'GET a /second ']);
table.pass('a request behind a POST without framing', `${POST}\r\n${SECOND}`, ['POST a /a ', 'GET a /second ']);

// --- names in dress ---

for (const [name, value] of [
  ['Content-Length', '3'],
  ['Transfer-Encoding', 'chunked'],
] as const) {
  const body = name === 'Content-Length' ? 'abc' : CHUNKS;
  const dressed = [`${name} : ${value}`, `${name}\t: ${value}`, ` ${name}: ${value}`, `\t${name}: ${value}`, `X: y\r\n ${name}: ${value}`];
  dressed.push(
    `X: y\r\n\t${name}: ${value}`,
    `${name}:\r\n ${value}`,
    `${name}: \r\n\t${value}`,
    `${name}\r\n : ${value}`,
    `${name}\r: ${value}`,
  );
  dressed.push(
    `${name}\n: ${value}`,
    `X: y\n${name}: ${value}`,
    `X: y\r${name}: ${value}`,
    `X: y\n\r${name}: ${value}`,
    `X: y\r\r\n${name}: ${value}`,
  );
  dressed.push(
    `${name}${value}`,
    `${name}`,
    `${name} ${value}`,
    `${name}; ${value}`,
    `"${name}": ${value}`,
    `${name}\xa0: ${value}`,
    `(${name}): ${value}`,
  );
  dressed.push(`: ${value}`, `\xff${name}: ${value}`, `${name}\0: ${value}`, `\0${name}: ${value}`, `@${name}: ${value}`, `X Y: ${value}`);
  for (const line of dressed) table.refuse(`header line ${shown(line)}`, `${POST}${line}\r\n\r\n${body}${SECOND}`);
  // Other headers, whatever they remind of: no framing, so the body stands where a request must begin.
  for (const other of [name.replace('-', '_'), `X-${name}`, `${name}-X`])
    table.refuse(`header ${other}`, `${POST}${other}: ${value}\r\n\r\n(${body}${SECOND}`, 400, { arrives: ['POST a /a '] });
}
for (const line of [' Host: b', '\tHost: b', 'Host : b', '\r\n', ' \r\n', '\t\r\n', '\x0bX: y'])
  if (line !== '\r\n') table.refuse(`first line ${shown(line)}`, `GET /a HTTP/1.1\r\n${line}\r\nHost: a\r\n\r\n${SECOND}`);

// --- line ends: every CR LF of a request replaced ---

const WHOLE = ['POST /a HTTP/1.1', 'Host: a', 'Transfer-Encoding: chunked', '', '3', 'abc', '0', 'X: y', ''];
const ENDS = [
  'request line',
  'Host',
  'Transfer-Encoding',
  'end of head',
  'chunk size',
  'chunk',
  'last chunk',
  'trailer',
  'end of trailers',
];
for (const end of ['\n', '\r', '\n\r', '\r\r\n', '\0\r\n', '\r\0\n', '\r \n']) {
  ENDS.forEach((where, at) => {
    if (end === '\0\r\n' && at === 5) return; // a fourth byte of a chunk of three, as every other
    const bytes = WHOLE.map((line, i) => line + (i === at ? end : '\r\n')).join('');
    table.refuse(`${where} ended by ${shown(end)}`, `${bytes}${SECOND}`);
  });
}
table.pass('one empty line before a request', `\r\n${GET}\r\n`, ['GET a /a ']);
table.refuse('an LF before a request', `\n${GET}\r\n`);
table.refuse('a CR before a request', `\r${GET}\r\n`);
table.refuse('twenty empty lines before a request', `${'\r\n'.repeat(20)}${GET}\r\n`);

// --- control bytes in every place ---

for (const byte of ['\0', '\x01', '\x08', '\x0b', '\x0c', '\x1b', '\x1f', '\x7f']) {
  const places: readonly [string, string][] = [
    ['method', `GE${byte}T /a HTTP/1.1\r\nHost: a\r\n\r\n`],
    ['target', `GET /a${byte}b HTTP/1.1\r\nHost: a\r\n\r\n`],
    ['query', `GET /a?b${byte}=c HTTP/1.1\r\nHost: a\r\n\r\n`],
    ['version', `GET /a HTTP/1.1${byte}\r\nHost: a\r\n\r\n`],
    ['Host', `GET /a HTTP/1.1\r\nHost: a${byte}b\r\n\r\n`],
    ['a name', `${GET}X${byte}Y: z\r\n\r\n`],
    ['a value', `${GET}X: y${byte}z\r\n\r\n`],
    ['the front of a value', `${GET}X: ${byte}z\r\n\r\n`],
    ['the end of a value', `${GET}X: y${byte}\r\n\r\n`],
    ['a chunk size', `${CHUNKED}3${byte}\r\nabc\r\n0\r\n\r\n`],
    ['a chunk extension', `${CHUNKED}3;a${byte}b\r\nabc\r\n0\r\n\r\n`],
    ['a trailer name', `${CHUNKED}0\r\nX${byte}Y: z\r\n\r\n`],
    ['a trailer value', `${CHUNKED}0\r\nX: y${byte}z\r\n\r\n`],
  ];
  for (const [where, bytes] of places) table.refuse(`${shown(byte)} in ${where}`, `${bytes}${SECOND}`);
}

// --- chunks ---

for (const size of [
  '',
  ' 3',
  '3 ',
  '3\t',
  '\t3',
  '0x3',
  '+3',
  '-3',
  '3.0',
  '3_0',
  '3,3',
  'g',
  'x',
  '3g',
  '"3"',
  '3\xa0',
  '\xef\xbc\x93',
  '3 3',
  ' ',
])
  table.refuse(`chunk size ${shown(size)}`, `${CHUNKED}${size}\r\nabc\r\n0\r\n\r\n${SECOND}`);
for (const size of ['fffffffffffffffff', '10000000000000003', '8000000000000000', 'ffffffffffffffff', '7fffffffffffffff0'])
  table.refuse(`chunk size ${size} (overflow)`, `${CHUNKED}${size}\r\nabc\r\n0\r\n\r\n${SECOND}`);
table.refuse('chunk size of 20 digits, leading zeros', `${CHUNKED}00000000000000000003\r\nabc\r\n0\r\n\r\n${SECOND}`);
for (const size of ['3', '03', '0003', '3;', '3;a', '3;a=b', '3;a="b"', '3;a="b c"', '3;a;b=c', '3; a = b'])
  table.pass(`chunk size ${shown(size)}`, `${CHUNKED}${size}\r\nabc\r\n0\r\n\r\n${SECOND}`, BOTH);
for (const line of ['3;a\nb', '3;\n', '3;a\rb', '3;a\r\r', '3 ;a', `3;${'a'.repeat(300)}`])
  table.refuse(`chunk line ${shown(line)}`, `${CHUNKED}${line}\r\nabc\r\n0\r\n\r\n${SECOND}`);
for (const [what, chunks] of [
  ['longer than its size', '3\r\nabcd\r\n0\r\n\r\n'],
  ['shorter than its size', '4\r\nabc\r\n0\r\n\r\n'],
  ['without its line end', '3\r\nabc0\r\n\r\n'],
  ['with a space behind it', '3\r\nabc \r\n0\r\n\r\n'],
  ['with an empty line behind it', '3\r\nabc\r\n\r\n0\r\n\r\n'],
  ['then a last chunk with a sign', '3\r\nabc\r\n-0\r\n\r\n'],
  ['then a last chunk 0x0', '3\r\nabc\r\n0x0\r\n\r\n'],
] as const)
  table.refuse(`a chunk ${what}`, `${CHUNKED}${chunks}${SECOND}`);
table.pass('last chunk 000', `${CHUNKED}3\r\nabc\r\n000\r\n\r\n${SECOND}`, BOTH);
table.pass('chunks of one byte', `${CHUNKED}1\r\na\r\n1\r\nb\r\n01;x\r\nc\r\n0\r\n\r\n${SECOND}`, BOTH);
table.refuse('many chunk extensions', `${CHUNKED}${`1;${'a'.repeat(250)}\r\nx\r\n`.repeat(80)}0\r\n\r\n`);

// --- trailers ---

for (const on of ['plain', 'trailers'] as const) {
  for (const line of ['Content-Length: 3', 'Transfer-Encoding: chunked', 'Host: b', 'content-length: 0', 'TRANSFER-ENCODING: identity'])
    table.refuse(`trailer ${line} (${on})`, `${CHUNKED}0\r\n${line}\r\n\r\n${SECOND}`, 400, { on });
  for (const line of ['X: y\r\n z', 'X : y', ' X: y', ': y', 'X', 'X Y: z', 'X: y\nZ: z', 'X: y\rZ: z', 'GET /second HTTP/1.1'])
    table.refuse(`trailer ${shown(line)} (${on})`, `${CHUNKED}0\r\n${line}\r\n\r\n${SECOND}`, 400, { on });
}
table.pass('a trailer where trailers are off', `${CHUNKED}3\r\nabc\r\n0\r\nX-T: y\r\n\r\n${SECOND}`, BOTH);
table.pass(
  'a trailer where trailers are on',
  `${CHUNKED}3\r\nabc\r\n0\r\nX-T: y\r\n\r\n${SECOND}`,
  ['POST a /a abc[x-t: y]', 'GET a /second '],
  { on: 'trailers' },
);
table.refuse('endless trailers', `${CHUNKED}0\r\nX: ${'a'.repeat(70_000)}\r\n\r\n`, 431);
table.refuse('too many trailers', `${CHUNKED}0\r\n${'X: y\r\n'.repeat(101)}\r\n`, 431);

export const FRAMING_ROWS: readonly HostileRow[] = table.rows;
