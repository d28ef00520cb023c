// Configurations of csrf, header_to_metadata and compressor that make no sense, or ask for what is not there, are refused by the field.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setResource } from '../../src/proxy/xds/apply.ts';
import type { HttpFilter, Listener } from '../../src/xds/gen/types.ts';
import { LISTENER_TYPE } from '../../src/xds/resource-types.ts';
import { hcm, listener, ROUTER, startPlane } from './harness.ts';

const FILTERS = 'type.googleapis.com/envoy.extensions.filters.http';
const filtered = (type: string, config: object): Listener => {
  const filter: HttpFilter = { name: 'f', typed_config: { '@type': `${FILTERS}.${type}`, ...config } };
  return listener('l', hcm([{ match: { prefix: '/' }, direct_response: { status: 200 } }], { http_filters: [filter, ROUTER] }));
};
const perRoute = (type: string, config: object): Listener => {
  const own = { f: { '@type': `${FILTERS}.${type}`, ...config } };
  return listener('l', hcm([{ match: { prefix: '/' }, direct_response: { status: 200 }, typed_per_filter_config: own }]));
};
const rule = (more: object) => filtered('header_to_metadata.v3.Config', { request_rules: [more] });
const gzip = (settings: object, more: object = {}) => {
  const typed_config = { '@type': 'type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip', ...settings };
  return filtered('compressor.v3.Compressor', { compressor_library: { name: 'l', typed_config }, ...more });
};
const KEY = { key: 'k' };
const BROTLI = { '@type': 'type.googleapis.com/envoy.extensions.compression.brotli.compressor.v3.Brotli' };

const REFUSED: readonly (readonly [problem: RegExp, config: Listener])[] = [
  [/filter_enabled: is required/, filtered('csrf.v3.CsrfPolicy', {})],
  [/filter_enabled\.default_value: is required/, filtered('csrf.v3.CsrfPolicy', { filter_enabled: { runtime_key: 'a' } })],
  [/request_rules\[0\]: one of header, cookie is required/, rule({ on_header_present: KEY })],
  [/request_rules\[0\]: one of header, cookie is required/, rule({ header: 'a', cookie: 'b', on_header_present: KEY })],
  [/request_rules\[0\]: one of on_header_present, on_header_missing is required/, rule({ header: 'a' })],
  [/request_rules\[0\]\.remove: a cookie cannot be removed/, rule({ cookie: 'a', on_header_present: KEY, remove: true })],
  [/request_rules\[0\]\.remove: :path cannot be removed/, rule({ header: ':path', on_header_present: KEY, remove: true })],
  [/on_header_missing\.value: is required/, rule({ header: 'a', on_header_missing: KEY })],
  [/on_header_present\.key: is required/, rule({ header: 'a', on_header_present: {} })],
  [
    /on_header_present\.regex_value_rewrite: cannot stand beside value/,
    rule({ header: 'a', on_header_present: { ...KEY, value: 'v', regex_value_rewrite: { pattern: { regex: 'a' } } } }),
  ],
  [/one of request_rules, response_rules is required/, perRoute('header_to_metadata.v3.Config', {})],
  [/compressor_library: is required/, filtered('compressor.v3.Compressor', {})],
  [
    /Brotli is not supported: only gzip is/,
    filtered('compressor.v3.Compressor', { compressor_library: { name: 'l', typed_config: BROTLI } }),
  ],
  [/window_bits: must be from 9 to 15/, gzip({ window_bits: 8 })],
  [/memory_level: must be from 1 to 9/, gzip({ memory_level: 10 })],
  [/request_direction_config/, gzip({}, { request_direction_config: {} })],
  [/status_header_enabled/, gzip({}, { response_direction_config: { status_header_enabled: true } })],
  [/one of disabled, overrides is required/, perRoute('compressor.v3.CompressorPerRoute', {})],
  [
    /overrides\.compressor_library/,
    perRoute('compressor.v3.CompressorPerRoute', { overrides: { compressor_library: { name: 'l', typed_config: BROTLI } } }),
  ],
];

test('what makes no sense, or is not there, is refused by its field', async () => {
  await using plane = await startPlane({});
  for (const [problem, config] of REFUSED) assert.throws(() => setResource(LISTENER_TYPE, config, plane.plane), problem, String(problem));
});
