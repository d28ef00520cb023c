// A configuration that grew by edits equals one made at once from the same objects, byte for byte, for every proxy; and a small edit
// makes little again. Through the real stages, over objects of every kind that a proxy's configuration depends on.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { Resource } from '../../../src/api/resource.ts';
import { Memo } from '../../../src/base/memo.ts';
import { PIPELINE } from '../../../src/control/pipeline.ts';
import { ProxyConfigs } from '../../../src/control/xds/proxy-resources.ts';
import type { Instance } from '../../../src/mesh/instance.ts';
import type { Snapshot } from '../../../src/mesh/snapshot.ts';
import type { ProxyNode } from '../../../src/translate/proxy-node.ts';
import { CLUSTER_TYPE } from '../../../src/xds/resource-types.ts';

const HOSTS = ['a', 'b', 'c'] as const;
const header = (kind: string, name: string, api = 'networking.istio.io/v1', namespace = 'shop'): string =>
  `apiVersion: ${api}\nkind: ${kind}\nmetadata: {name: ${name}, namespace: ${namespace}}\n`;
const security = 'security.istio.io/v1';

const patchFile = (app: string, patch: string): string =>
  `${header('EnvoyFilter', app, 'networking.istio.io/v1alpha3')}spec: {workloadSelector: {labels: {app: ${app}}}, configPatches: [${patch}]}\n`;

