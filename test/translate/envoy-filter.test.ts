// EnvoyFilter as a whole: which objects speak for a proxy and in which order, what a proxy does not understand, what did nothing.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDocuments } from '../../src/api/parse-documents.ts';
import { noteProblems, type ProxyNotes } from '../../src/control/xds/proxy-notes.ts';
import type { Instance } from '../../src/mesh/instance.ts';
import { buildSnapshot } from '../../src/mesh/snapshot.ts';
import { patchListeners } from '../../src/translate/patch-listeners.ts';
import type { ProxyNode } from '../../src/translate/proxy-node.ts';
import { parseNode } from '../../src/translate/proxy-node.ts';
import { translate } from '../../src/translate/translate.ts';
import { decodeNamed, encodeNamed } from '../../src/xds/codec.ts';
import type { Node } from '../../src/xds/gen/types.ts';
import { meshConfigOf } from './mesh-fixture.ts';
import { type FilterText, nodeOf, type PatchText, placeOf, setOf } from './patch-fixture.ts';

const PREFIX = 'type.googleapis.com/';
const HCM_TYPE = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
const LIMIT_TYPE = 'envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit';

/** Adds a listener, so that the order of the listeners is the order of the patches. */
const marks = (name: string): readonly PatchText[] => [{ applyTo: 'LISTENER', operation: 'ADD', value: { name } }];
const orderFor = (filters: readonly FilterText[], node = nodeOf()): string =>
  patchListeners([], placeOf(setOf(filters, node)))
    .map((l) => l.name)
    .join(' ');

test('priority comes first, then the root namespace, then age, then name', () => {
  const filters: readonly FilterText[] = [
    { name: 'z', created: '2026-01-01T00:00:00Z', patches: marks('old') },
    { name: 'a', created: '2026-01-02T00:00:00Z', patches: marks('young') },
    { name: 'b', created: '2026-01-01T00:00:00Z', patches: marks('old-by-name') },
    { name: 'r', namespace: 'istio-system', created: '2026-01-03T00:00:00Z', patches: marks('root') },
    { name: 'late', namespace: 'istio-system', spec: { priority: 5 }, patches: marks('late') },
    { name: 'early', spec: { priority: -5 }, patches: marks('early') },
  ];
  const expected = 'early root old-by-name old young late';
  assert.equal(orderFor(filters), expected);
  assert.equal(orderFor([...filters].reverse()), expected);
});

test('other namespaces, other labels and other versions are not spoken to', () => {
  const node = nodeOf({ metadata: { LABELS: { app: 'a' }, ISTIO_VERSION: '1.31.0', CANARY: 'yes' } });
  const selects = (spec: FilterText['spec'], proxy?: unknown): boolean =>
    orderFor([{ ...(spec === undefined ? {} : { spec }), patches: marks('m').map((p) => ({ ...p, match: { proxy } })) }], node) === 'm';
  assert.equal(orderFor([{ namespace: 'elsewhere', patches: marks('m') }], node), '');
  assert.ok(selects({ workloadSelector: { labels: { app: 'a' } } }));
  assert.ok(!selects({ workloadSelector: { labels: { app: 'b' } } }));
  assert.ok(!selects({ targetRefs: [{ group: 'gateway.networking.k8s.io', kind: 'Gateway', name: 'g' }] }));
  assert.ok(selects({}, { proxyVersion: '^1\\.3' }));
  assert.ok(selects({}, { proxyVersion: '31' }), 'found anywhere, as Go finds it');
  assert.ok(!selects({}, { proxyVersion: '^1\\.2' }));
  assert.ok(selects({}, { metadata: { CANARY: 'yes' } }));
  assert.ok(!selects({}, { metadata: { CANARY: 'no' } }));
  assert.ok(!selects({}, { metadata: { ABSENT: '' } }));
  assert.equal(
    orderFor([{ patches: marks('m').map((p) => ({ ...p, match: { proxy: { proxyVersion: '.*' } } })) }]),
    '',
    'no version, no match',
  );
});

test('target references select gateways of the same namespace', () => {
  const spec = { targetRefs: [{ group: 'gateway.networking.k8s.io', kind: 'Gateway', name: 'g' }] };
  const gateway = (namespace: string) =>
    nodeOf({
      id: `router~10.0.0.1~g.${namespace}~${namespace}.svc.cluster.local`,
      metadata: { LABELS: { 'gateway.networking.k8s.io/gateway-name': 'g' } },
    });
  assert.equal(orderFor([{ spec, patches: marks('m') }], gateway('default')), 'm');
  assert.equal(orderFor([{ namespace: 'istio-system', spec, patches: marks('m') }], gateway('default')), '');
});

