// What an HTTP/2 listener tells its clients, and what it bears from them.
import { once } from 'node:events';
import * as http2 from 'node:http2';
import type { Http2ProtocolOptions, HttpConnectionManager, Route } from '../../../src/xds/gen/types.ts';
import { type Backend, hcm, listener as onLoopback, staticCluster } from '../../proxy/harness.ts';
import { cluster, type FieldCase, listener, live } from '../case.ts';
import { ask, echoServer } from '../http-probe.ts';

const answer: Route = { match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: 'x' } } };
const LIMIT_MS = 1_000;
const spoken = (
  name: string,
  options: Http2ProtocolOptions,
  look: (session: http2.ClientHttp2Session) => Promise<unknown>,
  expect: unknown,
  more: Partial<HttpConnectionManager> = {},
): FieldCase => ({
  name,
  parts: () => [listener(onLoopback('in', hcm([answer], { codec_type: 'HTTP2', http2_protocol_options: options, ...more })))],
  observe: live(async ({ port }) => {
    const session = http2.connect(`http://127.0.0.1:${port()}`);
    const timer = setTimeout(() => session.destroy(), LIMIT_MS);
    session.on('error', () => undefined);
    try {
      await once(session, 'remoteSettings');
      return await look(session);
    } finally {
      clearTimeout(timer);
      session.destroy();
    }
  }),
  expect,
});

export const http2Settings = spoken(
  'http2-settings',
  { max_concurrent_streams: 7, initial_stream_window_size: 70_000, hpack_table_size: 512, allow_connect: true },
  async ({ remoteSettings }) => [
    remoteSettings.maxConcurrentStreams,
    remoteSettings.initialWindowSize,
    remoteSettings.headerTableSize,
    remoteSettings.enableConnectProtocol,
  ],
  [7, 70_000, 512, true],
);
export const http2Window = spoken(
  'http2-window',
  { initial_connection_window_size: 100_000 },
  async (session) => {
    await new Promise((resolve) => setTimeout(resolve, 30));
    return session.state.remoteWindowSize;
  },
  100_000,
);
const pinged = (session: http2.ClientHttp2Session): Promise<boolean> =>
  Promise.race([once(session, 'ping').then(() => true), once(session, 'close').then(() => false)]);
export const http2Keepalive = spoken(
  'http2-keepalive',
  { connection_keepalive: { interval: '0.05s', timeout: '5s', interval_jitter: { value: 0 } } },
  pinged,
  true,
);

let echo: Backend;
const start = async () => {
  echo = await echoServer();
  return echo;
};
export const schemes: FieldCase = {
  name: 'manager-scheme',
  start,
  parts: () => [
    cluster(staticCluster('echo', [echo.port])),
    listener(
      onLoopback(
        'in',
        hcm(
          [
            {
              match: { prefix: '/' },
              route: { cluster: 'echo' },
              request_headers_to_add: [{ header: { key: 'x-scheme', value: '%REQ(:SCHEME)%' } }],
            },
          ],
          {
            scheme_header_transformation: { scheme_to_overwrite: 'https' },
            append_x_forwarded_port: true,
            use_remote_address: true,
          },
        ),
      ),
    ),
  ],
  observe: live(async ({ port }) => {
    const { body } = await ask(port(), '/');
    return [/^x-scheme: (.*)$/m.exec(body)?.[1], /^x-forwarded-port: (.*)$/m.exec(body)?.[1] === String(port())];
  }),
  expect: ['https', true],
};
