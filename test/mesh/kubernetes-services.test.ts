// Services from Kubernetes' objects: who is behind them, other names for them, addresses, preferences; and entries' own addresses.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { autoAddresses } from '../../src/mesh/auto-address.ts';
import type { Service } from '../../src/mesh/service.ts';
import { buildSnapshot } from '../../src/mesh/snapshot.ts';
import { meshConfigOf, resourcesOf } from '../translate/mesh-fixture.ts';

const SERVICE = `
apiVersion: v1
kind: Service
metadata: {name: pay, namespace: shop}
spec: {clusterIP: 10.0.0.1, selector: {app: pay}, ports: [{name: http, port: 80, targetPort: web}, {name: tcp-x, port: 90, targetPort: 9090}]}
`;
const pod = (name: string, ip: string, more = ''): string => `
---
apiVersion: v1
kind: Pod
metadata: {name: ${name}, namespace: shop, labels: {app: pay, pod-template-hash: abc, security.istio.io/tlsMode: istio, istio-locality: r.z.s}}
spec: {serviceAccountName: payer, containers: [{name: c, ports: [{name: web, containerPort: 8080}]}]}
status: {podIP: ${ip}, phase: Running, conditions: [{type: Ready, status: '${more === '' ? 'True' : more}'}]}
`;

const find = (yaml: string, host: string, mesh: Record<string, unknown> = {}): Service => {
  const { snapshot } = buildSnapshot({ resources: resourcesOf(yaml), instances: [], meshConfig: meshConfigOf(mesh) });
  const found = snapshot.services.withHost(host)[0];
  assert.ok(found, host);
  return found;
};
const PAY = 'pay.shop.svc.cluster.local';
const places = (s: Service, port: number): unknown => s.endpoints.get(port)?.map((e) => [e.address, e.port, e.ready]);

test('a selector finds Pods, and named target ports in them', () => {
  const s = find(SERVICE + pod('pay-abc-1', '10.1.0.1') + pod('pay-abc-2', '10.1.0.2', 'False'), PAY);
  assert.deepEqual(places(s, 80), [
    ['10.1.0.1', 8080, true],
    ['10.1.0.2', 8080, false],
  ]);
  assert.deepEqual(places(s, 90), [
    ['10.1.0.1', 9090, true],
    ['10.1.0.2', 9090, false],
  ]);
  const [e] = s.endpoints.get(80) ?? [];
  assert.deepEqual([e?.serviceAccount, e?.mtls, e?.workload, e?.locality.zone], ['payer', true, 'pay', 'z']);
});

test('of ports with one name a Pod’s first counts', () => {
  const twice = pod('pay-abc-1', '10.1.0.1').replace(
    'containers: [',
    'containers: [{name: b, ports: [{name: web, containerPort: 7070}]}, ',
  );
  assert.deepEqual(places(find(SERVICE + twice, PAY), 80), [['10.1.0.1', 7070, true]]);
});

test('not ready is ready where the Service publishes such addresses', () => {
  const s = find(SERVICE.replace('selector:', 'publishNotReadyAddresses: true, selector:') + pod('pay-abc-2', '10.1.0.2', 'False'), PAY);
  assert.deepEqual(places(s, 80), [['10.1.0.2', 8080, true]]);
});

test('EndpointSlices are the whole truth where there are any, else Endpoints; their Pods say who they are', () => {
  const slice = `
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: pay-1, namespace: shop, labels: {kubernetes.io/service-name: pay}}
addressType: IPv4
ports: [{name: http, port: 8081}]
endpoints: [{addresses: [10.1.0.1], targetRef: {kind: Pod, name: pay-abc-1}}, {addresses: [10.9.0.9], conditions: {ready: false}}]
`;
  const endpoints = `
---
apiVersion: v1
kind: Endpoints
metadata: {name: pay, namespace: shop}
subsets: [{addresses: [{ip: 10.7.0.1}], notReadyAddresses: [{ip: 10.7.0.2}], ports: [{name: tcp-x, port: 7}]}]
`;
  const pods = pod('pay-abc-1', '10.1.0.1') + pod('pay-abc-2', '10.1.0.2');
  const s = find(SERVICE + pods + slice + endpoints, PAY);
  assert.deepEqual(places(s, 80), [
    ['10.1.0.1', 8081, true],
    ['10.9.0.9', 8081, false],
  ]);
  assert.deepEqual(places(s, 90), []);
  assert.equal(s.endpoints.get(80)?.[0]?.serviceAccount, 'payer');
  assert.deepEqual(places(find(SERVICE + pods + endpoints, PAY), 90), [
    ['10.7.0.1', 7, true],
    ['10.7.0.2', 7, false],
  ]);
});

test('WorkloadEntries stand behind Services too, with the ports they name', () => {
  const entry = `
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm, namespace: shop}
spec: {address: 10.5.0.1, labels: {app: pay}, ports: {web: 1234, tcp-x: 4321}}
`;
  const s = find(SERVICE + entry, PAY);
  assert.deepEqual([places(s, 80), places(s, 90)], [[['10.5.0.1', 1234, true]], [['10.5.0.1', 4321, true]]]);
});

