// What a node does not announce it is not asked for: a Skein proxy without HTTP/2 beside any other proxy.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { http2Problems } from '../../src/mesh/findings.ts';
import type { Instance } from '../../src/mesh/instance.ts';
import { buildSnapshot, type Snapshot } from '../../src/mesh/snapshot.ts';
import { parseNode } from '../../src/translate/proxy-node.ts';
import { type ProxyConfig, translate } from '../../src/translate/translate.ts';
import { HTTP2_FEATURE } from '../../src/xds/client-features.ts';
import { meshConfigOf, resourcesOf } from './mesh-fixture.ts';

const MESH = `
apiVersion: v1
kind: Service
metadata: {name: pay, namespace: shop}
spec: {clusterIP: 10.96.9.1, selector: {app: pay}, ports: [{name: http, port: 80, targetPort: 8080}, {name: grpc, port: 9000}, {name: any, port: 7000}]}
---
apiVersion: v1
kind: Service
metadata: {name: gw, namespace: shop}
spec: {clusterIP: 10.96.9.2, selector: {istio: ingressgateway}, ports: [{name: http2, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: shop}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 8443, name: https, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, serverCertificate: /c.pem, privateKey: /k.pem}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: in, namespace: shop}
spec: {hosts: ['*'], gateways: [gw], http: [{route: [{destination: {host: pay, port: {number: 9000}}}]}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: pay, namespace: shop}
spec: {host: pay, trafficPolicy: {connectionPool: {http: {h2UpgradePolicy: UPGRADE}}}}
`;

const instance = (name: string, address: string, labels: Readonly<Record<string, string>>): Instance => ({
  name,
  namespace: 'shop',
  workload: name,
  address,
  labels,
  serviceAccount: name,
  ports: [],
  ready: true,
  meshed: true,
});

const snapshotOf = (yaml: string): Snapshot =>
  buildSnapshot({
    resources: resourcesOf(yaml),
    instances: [instance('pay', '10.244.0.1', { app: 'pay' }), instance('gw', '10.244.0.2', { istio: 'ingressgateway' })],
    meshConfig: meshConfigOf(),
  }).snapshot;

const ALPN_FILTER = [{ name: 'istio.alpn', type_urls: ['istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig'] }];
const configure = (kind: 'sidecar' | 'router', agent: string, features: readonly string[] = []): ProxyConfig => {
  const ip = kind === 'sidecar' ? '10.244.0.1' : '10.244.0.2';
  const node = parseNode({
    id: `${kind}~${ip}~x.shop~shop.svc.cluster.local`,
    user_agent_name: agent,
    client_features: [...features],
    extensions: ALPN_FILTER,
    metadata: { NAMESPACE: 'shop', LABELS: kind === 'sidecar' ? { app: 'pay' } : { istio: 'ingressgateway' } },
  });
  assert.ok(node);
  return translate(snapshotOf(MESH), node);
};

const MARKS = ['http2_protocol_options', '"h2"', '"h2c"', '"alpn_override":["istio-h2"'];
const marks = (c: ProxyConfig): readonly string[] => {
  const text = JSON.stringify([c.clusters, c.listeners]);
  return MARKS.filter((m) => text.includes(m));
};

test('a Skein proxy that announces no HTTP/2 is asked for none, in clusters, ALPN or detection', () => {
  assert.deepEqual(marks(configure('sidecar', 'skein')), []);
  assert.deepEqual(marks(configure('router', 'skein')), []);
});

test('other proxies, and a Skein proxy that announces it, get HTTP/2', () => {
  assert.deepEqual(marks(configure('sidecar', 'envoy')), MARKS);
  assert.deepEqual(configure('sidecar', 'skein', [HTTP2_FEATURE]), configure('sidecar', 'envoy'));
  assert.deepEqual(configure('router', 'skein', [HTTP2_FEATURE]), configure('router', 'envoy'));
});

test('a port of gRPC is looked at: HTTP/1.1 is routed, HTTP/2 passes as bytes to the same service', () => {
  const config = configure('sidecar', 'skein');
  const outbound = config.listeners.find((l) => l.name === '10.96.9.1_9000');
  assert.deepEqual(
    outbound?.filter_chains?.map((ch) => ch.filter_chain_match?.application_protocols),
    [['http/1.1']],
  );
  const rest = JSON.stringify(outbound?.default_filter_chain);
  assert.ok(rest.includes('tcp_proxy') && rest.includes('outbound|9000||pay.shop.svc.cluster.local'), rest);
  assert.ok(config.routes.some((r) => r.name === 'pay.shop.svc.cluster.local:9000'));
  const anywhere = config.listeners.find((l) => l.name === '0.0.0.0_9000');
  assert.ok(JSON.stringify(anywhere?.filter_chains).includes('"route_config_name":"9000"'), 'to an address of a replica');
  const inbound = config.listeners.find((l) => l.name === 'virtualInbound');
  const chains = inbound?.filter_chains?.filter((ch) => ch.filter_chain_match?.destination_port === 9000) ?? [];
  assert.deepEqual(
    chains.map((ch) => [ch.filters?.at(-1)?.name?.split('.').at(-1), ch.filter_chain_match?.transport_protocol]),
    [
      ['http_connection_manager', 'tls'],
      ['http_connection_manager', 'raw_buffer'],
      ['tcp_proxy', 'tls'],
      ['tcp_proxy', 'raw_buffer'],
      ['tcp_proxy', 'tls'],
    ],
  );
});

test('ports whose HTTP/2 is not read are named; those of gateways are not', () => {
  const problems = http2Problems(snapshotOf(MESH));
  assert.deepEqual(
    problems.map((p) => [p.code, p.severity, p.path]),
    [['HTTP2_NOT_YET', 'warning', 'spec.ports[1]']],
  );
  assert.match(problems[0]?.message ?? '', /^port grpc \(9000\) of shop\/pay is GRPC/);
});
