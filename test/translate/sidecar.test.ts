// What a Sidecar and the shapes of services change in a proxy's configuration: listeners of its own, routes, inbound ports, unknown
// destinations, other names and addresses.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildSnapshot } from '../../src/mesh/snapshot.ts';
import { parseNode } from '../../src/translate/proxy-node.ts';
import { type ProxyConfig, translate } from '../../src/translate/translate.ts';
import { encode } from '../../src/xds/codec.ts';
import '../../src/xds/control-types.ts';
import { meshConfigOf, resourcesOf } from './mesh-fixture.ts';

const SERVICES = `
apiVersion: v1
kind: Service
metadata: {name: pay, namespace: shop}
spec: {clusterIP: 10.96.9.1, ports: [{name: http, port: 80}, {name: tcp-x, port: 90}, {name: auto, port: 70}]}
---
apiVersion: v1
kind: Service
metadata: {name: far, namespace: bank}
spec: {clusterIP: 10.96.9.2, ports: [{name: http, port: 80}, {name: http-b, port: 8080}]}
`;
const sidecar = (spec: string): string =>
  `\n---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: s, namespace: shop}\nspec: ${spec}`;

const ENVOY = [{ name: 'envoy.filters.http.dynamic_forward_proxy' }];
const configure = (
  yaml: string,
  over: Record<string, unknown> = {},
  mesh: Record<string, unknown> = {},
  extensions: object[] = [],
): ProxyConfig => {
  const { snapshot } = buildSnapshot({ resources: resourcesOf(SERVICES + yaml), instances: [], meshConfig: meshConfigOf(mesh) });
  const metadata = { NAMESPACE: 'shop', LABELS: { app: 'web' }, INSTANCE_IPS: '10.1.1.1', ...over };
  const node = parseNode({ id: 'sidecar~10.1.1.1~web-0.shop~shop.svc.cluster.local', metadata, extensions });
  assert.ok(node);
  return translate(snapshot, node);
};

const outbound = (c: ProxyConfig): string[] => c.listeners.map((l) => l.name ?? '').filter((n) => !n.startsWith('virtual'));
const route = (c: ProxyConfig, name: string): Record<string, readonly string[]> =>
  Object.fromEntries((c.routes.find((r) => r.name === name)?.virtual_hosts ?? []).map((v) => [v.name ?? '', v.domains ?? []]));

test('a listener with a port of its own serves what it imports, and closes the place for the catch-all after it', () => {
  const c = configure(sidecar('{egress: [{port: {number: 80, protocol: HTTP, name: h}, hosts: ["bank/*"]}, {hosts: ["./*"]}]}'));
  assert.deepEqual(outbound(c), ['0.0.0.0_80', '10.96.9.1_70', '10.96.9.1_90']);
  assert.deepEqual(Object.keys(route(c, '80')), ['far.bank.svc.cluster.local:80', 'allow_any']);
  assert.deepEqual(
    c.clusters.map((x) => x.name).filter((n) => n?.startsWith('outbound')),
    [
      'outbound|70||pay.shop.svc.cluster.local',
      'outbound|80||far.bank.svc.cluster.local',
      'outbound|80||pay.shop.svc.cluster.local',
      'outbound|90||pay.shop.svc.cluster.local',
    ],
  );
});

test('captureMode NONE binds the port, to this host where nothing else is said; a socket is served under its path', () => {
  const c = configure(
    sidecar(
      '{egress: [{port: {number: 90, protocol: TCP, name: t}, captureMode: NONE, hosts: ["./*"]}, {port: {number: 0, protocol: HTTP, name: u}, bind: "unix:///run/out", hosts: ["bank/*"]}]}',
    ),
  );
  const tcp = c.listeners.find((l) => l.name === '127.0.0.1_90');
  assert.deepEqual([tcp?.address?.socket_address?.address, tcp?.bind_to_port], ['127.0.0.1', undefined]);
  const socket = c.listeners.find((l) => l.address?.pipe !== undefined);
  assert.equal(socket?.address?.pipe?.path, '/run/out');
  const hosts = route(c, 'unix:///run/out');
  assert.deepEqual(hosts['far.bank.svc.cluster.local:80']?.slice(0, 2), ['far.bank.svc.cluster.local', 'far.bank.svc.cluster.local:80']);
  assert.ok(
    hosts['far.bank.svc.cluster.local:8080']?.every((d) => d.endsWith(':8080')),
    'a name without port means port 80',
  );
});

