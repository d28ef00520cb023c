// What the metrics service of a bootstrap is sent: by a whole proxy, and by a stock Envoy with the same bootstrap and the same requests.
import assert from 'node:assert/strict';
import { request as httpRequest } from 'node:http';
import { test } from 'node:test';
import { createLog } from '../../src/base/log.ts';
import { MetricRegistry } from '../../src/base/metrics.ts';
import { loadBootstrap } from '../../src/proxy/bootstrap/load-bootstrap.ts';
import { ProxyServer } from '../../src/proxy/bootstrap/proxy-server.ts';
import { StatsStore } from '../../src/proxy/stats-store.ts';
import { MetricsSnapshot } from '../../src/proxy/telemetry/metrics-snapshot.ts';
import { compileBuckets } from '../../src/proxy/telemetry/stats-config.ts';
import type { Bootstrap, Cluster, Listener, StatsSink } from '../../src/xds/gen/types.ts';
import { hcm, listener, startBackend, staticCluster, toCluster } from './harness.ts';
import { decoded, type LogCollector, METRICS_PATH, type Sent, startCollector } from './log-collector.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';

const TYPE = 'type.googleapis.com/envoy.config.metrics.v3.MetricsServiceConfig';
const sinkTo = (cluster: string, more: object): StatsSink => ({
  name: 'envoy.stat_sinks.metrics_service',
  typed_config: { '@type': TYPE, grpc_service: { envoy_grpc: { cluster_name: cluster } }, transport_api_version: 'V3', ...more } as {
    '@type': string;
  },
});

const http2 = (cluster: Cluster): Cluster => ({
  ...cluster,
  typed_extension_protocol_options: {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
      '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
      explicit_http_config: { http2_protocol_options: {} },
    } as { '@type': string },
  },
});

const get = (port: number, path: string): Promise<void> =>
  new Promise((resolve, reject) => {
    const request = httpRequest({ host: '127.0.0.1', port, path, agent: false }, (response) => {
      response.resume();
      response.on('end', resolve);
    });
    request.on('error', reject);
    request.end();
  });

interface Running extends AsyncDisposable {
  readonly port: number;
}

const startOurs = async (bootstrap: Bootstrap, concurrency = 1): Promise<Running> => {
  const log = createLog(
    'test',
    () => undefined,
    () => new Date(),
  );
  const server = new ProxyServer({ bootstrap, log, version: '0.0.0', quit: () => undefined, concurrency });
  server.start();
  await server.whenLive();
  const main = [...server.dataPlane.listeners()].find((l) => l.name === 'main');
  const port = Number(/:(\d+)$/.exec(main?.localAddress ?? '')?.[1]);
  return { port, [Symbol.asyncDispose]: () => server.close() };
};

/** All families of a stream so far: per message a map by name, type and labels. */
const told = (collector: LogCollector): Map<string, Sent>[] =>
  collector.messages
    .filter((m) => m.path === METRICS_PATH)
    .map(
      ({ body }) =>
        new Map(
          ((body['envoy_metrics'] ?? []) as Sent[]).map((f) => [`${f['type'] ?? 'COUNTER'} ${f['name']} ${labelsOf(f)}`, f['metric'][0]]),
        ),
    );

const labelsOf = (family: Sent): string =>
  ((family['metric'][0]['label'] ?? []) as Sent[])
    .map((l) => `${l['name']}=${l['value']}`)
    .sort()
    .join();

/** Of counters, over all messages. */
const sumOf = (messages: readonly Map<string, Sent>[], key: string): number =>
  messages.reduce((n, m) => n + ((m.get(key)?.['counter']?.['value'] as number | undefined) ?? 0), 0);

const LISTENERS: readonly Listener[] = [
  listener('main', hcm([{ match: { prefix: '/teapot' }, direct_response: { status: 418 } }, toCluster('app')], { stat_prefix: 'edge' })),
];

interface Case {
  readonly app: number;
  readonly collector: LogCollector;
}

