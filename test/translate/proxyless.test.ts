// What gRPC programs without a proxy are sent: only what their xDS clients carry out, and for servers the policies of their workload.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Listener } from '../../src/xds/gen/types.ts';
import { clusterOf, configure, type Setting } from './configure.ts';

const NODE = {
  id: 'sidecar~10.1.0.1~pay-0.shop~shop.svc.cluster.local',
  metadata: { GENERATOR: 'grpc', NAMESPACE: 'shop', LABELS: { app: 'pay' }, INSTANCE_IPS: '10.1.0.1' },
};
const ENTRY = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: pay, namespace: shop}
spec:
  hosts: [pay.shop.svc.cluster.local]
  addresses: [10.96.0.1]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: grpc, protocol: GRPC, targetPort: 50051}]
  endpoints: [{address: 10.1.0.1, serviceAccount: pay, labels: {app: pay}}]
---
`;
const rule = (policy: string): string => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: pay, namespace: shop}
spec: {host: pay, trafficPolicy: {${policy}}}
---
`;
const mtls = (mode: string): string => `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {mtls: {mode: ${mode}}}
---
`;
const grpc = (yaml: string, setting: Setting = {}) => configure(ENTRY + yaml, { node: NODE, ...setting });
const SERVER = 'xds.istio.io/grpc/lds/inbound/0.0.0.0:50051';
const server = (yaml: string, setting: Setting = {}): NonNullable<Listener['filter_chains']>[number] => {
  const [chain] = grpc(yaml, setting).listeners.find((l) => l.name === SERVER)?.filter_chains ?? [];
  assert.ok(chain);
  return chain;
};

test('a service is found by every name that it has where the client is', () => {
  const clients = grpc('').listeners.filter((l) => l.api_listener !== undefined);
  assert.deepEqual(clients.map((l) => l.name).sort(), [
    '10.96.0.1:80',
    'pay.shop.svc.cluster.local:80',
    'pay.shop.svc:80',
    'pay.shop:80',
    'pay:80',
  ]);
});

test('balancing is in turn, or by ring where a rule hashes; limits and identities come along', () => {
  const name = 'outbound|80||pay.shop.svc.cluster.local';
  assert.equal(clusterOf(grpc(rule('loadBalancer: {simple: LEAST_REQUEST}')), name).lb_policy, undefined);
  const hashed = clusterOf(grpc(rule('loadBalancer: {consistentHash: {httpHeaderName: x, ringHash: {minimumRingSize: 2048}}}')), name);
  assert.equal(hashed.lb_policy, 'RING_HASH');
  assert.equal(hashed.ring_hash_lb_config?.minimum_ring_size, 2048);
  const own = clusterOf(grpc(rule('tls: {mode: ISTIO_MUTUAL}, connectionPool: {http: {http2MaxRequests: 3}}')), name);
  assert.deepEqual(own.circuit_breakers?.thresholds, [{ max_requests: 3 }]);
  assert.match(JSON.stringify(own.transport_socket), /spiffe:\/\/cluster\.local\/ns\/shop\/sa\/pay/);
  assert.match(JSON.stringify(own.transport_socket), /"instance_name":"default"/);
});

test('a rule that answers by itself makes the call fail rather than go on', () => {
  const yaml = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: pay, namespace: shop}
spec:
  hosts: [pay]
  http:
  - {match: [{uri: {prefix: /gone}}], directResponse: {status: 410}}
  - {fault: {abort: {httpStatus: 503, percentage: {value: 100}}}, corsPolicy: {allowMethods: [GET]}, route: [{destination: {host: pay}}]}
`;
  const [gone, rest] = grpc(yaml).routes[0]?.virtual_hosts?.[0]?.routes ?? [];
  assert.deepEqual(gone?.non_forwarding_action, {});
  assert.equal(gone?.direct_response, undefined);
  assert.deepEqual(Object.keys(rest?.typed_per_filter_config ?? {}), ['envoy.filters.http.fault']);
});

test('a server takes encrypted calls where its policy is strict, or where its label tells clients to encrypt', () => {
  assert.equal(server('').transport_socket, undefined);
  assert.equal(server(mtls('DISABLE')).transport_socket, undefined);
  assert.match(JSON.stringify(server(mtls('STRICT')).transport_socket), /"require_client_certificate":true/);
  const labels = { ...NODE, metadata: { ...NODE.metadata, LABELS: { app: 'pay', 'security.istio.io/tlsMode': 'istio' } } };
  assert.ok(server('', { node: labels }).transport_socket);
});

test('the policies of a server’s workload stand before its calls', () => {
  const policy = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: none, namespace: shop}
spec: {}
`;
  const filters = (yaml: string): string => JSON.stringify(server(yaml).filters);
  assert.match(filters(policy), /envoy\.filters\.http\.rbac.*envoy\.filters\.http\.router/);
  assert.doesNotMatch(filters(''), /rbac/);
});
