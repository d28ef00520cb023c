// TLS of listeners and of clusters: whose certificates, which are trusted, what is offered.
import { createHash, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { type ConnectionOptions, connect, createServer, type TLSSocket, type TlsOptions } from 'node:tls';
import type {
  Cluster,
  CommonTlsContext,
  DownstreamTlsContext,
  HttpConnectionManager,
  TransportSocket,
  UpstreamTlsContext,
} from '../../../src/xds/gen/types.ts';
import { createAuthority } from '../../proxy/certificates.ts';
import { type Backend, chains, hcm, staticCluster, tcpProxy, toCluster } from '../../proxy/harness.ts';
import { cluster, type FieldCase, listener, live, type Part, secret } from '../case.ts';
import { ask, echoServer } from '../http-probe.ts';

const TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3';
const authority = createAuthority('fields');
const other = createAuthority('others');
const server = authority.issue({ dns: 'b.test' });
const client = authority.issue({ uri: 'spiffe://a', dns: 'client.test', subject: 'client' });
const stranger = other.issue({ uri: 'spiffe://a' });

const pem = (text: string) => ({ inline_string: text });
const certificate = { certificate_chain: pem(server.certificate), private_key: pem(server.key) };
const downstream = (config: DownstreamTlsContext): TransportSocket => ({
  name: 'envoy.transport_sockets.tls',
  typed_config: { '@type': `${TLS}.DownstreamTlsContext`, ...config },
});
const upstream = (config: UpstreamTlsContext): TransportSocket => ({
  name: 'envoy.transport_sockets.tls',
  typed_config: { '@type': `${TLS}.UpstreamTlsContext`, ...config },
});

let echo: Backend;
const start = async () => {
  echo = await echoServer();
  return echo;
};

const HANDSHAKE_MS = 1_000;
const event = (socket: TLSSocket, name: string): Promise<void> =>
  new Promise((resolve) => {
    socket.once(name, () => resolve());
  });
const closed = (socket: TLSSocket): Promise<void> => event(socket, 'close');
/** What a client sees: the version, protocol and cipher agreed, or that it is sent away. */
const greet = async (
  port: number,
  options: ConnectionOptions = {},
  text = 'GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n',
): Promise<string> => {
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...options });
  const timer = setTimeout(() => socket.destroy(), HANDSHAKE_MS);
  let got = '';
  socket.on('data', (bytes) => {
    got += bytes.toString('latin1');
  });
  socket.on('error', () => undefined);
  socket.once('secureConnect', () => socket.write(text));
  await closed(socket);
  clearTimeout(timer);
  return got === '' ? 'sent away' : got;
};
const line = (text: string, name: string): string =>
  text
    .split(/\r?\n/)
    .find((l) => l.toLowerCase().startsWith(`${name}:`))
    ?.slice(name.length + 2) ??
  text.split('\r\n')[0] ??
  '';

const terminating = (
  name: string,
  config: DownstreamTlsContext,
  probe: (port: number) => Promise<unknown>,
  expect: unknown,
  more: { manager?: Partial<HttpConnectionManager>; parts?: readonly Part[] } = {},
): FieldCase => ({
  name,
  start,
  parts: () => [
    ...(more.parts ?? []),
    cluster(staticCluster('echo', [echo.port])),
    listener(chains('in', [{ transport_socket: downstream(config), filters: [hcm([toCluster('echo')], more.manager)] }])),
  ],
  observe: live(({ port }) => probe(port())),
  expect,
});
const status = (text: string): string => text.split('\r\n')[0] ?? '';

export const tlsServer = terminating(
  'tls-server',
  {
    common_tls_context: {
      tls_certificates: [certificate],
      alpn_protocols: ['http/1.1'],
      tls_params: {
        tls_minimum_protocol_version: 'TLSv1_2',
        tls_maximum_protocol_version: 'TLSv1_2',
        cipher_suites: ['ECDHE-ECDSA-AES256-GCM-SHA384'],
        ecdh_curves: ['P-256'],
      },
    },
    require_sni: true,
  },
  async (port) => {
    const agreed = async (options: ConnectionOptions): Promise<string> => {
      const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, servername: 'b.test', ...options });
      const timer = setTimeout(() => socket.destroy(), HANDSHAKE_MS);
      socket.on('error', () => undefined);
      const said = await Promise.race([
        event(socket, 'secureConnect').then(() => `${socket.getProtocol()} ${socket.getCipher().name} ${String(socket.alpnProtocol)}`),
        closed(socket).then(() => 'sent away'),
      ]);
      clearTimeout(timer);
      socket.destroy();
      return said;
    };
    return [
      await agreed({ ALPNProtocols: ['x', 'http/1.1'] }),
      await agreed({ minVersion: 'TLSv1.3' }),
      await agreed({ ecdhCurve: 'P-384', maxVersion: 'TLSv1.2' }),
      status(await greet(port)),
    ];
  },
  ['TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384 http/1.1', 'sent away', 'sent away', 'sent away'],
);

