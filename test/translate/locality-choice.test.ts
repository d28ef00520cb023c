// Which setting of localities rules a cluster, and what it makes of the endpoints; and the names that clusters report under.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Instance } from '../../src/mesh/instance.ts';
import { buildSnapshot } from '../../src/mesh/snapshot.ts';
import { parseNode } from '../../src/translate/proxy-node.ts';
import { type ProxyConfig, translate } from '../../src/translate/translate.ts';
import { encode } from '../../src/xds/codec.ts';
import { meshConfigOf, resourcesOf } from './mesh-fixture.ts';

const NODE = {
  id: 'sidecar~10.244.0.1~web-0.shop~shop.svc.cluster.local',
  metadata: { NAMESPACE: 'shop', LABELS: { app: 'web' }, INSTANCE_IPS: '10.244.0.1' },
  locality: { region: 'r1', zone: 'z1', sub_zone: '' },
};

const at = (n: number, locality: string): Instance => ({
  name: `pay-${n}`,
  namespace: 'shop',
  workload: 'pay',
  address: `10.244.1.${n}`,
  labels: { app: 'pay' },
  serviceAccount: 'pay',
  ports: [{ name: 'http', port: 8080 }],
  ready: true,
  meshed: true,
  locality,
});
const INSTANCES = [at(1, 'r1/z1'), at(2, 'r1/z2'), at(3, 'r2/z1'), at(4, 'r3/z1')];

const service = (annotations: string): string => `
apiVersion: v1
kind: Service
metadata: {name: pay, namespace: shop, annotations: {${annotations}}}
spec: {clusterIP: 10.96.9.1, selector: {app: pay}, ports: [{name: http, port: 80, targetPort: 8080}]}
`;
const rule = (balancer: string): string => `---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: pay, namespace: shop}
spec: {host: pay, trafficPolicy: {loadBalancer: {${balancer}}}}
`;

const configure = (yaml: string, mesh: Record<string, unknown> = {}): ProxyConfig => {
  const { snapshot } = buildSnapshot({ resources: resourcesOf(yaml), instances: INSTANCES, meshConfig: meshConfigOf(mesh) });
  const node = parseNode(NODE);
  assert.ok(node);
  return translate(snapshot, node);
};

const CLUSTER = 'outbound|80||pay.shop.svc.cluster.local';
/** Priority by the last number of the address. */
const priorities = (config: ProxyConfig): Readonly<Record<string, number>> => {
  const groups = config.endpoints.find((e) => e.cluster_name === CLUSTER)?.endpoints ?? [];
  return Object.fromEntries(
    groups.flatMap((g) =>
      (g.lb_endpoints ?? []).map((e) => [String(e.endpoint?.address?.socket_address?.address).replace(/.*\./, ''), g.priority ?? 0]),
    ),
  );
};
const weights = (config: ProxyConfig): unknown => {
  const cluster = config.clusters.find((c) => c.name === CLUSTER);
  assert.ok(cluster);
  encode('envoy.config.cluster.v3.Cluster', cluster);
  const { healthy_panic_threshold: _, ...rest } = cluster.common_lb_config ?? {};
  return rest;
};

test('a service that prefers its zone is reached there first, without outlier detection', () => {
  const near = service('networking.istio.io/traffic-distribution: PreferClose');
  assert.deepEqual(priorities(configure(service(''))), { 1: 0, 2: 0, 3: 0, 4: 0 });
  assert.deepEqual(priorities(configure(near)), { 1: 0, 2: 1, 3: 2, 4: 2 });
  // The rule's own setting replaces the service's wish.
  assert.deepEqual(priorities(configure(near + rule('localityLbSetting: {enabled: false}'))), { 1: 0, 2: 0, 3: 0, 4: 0 });
});

test('zone awareness keeps regions apart and leaves zones to the proxy', () => {
  const aware = configure(service('') + rule('zoneAwareLbSetting: {minClusterSize: 2}'));
  assert.deepEqual(priorities(aware), { 1: 0, 2: 0, 3: 1, 4: 1 });
  assert.deepEqual(weights(aware), { zone_aware_lb_config: { routing_enabled: { value: 100 }, min_cluster_size: 2 } });
  const ordered = configure(service(''), { zoneAwareLbSetting: { failover: [{ from: 'r1', to: 'r3' }] } });
  assert.deepEqual(priorities(ordered), { 1: 0, 2: 0, 3: 2, 4: 1 });
  const off = configure(service('') + rule('zoneAwareLbSetting: {enabled: false}'), { zoneAwareLbSetting: {} });
  assert.deepEqual(priorities(off), { 1: 0, 2: 0, 3: 0, 4: 0 });
  assert.deepEqual(weights(off), {});
});

test('failover by region orders what labels of failover find equal', () => {
  const yaml = (more: string): string =>
    `${service('')}---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: pay, namespace: shop}
spec:
  host: pay
  trafficPolicy:
    outlierDetection: {}
    loadBalancer: {localityLbSetting: {failoverPriority: [topology.kubernetes.io/region]${more}}}
`;
  assert.deepEqual(priorities(configure(yaml(''))), { 1: 0, 2: 0, 3: 1, 4: 1 });
  assert.deepEqual(priorities(configure(yaml(', failover: [{from: r1, to: r3}]'))), { 1: 0, 2: 1, 3: 3, 4: 2 });
});

test('clusters report under the names that MeshConfig gives them', () => {
  const named = (mesh: Record<string, unknown>): string | undefined =>
    configure(service(''), mesh).clusters.find((c) => c.name === CLUSTER)?.alt_stat_name;
  assert.equal(named({}), `${CLUSTER};`);
  assert.equal(named({ outboundClusterStatName: '%SERVICE%_%SERVICE_PORT_NAME%_%SERVICE_PORT%' }), 'pay.shop_http_80;');
  assert.equal(named({ outboundClusterStatName: '%SERVICE_FQDN%%SUBSET_NAME%.%OTHER%' }), 'pay.shop.svc.cluster.local.%OTHER%;');
});