const MESH = `
apiVersion: v1
kind: Service
metadata: {name: api-gateway, namespace: production}
spec: {clusterIP: 10.96.0.9, selector: {app: api-gateway}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: rate-limit, namespace: istio-system}
spec:
  workloadSelector: {labels: {app: api-gateway}}
  configPatches:
  - applyTo: HTTP_FILTER
    match: {context: SIDECAR_INBOUND}
    patch:
      operation: INSERT_BEFORE
      value:
        name: envoy.filters.http.local_ratelimit
        typed_config:
          "@type": ${PREFIX}${LIMIT_TYPE}
          stat_prefix: http_local_rate_limiter
          token_bucket: {max_tokens: 100, tokens_per_fill: 100, fill_interval: 1s}
`;

const read = (yaml: string) => {
  const { resources, problems } = parseDocuments('mesh.yaml', yaml);
  const instance: Instance = {
    name: 'api-gateway-1',
    workload: 'api-gateway',
    namespace: 'production',
    labels: { app: 'api-gateway' },
    serviceAccount: 'api-gateway',
    address: '10.0.0.1',
    ports: [],
    ready: true,
    meshed: true,
  };
  const built = buildSnapshot({ resources, instances: [instance], meshConfig: meshConfigOf() });
  return { problems: [...problems, ...built.problems], snapshot: built.snapshot };
};

const workload = (more: Partial<Node> = {}): ProxyNode => {
  const metadata = { LABELS: { app: 'api-gateway' } };
  const node = parseNode({ id: 'sidecar~10.0.0.1~api-gateway-1.production~production.svc.cluster.local', metadata, ...more });
  assert.ok(node);
  return node;
};

const announcing = (...types: readonly string[]): Partial<Node> => ({
  user_agent_name: 'skein',
  extensions: [HCM_TYPE, ...types].map((type) => ({ name: type, type_urls: [PREFIX + type] })),
});

const httpFilters = (listener: unknown): readonly string[] => {
  const bytes = encodeNamed('envoy.config.listener.v3.Listener', listener);
  const text = JSON.stringify(decodeNamed('envoy.config.listener.v3.Listener', bytes));
  return [...text.matchAll(/"name":"(envoy\.filters\.http\.[a-z_]+)"/g)].map((m) => m[1] ?? '');
};

test('the rate limit of the mission stands first in every inbound connection manager, and is told to limit nothing', () => {
  const { snapshot, problems } = read(MESH);
  assert.deepEqual(
    problems.map((p) => [p.code, p.file, p.line]),
    [['RATE_LIMIT_OFF', 'mesh.yaml', 19]],
  );
  const { listeners, patches } = translate(snapshot, workload());
  const inbound = listeners.find((l) => l.name === 'virtualInbound');
  assert.equal(httpFilters(inbound)[0], 'envoy.filters.http.local_ratelimit');
  const others = listeners.filter((l) => l.traffic_direction === 'OUTBOUND').flatMap(httpFilters);
  assert.ok(!others.includes('envoy.filters.http.local_ratelimit'));
  assert.equal(patches?.applied.size, 1);
  assert.equal(patches?.idle.size, 0);
});

test('a proxy is not sent a filter it did not announce, and that is said once for all such proxies', () => {
  const { snapshot } = read(MESH);
  const ignorant = translate(snapshot, workload(announcing()));
  assert.ok(!httpFilters(ignorant.listeners.find((l) => l.name === 'virtualInbound')).includes('envoy.filters.http.local_ratelimit'));
  const said = (config: { readonly notes?: ProxyNotes['notes']; readonly patches?: ProxyNotes['patches'][number] }): ProxyNotes => ({
    notes: config.notes ?? [],
    patches: config.patches === undefined ? [] : [config.patches],
  });
  const problems = noteProblems(
    new Map([
      ['b-1.production', said(ignorant)],
      ['a-1.production', said(ignorant)],
    ]),
  );
  assert.deepEqual(
    problems.map((p) => [p.code, p.severity, p.file, p.line, p.message]),
    [
      [
        'PATCH_NOT_UNDERSTOOD',
        'warning',
        'mesh.yaml',
        17,
        `a-1.production, b-1.production cannot be given the patch, which needs ${LIMIT_TYPE}`,
      ],
    ],
  );
  const able = translate(snapshot, workload(announcing(LIMIT_TYPE)));
  assert.equal(httpFilters(able.listeners.find((l) => l.name === 'virtualInbound'))[0], 'envoy.filters.http.local_ratelimit');
  assert.deepEqual(noteProblems(new Map([['a-1.production', said(able)]])), []);
});

test('what Envoy reads without announcing it is sent to Envoy', () => {
  const perRoute = { 'envoy.filters.http.fault': { '@type': `${PREFIX}envoy.config.route.v3.FilterConfig`, disabled: true } };
  const patch = { applyTo: 'HTTP_ROUTE', operation: 'MERGE', value: { typed_per_filter_config: perRoute } };
  const held = (agent: string): number => setOf([{ patches: [patch] }], nodeOf({ ...announcing(), user_agent_name: agent })).notes.length;
  assert.equal(held('envoy'), 0);
  assert.equal(held('skein'), 1);
});

