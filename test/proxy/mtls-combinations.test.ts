// What a call meets for every level and mode of PeerAuthentication and every tls mode of DestinationRule: the control plane's configuration
// for both sidecars in two live data planes, the application behind. What is not in the table is as the line above it.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Cluster, FilterChain, Secret } from '../../src/xds/gen/types.ts';
import { clusterOf, configure } from '../translate/configure.ts';
import { createAuthority } from './certificates.ts';
import { chains, fetchOnce, hcm, httpBackend, listener, startPlane, staticCluster, toCluster } from './harness.ts';

const mesh = createAuthority('mesh');
const outside = createAuthority('outside');
const server = mesh.issue({ uri: 'spiffe://cluster.local/ns/shop/sa/app' });
const client = mesh.issue({ uri: 'spiffe://cluster.local/ns/shop/sa/web' });

const SERVICE = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: app, namespace: shop}
spec:
  hosts: [app.shop.svc.cluster.local]
  addresses: [10.0.0.1]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
  endpoints: [{address: 10.1.0.1, labels: {app: app, security.istio.io/tlsMode: istio}, serviceAccount: app}]
`;
const SERVER = {
  id: 'sidecar~10.1.0.1~app-0.shop~shop.svc.cluster.local',
  metadata: { NAMESPACE: 'shop', LABELS: { app: 'app' }, INSTANCE_IPS: '10.1.0.1', SERVICE_ACCOUNT: 'app' },
};
const CLIENT = {
  id: 'sidecar~10.1.0.2~web-0.shop~shop.svc.cluster.local',
  metadata: { NAMESPACE: 'shop', LABELS: { app: 'web' }, INSTANCE_IPS: '10.1.0.2', SERVICE_ACCOUNT: 'web' },
};
const CLUSTER = 'outbound|80||app.shop.svc.cluster.local';

type Mode = 'DISABLE' | 'PERMISSIVE' | 'STRICT';
const object = (kind: string, api: string, namespace: string, spec: string): string =>
  `---\napiVersion: ${api}\nkind: ${kind}\nmetadata: {name: x, namespace: ${namespace}}\nspec: ${spec}\n`;
const peers = (namespace: string, spec: string): string => object('PeerAuthentication', 'security.istio.io/v1', namespace, spec);
/** Other levels say something else, which must not count. */
const LEVELS: { readonly [level: string]: (mode: Mode) => string } = {
  mesh: (mode) => peers('istio-system', `{mtls: {mode: ${mode}}}`),
  namespace: (mode) => peers('shop', `{mtls: {mode: ${mode}}}`) + peers('istio-system', `{mtls: {mode: ${other(mode)}}}`),
  workload: (mode) =>
    peers('shop', `{selector: {matchLabels: {app: app}}, mtls: {mode: ${mode}}}`) + peers('istio-system', '{mtls: {mode: PERMISSIVE}}'),
  port: (mode) =>
    peers('shop', `{selector: {matchLabels: {app: app}}, mtls: {mode: ${other(mode)}}, portLevelMtls: {8080: {mode: ${mode}}}}`),
};
const other = (mode: Mode): Mode => (mode === 'STRICT' ? 'DISABLE' : 'STRICT');

const rule = (tls: string): string =>
  object('DestinationRule', 'networking.istio.io/v1', 'shop', `{host: app.shop.svc.cluster.local, trafficPolicy: {tls: ${tls}}}`);
const FILES = 'clientCertificate: /client.pem, privateKey: /client.key, caCertificates: /root.pem';
const SAN = 'subjectAltNames: [spiffe://cluster.local/ns/shop/sa/app]';
const CLIENTS: { readonly [name: string]: string } = {
  'nothing said': '',
  DISABLE: rule('{mode: DISABLE}'),
  SIMPLE: rule(`{mode: SIMPLE, caCertificates: /root.pem, sni: app, ${SAN}}`),
  MUTUAL: rule(`{mode: MUTUAL, ${FILES}, sni: app, ${SAN}}`),
  'MUTUAL with a foreign certificate': rule(`{mode: MUTUAL, ${FILES.replaceAll('/client', '/foreign')}, sni: app, ${SAN}}`),
  ISTIO_MUTUAL: rule('{mode: ISTIO_MUTUAL}'),
  'ISTIO_MUTUAL to another identity': rule('{mode: ISTIO_MUTUAL, subjectAltNames: [spiffe://cluster.local/ns/shop/sa/payment]}'),
};

/** `plain`, `mutual`: how the call arrives. `refused`: 503. */
type Outcome = 'plain' | 'mutual' | 'refused';
const TABLE: { readonly [name: string]: { readonly [mode in Mode]: Outcome } } = {
  'nothing said': { DISABLE: 'plain', PERMISSIVE: 'mutual', STRICT: 'mutual' },
  DISABLE: { DISABLE: 'plain', PERMISSIVE: 'plain', STRICT: 'refused' },
  // TLS without the mesh's own protocol names is the application's own where it may be, and this one speaks none.
  SIMPLE: { DISABLE: 'refused', PERMISSIVE: 'refused', STRICT: 'refused' },
  MUTUAL: { DISABLE: 'refused', PERMISSIVE: 'refused', STRICT: 'mutual' },
  'MUTUAL with a foreign certificate': { DISABLE: 'refused', PERMISSIVE: 'refused', STRICT: 'refused' },
  ISTIO_MUTUAL: { DISABLE: 'refused', PERMISSIVE: 'mutual', STRICT: 'mutual' },
  'ISTIO_MUTUAL to another identity': { DISABLE: 'refused', PERMISSIVE: 'refused', STRICT: 'refused' },
};

const pair = (name: string, leaf: { readonly certificate: string; readonly key: string }): Secret => ({
  name,
  tls_certificate: { certificate_chain: { inline_string: leaf.certificate }, private_key: { inline_string: leaf.key } },
});
const root = (name: string): Secret => ({ name, validation_context: { trusted_ca: { inline_string: mesh.pem } } });

/** The sidecar of the application, as it is configured but for its addresses. */
const serverChains = (yaml: string): readonly FilterChain[] => {
  const inbound = configure(SERVICE + yaml, { node: SERVER }).listeners.find((l) => l.name === 'virtualInbound');
  assert.ok(inbound);
  return (inbound.filter_chains ?? []).map((chain) => ({ ...chain, filters: chain.filters?.slice(-1) ?? [] })).map(withoutIstioFilters);
};

// The router alone: what else stands in the chain has nothing to do with who gets in.
const withoutIstioFilters = (chain: FilterChain): FilterChain => ({
  ...chain,
  filters: (chain.filters ?? []).map((filter) => {
    const config = filter.typed_config as { http_filters?: { name?: string }[]; access_log?: unknown };
    if (config.http_filters === undefined) return filter;
    const http_filters = config.http_filters.filter((f) => f.name === 'envoy.filters.http.router');
    return { ...filter, typed_config: { ...config, http_filters, access_log: [] } } as unknown as typeof filter;
  }),
});

/** The client's cluster, its endpoint moved to `port`. */
const clientCluster = (yaml: string, port: number): Cluster => {
  const config = configure(SERVICE + yaml, { node: CLIENT });
  const made = clusterOf(config, CLUSTER);
  const endpoint = (made.load_assignment ?? config.endpoints.find((e) => e.cluster_name === CLUSTER))?.endpoints?.[0]?.lb_endpoints?.[0];
  assert.ok(endpoint);
  const [placed] = staticCluster('x', [port]).load_assignment?.endpoints?.[0]?.lb_endpoints ?? [];
  return {
    ...staticCluster('out', []),
    load_assignment: { cluster_name: 'out', endpoints: [{ lb_endpoints: [{ ...endpoint, ...placed }] }] },
    ...(made.transport_socket === undefined ? {} : { transport_socket: made.transport_socket }),
    ...(made.transport_socket_matches === undefined ? {} : { transport_socket_matches: made.transport_socket_matches }),
  };
};

const tlsInspector = {
  name: 'envoy.filters.listener.tls_inspector',
  typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector' },
};
const originalDst = {
  name: 'envoy.filters.listener.original_dst',
  typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst' },
};
const httpInspector = {
  name: 'envoy.filters.listener.http_inspector',
  typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector' },
};

const outcome = async (servers: string, clients: string, appPort: number): Promise<Outcome> => {
  await using inbound = await startPlane(
    {
      clusters: ['inbound|8080||', 'InboundPassthroughCluster'].map((name) => staticCluster(name, [appPort])),
      listeners: [chains('in', serverChains(servers), { listener_filters: [originalDst, tlsInspector, httpInspector] })],
    },
    { originalDestination: { of: () => ({ ip: '10.1.0.1', port: 8080 }) } },
  );
  for (const secret of [pair('default', server), root('ROOTCA')]) inbound.plane.setSecret(secret);
  await inbound.plane.settled();
  await using outbound = await startPlane({
    clusters: [clientCluster(servers + clients, inbound.port('in'))],
    listeners: [listener('out', hcm([toCluster('out')]))],
  });
  const foreign = outside.issue({ uri: 'spiffe://cluster.local/ns/shop/sa/web' });
  const files = [
    pair('file-cert:/client.pem~/client.key', client),
    pair('file-cert:/foreign.pem~/foreign.key', foreign),
    root('file-root:/root.pem'),
  ];
  for (const secret of [pair('default', client), root('ROOTCA'), ...files]) outbound.plane.setSecret(secret);
  await outbound.plane.settled();
  const answer = await fetchOnce(outbound.port('out'), '/');
  if (answer.status !== 200) {
    assert.equal(answer.status, 503);
    return 'refused';
  }
  return answer.body.includes('URI=spiffe://cluster.local/ns/shop/sa/web') ? 'mutual' : 'plain';
};

describe('PeerAuthentication and DestinationRule together', () => {
  for (const [level, at] of Object.entries(LEVELS))
    test(`mode set for the ${level}`, { timeout: 120_000 }, async () => {
      await using app = await httpBackend((_n, head) => /x-forwarded-client-cert: (.*)/i.exec(head)?.[1] ?? 'no certificate');
      const wrong: string[] = [];
      for (const mode of ['DISABLE', 'PERMISSIVE', 'STRICT'] as const)
        for (const [name, rules] of Object.entries(CLIENTS)) {
          const met = await outcome(at(mode), rules, app.port);
          if (met !== TABLE[name]?.[mode]) wrong.push(`${mode}, client ${name}: ${met}, not ${TABLE[name]?.[mode]}`);
        }
      assert.deepEqual(wrong, []);
    });

  test('a client that is told nothing does not learn of a workload that is stricter than its namespace, as with Istio', async () => {
    await using app = await httpBackend(() => 'plain');
    const rules =
      peers('shop', '{selector: {matchLabels: {app: app}}, mtls: {mode: STRICT}}') + peers('istio-system', '{mtls: {mode: DISABLE}}');
    assert.equal(await outcome(rules, '', app.port), 'refused');
    assert.notEqual(await outcome(rules, rule('{mode: ISTIO_MUTUAL}'), app.port), 'refused');
  });
});
