// Roots that are for one trust domain each (Envoy's SPIFFE validator): another mesh's root that signs a name of ours proves nothing, to a server
// and to a client, and is counted for its chain; its own names it may sign. As a stock Envoy decides where one is installed.
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { type ConnectionOptions, connect, createServer } from 'node:tls';
import { CertificateLife } from '../../src/proxy/telemetry/process-stats.ts';
import { certificateFacts } from '../../src/proxy/transport/peer-certificate.ts';
import { SecretStore } from '../../src/proxy/transport/secrets.ts';
import { SpiffeBundles } from '../../src/proxy/transport/spiffe-bundles.ts';
import { TlsContext } from '../../src/proxy/transport/tls-context.ts';
import type { CertificateValidationContext, CommonTlsContext, Secret } from '../../src/xds/gen/types.ts';
import { createAuthority, type LeafNames, type TestAuthority } from './certificates.ts';
import { fetchOnce, hcm, httpBackend, listener, ok, startPlane, staticCluster, toCluster } from './harness.ts';
import { CLIENT, mesh, strictListener, tlsPeer } from './hostile-peers-rig.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';

const TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3';
const OURS = 'spiffe://cluster.local/ns/shop/sa/client';
const THEIRS = 'spiffe://partner.test/ns/shop/sa/client';
const partner = createAuthority('partner');
const stranger = createAuthority('nobody');
const below = mesh.intermediate('below');
/** An SVID says that its key signs handshakes. */
const SIGNS_HANDSHAKES = 0x80;
const svid = (of: TestAuthority, names: LeafNames) => of.issue({ keyUsage: SIGNS_HANDSHAKES, ...names });
const server = svid(below, { uri: 'spiffe://cluster.local/ns/shop/sa/server' });

const spiffe = (bundles: { readonly [name: string]: string }): CertificateValidationContext => ({
  custom_validator_config: {
    name: 'envoy.tls.cert_validator.spiffe',
    typed_config: {
      '@type': `${TLS}.SPIFFECertValidatorConfig`,
      trust_domains: Object.entries(bundles).map(([name, pem]) => ({ name, trust_bundle: { inline_string: pem } })),
    },
  },
});
const names = (...exact: string[]) => exact.map((one) => ({ san_type: 'URI' as const, matcher: { prefix: one } }));
const validation: CertificateValidationContext = {
  ...spiffe({ 'cluster.local': mesh.pem, 'partner.test': partner.pem }),
  match_typed_subject_alt_names: names('spiffe://cluster.local/', 'spiffe://partner.test/', 'spiffe://other.test/'),
};
const own = (leaf: { readonly certificate: string; readonly key: string }): CommonTlsContext => ({
  tls_certificates: [{ certificate_chain: { inline_string: leaf.certificate }, private_key: { inline_string: leaf.key } }],
});

const THEIRS_BELOW = 'theirs, of an authority below';
interface Row {
  readonly who: string;
  readonly leaf: { readonly certificate: string; readonly key: string } | undefined;
  /** What counts it; '' lets it in. */
  readonly counted: '' | 'fail_verify_error' | 'fail_verify_san' | 'fail_verify_no_cert';
  /** Skein is stricter. */
  readonly envoyServes?: true;
}
const chain = (who: string, leaf: Row['leaf']): Row => ({ who, leaf, counted: 'fail_verify_error' });
const good = (who: string, leaf: Row['leaf']): Row => ({ who, leaf, counted: '' });
const forged = svid(partner, { uri: OURS });

