// header_key_format: names as the peer wrote them, or in Proper-Case, through the proxy both ways and as stock Envoy writes them; in
// lower case where nothing is asked for.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Http1ProtocolOptions } from '../../src/xds/gen/types.ts';
import { type Backend, hcm, httpBackend, listener, RawClient, startPlane, staticCluster, toCluster } from './harness.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';

const HTTP = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
const PRESERVE: Http1ProtocolOptions = {
  header_key_format: {
    stateful_formatter: {
      name: 'preserve_case',
      typed_config: {
        '@type': 'type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig',
      },
    },
  },
};
const PROPER: Http1ProtocolOptions = { header_key_format: { proper_case_words: {} } };
const OPTIONS = { none: {}, preserve: PRESERVE, proper: PROPER };
type Kind = keyof typeof OPTIONS;
const KINDS: readonly Kind[] = ['none', 'preserve', 'proper'];

const resources = (backend: Backend) => ({
  clusters: KINDS.map((kind) =>
    staticCluster(kind, [backend.port], {
      type: 'STATIC',
      typed_extension_protocol_options: {
        [HTTP]: { '@type': `type.googleapis.com/${HTTP}`, explicit_http_config: { http_protocol_options: OPTIONS[kind] } },
      },
    }),
  ),
  listeners: KINDS.flatMap((down) =>
    KINDS.map((up) =>
      listener(`${down}-${up}`, hcm([toCluster(up)], { http_protocol_options: OPTIONS[down], generate_request_id: false })),
    ),
  ),
});

/** [listener-cluster, request names the backend sees, response names the client sees], of those the peers wrote. */
const CASES: readonly (readonly [string, string, string])[] = [
  ['none-none', 'host x-my-id content-length', 'x-your-id content-length'],
  ['preserve-none', 'HOST X-my-ID Content-LENGTH', 'x-your-id content-length'],
  ['none-preserve', 'host x-my-id content-length', 'X-Your-ID Content-LENGTH'],
  ['preserve-preserve', 'HOST X-my-ID Content-LENGTH', 'X-Your-ID Content-LENGTH'],
  ['proper-proper', 'Host X-My-Id Content-Length', 'X-Your-Id Content-Length'],
  ['proper-none', 'host x-my-id content-length', 'X-Your-Id Content-Length'],
  ['none-proper', 'Host X-My-Id Content-Length', 'x-your-id content-length'],
];
const REQUEST = 'POST / HTTP/1.1\r\nHOST: a\r\nX-my-ID: 1\r\nContent-LENGTH: 3\r\n\r\nabc';

const names = (head: string, wanted: RegExp): string =>
  [...head.matchAll(/^([^\s:]+):/gm)]
    .map((m) => m[1] ?? '')
    .filter((name) => wanted.test(name))
    .join(' ');

const play = async (port: (name: string) => number, heads: string[], cut: boolean): Promise<string[]> => {
  const wrong: string[] = [];
  for (const [on, request, response] of CASES) {
    heads.length = 0;
    const client = await RawClient.open(port(on));
    for (const part of cut ? [...REQUEST] : [REQUEST]) client.send(part);
    const { head } = await client.response();
    client.close();
    const seen = [names(heads[0] ?? '', /^(host|x-my-id|content-length)$/i), names(head, /^(x-your-id|content-length)$/i)];
    // Order is not the point: Envoy moves Host to the front.
    if (seen[0] !== request || seen[1] !== response)
      wrong.push(`${on}: ${JSON.stringify(seen)}, wanted ${JSON.stringify([request, response])}`);
  }
  return wrong;
};
const application = (heads: string[]) =>
  httpBackend((_n, head) => {
    heads.push(head);
    return 'HTTP/1.1 200 OK\r\nX-Your-ID: 2\r\nContent-LENGTH: 2\r\n\r\nok';
  });

describe('the case of header names', () => {
  for (const cut of [false, true])
    test(`is what was asked for${cut ? ', byte by byte' : ''}`, { timeout: 120_000 }, async () => {
      const heads: string[] = [];
      await using backend = await application(heads);
      await using plane = await startPlane(resources(backend));
      assert.deepEqual(await play((name) => plane.port(name), heads, cut), []);
    });

  test('is what stock Envoy writes', { timeout: 120_000, skip: NO_ENVOY }, async () => {
    const heads: string[] = [];
    await using backend = await application(heads);
    await using envoy = await startEnvoy(resources(backend));
    assert.deepEqual(await play((name) => envoy.port(name), heads, false), []);
  });

  test('lines the proxy writes itself follow it; a smuggled second name does not hide behind its case', { timeout: 120_000 }, async () => {
    const heads: string[] = [];
    await using backend = await application(heads);
    await using plane = await startPlane(resources(backend));
    const client = await RawClient.open(plane.port('preserve-preserve'));
    client.send('POST / HTTP/1.1\r\nHOST: a\r\nTransfer-ENCODING: chunked\r\nCONNECTION: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n');
    const { head } = await client.response();
    assert.match(heads[0] ?? '', /^Transfer-ENCODING: chunked$/m);
    assert.doesNotMatch(heads[0] ?? '', /^connection:/im);
    assert.match(head, /^connection: close$/m);
    client.close();
    const other = await RawClient.open(plane.port('preserve-preserve'));
    assert.equal((await other.send('POST / HTTP/1.1\r\nHOST: a\r\nhost: b\r\n\r\n').response()).status, 400);
    other.close();
  });

  test('another formatter is refused', async () => {
    await using plane = await startPlane({});
    const options = {
      header_key_format: { stateful_formatter: { name: 'x', typed_config: { '@type': 'type.googleapis.com/x.Y' as const } } },
    };
    assert.throws(
      () => plane.plane.setListener(listener('l', hcm([toCluster('c')], { http_protocol_options: options }))),
      /http_protocol_options\.header_key_format\.stateful_formatter\.typed_config/,
    );
  });
});