const inBoth = async (form: object, act: (port: number, c: Case) => Promise<unknown>): Promise<readonly unknown[]> => {
  const seen: unknown[] = [];
  for (const which of ['skein', 'envoy']) {
    await using app = await startBackend((socket) => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'));
    await using collector = await startCollector();
    const clusters = [staticCluster('app', [app.port]), http2(staticCluster('metrics', [collector.port]))];
    const sinks = { stats_sinks: [sinkTo('metrics', form)], stats_flush_interval: '0.1s' };
    const c = { app: app.port, collector };
    if (which === 'skein') {
      await using ours = await startOurs({
        node: { id: 'n', cluster: 'c' },
        static_resources: { clusters, listeners: LISTENERS },
        ...sinks,
      });
      seen.push(await act(ours.port, c));
    } else {
      await using envoy = await startEnvoy({ clusters, listeners: LISTENERS }, { ...sinks, node: { id: 'n', cluster: 'c' } });
      seen.push(await act(envoy.port('main'), c));
    }
  }
  return seen;
};

const ask = async (port: number): Promise<void> => {
  for (let i = 0; i < 3; i++) await get(port, '/');
  for (let i = 0; i < 2; i++) await get(port, '/teapot');
};

test('counters as differences with tags as labels add up to what was served, as an Envoy tells it', { skip: NO_ENVOY }, async () => {
  const keys = [
    'COUNTER cluster.upstream_rq_total envoy.cluster_name=app',
    'COUNTER cluster.upstream_rq envoy.cluster_name=app,envoy.response_code=200',
    'COUNTER cluster.upstream_rq_xx envoy.cluster_name=app,envoy.response_code_class=2',
    'COUNTER http.downstream_rq_xx envoy.http_conn_manager_prefix=edge,envoy.response_code_class=4',
    'COUNTER http.downstream_rq_total envoy.http_conn_manager_prefix=edge',
  ];
  const [ours, theirs] = await inBoth({ report_counters_as_deltas: true, emit_tags_as_labels: true }, async (port, { collector }) => {
    await ask(port);
    await collector.until(() => keys.every((key) => sumOf(told(collector), key) > 0));
    const before = told(collector).length;
    // What was told is not told again.
    await collector.until(() => told(collector).length >= before + 2);
    const messages = told(collector);
    const latest = messages.at(-1);
    const first = collector.messages.find((m) => m.path === METRICS_PATH);
    return {
      counts: keys.map((key) => sumOf(messages, key)),
      latest: keys.map((key) => latest?.get(key)?.['counter']?.['value']),
      gauge: latest?.has('GAUGE cluster.membership_total envoy.cluster_name=app'),
      who: [first?.body['identifier']?.node?.id, collector.messages.filter((m) => m.body['identifier']).length],
      dated: typeof latest?.get(keys[0] ?? '')?.['timestamp_ms'],
    };
  });
  assert.deepEqual(ours, theirs);
  assert.deepEqual((ours as { counts: number[] }).counts, [3, 3, 3, 2, 5]);
});

test('without either, counters are totals under whole names; histograms come as both forms unless one is asked for', {
  skip: NO_ENVOY,
}, async () => {
  const time = 'cluster.app.upstream_rq_time ';
  const act = async (port: number, { collector }: Case): Promise<unknown> => {
    const total = 'COUNTER cluster.app.upstream_rq_total ';
    await ask(port);
    const samples = (m: Map<string, Sent>): number =>
      Number((m.get(`HISTOGRAM ${time}`)?.['histogram'] ?? m.get(`SUMMARY ${time}`)?.['summary'])?.['sample_count'] ?? 0);
    const count = (): number => told(collector).reduce((n, m) => n + samples(m), 0);
    await collector.until(() => count() >= 3 && told(collector).some((m) => m.get(total)?.['counter']?.['value'] === 3));
    const before = told(collector).length;
    await collector.until(() => told(collector).length >= before + 2);
    const messages = told(collector);
    const holding = messages.find((m) => samples(m) > 0);
    const [histogram, summary] = [holding?.get(`HISTOGRAM ${time}`)?.['histogram'], holding?.get(`SUMMARY ${time}`)?.['summary']];
    return {
      count: count(),
      total: messages.at(-1)?.get(total)?.['counter']?.['value'],
      bounds: histogram?.['bucket']?.map((b: Sent) => b['upper_bound']),
      quantiles: summary?.['quantile']?.map((q: Sent) => q['quantile'] ?? 0),
      idle: [
        Number(messages.at(-1)?.get(`HISTOGRAM ${time}`)?.['histogram']?.['sample_count'] ?? 0),
        messages
          .at(-1)
          ?.get(`SUMMARY ${time}`)
          ?.['summary']?.['quantile']?.map((q: Sent) => String(q['value'])),
      ],
    };
  };
  for (const form of [{}, { histogram_emit_mode: 'HISTOGRAM' }, { histogram_emit_mode: 'SUMMARY' }]) {
    const [ours, theirs] = await inBoth(form, act);
    assert.deepEqual(ours, theirs, JSON.stringify(form));
    assert.equal((ours as { count: number }).count, 3);
  }
});

test('several workers are told as one', async () => {
  await using collector = await startCollector();
  await using app = await startBackend((socket) => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'));
  const clusters = [staticCluster('app', [app.port]), http2(staticCluster('metrics', [collector.port]))];
  const sinks = { stats_sinks: [sinkTo('metrics', { report_counters_as_deltas: true })], stats_flush_interval: '0.05s' };
  await using ours = await startOurs({ node: { id: 'n' }, static_resources: { clusters, listeners: LISTENERS }, ...sinks }, 2);
  for (let i = 0; i < 8; i++) await get(ours.port, '/');
  await collector.until(() => sumOf(told(collector), 'COUNTER cluster.app.upstream_rq_total ') === 8);
});

test('what could not be told adds up until it can be, a counter that was set back begins anew, labels are read back whole', () => {
  const stats = new StatsStore();
  const metrics = new MetricRegistry();
  const label = 'a "b", c="d"\n\\';
  const series = metrics.counter('istio_requests_total', 'x').series([['path', label]]);
  const snapshot = new MetricsSnapshot({ deltas: true, tags: true, summaries: true, histograms: true }, compileBuckets());
  const read = (): Record<string, number> =>
    Object.fromEntries(
      snapshot
        .messages({ stats, metrics }, 1)
        .flatMap((bytes) =>
          ((decoded(METRICS_PATH, bytes)['envoy_metrics'] ?? []) as Sent[]).map((f) => [
            `${f['name']} ${labelsOf(f)}`,
            f['metric'][0].counter?.value ?? 0,
          ]),
        ),
    );
  const counter = stats.counter('cluster.app.upstream_rq_total');
  counter.value = 5;
  series.value = 2;
  const name = 'cluster.upstream_rq_total envoy.cluster_name=app';
  assert.deepEqual(read(), { [name]: 5, [`istio_requests_total path=${label}`]: 2 });
  counter.value = 12;
  assert.deepEqual(read(), { [name]: 7, [`istio_requests_total path=${label}`]: 0 });
  stats.resetCounters();
  counter.value = 1;
  assert.equal(read()[name], 1);
});

test('what is not supported is refused by its name', async () => {
  const refused = async (text: object, what: RegExp): Promise<void> => assert.rejects(loadBootstrap(JSON.stringify(text)), what);
  await refused(
    { stats_sinks: [{ name: 'envoy.stat_sinks.hystrix' }] },
    /stats_sinks\[0\]: sink envoy\.stat_sinks\.hystrix is not supported/,
  );
  await refused(
    { stats_sinks: [sinkTo('m', { transport_api_version: 'AUTO' })] },
    /stats_sinks\[0\]\.typed_config\.transport_api_version: .* use V3/,
  );
  await refused({ stats_sinks: [sinkTo('m', { grpc_service: { google_grpc: {} } })] }, /grpc_service\.google_grpc/);
  await refused({ stats_sinks: [sinkTo('m', {})], stats_flush_interval: '400s' }, /stats_flush_interval/);
  const { inert } = await loadBootstrap(JSON.stringify({ stats_sinks: [sinkTo('m', {})], stats_flush_interval: '1s' }));
  assert.deepEqual(inert, []);
});
