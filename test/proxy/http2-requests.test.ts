// What a listener does with fields of HTTP/2 requests that HTTP/1 readers behind it would take for something else: names with underscores,
// and a host in trailers.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Core_HttpProtocolOptions } from '../../src/xds/gen/types.ts';
import { hcm, listener, startPlane, staticCluster, toCluster } from './harness.ts';
import { block, END_HEADERS, END_STREAM, FRAME, frame, protocolOptions, rawClient } from './http2-peers.ts';
import { recordingBackend } from './smuggling-rig.ts';

type Fields = readonly (readonly [string, string])[];
const POST: Fields = [
  [':method', 'POST'],
  [':scheme', 'http'],
  [':authority', 'a'],
  [':path', '/a'],
];
const TRAILERS = protocolOptions({ explicit_http_config: { http_protocol_options: { enable_trailers: true } } });

const play = async (
  common: { readonly headers_with_underscores_action?: Core_HttpProtocolOptions['headers_with_underscores_action'] },
  head: Fields,
  trailers: Fields,
) => {
  await using backend = await recordingBackend();
  await using plane = await startPlane({
    clusters: [staticCluster('c', [backend.port], { type: 'STATIC', ...TRAILERS })],
    listeners: [listener('l', hcm([toCluster('c')], { common_http_protocol_options: common }))],
  });
  using client = await rawClient(plane.port('l'));
  client.send(
    frame(FRAME.headers, END_HEADERS, 1, block([...POST, ...head])),
    frame(FRAME.data, 0, 1, Buffer.from('abc')),
    frame(FRAME.headers, END_HEADERS | END_STREAM, 1, block(trailers)),
    // The connection serves on whatever became of the first.
    frame(FRAME.headers, END_HEADERS | END_STREAM, 3, block(POST.map(([n, v]) => [n, n === ':path' ? '/next' : v]))),
  );
  await client.until((f) => f.id === 3 && f.type === FRAME.data);
  const arrived = backend.take().filter((line) => !line.includes('/next'));
  const reset = client.frames.find((f) => f.id === 1 && f.type === FRAME.reset)?.payload.readUInt32BE(0);
  return { arrived, reset, logged: plane.http.find((log) => log.status === 0) };
};

describe('fields of HTTP/2 requests', () => {
  test('with an underscore go on where they may', { timeout: 60_000 }, async () => {
    const { arrived } = await play({}, [['x_y', '1']], [['t_u', '2']]);
    assert.deepEqual(arrived, ['POST a /a abc[t_u: 2]']);
  });

  test('with an underscore are dropped where a listener says so', { timeout: 60_000 }, async () => {
    const head: Fields = [
      ['x_y', '1'],
      ['content_length', '9'],
    ];
    const { arrived } = await play({ headers_with_underscores_action: 'DROP_HEADER' }, head, [
      ['t_u', '2'],
      ['t', '3'],
    ]);
    assert.deepEqual(arrived, ['POST a /a abc[t: 3]']);
  });

  test('with an underscore end their request, and no other, where a listener says so', { timeout: 60_000 }, async () => {
    const { arrived, reset, logged } = await play({ headers_with_underscores_action: 'REJECT_REQUEST' }, [['x_y', '1']], [['t', '3']]);
    assert.deepEqual(arrived, []);
    assert.equal(reset, 2);
    assert.deepEqual([logged?.flags, logged?.details], ['DR', 'http2.unexpected_underscore']);
  });

  test('in trailers name no host', { timeout: 60_000 }, async () => {
    const { arrived } = await play(
      {},
      [],
      [
        ['host', 'b'],
        ['t', '3'],
      ],
    );
    assert.deepEqual(arrived, ['POST a /a abc[t: 3]']);
  });
});