const ROWS: readonly Row[] = [
  good('ours', svid(mesh, { uri: OURS })),
  good('ours, of an authority below', svid(below, { uri: OURS })),
  good('theirs', svid(partner, { uri: THEIRS })),
  good(THEIRS_BELOW, svid(partner.intermediate('theirs'), { uri: THEIRS })),
  chain('ours, signed by them', forged),
  chain('ours, signed by an authority below theirs', svid(partner.intermediate('below'), { uri: OURS })),
  chain('ours, signed by them, with our root beside it', { ...forged, certificate: forged.certificate + mesh.pem }),
  // A stock Envoy has no eye for it.
  { ...chain('theirs, with our name as DNS name', svid(partner, { uri: THEIRS, dns: OURS })), envoyServes: true },
  chain('theirs, signed by us', svid(mesh, { uri: THEIRS })),
  chain('of a trust domain without roots', svid(mesh, { uri: 'spiffe://other.test/ns/a/sa/b' })),
  chain('of a root that nobody knows', svid(stranger, { uri: OURS })),
  chain('without a path', svid(mesh, { uri: 'spiffe://cluster.local' })),
  chain('without an id', svid(mesh, { dns: 'cluster.local' })),
  chain('a key that signs certificates', svid(mesh, { uri: OURS, keyUsage: 0x84 })),
  chain('a key that signs lists', svid(mesh, { uri: OURS, keyUsage: 0x82 })),
  chain('a key for whatever', mesh.issue({ uri: OURS })),
  chain('an authority', svid(mesh, { uri: OURS, authority: true })),
  chain('in capitals', svid(mesh, { uri: 'spiffe://CLUSTER.LOCAL/ns/shop/sa/client' })),
  { ...chain('with a second id', svid(mesh, { uris: [OURS, THEIRS] })), envoyServes: true },
];

/** Node shows a server nothing of what lies above a client's certificate: such a client is not let in there. */
const onBun = process.versions['bun'] !== undefined;
const CLIENTS: readonly Row[] = [...ROWS, { who: 'nobody', leaf: undefined, counted: 'fail_verify_no_cert' }];
// Asking for a certificate is not asked for: the validator does.
const listeners = [strictListener('strict', { ...own(server), validation_context: validation }, {}, false)];

interface Door {
  readonly port: number;
  counts(): Promise<ReadonlyMap<string, number>>;
}
const COUNTED = /^listener\.strict\.ssl\.(fail_verify_\w+)$/;

const meet = async ({ who, leaf, counted }: Row, { port, counts }: Door, maxVersion: 'TLSv1.2' | 'TLSv1.3'): Promise<void> => {
  const before = await counts();
  const { said, error } = await tlsPeer(leaf, { maxVersion })(port);
  assert.notEqual(error, 'not closed in time', who);
  assert.equal(/served$/.test(said), counted === '', `${who}, ${maxVersion}: ${said} ${error}`);
  let moved: string[] = [];
  for (const until = Date.now() + 20_000; Date.now() < until; await new Promise((resolve) => setTimeout(resolve, 10))) {
    const after = await counts();
    moved = [...after].filter(([name, n]) => n !== before.get(name)).map(([name, n]) => `${name} ${n - (before.get(name) ?? 0)}`);
    if (counted === '' || moved.length > 0) break;
  }
  assert.deepEqual(moved, counted === '' ? [] : [`listener.strict.ssl.${counted} 1`], `${who}, ${maxVersion}`);
};

const planeDoor = (plane: Awaited<ReturnType<typeof startPlane>>): Door => ({
  port: plane.port('strict'),
  counts: async () => new Map([...plane.plane.stats.all()].filter((s) => COUNTED.test(s.name)).map((s) => [s.name, s.value])),
});

test('clients are let in by the roots of their own trust domain alone', { timeout: 60_000 }, async () => {
  await using app = await httpBackend(() => 'served');
  await using plane = await startPlane({ clusters: [staticCluster('app', [app.port])], listeners });
  for (const version of ['TLSv1.3', 'TLSv1.2'] as const)
    for (const row of CLIENTS)
      await meet(row.who === THEIRS_BELOW && !onBun ? { ...row, counted: 'fail_verify_error' } : row, planeDoor(plane), version);
});

test('stock Envoy lets the same clients in', { skip: NO_ENVOY, timeout: 60_000 }, async () => {
  await using app = await httpBackend(() => 'served');
  await using envoy = await startEnvoy({ clusters: [staticCluster('app', [app.port], { type: 'STATIC' })], listeners });
  const counts = async () => {
    const text = await (await fetch(`http://${envoy.admin}/stats?filter=listener.strict.ssl`)).text();
    const lines = text.split('\n').map((line) => line.split(': ') as [string, string]);
    return new Map(lines.filter(([name]) => COUNTED.test(name)).map(([name, n]): [string, number] => [name, Number(n)]));
  };
  for (const version of ['TLSv1.3', 'TLSv1.2'] as const)
    for (const row of CLIENTS)
      await meet(row.envoyServes === true ? { ...row, counted: '' } : row, { port: envoy.port('strict'), counts }, version);
});

