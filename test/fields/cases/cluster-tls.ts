// TLS of listeners and of clusters beside tls.ts: where keys come from, what both sides may speak, whose roots, what is remembered.
import { createPrivateKey, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ConnectionOptions, connect, createServer } from 'node:tls';
import type { Cluster, DownstreamTlsContext, UpstreamTlsContext } from '../../../src/xds/gen/types.ts';
import { createAuthority } from '../../proxy/certificates.ts';
import { chains, hcm, staticCluster, toCluster } from '../../proxy/harness.ts';
import { cluster, type FieldCase, listener, live } from '../case.ts';
import { ask } from '../http-probe.ts';

const TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3';
const HANDSHAKE_MS = 1_000;
const authority = createAuthority('cluster-tls');
const own = authority.issue({ dns: 'b.test' });
const inline = (text: string) => ({ inline_string: text });

/** The version and cipher that are agreed on. */
const agreed = async (port: number, options: ConnectionOptions = {}): Promise<string> => {
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, servername: 'b.test', ...options });
  const timer = setTimeout(() => socket.destroy(), HANDSHAKE_MS);
  socket.on('error', () => undefined);
  const said = await new Promise<string>((resolve) => {
    socket.once('secureConnect', () => resolve(`${socket.getProtocol()} ${socket.getCipher().name}`));
    socket.once('close', () => resolve('sent away'));
  });
  clearTimeout(timer);
  socket.destroy();
  return said;
};
const serving = (
  name: string,
  config: () => DownstreamTlsContext,
  observe: (port: number) => Promise<unknown>,
  expect: unknown,
  start?: FieldCase['start'],
): FieldCase => ({
  name,
  ...(start === undefined ? {} : { start }),
  parts: () => [
    listener(
      chains('in', [
        {
          transport_socket: { name: 'tls', typed_config: { '@type': `${TLS}.DownstreamTlsContext`, ...config() } },
          filters: [hcm([{ match: { prefix: '/' }, direct_response: { status: 200 } }])],
        },
      ]),
    ),
  ],
  observe: live(({ port }) => observe(port())),
  expect,
});

const SECRET = randomUUID();
const VARIABLE = 'SKEIN_FIELDS_KEY';
let folder = '';
const startSources = async () => {
  folder = await mkdtemp(join(tmpdir(), 'skein-fields-'));
  await writeFile(join(folder, 'chain.pem'), own.certificate);
  const locked = createPrivateKey(own.key).export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: SECRET });
  process.env[VARIABLE] = String(locked);
  return {
    [Symbol.asyncDispose]: async () => {
      delete process.env[VARIABLE];
      await rm(folder, { recursive: true, force: true });
    },
  };
};
const tlsSources = serving(
  'tls-sources',
  () => ({
    common_tls_context: {
      tls_certificates: [
        {
          certificate_chain: { filename: join(folder, 'chain.pem') },
          private_key: { environment_variable: VARIABLE },
          password: inline(SECRET),
        },
      ],
    },
  }),
  (port) => agreed(port, { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256' }),
  'TLSv1.2 ECDHE-ECDSA-AES128-GCM-SHA256',
  startSources,
);

const certificates = [{ certificate_chain: inline(own.certificate), private_key: inline(own.key) }];
const tlsBounds = serving(
  'tls-bounds',
  () => ({
    common_tls_context: {
      tls_certificates: certificates,
      tls_params: { tls_minimum_protocol_version: 'TLSv1_3', ecdh_curves: ['P-384'] },
    },
  }),
  async (port) => [await agreed(port, { maxVersion: 'TLSv1.2' }), await agreed(port, { ecdhCurve: 'P-256' })],
  ['sent away', 'sent away'],
);
const tlsAlgorithms = serving(
  'tls-signature-algorithms',
  () => ({ common_tls_context: { tls_certificates: certificates, tls_params: { signature_algorithms: ['rsa_pss_rsae_sha256'] } } }),
  (port) => agreed(port),
  'sent away',
);
const [SMALL, BIG] = ['ECDHE-ECDSA-AES128-GCM-SHA256', 'ECDHE-ECDSA-AES256-GCM-SHA384'];
const tlsClientsOrder = serving(
  'tls-clients-order',
  () => ({
    prefer_client_ciphers: true,
    common_tls_context: { tls_certificates: certificates, tls_params: { cipher_suites: [SMALL, BIG] } },
  }),
  (port) => agreed(port, { maxVersion: 'TLSv1.2', ciphers: `${BIG}:${SMALL}` }),
  `TLSv1.2 ${BIG}`,
);

// --- upstream

let peerPort = 0;
/** Tells the name it was asked for and whether the session is an old one; each connection carries one answer. */
const startPeer = async () => {
  const server = createServer({ cert: own.certificate, key: own.key, maxVersion: 'TLSv1.2' }, (socket) => {
    socket.on('error', () => undefined);
    socket.on('data', () => {
      const body = `${String(socket.servername || '-')} ${socket.isSessionReused() ? 'resumed' : 'new'}`;
      socket.end(`HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
    });
  });
  server.on('tlsClientError', () => undefined);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  peerPort = (server.address() as AddressInfo).port;
  return {
    [Symbol.asyncDispose]: async () => {
      server.close();
    },
  };
};
const speaking = (name: string, config: UpstreamTlsContext, expect: unknown, count = 1, more: Partial<Cluster> = {}): FieldCase => ({
  name,
  start: startPeer,
  parts: () => [
    cluster(
      staticCluster('peer', [peerPort], {
        transport_socket: { name: 'tls', typed_config: { '@type': `${TLS}.UpstreamTlsContext`, ...config } },
        ...more,
      }),
    ),
    listener(chains('in', [{ filters: [hcm([toCluster('peer')])] }])),
  ],
  observe: live(async ({ port }) => {
    const said: unknown[] = [];
    for (let n = 0; n < count; n++) {
      const { status, body } = await ask(port(), '/', { host: 'b.test' });
      said.push(status === 200 ? body : status);
    }
    return said;
  }),
  expect,
});
const trusting = { common_tls_context: { validation_context: { trusted_ca: inline(authority.pem) } } };
const tlsNoSessions = speaking(
  'tls-no-sessions',
  { sni: 'b.test', max_session_keys: 0, ...trusting },
  ['b.test new', 'b.test new', 'b.test new'],
  3,
);
const tlsSystemRoots = speaking(
  'tls-system-roots',
  { sni: 'b.test', common_tls_context: { validation_context: { system_root_certs: {} } } },
  [503],
);
const tlsOldNames = speaking('tls-old-auto-sni', trusting, ['b.test new'], 1, { upstream_http_protocol_options: { auto_sni: true } });

/** Which secrets are asked for, and where. */
const secretNames: FieldCase = {
  name: 'secret-names',
  parts: () => [
    cluster(
      staticCluster('c', [1], {
        transport_socket: {
          name: 'tls',
          typed_config: {
            '@type': `${TLS}.UpstreamTlsContext`,
            common_tls_context: { validation_context_sds_secret_config: { name: 'roots', sds_config: { ads: {} } } },
          },
        },
      }),
    ),
  ],
  observe: live(async ({ plane }) => [...plane.referencedSecrets()]),
  expect: [['roots', { ads: {} }]],
};

export const CLUSTER_TLS_CASES: readonly FieldCase[] = [
  tlsSources,
  tlsBounds,
  tlsAlgorithms,
  tlsClientsOrder,
  tlsNoSessions,
  tlsSystemRoots,
  tlsOldNames,
  secretNames,
];
