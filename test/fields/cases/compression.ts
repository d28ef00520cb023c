// The compressor: what it compresses, in both of its forms, and how well.
import { constants, gzipSync } from 'node:zlib';
import type { AnyMessage, Route } from '../../../src/xds/gen/types.ts';
import { type Backend, hcm, httpBackend, listener as onLoopback, ROUTER, staticCluster } from '../../proxy/harness.ts';
import { cluster, type FieldCase, listener, live, type Part } from '../case.ts';
import { type Ask, ask } from '../http-probe.ts';

const FILTERS = 'type.googleapis.com/envoy.extensions.filters.http.compressor.v3';
const GZIP = 'type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip';

/** Something to compress: words again and again, in an order that never comes back. */
const TEXT = (() => {
  let seed = 7;
  const next = (most: number): number => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed % most;
  };
  const words = Array.from({ length: 900 }, () => Array.from({ length: 2 + next(9) }, () => String.fromCharCode(97 + next(26))).join(''));
  return Array.from({ length: 9000 }, () => words[next(900)]).join(' ');
})();

let backend: Backend;
/** `/short` has a short answer; `x-answer` is a line of its head. */
const start = async () => {
  backend = await httpBackend((_, head) => {
    const own = (name: string): string | undefined => new RegExp(`^${name}: (.*?)\\r?$`, 'im').exec(head)?.[1];
    const body = head.includes('short HTTP') ? 'short' : TEXT;
    const lines = [`x-seen: ${own('accept-encoding') ?? 'none'}`, `content-length: ${body.length}`, own('x-answer') ?? 'x-none: 1'];
    return `HTTP/1.1 ${own('x-status') ?? '200'} X\r\n${lines.join('\r\n')}\r\n\r\n${body}`;
  });
  return backend;
};

const to = (prefix: string, own?: object): Route => ({
  match: { prefix },
  route: { cluster: 'c' },
  ...(own === undefined ? {} : { typed_per_filter_config: { gzip: { '@type': `${FILTERS}.CompressorPerRoute`, ...own } } }),
});
const parts = (configs: { readonly [listener: string]: object }, gzip: object, routes: readonly Route[]): Part[] => [
  cluster(staticCluster('c', [backend.port])),
  ...Object.entries(configs).map(([name, more]) => {
    const library = { name: 'l', typed_config: { '@type': GZIP, ...gzip } };
    const typed: AnyMessage = { '@type': `${FILTERS}.Compressor`, compressor_library: library, ...more };
    return listener(onLoopback(name, hcm(routes, { http_filters: [{ name: 'gzip', typed_config: typed }, ROUTER] })));
  }),
];

const ON = 'accept-encoding: gzip';
const look = async (port: number, path: string, headers: Ask['headers'] = [ON]): Promise<string> => {
  const { headers: told } = await ask(port, path, { headers });
  return [path, told.get('content-encoding') ?? 'as it is', told.get('etag') ?? '', told.get('x-seen')].join(' ');
};

const OWN = { min_content_length: 5, content_type: ['text/own'] };
const compressor: FieldCase = {
  name: 'compressor',
  start,
  parts: () =>
    parts(
      {
        in: {
          choose_first: true,
          response_direction_config: { common_config: OWN, remove_accept_encoding_header: true, uncompressible_response_codes: [206] },
        },
        off: { response_direction_config: { common_config: { enabled: { default_value: false } } } },
        spares: { response_direction_config: { disable_on_etag_header: true } },
        weakens: { response_direction_config: { weaken_etag_on_compress: true } },
      },
      {},
      [
        to('/off', { disabled: true }),
        to('/on', { overrides: { response_direction_config: { remove_accept_encoding_header: false } } }),
        to('/'),
      ],
    ),
  observe: live(async ({ port }) => [
    await look(port('in'), '/'),
    await look(port('in'), '/short', [ON]),
    await look(port('in'), '/', [ON, 'x-answer: content-type: text/plain']),
    await look(port('in'), '/', [ON, 'x-answer: content-type: text/own']),
    await look(port('in'), '/', ['accept-encoding: identity, gzip']),
    await look(port('in'), '/', [ON, 'x-status: 206']),
    await look(port('in'), '/off'),
    await look(port('in'), '/on'),
    await look(port('off'), '/'),
    await look(port('off'), '/on'),
    await look(port('spares'), '/', [ON, 'x-answer: etag: "a"']),
    await look(port('weakens'), '/', [ON, 'x-answer: etag: "a"']),
  ]),
  expect: [
    '/ gzip  none',
    '/short gzip  none',
    '/ as it is  none',
    '/ gzip  none',
    '/ gzip  none',
    '/ as it is  none',
    '/off as it is  gzip',
    '/on gzip  gzip',
    '/ as it is  gzip',
    '/on gzip  gzip',
    '/ as it is "a" gzip',
    '/ gzip W/"a" gzip',
  ],
};

const old: FieldCase = {
  name: 'compressor-old',
  start,
  parts: () =>
    parts(
      {
        in: { content_length: 5, content_type: ['text/own'], disable_on_etag_header: true, remove_accept_encoding_header: true },
        off: { runtime_enabled: { default_value: false } },
      },
      {},
      [to('/')],
    ),
  observe: live(async ({ port }) => [
    await look(port('in'), '/short'),
    await look(port('in'), '/', [ON, 'x-answer: content-type: text/own']),
    await look(port('in'), '/', [ON, 'x-answer: content-type: text/plain']),
    await look(port('in'), '/', [ON, 'x-answer: etag: "a"']),
    await look(port('off'), '/'),
  ]),
  expect: ['/short gzip  none', '/ gzip  none', '/ as it is  none', '/ as it is "a" none', '/ as it is  gzip'],
};

const BEST = { memory_level: 9, compression_level: 'COMPRESSION_LEVEL_9', window_bits: 15 };
const settings: FieldCase = {
  name: 'compressor-gzip',
  start,
  parts: () =>
    [BEST, { compression_strategy: 'HUFFMAN_ONLY' }].map((gzip, i): Part => {
      const typed: AnyMessage = {
        '@type': `${FILTERS}.Compressor`,
        compressor_library: { name: 'l', typed_config: { '@type': GZIP, ...gzip } },
      };
      const routes = [{ match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: TEXT } } }];
      const route_config = { max_direct_response_body_size_bytes: TEXT.length, virtual_hosts: [{ name: 'v', domains: ['*'], routes }] };
      const more = { route_config, http_filters: [{ name: 'gzip', typed_config: typed }, ROUTER] };
      return listener(onLoopback(['best', 'huffman'][i] ?? '', hcm([], more)));
    }),
  observe: live(async ({ port }) => {
    const sent = async (name: string): Promise<Buffer> => Buffer.from((await ask(port(name), '/', { headers: [ON] })).body, 'latin1');
    return [
      (await sent('best')).equals(gzipSync(TEXT, { memLevel: 9, level: 9, windowBits: 15 })),
      (await sent('huffman')).equals(gzipSync(TEXT, { memLevel: 5, windowBits: 12, strategy: constants.Z_HUFFMAN_ONLY })),
    ];
  }),
  expect: [true, true],
};

export const COMPRESSION_CASES: readonly FieldCase[] = [compressor, old, settings];
