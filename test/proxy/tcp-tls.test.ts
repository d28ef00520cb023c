// TLS of TCP connections: pass-through by server name, origination, and parameters that are honoured or refused.
import assert from 'node:assert/strict';
import { createHash, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { describe, test } from 'node:test';
import { connect as connectTls, createServer, type TLSSocket, type TlsOptions } from 'node:tls';
import type {
  Cluster,
  CommonTlsContext,
  DownstreamTlsContext,
  Listener,
  TransportSocket,
  UpstreamTlsContext,
} from '../../src/xds/gen/types.ts';
import { freePort } from '../free-port.ts';
import { createAuthority } from './certificates.ts';
import {
  chains,
  eventually,
  fetchOnce,
  hcm,
  listener,
  RawClient,
  startBackend,
  startPlane,
  staticCluster,
  tcpProxy,
  toCluster,
} from './harness.ts';

const TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3';
const NETWORK = 'type.googleapis.com/envoy.extensions.filters.network';
const authority = createAuthority('tls test');
const issued = authority.issue({ dns: 'b.test' });
const other = authority.issue({ dns: 'other.test' });

const sha256 = (bytes: Buffer): Buffer => createHash('sha256').update(bytes).digest();
const certificate = new X509Certificate(issued.certificate);
const HASH = sha256(certificate.raw).toString('hex');
const SPKI = sha256(certificate.publicKey.export({ type: 'spki', format: 'der' })).toString('base64');

const upstreamTls = (config: UpstreamTlsContext): TransportSocket => ({
  name: 'tls',
  typed_config: { '@type': `${TLS}.UpstreamTlsContext`, ...config },
});
const downstreamTls = (common: CommonTlsContext = {}, more: DownstreamTlsContext = {}): TransportSocket => ({
  name: 'tls',
  typed_config: {
    '@type': `${TLS}.DownstreamTlsContext`,
    common_tls_context: {
      tls_certificates: [{ certificate_chain: { inline_string: issued.certificate }, private_key: { inline_string: issued.key } }],
      ...common,
    },
    ...more,
  },
});
const trusting = (more: object = {}): CommonTlsContext => ({
  validation_context: { trusted_ca: { inline_string: authority.pem }, ...more },
});

interface TlsBackend extends AsyncDisposable {
  readonly port: number;
  readonly names: string[];
  readonly resumed: boolean[];
}
/** Says `name` to who connects, then echoes. */
const startTlsBackend = async (options: TlsOptions = {}, port = 0): Promise<TlsBackend> => {
  const names: string[] = [];
  const resumed: boolean[] = [];
  const sockets = new Set<TLSSocket>();
  const server = createServer({ cert: issued.certificate, key: issued.key, ...options }, (socket) => {
    sockets.add(socket);
    names.push(typeof socket.servername === 'string' ? socket.servername : '');
    resumed.push(socket.isSessionReused());
    socket.on('error', () => {});
    socket.on('data', (bytes) => socket.write(bytes));
    socket.on('end', () => socket.end());
  });
  server.on('tlsClientError', () => {});
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    names,
    resumed,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
};

const named = (name: string, hostname: string, port: number, more: Partial<Cluster>): Cluster => ({
  ...staticCluster(name, []),
  load_assignment: {
    endpoints: [{ lb_endpoints: [{ endpoint: { hostname, address: { socket_address: { address: '127.0.0.1', port_value: port } } } }] }],
  },
  ...more,
});

const through = async (
  cluster: Cluster,
  times = 1,
): Promise<{ readonly answers: string[]; readonly flags: string[]; readonly reasons: string[] }> => {
  await using plane = await startPlane({ clusters: [cluster], listeners: [listener('l', tcpProxy(cluster.name ?? ''))] });
  const answers: string[] = [];
  for (let i = 0; i < times; i++) {
    const client = await RawClient.open(plane.port('l'));
    answers.push(
      await client
        .send('hello')
        .bytes(5)
        .catch(() => 'closed'),
    );
    // Tickets come behind the handshake.
    await new Promise((resolve) => setTimeout(resolve, 5));
    client.close();
    await eventually(() => plane.tcp.length === i + 1, 'logged');
  }
  return { answers, flags: plane.tcp.map((l) => l.flags), reasons: [] };
};

describe('TLS origination', () => {
  test('takes the server name and the name to check from the host where told so', async () => {
    await using backend = await startTlsBackend();
    const config: UpstreamTlsContext = { auto_host_sni: true, auto_sni_san_validation: true, common_tls_context: trusting() };
    const right = await through(named('a', 'b.test', backend.port, { transport_socket: upstreamTls(config) }));
    assert.deepEqual(right.answers, ['hello']);
    assert.deepEqual(backend.names, ['b.test']);
    const wrong = await through(named('a', 'c.test', backend.port, { transport_socket: upstreamTls(config) }));
    assert.deepEqual([wrong.answers, wrong.flags], [['closed'], ['UF,URX']]);
  });

  test('does so for HTTP too', async () => {
    await using backend = await startTlsBackend();
    const config: UpstreamTlsContext = { auto_host_sni: true, auto_sni_san_validation: true, common_tls_context: trusting() };
    await using plane = await startPlane({
      clusters: [named('a', 'c.test', backend.port, { transport_socket: upstreamTls(config) })],
      listeners: [listener('l', hcm([toCluster('a')]))],
    });
    assert.equal((await fetchOnce(plane.port('l'), '/')).status, 503);
  });

  for (const [what, validation, answer] of [
    ['of the certificate', { verify_certificate_hash: [HASH] }, 'hello'],
    ['with colons', { verify_certificate_hash: [HASH.replace(/..(?!$)/g, '$&:').toUpperCase()] }, 'hello'],
    ['of its key', { verify_certificate_spki: [SPKI] }, 'hello'],
    ['of another certificate', { verify_certificate_hash: ['00'.repeat(32)] }, 'closed'],
    ['of another key', { verify_certificate_spki: [sha256(Buffer.from('x')).toString('base64')] }, 'closed'],
    [
      'of another certificate beside the right key',
      { verify_certificate_hash: ['00'.repeat(32)], verify_certificate_spki: [SPKI] },
      'hello',
    ],
  ] as const)
    test(`goes by a hash ${what}`, async () => {
      await using backend = await startTlsBackend();
      const socket = upstreamTls({ sni: 'b.test', common_tls_context: trusting(validation) });
      assert.deepEqual((await through(staticCluster('a', [backend.port], { transport_socket: socket }))).answers, [answer]);
    });

  test('keeps to versions and groups', async () => {
    await using backend = await startTlsBackend({ minVersion: 'TLSv1.3', ecdhCurve: 'P-384' });
    for (const [params, answer] of [
      [{}, 'hello'],
      [{ tls_maximum_protocol_version: 'TLSv1_2' as const }, 'closed'],
      [{ ecdh_curves: ['P-384'] }, 'hello'],
      // Node 24 itself crashes when no group is shared; Bun is what ships.
      ...(process.versions['bun'] === undefined ? [] : [[{ ecdh_curves: ['X25519'] }, 'closed'] as const]),
    ] as const) {
      const socket = upstreamTls({ sni: 'b.test', common_tls_context: { ...trusting(), tls_params: params } });
      assert.deepEqual(
        (await through(staticCluster('a', [backend.port], { transport_socket: socket }))).answers,
        [answer],
        JSON.stringify(params),
      );
    }
  });

  test('resumes sessions, unless told to keep none', async () => {
    for (const [config, last] of [
      [{}, true],
      [{ max_session_keys: 0 }, false],
    ] as const) {
      await using backend = await startTlsBackend({ maxVersion: 'TLSv1.2' });
      const socket = upstreamTls({ sni: 'b.test', common_tls_context: trusting(), ...config });
      await through(staticCluster('a', [backend.port], { transport_socket: socket }), 3);
      assert.equal(backend.resumed.at(-1), last);
    }
  });
});

test('a server that does not take up a session is checked anew', async () => {
  const matched = trusting({ match_typed_subject_alt_names: [{ san_type: 'DNS', matcher: { exact: 'b.test' } }] });
  const config = { sni: 'b.test', common_tls_context: matched };
  const first = await startTlsBackend({}, await freePort());
  await using plane = await startPlane({
    clusters: [staticCluster('a', [first.port], { transport_socket: upstreamTls(config) })],
    listeners: [listener('l', tcpProxy('a'))],
  });
  const ask = async (): Promise<string> => {
    const client = await RawClient.open(plane.port('l'));
    const answer = client
      .send('hello')
      .bytes(5)
      .catch(() => 'closed');
    await answer;
    await new Promise((resolve) => setTimeout(resolve, 10)); // tickets come behind the handshake
    client.close();
    return answer;
  };
  for (let i = 0; i < 3; i++) assert.equal(await ask(), 'hello');
  assert.equal(first.resumed.at(-1), true);
  await first[Symbol.asyncDispose]();
  // The same address, a certificate of the same authority, another name.
  await using _impostor = await startTlsBackend({ cert: other.certificate, key: other.key }, first.port);
  assert.equal(await ask(), 'closed');
  await eventually(() => plane.tcp.length === 4, 'logged');
  assert.equal(plane.tcp[3]?.flags, 'UF,URX');
});

describe('TLS termination', () => {
  const serve = (socket: TransportSocket): Listener => chains('l', [{ filters: [tcpProxy('a')], transport_socket: socket }]);
  const shake = async (port: number, options: object = {}): Promise<string> => {
    const socket = connectTls({ port, host: '127.0.0.1', servername: 'b.test', ca: authority.pem, ...options });
    const outcome = await new Promise<string>((resolve) => {
      socket.on('secureConnect', () => {
        socket.on('data', () => resolve('served'));
        socket.write('x');
      });
      socket.on('error', () => resolve('refused'));
      socket.on('close', () => resolve('closed'));
    });
    socket.destroy();
    return outcome === 'served' ? outcome : 'refused';
  };

  test('of certificates named by hash', async () => {
    await using backend = await startBackend((socket, text) => socket.write(text));
    const socket = downstreamTls(trusting({ verify_certificate_hash: [HASH] }), { require_client_certificate: true });
    await using plane = await startPlane({ clusters: [staticCluster('a', [backend.port])], listeners: [serve(socket)] });
    assert.equal(await shake(plane.port('l'), { cert: issued.certificate, key: issued.key }), 'served');
    assert.equal(await shake(plane.port('l'), { cert: other.certificate, key: other.key }), 'refused');
  });

  test('resumes no session where resumption without state is off', async () => {
    await using backend = await startBackend((socket, text) => socket.write(text));
    for (const [config, expected] of [
      [{}, true],
      [{ disable_stateless_session_resumption: true }, false],
    ] as const) {
      await using plane = await startPlane({
        clusters: [staticCluster('a', [backend.port])],
        listeners: [serve(downstreamTls({}, config))],
      });
      let session: Buffer | undefined;
      let reused = false;
      for (let i = 0; i < 2; i++) {
        const known = session === undefined ? {} : { session };
        const socket = connectTls({ port: plane.port('l'), host: '127.0.0.1', servername: 'b.test', ca: authority.pem, ...known });
        socket.on('session', (fresh) => {
          session = fresh;
        });
        await once(socket, 'secureConnect');
        reused = socket.isSessionReused();
        socket.write('x');
        await once(socket, 'data');
        socket.destroy();
      }
      assert.equal(reused, expected);
    }
  });

  const pair = { certificate_chain: { inline_string: issued.certificate }, private_key: { inline_string: issued.key } };
  const second = { certificate_chain: { inline_string: other.certificate }, private_key: { inline_string: other.key } };
  const refused: readonly (readonly [string, TransportSocket])[] = [
    ['tls_params.cipher_suites[0]', downstreamTls({ tls_params: { cipher_suites: ['NO-SUCH-SUITE'] } })],
    [
      'tls_params.tls_maximum_protocol_version',
      downstreamTls({ tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_2' } }),
    ],
    ['validation_context.max_verify_depth', downstreamTls(trusting({ max_verify_depth: 1 }))],
    ['validation_context.only_verify_leaf_cert_crl', downstreamTls(trusting({ only_verify_leaf_cert_crl: true }))],
    ['validation_context.require_signed_certificate_timestamp', downstreamTls(trusting({ require_signed_certificate_timestamp: true }))],
    ['validation_context.watched_directory', downstreamTls(trusting({ watched_directory: { path: '/' } }))],
    ['validation_context.verify_certificate_hash[0]', downstreamTls(trusting({ verify_certificate_hash: ['abc'] }))],
    ['validation_context.trusted_ca', downstreamTls({ validation_context: { verify_certificate_hash: [HASH] } })],
    ['common_tls_context', downstreamTls({ tls_certificates: [pair, second] })],
    ['tls_certificates[0].ocsp_staple', downstreamTls({ tls_certificates: [{ ...pair, ocsp_staple: { inline_string: 'x' } }] })],
    ['session_ticket_keys', downstreamTls({}, { session_ticket_keys: { keys: [] } })],
    ['ocsp_staple_policy', downstreamTls({}, { ocsp_staple_policy: 'MUST_STAPLE' })],
    ['full_scan_certs_on_sni_mismatch', downstreamTls({}, { full_scan_certs_on_sni_mismatch: true })],
  ];
  for (const [field, socket] of refused)
    test(`refuses ${field}`, async () => {
      await using plane = await startPlane({});
      assert.throws(
        () => plane.plane.setListener(serve(socket)),
        (error: Error) => error.message.includes(field),
      );
    });

  for (const how of ['ends its side', 'resets'] as const)
    test(`a client that ${how} before its greeting is whole is over at once, and logged`, { timeout: 120_000 }, async () => {
      await using plane = await startPlane({
        clusters: [staticCluster('c', [1])],
        listeners: [
          chains('l', [{ transport_socket: downstreamTls({ alpn_protocols: ['h2'] }), filters: [hcm([toCluster('c')])] }], {
            listener_filters_timeout: '60s',
          }),
        ],
      });
      const client = await RawClient.open(plane.port('l'));
      client.send(Buffer.from([22, 3, 1, 2, 0, 1, 0]));
      await new Promise((resolve) => setTimeout(resolve, 30));
      if (how === 'resets') client.socket.resetAndDestroy();
      else client.socket.end();
      await eventually(() => plane.connections.length === 1, 'logged');
    });
});

describe('TLS that is passed through', () => {
  const INSPECTOR = {
    name: 'tls',
    typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector' },
  };
  const sni = { name: 'sni', typed_config: { '@type': `${NETWORK}.sni_cluster.v3.SniCluster` } };
  const hello = async (port: number, servername: string): Promise<string> => {
    const socket = connectTls({ port, host: '127.0.0.1', servername, rejectUnauthorized: false });
    socket.on('error', () => {});
    const how = await new Promise<string>((resolve) => {
      socket.on('secureConnect', () => socket.write('x'));
      socket.on('data', () => resolve('served'));
      socket.on('close', () => resolve('closed'));
    });
    socket.destroy();
    return how;
  };

  test('goes to the cluster that its server name names', async () => {
    await using backend = await startTlsBackend();
    const cluster = 'outbound_.443_._.b.test';
    await using plane = await startPlane({
      clusters: [staticCluster(cluster, [backend.port])],
      listeners: [
        chains('l', [{ filter_chain_match: { server_names: ['*.b.test'] }, filters: [sni, tcpProxy('BlackHoleCluster')] }], {
          listener_filters: [INSPECTOR],
        }),
      ],
    });
    assert.equal(await hello(plane.port('l'), cluster), 'served');
    await eventually(() => backend.names[0] === cluster, 'the server has the connection');
    assert.equal(await hello(plane.port('l'), 'outbound_.443_._.c.b.test'), 'closed');
    await eventually(() => plane.tcp.length === 2, 'logged');
    assert.deepEqual(plane.tcp.map((l) => `${l.sni} ${l.flags}`).sort(), [`${cluster} `, 'outbound_.443_._.c.b.test NC']);
  });

  test('goes by the chain for its server name', async () => {
    await using one = await startTlsBackend();
    await using two = await startTlsBackend();
    const by = (name: string, cluster: string) => ({ filter_chain_match: { server_names: [name] }, filters: [tcpProxy(cluster)] });
    await using plane = await startPlane({
      clusters: [staticCluster('one', [one.port]), staticCluster('two', [two.port])],
      listeners: [chains('l', [by('one.test', 'one'), by('*.two.test', 'two')], { listener_filters: [INSPECTOR] })],
    });
    assert.equal(await hello(plane.port('l'), 'one.test'), 'served');
    assert.equal(await hello(plane.port('l'), 'x.two.test'), 'served');
    assert.equal(await hello(plane.port('l'), 'three.test'), 'closed');
    await eventually(() => one.names[0] === 'one.test' && two.names[0] === 'x.two.test', 'each has its own');
  });
});