/** What a client holds after one connection, refused or not. */
const ticketOf = async (port: number, options: ConnectionOptions): Promise<Buffer | undefined> => {
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...options });
  let ticket: Buffer | undefined;
  socket.on('error', () => {});
  socket.on('session', (session: Buffer) => {
    ticket = session;
  });
  socket.once('secureConnect', () => socket.write('GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n'));
  socket.resume();
  await once(socket, 'close');
  return ticket;
};

test('no session of a client that was refused is taken up again', { timeout: 60_000 }, async () => {
  await using app = await httpBackend(() => 'served');
  await using plane = await startPlane({ clusters: [staticCluster('app', [app.port])], listeners });
  const { port } = planeDoor(plane);
  for (const maxVersion of ['TLSv1.3', 'TLSv1.2'] as const) {
    const leaf = { cert: forged.certificate, key: forged.key };
    const session = await ticketOf(port, { ...leaf, maxVersion });
    const { said } = await tlsPeer(forged, { maxVersion, ...(session === undefined ? {} : { session }) })(port);
    assert.equal(said, '', maxVersion);
  }
});

const servers = async (use: (clusters: readonly ReturnType<typeof staticCluster>[]) => Promise<void>): Promise<void> => {
  const listening = ROWS.map(({ leaf }) => {
    const one = createServer({ cert: leaf?.certificate, key: leaf?.key }, (peer) => {
      peer.on('error', () => {});
      peer.on('data', () => peer.write(ok('served')));
    });
    one.on('tlsClientError', () => {});
    return one.listen(0, '127.0.0.1');
  });
  try {
    await Promise.all(listening.map((one) => one.listening || once(one, 'listening')));
    const common = { ...own(svid(mesh, CLIENT)), validation_context: validation };
    const socket = {
      name: 'envoy.transport_sockets.tls',
      typed_config: { '@type': `${TLS}.UpstreamTlsContext`, common_tls_context: common },
    };
    await use(
      listening.map((one, i) =>
        staticCluster(`c${i}`, [(one.address() as AddressInfo).port], { type: 'STATIC', transport_socket: socket }),
      ),
    );
  } finally {
    for (const one of listening) one.close();
  }
};
const callers = ROWS.map((_, i) => listener(`l${i}`, hcm([toCluster(`c${i}`)])));
type Count = (name: string) => Promise<number>;

const call = async (port: (name: string) => number, count: Count, isEnvoy: boolean): Promise<void> => {
  for (const [i, { who, counted, envoyServes }] of ROWS.entries()) {
    const lets = counted === '' || (isEnvoy && envoyServes === true);
    assert.equal((await fetchOnce(port(`l${i}`), '/')).status, lets ? 200 : 503, who);
    for (const counter of ['fail_verify_error', 'fail_verify_san'])
      assert.equal(await count(`cluster.c${i}.ssl.${counter}`), !lets && counter === counted ? 1 : 0, `${who}: ${counter}`);
  }
};

test('servers are called when the roots of their own trust domain signed them', { timeout: 60_000 }, async () => {
  await servers(async (clusters) => {
    await using plane = await startPlane({ clusters, listeners: callers });
    await call(
      (name) => plane.port(name),
      async (name) => plane.plane.stats.find(name)?.value ?? 0,
      false,
    );
  });
});

test('stock Envoy calls the same servers', { skip: NO_ENVOY, timeout: 60_000 }, async () => {
  await servers(async (clusters) => {
    await using envoy = await startEnvoy({ clusters, listeners: callers });
    const count: Count = async (name) =>
      Number((await (await fetch(`http://${envoy.admin}/stats?filter=^${name}$`)).text()).split(': ')[1] ?? 0);
    await call((name) => envoy.port(name), count, true);
  });
});

const contextOf = (given: CertificateValidationContext): TlsContext =>
  new TlsContext({ validation_context: given }, new SecretStore(), 'tls');