test('a patch that changed nothing anywhere is told with its place', () => {
  const { snapshot } = read(MESH.replace('{context: SIDECAR_INBOUND}', '{context: SIDECAR_INBOUND, listener: {name: nobody}}'));
  const config = translate(snapshot, workload());
  const notes: ProxyNotes = { notes: config.notes ?? [], patches: config.patches === undefined ? [] : [config.patches] };
  assert.deepEqual(
    noteProblems(new Map([['a', notes]])).map((p) => [p.code, p.line, p.path]),
    [['PATCH_IDLE', 13, 'spec.configPatches[0]']],
  );
  assert.deepEqual(noteProblems(new Map()), [], 'nobody is there to judge by');
});

test('routes inside the connection manager are patched as routes', () => {
  const patch = `
  - applyTo: HTTP_ROUTE
    match: {context: SIDECAR_INBOUND, routeConfiguration: {vhost: {name: "inbound|http|80"}}}
    patch: {operation: MERGE, value: {route: {timeout: 3s}}}
`;
  const { listeners } = translate(read(MESH.trimEnd() + patch).snapshot, workload());
  const inbound = JSON.stringify(listeners.find((l) => l.name === 'virtualInbound'));
  assert.equal([...inbound.matchAll(/"cluster":"inbound\|8080\|\|","timeout":"3s"/g)].length, 2, 'mutual TLS and plain text');
});

test('a configuration of a foreign type is an error, a foreign field a warning', () => {
  const wrong = read(MESH.replace(LIMIT_TYPE, 'envoy.extensions.filters.http.nothing.v3.Nothing')).problems;
  assert.ok(wrong.some((p) => p.severity === 'error' && p.path.includes('configPatches[0].patch.value.typed_config')));
  const { snapshot, problems } = read(MESH.replace('stat_prefix:', 'no_such_field: 1\n          stat_prefix:'));
  assert.ok(problems.some((p) => p.severity === 'warning' && p.path.endsWith('no_such_field')));
  assert.equal(translate(snapshot, workload()).patches?.applied.size, 1);
});

test('a zero in a merge is told, because it changes nothing where a value stands', () => {
  const merge = (value: string): readonly string[] =>
    read(`${MESH.trimEnd()}\n  - applyTo: NETWORK_FILTER\n    patch: {operation: MERGE, value: ${value}}\n`)
      .problems.filter((p) => p.path.startsWith('spec.configPatches[1]'))
      .map((p) => `${p.severity} ${p.path.slice('spec.configPatches[1].patch.value.'.length)}`);
  const manager = (fields: string): string => `{typed_config: {"@type": ${PREFIX}${HCM_TYPE}, ${fields}}}`;
  assert.deepEqual(merge(manager('use_remote_address: false, codec_type: AUTO, stat_prefix: x')), [
    'warning typed_config.use_remote_address',
    'warning typed_config.codec_type',
  ]);
  assert.deepEqual(
    merge(manager('common_http_protocol_options: {idle_timeout: 0s}, http_filters: [{name: a, disabled: false}]')).filter(
      (p) => !p.includes('http_filters'),
    ),
    [],
  );
});

test('an added cluster and a discovered extension are part of the configuration', () => {
  const more = `
  - applyTo: CLUSTER
    match: {context: SIDECAR_OUTBOUND}
    patch: {operation: ADD, value: {name: limits, type: STRICT_DNS, connect_timeout: 1s}}
  - applyTo: EXTENSION_CONFIG
    patch: {operation: ADD, value: {name: found, typed_config: {"@type": "${PREFIX}envoy.extensions.filters.http.cors.v3.Cors"}}}
`;
  const config = translate(read(MESH.trimEnd() + more).snapshot, workload());
  assert.ok(config.clusters.some((c) => c.name === 'limits'));
  assert.deepEqual(
    config.extensions?.map((e) => e.name),
    ['found'],
  );
});

test('a patch of the bootstrap is refused, the kinds of filters of Envoy are known', () => {
  const [problem] = read(
    MESH.replace('applyTo: HTTP_FILTER', 'applyTo: BOOTSTRAP').replace('{context: SIDECAR_INBOUND}', '{}'),
  ).problems.filter((p) => p.code === 'FIELD_NOT_SUPPORTED');
  assert.match(problem?.path ?? '', /configPatches\[0\]\.applyTo$/);
  for (const type of [
    'lua.v3.Lua',
    'wasm.v3.Wasm',
    'ext_proc.v3.ExternalProcessor',
    'compressor.v3.Compressor',
    'csrf.v3.CsrfPolicy',
    'header_to_metadata.v3.Config',
    'health_check.v3.HealthCheck',
  ])
    assert.doesNotThrow(() => encodeNamed(`envoy.extensions.filters.http.${type}`, {}), type);
});
