// The telemetry scenario: what its sidecars are told, what is read of them, what is claimed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inboundConfig, outboundConfig } from '../../bench/peers/envoy-config.ts';
import { judge } from '../../bench/targets.ts';
import { spansIn } from '../../bench/telemetry/otlp-count.ts';
import { NONE, TELEMETRY_ROWS } from '../../bench/telemetry/rows.ts';
import { telemetryTables } from '../../bench/telemetry/tables.ts';
import { type Tally, tallyTogether, waitingOf } from '../../bench/telemetry/tallies.ts';
import { loadBootstrap } from '../../src/proxy/bootstrap/load-bootstrap.ts';
import { exportRequest } from '../../src/proxy/tracing/otlp-spans.ts';

const PAGE = `access_logs.file.dropped: 7
http.two.tracing.random_sampling: 10
http.one.tracing.random_sampling: 1
http.two.tracing.not_traceable: 900
tracing.opentelemetry.spans_sent: 4
tracing.opentelemetry.spans_dropped: 2
tracing.opentelemetry.spans_failed: 1
tracing.opentelemetry.spans_rejected: 1
tracing.opentelemetry.reports_sent: 99
`;

test('the counts of both hops are added, and what is neither sent nor lost still waits', () => {
  const tally = tallyTogether([PAGE, PAGE]);
  assert.deepEqual(tally, { traced: 22, sent: 8, dropped: 4, failed: 2, rejected: 2, logLinesDropped: 14 });
  assert.equal(waitingOf(tally), 6);
});

test('a collector counts the spans of a request', () => {
  const encode = exportRequest(new Map([['service.name', 'bench']]));
  assert.equal(spansIn(encode([])), 0);
  assert.equal(spansIn(encode([Buffer.from([0x2a, 0x01, 0x78]), Buffer.alloc(0), Buffer.from([0x2a, 0x01, 0x79])])), 3);
  assert.throws(() => spansIn(encode([Buffer.alloc(3)]).subarray(0, -1)));
});

const PORTS = { oneHop: 1, twoHops: 2, twoHopsH2: 3, oneHopGrpc: 4, twoHopsTcp: 5, tls: 6, tlsH2: 7, tlsTcp: 8 };
const BACKEND = { http: 9, http2: 10, grpc: 11, tcp: 12 };
const TELLS = { metrics: true, accessLog: '/l', tracing: { collectorPort: 13, percent: 1 } };

test('sidecars with and without telemetry differ in nothing else, and the proxy knows all that they are told', async () => {
  const common = { full: true, http2: false, certificates: '/c', adminPort: 14 };
  for (const make of [inboundConfig, outboundConfig]) {
    const without = make({ ...common, accessLog: '' }, PORTS, BACKEND);
    assert.doesNotMatch(without, /istio|access_loggers|trac/);
    const { bootstrap, inert } = await loadBootstrap(make({ ...common, ...TELLS }, PORTS, BACKEND));
    assert.deepEqual(inert, (await loadBootstrap(without)).inert);
    assert.equal(bootstrap.admin?.address?.socket_address?.port_value, 14);
    const text = JSON.stringify(bootstrap);
    for (const part of ['stats.PluginConfig', 'peer_metadata.Config', 'FileAccessLog', 'OpenTelemetryConfig'])
      assert.ok(text.includes(part), part);
  }
});

const medians = (cpu: number) => ({ cpu, counted: 5, measured: 5, p50Ms: cpu, p99Ms: 2 * cpu, errors: 0 });
const TALLY: Tally = { traced: 5, sent: 3, dropped: 1, failed: 0, rejected: 0, logLinesDropped: 0 };

test('each row is judged over none; failed requests and collectors that stay silent are told', () => {
  const rows = new Map(TELEMETRY_ROWS.map(({ name }) => [name, medians(name === NONE ? 1 : 1.2)]));
  const telemetry = {
    tallies: new Map([
      ['collector-down', TALLY],
      ['log-disk-full', TALLY],
    ]),
    recoveries: new Map([['collector-down', { before: 3, after: 3, received: 0, seconds: 40 }]]),
    failedRequests: 2,
  };
  const verdicts = judge({ scenarios: new Map([['i', rows]]), telemetry });
  const measured = (name: string): number | undefined => verdicts.find((v) => v.name === name)?.value;
  assert.equal(measured('(i) telemetry: CPU per request over none'), 1.2);
  assert.equal(measured('(i) failed requests'), 2);
  assert.equal(measured('(i) collector-down: spans sent after it came back'), 0);
  assert.equal(measured('(i) log-disk-full: log lines lost and counted'), 0);
  const text = telemetryTables(rows, telemetry).join('\n');
  assert.match(text, /^\| telemetry \| 1\.200 \| 1\.200 \|/m);
  assert.match(text, /^\| collector-down \| 5 \| 3 \| 1 \| 0 \| 0 \| 1 \| 0 \|$/m);
  // Without the run's end there is nothing to claim.
  assert.equal(
    judge({ scenarios: new Map([['i', rows]]) }).some((v) => v.name === '(i) failed requests'),
    false,
  );
});
