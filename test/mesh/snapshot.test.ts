// The snapshot: services from selectors and entries, virtual addresses, precedence, delegates, effective modes, findings, determinism.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isKind, type Resource } from '../../src/api/resource.ts';
import { inRange, rangeKey } from '../../src/mesh/cidr.ts';
import { compareSpecificity, hostSubsetOf, hostsMatch, resolveShortName } from '../../src/mesh/host.ts';
import type { Instance } from '../../src/mesh/instance.ts';
import { modeForPort } from '../../src/mesh/peer-authentication.ts';
import { protocolOfServicePort } from '../../src/mesh/protocol.ts';
import { buildSnapshot, type Snapshot } from '../../src/mesh/snapshot.ts';
import { allocateVirtualIps } from '../../src/mesh/virtual-ip.ts';
import { meshConfigOf, resourcesOf } from '../translate/mesh-fixture.ts';

const instance = (name: string, over: Partial<Instance> = {}): Instance => ({
  name,
  namespace: 'shop',
  workload: name.replace(/-\d+$/, ''),
  address: '10.244.0.1',
  labels: { app: 'pay' },
  serviceAccount: 'pay',
  ports: [{ name: 'http', port: 8081 }],
  ready: true,
  meshed: true,
  ...over,
});

const build = (yaml: string, instances: readonly Instance[] = []): ReturnType<typeof buildSnapshot> =>
  buildSnapshot({ resources: resourcesOf(yaml), instances, meshConfig: meshConfigOf() });

const service = (snapshot: Snapshot, host: string): NonNullable<ReturnType<Snapshot['services']['find']>> => {
  const found = snapshot.services.find(host, 'shop');
  assert.ok(found, host);
  return found;
};

const PAY = `
apiVersion: v1
kind: Service
metadata: {name: pay, namespace: shop}
spec:
  selector: {app: pay}
  ports: [{name: http, port: 80, targetPort: http}, {name: tcp-db, port: 6379, targetPort: 6380}]
`;

test('hosts match by suffix and only a leading star is a wildcard', () => {
  assert.equal(hostsMatch('*.foo.com', 'a.foo.com'), true);
  assert.equal(hostsMatch('*.foo.com', 'foo.com'), false);
  assert.equal(hostsMatch('*.com', '*.foo.com'), true);
  assert.equal(hostSubsetOf('*.com', '*.foo.com'), false);
  assert.equal(hostSubsetOf('a.foo.com', '*.foo.com'), true);
  assert.deepEqual(['*.com', 'a.com', '*.b.com', 'long.a.com'].sort(compareSpecificity), ['long.a.com', 'a.com', '*.b.com', '*.com']);
  assert.equal(resolveShortName('pay', 'shop', 'cluster.local'), 'pay.shop.svc.cluster.local');
  assert.equal(resolveShortName('pay.other', 'shop', 'cluster.local'), 'pay.other');
});

test('ranges are compared by what they contain', () => {
  assert.equal(rangeKey('10.1.2.3/8'), rangeKey('10.0.0.0/8'));
  assert.notEqual(rangeKey('10.0.0.0/8'), rangeKey('10.0.0.0/9'));
  assert.equal(rangeKey('1234::5/16'), rangeKey('1234:0:0:0:0:0:0:0/16'));
  assert.equal(inRange('10.9.9.9', '10.0.0.0/8'), true);
  assert.equal(inRange('11.9.9.9', '10.0.0.0/8'), false);
});

test('port protocols come from appProtocol, name prefix, well-known number, else are detected', () => {
  const cases: readonly (readonly [number, string, string, string | undefined, string])[] = [
    [80, 'http', 'TCP', undefined, 'HTTP'],
    [80, 'http-web', 'TCP', undefined, 'HTTP'],
    [80, 'web', 'TCP', undefined, 'UNSUPPORTED'],
    [80, 'grpc-web-x', 'TCP', undefined, 'GRPC-WEB'],
    [3306, 'db', 'TCP', undefined, 'TCP'],
    [80, 'http', 'TCP', 'kubernetes.io/h2c', 'HTTP2'],
    [80, 'tcp', 'TCP', 'https', 'HTTPS'],
    [53, 'dns', 'UDP', undefined, 'UDP'],
    [80, 'h2c-x', 'TCP', undefined, 'UNSUPPORTED'],
  ];
  for (const [port, name, transport, app, expected] of cases)
    assert.equal(protocolOfServicePort(port, name, transport, app), expected, `${name} ${app}`);
});

