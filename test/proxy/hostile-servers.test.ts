// Servers that are not who was called: a sidecar that expects one account's identity sends nothing to them, says so, and counts it for their
// chain or their names, as a stock Envoy does where one is installed.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { createServer } from 'node:tls';
import type { TransportSocket } from '../../src/xds/gen/types.ts';
import { CLIENT_AUTH, SERVER_AUTH } from './certificates.ts';
import { fetchOnce, hcm, listener, ok, startPlane, staticCluster, toCluster } from './harness.ts';
import { CLIENT, mesh, stranger } from './hostile-peers-rig.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';

const HOUR_MS = 3_600_000;
const EXPECTED = 'spiffe://cluster.local/ns/shop/sa/payment';
const own = mesh.issue(CLIENT);

interface Row {
  readonly who: string;
  readonly leaf: { readonly certificate: string; readonly key: string };
  /** What counts it; '' is served. */
  readonly counted: '' | 'fail_verify_error' | 'fail_verify_san';
  /** Skein is stricter. */
  readonly envoyServes?: true;
}

const chain = (who: string, leaf: Row['leaf']): Row => ({ who, leaf, counted: 'fail_verify_error' });
const named = (uri: string): Row => ({ who: uri, leaf: mesh.issue({ uri }), counted: 'fail_verify_san' });
const expected = { uri: EXPECTED };

const ROWS: readonly Row[] = [
  { who: 'the one that was called', leaf: mesh.issue(expected), counted: '' },
  { who: 'the one that was called, for servers only', leaf: mesh.issue({ ...expected, usages: [SERVER_AUTH] }), counted: '' },
  { who: 'the one that was called, of an authority below', leaf: mesh.intermediate('below').issue(expected), counted: '' },
  chain('of another CA', stranger.issue(expected)),
  chain('for clients only', mesh.issue({ ...expected, usages: [CLIENT_AUTH] })),
  chain('expired', mesh.issue({ ...expected, validFrom: -2 * HOUR_MS, validFor: -HOUR_MS })),
  chain('not yet valid', mesh.issue({ ...expected, validFrom: HOUR_MS, validFor: 2 * HOUR_MS })),
  chain('of a workload that signs', mesh.intermediate('workload', { plain: true }).issue(expected)),
  named('spiffe://cluster.local/ns/shop/sa/order'),
  named('spiffe://cluster.local/ns/evil/sa/payment'),
  named('spiffe://evil.test/ns/shop/sa/payment'),
  named(`${EXPECTED}/more`),
  named(`${EXPECTED}2`),
  named('spiffe://cluster.local/ns/shop/sa/*'),
  named('spiffe://cluster.local/ns/shop/sa/Payment'),
  named(`spiffe://evil.test/a, URI:${EXPECTED}`),
  { who: 'its id as a DNS name', leaf: mesh.issue({ dns: EXPECTED }), counted: 'fail_verify_san' },
  { who: 'its id as a subject', leaf: mesh.issue({ subject: EXPECTED, dns: 'payment.shop' }), counted: 'fail_verify_san' },
  { who: 'a second id', leaf: mesh.issue({ uris: ['spiffe://evil.test/x', EXPECTED] }), counted: 'fail_verify_san', envoyServes: true },
];

const TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext';
const socket: TransportSocket = {
  name: 'envoy.transport_sockets.tls',
  typed_config: {
    '@type': TLS,
    common_tls_context: {
      tls_certificates: [{ certificate_chain: { inline_string: own.certificate }, private_key: { inline_string: own.key } }],
      validation_context: {
        trusted_ca: { inline_string: mesh.pem },
        match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { exact: EXPECTED } }],
      },
    },
  },
};

const withServers = async (use: (clusters: readonly ReturnType<typeof staticCluster>[], served: () => number) => Promise<void>) => {
  let served = 0;
  const servers = ROWS.map(({ leaf }) => {
    const server = createServer({ cert: leaf.certificate, key: leaf.key }, (peer) => {
      peer.on('error', () => {});
      peer.on('data', () => {
        served++;
        peer.write(ok('served'));
      });
    });
    server.on('tlsClientError', () => {});
    server.listen(0, '127.0.0.1');
    return server;
  });
  try {
    await Promise.all(servers.map((server) => server.listening || once(server, 'listening')));
    const clusters = servers.map((server, i) =>
      staticCluster(`c${i}`, [(server.address() as AddressInfo).port], { type: 'STATIC', transport_socket: socket }),
    );
    await use(clusters, () => served);
  } finally {
    for (const server of servers) server.close();
  }
};
const listeners = ROWS.map((_, i) => listener(`l${i}`, hcm([toCluster(`c${i}`)])));

interface Subject {
  port(name: string): number;
  count(cluster: string, counter: string): Promise<number>;
}

const meet = async (i: number, { port, count }: Subject, served: () => number, isEnvoy: boolean): Promise<void> => {
  const { who, counted, envoyServes } = ROWS[i] ?? { who: '', counted: '' };
  const before = served();
  const { status } = await fetchOnce(port(`l${i}`), '/');
  const lets = counted === '' || (isEnvoy && envoyServes === true);
  assert.deepEqual([status, served() - before], lets ? [200, 1] : [503, 0], who);
  for (const counter of ['fail_verify_error', 'fail_verify_san'])
    assert.equal(await count(`c${i}`, counter), !lets && counter === counted ? 1 : 0, `${who}: ${counter}`);
};

test('a server that is not who was called is sent nothing, and counted', { timeout: 60_000 }, async () => {
  await withServers(async (clusters, served) => {
    await using plane = await startPlane({ clusters, listeners });
    const count = async (cluster: string, counter: string) => plane.plane.stats.find(`cluster.${cluster}.ssl.${counter}`)?.value ?? 0;
    for (const i of ROWS.keys()) await meet(i, { port: (name) => plane.port(name), count }, served, false);
  });
});

test('stock Envoy sends the same servers nothing', { skip: NO_ENVOY, timeout: 60_000 }, async () => {
  await withServers(async (clusters, served) => {
    await using envoy = await startEnvoy({ clusters, listeners });
    const count = async (cluster: string, counter: string) => {
      const text = await (await fetch(`http://${envoy.admin}/stats?filter=^cluster.${cluster}.ssl.${counter}$`)).text();
      return Number(text.split(': ')[1] ?? 0);
    };
    for (const i of ROWS.keys()) await meet(i, { port: (name) => envoy.port(name), count }, served, true);
  });
});
