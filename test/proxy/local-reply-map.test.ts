// local_reply_config: the proxy's own answers rewritten as stock Envoy does it, beside it where there is one; answers of upstreams stay.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { HttpConnectionManager, Route } from '../../src/xds/gen/types.ts';
import { type Backend, hcm, httpBackend, listener, RawClient, startPlane, staticCluster } from './harness.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';

const status = (value: number, op: 'EQ' | 'GE' = 'EQ') => ({
  status_code_filter: { comparison: { op, value: { default_value: value, runtime_key: 'x' } } },
});
const FORMATTED: Partial<HttpConnectionManager> = {
  local_reply_config: {
    mappers: [
      {
        filter: { header_filter: { header: { name: 'x-teapot', string_match: { exact: 'yes' } } } },
        status_code: 418,
        body: { inline_string: 'short and stout' },
        headers_to_add: [{ header: { key: 'x-was', value: '%RESPONSE_CODE_DETAILS%' } }],
      },
      {
        filter: { and_filter: { filters: [status(500, 'GE'), { response_flag_filter: { flags: ['UH'] } }] } },
        status_code: 529,
        body_format_override: { json_format: { status: '%RESPONSE_CODE%', message: '%LOCAL_REPLY_BODY%', path: '%REQ(:path)%' } },
      },
      { filter: status(403), body_format_override: { text_format: '<p>%LOCAL_REPLY_BODY%</p>', content_type: 'text/html' } },
    ],
    body_format: { text_format: '%RESPONSE_CODE%: %LOCAL_REPLY_BODY%' },
  },
};
const PLAIN: Partial<HttpConnectionManager> = {
  local_reply_config: { mappers: [{ filter: status(404), status_code: 410, body: { inline_string: 'gone' } }] },
};
const ROUTES: readonly Route[] = [
  { match: { prefix: '/none' }, route: { cluster: 'none' } },
  { match: { prefix: '/closed' }, route: { cluster: 'closed' } },
  { match: { prefix: '/direct' }, direct_response: { status: 403, body: { inline_string: 'no entry' } } },
  { match: { prefix: '/empty' }, direct_response: { status: 200 } },
  { match: { prefix: '/up' }, route: { cluster: 'up' } },
];
const resources = (backend: Backend) => ({
  clusters: [
    staticCluster('none', [], { type: 'STATIC' }),
    staticCluster('up', [backend.port], { type: 'STATIC' }),
    staticCluster('closed', [1], { type: 'STATIC' }),
  ],
  listeners: [listener('formatted', hcm(ROUTES, FORMATTED)), listener('plain', hcm(ROUTES, PLAIN))],
});

interface Asked {
  readonly on: 'formatted' | 'plain';
  readonly path: string;
  readonly headers?: string;
  readonly method?: string;
  /** What is sent, where it is no request. */
  readonly raw?: string;
  /** status | content-type | x-was | grpc-status | grpc-message | body */
  readonly answer: string;
}
const GRPC = 'content-type: application/grpc\r\n';
const CASES: readonly Asked[] = [
  { on: 'formatted', path: '/none', answer: '529|application/json||||{"message":"no healthy upstream","path":"/none","status":529}\n' },
  {
    on: 'formatted',
    path: '/closed',
    answer: '503|text/plain||||503: upstream connect error or disconnect/reset before headers. reset reason: remote connection failure',
  },
  { on: 'formatted', path: '/missing', answer: '404|text/plain||||404: ' },
  { on: 'formatted', path: '/missing', headers: 'x-teapot: yes\r\n', answer: '418|text/plain|route_not_found|||418: short and stout' },
  { on: 'formatted', path: '/direct', answer: '403|text/html||||<p>no entry</p>' },
  { on: 'formatted', path: '/empty', answer: '200|text/plain||||200: ' },
  { on: 'formatted', path: '/up', answer: '404|||||from the app' },
  { on: 'formatted', path: '/missing', method: 'HEAD', answer: '404|text/plain||||' },
  { on: 'formatted', path: '', raw: 'GET / HTTP/1.1\r\nbad line\r\n\r\n', answer: '400|text/plain||||400: Bad Request' },
  { on: 'formatted', path: '', raw: 'GET / HTTP/1.1\r\n\r\n', answer: '400|text/plain||||400: ' },
  { on: 'formatted', path: '', raw: 'GET / HTTP/1.0\r\n\r\n', answer: '426|text/plain||||426: Upgrade Required' },
  { on: 'plain', path: '', raw: 'GET / HTTP/1.1\r\n\r\n', answer: '400|||||' },
  { on: 'plain', path: '/missing', answer: '410|text/plain||||gone' },
  { on: 'plain', path: '/direct', answer: '403|text/plain||||no entry' },
  { on: 'plain', path: '/missing', headers: GRPC, answer: '200|application/grpc||2|gone|' },
  { on: 'plain', path: '/up', answer: '404|||||from the app' },
];

const play = async (port: (name: string) => number): Promise<string[]> => {
  const wrong: string[] = [];
  for (const { on, path, headers = '', method = 'GET', raw, answer } of CASES) {
    const client = await RawClient.open(port(on));
    client.send(raw ?? `${method} ${path} HTTP/1.1\r\nhost: a.test\r\n${headers}\r\n`);
    const got = await client.response(method);
    const field = (name: string) => got.headers.get(name) ?? '';
    const seen = [got.status, field('content-type'), field('x-was'), field('grpc-status'), field('grpc-message'), got.body].join('|');
    if (seen !== answer) wrong.push(`${on} ${method} ${path} ${headers.trim()}: ${JSON.stringify(seen)}, wanted ${JSON.stringify(answer)}`);
    client.close();
  }
  return wrong;
};
const application = () => httpBackend(() => 'HTTP/1.1 404 Not Found\r\ncontent-length: 12\r\n\r\nfrom the app');

describe('local_reply_config', () => {
  test('rewrites what the proxy answers by itself and nothing else', { timeout: 120_000 }, async () => {
    await using backend = await application();
    await using plane = await startPlane(resources(backend));
    assert.deepEqual(await play((name) => plane.port(name)), []);
    assert.equal(plane.http[0]?.status, 529);
  });

  test('is what stock Envoy does', { timeout: 120_000, skip: NO_ENVOY }, async () => {
    await using backend = await application();
    await using envoy = await startEnvoy(resources(backend));
    assert.deepEqual(await play((name) => envoy.port(name)), []);
  });

  test('a mapper without a filter is refused', async () => {
    await using plane = await startPlane({});
    const config = { local_reply_config: { mappers: [{ status_code: 500 }] } };
    assert.throws(() => plane.plane.setListener(listener('l', hcm(ROUTES, config))), /mappers\[0\]\.filter/);
  });
});
