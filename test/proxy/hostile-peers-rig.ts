// A STRICT port as Istio's configuration makes it, and peers that should not get in: what each says, and how it learns that it is refused.
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls';
import type { CommonTlsContext, ConfigSource, Listener, Secret } from '../../src/xds/gen/types.ts';
import { createAuthority, type LeafNames } from './certificates.ts';
import { chains, hcm, toCluster } from './harness.ts';

export const mesh = createAuthority('mesh');
export const stranger = createAuthority('stranger');
export const server = mesh.issue({ uri: 'spiffe://cluster.local/ns/shop/sa/server' });
export const CLIENT: LeafNames = { uri: 'spiffe://cluster.local/ns/shop/sa/client' };

const TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3';
const SDS: ConfigSource = { api_config_source: { api_type: 'GRPC', grpc_services: [{ envoy_grpc: { cluster_name: 'sds-grpc' } }] } };
const inspector = {
  name: 'envoy.filters.listener.tls_inspector',
  typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector' },
};
/** What Istio offers. */
const ISTIO_CIPHERS = [
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'AES256-GCM-SHA384',
  'AES128-GCM-SHA256',
];
const SPIFFE = [{ san_type: 'URI' as const, matcher: { prefix: 'spiffe://cluster.local/' } }];

export const inlineSecrets: CommonTlsContext = {
  tls_certificates: [{ certificate_chain: { inline_string: server.certificate }, private_key: { inline_string: server.key } }],
  validation_context: { trusted_ca: { inline_string: mesh.pem }, match_typed_subject_alt_names: SPIFFE },
};
export const sdsSecrets: CommonTlsContext = {
  tls_certificate_sds_secret_configs: [{ name: 'default', sds_config: SDS }],
  combined_validation_context: {
    default_validation_context: { match_typed_subject_alt_names: SPIFFE },
    validation_context_sds_secret_config: { name: 'ROOTCA', sds_config: SDS },
  },
};
export const leafSecret = (leaf = server): Secret => ({
  name: 'default',
  tls_certificate: { certificate_chain: { inline_string: leaf.certificate }, private_key: { inline_string: leaf.key } },
});
export const rootSecret = (...pems: readonly string[]): Secret => ({
  name: 'ROOTCA',
  validation_context: { trusted_ca: { inline_string: pems.join('') } },
});

export const strictListener = (name: string, secrets: CommonTlsContext, more: Partial<Listener> = {}, require = true): Listener =>
  chains(
    name,
    [
      {
        name: 'tls',
        filter_chain_match: { transport_protocol: 'tls' },
        transport_socket_connect_timeout: '0.3s',
        transport_socket: {
          name: 'envoy.transport_sockets.tls',
          typed_config: {
            '@type': `${TLS}.DownstreamTlsContext`,
            require_client_certificate: require,
            common_tls_context: {
              alpn_protocols: ['h2', 'http/1.1'],
              tls_params: {
                tls_minimum_protocol_version: 'TLSv1_2',
                tls_maximum_protocol_version: 'TLSv1_3',
                cipher_suites: ISTIO_CIPHERS,
              },
              ...secrets,
            },
          },
        },
        filters: [hcm([toCluster('app')])],
      },
    ],
    { stat_prefix: name, listener_filters_timeout: '0.3s', listener_filters: [inspector], ...more },
  );

/** What a peer met: bytes it was sent ('' none), the error its socket had. */
export interface Met {
  readonly error: string;
  readonly said: string;
}
export type Peer = (port: number) => Promise<Met>;

const PATIENCE_MS = 3000;
const REQUEST = 'GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n';

const untilClosed = async (socket: TLSSocket | ReturnType<typeof connect>, encoding: BufferEncoding): Promise<Met> => {
  let [error, said] = ['', ''];
  socket.on('data', (bytes: Buffer) => {
    said += bytes.toString(encoding);
  });
  socket.on('error', (problem: NodeJS.ErrnoException) => {
    error = problem.code ?? problem.message;
  });
  const timer = setTimeout(() => socket.destroy(new Error('not closed in time')), PATIENCE_MS);
  await new Promise((resolve) => socket.once('close', resolve));
  clearTimeout(timer);
  return { error, said };
};

/** Speaks TLS, asks for / once it may. */
export const tlsPeer =
  (leaf: { readonly certificate: string; readonly key: string } | undefined, more: ConnectionOptions = {}): Peer =>
  (port) => {
    const own = leaf === undefined ? {} : { cert: leaf.certificate, key: leaf.key };
    const socket = connectTls({ port, host: '127.0.0.1', ca: mesh.pem, checkServerIdentity: () => undefined, ...own, ...more });
    socket.once('secureConnect', () => socket.write(REQUEST));
    return untilClosed(socket, 'latin1');
  };

/** Sends its bytes and no more; what it is told is in hexadecimal. */
export const rawPeer =
  (bytes: Buffer | string): Peer =>
  (port) => {
    const socket = connect(port, '127.0.0.1');
    socket.write(bytes);
    return untilClosed(socket, 'hex');
  };

/** A ClientHello with two old suites; `offered`: its supported_versions. */
export const oldHello = (version: number, offered: readonly number[] = []): Buffer => {
  const u16 = (n: number): number[] => [n >> 8, n & 255];
  const versions = offered.flatMap(u16);
  const extensions = versions.length === 0 ? [] : [0, 43, ...u16(versions.length + 1), versions.length, ...versions];
  const body = [...u16(version), ...new Array(32).fill(7), 0, 0, 4, 0xc0, 0x09, 0, 0x2f, 1, 0, ...u16(extensions.length), ...extensions];
  const message = [1, 0, ...u16(body.length), ...body];
  return Buffer.from([22, 3, 1, ...u16(message.length), ...message]);
};

/** What this runtime's own client begins with. */
export const ownHello = async (): Promise<Buffer> => {
  const listening = createServer();
  listening.listen(0, '127.0.0.1');
  await once(listening, 'listening');
  const client = connectTls({ port: (listening.address() as AddressInfo).port, host: '127.0.0.1' });
  client.on('error', () => {});
  const [socket] = (await once(listening, 'connection')) as [ReturnType<typeof connect>];
  const [bytes] = (await once(socket, 'data')) as [Buffer];
  socket.destroy();
  client.destroy();
  listening.close();
  return bytes;
};
