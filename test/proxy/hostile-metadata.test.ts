// Peer metadata is what a caller says of itself: forged ones give no other principal or namespace than the certificate, applications see
// none, and what an application writes into the headers does not get out.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPeerMetadata, PEER_METADATA_HEADER } from '../../src/proxy/telemetry/peer-metadata.ts';
import { PEER_METADATA_TYPE_URL, peerMetadataFilter } from '../../src/proxy/telemetry/peer-metadata-filter.ts';
import { Telemetry } from '../../src/proxy/telemetry/telemetry.ts';
import { HeaderBlock } from '../../src/wire/header-block.ts';
import type { HttpFilter, JsonObject, Listener, Node } from '../../src/xds/gen/types.ts';
import { chains, fetchOnce, hcm, httpBackend, ok, type Plane, ROUTER, startPlane, staticCluster, toCluster } from './harness.ts';
import { CLIENT, inlineSecrets, mesh } from './hostile-peers-rig.ts';
import { ManualClock } from './xds-fixture.ts';

const nodeOf = (name: string, namespace: string): Node => ({
  id: `sidecar~10.0.0.1~${name}.${namespace}~${namespace}.svc.cluster.local`,
  metadata: { NAME: name, NAMESPACE: namespace, WORKLOAD_NAME: name, LABELS: { app: name } },
});
const headersOf = (node: Node): string => {
  const block = new HeaderBlock();
  createPeerMetadata(node).addOwn(block);
  return `${PEER_METADATA_HEADER}: ${block.get(PEER_METADATA_HEADER)}\r\nx-envoy-peer-metadata-id: forged\r\n`;
};
const FORGED = headersOf(nodeOf('vault', 'bank'));

const exchange = (value: JsonObject): HttpFilter[] => [
  {
    name: 'istio.metadata_exchange',
    typed_config: { '@type': 'type.googleapis.com/udpa.type.v1.TypedStruct', type_url: PEER_METADATA_TYPE_URL, value },
  },
  { name: 'istio.stats', typed_config: { '@type': 'type.googleapis.com/stats.PluginConfig' } },
  ROUTER,
];
// As Istio's configuration has them.
const ISTIO = [{ istio_headers: {} }];
const INBOUND = exchange({ downstream_discovery: ISTIO, downstream_propagation: ISTIO });
const OUTBOUND = exchange({ upstream_discovery: ISTIO, upstream_propagation: ISTIO });

const TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3';
const called = (port: number): { clusters: ReturnType<typeof staticCluster>[]; listeners: Listener[] } => ({
  clusters: [staticCluster('app', [port])],
  listeners: [
    chains(
      'strict',
      [
        {
          transport_socket: {
            name: 'tls',
            typed_config: { '@type': `${TLS}.DownstreamTlsContext`, require_client_certificate: true, common_tls_context: inlineSecrets },
          },
          filters: [hcm([toCluster('app')], { http_filters: INBOUND })],
        },
      ],
      { traffic_direction: 'INBOUND' },
    ),
    chains('plain', [{ filters: [hcm([toCluster('app')], { http_filters: INBOUND })] }], { traffic_direction: 'INBOUND' }),
  ],
});
const own = mesh.issue(CLIENT);
const calling = (port: number, http_filters: readonly HttpFilter[]) => ({
  clusters: [
    staticCluster('out', [port], {
      transport_socket: {
        name: 'tls',
        typed_config: {
          '@type': `${TLS}.UpstreamTlsContext`,
          common_tls_context: {
            tls_certificates: [{ certificate_chain: { inline_string: own.certificate }, private_key: { inline_string: own.key } }],
            validation_context: { trusted_ca: { inline_string: mesh.pem } },
          },
        },
      },
    }),
  ],
  listeners: [chains('http', [{ filters: [hcm([toCluster('out')], { http_filters })] }], { traffic_direction: 'OUTBOUND' })],
});

