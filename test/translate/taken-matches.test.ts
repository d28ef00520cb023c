// Connections that several filter chains of a listener would take: the first rule has them, what it leaves goes to the next.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FilterChain } from '../../src/xds/gen/types.ts';
import { CLIENT, chainsOf, configure } from './configure.ts';

const ENTRY = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: e, namespace: shop}
spec: {hosts: [x.com, y.com, z.com], ports: [{number: 443, name: tls, protocol: TLS}], resolution: NONE}
`;
const SERVICE = `apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: 10.96.0.7, selector: {app: db}, ports: [{name: tcp, port: 5432}, {name: tcp-b, port: 5433}]}
`;
const rules = (spec: string): string => `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: shop}
spec: ${spec}
`;

const targets = (chains: readonly FilterChain[]): readonly unknown[] =>
  chains
    .filter((ch) => ch.filter_chain_match !== undefined)
    .map((ch) => [
      [...(ch.filter_chain_match?.server_names ?? []), ...(ch.filter_chain_match?.prefix_ranges ?? []).map((r) => r.address_prefix)],
      (ch.filters?.at(-1)?.typed_config as { cluster?: string } | undefined)?.cluster,
    ]);

test('a server name that two rules have goes to the first, and the second keeps its others', () => {
  const yaml =
    ENTRY +
    rules(`{hosts: [x.com, y.com, z.com], tls: [
      {match: [{sniHosts: [x.com, y.com]}], route: [{destination: {host: x.com}}]},
      {match: [{sniHosts: [Y.com, z.com]}], route: [{destination: {host: z.com}}]},
      {match: [{sniHosts: [x.com]}], route: [{destination: {host: y.com}}]}]}`).replace(
      'hosts: [x.com, y.com, z.com]',
      'hosts: [x.com, y.com, z.com, Y.com]',
    );
  assert.deepEqual(targets(chainsOf(configure(yaml, { node: CLIENT }), '0.0.0.0_443')).slice(0, 2), [
    [['x.com', 'y.com'], 'outbound|443||x.com'],
    [['z.com'], 'outbound|443||z.com'],
  ]);
});

test('hosts that differ in their letters’ case are one name to a proxy', () => {
  const chains = chainsOf(configure(ENTRY.replace('y.com', 'X.com'), { node: CLIENT }), '0.0.0.0_443');
  assert.deepEqual(
    chains.flatMap((ch) => (ch.filter_chain_match?.server_names ?? []).map((name) => name.toLowerCase())),
    ['x.com', 'z.com'],
  );
});

test('a range that two rules have goes to the first, and the second keeps its others', () => {
  const yaml =
    SERVICE +
    rules(`{hosts: [db], tcp: [
      {match: [{destinationSubnets: [10.1.0.0/16, 10.2.0.0/16], port: 5432}], route: [{destination: {host: db, port: {number: 5432}}}]},
      {match: [{destinationSubnets: [10.2.7.7/16, 10.3.0.0/16], port: 5432}], route: [{destination: {host: db, port: {number: 5433}}}]}]}`);
  assert.deepEqual(targets(chainsOf(configure(yaml, { node: CLIENT }), '10.96.0.7_5432')).slice(0, 2), [
    [['10.1.0.0', '10.2.0.0'], 'outbound|5432||db.shop.svc.cluster.local'],
    [['10.3.0.0'], 'outbound|5433||db.shop.svc.cluster.local'],
  ]);
});
