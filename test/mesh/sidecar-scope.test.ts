// What a Sidecar lets a proxy see: the choice of the Sidecar, imports and exclusions, destinations that rules bring along, defaults.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SidecarScope } from '../../src/mesh/sidecar-scope.ts';
import { buildSnapshot, type Snapshot } from '../../src/mesh/snapshot.ts';
import { meshConfigOf, resourcesOf } from '../translate/mesh-fixture.ts';

const svc = (name: string, namespace: string, ports = '[{name: http, port: 80}]', more = ''): string =>
  `\n---\napiVersion: v1\nkind: Service\nmetadata: {name: ${name}, namespace: ${namespace}${more}}\nspec: {clusterIP: 10.0.0.1, ports: ${ports}}`;
const sidecar = (name: string, namespace: string, spec: string, created = '2024-01-01T00:00:00Z'): string =>
  `\n---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: ${name}, namespace: ${namespace}, creationTimestamp: '${created}'}\nspec: ${spec}`;
const vs = (name: string, namespace: string, spec: string): string =>
  `\n---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: ${name}, namespace: ${namespace}}\nspec: ${spec}`;

const MESH = svc('a', 'shop') + svc('b', 'shop', '[{name: http, port: 80}, {name: tcp, port: 90}]') + svc('c', 'bank') + svc('d', 'bank');

const snapshotOf = (yaml: string): Snapshot =>
  buildSnapshot({ resources: resourcesOf(MESH + yaml), instances: [], meshConfig: meshConfigOf() }).snapshot;

const scope = (yaml: string, over: { namespace?: string; labels?: Record<string, string>; kind?: 'router' } = {}): SidecarScope =>
  snapshotOf(yaml).scopes.for({ kind: 'sidecar', namespace: 'shop', labels: {}, dnsCapture: false, ipAddresses: ['10.1.1.1'], ...over });

const names = (s: SidecarScope): string[] => s.services.map((x) => `${x.namespace}/${x.name}`).sort();

test('without a Sidecar a proxy sees everything that is exported to it', () => {
  const hidden = svc('e', 'bank', undefined, ", annotations: {networking.istio.io/exportTo: '.'}");
  assert.deepEqual(names(scope(hidden)), ['bank/c', 'bank/d', 'shop/a', 'shop/b']);
  assert.deepEqual(names(scope(hidden, { namespace: 'bank' })).includes('bank/e'), true);
});

test('the Sidecar that selects the workload goes before the namespace default, that before the root namespace default', () => {
  const all =
    sidecar('root', 'istio-system', '{egress: [{hosts: ["bank/c.bank.svc.cluster.local"]}]}') +
    sidecar('any', 'shop', '{egress: [{hosts: ["./*"]}]}') +
    sidecar('mine', 'shop', '{workloadSelector: {labels: {app: a}}, egress: [{hosts: ["bank/*"]}]}');
  assert.deepEqual(names(scope(all, { labels: { app: 'a' } })), ['bank/c', 'bank/d']);
  assert.deepEqual(names(scope(all, { labels: { app: 'b' } })), ['shop/a', 'shop/b']);
  assert.deepEqual(names(scope(all, { namespace: 'bank' })), ['bank/c']);
  assert.equal(scope(all, { kind: 'router' }).sidecar, undefined);
  const own = sidecar('root', 'istio-system', '{egress: [{hosts: ["./*"]}]}');
  assert.deepEqual(names(scope(own, { namespace: 'bank' })), ['bank/c', 'bank/d'], 'its own namespace is the one of the workload');
});

test('exclusions go before imports', () => {
  const without = (hosts: string): string[] => names(scope(sidecar('any', 'shop', `{egress: [{hosts: ${hosts}}]}`)));
  assert.deepEqual(without('["*/*", "~bank/*"]'), ['shop/a', 'shop/b']);
  assert.deepEqual(without('["*/*", "~/c.bank.svc.cluster.local"]'), ['bank/d', 'shop/a', 'shop/b']);
  assert.deepEqual(without('["*/*", "~./a.shop.svc.cluster.local"]'), ['bank/c', 'bank/d', 'shop/b']);
  assert.deepEqual(without('["~/*"]'), []);
});

test('a listener with a port of its own imports that port alone, as a proxy by name all of them', () => {
  const egress = (protocol: string): string => `{egress: [{port: {number: 90, protocol: ${protocol}, name: x}, hosts: ["./*"]}]}`;
  const ports = (s: SidecarScope): number[][] => s.services.map((x) => x.ports.map((p) => p.port));
  assert.deepEqual(ports(scope(sidecar('any', 'shop', egress('TCP')))), [[90]]);
  assert.deepEqual(ports(scope(sidecar('any', 'shop', egress('HTTP_PROXY')))), [[80], [80, 90]]);
});

