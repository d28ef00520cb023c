// EnvoyFilter on clusters, and protobuf's merge by itself.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addClusters, patchClusters } from '../../src/translate/patch-clusters.ts';
import { mergeMessages, packedTypes } from '../../src/translate/patch-merge.ts';
import type { Cluster } from '../../src/xds/gen/types.ts';
import { nodeOf, one, type PatchText } from './patch-fixture.ts';

const TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext';
const RAW = 'type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer';
const OUTBOUND = 'outbound|80|v1|a.default.svc.cluster.local';
const CLUSTERS: readonly Cluster[] = [
  { name: OUTBOUND, connect_timeout: '1s' },
  { name: 'inbound|8080||' },
  { name: 'PassthroughCluster' },
  { name: 'InboundPassthroughCluster' },
];

const patched = (patch: PatchText, clusters = CLUSTERS): readonly Cluster[] => {
  const set = one(patch);
  const left = patchClusters(clusters, nodeOf(), () => ['mine.default.svc.cluster.local'], set);
  return addClusters(left, nodeOf(), (name) => name === 'outbound|80||known.default.svc.cluster.local', set);
};
const names = (list: readonly Cluster[]): string => list.map((c) => c.name).join(' ');
const left = (match: Readonly<Record<string, unknown>>): string => names(patched({ applyTo: 'CLUSTER', operation: 'REMOVE', match }));

test('clusters are merged, removed and added', () => {
  const merge = { applyTo: 'CLUSTER', operation: 'MERGE', match: { cluster: { name: OUTBOUND } } };
  const [merged] = patched({ ...merge, value: { connect_timeout: '7s', lb_policy: 'RANDOM' } });
  assert.deepEqual(merged, { name: OUTBOUND, connect_timeout: '7s', lb_policy: 'RANDOM' });
  assert.equal(
    names(patched({ applyTo: 'CLUSTER', operation: 'ADD', value: { name: 'new' } }))
      .split(' ')
      .at(-1),
    'new',
  );
  assert.equal(patched({ applyTo: 'CLUSTER', operation: 'ADD', value: { name: OUTBOUND } }).length, CLUSTERS.length);
  const known = { name: 'outbound|80||known.default.svc.cluster.local' };
  assert.equal(patched({ applyTo: 'CLUSTER', operation: 'ADD', value: known }).length, CLUSTERS.length, 'it stands elsewhere');
  assert.deepEqual(patched({ applyTo: 'CLUSTER', operation: 'REPLACE', value: { name: 'new' } }), CLUSTERS);
});

test('a cluster is found by name, or by service, port and subset', () => {
  assert.equal(left({ cluster: { name: OUTBOUND, portNumber: 1 } }), names(CLUSTERS.slice(1)), 'the name says it all');
  assert.equal(left({ cluster: { service: 'a.default.svc.cluster.local' } }), names(CLUSTERS.slice(1)));
  assert.equal(
    left({ cluster: { service: 'mine.default.svc.cluster.local' } }),
    names(CLUSTERS.filter((c) => c.name !== 'inbound|8080||')),
  );
  assert.equal(left({ cluster: { subset: 'v1' } }), names(CLUSTERS.slice(1)));
  assert.equal(left({ cluster: { portNumber: 8080 } }), names(CLUSTERS.filter((c) => c.name !== 'inbound|8080||')));
  assert.equal(left({ cluster: { portNumber: 80, subset: 'v2' } }), names(CLUSTERS));
});

test('inbound clusters are those of the application and of inbound pass-through', () => {
  assert.equal(left({ context: 'SIDECAR_INBOUND' }), `${OUTBOUND} PassthroughCluster`);
  assert.equal(left({ context: 'SIDECAR_OUTBOUND' }), 'inbound|8080|| InboundPassthroughCluster');
  assert.equal(left({ context: 'GATEWAY' }), names(CLUSTERS));
  assert.equal(left({}), '');
});