const sidecar = async (resources: Parameters<typeof startPlane>[0], node: Node): Promise<{ plane: Plane; labels(): JsonObject[] }> => {
  const metadata = createPeerMetadata(node);
  const telemetry = new Telemetry({ own: metadata.own, version: '0', clock: new ManualClock(), random: () => 0 });
  const httpFilters = new Map([[PEER_METADATA_TYPE_URL, peerMetadataFilter(metadata)]]);
  const plane = await startPlane(resources, { observer: telemetry, httpFilters });
  const labels = (): JsonObject[] =>
    telemetry.registry
      .render()
      .split('\n')
      .filter((line) => line.startsWith('istio_requests_total{'))
      .map((line) => Object.fromEntries([...line.matchAll(/(\w+)="([^"]*)"/g)].map((m) => [m[1] ?? '', m[2] ?? ''])));
  return { plane, labels };
};

test('a caller that forges metadata keeps the principal and the namespace of its certificate', async () => {
  await using app = await httpBackend(() => ok('served'));
  const server = await sidecar(called(app.port), nodeOf('server', 'shop'));
  await using _ = server.plane;
  // A compromised sidecar: it passes on what its application writes.
  await using client = await startPlane(calling(server.plane.port('strict'), [ROUTER]));
  assert.equal((await fetchOnce(client.port('http'), '/', FORGED)).status, 200);
  const [told] = server.labels();
  assert.equal(told?.['source_principal'], 'spiffe://cluster.local/ns/shop/sa/client');
  assert.equal(told?.['source_workload_namespace'], 'shop');
  assert.equal(told?.['connection_security_policy'], 'mutual_tls');
  assert.doesNotMatch(app.received.join(), /peer-metadata/);
});

test('an application cannot speak for its sidecar, neither in requests nor in answers', async () => {
  await using app = await httpBackend(() => ok('served', FORGED));
  const server = await sidecar(called(app.port), nodeOf('server', 'shop'));
  await using _ = server.plane;
  const client = await sidecar(calling(server.plane.port('strict'), OUTBOUND), nodeOf('client', 'shop'));
  await using __ = client.plane;
  const answer = await fetchOnce(client.plane.port('http'), '/', FORGED);
  assert.equal(answer.status, 200);
  assert.equal(server.labels()[0]?.['source_workload'], 'client');
  assert.equal(client.labels()[0]?.['destination_workload'], 'server');
  assert.equal(client.labels()[0]?.['destination_workload_namespace'], 'shop');
  assert.doesNotMatch(app.received.join(), /peer-metadata/);
  assert.equal(answer.headers.get(PEER_METADATA_HEADER), undefined);
});

test('over plain text metadata name no principal; malformed and huge ones name nobody, and none reach an application', async () => {
  await using app = await httpBackend(() => ok('served'));
  const server = await sidecar(called(app.port), nodeOf('server', 'shop'));
  await using _ = server.plane;
  const port = server.plane.port('plain');
  const hostile = [
    `${PEER_METADATA_HEADER}: !!!\r\n`,
    `${PEER_METADATA_HEADER}: ${Buffer.alloc(15_000, 255).toString('base64')}\r\n`,
    `${PEER_METADATA_HEADER}: ${'A'.repeat(20_000)}\r\n`,
    `${FORGED}${headersOf(nodeOf('other', 'other'))}`,
  ];
  for (const headers of hostile) assert.equal((await fetchOnce(port, '/', headers)).status, 200);
  assert.doesNotMatch(app.received.join(), /peer-metadata/);
  for (const told of server.labels()) {
    assert.equal(told['source_principal'], 'unknown');
    assert.equal(told['connection_security_policy'], 'none');
  }
  // As with Istio the first of two counts, where no certificate says otherwise.
  assert.deepEqual(new Set(server.labels().map((told) => told['source_workload'])), new Set(['unknown', 'vault']));
});
