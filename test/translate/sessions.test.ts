// Services whose label asks for sessions that stay with one endpoint.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDocuments } from '../../src/api/parse-documents.ts';
import { buildSnapshot } from '../../src/mesh/snapshot.ts';
import type { HttpConnectionManager, Node } from '../../src/xds/gen/types.ts';
import { CLIENT, chainsOf, clusterOf, configure, lastFilter } from './configure.ts';
import { meshConfigOf } from './mesh-fixture.ts';

const service = (name: string, labels: string): string => `
apiVersion: v1
kind: Service
metadata: {name: ${name}, namespace: shop, labels: {${labels}}}
spec: {clusterIP: 10.96.0.${name.length}, selector: {app: ${name}}, ports: [{name: http, port: 80}]}
---`;
const RULE = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: split, namespace: shop}
spec:
  hosts: [split.example]
  http: [{route: [{destination: {host: cart}, weight: 50}, {destination: {host: plain-one}, weight: 50}]}]
`;
const YAML =
  service('cart', 'istio.io/persistent-session: in-cart') +
  service('basket', 'istio.io/persistent-session-header: x-basket') +
  service('plain-one', 'a: b') +
  RULE;
const FILTER = 'envoy.filters.http.stateful_session';

const client = (node: Node = CLIENT, yaml = YAML) => {
  const config = configure(yaml, { node });
  const hosts = config.routes.find((r) => r.name === '80')?.virtual_hosts ?? [];
  const route = (host: string) => hosts.find((h) => h.name === `${host}:80`)?.routes?.[0];
  const hcm = lastFilter(chainsOf(config, '0.0.0.0_80').at(-1)) as HttpConnectionManager;
  return { config, route, filters: (hcm.http_filters ?? []).map((f) => f.name) };
};

test('a labelled service names its endpoint in a cookie or a header, others do not', () => {
  const { config, route, filters } = client();
  assert.ok(filters.indexOf(FILTER) !== -1 && filters.indexOf(FILTER) < filters.indexOf('envoy.filters.http.router'));
  const cart = JSON.stringify(route('cart.shop.svc.cluster.local')?.typed_per_filter_config?.[FILTER]);
  assert.match(cart, /CookieBasedSessionState.*"cookie":\{"name":"in-cart","path":"\/"\}/);
  assert.match(
    JSON.stringify(route('basket.shop.svc.cluster.local')?.typed_per_filter_config),
    /HeaderBasedSessionState","name":"x-basket"/,
  );
  assert.equal(route('plain-one.shop.svc.cluster.local')?.typed_per_filter_config, undefined);
  const statuses = (host: string) =>
    clusterOf(config, `outbound|80||${host}.shop.svc.cluster.local`).common_lb_config?.override_host_status;
  assert.deepEqual(statuses('cart')?.statuses, ['UNKNOWN', 'HEALTHY', 'DRAINING', 'DEGRADED']);
  assert.equal(statuses('plain-one'), undefined);
});

test('of a split only the part that leads to the service keeps sessions', () => {
  const parts = client().route('split.example')?.route?.weighted_clusters?.clusters ?? [];
  assert.deepEqual(
    parts.map((p) => [p.name?.split('|')[3]?.split('.')[0], p.typed_per_filter_config !== undefined]),
    [
      ['cart', true],
      ['plain-one', false],
    ],
  );
});

test('nobody pays for it where no service asks, and a proxy without the filter is told nothing', () => {
  assert.ok(!client(CLIENT, service('plain-one', 'a: b') + RULE).filters.includes(FILTER));
  const hcm = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
  const { config, route, filters } = client({ ...CLIENT, extensions: [{ name: 'hcm', type_urls: [hcm] }] });
  assert.ok(!filters.includes(FILTER));
  assert.doesNotMatch(JSON.stringify(config.clusters), /override_host_status/);
  assert.equal(route('cart.shop.svc.cluster.local')?.typed_per_filter_config, undefined);
});

test('that only Envoy keeps sessions is told where they are asked for', () => {
  const { resources } = parseDocuments('mesh.yaml', YAML);
  const { problems } = buildSnapshot({ resources, instances: [], meshConfig: meshConfigOf({}) });
  assert.deepEqual(
    problems.filter((p) => p.code === 'SESSION_NOT_KEPT').map((p) => `${p.line} ${p.path}`),
    ['4 metadata.labels["istio.io/persistent-session"]', '9 metadata.labels["istio.io/persistent-session-header"]'],
  );
});
