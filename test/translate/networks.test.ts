// Endpoints on other networks are reached by the gateways of theirs, as the ConfigMap of the mesh's networks says; weights stay within
// what proxies can add up.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDocuments } from '../../src/api/parse-documents.ts';
import { CLIENT, configure } from './configure.ts';

const NETWORKS = `apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  meshNetworks: |
    networks:
      near: {endpoints: [{fromCidr: 10.244.0.0/16}], gateways: [{address: 192.0.2.1, port: 15443}]}
      far:
        endpoints: [{fromCidr: 10.1.0.0/16}]
        gateways: [{address: 192.0.2.2, port: 15443}, {address: 192.0.2.3, port: 15443}]
      named: {gateways: [{registryServiceName: east.istio-system.svc.cluster.local, port: 15443}]}
---
apiVersion: v1
kind: Service
metadata: {name: east, namespace: istio-system}
spec: {selector: {app: east}, ports: [{name: tls, port: 15443, targetPort: 8443}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: east, namespace: istio-system, labels: {app: east}}
spec: {address: 192.0.2.9}
---
`;
const HOST = 'db.int';
const entry = (endpoints: string): string => `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db, namespace: shop}
spec:
  hosts: [${HOST}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 5432, name: tcp, protocol: TCP}]
  endpoints: [${endpoints}]
`;

/** Address and port → weight. */
const reached = (yaml: string, metadata: NonNullable<typeof CLIENT.metadata> = {}): unknown =>
  Object.fromEntries(
    (
      configure(yaml, { node: { ...CLIENT, metadata: { NAMESPACE: 'shop', INSTANCE_IPS: '10.244.0.1', ...metadata } } }).endpoints.find(
        (e) => e.cluster_name === `outbound|5432||${HOST}`,
      )?.endpoints ?? []
    )
      .flatMap((g) => g.lb_endpoints ?? [])
      .map((e) => {
        const { address, port_value } = e.endpoint?.address?.socket_address ?? {};
        return [`${address}:${port_value}`, e.load_balancing_weight];
      }),
  );

const HERE = '{address: 10.244.0.7, serviceAccount: db}';
const THERE = '{address: 10.1.0.5, serviceAccount: db, weight: 3}';

test('what is on another network is reached by its gateways, which share its weight', () => {
  assert.deepEqual(reached(NETWORKS + entry(`${HERE}, ${THERE}`)), { '10.244.0.7:5432': 2, '192.0.2.2:15443': 3, '192.0.2.3:15443': 3 });
  assert.deepEqual(reached(entry(`${HERE}, ${THERE}`)), { '10.244.0.7:5432': 1, '10.1.0.5:5432': 3 });
});

test('from that network it is reached directly, and from one that is not known too', () => {
  const yaml = NETWORKS + entry(`${HERE}, ${THERE}`);
  assert.deepEqual(reached(yaml, { NETWORK: 'far' }), { '192.0.2.1:15443': 2, '10.1.0.5:5432': 6 });
  assert.deepEqual(reached(yaml, { INSTANCE_IPS: '172.16.0.1' }), { '10.244.0.7:5432': 2, '10.1.0.5:5432': 6 });
});

test('a gateway is entered with mutual TLS only', () => {
  assert.deepEqual(reached(NETWORKS + entry(`${HERE}, {address: 10.1.0.5}`)), { '10.244.0.7:5432': 2 });
});

test('an endpoint says its network itself, needs no address then, and a service of the mesh can be the gateway', () => {
  assert.deepEqual(reached(NETWORKS + entry(`${HERE}, {network: named, serviceAccount: db}`)), {
    '10.244.0.7:5432': 2,
    '192.0.2.9:8443': 2,
  });
  assert.deepEqual(reached(entry(`${HERE}, {network: named, serviceAccount: db}`)), { '10.244.0.7:5432': 1 });
});

const labelled = (spec: string, labels = 'topology.istio.io/network: far'): string => `apiVersion: v1
kind: Service
metadata: {name: east, namespace: istio-system, labels: {${labels}}}
spec: {selector: {app: east}, ports: [{name: tls, port: 15443, targetPort: 8443}], ${spec}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: east, namespace: istio-system, labels: {app: east}}
spec: {address: 192.0.2.9}
---
`;