/** By name of a file: what it may hold, in two or more ways. */
const FILES: Readonly<Record<string, readonly string[]>> = {
  ...Object.fromEntries(
    HOSTS.map((h, i) => [
      `service-${h}`,
      [
        `apiVersion: v1\nkind: Service\nmetadata: {name: ${h}, namespace: shop}\nspec: {selector: {app: ${h}}, ports: [{port: 80, name: http}]}\n`,
        `apiVersion: v1\nkind: Service\nmetadata: {name: ${h}, namespace: shop}\nspec: {clusterIP: None, selector: {app: ${h}}, ports: [{port: 5432, name: tcp}]}\n`,
        `${header('ServiceEntry', h)}spec: {hosts: [${h}.shop.svc.cluster.local], addresses: [10.9.9.${i + 1}], resolution: STATIC, location: MESH_INTERNAL, ports: [{number: 80, name: http, protocol: HTTP}], endpoints: [{address: 10.0.0.${i + 1}, labels: {version: v1}}]}\n`,
        `${header('ServiceEntry', h)}spec: {hosts: [${h}.shop.svc.cluster.local], resolution: DNS, ports: [{number: 443, name: tls, protocol: TLS}], exportTo: ['.']}\n`,
      ],
    ]),
  ),
  ...Object.fromEntries(
    HOSTS.map((h) => [
      `route-${h}`,
      [70, 30].map(
        (w) =>
          `${header('VirtualService', h)}spec: {hosts: [${h}], http: [{route: [{destination: {host: ${h}, subset: v1}, weight: ${w}}, {destination: {host: ${h}, subset: v2}, weight: ${100 - w}}]}]}\n`,
      ),
    ]),
  ),
  'route-source': [
    `${header('VirtualService', 'by-source')}spec: {hosts: [a], http: [{match: [{sourceLabels: {app: b}}], fault: {abort: {httpStatus: 503, percentage: {value: 100}}}, route: [{destination: {host: a}}]}, {route: [{destination: {host: a}}]}]}\n`,
  ],
  ...Object.fromEntries(
    HOSTS.map((h) => [
      `rule-${h}`,
      [
        `${header('DestinationRule', h)}spec: {host: ${h}, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}\n`,
        `${header('DestinationRule', h)}spec: {host: ${h}, trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}}\n`,
        `${header('DestinationRule', h)}spec: {host: ${h}, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-${h}}}}}\n`,
        `${header('DestinationRule', h)}spec: {host: ${h}, workloadSelector: {matchLabels: {app: a}}, trafficPolicy: {loadBalancer: {simple: RANDOM}}}\n`,
      ],
    ]),
  ),
  'rule-wide': ['RANDOM', 'LEAST_REQUEST'].map(
    (simple) =>
      `${header('DestinationRule', 'wide')}spec: {host: '*.shop.svc.cluster.local', trafficPolicy: {loadBalancer: {simple: ${simple}}}}\n`,
  ),
  'rule-a-more': ['v1', 'v3'].map(
    (v) => `${header('DestinationRule', 'z')}spec: {host: a, subsets: [{name: ${v}, labels: {version: ${v}}}]}\n`,
  ),
  'route-parted': [
    `${header('VirtualService', 'parted')}spec: {hosts: [c], http: [{match: [{uri: {prefix: /in}}], delegate: {name: inner}}, {route: [{destination: {host: a}}]}]}\n`,
  ],
  'route-inner': ['a', 'b'].map(
    (h) => `${header('VirtualService', 'inner')}spec: {http: [{match: [{uri: {prefix: /in/x}}], route: [{destination: {host: ${h}}}]}]}\n`,
  ),
  'entry-found': ['v1', 'v2'].map(
    (v) =>
      `${header('ServiceEntry', 'found')}spec: {hosts: [found.example.org, also.example.org], resolution: STATIC, location: MESH_INTERNAL, ports: [{number: 80, name: http, protocol: HTTP}], workloadSelector: {labels: {version: ${v}}}}\n`,
  ),
  'peer-mesh': ['STRICT', 'DISABLE'].map(
    (m) => `${header('PeerAuthentication', 'default', security, 'istio-system')}spec: {mtls: {mode: ${m}}}\n`,
  ),
  'peer-b': ['STRICT', 'PERMISSIVE'].map(
    (m) => `${header('PeerAuthentication', 'b', security)}spec: {selector: {matchLabels: {app: b}}, mtls: {mode: ${m}}}\n`,
  ),
  'allow-a': ['GET', 'POST'].map(
    (m) =>
      `${header('AuthorizationPolicy', 'a', security)}spec: {selector: {matchLabels: {app: a}}, rules: [{to: [{operation: {methods: [${m}]}}]}]}\n`,
  ),
  'sidecar-b': ['./a.shop.svc.cluster.local', '*/*'].map(
    (hosts) => `${header('Sidecar', 'b')}spec: {workloadSelector: {labels: {app: b}}, egress: [{hosts: ['${hosts}']}]}\n`,
  ),
  gateway: [
    '{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}',
    '{port: {number: 443, name: tls, protocol: TLS}, hosts: ["*.local"], tls: {mode: AUTO_PASSTHROUGH}}',
  ].map((server) => `${header('Gateway', 'g')}spec: {selector: {app: gateway}, servers: [${server}]}\n`),
  'route-gateway': ['a', 'b'].map(
    (h) => `${header('VirtualService', 'edge')}spec: {hosts: [x.org], gateways: [g], http: [{route: [{destination: {host: ${h}}}]}]}\n`,
  ),
  'patch-gateway': ['7s'].map(
    (t) =>
      `${header('EnvoyFilter', 'g', 'networking.istio.io/v1alpha3')}spec: {workloadSelector: {labels: {app: gateway}}, configPatches: [{applyTo: CLUSTER, match: {context: GATEWAY}, patch: {operation: MERGE, value: {connect_timeout: ${t}}}}]}\n`,
  ),
  networks: ['10.1.0.0/24', '10.0.0.0/16'].map(
    (range) =>
      `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata: {meshNetworks: '{networks: {n1: {endpoints: [{fromCidr: ${range}}], gateways: [{address: 192.0.2.1, port: 15443}]}, n2: {endpoints: [{fromCidr: 10.1.1.0/24}]}}}'}\n`,
  ),
  entrance: ['192.0.2.7', '192.0.2.8'].map(
    (address) =>
      `apiVersion: v1\nkind: Service\nmetadata: {name: east, namespace: istio-system, labels: {topology.istio.io/network: n2}}\nspec: {externalIPs: [${address}], ports: [{port: 15443, name: tls}]}\n`,
  ),
  telemetry: ['0', '50'].map(
    (p) => `${header('Telemetry', 'mesh', 'telemetry.istio.io/v1', 'istio-system')}spec: {tracing: [{randomSamplingPercentage: ${p}}]}\n`,
  ),
  patch: ['5s', '6s'].map((t) =>
    patchFile('c', `{applyTo: CLUSTER, match: {context: SIDECAR_OUTBOUND}, patch: {operation: MERGE, value: {connect_timeout: ${t}}}}`),
  ),
  'patch-part': [
    '{applyTo: HTTP_FILTER, match: {context: SIDECAR_INBOUND}, patch: {operation: INSERT_FIRST, value: {name: first, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 9}}}}',
    '{applyTo: VIRTUAL_HOST, match: {context: SIDECAR_OUTBOUND}, patch: {operation: MERGE, value: {request_headers_to_remove: [x]}}}',
    '{applyTo: CLUSTER, patch: {operation: ADD, value: {name: "outbound|80|v1|a.shop.svc.cluster.local", connect_timeout: 3s}}}',
    '{applyTo: CLUSTER, match: {cluster: {service: b.shop.svc.cluster.local}}, patch: {operation: REMOVE}}',
  ].map((patch) => patchFile('b', patch)),
};