const asClient: ConnectionOptions = { cert: client.certificate, key: client.key };

export const tlsClients = terminating(
  'tls-clients',
  {
    require_client_certificate: true,
    common_tls_context: {
      tls_certificates: [certificate],
      validation_context: {
        trusted_ca: pem(authority.pem),
        match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { exact: 'spiffe://a' } }],
      },
    },
  },
  async (port) => {
    const unknown = authority.issue({ uri: 'spiffe://b' });
    const greeted = await greet(port, asClient);
    return [
      line(greeted, 'x-forwarded-client-cert')
        .replace(/Hash=[0-9a-f]+/, 'Hash')
        .replace(/(Cert|Chain)="[^"]+"/g, '$1'),
      status(await greet(port)),
      status(await greet(port, { cert: unknown.certificate, key: unknown.key })),
      status(await greet(port, { cert: stranger.certificate, key: stranger.key })),
    ];
  },
  ['Hash;Cert;Chain;Subject="O=client";URI=spiffe://a;DNS=client.test', 'sent away', 'sent away', 'sent away'],
  {
    manager: {
      forward_client_cert_details: 'APPEND_FORWARD',
      set_current_client_cert_details: { subject: true, cert: true, dns: true, uri: true, chain: true },
    },
  },
);

const hash = (bytes: Buffer): Buffer => createHash('sha256').update(bytes).digest();
const known = new X509Certificate(client.certificate);
const HASH = hash(known.raw).toString('hex');
const SPKI = hash(known.publicKey.export({ type: 'spki', format: 'der' })).toString('base64');
const alsoKnown = authority.issue({ uri: 'spiffe://c' });

const pinned = (name: string, validation: object): FieldCase =>
  terminating(
    name,
    {
      require_client_certificate: true,
      common_tls_context: { tls_certificates: [certificate], validation_context: { trusted_ca: pem(authority.pem), ...validation } },
    },
    async (port) => [status(await greet(port, asClient)), status(await greet(port, { cert: alsoKnown.certificate, key: alsoKnown.key }))],
    ['HTTP/1.1 200 OK', 'sent away'],
  );
export const tlsHashes = pinned('tls-hash', { verify_certificate_hash: [HASH] });
export const tlsKeys = pinned('tls-spki', { verify_certificate_spki: [SPKI] });
export const tlsNames = pinned('tls-old-names', { match_subject_alt_names: [{ exact: 'spiffe://a' }] });

export const tlsUntrusted = terminating(
  'tls-untrusted',
  {
    require_client_certificate: true,
    common_tls_context: {
      tls_certificates: [certificate],
      validation_context: { trusted_ca: pem(authority.pem), trust_chain_verification: 'ACCEPT_UNTRUSTED' },
    },
  },
  async (port) => status(await greet(port, { cert: stranger.certificate, key: stranger.key })),
  'HTTP/1.1 200 OK',
);

export const tlsSecrets = terminating(
  'tls-secrets',
  {
    require_client_certificate: true,
    common_tls_context: {
      tls_certificate_sds_secret_configs: [{ name: 'own', sds_config: { ads: {} } }],
      combined_validation_context: {
        default_validation_context: { match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { exact: 'spiffe://a' } }] },
        validation_context_sds_secret_config: { name: 'roots', sds_config: { ads: {} } },
      },
    },
  },
  async (port) => [status(await greet(port, asClient)), status(await greet(port, { cert: alsoKnown.certificate, key: alsoKnown.key }))],
  ['HTTP/1.1 200 OK', 'sent away'],
  {
    parts: [
      secret({ name: 'own', tls_certificate: certificate }),
      secret({ name: 'roots', validation_context: { trusted_ca: pem(authority.pem) } }),
    ],
  },
);

