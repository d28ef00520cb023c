// Pages of metrics in pieces: whole, strict, in turns that end, at the pace of their reader; and names that Envoy's tags divide.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MetricRegistry } from '../../src/base/metrics.ts';
import { prometheusName } from '../../src/proxy/admin/prometheus-names.ts';
import { prometheusPieces, prometheusText, sendPieces } from '../../src/proxy/admin/prometheus-text.ts';
import { StatsStore } from '../../src/proxy/stats-store.ts';
import { readStrictly } from '../metrics/strict-text.ts';

const ALL = { usedOnly: false, name: () => true };

const counted = (series: number) => {
  const metrics = new MetricRegistry();
  const histogram = metrics.histogram('istio_request_bytes', 'Size', [1, 10, 100]);
  for (let i = 0; i < series; i++) histogram.series([['i', `${i}`.padEnd(300, 'x')]]).observe(i % 200);
  const stats = new StatsStore();
  for (let i = 0; i < series; i++) stats.counter(`cluster.c${i}.upstream_rq_total`).value = i;
  return { metrics, stats };
};

test('a thousand series come in small pieces, which make the whole', () => {
  const all = counted(1000);
  const pieces = [...prometheusPieces(all, ALL)];
  assert.ok(pieces.length > 50, String(pieces.length));
  for (const piece of pieces) assert.ok(piece.length < 64 * 1024);
  const whole = prometheusText(all, ALL);
  assert.equal(pieces.join(''), whole);
  const { problems, samples } = readStrictly(whole);
  assert.deepEqual(problems, []);
  assert.equal(samples.length, 1000 * 7);
});

test('a turn ends after its time, and a reader that takes nothing gets the same piece again', async () => {
  const pieces = ['a', '', 'b', 'c', 'd'];
  let now = 0;
  let turns = 0;
  const got: string[] = [];
  let refusals = 2;
  await new Promise<void>((resolve) => {
    let last = -1;
    sendPieces(
      pieces[Symbol.iterator](),
      {
        send: (piece) => {
          if (piece === 'c' && refusals-- > 0) return false;
          if (now !== last) turns++;
          last = now;
          got.push(piece);
          return true;
        },
        end: resolve,
      },
      () => now++ * 3,
    );
  });
  assert.deepEqual(got, ['a', 'b', 'c', 'd']);
  assert.ok(turns >= 4);
});

test('a reader that has gone is sent nothing more', async () => {
  const got: string[] = [];
  let stop = (): void => {};
  const endless = { next: () => ({ done: false as const, value: 'x' }) };
  await new Promise<void>((resolve) => {
    stop = sendPieces(
      endless,
      {
        send: (piece) => {
          got.push(piece);
          stop();
          resolve();
          return true;
        },
        end: () => assert.fail('there is no end'),
      },
      () => Number.MAX_SAFE_INTEGER,
    );
  });
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(got.length, 1);
});

test('names are divided as Envoy’s tags do', () => {
  const rows: [string, string, string][] = [
    ['cluster.a.b;.upstream_rq_503', 'envoy_cluster_upstream_rq', 'envoy_response_code="503",envoy_cluster_name="a.b"'],
    ['cluster.a.ssl.ciphers.X-Y', 'envoy_cluster_ssl_ciphers', 'cipher_suite="X-Y",envoy_cluster_name="a"'],
    [
      'listener.0.0.0.0_1.ssl.versions.TLSv1.3',
      'envoy_listener_ssl_versions',
      'envoy_ssl_version="TLSv1.3",envoy_listener_address="0.0.0.0_1"',
    ],
    [
      'listener.0.0.0.0_1.worker_3.downstream_cx_total',
      'envoy_listener_worker_downstream_cx_total',
      'envoy_worker_id="3",envoy_listener_address="0.0.0.0_1"',
    ],
    ['http.inb.rbac.allowed', 'envoy_http_rbac_allowed', 'envoy_http_conn_manager_prefix="inb"'],
    [
      'http.inb.rbac.rp_.policy.p.q.denied',
      'envoy_http_rbac_policy_denied',
      'envoy_rbac_policy_name="p.q",envoy_rbac_http_prefix="rp_",envoy_http_conn_manager_prefix="inb"',
    ],
    ['http.inb.ext_authz.e.ok', 'envoy_http_ext_authz_ok', 'envoy_ext_authz_prefix="e",envoy_http_conn_manager_prefix="inb"'],
    ['lrp.http_local_rate_limit.ok', 'envoy_http_local_rate_limit_ok', 'envoy_local_http_ratelimit_prefix="lrp"'],
    ['local_rate_limit.n.rate_limited', 'envoy_local_rate_limit_rate_limited', 'envoy_local_network_ratelimit_prefix="n"'],
    ['server.live', 'envoy_server_live', ''],
  ];
  for (const [dotted, name, labels] of rows) assert.deepEqual(prometheusName(dotted), { name, labels }, dotted);
});