test('a service selects instances by label, its target port by number or name', () => {
  const { snapshot } = build(PAY, [
    instance('pay-0'),
    instance('pay-1', { address: '10.244.0.2', ready: false, meshed: false }),
    instance('web-0', { labels: { app: 'web' } }),
    instance('pay-2', { namespace: 'other' }),
  ]);
  const pay = service(snapshot, 'pay.shop.svc.cluster.local');
  assert.deepEqual(
    pay.endpoints.get(80)?.map((e) => [e.address, e.port, e.mtls, e.ready]),
    [
      ['10.244.0.1', 8081, true, true],
      ['10.244.0.2', 8081, false, false],
    ],
  );
  assert.deepEqual(
    pay.endpoints.get(6379)?.map((e) => e.port),
    [6380, 6380],
  );
});

test('a service without clusterIP gets a stable address of its own, a headless one none', () => {
  const many = Array.from({ length: 300 }, (_, i) => `ns/s${i}`);
  const first = allocateVirtualIps(many, new Set());
  assert.equal(new Set(first.values()).size, 300);
  assert.deepEqual([...allocateVirtualIps([...many].reverse(), new Set())], [...first]);
  const taken = first.get('ns/s0') ?? '';
  assert.notEqual(allocateVirtualIps(['ns/s0'], new Set([taken])).get('ns/s0'), taken);
  const { snapshot } = build(
    `${PAY}---\napiVersion: v1\nkind: Service\nmetadata: {name: db, namespace: shop}\nspec: {clusterIP: None, selector: {app: db}, ports: [{name: tcp, port: 5432}]}\n`,
  );
  assert.match(service(snapshot, 'pay.shop.svc.cluster.local').addresses[0] ?? '', /^10\.96\.\d+\.\d+$/);
  assert.deepEqual(service(snapshot, 'db.shop.svc.cluster.local').addresses, []);
  assert.equal(service(snapshot, 'db.shop.svc.cluster.local').resolution, 'passthrough');
});

test('an entry takes endpoints from WorkloadEntries, instances, or its own host', () => {
  const { snapshot } = build(
    `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: vm, namespace: shop}
spec: {hosts: [vm.test], location: MESH_INTERNAL, resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}], workloadSelector: {labels: {app: pay}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: one, namespace: shop}
spec: {address: 10.9.0.1, labels: {app: pay}, ports: {http: 9999}, serviceAccount: vm, locality: r/z/s, weight: 3}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: out, namespace: shop}
spec: {hosts: [out.test], resolution: DNS, ports: [{number: 443, name: tls, protocol: TLS}], exportTo: ['.']}
`,
    [instance('pay-0')],
  );
  const vm = service(snapshot, 'vm.test');
  assert.deepEqual(
    vm.endpoints.get(80)?.map((e) => [e.address, e.port, e.weight, e.mtls, e.locality.zone]),
    [
      ['10.9.0.1', 9999, 3, true, 'z'],
      // The instance's own word for the port's name.
      ['10.244.0.1', 8081, 1, true, ''],
    ],
  );
  assert.deepEqual(
    service(snapshot, 'out.test')
      .endpoints.get(443)
      ?.map((e) => e.address),
    ['out.test'],
  );
  assert.equal(snapshot.services.find('out.test', 'other'), undefined);
});

const vs = (name: string, extra: string, created = '2024-01-01T00:00:00Z'): string =>
  `\n---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: ${name}, namespace: shop, creationTimestamp: '${created}'}\nspec:\n${extra}\n`;