export const tlsRoots = terminating(
  'tls-roots',
  {
    require_client_certificate: true,
    common_tls_context: {
      tls_certificates: [certificate],
      validation_context_sds_secret_config: { name: 'roots', sds_config: { ads: {} } },
    },
  },
  async (port) => [status(await greet(port, asClient)), status(await greet(port, { cert: stranger.certificate, key: stranger.key }))],
  ['HTTP/1.1 200 OK', 'sent away'],
  { parts: [secret({ name: 'roots', validation_context: { trusted_ca: pem(authority.pem) } })] },
);

const partner = createAuthority('partner');
const TLS_V3 = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3';
export const tlsSpiffe = terminating(
  'tls-spiffe',
  {
    require_client_certificate: true,
    common_tls_context: {
      tls_certificates: [certificate],
      validation_context: {
        custom_validator_config: {
          name: 'envoy.tls.cert_validator.spiffe',
          typed_config: {
            '@type': `${TLS_V3}.SPIFFECertValidatorConfig`,
            trust_domains: [
              { name: 'a.test', trust_bundle: pem(authority.pem) },
              { name: 'b.test', trust_bundle: pem(partner.pem) },
            ],
          },
        },
      },
    },
  },
  async (port) => {
    const met = async (of: typeof authority, uri: string) => {
      const { certificate: cert, key } = of.issue({ uri, keyUsage: 0x80 });
      return status(await greet(port, { cert, key }));
    };
    return [
      await met(authority, 'spiffe://a.test/x'),
      await met(partner, 'spiffe://b.test/x'),
      await met(partner, 'spiffe://a.test/x'),
      await met(authority, 'spiffe://b.test/x'),
      await met(authority, 'spiffe://c.test/x'),
    ];
  },
  ['HTTP/1.1 200 OK', 'HTTP/1.1 200 OK', 'sent away', 'sent away', 'sent away'],
);

export const tlsResumption = terminating(
  'tls-no-tickets',
  {
    disable_stateless_session_resumption: true,
    common_tls_context: { tls_certificates: [certificate], tls_params: { tls_maximum_protocol_version: 'TLSv1_2' } },
  },
  async (port) => {
    const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false });
    await once(socket, 'secureConnect');
    const ticket = socket.getTLSTicket();
    socket.destroy();
    return ticket === undefined;
  },
  true,
);

// --- upstream

interface TlsServer extends AsyncDisposable {
  readonly port: number;
}
/** Answers every request with the name it was asked for and the certificate it was shown. */
const tlsServerWith = async (options: TlsOptions): Promise<TlsServer> => {
  const tls = createServer(
    { cert: server.certificate, key: server.key, requestCert: true, rejectUnauthorized: false, ...options },
    (socket) => {
      socket.on('error', () => undefined);
      socket.on('data', () => {
        const body = `${String(socket.servername || '-')} ${socket.getPeerCertificate().subjectaltname ?? '-'} ${String(socket.alpnProtocol)} ${socket.getProtocol()}`;
        socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
      });
    },
  );
  tls.listen(0, '127.0.0.1');
  await once(tls, 'listening');
  return {
    port: (tls.address() as AddressInfo).port,
    [Symbol.asyncDispose]: async () => {
      tls.close();
    },
  };
};

let peer: TlsServer;
const startPeer = async () => {
  peer = await tlsServerWith({ ALPNProtocols: ['h1-peer'] });
  return peer;
};

const originating = (
  name: string,
  config: UpstreamTlsContext,
  expect: unknown,
  more: () => Partial<Cluster> = () => ({}),
  host = 'a.test',
): FieldCase => ({
  name,
  start: startPeer,
  parts: () => [
    cluster(staticCluster('peer', [peer.port], { transport_socket: upstream(config), ...more() })),
    listener(chains('in', [{ filters: [hcm([toCluster('peer')])] }])),
  ],
  observe: live(async ({ port }) => {
    const { status: code, body } = await ask(port(), '/', { host });
    return code === 200 ? body : code;
  }),
  expect,
});
const trusting = (more: object = {}): CommonTlsContext => ({ validation_context: { trusted_ca: pem(authority.pem), ...more } });