test('as a proxy by name a listener serves every port', () => {
  const c = configure(sidecar('{egress: [{port: {number: 3128, protocol: HTTP_PROXY, name: p}, bind: 127.0.0.1, hosts: ["*/*"]}]}'));
  assert.deepEqual(Object.keys(route(c, '3128')), [
    'far.bank.svc.cluster.local:80',
    'far.bank.svc.cluster.local:8080',
    'pay.shop.svc.cluster.local:70',
    'pay.shop.svc.cluster.local:80',
    'allow_any',
  ]);
});

test('ingress listeners take the place of the ports that services expose', () => {
  const entry = `\n---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: own, namespace: shop}\nspec: {hosts: [own.test], location: MESH_INTERNAL, resolution: STATIC, ports: [{number: 7001, name: http, protocol: HTTP}, {number: 7002, name: http-2, protocol: HTTP}], endpoints: [{address: 10.1.1.1}]}`;
  const inbound = (c: ProxyConfig): string[] => c.clusters.map((x) => x.name ?? '').filter((n) => n.startsWith('inbound'));
  assert.deepEqual(inbound(configure(entry)), ['inbound|7001||', 'inbound|7002||']);
  const c = configure(
    entry +
      sidecar(
        '{inboundConnectionPool: {tcp: {maxConnections: 5}}, ingress: [{port: {number: 7001, protocol: HTTP, name: h}, defaultEndpoint: "127.0.0.1:9000"}, {port: {number: 7003, protocol: TCP, name: t}, defaultEndpoint: "0.0.0.0:9001", connectionPool: {tcp: {maxConnections: 7}}}, {port: {number: 7004, protocol: HTTP, name: u}, defaultEndpoint: "unix:///run/app"}, {port: {number: 7005, protocol: TCP, name: v}}]}',
      ),
  );
  assert.deepEqual(inbound(c), ['inbound|7001||', 'inbound|7003||', 'inbound|7004||', 'inbound|7005||']);
  const at = (name: string): unknown => {
    const cluster = c.clusters.find((x) => x.name === name);
    const address = cluster?.load_assignment?.endpoints?.[0]?.lb_endpoints?.[0]?.endpoint?.address;
    return [cluster?.type, address?.socket_address ?? address?.pipe, cluster?.circuit_breakers?.thresholds?.[0]?.max_connections];
  };
  assert.deepEqual(at('inbound|7001||'), ['STATIC', { address: '127.0.0.1', port_value: 9000 }, 5]);
  assert.deepEqual(at('inbound|7003||'), ['STATIC', { address: '10.1.1.1', port_value: 9001 }, 7]);
  assert.deepEqual(at('inbound|7004||'), ['STATIC', { path: '/run/app' }, 5]);
  assert.deepEqual(at('inbound|7005||'), ['ORIGINAL_DST', undefined, 5]);
  const chains = c.listeners.find((l) => l.name === 'virtualInbound')?.filter_chains?.map((x) => x.name);
  assert.ok(chains?.includes('10.1.1.1_7001') && !chains.includes('0.0.0.0_7002'));
});

test('where nothing is captured there are only listeners that hold their ports', () => {
  const ingress =
    '{ingress: [{port: {number: 7001, protocol: HTTP, name: h}, bind: 10.1.1.1, defaultEndpoint: "127.0.0.1:9000"}], egress: [{port: {number: 80, protocol: HTTP, name: h}, hosts: ["./*"]}]}';
  const c = configure(sidecar(ingress), { INTERCEPTION_MODE: 'NONE' });
  assert.deepEqual(
    c.listeners.map((l) => [l.name, l.bind_to_port]),
    [
      ['10.1.1.1_7001', undefined],
      ['127.0.0.1_80', undefined],
    ],
  );
});

test("a server's own TLS stands in place of the mesh's where that is off", () => {
  const pa = `\n---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p, namespace: shop}\nspec: {mtls: {mode: MODE}}`;
  const own = sidecar(
    '{ingress: [{port: {number: 7001, protocol: HTTPS, name: h}, tls: {mode: SIMPLE, serverCertificate: /c.pem, privateKey: /k.pem}}]}',
  );
  const secrets = (mode: string): unknown[] => {
    const listener = configure(pa.replace('MODE', mode) + own).listeners.find((l) => l.name === 'virtualInbound');
    return (listener?.filter_chains ?? [])
      .filter((f) => f.filter_chain_match?.destination_port === 7001)
      .map((f) => JSON.stringify(f.transport_socket?.typed_config ?? {}).match(/"(file-cert:[^"]*|default)"/)?.[1]);
  };
  assert.deepEqual(secrets('DISABLE'), ['file-cert:/c.pem~/k.pem']);
  assert.deepEqual(secrets('STRICT'), ['default']);
});