const instance = (app: string, version: string, address: string, ready: boolean): Instance => ({
  namespace: 'shop',
  name: `${app}-${version}`,
  workload: app,
  address,
  ports: [],
  labels: { app, version },
  serviceAccount: app,
  meshed: true,
  ready,
});

const node = (kind: string, app: string, address: string, namespace = 'shop', more: Record<string, string> = {}): ProxyNode => {
  const made = PIPELINE.parseNode({
    id: `${kind}~${address}~${app}.${namespace}~${namespace}.svc.cluster.local`,
    metadata: { NAMESPACE: namespace, LABELS: { app, version: 'v1' }, ...more },
  });
  assert.ok(made);
  return made;
};
const NODES = [
  node('sidecar', 'a', '10.1.0.1'),
  node('sidecar', 'b', '10.1.1.1'),
  node('sidecar', 'c', '10.1.2.1'),
  node('sidecar', 'd', 'fd00::9'),
  node('sidecar', 'e', '10.1.9.1', 'other'),
  node('sidecar', 'f', '10.1.9.2', 'shop', { DNS_CAPTURE: 'true' }),
  node('router', 'gateway', '10.1.8.1'),
];

const config = (() => {
  const read = PIPELINE.parseMeshConfig('mesh.yaml', '{}');
  assert.ok(read.ok);
  return read.value.config;
})();

class Mesh {
  readonly parsed = new Map<string, readonly Resource[]>();
  readonly instances = new Map<string, Instance>();
  readonly memo = new Memo();

  save(file: string, text: string): void {
    const { resources, problems } = PIPELINE.parseDocuments(`${file}.yaml`, text, {});
    assert.deepEqual(
      problems.filter((p) => p.severity === 'error').map((p) => p.message),
      [],
      text,
    );
    this.parsed.set(file, resources);
  }

  snapshot(memo: Memo): Snapshot {
    const resources = [...this.parsed].sort(([a], [b]) => (a < b ? -1 : 1)).flatMap(([, r]) => r);
    const instances = [...this.instances.values()];
    return PIPELINE.buildSnapshot({ resources, instances, meshConfig: config, memo }).snapshot;
  }
}

/** Counts what is made: pieces by name, parts of them by name. */
const counting = (made: string[], parts: string[]): ProxyConfigs =>
  new ProxyConfigs({
    translatePieces: (kind, piece) =>
      PIPELINE.translatePieces(kind, (name, make) =>
        piece(name, (snapshot, of, part) => {
          made.push(name);
          const counted: typeof part =
            part &&
            ((partName, given, makePart) =>
              part(partName, given, (...from) => {
                parts.push(partName);
                return makePart(...from);
              }));
          return make(snapshot, of, counted);
        }),
      ),
  });

const bytesOf = (configs: ProxyConfigs, snapshot: Snapshot, of: ProxyNode): Record<string, Record<string, string>> =>
  Object.fromEntries(
    [...configs.resources(snapshot, of).contents].map(([url, content]) => [
      url,
      Object.fromEntries([...content.resources].map(([name, r]) => [name, Buffer.from(r.bytes).toString('base64')])),
    ]),
  );

type Edit =
  | { readonly file: string; readonly way: number }
  | { readonly app: string; readonly version: string; readonly state: 'ready' | 'starting' | 'gone' };

const apply = (mesh: Mesh, edit: Edit): void => {
  if ('app' in edit) {
    const key = `${edit.app} ${edit.version}`;
    const at = `10.1.${HOSTS.indexOf(edit.app as 'a')}.${edit.version === 'v1' ? 1 : 2}`;
    if (edit.state === 'gone') mesh.instances.delete(key);
    else mesh.instances.set(key, instance(edit.app, edit.version, at, edit.state === 'ready'));
    return;
  }
  const ways = FILES[edit.file] ?? [];
  const text = ways[edit.way % (ways.length + 1)];
  if (text === undefined) mesh.parsed.delete(edit.file);
  else mesh.save(edit.file, text);
};

