// What Kubernetes says of a Pod's machine and of its own name: nearness, and DNS.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CLIENT, configure } from './configure.ts';

const HOST = 'db.shop.svc.cluster.local';

const service = (spec: string): string =>
  `apiVersion: v1\nkind: Service\nmetadata: {name: db, namespace: shop}\nspec: {selector: {app: db}, ports: [{name: tcp, port: 5432}], ${spec}}\n`;

const pod = (name: string, ip: string, spec: string): string => `---
apiVersion: v1
kind: Pod
metadata: {name: ${name}, namespace: shop, labels: {app: db}}
spec: {containers: [{name: a, image: b}], ${spec}}
status: {phase: Running, podIP: ${ip}, conditions: [{type: Ready, status: 'True'}]}
`;

const PODS = pod('db-0', '10.1.0.1', 'nodeName: n1, hostname: db-0, subdomain: db') + pod('db-1', '10.1.0.2', 'nodeName: n2');

const SLICE = `---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-x, namespace: shop, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
endpoints:
- {addresses: [10.1.0.1], nodeName: n1, hostname: db-0}
- {addresses: [10.1.0.2], nodeName: n2}
- {addresses: [10.1.0.3], nodeName: n2, hostname: db-2, conditions: {ready: false}}
ports: [{name: tcp, port: 5432}]
`;

const priorities = (yaml: string, metadata: NonNullable<typeof CLIENT.metadata>): unknown =>
  Object.fromEntries(
    (
      configure(yaml, { node: { ...CLIENT, metadata } }).endpoints.find((e) => e.cluster_name === `outbound|5432||${HOST}`)?.endpoints ?? []
    ).flatMap((g) => (g.lb_endpoints ?? []).map((e) => [e.endpoint?.address?.socket_address?.address, g.priority ?? 0])),
  );

test('a service that prefers the same node is reached there first, and elsewhere when the client’s node is not known', () => {
  const wish = service('trafficDistribution: PreferSameNode');
  for (const yaml of [wish + PODS, wish + SLICE]) {
    assert.deepEqual(priorities(yaml, { NAMESPACE: 'shop', NODE_NAME: 'n2' }), { '10.1.0.1': 1, '10.1.0.2': 0 });
    assert.deepEqual(priorities(yaml, { NAMESPACE: 'shop', NODE_NAME: 'n1' }), { '10.1.0.1': 0, '10.1.0.2': 1 });
    assert.deepEqual(priorities(yaml, { NAMESPACE: 'shop' }), { '10.1.0.1': 0, '10.1.0.2': 0 });
  }
});

test('a service that is local to its node is called there alone, and nowhere from a node that has none of it', () => {
  const local = service('internalTrafficPolicy: Local');
  for (const yaml of [local + PODS, local + SLICE]) {
    assert.deepEqual(priorities(yaml, { NAMESPACE: 'shop', NODE_NAME: 'n2' }), { '10.1.0.2': 0 });
    assert.deepEqual(priorities(yaml, { NAMESPACE: 'shop', LABELS: { 'kubernetes.io/hostname': 'n1' } }), { '10.1.0.1': 0 });
    assert.deepEqual(priorities(yaml, { NAMESPACE: 'shop', NODE_NAME: 'n3' }), {});
    assert.deepEqual(priorities(yaml, { NAMESPACE: 'shop' }), {});
  }
});

test('where no machine has a name, a service that is local to its node has all its endpoints', () => {
  const pods = pod('db-0', '10.1.0.1', 'hostname: a') + pod('db-1', '10.1.0.2', 'hostname: b');
  assert.deepEqual(priorities(service('internalTrafficPolicy: Local') + pods, { NAMESPACE: 'shop' }), { '10.1.0.1': 0, '10.1.0.2': 0 });
});

test('a Pod with a hostname of its own behind a headless service is found by that name', () => {
  for (const yaml of [service('clusterIP: None') + PODS, service('clusterIP: None') + SLICE]) {
    const table = configure(yaml).nameTable.table ?? {};
    assert.deepEqual(table[`db-0.${HOST}`], { ips: ['10.1.0.1'], registry: 'Kubernetes', shortname: 'db-0.db', namespace: 'shop' });
    assert.deepEqual(Object.keys(table).sort(), [`db-0.${HOST}`, HOST].sort());
  }
  assert.deepEqual(Object.keys(configure(service('clusterIP: 10.96.1.1') + PODS).nameTable.table ?? {}), [HOST]);
});
