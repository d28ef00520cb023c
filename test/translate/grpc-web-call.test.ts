// A browser's call through a gateway whose server speaks gRPC-Web, as configuration makes it: the sidecar and a stock Envoy answer the same.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FilterChain, HttpConnectionManager, Listener } from '../../src/xds/gen/types.ts';
import { RawClient, startPlane } from '../proxy/harness.ts';
import { HTTP2_CLUSTER, http2Backend } from '../proxy/http2-peers.ts';
import { NO_ENVOY, startEnvoy } from '../proxy/stock-envoy.ts';
import { clusterOf, configure, lastFilter } from './configure.ts';

const MESH = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: istio-system}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 8080, name: web, protocol: GRPC-WEB}, hosts: ['*']}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: calls, namespace: istio-system}
spec: {hosts: ['*'], gateways: [gw], http: [{route: [{destination: {host: calls.test, port: {number: 90}}}]}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: calls, namespace: istio-system}
spec:
  hosts: [calls.test]
  ports: [{number: 90, name: grpc, protocol: GRPC, targetPort: 9}]
  resolution: DNS
  endpoints: [{address: 127.0.0.1}]
`;
/** A stock Envoy has none of Istio's own. */
const KEPT = /envoy\.filters\.http\.(?:grpc_web|cors|fault|router)/;

const stage = (port: number) => {
  const config = configure(MESH);
  const found = config.listeners.find((l) => l.name === '0.0.0.0_8080');
  assert.ok(found);
  const { http_filters: filters = [], rds, stat_prefix } = lastFilter(found.filter_chains?.[0]) as HttpConnectionManager;
  const routes = config.routes.find((r) => r.name === rds?.route_config_name);
  assert.ok(routes);
  const manager: HttpConnectionManager = {
    stat_prefix: stat_prefix ?? '',
    route_config: routes,
    http_filters: filters.filter((f) => KEPT.test(f.name ?? '')),
  };
  const type = 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
  const chain: FilterChain = { filters: [{ name: 'hcm', typed_config: { '@type': type, ...manager } }] };
  const listener: Listener = { name: 'l', address: { socket_address: { address: '127.0.0.1', port_value: 0 } }, filter_chains: [chain] };
  const { name = '' } = clusterOf(config, 'outbound|90||calls.test');
  const endpoint = { address: { socket_address: { address: '127.0.0.1', port_value: port } } };
  const load_assignment = { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint }] }] };
  return { listeners: [listener], clusters: [{ name, type: 'STATIC' as const, load_assignment, ...HTTP2_CLUSTER }] };
};

const call = async (start: (resources: ReturnType<typeof stage>) => Promise<AsyncDisposable & { port(listener: string): number }>) => {
  await using backend = await http2Backend((stream, headers) => {
    stream.resume();
    stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'x-got': headers['content-type'] }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.end(Buffer.from([0, 0, 0, 0, 1, 65]));
  });
  await using proxy = await start(stage(backend.port));
  const client = await RawClient.open(proxy.port('l'));
  try {
    const head = 'POST /a.B/C HTTP/1.1\r\nhost: a.test\r\ncontent-type: application/grpc-web\r\ncontent-length: 5\r\n\r\n';
    const { status, headers, body } = await client.send(`${head}\0\0\0\0\0`).response('POST');
    return [status, headers.get('content-type'), headers.get('x-got'), body];
  } finally {
    client.close();
  }
};

const TRAILERS = '\x80\0\0\0\x0fgrpc-status:0\r\n';
const ANSWER = [200, 'application/grpc-web+proto', 'application/grpc', `\0\0\0\0\x01A${TRAILERS}`];

test('what a browser calls comes to the server as gRPC and back as gRPC-Web', async () => {
  assert.deepEqual(await call(startPlane), ANSWER);
});

test('a stock Envoy with the same filters answers the same', { skip: NO_ENVOY }, async () => {
  assert.deepEqual(await call(startEnvoy), ANSWER);
});
