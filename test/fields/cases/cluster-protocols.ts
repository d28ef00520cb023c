// How a cluster speaks with its hosts, and what a listener bears from HTTP/2 clients.
import { once } from 'node:events';
import { createSecureServer, type ServerHttp2Stream } from 'node:http2';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Cluster, Http1ProtocolOptions, Http2ProtocolOptions, HttpConnectionManager } from '../../../src/xds/gen/types.ts';
import { createAuthority } from '../../proxy/certificates.ts';
import { type Backend, hcm, listener as onLoopback, RawClient, startBackend, staticCluster, toCluster } from '../../proxy/harness.ts';
import {
  block,
  END_HEADERS,
  END_STREAM,
  exchange,
  FRAME,
  frame,
  type Http2Backend,
  http2Backend,
  openSession,
  protocolOptions,
  type RawFrame,
  rawClient,
} from '../../proxy/http2-peers.ts';
import { cluster, type FieldCase, listener, live } from '../case.ts';
import { ask } from '../http-probe.ts';

const between = (
  name: string,
  start: NonNullable<FieldCase['start']>,
  backend: () => number,
  config: Partial<Cluster>,
  observe: (port: number) => Promise<unknown>,
  expect: unknown,
  manager: Partial<HttpConnectionManager> = {},
): FieldCase => ({
  name,
  start,
  parts: () => [cluster(staticCluster('c', [backend()], config)), listener(onLoopback('in', hcm([toCluster('c')], manager)))],
  observe: live(({ port }) => observe(port())),
  expect,
});

// --- HTTP/1