const edits: fc.Arbitrary<Edit> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ file: fc.constantFrom(...Object.keys(FILES)), way: fc.nat(11) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      app: fc.constantFrom(...HOSTS),
      version: fc.constantFrom('v1', 'v2'),
      state: fc.constantFrom('ready' as const, 'starting' as const, 'gone' as const),
    }),
  },
);

describe('incremental configuration', () => {
  test('after any edits it equals a build from scratch, byte for byte', () => {
    fc.assert(
      fc.property(fc.array(edits, { minLength: 10, maxLength: 60 }), (list) => {
        const mesh = new Mesh();
        const grown = new ProxyConfigs(PIPELINE);
        for (const [i, edit] of list.entries()) {
          apply(mesh, edit);
          const snapshot = mesh.snapshot(mesh.memo);
          // Proxies come and go: not every one is asked about every time.
          const asked = NODES.filter((_, n) => (i + n) % 3 !== 0);
          for (const of of asked) grown.resources(snapshot, of);
          if (i % 7 !== 6 && i !== list.length - 1) continue;
          const fresh = mesh.snapshot(new Memo());
          for (const of of NODES) {
            assert.deepEqual(bytesOf(grown, snapshot, of), bytesOf(new ProxyConfigs(PIPELINE), fresh, of), of.id);
          }
        }
      }),
      // As many of the thirty as there is time for on a busy machine.
      { numRuns: 30, interruptAfterTimeLimit: 6000 },
    );
  });

  test('another order of networks is another view for each proxy, kept pieces or not', () => {
    const mesh = new Mesh();
    const grown = new ProxyConfigs(PIPELINE);
    apply(mesh, { app: 'a', version: 'v1', state: 'ready' });
    for (const file of ['entrance', 'service-a']) apply(mesh, { file, way: 0 });
    // Without ranges all are on one network; then some of them are not.
    for (const way of [2, 0, 1]) {
      apply(mesh, { file: 'networks', way });
      const snapshot = mesh.snapshot(mesh.memo);
      for (const of of NODES) grown.resources(snapshot, of);
      const fresh = mesh.snapshot(new Memo());
      for (const of of NODES) assert.deepEqual(bytesOf(grown, snapshot, of), bytesOf(new ProxyConfigs(PIPELINE), fresh, of), of.id);
    }
  });

  test('a weight leaves clusters and the proxy’s own side as they were; an endpoint leaves the rest', () => {
    const mesh = new Mesh();
    for (const file of ['service-a', 'service-b', 'route-a', 'rule-a']) apply(mesh, { file, way: 0 });
    for (const app of HOSTS) apply(mesh, { app, version: 'v1', state: 'ready' });
    const names: string[] = [];
    const parts: string[] = [];
    const configs = counting(names, parts);
    let made: readonly string[] = [];
    const all = (): readonly string[] => {
      names.length = 0;
      parts.length = 0;
      const snapshot = mesh.snapshot(mesh.memo);
      for (const of of NODES.slice(0, 3)) configs.resources(snapshot, of);
      made = names.map((name) => name.replace(/ .*/, ''));
      return made;
    };
    assert.deepEqual(
      all(),
      ['names', 'agent', 'patched', 'outbound', 'listening', 'routes', 'own', 'own', 'own'],
      'what is the same is made once',
    );
    assert.deepEqual(all(), []);
    apply(mesh, { file: 'route-a', way: 1 });
    const afterWeight = all();
    assert.deepEqual(parts, ['rule shop/a 80'], 'the routes of the rule, and of no other host');
    assert.ok(!afterWeight.includes('outbound') && !afterWeight.includes('own') && afterWeight.includes('routes'), afterWeight.join());
    apply(mesh, { app: 'b', version: 'v2', state: 'ready' });
    assert.ok(all().includes('outbound') && !made.includes('routes'), 'routes do not ask who serves a service');
    assert.deepEqual([...new Set(parts)], ['b.shop.svc.cluster.local'], 'the service’s own');
    assert.equal(made.filter((name) => name === 'own').length, 1, 'its own endpoints are one proxy’s own side');
    apply(mesh, { file: 'rule-a', way: 1 });
    assert.ok(all().includes('outbound'));
    assert.deepEqual([...new Set(parts)].sort(), ['a.shop.svc.cluster.local', 'rule shop/a 80'], 'what reads the rule');
  });

  test('a gateway’s listeners and routes are made again with a rule, what it calls service by service', () => {
    const mesh = new Mesh();
    for (const file of ['service-a', 'service-b', 'gateway', 'route-gateway', 'rule-a']) apply(mesh, { file, way: 0 });
    for (const app of HOSTS) apply(mesh, { app, version: 'v1', state: 'ready' });
    const made: string[] = [];
    const configs = counting(made, made);
    const gateway = NODES.find((n) => n.kind === 'router');
    assert.ok(gateway);
    const again = (): readonly string[] => {
      made.length = 0;
      configs.resources(mesh.snapshot(mesh.memo), gateway);
      return [...made];
    };
    assert.ok(again().includes('gateway outbound'));
    apply(mesh, { file: 'route-gateway', way: 1 });
    assert.deepEqual(again(), ['gateway']);
    apply(mesh, { app: 'b', version: 'v2', state: 'ready' });
    const afterEndpoint = again();
    assert.ok(
      afterEndpoint.includes('b.shop.svc.cluster.local') && !afterEndpoint.includes('a.shop.svc.cluster.local'),
      afterEndpoint.join(),
    );
  });

  test('what patches do not reach is made once with proxies that have none; what they reach, service by service', () => {
    const mesh = new Mesh();
    for (const file of ['service-a', 'service-b', 'route-a', 'rule-a', 'patch-part', 'patch']) apply(mesh, { file, way: 0 });
    for (const app of HOSTS) apply(mesh, { app, version: 'v1', state: 'ready' });
    const made: string[] = [];
    const parts: string[] = [];
    const configs = counting(made, parts);
    const again = (...nodes: readonly ProxyNode[]): readonly string[] => {
      made.length = 0;
      parts.length = 0;
      for (const of of nodes) configs.resources(mesh.snapshot(mesh.memo), of);
      return made.filter((name) => !/^(?:names|agent|patched)$/.test(name)).map((name) => name.replace(/^(routes) .*/, '$1'));
    };
    const [a, b, c] = NODES;
    assert.ok(a && b && c);
    assert.deepEqual(again(a, b), ['outbound', 'listening', 'routes', 'own', 'own patched']);
    assert.deepEqual(again(c), ['outbound patched', 'own patched'], 'clusters are all that its patch reaches');
    apply(mesh, { app: 'b', version: 'v2', state: 'ready' });
    assert.deepEqual(again(c), ['outbound patched', 'listening'], 'listeners look at endpoints');
    assert.deepEqual(parts, ['b.shop.svc.cluster.local']);
    apply(mesh, { file: 'patch', way: 1 });
    again(c);
    assert.deepEqual(parts.sort(), ['a.shop.svc.cluster.local', 'b.shop.svc.cluster.local'], 'a patch that changes reaches all again');
  });

  test('a sidecar that asks for what it needs goes on asking where a patch is about what comes in', () => {
    const mesh = new Mesh();
    for (const file of ['service-a', 'service-b', 'route-a', 'rule-a']) apply(mesh, { file, way: 0 });
    const asking = { ...(NODES[1] as ProxyNode), onDemand: true, isSkein: true };
    const clusters = (way: number): readonly string[] => {
      apply(mesh, { file: 'patch-part', way });
      const { contents } = new ProxyConfigs(PIPELINE).resources(mesh.snapshot(new Memo()), asking);
      return [...(contents.get(CLUSTER_TYPE.url)?.resources.keys() ?? [])].filter((name) => name.startsWith('outbound|80||'));
    };
    assert.deepEqual(clusters(0), []);
    assert.deepEqual(clusters(1), ['outbound|80||a.shop.svc.cluster.local', 'outbound|80||b.shop.svc.cluster.local']);
    const authorizer =
      '{applyTo: HTTP_FILTER, match: {context: SIDECAR_INBOUND}, patch: {operation: INSERT_FIRST, value: {name: z, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz, grpc_service: {envoy_grpc: {cluster_name: "outbound|80||a.shop.svc.cluster.local"}}}}}}';
    mesh.save('more', patchFile('b', authorizer).replace('name: b', 'name: more'));
    assert.deepEqual(clusters(0), ['outbound|80||a.shop.svc.cluster.local'], 'what a patch calls is there at once');
  });
});