test('what is wrong with a validator is said by its field', () => {
  const typed = (fields: object) => ({
    custom_validator_config: { name: 'x', typed_config: { '@type': `${TLS}.SPIFFECertValidatorConfig`, ...fields } },
  });
  const bundle = { inline_string: mesh.pem };
  const refused = (given: CertificateValidationContext, pattern: RegExp): void => {
    assert.throws(
      () => contextOf(given),
      (e: Error) => pattern.test(JSON.stringify(e) + String(e)),
      String(pattern),
    );
  };
  refused({ custom_validator_config: { name: 'envoy.tls.cert_validator.other' } }, /custom_validator_config.*other is not supported/);
  refused(typed({}), /trust_domains/);
  refused(typed({ trust_domains: [{ name: '', trust_bundle: bundle }] }), /trust_domains\[0\]\.name/);
  refused(
    typed({
      trust_domains: [
        { name: 'a', trust_bundle: bundle },
        { name: 'a', trust_bundle: bundle },
      ],
    }),
    /trust_domains\[1\]\.name/,
  );
  refused(typed({ trust_domains: [{ name: 'a' }] }), /trust_domains\[0\]\.trust_bundle/);
  refused(typed({ trust_bundles: bundle }), /trust_bundles/);
  refused(typed({ trust_domains: [{ name: 'a', trust_bundle: { inline_string: `${mesh.pem}${mesh.takesBack()}` } }] }), /trust_bundle/);
  assert.ok(contextOf(spiffe({ a: mesh.pem })).warm);
});

test('who was let in before its root was bound to another trust domain is not trusted any more', () => {
  const secrets = new SecretStore();
  const roots = (given: CertificateValidationContext): Secret => ({ name: 'roots', validation_context: given });
  secrets.set(roots({ trusted_ca: { inline_string: mesh.pem + partner.pem } }));
  const context = new TlsContext(
    { ...own(server), validation_context_sds_secret_config: { name: 'roots', sds_config: { ads: {} } } },
    secrets,
    'tls',
  );
  let told = 0;
  context.onDistrust = () => told++;
  secrets.set(roots(spiffe({ 'cluster.local': mesh.pem, 'partner.test': partner.pem })));
  assert.equal(told, 1);
  // The last without what lies above it, as a server on Node is shown it: of the same authority as the server's own.
  const peers = [forged, svid(partner, { uri: THEIRS }), svid(mesh, { uri: OURS }), svid(below, { uri: OURS })].map((leaf) =>
    certificateFacts(leaf.certificate),
  );
  assert.deepEqual(
    peers.map((peer) => context.trusts(peer)),
    [false, true, true, true],
  );
  secrets.set(roots(spiffe({ 'cluster.local': mesh.pem, 'partner.test': partner.pem, 'third.test': partner.pem })));
  assert.equal(told, 2, 'looked at again, since once a root was taken');
});

test('the life of bound roots is told like that of others', () => {
  const secret: Secret = { name: 'ROOTCA', validation_context: spiffe({ 'cluster.local': mesh.pem }) };
  assert.equal(new CertificateLife().daysLeft([secret], Date.now()), 0);
});

test('what a client shows beside its certificate costs a bounded number of signatures', (t) => {
  const verify = X509Certificate.prototype.verify;
  let verified = 0;
  X509Certificate.prototype.verify = function (key) {
    verified++;
    return verify.call(this, key);
  };
  t.after(() => {
    X509Certificate.prototype.verify = verify;
  });
  const der = (pem: string): Buffer => new X509Certificate(pem).raw;
  const bundles = new SpiffeBundles(new Map([['cluster.local', mesh.pem + partner.pem]]));
  const leaf = der(svid(partner, { uri: OURS }).certificate);
  const sans = { uri: [OURS], dns: [], email: [] };
  // Of the name that the leaf's issuer has, and of others.
  const junk = Array.from({ length: 60 }, () => der(createAuthority('partner').pem));
  const others = Array.from({ length: 60 }, (_, i) => der(createAuthority(`other ${i}`).pem));
  assert.equal(bundles.faultOf([leaf, ...others], sans), undefined);
  assert.ok(verified < 5, String(verified));
  verified = 0;
  assert.equal(bundles.faultOf([leaf, ...junk], sans), 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY');
  assert.ok(verified <= 24, String(verified));
});
