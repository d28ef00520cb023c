// Answers compressed for clients that accept it. Every row is what a stock Envoy does, which plays the same where there is one.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import type { AnyMessage, Route } from '../../src/xds/gen/types.ts';
import { hcm, listener, RawClient, ROUTER, startBackend, startPlane, staticCluster } from './harness.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';

const FILTERS = 'type.googleapis.com/envoy.extensions.filters.http.compressor.v3';
const GZIP = 'type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip';
const compressor = (name: string, more: object): AnyMessage => ({
  '@type': `${FILTERS}.Compressor`,
  compressor_library: { name, typed_config: { '@type': GZIP, window_bits: 9 } },
  ...more,
});
const to = (prefix: string, own?: object): Route => ({
  match: { prefix },
  route: { cluster: 'c' },
  ...(own === undefined ? {} : { typed_per_filter_config: { gzip: { '@type': `${FILTERS}.CompressorPerRoute`, ...own } } }),
});
const LONG = 'one answer that is worth it, '.repeat(60);

const CONFIGS: { readonly [name: string]: { readonly config: AnyMessage; readonly routes?: readonly Route[] } } = {
  plain: { config: compressor('plain', {}) },
  own: {
    config: compressor('own', {
      choose_first: true,
      response_direction_config: {
        common_config: { min_content_length: 5, content_type: ['Text/Own'] },
        remove_accept_encoding_header: true,
        uncompressible_response_codes: [206],
        disable_on_etag_header: true,
      },
    }),
    routes: [
      to('/off', { disabled: true }),
      to('/kept', { overrides: { response_direction_config: { remove_accept_encoding_header: false } } }),
      to('/'),
    ],
  },
  weak: { config: compressor('weak', { response_direction_config: { disable_on_etag_header: true, weaken_etag_on_compress: true } }) },
  off: {
    config: compressor('off', { runtime_enabled: { default_value: false, runtime_key: 'none' }, content_length: 5 }),
    routes: [
      to('/on', { overrides: { response_direction_config: {} } }),
      to('/as', { overrides: {} }),
      { match: { prefix: '/own' }, direct_response: { status: 200, body: { inline_string: LONG } } },
      to('/'),
    ],
  },
  old: {
    config: compressor('old', {
      content_length: 5,
      content_type: ['a/b'],
      disable_on_etag_header: true,
      remove_accept_encoding_header: true,
    }),
  },
  direct: {
    config: compressor('direct', {}),
    routes: [
      { match: { prefix: '/short' }, direct_response: { status: 200, body: { inline_string: 'short' } } },
      { match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: LONG } } },
    ],
  },
};

const stage = (port: number) => ({
  clusters: [staticCluster('c', [port])],
  listeners: Object.entries(CONFIGS).map(([name, { config, routes = [to('/')] }]) =>
    listener(name, hcm(routes, { stat_prefix: 'test', http_filters: [{ name: 'gzip', typed_config: config }, ROUTER] })),
  ),
});

/** What the server answers stands in `x-answer`: lines of its head, separated by `|`, behind the status; `chunked` in two pieces. */
const answer = (request: string): string => {
  const [status = '200', ...lines] = (/^x-answer: (.*)\r$/m.exec(request)?.[1] ?? '200').split('|');
  const accept = /^accept-encoding: ?(.*)\r$/im.exec(request)?.[1] ?? 'none';
  const head = `HTTP/1.1 ${status} X\r\nx-seen: ${accept}\r\n${lines.filter((l) => l !== 'chunked' && l !== 'short').join('\r\n')}${lines.some((l) => l.includes(':')) ? '\r\n' : ''}`;
  const body = lines.includes('short') ? 'tiny' : LONG;
  if (request.startsWith('HEAD')) return `${head}content-length: ${body.length}\r\n\r\n`;
  if (status === '204' || status === '304') return `${head}\r\n`;
  if (!lines.includes('chunked')) return `${head}content-length: ${body.length}\r\n\r\n${body}`;
  const half = body.length / 2;
  const pieces = [body.slice(0, half), body.slice(half), ''].map((piece) => `${piece.length.toString(16)}\r\n${piece}\r\n`);
  return `${head}transfer-encoding: chunked\r\n\r\n${pieces.join('')}`;
};

