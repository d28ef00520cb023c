// What Envoy tells clusters and connection managers apart by: names that the control plane ends with a semicolon are labels whole.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeBootstrap } from '../../src/agent/bootstrap.ts';
import { testConfig } from './setup.ts';

/** What Envoy does with a tag: the first group leaves the name, the second is its value. */
const tagged = (tag: string, name: string): readonly [name: string, value: string] | undefined => {
  const tags = makeBootstrap(testConfig('/run/x')).stats_config?.stats_tags ?? [];
  const { regex = '' } = tags.find((t) => t.tag_name === tag) ?? {};
  const found = new RegExp(regex.replaceAll('[:digit:]', '0-9')).exec(name);
  return found?.[1] === undefined ? undefined : [name.replace(found[1], ''), found[2] ?? ''];
};

test('a cluster is told by its whole name', () => {
  const of = (name: string) => tagged('cluster_name', name);
  const service = 'outbound|8080|v2|payment.production.svc.cluster.local';
  assert.deepEqual(of(`cluster.${service};.upstream_rq_total`), ['cluster.upstream_rq_total', service]);
  assert.deepEqual(of('cluster.outbound|443||api.example.com;.circuit_breakers.default.cx_open'), [
    'cluster.circuit_breakers.default.cx_open',
    'outbound|443||api.example.com',
  ]);
  assert.deepEqual(of('cluster.inbound|8080||;.upstream_cx_active'), ['cluster.upstream_cx_active', 'inbound|8080||']);
  assert.deepEqual(of('cluster.xds-grpc.upstream_cx_active'), ['cluster.upstream_cx_active', 'xds-grpc']);
});

test('a connection manager is told by its whole prefix', () => {
  const of = (name: string) => tagged('http_conn_manager_prefix', name);
  assert.deepEqual(of('http.outbound_0.0.0.0_8080;.downstream_rq_total'), ['http.downstream_rq_total', 'outbound_0.0.0.0_8080']);
  assert.deepEqual(of('http.inbound_10.0.0.1_80;.downstream_cx_active'), ['http.downstream_cx_active', 'inbound_10.0.0.1_80']);
});