test('labels of a WorkloadEntry’s metadata go before those of its workload', () => {
  const entry = `
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm, namespace: shop, labels: {app: pay, version: v2}}
spec: {address: 10.5.0.1, labels: {app: other, zone: z}}
`;
  const [e] = find(SERVICE + entry, PAY).endpoints.get(90) ?? [];
  assert.deepEqual(e?.labels, { app: 'pay', version: 'v2', zone: 'z' });
});

test('an ExternalName is another name for a Service, through any number of steps, and in a circle for none', () => {
  const alias = (name: string, to: string): string =>
    `\n---\napiVersion: v1\nkind: Service\nmetadata: {name: ${name}, namespace: shop}\nspec: {type: ExternalName, externalName: ${to}}`;
  const yaml =
    SERVICE +
    alias('one', `${PAY}.`) +
    alias('two', 'one.shop.svc.cluster.local') +
    alias('x', 'y.shop.svc.cluster.local') +
    alias('y', 'x.shop.svc.cluster.local');
  assert.deepEqual(find(yaml, PAY).aliases, ['one.shop.svc.cluster.local', 'two.shop.svc.cluster.local']);
  const { snapshot } = buildSnapshot({ resources: resourcesOf(yaml), instances: [], meshConfig: meshConfigOf() });
  assert.equal(snapshot.services.find('two.shop.svc.cluster.local', 'shop')?.name, 'pay');
  assert.equal(snapshot.services.find('x.shop.svc.cluster.local', 'shop'), undefined);
});

test('traffic distribution is what the Service says, else its annotation, else its namespace', () => {
  const namespace =
    '\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop, annotations: {networking.istio.io/traffic-distribution: PreferClose}}';
  assert.equal(find(SERVICE, PAY).trafficDistribution, 'any');
  assert.equal(find(SERVICE + namespace, PAY).trafficDistribution, 'zone');
  assert.equal(
    find(SERVICE.replace('selector:', 'trafficDistribution: PreferSameNode, selector:') + namespace, PAY).trafficDistribution,
    'node',
  );
});

const entry = (name: string, host: string, more: string): string =>
  `\n---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: ${name}, namespace: shop}\nspec: {hosts: ['${host}'], ports: [{number: 443, name: tls, protocol: TLS}], ${more}}`;

test('entries without addresses get one of their own, equal for equal hosts, whatever else there is', () => {
  const plain = find(entry('a', 'a.test', 'resolution: DNS'), 'a.test').autoAddress;
  assert.match(plain?.v4 ?? '', /^240\.240\.\d+\.[1-9]\d*$/);
  const among =
    entry('z', 'z.test', 'resolution: DNS') + entry('a2', 'a.test', 'resolution: DNS') + entry('a', 'a.test', 'resolution: DNS');
  assert.deepEqual(find(among, 'a.test').autoAddress, plain);
  assert.equal(find(entry('a', 'a.test', 'resolution: NONE'), 'a.test').autoAddress, undefined);
  assert.equal(find(entry('a', '*.a.test', 'resolution: DYNAMIC_DNS'), '*.a.test').autoAddress, undefined);
  assert.equal(find(entry('a', 'a.test', 'resolution: DNS, addresses: [1.2.3.4]'), 'a.test').autoAddress, undefined);
  const many = Array.from({ length: 2000 }, (_, i) => ({
    host: `h${i}.test`,
    namespace: 'n',
    registry: 'External' as const,
    resolution: 'dns' as const,
    addresses: [],
  }));
  assert.equal(new Set([...autoAddresses(many).values()].map((a) => a.v4)).size, 2000);
});

test('a range of one address is that address', () => {
  assert.deepEqual(find(entry('a', 'a.test', "resolution: NONE, addresses: ['1.2.3.4/32', '1.2.0.0/16', '::1/128']"), 'a.test').addresses, [
    '1.2.3.4',
    '1.2.0.0/16',
    '::1',
  ]);
});

test('the mesh may narrow how far entries of a namespace are seen', () => {
  const exportTo = (visibility: string, own = '', apply = true): readonly string[] =>
    find(entry('a', 'a.test', `resolution: NONE${own}`), 'a.test', {
      serviceEntryVisibility: {
        applyToSidecars: apply,
        defaultVisibility: 'PUBLIC',
        policies: [{ visibility, matchingRules: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'shop' } } }] }],
      },
    }).exportTo;
  assert.deepEqual(exportTo('PUBLIC'), ['*']);
  assert.deepEqual(exportTo('NAMESPACE'), ['shop']);
  assert.deepEqual(exportTo('NAMESPACE', ', exportTo: [other]'), []);
  assert.deepEqual(exportTo('NONE'), []);
  assert.deepEqual(exportTo('NONE', '', false), ['*'], 'meant for ambient proxies alone');
});