const TRAILED = 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n';
let plain: Backend;
/** Tells how a name was written; asked for trailers it sends some. */
const startPlain = async () => {
  plain = await startBackend((socket, text) => {
    const name = /^(x-some-name):/im.exec(text)?.[1] ?? '';
    if (text.startsWith('GET /trailers')) socket.write(`${TRAILED}1\r\nx\r\n0\r\nx-end: 1\r\n\r\n`);
    else socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${name.length}\r\n\r\n${name}`);
  });
  return plain;
};
const written = async (port: number): Promise<string> => (await ask(port, '/', { headers: ['x-SOME-name: 1'] })).body;
const PROPER: Http1ProtocolOptions = { header_key_format: { proper_case_words: {} } };
const http1 = (name: string, config: Partial<Cluster>, expect: string, manager: Partial<HttpConnectionManager> = {}): FieldCase =>
  between(name, startPlain, () => plain.port, config, written, expect, manager);
const properCaseField = http1('proper-case-field', { http_protocol_options: PROPER }, 'X-Some-Name');
const properCaseAsClient = http1(
  'proper-case-as-client',
  protocolOptions({ use_downstream_protocol_config: { http_protocol_options: PROPER } }),
  'X-Some-Name',
);
const PRESERVE: Http1ProtocolOptions = {
  header_key_format: {
    stateful_formatter: {
      name: 'preserve_case',
      typed_config: { '@type': 'type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig' },
    },
  },
};
const preservedCase = http1(
  'preserved-case',
  protocolOptions({ explicit_http_config: { http_protocol_options: PRESERVE } }),
  'x-SOME-name',
  { http_protocol_options: PRESERVE },
);
const TRAILERS: Http1ProtocolOptions = { enable_trailers: true };
const trailersPass = between(
  'trailers-pass',
  startPlain,
  () => plain.port,
  protocolOptions({ explicit_http_config: { http_protocol_options: TRAILERS } }),
  async (port) => {
    const client = await RawClient.open(port);
    const { body } = await client.get('/trailers');
    client.close();
    return body;
  },
  'x[x-end: 1]',
  { http_protocol_options: TRAILERS },
);

// --- HTTP/2

const WINDOW = 70_000;
const tellsWindow = (stream: ServerHttp2Stream): void => {
  stream.respond({ ':status': 200 });
  stream.end(String(stream.session?.remoteSettings.initialWindowSize));
};
let h2: Http2Backend;
const startH2 = async () => {
  h2 = await http2Backend(tellsWindow);
  return h2;
};
const overHttp2 = async (port: number): Promise<string> => {
  const session = await openSession(port);
  const { status, body } = await exchange(session, { ':path': '/', ':authority': 'a.test' });
  session.destroy();
  return `${status} ${body}`;
};
const windowAsClient = between(
  'window-as-client',
  startH2,
  () => h2.port,
  protocolOptions({ use_downstream_protocol_config: { http2_protocol_options: { initial_stream_window_size: WINDOW } } }),
  overHttp2,
  `200 ${WINDOW}`,
);
const protocolSelection = between(
  'protocol-selection',
  startH2,
  () => h2.port,
  { protocol_selection: 'USE_DOWNSTREAM_PROTOCOL' },
  async (port) => (await overHttp2(port)).slice(0, 3),
  '200',
);

// --- the protocol that the handshake chooses

const authority = createAuthority('protocols');
const certificate = authority.issue({ dns: 'b.test' });
const overTls: Partial<Cluster> = {
  transport_socket: {
    name: 'tls',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext',
      sni: 'b.test',
      common_tls_context: { validation_context: { trusted_ca: { inline_string: authority.pem } } },
    },
  },
};
let securePort = 0;
const startSecure = (http2: boolean) => async () => {
  const keys = { cert: certificate.certificate, key: certificate.key };
  const server = http2
    ? createSecureServer(keys).on('stream', (stream) => tellsWindow(stream))
    : createServer({ ...keys, ALPNProtocols: ['http/1.1'] }, (request, response) => {
        response.end(request.rawHeaders.find((name) => /^x-some-name$/i.test(name)));
      });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  securePort = (server.address() as AddressInfo).port;
  return {
    [Symbol.asyncDispose]: async () => {
      server.close();
    },
  };
};
const chosen = (name: string, http2: boolean, auto_config: object, expect: string): FieldCase =>
  between(name, startSecure(http2), () => securePort, { ...overTls, ...protocolOptions({ auto_config }) }, written, expect);
const autoHttp2 = chosen('auto-http2', true, { http2_protocol_options: { initial_stream_window_size: WINDOW } }, String(WINDOW));
const autoHttp1 = chosen('auto-http1', false, { http_protocol_options: PROPER }, 'X-Some-Name');

// --- what clients of a listener may do over HTTP/2

const REQUEST = [
  [':method', 'GET'],
  [':scheme', 'http'],
  [':path', '/'],
  [':authority', 'a.test'],
] as const;
const PRIORITY = 2;
const HEAD_END = END_HEADERS | END_STREAM;
const NAMES: { readonly [type: number]: string } = { [FRAME.reset]: 'reset', [FRAME.goaway]: 'sent away', [FRAME.ping]: 'still there' };
/** What comes first of an answer to a ping behind the frames, a reset and a goodbye. */
const borne = (
  name: string,
  http2_protocol_options: Http2ProtocolOptions,
  frames: readonly Buffer[],
  expect: string,
  heeds: (f: RawFrame) => boolean = (f) => NAMES[f.type] !== undefined,
): FieldCase => ({
  name,
  parts: () => [
    listener(
      onLoopback(
        'in',
        hcm([{ match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: 'x' } } }], {
          codec_type: 'HTTP2',
          http2_protocol_options,
        }),
      ),
    ),
  ],
  observe: live(async ({ port }) => {
    using client = await rawClient(port());
    client.send(frame(FRAME.headers, HEAD_END, 1, block(REQUEST)));
    await client.until((f) => f.id === 1 && (f.flags & END_STREAM) !== 0, 1500);
    client.send(...frames, frame(FRAME.ping, 0, 0, Buffer.alloc(8)));
    const said = await client.until(heeds, 1500);
    return NAMES[said?.type ?? -1] ?? 'closed';
  }),
  expect,
});
const badRequest = [frame(FRAME.headers, HEAD_END, 3, block([...REQUEST, ['Bad', '1']]))];
const badHeaderResets = borne('bad-header-resets', { override_stream_error_on_invalid_http_message: true }, badRequest, 'reset');
const badHeaderResetsOld = borne('bad-header-resets-old', { stream_error_on_invalid_http_messaging: true }, badRequest, 'reset');
const repeated = (count: number, one: Buffer): readonly Buffer[] => Array.from({ length: count }, () => one);
const emptyFrames = borne(
  'empty-frames',
  { max_consecutive_inbound_frames_with_empty_payload: 20 },
  [frame(FRAME.headers, END_HEADERS, 3, block(REQUEST)), ...repeated(10, frame(FRAME.data, 0, 3))],
  'still there',
  (f) => f.type === FRAME.goaway || f.type === FRAME.ping,
);
const windowUpdates = borne(
  'window-updates',
  { max_inbound_window_update_frames_per_data_frame_sent: 1000 },
  repeated(90, frame(FRAME.windowUpdate, 0, 0, Buffer.from([0, 0, 0, 1]))),
  'still there',
);
const priorityFrames = borne(
  'priority-frames',
  { max_inbound_priority_frames_per_stream: 1000 },
  repeated(500, frame(PRIORITY, 0, 5, Buffer.from([0, 0, 0, 0, 1]))),
  'still there',
);

export const PROTOCOL_CASES: readonly FieldCase[] = [
  properCaseField,
  properCaseAsClient,
  preservedCase,
  trailersPass,
  windowAsClient,
  protocolSelection,
  autoHttp2,
  autoHttp1,
  badHeaderResets,
  badHeaderResetsOld,
  emptyFrames,
  windowUpdates,
  priorityFrames,
];