test('an egress proxy takes what the mesh does not know', () => {
  const c = configure(
    sidecar('{outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: far.bank.svc.cluster.local, port: {number: 8080}}}}'),
  );
  const last = c.routes.find((r) => r.name === '80')?.virtual_hosts?.at(-1);
  assert.equal(last?.routes?.[0]?.route?.cluster, 'outbound|8080||far.bank.svc.cluster.local');
  assert.ok(JSON.stringify(c.listeners.find((l) => l.name === 'virtualOutbound')).includes('outbound|8080||far.bank'));
});

test('names are resolved by proxies that can, for unknown hosts and for entries that say so', () => {
  const mesh = { outboundTrafficPolicy: { mode: 'ALLOW_ANY_DYNAMIC_DNS' } };
  const entry = `\n---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: w, namespace: shop}\nspec: {hosts: ['*.wild.test'], resolution: DYNAMIC_DNS, ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: tls, protocol: TLS}]}`;
  const able = configure(entry, {}, mesh, ENVOY);
  assert.ok(able.clusters.some((x) => x.name === 'AllowAnyDynamicDNSCluster' && x.cluster_type !== undefined));
  assert.equal(route(able, '80')['allow_any_dynamic_dns']?.[0], '*');
  assert.ok(able.clusters.find((x) => x.name === 'outbound|443||*.wild.test')?.cluster_type !== undefined);
  const tls = JSON.stringify(able.listeners.find((l) => l.name === '0.0.0.0_443'));
  assert.ok(tls.includes('sni_dynamic_forward_proxy') && tls.includes('"*.wild.test"'));
  for (const l of able.listeners) encode('envoy.config.listener.v3.Listener', l);
  for (const x of able.clusters) encode('envoy.config.cluster.v3.Cluster', x);
  const unable = configure(entry, {}, mesh);
  assert.equal(route(unable, '80')['allow_any']?.[0], '*');
  assert.ok(!JSON.stringify(unable).includes('dynamic_forward_proxy'));
});

test('clients whose DNS the mesh answers reach entries without addresses at addresses of their own', () => {
  const entry = `\n---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: db, namespace: shop}\nspec: {hosts: [db.test], resolution: DNS, ports: [{number: 5432, name: tcp, protocol: TCP}]}`;
  assert.ok(outbound(configure(entry)).includes('0.0.0.0_5432'));
  const c = configure(entry, { DNS_CAPTURE: 'true' });
  const [ip] = c.nameTable.table?.['db.test']?.ips ?? [];
  assert.match(ip ?? '', /^240\.240\./);
  assert.ok(outbound(c).includes(`${ip}_5432`));
});

test('another name for a Service is served as the Service, and means it as a destination', () => {
  const alias = `\n---\napiVersion: v1\nkind: Service\nmetadata: {name: old, namespace: shop}\nspec: {type: ExternalName, externalName: pay.shop.svc.cluster.local}`;
  const rule = `\n---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: r, namespace: shop}\nspec: {hosts: [far.bank.svc.cluster.local], http: [{route: [{destination: {host: old, port: {number: 80}}}]}]}`;
  const c = configure(alias + rule);
  const domains = route(c, '80')['pay.shop.svc.cluster.local:80'] ?? [];
  assert.ok(['old.shop.svc.cluster.local', 'old', 'old.shop'].every((d) => domains.includes(d)));
  const far = c.routes.find((r) => r.name === '80')?.virtual_hosts?.find((v) => v.name === 'far.bank.svc.cluster.local:80');
  assert.equal(far?.routes?.[0]?.route?.cluster, 'outbound|80||pay.shop.svc.cluster.local');
  assert.deepEqual(c.nameTable.table?.['old.shop.svc.cluster.local']?.ips, ['10.96.9.1']);
});

test('an entry with several addresses is reached at each, ranges by a condition, other families not at all', () => {
  const entry = `\n---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: m, namespace: shop}\nspec: {hosts: [m.test], resolution: NONE, addresses: [1.2.3.4, 1.2.3.5, 5.0.0.0/8, '2001:db8::1'], ports: [{number: 91, name: tcp, protocol: TCP}]}`;
  const c = configure(entry);
  assert.deepEqual(
    outbound(c).filter((n) => n.endsWith('_91')),
    ['0.0.0.0_91', '1.2.3.4_91', '1.2.3.5_91'],
  );
  const chains = (name: string): unknown => c.listeners.find((l) => l.name === name)?.filter_chains?.map((f) => f.filter_chain_match);
  assert.deepEqual(chains('0.0.0.0_91'), [{ prefix_ranges: [{ address_prefix: '5.0.0.0', prefix_len: 8 }] }]);
  assert.deepEqual(chains('1.2.3.4_91'), [undefined]);
});
