// What hosts are asked over HTTP/2, gRPC, TCP and TLS, and where. Each run has a host of its own; it tells what came first.
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:tls';
import type { Cluster, HealthCheck } from '../../../src/xds/gen/types.ts';
import { createAuthority } from '../../proxy/certificates.ts';
import { startBackend } from '../../proxy/harness.ts';
import { HTTP2_CLUSTER, http2Backend } from '../../proxy/http2-peers.ts';
import { cluster, type FieldCase, live, type Part } from '../case.ts';

/** Stands for the port of the run's host. */
const PORT = 9;
/** Nobody is there. */
const NOBODY = 1;
const WAITS_MS = 1_500;

interface Listening extends AsyncDisposable {
  readonly port: number;
}
type Start = (tell: (seen: unknown) => void) => Promise<Listening>;

/** Bytes stay as they are. */
const withPort = (value: unknown, port: number): unknown => {
  if (Array.isArray(value)) return value.map((entry) => withPort(entry, port));
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [key, key === 'port_value' && inner === PORT ? port : withPort(inner, port)]),
  );
};
const asks = (
  name: string,
  check: HealthCheck,
  start: Start,
  expect: unknown,
  more: { cluster?: Partial<Cluster>; port?: number; healthPort?: object } = {},
): FieldCase => ({
  name,
  parts: () => [
    cluster({
      name: 'c',
      health_checks: [
        { timeout: '10s', interval: '10s', no_traffic_interval: '10s', unhealthy_threshold: 1, healthy_threshold: 1, ...check },
      ],
      load_assignment: {
        cluster_name: 'c',
        endpoints: [
          {
            lb_endpoints: [
              { endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: more.port ?? PORT } }, ...more.healthPort } },
            ],
          },
        ],
      },
      ...more.cluster,
    }),
  ],
  observe: async (parts) => {
    let tell: (seen: unknown) => void = () => undefined;
    const first = new Promise((resolve) => {
      tell = resolve;
    });
    await using backend = await start(tell);
    const here = parts.map(({ type, message }): Part => ({ type, message: withPort(message, backend.port) as object }));
    return await live(async () => {
      let timer: NodeJS.Timeout | undefined;
      const nothing = new Promise((resolve) => {
        timer = setTimeout(() => resolve('nothing came'), WAITS_MS);
      });
      const seen = await Promise.race([first, nothing]);
      clearTimeout(timer);
      return seen;
    })(here);
  },
  expect,
});

const overHttp2: Start = (tell) =>
  http2Backend((stream, headers) => {
    const pieces: Buffer[] = [];
    stream.on('data', (piece: Buffer) => pieces.push(piece));
    stream.on('end', () =>
      tell([headers[':path'], headers[':authority'], headers['x-q'] ?? '', Buffer.concat(pieces).subarray(5).toString('latin1')]),
    );
    stream.resume();
  });
const healthGrpc = asks(
  'health-grpc',
  {
    grpc_health_check: {
      service_name: 'pay',
      authority: 'named.test',
      initial_metadata: [{ header: { key: 'x-q', value: 'v' } }],
    },
  },
  overHttp2,
  ['/grpc.health.v1.Health/Check', 'named.test', 'v', '\n\x03pay'],
  { cluster: HTTP2_CLUSTER },
);
const healthHttp2 = asks('health-http2', { http_health_check: { path: '/asked', codec_client_type: 'HTTP2' } }, overHttp2, [
  '/asked',
  'c',
  '',
  '',
]);

const raw: Start = (tell) => startBackend((_, text) => tell(text));
const healthBinary = asks(
  'health-binary',
  {
    tcp_health_check: {
      send: { binary: Buffer.from('ping') },
      receive: [{ binary: Buffer.from('pong') }],
      proxy_protocol_config: { version: 'V1' },
    },
  },
  (tell) => {
    let all = '';
    return raw((text) => {
      all += String(text);
      if (all.endsWith('ping')) tell(all);
    });
  },
  'PROXY UNKNOWN\r\nping',
);
const healthAddress = asks(
  'health-address',
  { http_health_check: { path: '/there' } },
  (tell) => raw((text) => tell(String(text).split('\r\n')[0])),
  'GET /there HTTP/1.1',
  {
    port: NOBODY,
    healthPort: { health_check_config: { address: { socket_address: { address: '127.0.0.1', port_value: PORT } } } },
  },
);

const certificate = createAuthority('checks').issue({ dns: 'b.test' });
const overTls: Start = async (tell) => {
  const server = createServer({ cert: certificate.certificate, key: certificate.key, ALPNProtocols: ['checks', 'h1'] }, (socket) => {
    socket.on('error', () => undefined);
    tell(`${String(socket.servername)} ${String(socket.alpnProtocol)}`);
  });
  server.on('tlsClientError', () => undefined);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: async () => {
      server.close();
    },
  };
};
const TRANSPORTS = 'type.googleapis.com/envoy.extensions.transport_sockets';
const healthTls = asks(
  'health-tls',
  {
    http_health_check: { path: '/' },
    tls_options: { alpn_protocols: ['checks'] },
    transport_socket_match_criteria: { checks: 'yes' },
  },
  overTls,
  'b.test checks',
  {
    cluster: {
      transport_socket_matches: [
        {
          name: 'plain',
          match: { plain: 'yes' },
          transport_socket: { name: 'raw', typed_config: { '@type': `${TRANSPORTS}.raw_buffer.v3.RawBuffer` } },
        },
        {
          name: 'tls',
          match: { checks: 'yes' },
          transport_socket: { name: 'tls', typed_config: { '@type': `${TRANSPORTS}.tls.v3.UpstreamTlsContext`, sni: 'b.test' } },
        },
      ],
    },
  },
);

export const CHECK_CASES: readonly FieldCase[] = [healthGrpc, healthHttp2, healthBinary, healthAddress, healthTls];
