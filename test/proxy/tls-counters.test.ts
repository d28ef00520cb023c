// Envoy's counters of what TLS was agreed on, called as stock Envoy calls them: versions, suites, curves, signatures.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Cluster } from '../../src/xds/gen/types.ts';
import { fetchOnce, hcm, httpBackend, listener, type Plane, startPlane, staticCluster, toCluster } from './harness.ts';
import { CLIENT, inlineSecrets, mesh, strictListener } from './hostile-peers-rig.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';

const own = mesh.issue(CLIENT);

/** Calls a sidecar over TLS of one version, with one curve. */
const caller = (port: number, version: 'TLSv1_2' | 'TLSv1_3', curve: string): Cluster => ({
  ...staticCluster('out', [port]),
  transport_socket: {
    name: 'envoy.transport_sockets.tls',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext',
      common_tls_context: {
        tls_params: { tls_minimum_protocol_version: version, tls_maximum_protocol_version: version, ecdh_curves: [curve] },
        tls_certificates: [{ certificate_chain: { inline_string: own.certificate }, private_key: { inline_string: own.key } }],
        validation_context: { trusted_ca: { inline_string: mesh.pem } },
      },
    },
  },
});

const AGREED = /ssl\.(versions|ciphers|curves|sigalgs)\./;
const counted = ({ plane }: Plane, prefix: string): string[] =>
  [...plane.stats.all()]
    .filter(({ name, value }) => name.startsWith(prefix) && AGREED.test(name) && value > 0)
    .map(({ name, value }) => `${name.slice(prefix.length)}: ${value}`)
    .sort();

for (const version of ['TLSv1_2', 'TLSv1_3'] as const)
  test(`what was agreed on is counted under Envoy's names (${version})`, { skip: NO_ENVOY, timeout: 120_000 }, async () => {
    await using app = await httpBackend(() => 'served');
    await using server = await startPlane({
      clusters: [staticCluster('app', [app.port])],
      listeners: [strictListener('strict', inlineSecrets)],
    });
    const config = {
      clusters: [caller(server.port('strict'), version, 'P-256')],
      listeners: [listener('http', hcm([toCluster('out')]))],
    };
    await using client = await startPlane(config);
    assert.equal((await fetchOnce(client.port('http'), '/')).body, 'served');
    await using envoy = await startEnvoy(config);
    assert.equal((await fetchOnce(envoy.port('http'), '/')).body, 'served');
    const text = await (await fetch(`http://${envoy.admin}/stats?filter=^cluster.out.ssl`)).text();
    const theirs = text
      .split('\n')
      .filter((line) => AGREED.test(line) && !line.endsWith(': 0'))
      .map((line) => line.slice('cluster.out.'.length))
      .sort();
    // What signed in TLS 1.2 neither runtime says.
    const untold = (line: string): boolean => version === 'TLSv1_2' && line.startsWith('ssl.sigalgs');
    assert.deepEqual(
      counted(client, 'cluster.out.'),
      theirs.filter((line) => !untold(line)),
    );
    assert.ok(theirs.length >= 4, theirs.join('\n'));
    if (version === 'TLSv1_3') assert.ok(counted(server, 'listener.strict.').includes('ssl.sigalgs.ecdsa_secp256r1_sha256: 2'));
  });
