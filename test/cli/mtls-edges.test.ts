// What `skein mtls` makes of the metrics of called sidecars.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { edgesOf, inboundMode } from '../../src/cli/mtls-edges.ts';

const series = (value: number, labels: { readonly [name: string]: string }, name = 'istio_requests_total'): string => {
  const all = {
    reporter: 'destination',
    source_workload: 'order-v1',
    source_workload_namespace: 'shop',
    source_principal: 'unknown',
    destination_service: 'payment.shop.svc.cluster.local',
    destination_workload: 'payment-v1',
    destination_workload_namespace: 'shop',
    request_protocol: 'http',
    response_code: '200',
    connection_security_policy: 'none',
    ...labels,
  };
  return `${name}{${Object.entries(all)
    .map(([key, text]) => `${key}="${text}"`)
    .join(',')}} ${value}\n`;
};
const SECURE = { connection_security_policy: 'mutual_tls', source_principal: 'spiffe://cluster.local/ns/shop/sa/order' };
const known = ({ workload }: { readonly workload: string }): boolean => workload !== 'cron-v1';

test('requests of all codes and sidecars are one edge; what a client counted is not counted again', () => {
  const page = series(3, SECURE) + series(2, { ...SECURE, response_code: '503' }) + series(4, {}) + series(100, { reporter: 'source' });
  const [edge, ...more] = edgesOf(
    [
      { metrics: page, mode: 'PERMISSIVE' },
      { metrics: series(1, SECURE), mode: 'PERMISSIVE' },
    ],
    known,
  );
  assert.deepEqual([edge?.plaintext, edge?.mutualTls, edge?.principal, edge?.underStrict], [4, 6, SECURE.source_principal, 'refused']);
  assert.deepEqual(more, []);
});

test('who would be refused depends on whether the caller can speak mutual TLS, and who comes first is who would be', () => {
  const page =
    series(1, { ...SECURE, source_workload: 'web-v1' }) +
    series(1, { source_workload: 'unknown', source_workload_namespace: 'unknown' }) +
    series(1, { source_workload: 'cron-v1' }) +
    series(2, { source_workload: 'feed-v1', request_protocol: 'tcp' }, 'istio_tcp_connections_opened_total');
  const told = (mode: 'PERMISSIVE' | 'DISABLE' | 'STRICT') =>
    edgesOf([{ metrics: page, mode }], known).map((e) => `${e.source.workload || 'unknown'} ${e.protocol} ${e.underStrict}`);
  assert.deepEqual(told('PERMISSIVE'), ['unknown http refused', 'cron-v1 http refused', 'feed-v1 tcp refused', 'web-v1 http works']);
  assert.deepEqual(told('DISABLE'), ['unknown http refused', 'cron-v1 http refused', 'feed-v1 tcp depends', 'web-v1 http works']);
  assert.deepEqual(told('STRICT'), ['unknown http refused', 'cron-v1 http refused', 'feed-v1 tcp works', 'web-v1 http works']);
});

test('with an earlier reading only what came since counts', () => {
  const before = series(5, {}) + series(2, SECURE);
  const metrics = series(5, {}) + series(9, SECURE);
  const [edge] = edgesOf([{ metrics, before, mode: 'PERMISSIVE' }], known);
  assert.deepEqual([edge?.plaintext, edge?.mutualTls, edge?.underStrict], [0, 7, 'works']);
  assert.deepEqual(edgesOf([{ metrics, before: metrics, mode: 'PERMISSIVE' }], known), []);
});

test('lines that are no such metric, and labels with quotes, do no harm', () => {
  const odd = `# TYPE istio_requests_total counter\nistio_requests_total{broken 1\nistio_request_bytes_sum{reporter="destination"} 4\n`;
  const [edge] = edgesOf([{ metrics: odd + series(1, { source_workload: 'a\\"b' }), mode: 'PERMISSIVE' }], known);
  assert.equal(edge?.source.workload, 'a"b');
});

test('the mode is read from what the inbound listener takes', () => {
  const tls = { name: 'tls', transport_socket: { name: 'tls' }, filter_chain_match: { transport_protocol: 'tls' } };
  const plain = { name: 'plain', filter_chain_match: { transport_protocol: 'raw_buffer' } };
  const through = { name: 'through', filter_chain_match: { transport_protocol: 'tls' } };
  const of = (...filter_chains: object[]) => inboundMode([{ traffic_direction: 'INBOUND', filter_chains }]);
  assert.equal(of(tls), 'STRICT');
  assert.equal(of(tls, plain, through), 'PERMISSIVE');
  assert.equal(of({ name: 'any' }), 'DISABLE');
  assert.equal(of(tls, { ...plain, filter_chain_match: { destination_port: 9000 } }), 'MIXED');
  assert.equal(inboundMode([{ traffic_direction: 'OUTBOUND', filter_chains: [plain] }]), undefined);
});
