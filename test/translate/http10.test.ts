// HTTP/1.0 is read for the nodes that ask for it by Istio's metadata HTTP10, and passes as bytes for all others.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildSnapshot } from '../../src/mesh/snapshot.ts';
import { parseNode } from '../../src/translate/proxy-node.ts';
import { type ProxyConfig, translate } from '../../src/translate/translate.ts';
import type { FilterChain, HttpConnectionManager } from '../../src/xds/gen/types.ts';
import { meshConfigOf, resourcesOf } from './mesh-fixture.ts';

const MESH = `
apiVersion: v1
kind: Service
metadata: {name: pay, namespace: shop}
spec: {clusterIP: 10.96.9.1, selector: {app: pay}, ports: [{name: http, port: 80, targetPort: 8080}, {name: any, port: 7000}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: shop}
spec: {selector: {app: pay}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}
`;

const configure = (kind: 'sidecar' | 'router', http10?: string): ProxyConfig => {
  const labels = { app: 'pay' };
  const common = { name: 'pay', workload: 'pay', namespace: 'shop', address: '10.244.0.1', labels };
  const instances = [{ ...common, serviceAccount: 'pay', ports: [], ready: true, meshed: true }];
  const { snapshot } = buildSnapshot({ resources: resourcesOf(MESH), instances, meshConfig: meshConfigOf() });
  const node = parseNode({
    id: `${kind}~10.244.0.1~x.shop~shop.svc.cluster.local`,
    user_agent_name: 'envoy',
    metadata: { NAMESPACE: 'shop', LABELS: labels, ...(http10 === undefined ? {} : { HTTP10: http10 }) },
  });
  assert.ok(node);
  return translate(snapshot, node);
};

const managers = (config: ProxyConfig): readonly HttpConnectionManager[] =>
  config.listeners
    .flatMap((l): readonly FilterChain[] => [
      ...(l.filter_chains ?? []),
      ...(l.default_filter_chain === undefined ? [] : [l.default_filter_chain]),
    ])
    .flatMap((chain) => chain.filters ?? [])
    .filter((f) => f.name === 'envoy.filters.network.http_connection_manager')
    .map((f) => f.typed_config as HttpConnectionManager);

const detected = (config: ProxyConfig): ReadonlySet<string> =>
  new Set(
    config.listeners
      .flatMap((l) => l.filter_chains ?? [])
      .filter((ch) => ch.filter_chain_match?.transport_protocol === 'raw_buffer')
      .map((ch) => (ch.filter_chain_match?.application_protocols ?? []).join())
      .filter((text) => text !== ''),
  );

test('a node with HTTP10 = 1 routes HTTP/1.0 wherever it is detected, and its connection managers accept it', () => {
  const config = configure('sidecar', '1');
  assert.deepEqual([...detected(config)], ['http/1.0,http/1.1,h2c']);
  assert.ok(managers(config).length >= 4);
  for (const manager of managers(config)) assert.equal(manager.http_protocol_options?.accept_http_10, true, manager.stat_prefix);
  const gateway = managers(configure('router', '1'));
  assert.deepEqual(
    gateway.map((m) => m.http_protocol_options?.accept_http_10),
    gateway.map(() => true),
  );
  assert.ok(gateway.length > 0);
});

test('any other node passes HTTP/1.0 as bytes where protocols are detected, and refuses it elsewhere', () => {
  for (const value of [undefined, '0', 'true']) {
    const config = configure('sidecar', value);
    assert.deepEqual([...detected(config)], ['http/1.1,h2c']);
    for (const manager of managers(config)) assert.equal(manager.http_protocol_options?.accept_http_10, undefined);
  }
});