const ROWS: { readonly [row: string]: string } = {
  'plain\nGET /\naccept-encoding: gzip\nx-answer: 200|content-type: text/plain':
    '200 whole content-encoding=gzip vary=Accept-Encoding x-seen=gzip',
  'plain\nGET /\naccept-encoding: GZIP\nx-answer: 200|content-type: text/plain': '200 whole vary=Accept-Encoding x-seen=GZIP',
  'plain\nGET /\naccept-encoding: deflate, br\nx-answer: 200|content-type: text/plain': '200 whole vary=Accept-Encoding x-seen=deflate, br',
  'plain\nGET /\naccept-encoding: deflate, gzip;q=0.5\nx-answer: 200|content-type: text/plain':
    '200 whole content-encoding=gzip vary=Accept-Encoding x-seen=deflate, gzip;q=0.5',
  'plain\nGET /\naccept-encoding: identity, gzip;q=0.5\nx-answer: 200|content-type: text/plain':
    '200 whole vary=Accept-Encoding x-seen=identity, gzip;q=0.5',
  'plain\nGET /\naccept-encoding: identity;q=0.1,gzip;q=0.5\nx-answer: 200|content-type: text/plain':
    '200 whole content-encoding=gzip vary=Accept-Encoding x-seen=identity;q=0.1,gzip;q=0.5',
  'plain\nGET /\naccept-encoding: gzip;q=0\nx-answer: 200|content-type: text/plain': '200 whole vary=Accept-Encoding x-seen=gzip;q=0',
  'plain\nGET /\naccept-encoding: gzip;q=0, *\nx-answer: 200|content-type: text/plain': '200 whole vary=Accept-Encoding x-seen=gzip;q=0, *',
  'plain\nGET /\naccept-encoding: *\nx-answer: 200|content-type: text/plain':
    '200 whole content-encoding=gzip vary=Accept-Encoding x-seen=*',
  'plain\nGET /\naccept-encoding: *;q=0\nx-answer: 200|content-type: text/plain': '200 whole vary=Accept-Encoding x-seen=*;q=0',
  'plain\nGET /\naccept-encoding: identity;q=0.5, *;q=0.6\nx-answer: 200|content-type: text/plain':
    '200 whole content-encoding=gzip vary=Accept-Encoding x-seen=identity;q=0.5, *;q=0.6',
  'plain\nGET /\naccept-encoding: gzip;q=abc\nx-answer: 200|content-type: text/plain': '200 whole vary=Accept-Encoding x-seen=gzip;q=abc',
  'plain\nGET /\naccept-encoding: gzip ; Q = 0.3\nx-answer: 200|content-type: text/plain':
    '200 whole content-encoding=gzip vary=Accept-Encoding x-seen=gzip ; Q = 0.3',
  'plain\nGET /\naccept-encoding: gzip;level=9\nx-answer: 200|content-type: text/plain':
    '200 whole content-encoding=gzip vary=Accept-Encoding x-seen=gzip;level=9',
  'plain\nGET /\naccept-encoding: \nx-answer: 200|content-type: text/plain': '200 whole vary=Accept-Encoding x-seen=',
  'plain\nGET /\naccept-encoding: ,,gzip\nx-answer: 200|content-type: text/plain':
    '200 whole content-encoding=gzip vary=Accept-Encoding x-seen=,,gzip',
  'plain\nGET /\naccept-encoding: identity, gzip\nx-answer: 200|content-type: text/plain':
    '200 whole vary=Accept-Encoding x-seen=identity, gzip',
  'plain\nGET /\nx-answer: 200|content-type: text/plain': '200 whole vary=Accept-Encoding x-seen=none',
  'plain\nHEAD /\naccept-encoding: gzip\nx-answer: 200|content-type: text/plain': '200  vary=Accept-Encoding x-seen=gzip',
  'plain\nGET /\naccept-encoding: gzip\nx-answer: 200': '200 whole content-encoding=gzip vary=Accept-Encoding x-seen=gzip',
  'plain\nGET /\naccept-encoding: gzip\nx-answer: 200|content-type: text/own': '200 whole x-seen=gzip',
  'plain\nGET /\naccept-encoding: gzip\nx-answer: 200|content-type: TEXT/html; charset=x':
    '200 whole content-encoding=gzip vary=Accept-Encoding x-seen=gzip',
  'plain\nGET /\naccept-encoding: gzip\nx-answer: 200|content-type: application/json':
    '200 whole content-encoding=gzip vary=Accept-Encoding x-seen=gzip',
  'plain\nGET /\naccept-encoding: gzip\nx-answer: 200|content-type: application/x-json':
    '200 whole content-encoding=gzip vary=Accept-Encoding x-seen=gzip',
  'plain\nGET /\naccept-encoding: gzip\nx-answer: 200|content-type: application/wasm': '200 whole x-seen=gzip',
  'plain\nGET /\naccept-encoding: gzip\nx-answer: 200|content-type: application/grpc-web':
    '200 whole content-encoding=gzip vary=Accept-Encoding x-seen=gzip',
  'plain\nGET /\naccept-encoding: gzip\nx-answer: 200|content-type: application/grpc': '200 whole x-seen=gzip',
  'plain\nGET /\naccept-encoding: gzip\nx-answer: 200|content-type: image/svg+xml':
    '200 whole content-encoding=gzip vary=Accept-Encoding x-seen=gzip',
  'plain\nGET /\naccept-encoding: gzip\nx-answer: 200|short': '200 tiny x-seen=gzip',
  'plain\nGET /\naccept-encoding: gzip\nx-answer: 200|chunked': '200 whole content-encoding=gzip vary=Accept-Encoding x-seen=gzip',
  'plain\nGET /\naccept-encoding: gzip\nx-answer: 200|chunked|short': '200 tiny content-encoding=gzip vary=Accept-Encoding x-seen=gzip',
  'plain\nGET /\naccept-encoding: gzip\nx-answer: 206': '206 whole content-encoding=gzip vary=Accept-Encoding x-seen=gzip',
  'plain\nGET /\naccept-encoding: gzip\nx-answer: 404': '404 whole content-encoding=gzip vary=Accept-Encoding x-seen=gzip',
  'plain\nGET /\naccept-encoding: gzip\nx-answer: 204': '204  vary=Accept-Encoding x-seen=gzip',
  'plain\nGET /\naccept-encoding: gzip\nx-answer: 304': '304  vary=Accept-Encoding x-seen=gzip',
  'plain\nGET /\naccept-encoding: gzip\nx-answer: 200|cache-control: a, No-Transform': '200 whole x-seen=gzip',
  'plain\nGET /\naccept-encoding: gzip\nx-answer: 200|cache-control: no-transformx':
    '200 whole content-encoding=gzip vary=Accept-Encoding x-seen=gzip',
  'plain\nGET /\naccept-encoding: gzip\nx-answer: 200|content-encoding: br': '200 whole content-encoding=br x-seen=gzip',
  'plain\nGET /\naccept-encoding: gzip\nx-answer: 200|content-encoding: gzip': '200 whole content-encoding=gzip x-seen=gzip',
  'plain\nGET /\naccept-encoding: gzip\nx-answer: 200|etag: "a"': '200 whole content-encoding=gzip vary=Accept-Encoding x-seen=gzip',
  'plain\nGET /\naccept-encoding: gzip\nx-answer: 200|etag: W/"a"':
    '200 whole content-encoding=gzip vary=Accept-Encoding etag=W/"a" x-seen=gzip',
  'plain\nGET /\naccept-encoding: gzip\nx-answer: 200|etag: w/"a"':
    '200 whole content-encoding=gzip vary=Accept-Encoding etag=w/"a" x-seen=gzip',
  'plain\nGET /\naccept-encoding: gzip\nx-answer: 200|etag: ""': '200 whole content-encoding=gzip vary=Accept-Encoding x-seen=gzip',
  'plain\nGET /\naccept-encoding: gzip\nx-answer: 200|etag: x': '200 whole content-encoding=gzip vary=Accept-Encoding x-seen=gzip',
  'plain\nGET /\naccept-encoding: gzip\nx-answer: 200|vary: a': '200 whole content-encoding=gzip vary=a, Accept-Encoding x-seen=gzip',
  'plain\nGET /\naccept-encoding: gzip\nx-answer: 200|vary: accept-encoding':
    '200 whole content-encoding=gzip vary=accept-encoding, Accept-Encoding x-seen=gzip',
  'plain\nGET /\naccept-encoding: gzip\nx-answer: 200|vary: Accept-Encoding':
    '200 whole content-encoding=gzip vary=Accept-Encoding x-seen=gzip',
  'plain\nGET /\naccept-encoding: gzip\nx-answer: 200|vary: a|vary: b':
    '200 whole content-encoding=gzip vary=a,b, Accept-Encoding x-seen=gzip',
  'plain\nGET /\naccept-encoding: gzip\nx-answer: 200|vary: *': '200 whole content-encoding=gzip vary=*, Accept-Encoding x-seen=gzip',
  'plain\nGET /\nx-answer: 200|content-type: application/wasm': '200 whole x-seen=none',
  'plain\nGET /\nx-answer: 200|etag: "a"': '200 whole vary=Accept-Encoding etag="a" x-seen=none',
  'own\nGET /\naccept-encoding: gzip\nx-answer: 200|content-type: text/own':
    '200 whole content-encoding=gzip vary=Accept-Encoding x-seen=none',
  'own\nGET /\naccept-encoding: gzip\nx-answer: 200|content-type: text/plain': '200 whole x-seen=none',
  'own\nGET /\naccept-encoding: gzip\nx-answer: 200|content-type: text/own|short': '200 tiny x-seen=none',
  'own\nGET /\naccept-encoding: gzip\nx-answer: 206|content-type: text/own': '206 whole x-seen=none',
  'own\nGET /\naccept-encoding: gzip\nx-answer: 200|etag: "a"': '200 whole etag="a" x-seen=none',
  'own\nGET /\naccept-encoding: gzip\nx-answer: 200|etag: W/"a"': '200 whole etag=W/"a" x-seen=none',
  'own\nGET /\naccept-encoding: identity, gzip': '200 whole content-encoding=gzip vary=Accept-Encoding x-seen=none',
  'own\nGET /\naccept-encoding: identity, *': '200 whole vary=Accept-Encoding x-seen=none',
  'own\nGET /off\naccept-encoding: gzip': '200 whole x-seen=gzip',
  'own\nGET /kept\naccept-encoding: gzip': '200 whole content-encoding=gzip vary=Accept-Encoding x-seen=gzip',
  'own\nGET /': '200 whole vary=Accept-Encoding x-seen=none',
  'weak\nGET /\naccept-encoding: gzip\nx-answer: 200|etag: "a"':
    '200 whole content-encoding=gzip vary=Accept-Encoding etag=W/"a" x-seen=gzip',
  'weak\nGET /\naccept-encoding: gzip\nx-answer: 200|etag: W/"a"':
    '200 whole content-encoding=gzip vary=Accept-Encoding etag=W/"a" x-seen=gzip',
  'weak\nGET /\naccept-encoding: gzip\nx-answer: 200': '200 whole content-encoding=gzip vary=Accept-Encoding x-seen=gzip',
  'off\nGET /\naccept-encoding: gzip': '200 whole x-seen=gzip',
  'off\nGET /on\naccept-encoding: gzip': '200 whole content-encoding=gzip vary=Accept-Encoding x-seen=gzip',
  'off\nGET /as\naccept-encoding: gzip': '200 whole x-seen=gzip',
  'off\nGET /own\naccept-encoding: gzip': '200 whole',
  'old\nGET /\naccept-encoding: gzip\nx-answer: 200|content-type: a/b': '200 whole content-encoding=gzip vary=Accept-Encoding x-seen=none',
  'old\nGET /\naccept-encoding: gzip\nx-answer: 200|content-type: text/plain': '200 whole x-seen=none',
  'old\nGET /\naccept-encoding: gzip\nx-answer: 200|content-type: a/b|short': '200 tiny x-seen=none',
  'old\nGET /\naccept-encoding: gzip\nx-answer: 200|etag: "a"': '200 whole etag="a" x-seen=none',
  'direct\nGET /\naccept-encoding: gzip': '200 whole content-encoding=gzip vary=Accept-Encoding',
  'direct\nGET /\naccept-encoding: br': '200 whole vary=Accept-Encoding',
  'direct\nGET /': '200 whole vary=Accept-Encoding',
  'direct\nHEAD /\naccept-encoding: gzip': '200  vary=Accept-Encoding',
  'direct\nGET /short\naccept-encoding: gzip': '200 short',
};

