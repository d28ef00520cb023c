// Tunnels through HTTP/2 upstreams: what is told of a stream that the upstream takes back, and that no length stands in their acceptance.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { startHttp2Upstream } from './fault-table-http2.ts';
import { eventually, hcm, listener, RawClient, startPlane, staticCluster, toCluster } from './harness.ts';
import { block, END_HEADERS, FRAME, frame, protocolOptions, rawClient } from './http2-peers.ts';

/** SETTINGS_ENABLE_CONNECT_PROTOCOL. */
const MAY_CONNECT = Buffer.from([0, 8, 0, 0, 0, 1]);
const accepted = (id: number, more: readonly (readonly [string, string])[]): Buffer =>
  frame(FRAME.headers, END_HEADERS, id, block([[':status', '200'], ...more]));
const hello = (id: number): Buffer => frame(FRAME.data, 0, id, Buffer.from('hello'));
const taken = (id: number): Buffer => frame(FRAME.reset, 0, id, Buffer.from([0, 0, 0, 8]));
const CONNECT = [
  [':method', 'CONNECT'],
  [':authority', 'a:80'],
] as const;
const WEBSOCKET = [
  [':method', 'CONNECT'],
  [':protocol', 'websocket'],
  [':scheme', 'http'],
  [':authority', 'a'],
  [':path', '/a'],
] as const;

/** `answer`: frames that answer the head of a stream. */
const start = async (stack: AsyncDisposableStack, answer: (id: number) => readonly Buffer[]) => {
  const backend = stack.use(
    await startHttp2Upstream({ what: '', settings: MAY_CONNECT, early: (socket, id) => void socket.write(Buffer.concat(answer(id))) }),
  );
  const cluster = protocolOptions({ explicit_http_config: { http2_protocol_options: { allow_connect: true } } });
  return stack.use(
    await startPlane({
      clusters: [staticCluster('c', [backend.port], { type: 'STATIC', ...cluster })],
      listeners: [
        listener(
          'l',
          hcm([{ match: { connect_matcher: {} }, route: { cluster: 'c' } }, toCluster('c')], {
            http2_protocol_options: { allow_connect: true },
            upgrade_configs: [{ upgrade_type: 'CONNECT' }, { upgrade_type: 'websocket' }],
          }),
        ),
      ],
    }),
  );
};

describe('a tunnel through an HTTP/2 upstream', () => {
  for (const [what, head] of [
    ['CONNECT', CONNECT],
    ['a WebSocket', WEBSOCKET],
  ] as const)
    test(`of ${what} whose stream is taken back is reset, and told as Envoy tells it`, { timeout: 60_000 }, async () => {
      await using stack = new AsyncDisposableStack();
      const plane = await start(stack, (id) => [accepted(id, []), hello(id), taken(id)]);
      using client = await rawClient(plane.port('l'));
      client.send(frame(FRAME.headers, END_HEADERS, 1, block(head)));
      const reset = await client.until((f) => f.type === FRAME.reset);
      assert.equal(reset?.payload.readUInt32BE(0), 2);
      await eventually(() => plane.http.length === 1, 'it is told');
      assert.deepEqual([plane.http[0]?.flags, plane.http[0]?.details], ['UR', 'upstream_reset_after_response_started{remote_reset}']);
    });

  for (const [what, head] of [
    ['CONNECT', CONNECT],
    ['a WebSocket', WEBSOCKET],
  ] as const)
    test(`of ${what} that is refused by a reset ends with a whole answer`, { timeout: 60_000 }, async () => {
      await using stack = new AsyncDisposableStack();
      const plane = await start(stack, (id) => [taken(id)]);
      using client = await rawClient(plane.port('l'));
      client.send(frame(FRAME.headers, END_HEADERS, 1, block(head)));
      const reset = await client.until((f) => f.type === FRAME.reset);
      assert.equal(reset?.payload.readUInt32BE(0), 0);
    });

  for (const [what, asked] of [
    ['CONNECT', 'CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n'],
    ['a WebSocket', 'GET /a HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n'],
  ] as const)
    test(`of ${what} is accepted without a length`, { timeout: 60_000 }, async () => {
      await using stack = new AsyncDisposableStack();
      const plane = await start(stack, (id) => [accepted(id, [['content-length', '2']]), hello(id)]);
      const client = await RawClient.open(plane.port('l'));
      let seen = '';
      client.socket.on('data', (bytes) => {
        seen += bytes.toString('latin1');
      });
      client.send(asked);
      await eventually(() => seen.endsWith('\r\n\r\nhello'), 'the tunnel is open');
      assert.doesNotMatch(seen, /content-length/);
      client.close();
    });
});
