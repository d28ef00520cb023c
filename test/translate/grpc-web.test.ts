// gRPC-Web is translated where a port speaks it: before gRPC's own filter, and nowhere else.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HttpConnectionManager } from '../../src/xds/gen/types.ts';
import { CLIENT, chainsOf, configure, GATEWAY, lastFilter, type Setting } from './configure.ts';

const WEB = 'envoy.filters.http.grpc_web';
const service = (name: string, created: number, port: string): string => `
apiVersion: v1
kind: Service
metadata: {name: ${name}, namespace: shop, creationTimestamp: 2024-01-0${created}T00:00:00Z}
spec: {clusterIP: 10.96.0.${created}, selector: {app: web}, ports: [{${port}}]}
---`;

/** Names of the HTTP filters of the chains to `listener` that have any. */
const filters = (yaml: string, listener: string, setting: Setting = { node: CLIENT }, destination?: number): (readonly string[])[] =>
  chainsOf(configure(yaml, setting), listener)
    .filter((chain) => destination === undefined || chain.filter_chain_match?.destination_port === destination)
    .map((chain) => (lastFilter(chain) as HttpConnectionManager).http_filters?.map((f) => f.name ?? '') ?? [])
    .filter((names) => names.length > 0);

test('an outbound port of protocol gRPC-Web has the filter right before gRPC statistics', () => {
  const [names = []] = filters(service('web', 1, 'name: grpc-web-api, port: 90'), '0.0.0.0_90');
  assert.equal(names[names.indexOf(WEB) + 1], 'envoy.filters.http.grpc_stats');
  assert.ok(names.includes(WEB));
});

test('an application protocol says the same, and other protocols say nothing', () => {
  const has = (port: string) => filters(service('web', 1, port), '0.0.0.0_90').map((names) => names.includes(WEB));
  assert.deepEqual(has('name: api, appProtocol: GRPC-Web, port: 90'), [true]);
  for (const port of ['name: grpc-api, port: 90', 'name: http-web, port: 90', 'name: http2, port: 90'])
    assert.deepEqual(has(port), [false], port);
});

test('services of one outbound port share what the oldest speaks', () => {
  const web = 'name: grpc-web, port: 90';
  const plain = 'name: http, port: 90';
  assert.ok(filters(service('a', 1, web) + service('b', 2, plain), '0.0.0.0_90')[0]?.includes(WEB));
  assert.ok(!filters(service('a', 1, plain) + service('b', 2, web), '0.0.0.0_90')[0]?.includes(WEB));
});

test('an inbound port of protocol gRPC-Web has the filter in all its chains, its neighbour in none', () => {
  const yaml = `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIP: 10.96.0.1
  selector: {app: web}
  ports: [{name: grpc-web, port: 90, targetPort: 9090}, {name: grpc, port: 91, targetPort: 9091}]
`;
  const common = { name: 'web-0', workload: 'web', namespace: 'shop', address: '10.244.0.1', labels: { app: 'web' } };
  const instances = [{ ...common, serviceAccount: 'web', ports: [], ready: true, meshed: true }];
  const has = (port: number) => filters(yaml, 'virtualInbound', { node: CLIENT, instances }, port).map((names) => names.includes(WEB));
  assert.deepEqual(has(9090), [true, true]);
  assert.deepEqual(has(9091), [false, false]);
});

test('a gateway has the filter where its server speaks gRPC-Web', () => {
  const gateway = (protocol: string): string => `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: istio-system}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 8080, name: web, protocol: ${protocol}}, hosts: ['*']}]}
`;
  const has = (protocol: string) => filters(gateway(protocol), '0.0.0.0_8080', { node: GATEWAY }).map((names) => names.includes(WEB));
  assert.deepEqual(has('GRPC-WEB'), [true]);
  assert.deepEqual(has('GRPC'), [false]);
});
