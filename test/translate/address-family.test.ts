// A proxy whose workload has IPv6 alone listens and calls there; with IPv4 nothing differs.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CLIENT, clusterOf, configure, GATEWAY } from './configure.ts';

const MESH = `apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1, "fd00:96::1"], selector: {app: web}, ports: [{name: http, port: 80}, {name: tcp, port: 90}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: shop, labels: {app: web}}
spec: {containers: [{name: a, image: b}]}
status: {phase: Running, podIP: "fd00::1", podIPs: [{ip: "fd00::1"}], conditions: [{type: Ready, status: 'True'}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g, namespace: istio-system}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.com]}]}
`;

const addresses = (ips: string, mesh: Readonly<Record<string, unknown>> = {}, node = CLIENT): Readonly<Record<string, unknown>> => {
  const config = configure(MESH, {
    node: { ...node, id: node.id?.replace(/~[^~]+~/, `~${ips}~`) ?? '', metadata: { ...node.metadata, INSTANCE_IPS: ips } },
    mesh,
  });
  const listeners = Object.fromEntries(config.listeners.map((l) => [l.name, l.address?.socket_address?.address]));
  if (node === GATEWAY) return listeners;
  const source = clusterOf(config, 'InboundPassthroughCluster').upstream_bind_config?.source_address?.address;
  const inbound = config.clusters.find((c) => c.name === 'inbound|80||');
  return {
    ...listeners,
    source,
    application: inbound?.load_assignment?.endpoints?.[0]?.lb_endpoints?.[0]?.endpoint?.address?.socket_address?.address,
  };
};

test('a workload of IPv6 alone is served on its wildcard, its loopback and its capture’s source', () => {
  assert.deepEqual(addresses('fd00::1', { inboundTrafficPolicy: { mode: 'LOCALHOST' } }), {
    '::_80': '::',
    'fd00:96::1_90': 'fd00:96::1',
    virtualInbound: '::',
    virtualOutbound: '::',
    source: '::6',
    application: '::1',
  });
  assert.deepEqual(addresses('fd00::9', {}, GATEWAY), { '::_80': '::' });
});

test('a workload with IPv4 too listens as one with IPv4 alone', () => {
  for (const ips of ['fd00::1,10.244.0.1', '10.244.0.1,fd00::1']) {
    const { '0.0.0.0_80': wildcard, virtualInbound, source } = addresses(ips);
    assert.deepEqual([wildcard, virtualInbound, source], ['0.0.0.0', '0.0.0.0', '127.0.0.6']);
  }
});