test('a transport socket is merged by name, or takes the place of another', () => {
  const merge = (cluster: Cluster, transport_socket: unknown): Cluster | undefined =>
    patched({ applyTo: 'CLUSTER', operation: 'MERGE', value: { transport_socket } }, [cluster])[0];
  const own = { name: 'tls', typed_config: { '@type': TLS, sni: 'a' } };
  const more = { name: 'tls', typed_config: { '@type': TLS, max_session_keys: 3 } };
  const both = { name: 'tls', typed_config: { '@type': TLS, sni: 'a', max_session_keys: 3 } };
  const raw = { name: 'raw', typed_config: { '@type': RAW } };
  assert.deepEqual(merge({ name: 'c', transport_socket: own }, more)?.transport_socket, both);
  assert.deepEqual(merge({ name: 'c', transport_socket: own }, raw)?.transport_socket, raw);
  assert.deepEqual(merge({ name: 'c' }, raw)?.transport_socket, raw);
  const [more2] = patched({ applyTo: 'CLUSTER', operation: 'MERGE', value: { transport_socket: raw, connect_timeout: '1s' } }, [
    { name: 'c' },
  ]);
  assert.deepEqual(more2, { name: 'c', transport_socket: raw }, 'nothing else of such a patch is merged');
  const chosen = {
    name: 'c',
    transport_socket_matches: [
      { name: 'm', transport_socket: own },
      { name: 'n', transport_socket: raw },
    ],
  };
  assert.deepEqual(merge(chosen, more)?.transport_socket_matches?.[0]?.transport_socket, both);
  assert.deepEqual(merge(chosen, { name: 'other', typed_config: { '@type': RAW } }), chosen, 'beside chosen ones none can stand');
});

const ROUTE = 'envoy.config.route.v3.Route';
const merge = (type: string, into: Record<string, unknown>, from: Record<string, unknown>, lists: 'append' | 'replace' = 'append') =>
  mergeMessages(type, into, from, lists);

test('scalars replace, zeros do not, messages merge, lists append, maps join by key', () => {
  const cluster = 'envoy.config.cluster.v3.Cluster';
  assert.deepEqual(merge(cluster, { name: 'a', lb_policy: 'RANDOM' }, { name: '', lb_policy: 'ROUND_ROBIN', alt_stat_name: 'x' }), {
    name: 'a',
    lb_policy: 'RANDOM',
    alt_stat_name: 'x',
  });
  const manager = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
  assert.deepEqual(merge(manager, { use_remote_address: true }, { use_remote_address: false }), { use_remote_address: true });
  assert.deepEqual(merge(manager, {}, { use_remote_address: false }), { use_remote_address: false });
  assert.deepEqual(merge(ROUTE, { route: { cluster: 'c' } }, { route: { timeout: '0s' } }), { route: { cluster: 'c', timeout: '0s' } });
  assert.deepEqual(
    merge(ROUTE, { route: { timeout: '5.5s' } }, { route: { timeout: '2s' } }),
    { route: { timeout: '2s' } },
    'a duration is whole',
  );
  assert.deepEqual(merge(ROUTE, { request_headers_to_remove: ['a'] }, { request_headers_to_remove: ['b'] }), {
    request_headers_to_remove: ['a', 'b'],
  });
  assert.deepEqual(merge(ROUTE, { request_headers_to_remove: ['a'] }, { request_headers_to_remove: ['b'] }, 'replace'), {
    request_headers_to_remove: ['b'],
  });
  const any = (value: string) => ({ '@type': 'type.googleapis.com/google.protobuf.StringValue', value });
  assert.deepEqual(
    merge(ROUTE, { typed_per_filter_config: { a: any('1'), b: any('2') } }, { typed_per_filter_config: { b: any('3'), c: any('4') } }),
    { typed_per_filter_config: { a: any('1'), b: any('3'), c: any('4') } },
  );
  assert.deepEqual(merge('envoy.config.core.v3.Metadata', { filter_metadata: { a: { x: 1 } } }, { filter_metadata: { a: { y: 2 } } }), {
    filter_metadata: { a: { y: 2 } },
  });
});

test('one member of a oneof takes the place of another, also with a zero', () => {
  assert.deepEqual(merge(ROUTE, { route: { cluster: 'a' } }, { route: { cluster_header: 'h' } }), { route: { cluster_header: 'h' } });
  assert.deepEqual(merge('envoy.config.route.v3.RouteMatch', { path: '/a' }, { prefix: '' }), { prefix: '' });
});

test('packed types are found at any depth, a TypedStruct by what it stands for', () => {
  const typedStruct = {
    '@type': 'type.googleapis.com/udpa.type.v1.TypedStruct',
    type_url: 'type.googleapis.com/some.Filter',
    value: { a: 1 },
  };
  const found = packedTypes({ a: [{ typed_config: { '@type': RAW } }], b: { typed_config: typedStruct } });
  assert.deepEqual([...found].sort(), ['envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer', 'some.Filter']);
});