test('delegates are joined into the rule that names them, conflicts drop out, a missing one is found', () => {
  const { snapshot, problems } = build(
    vs(
      'root',
      '  hosts: [pay]\n  http:\n  - name: r\n    match: [{uri: {prefix: /api}}]\n    timeout: 5s\n    delegate: {name: leaf}\n  - delegate: {name: nowhere}',
    ) +
      vs(
        'leaf',
        '  http:\n  - name: l\n    match: [{uri: {prefix: /api/v1}}]\n    route: [{destination: {host: pay}}]\n  - match: [{uri: {prefix: /api/v2}}, {uri: {prefix: /other}}]\n    directResponse: {status: 418}',
      ),
  );
  const rule = snapshot.virtualServices.all[0];
  assert.deepEqual(
    rule?.http.map((h) => [h.name, h.match, h.timeout, h.route?.[0]?.destination.host]),
    [['r-l', [{ uri: { prefix: '/api/v1' } }], '5s', 'pay.shop.svc.cluster.local']],
  );
  assert.ok(problems.some((p) => p.code === 'DELEGATE_UNKNOWN' && p.severity === 'warning'));
  const [unused, ...more] = problems.filter((p) => p.code === 'DELEGATE_RULE_UNUSED');
  assert.deepEqual([unused?.severity, unused?.path, more], ['warning', 'spec.http[1]', []]);
  assert.match(unused?.message ?? '', /does not lie within .* shop\/root /);
});

test('a rule of a delegate that one of its roots has a place for is used', () => {
  const { problems } = build(
    vs(
      'root',
      '  hosts: [pay]\n  http:\n  - match: [{uri: {prefix: /a}}]\n    delegate: {name: leaf}\n  - match: [{uri: {prefix: /b}}]\n    delegate: {name: leaf}',
    ) +
      vs(
        'leaf',
        ['/a/1', '/b/1', '/c/1'].reduce(
          (all, p) => `${all}  - match: [{uri: {prefix: ${p}}}]\n    directResponse: {status: 418}\n`,
          '  http:\n',
        ),
      ),
  );
  const unused = problems.filter((p) => p.code === 'DELEGATE_RULE_UNUSED');
  assert.deepEqual(
    unused.map((p) => p.path),
    ['spec.http[2]'],
  );
});

test('a match of a delegate that is not within the root’s is out, whatever kinds of texts they compare', () => {
  const kept = (root: string, leaf: string): boolean => {
    const to = 'route: [{destination: {host: pay}}]';
    const { snapshot } = build(
      vs('root', `  hosts: [pay]\n  http: [{match: [${root}], delegate: {name: leaf}}]`) +
        vs('leaf', `  http: [{match: [${leaf}], ${to}}]`),
    );
    return snapshot.virtualServices.all[0]?.http.length === 1;
  };
  assert.ok(kept('{uri: {prefix: /a}}', '{uri: {exact: /a/b}}'));
  assert.ok(!kept('{uri: {exact: /a}}', '{uri: {prefix: /a}}'));
  assert.ok(!kept('{uri: {regex: /a.*}}', '{uri: {exact: /a}}'));
  // Presence, an empty text and another way of comparing cannot be told to contain anything.
  assert.ok(!kept('{headers: {x: {}}}', '{headers: {x: {exact: b}}}'));
  assert.ok(!kept('{uri: {prefix: ""}}', '{uri: {prefix: /a}}'));
  assert.ok(!kept('{method: {exact: GET}}', '{uri: {prefix: /a}, ignoreUriCase: true}'));
});

test('a delegate that mirrors adds to the mirrors of its root where they are written otherwise', () => {
  const { snapshot } = build(
    vs('root', '  hosts: [pay]\n  http: [{mirrors: [{destination: {host: log}}], delegate: {name: leaf}}]') +
      vs('leaf', '  http: [{route: [{destination: {host: pay}}], mirror: {host: tap}}]'),
  );
  const http = snapshot.virtualServices.all[0]?.http[0];
  assert.equal(http?.mirror?.host, 'tap.shop.svc.cluster.local');
  assert.equal(http?.mirrors?.[0]?.destination.host, 'log.shop.svc.cluster.local');
});

