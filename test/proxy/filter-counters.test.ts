// What filters count, by the names and numbers of a stock Envoy that plays the same requests.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HttpFilter } from '../../src/xds/gen/types.ts';
import { hcm, listener, RawClient, ROUTER, startBackend, startPlane, staticCluster, toCluster } from './harness.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';

const FILTERS = 'type.googleapis.com/envoy.extensions.filters.http';
const percent = (numerator: number) => ({ default_value: { numerator } });
const CHAIN: readonly HttpFilter[] = [
  {
    name: 'metadata',
    typed_config: {
      '@type': `${FILTERS}.header_to_metadata.v3.Config`,
      stat_prefix: 'told',
      request_rules: [
        { header: 'x-a', on_header_present: { key: 'a', encode: 'BASE64' } },
        { header: 'x-b', on_header_missing: { key: 'b', value: 'none' } },
        {
          header: 'x-c',
          on_header_present: { key: 'c', regex_value_rewrite: { pattern: { google_re2: {}, regex: '.*' }, substitution: '' } },
        },
      ],
      response_rules: [{ header: 'x-d', on_header_missing: { key: 'd', value: 'none' } }],
    },
  },
  {
    name: 'csrf',
    typed_config: { '@type': `${FILTERS}.csrf.v3.CsrfPolicy`, filter_enabled: percent(0), shadow_enabled: percent(100) },
  },
];
const stage = (port: number) => ({
  clusters: [staticCluster('c', [port])],
  listeners: [listener('l', hcm([toCluster('c')], { http_filters: [...CHAIN, ROUTER] }))],
});
const REQUESTS = [
  'POST / HTTP/1.1\r\nhost: a.test\r\norigin: http://a.test\r\nx-a: aGk=\r\nx-b: here\r\nx-c: c\r\n',
  'POST / HTTP/1.1\r\nhost: a.test\r\norigin: http://b.test\r\nx-a: !\r\n',
  `POST / HTTP/1.1\r\nhost: a.test\r\nx-a: ${'v'.repeat(9000)}\r\n`,
  'POST / HTTP/1.1\r\nhost: a.test\r\norigin: null\r\n',
  'GET / HTTP/1.1\r\nhost: a.test\r\norigin: http://b.test\r\n',
];

const play = async (port: number): Promise<void> => {
  for (const request of REQUESTS) {
    const client = await RawClient.open(port);
    const { status } = await client.send(`${request}${request.startsWith('POST') ? 'content-length: 0\r\n' : ''}\r\n`).response('POST');
    assert.equal(status, 200);
    client.close();
  }
};

const COUNTERS = {
  'http.test.csrf.missing_source_origin': 2,
  'http.test.csrf.request_invalid': 1,
  'http.test.csrf.request_valid': 1,
  'http_filter_name.told.base64_decode_failed': 1,
  'http_filter_name.told.header_value_too_long': 1,
  'http_filter_name.told.regex_substitution_failed': 1,
  'http_filter_name.told.request_header_not_found': 4,
  'http_filter_name.told.request_metadata_added': 5,
  'http_filter_name.told.request_rules_processed': 15,
  'http_filter_name.told.response_header_not_found': 5,
  'http_filter_name.told.response_metadata_added': 5,
  'http_filter_name.told.response_rules_processed': 5,
};

test('filters count what they did', async () => {
  await using backend = await startBackend((socket) => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'));
  await using plane = await startPlane(stage(backend.port));
  await play(plane.port('l'));
  const counted = Object.fromEntries(Object.keys(COUNTERS).map((name) => [name, plane.plane.stats.find(name)?.value]));
  assert.deepEqual(counted, COUNTERS);
});

test('a stock Envoy counts the same under the same names', { skip: NO_ENVOY }, async () => {
  await using backend = await startBackend((socket) => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'));
  await using envoy = await startEnvoy(stage(backend.port));
  await play(envoy.port('l'));
  const stats = await fetch(`http://${envoy.admin}/stats?filter=csrf|http_filter_name`);
  const lines = (await stats.text()).trim().split('\n');
  assert.deepEqual(Object.fromEntries(lines.map((line) => [line.split(': ')[0], Number(line.split(': ')[1])])), COUNTERS);
});