export const tlsOrigination = originating(
  'tls-origination',
  {
    sni: 'b.test',
    common_tls_context: {
      tls_certificates: [{ certificate_chain: pem(client.certificate), private_key: pem(client.key) }],
      alpn_protocols: ['h1-peer'],
      tls_params: { tls_maximum_protocol_version: 'TLSv1_2' },
      ...trusting({ match_typed_subject_alt_names: [{ san_type: 'DNS', matcher: { exact: 'b.test' } }] }),
    },
  },
  'b.test URI:spiffe://a, DNS:client.test h1-peer TLSv1.2',
);
export const tlsDistrusted = originating(
  'tls-distrusted',
  { sni: 'b.test', common_tls_context: { validation_context: { trusted_ca: pem(other.pem) } } },
  503,
);
export const tlsWrongName = originating(
  'tls-wrong-name',
  { sni: 'b.test', common_tls_context: trusting({ match_typed_subject_alt_names: [{ san_type: 'DNS', matcher: { exact: 'c.test' } }] }) },
  503,
);
const HTTP = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
const named = (upstream_http_protocol_options: object) => () => ({
  typed_extension_protocol_options: {
    [HTTP]: {
      '@type': `type.googleapis.com/${HTTP}` as const,
      upstream_http_protocol_options,
      explicit_http_config: { http_protocol_options: {} },
    },
  },
});
export const tlsAutoSni = originating(
  'tls-auto-sni',
  { common_tls_context: trusting() },
  'b.test - false TLSv1.3',
  named({ auto_sni: true, auto_san_validation: true }),
  'b.test',
);
export const tlsAutoSan = originating(
  'tls-auto-san',
  { common_tls_context: trusting() },
  503,
  named({ auto_sni: true, auto_san_validation: true }),
  'c.test',
);
export const tlsHostSni: FieldCase = {
  ...originating('tls-host-sni', {}, 'b.test - false TLSv1.3'),
  parts: () => [
    cluster({
      name: 'peer',
      transport_socket: upstream({ auto_host_sni: true, auto_sni_san_validation: true, common_tls_context: trusting() }),
      load_assignment: {
        cluster_name: 'peer',
        endpoints: [
          {
            lb_endpoints: [
              { endpoint: { hostname: 'b.test', address: { socket_address: { address: '127.0.0.1', port_value: peer.port } } } },
            ],
          },
        ],
      },
    }),
    listener(chains('in', [{ filters: [hcm([toCluster('peer')])] }])),
  ],
};
export const tlsSniSan: FieldCase = {
  ...originating('tls-sni-san', { sni: 'c.test', auto_sni_san_validation: true, common_tls_context: trusting() }, 503),
};

export const tlsMatches: FieldCase = {
  name: 'tls-matches',
  start: startPeer,
  parts: () => [
    cluster({
      name: 'peer',
      transport_socket_matches: [
        { match: { tls: 'yes' }, transport_socket: upstream({ sni: 'b.test', common_tls_context: trusting() }) },
        {
          transport_socket: {
            name: 'raw',
            typed_config: { '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer' },
          },
        },
      ],
      load_assignment: {
        cluster_name: 'peer',
        endpoints: [
          {
            lb_endpoints: [
              {
                endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: peer.port } } },
                metadata: { filter_metadata: { 'envoy.transport_socket_match': { tls: 'yes' } } },
              },
            ],
          },
        ],
      },
    }),
    listener(chains('in', [{ filters: [hcm([toCluster('peer')])] }])),
  ],
  observe: live(async ({ port }) => (await ask(port(), '/')).body),
  expect: 'b.test - false TLSv1.3',
};

const passing = (match: object) => ({ filter_chain_match: match, filters: [tcpProxy('peer')] });
export const tlsPassThrough: FieldCase = {
  name: 'tls-pass-through',
  start: startPeer,
  parts: () => [
    cluster(staticCluster('peer', [peer.port])),
    listener(
      chains('in', [passing({ server_names: ['b.test'] })], {
        listener_filters: [
          {
            name: 'envoy.filters.listener.tls_inspector',
            typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector' },
          },
        ],
      }),
    ),
  ],
  observe: live(async ({ port }) => [
    line(await greet(port(), { servername: 'b.test' }), 'x'),
    line(await greet(port(), { servername: 'c.test' }), 'x'),
  ]),
  expect: ['HTTP/1.1 200 OK', 'sent away'],
};