const SHOWN = ['content-encoding', 'vary', 'etag', 'x-seen'];
const ask = async (port: number, row: string): Promise<string> => {
  const [, line = '', ...headers] = row.split('\n');
  const client = await RawClient.open(port);
  try {
    const response = await client
      .send(`${line} HTTP/1.1\r\nhost: x.test\r\n${headers.map((h) => `${h}\r\n`).join('')}\r\n`)
      .response(line.split(' ')[0]);
    const bytes = Buffer.from(response.body, 'latin1');
    const text = response.headers.get('content-encoding') === 'gzip' && bytes[0] === 0x1f ? gunzipSync(bytes).toString() : response.body;
    const shown = SHOWN.filter((name) => response.headers.has(name)).map((name) => `${name}=${response.headers.get(name)}`);
    return [response.status, text === LONG ? 'whole' : text, ...shown].join(' ');
  } finally {
    client.close();
  }
};
type Proxy = AsyncDisposable & { port(listener: string): number };
const play = async <P extends Proxy>(
  start: (resources: ReturnType<typeof stage>) => Promise<P>,
  counted: (proxy: P) => Promise<Counters>,
) => {
  await using backend = await startBackend((socket, text) => socket.write(answer(text)));
  await using proxy = await start(stage(backend.port));
  const answers: { [row: string]: string } = {};
  for (const row of Object.keys(ROWS)) answers[row] = await ask(proxy.port(row.split('\n')[0] ?? ''), row);
  return { answers, counters: await counted(proxy) };
};