test('a narrow rule that is exported elsewhere hides the wider one of its namespace', () => {
  const dr = (name: string, host: string, to: string): string =>
    `\n---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: ${name}, namespace: shop}\nspec: {host: "${host}", exportTo: [${to}], trafficPolicy: {loadBalancer: {simple: RANDOM}}}\n`;
  const { snapshot } = build(PAY + dr('wide', '*.shop.svc.cluster.local', '"*"') + dr('narrow', 'pay', 'friends'));
  const seenBy = (namespace: string): string | undefined =>
    snapshot.destinationRules.for({ namespace, labels: {} }, { host: 'pay.shop.svc.cluster.local', namespace: 'shop' })?.sources[0]?.name;
  assert.equal(seenBy('friends'), 'narrow');
  assert.equal(seenBy('others'), undefined);
  assert.equal(seenBy('shop'), 'wide');
});

test('destination rules of one host join: first policy whole, new subsets added, repeated ones reported', () => {
  const dr = (name: string, created: string, body: string): string =>
    `\n---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: ${name}, namespace: shop, creationTimestamp: '${created}'}\nspec: {host: pay, ${body}}\n`;
  const { snapshot, problems } = build(
    PAY +
      dr(
        'younger',
        '2024-02-01T00:00:00Z',
        'trafficPolicy: {loadBalancer: {simple: RANDOM}}, subsets: [{name: v1, labels: {version: x}}, {name: v2, labels: {version: v2}}]',
      ) +
      dr(
        'older',
        '2024-01-01T00:00:00Z',
        'trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}, subsets: [{name: v1, labels: {version: v1}}]',
      ),
  );
  const rule = snapshot.destinationRules.for({ namespace: 'shop', labels: {} }, { host: 'pay.shop.svc.cluster.local', namespace: 'shop' });
  assert.equal(rule?.spec.trafficPolicy?.loadBalancer?.simple, 'ROUND_ROBIN');
  assert.deepEqual(
    rule?.spec.subsets?.map((s) => [s.name, s.labels?.['version']]),
    [
      ['v1', 'v1'],
      ['v2', 'v2'],
    ],
  );
  assert.deepEqual(
    problems.map((p) => [p.code, p.path]),
    [
      ['SUBSET_SHADOWED', 'spec.subsets[0]'],
      ['POLICY_SHADOWED', 'spec.trafficPolicy'],
    ],
  );
});

test('peer authentication: port over workload over namespace over mesh, unset inherits, oldest wins', () => {
  const pa = (name: string, ns: string, spec: string, created = '2024-01-01T00:00:00Z'): string =>
    `\n---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: ${name}, namespace: ${ns}, creationTimestamp: '${created}'}\nspec: ${spec}\n`;
  const { snapshot } = build(
    pa('mesh', 'istio-system', '{mtls: {mode: STRICT}}') +
      pa('rootsel', 'istio-system', '{selector: {matchLabels: {app: pay}}, mtls: {mode: DISABLE}}') +
      pa('late', 'shop', '{mtls: {mode: DISABLE}}', '2024-03-01T00:00:00Z') +
      pa('early', 'shop', '{mtls: {mode: PERMISSIVE}}') +
      pa('work', 'shop', '{selector: {matchLabels: {app: pay}}, portLevelMtls: {8081: {mode: DISABLE}, 9000: {mode: UNSET}}}'),
  );
  const p = snapshot.peerAuthentication;
  const pay = p.forWorkload('shop', { app: 'pay' });
  assert.deepEqual(
    [pay.mode, modeForPort(pay, 8081), modeForPort(pay, 9000), modeForPort(pay, 1)],
    ['PERMISSIVE', 'DISABLE', 'PERMISSIVE', 'PERMISSIVE'],
  );
  assert.equal(p.forWorkload('other', { app: 'pay' }).mode, 'STRICT');
  assert.equal(p.forNamespace('shop'), 'PERMISSIVE');
});