test('rules are imported by their namespace and bring their destinations along, with the ports they name', () => {
  const rule = vs(
    'r',
    'bank',
    '{hosts: [front.test], http: [{route: [{destination: {host: b.shop.svc.cluster.local, port: {number: 90}}}]}]}',
  );
  const s = scope(rule + sidecar('any', 'shop', '{egress: [{hosts: ["bank/front.test"]}]}'));
  assert.deepEqual(
    s.services.map((x) => [x.name, x.ports.map((p) => p.port)]),
    [['b', [90]]],
  );
  assert.equal(s.egress[0]?.virtualServices.length, 1);
  const elsewhere = rule.replace('http: [{', 'http: [{match: [{sourceNamespace: other}], ');
  assert.deepEqual(names(scope(elsewhere + sidecar('any', 'shop', '{egress: [{hosts: ["bank/front.test"]}]}'))), []);
  const excluded = scope(rule + sidecar('any', 'shop', '{egress: [{hosts: ["bank/*", "~bank/front.test"]}]}'));
  assert.equal(excluded.egress[0]?.virtualServices.length, 0);
});

test('entries of one host and namespace are joined when they agree in all but ports; a Kubernetes Service goes first', () => {
  const se = (name: string, port: number, more = ''): string =>
    `\n---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: ${name}, namespace: shop}\nspec: {hosts: [x.test], resolution: STATIC, ports: [{number: ${port}, name: http, protocol: HTTP}], endpoints: [{address: 10.2.0.${port}}]${more}}`;
  const joined = scope(se('one', 80) + se('two', 81)).service('x.test');
  assert.deepEqual(
    joined?.ports.map((p) => p.port),
    [80, 81],
  );
  assert.deepEqual(
    joined?.endpoints.get(81)?.map((e) => e.address),
    ['10.2.0.81'],
  );
  const both = scope(se('one', 80) + se('two', 80).replace('10.2.0.80', '10.2.0.99')).service('x.test');
  assert.deepEqual(
    both?.endpoints.get(80)?.map((e) => e.address),
    ['10.2.0.80', '10.2.0.99'],
  );
  const apart = scope(se('one', 80) + se('two', 81, ", exportTo: ['.']")).service('x.test');
  assert.equal(apart?.ports.length, 1);
  const squatted = se('one', 80).replace('x.test', 'a.shop.svc.cluster.local').replace('namespace: shop', 'namespace: bank');
  assert.equal(scope(squatted).service('a.shop.svc.cluster.local')?.registry, 'Kubernetes');
});

test('unknown destinations are what the Sidecar says, else what the mesh says', () => {
  assert.equal(scope('').outboundMode, 'ALLOW_ANY');
  const said = scope(
    sidecar('any', 'shop', '{outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: out.test, port: {number: 1}}}}'),
  );
  assert.equal(said.egressProxy?.host, 'out.test');
  assert.equal(scope(sidecar('any', 'shop', '{outboundTrafficPolicy: {}}')).outboundMode, 'REGISTRY_ONLY');
});

test('Sidecars and entries that an older one leaves without effect are told', () => {
  const yaml =
    MESH +
    sidecar('old', 'shop', '{egress: [{hosts: ["./*"]}]}') +
    sidecar('new', 'shop', '{egress: [{hosts: ["*/*"]}]}', '2024-02-01T00:00:00Z') +
    `\n---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: s, namespace: bank}\nspec: {hosts: [a.shop.svc.cluster.local], resolution: NONE, ports: [{number: 1, name: x, protocol: TCP}]}`;
  const { problems } = buildSnapshot({ resources: resourcesOf(yaml), instances: [], meshConfig: meshConfigOf() });
  assert.deepEqual(problems.map((p) => p.code).sort(), ['SERVICE_SHADOWED', 'SIDECAR_SHADOWED']);
  assert.match(problems.find((p) => p.code === 'SIDECAR_SHADOWED')?.message ?? '', /shop\/old/);
});

test('the order of resources changes nothing that a proxy sees', () => {
  const yaml =
    MESH +
    sidecar('a', 'shop', '{egress: [{hosts: ["bank/*"]}]}') +
    sidecar('b', 'shop', '{egress: [{hosts: ["./*"]}]}') +
    vs('v', 'bank', '{hosts: [c.bank.svc.cluster.local], http: [{route: [{destination: {host: a.shop.svc.cluster.local}}]}]}');
  const resources = resourcesOf(yaml);
  const seen = [resources, [...resources].reverse()].map((list) => {
    const { snapshot } = buildSnapshot({ resources: list, instances: [], meshConfig: meshConfigOf() });
    const s = snapshot.scopes.for({ kind: 'sidecar', namespace: 'shop', labels: {}, dnsCapture: false, ipAddresses: [] });
    return [s.sidecar?.name, s.services.map((x) => x.host)];
  });
  assert.deepEqual(seen[0], seen[1]);
});