type Counters = { readonly [name: string]: number | undefined };
/** What differs with the deflater, and what is not counted. */
const UNSTEADY = /total_compressed_bytes|: 0$/;
const COUNTERS: Counters = {
  'direct.gzip.compressed': 1,
  'direct.gzip.content_length_too_small': 1,
  'direct.gzip.header_compressor_used': 1,
  'direct.gzip.header_not_valid': 1,
  'direct.gzip.no_accept_header': 1,
  'direct.gzip.not_compressed': 4,
  'direct.gzip.request.not_compressed': 5,
  'direct.gzip.total_uncompressed_bytes': 1740,
  'off.gzip.compressed': 1,
  'off.gzip.header_compressor_used': 1,
  'off.gzip.not_compressed': 3,
  'off.gzip.request.not_compressed': 4,
  'off.gzip.total_uncompressed_bytes': 1740,
  'old.gzip.compressed': 1,
  'old.gzip.content_length_too_small': 1,
  'old.gzip.header_compressor_used': 2,
  'old.gzip.header_not_valid': 1,
  'old.gzip.not_compressed': 3,
  'old.gzip.not_compressed_etag': 1,
  'old.gzip.request.not_compressed': 4,
  'old.gzip.total_uncompressed_bytes': 1740,
  'own.gzip.header_compressor_used': 6,
  'own.gzip.header_identity': 1,
  'own.gzip.header_not_valid': 1,
  'own.gzip.no_accept_header': 1,
  'own.gzip.not_compressed_etag': 2,
  'own.gzip.request.not_compressed': 11,
  'own.gzip.response.compressed': 3,
  'own.gzip.response.content_length_too_small': 1,
  'own.gzip.response.not_compressed': 8,
  'own.gzip.response.total_uncompressed_bytes': 5220,
  'plain.gzip.compressed': 29,
  'plain.gzip.content_length_too_small': 1,
  'plain.gzip.header_compressor_used': 30,
  'plain.gzip.header_identity': 2,
  'plain.gzip.header_not_valid': 10,
  'plain.gzip.header_wildcard': 2,
  'plain.gzip.no_accept_header': 3,
  'plain.gzip.not_compressed': 22,
  'plain.gzip.request.not_compressed': 51,
  'plain.gzip.total_uncompressed_bytes': 48724,
  'weak.gzip.header_compressor_used': 3,
  'weak.gzip.request.not_compressed': 3,
  'weak.gzip.response.compressed': 3,
  'weak.gzip.response.total_uncompressed_bytes': 5220,
};

test('what is long enough, of the right type and accepted is compressed, told so and counted', async () => {
  const { answers, counters } = await play(startPlane, async ({ plane }) =>
    Object.fromEntries(Object.keys(COUNTERS).map((name) => [name, plane.stats.find(`http.test.compressor.${name}`)?.value])),
  );
  assert.deepEqual(answers, ROWS);
  assert.deepEqual(counters, COUNTERS);
});

test('a stock Envoy compresses and counts the same', { skip: NO_ENVOY }, async () => {
  const { answers, counters } = await play(startEnvoy, async ({ admin }) => {
    const stats = await (await fetch(`http://${admin}/stats?filter=compressor`)).text();
    const lines = stats
      .trim()
      .split('\n')
      .filter((line) => !UNSTEADY.test(line));
    return Object.fromEntries(
      lines.map((line) => [line.split(': ')[0]?.replace('http.test.compressor.', ''), Number(line.split(': ')[1])]),
    );
  });
  assert.deepEqual(answers, ROWS);
  assert.deepEqual(counters, COUNTERS);
});