test('what cannot take effect is said, with its place', () => {
  const { problems } = build(
    PAY +
      vs(
        'a',
        '  hosts: [pay]\n  gateways: [mesh, nogw]\n  http:\n  - route: [{destination: {host: nohost}}]\n  - match: [{port: 80}]\n    route: [{destination: {host: pay, subset: v9, port: {number: 81}}}]',
      ) +
      vs('b', '  hosts: [pay]\n  http: [{route: [{destination: {host: pay}}]}]', '2024-05-01T00:00:00Z'),
  );
  assert.deepEqual(problems.map((p) => p.code).sort(), [
    'DESTINATION_UNKNOWN',
    'GATEWAY_UNKNOWN',
    'PORT_UNKNOWN',
    'ROUTE_SHADOWED',
    'SUBSET_UNKNOWN',
  ]);
  assert.ok(problems.every((p) => p.severity === 'warning' && p.line >= 1));
});

test('servers that cannot share a port are told, where their gateways meet', () => {
  const gw = (name: string, selector: string, servers: string, created = '2024-01-01T00:00:00Z'): string =>
    `\n---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: ${name}, namespace: shop, creationTimestamp: '${created}'}\nspec: {selector: ${selector}, servers: [${servers}]}\n`;
  const server = (number: number, protocol: string, host: string, tls = ''): string =>
    `{port: {number: ${number}, name: p${number}, protocol: ${protocol}}, hosts: ['${host}']${tls}}`;
  const pass = ', tls: {mode: PASSTHROUGH}';
  const late = '2024-02-01T00:00:00Z';
  const { problems } = build(
    gw('old', '{a: b}', `${server(80, 'HTTP', '*')}, ${server(443, 'TLS', 'x.test', pass)}, ${server(9000, 'TCP', '*')}`) +
      gw('joins', '{a: b, c: d}', `${server(80, 'HTTP', 'y.test')}, ${server(443, 'TLS', 'z.test', pass)}`, late) +
      gw('clashes', '{a: b}', `${server(80, 'TCP', '*')}, ${server(443, 'TLS', 'ns/x.test', pass)}, ${server(9000, 'TCP', '*')}`, late) +
      gw('elsewhere', '{a: other}', server(9000, 'TCP', '*'), late),
  );
  const conflicts = problems.filter((p) => p.code === 'SERVER_CONFLICT');
  assert.deepEqual(
    conflicts.map((p) => p.path),
    ['spec.servers[0]', 'spec.servers[1]', 'spec.servers[2]'],
  );
  assert.match(conflicts[0]?.message ?? '', /held by a HTTP server; Gateway shop\/old is in force/);
  assert.match(conflicts[1]?.message ?? '', /has the host x\.test/);
});

test('the order of input changes nothing', () => {
  const yaml =
    PAY +
    vs('a', '  hosts: [pay]\n  http: [{route: [{destination: {host: pay}}]}]') +
    vs('b', '  hosts: [pay]\n  http: [{route: [{destination: {host: nohost}}]}]');
  const resources: Resource[] = resourcesOf(yaml);
  const instances = [instance('pay-0'), instance('pay-1', { address: '10.244.0.2' })];
  const shape = (s: ReturnType<typeof buildSnapshot>): string =>
    JSON.stringify([
      s.snapshot.services.all.map((x) => [x.host, x.addresses, [...x.endpoints]]),
      s.snapshot.virtualServices.all.map((v) => v.name),
      s.problems,
    ]);
  const forward = buildSnapshot({ resources, instances, meshConfig: meshConfigOf() });
  const backward = buildSnapshot({ resources: [...resources].reverse(), instances: [...instances].reverse(), meshConfig: meshConfigOf() });
  assert.equal(shape(backward), shape(forward));
  assert.ok(resources.every((r) => isKind(r, r.kind)));
});