test('a Service with the label of a network is the way into it, where it is reached from outside', () => {
  const far = '{address: 10.1.0.5, network: far, serviceAccount: db}';
  const via = (service: string): unknown => reached(service + entry(`${HERE}, ${far}`), { NETWORK: 'near' });
  const direct = { '10.244.0.7:5432': 1, '10.1.0.5:5432': 1 };
  assert.deepEqual(via(labelled('externalIPs: [192.0.2.5]')), { '10.244.0.7:5432': 1, '192.0.2.5:15443': 1 });
  const port = 'topology.istio.io/network: far, networking.istio.io/gatewayPort: "8443"';
  assert.deepEqual(via(labelled('externalIPs: [192.0.2.5]', port)), { '10.244.0.7:5432': 1, '192.0.2.5:8443': 1 });
  assert.deepEqual(via(labelled('type: LoadBalancer')), { '10.244.0.7:5432': 1, '192.0.2.9:8443': 1 });
  assert.deepEqual(via(labelled('type: ClusterIP')), direct);
  assert.deepEqual(via(labelled('externalIPs: [192.0.2.5]', 'a: b')), direct);
  assert.deepEqual(via(NETWORKS + labelled('externalIPs: [192.0.2.5]').replaceAll('name: east', 'name: label')), {
    '10.244.0.7:5432': 3,
    '192.0.2.2:15443': 1,
    '192.0.2.3:15443': 1,
    '192.0.2.5:15443': 1,
  });
});

test('a balancer is entered where its status says that it answers', () => {
  const far = '{address: 10.1.0.5, network: far, serviceAccount: db}';
  const balanced = (ingress: string, labels?: string): string =>
    labelled('type: LoadBalancer', labels).replace('\n---', `\nstatus: {loadBalancer: {ingress: [${ingress}]}}\n---`);
  const via = (yaml: string): unknown => reached(yaml + entry(`${HERE}, ${far}`), { NETWORK: 'near' });
  assert.deepEqual(via(balanced('{ip: 192.0.2.7}, {ip: 192.0.2.8, hostname: b.example}')), {
    '10.244.0.7:5432': 2,
    '192.0.2.7:15443': 1,
    '192.0.2.8:15443': 1,
  });
  assert.deepEqual(via(balanced('{hostname: b.example}')), { '10.244.0.7:5432': 1, '10.1.0.5:5432': 1 }, 'fixed endpoints take no names');
  assert.deepEqual(via(balanced('')), { '10.244.0.7:5432': 1, '192.0.2.9:8443': 1 });
  const registry = NETWORKS.split('---')[0]?.replace('named: {', 'far2: {') ?? '';
  const named = '{address: 10.1.0.5, network: far2, serviceAccount: db}';
  assert.deepEqual(
    reached(`${registry}---\n${balanced('{ip: 192.0.2.7}', 'a: b')}${entry(`${HERE}, ${named}`)}`, { NETWORK: 'near' }),
    { '10.244.0.7:5432': 2, '192.0.2.7:15443': 2 },
    'a gateway that the networks name as a service',
  );
});

test('the label of the root namespace is about everything that the cluster runs, and about nothing else', () => {
  const root = 'apiVersion: v1\nkind: Namespace\nmetadata: {name: istio-system, labels: {topology.istio.io/network: near}}\n---\n';
  const far = '{address: 10.1.0.5, network: far, serviceAccount: db}';
  const yaml = root + labelled('externalIPs: [192.0.2.5]') + entry(`${HERE}, ${far}`);
  assert.deepEqual(reached(yaml), { '10.244.0.7:5432': 1, '192.0.2.5:15443': 1 }, 'the caller is at home there');
  assert.deepEqual(reached(yaml, { NETWORK: 'far' }), { '10.244.0.7:5432': 1, '10.1.0.5:5432': 1 }, 'no entry is in the cluster');
});

test('a proxy that asks for some networks hears of no others', () => {
  assert.deepEqual(reached(NETWORKS + entry(`${HERE}, ${THERE}`), { REQUESTED_NETWORK_VIEW: 'near' }), { '10.244.0.7:5432': 2 });
});

test('wrong networks are told at their ConfigMap, with the path inside', () => {
  const text = NETWORKS.replace('10.1.0.0/16', '10.1.0.0/99').replace('192.0.2.3, port: 15443', '"1nv@lid", port: 0');
  assert.deepEqual(
    parseDocuments('a.yaml', text)
      .problems.map((p) => `${p.severity} ${p.path} ${p.message.split(':')[0]}`)
      .filter((p) => p.startsWith('error')),
    [
      'error data.meshNetworks networks.far.endpoints[0].fromCidr',
      'error data.meshNetworks networks.far.gateways[1].address',
      'error data.meshNetworks networks.far.gateways[1].port',
    ],
  );
});

test('weights that add up to more than 32 bits keep their proportion within them', () => {
  const heavy = (last: number): string => `{address: 10.244.0.${last}, weight: 4294967295, locality: "r${last % 2}"}`;
  const weights = Object.values(reached(entry(`${heavy(1)}, ${heavy(2)}, ${heavy(3)}, {address: 10.244.0.9}`)) as Record<string, number>);
  assert.equal(weights.length, 4);
  assert.ok(weights.reduce((a, b) => a + b, 0) <= 4_294_967_295);
  assert.deepEqual([...new Set(weights)].sort((a, b) => a - b)[0], 1);
  assert.ok(Math.max(...weights) > 1_400_000_000);
});
