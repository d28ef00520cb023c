// What the stats filter's configuration changes of Istio's metrics: labels by expression, own metrics, intervals; and that whatever
// callers send, the number of series is bounded and what was not told is counted.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Family } from '../../src/base/metrics.ts';
import { GrpcMessages } from '../../src/plan/grpc-messages.ts';
import { FLAG } from '../../src/plan/response-flag.ts';
import { StreamInfo } from '../../src/plan/stream-info.ts';
import type { ListenerContext } from '../../src/proxy/exchange/observer.ts';
import { createPeerMetadata } from '../../src/proxy/telemetry/peer-metadata.ts';
import { Telemetry } from '../../src/proxy/telemetry/telemetry.ts';
import { HeaderBlock } from '../../src/wire/header-block.ts';
import type { AnyMessage, PluginConfig } from '../../src/xds/gen/types.ts';
import { ManualClock } from './xds-fixture.ts';

/** What is not garbage, in MB. */
const held = (): number => {
  const bun = (globalThis as { Bun?: { gc(now: boolean): void } }).Bun;
  if (bun !== undefined) bun.gc(true);
  else {
    setFlagsFromString('--expose-gc');
    (runInNewContext('gc') as () => void)();
  }
  return process.memoryUsage().heapUsed / 1e6;
};

const NODE = { id: 'sidecar~1', metadata: { NAME: 'web-1' } };

const rig = (config: PluginConfig, more: readonly AnyMessage[] = [], direction: 'INBOUND' | 'OUTBOUND' = 'OUTBOUND') => {
  const clock = new ManualClock();
  const telemetry = new Telemetry({ own: createPeerMetadata({}).own, version: '', clock, random: () => 0, node: NODE });
  const stats: AnyMessage = { '@type': 'type.googleapis.com/stats.PluginConfig', ...config };
  const context: ListenerContext = {
    kind: 'http',
    listenerName: 'l',
    direction,
    statPrefix: 'p',
    accessLog: [],
    filters: [{ name: 'istio.stats', typedConfig: stats }, ...more.map((typedConfig) => ({ name: 'more', typedConfig }))],
    observed: undefined,
  };
  telemetry.prepare(context);
  return { telemetry, context, clock };
};

const exchange = (): StreamInfo => {
  const info = new StreamInfo();
  info.startTime = 1000;
  info.endTime = 1007;
  info.method = 'GET';
  info.path = '/things?x=1';
  info.authority = 'payment:8080';
  info.responseCode = 200;
  info.upstreamClusterRaw = 'outbound|8080||payment.shop.svc.cluster.local';
  info.downstreamLocalAddress = '10.0.0.9:8080';
  info.bytesReceived = 12;
  return info;
};

const seriesOf = (t: Telemetry, name: string): { labels: { [label: string]: string }; value: number }[] =>
  [...t.registry.pieces((family) => name.startsWith(family))]
    .flatMap((piece) => piece.split('\n').filter((l) => l.startsWith(`${name}{`) || l.startsWith(`${name} `)))
    .map((l) => ({
      labels: Object.fromEntries([...l.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map((m) => [m[1] ?? '', m[2] ?? ''])),
      value: Number(l.slice(l.lastIndexOf(' ') + 1)),
    }));
const family = (t: Telemetry, name: string): Family | undefined => [...t.registry.families()].find((f) => f.name === name);

describe('labels by expression', () => {
  const labels = (config: PluginConfig, change: (info: StreamInfo) => void = () => {}, header = ''): { [label: string]: string } => {
    const { telemetry, context } = rig(config);
    const info = exchange();
    change(info);
    const request = new HeaderBlock();
    if (header !== '') request.add('x-user', header);
    telemetry.httpDone(info, request, undefined, undefined, context);
    return seriesOf(telemetry, 'istio_requests_total')[0]?.labels ?? {};
  };

  test('a label is added, and a standard one is set anew', () => {
    const made = labels(
      {
        metrics: [
          {
            name: 'requests_total',
            dimensions: {
              request_method: 'request.method',
              destination_port: 'string(destination.port)',
              source_app: "'app-' + request.headers['x-user']",
              port: 'destination.port',
              is_get: "request.method == 'GET'",
            },
          },
        ],
      },
      undefined,
      'ann',
    );
    assert.equal(made['request_method'], 'GET');
    assert.equal(made['destination_port'], '8080');
    assert.equal(made['port'], '8080');
    assert.equal(made['source_app'], 'app-ann');
    assert.equal(made['is_get'], 'true');
    assert.equal(made['response_code'], '200');
  });

  test('attributes of the answer, the configuration and the proxy itself', () => {
    const made = labels(
      {
        metrics: [
          {
            name: 'requests_total',
            dimensions: {
              flags: 'string(response.flags)',
              bad: 'response.flags >= 4 ? "yes" : "no"',
              cluster: 'xds.cluster_name',
              route: 'xds.route_name',
              host: "xds.upstream_host_metadata.filter_metadata['istio'].workload",
              place: 'upstream.locality.zone',
              direction: 'string(xds.listener_direction)',
              proxy: 'xds.node.id',
              name: "xds.node.metadata['NAME']",
              peer: 'filter_state.upstream_peer.service',
              none: 'xds.none',
            },
          },
        ],
      },
      (info) => {
        info.setFlag(FLAG.UT);
        info.upstreamCluster = info.upstreamClusterRaw;
        info.routeName = 'r';
        info.upstreamHostMetadata = { filter_metadata: { istio: { workload: 'payment-v1;shop;payment;v1;c' } } };
        info.upstreamLocality = { locality: { zone: 'z' }, metadata: undefined };
      },
    );
    const { flags, bad, cluster, route, host, place, direction, proxy, name, peer, none } = made;
    assert.deepEqual(
      [flags, bad, cluster, route, host, place],
      ['4', 'yes', 'outbound|8080||payment.shop.svc.cluster.local', 'r', 'payment-v1;shop;payment;v1;c', 'z'],
    );
    assert.deepEqual([direction, proxy, name, peer, none], ['2', 'sidecar~1', 'web-1', 'payment', 'unknown']);
  });

  test('what has no value is unknown: a missing header, an attribute nobody has', () => {
    const made = labels({
      metrics: [{ dimensions: { user: "request.headers['x-user']", a: 'nothing.of.it', b: 'xds.node.nothing', c: 'request.nope' } }],
    });
    assert.deepEqual([made['user'], made['a'], made['b'], made['c']], ['unknown', 'unknown', 'unknown', 'unknown']);
  });

  test('an expression that is none takes a standard label away and adds none', () => {
    const made = labels({ metrics: [{ dimensions: { source_app: '((', mine: '((' } }] });
    assert.ok(!('source_app' in made) && !('mine' in made));
  });

  test('only standard labels are removed, and of the named metric alone', () => {
    const { telemetry, context } = rig({ metrics: [{ name: 'request_bytes', tags_to_remove: ['source_app', 'odd'] }] });
    telemetry.httpDone(exchange(), undefined, undefined, undefined, context);
    assert.ok('source_app' in (seriesOf(telemetry, 'istio_requests_total')[0]?.labels ?? {}));
    assert.ok(!('source_app' in (seriesOf(telemetry, 'istio_request_bytes_sum')[0]?.labels ?? {})));
  });

  test('without a name nothing is dropped; by its exact name one metric is', () => {
    const { telemetry, context } = rig({
      metrics: [{ drop: true }, { name: 'requests', drop: true }, { name: 'response_bytes', drop: true }],
    });
    telemetry.httpDone(exchange(), undefined, undefined, undefined, context);
    assert.equal(seriesOf(telemetry, 'istio_requests_total').length, 1);
    assert.equal(seriesOf(telemetry, 'istio_response_bytes_sum').length, 0);
  });

  test('names that Prometheus takes for no label are made ones, and long values are cut', () => {
    const made = labels(
      { metrics: [{ dimensions: { 'my-label.x': 'request.method', '9th': "request.headers['x-user']" } }] },
      undefined,
      'é'.repeat(5000),
    );
    assert.equal(made['my_label_x'], 'GET');
    assert.equal(made['_9th']?.length, 256);
  });

  test('values are told apart', () => {
    const { telemetry, context } = rig({ metrics: [{ dimensions: { method: 'request.method' } }] });
    for (const method of ['GET', 'PUT', 'GET', 'GET', ...'abcdefghijklmnop', 'PUT']) {
      const info = exchange();
      info.method = method;
      telemetry.httpDone(info, undefined, undefined, undefined, context);
    }
    const counts = seriesOf(telemetry, 'istio_requests_total').map(({ labels: l, value }) => [l['method'], value]);
    assert.deepEqual(counts.slice(0, 3), [
      ['GET', 3],
      ['PUT', 2],
      ['a', 1],
    ]);
    assert.equal(counts.length, 18);
  });

  test('connections and gRPC messages have them too', () => {
    const counting: AnyMessage = {
      '@type': 'type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterConfig',
      emit_filter_state: true,
    };
    const { telemetry, context } = rig({ metrics: [{ dimensions: { port: 'destination.port', host: "request.headers['x']" } }] }, [
      counting,
    ]);
    const info = exchange();
    info.grpc = new GrpcMessages();
    info.grpc.request.messages = 3;
    telemetry.httpDone(info, undefined, undefined, undefined, context);
    const messages = seriesOf(telemetry, 'istio_request_messages_total')[0];
    assert.deepEqual([messages?.value, messages?.labels['port'], messages?.labels['host']], [3, '8080', 'unknown']);
    const tcp = rig({ metrics: [{ dimensions: { port: 'destination.port' } }] });
    tcp.telemetry.tcpOpened(info, tcp.context);
    tcp.telemetry.tcpClosed(info, tcp.context);
    assert.equal(seriesOf(tcp.telemetry, 'istio_tcp_connections_opened_total')[0]?.labels['port'], '8080');
  });
});

describe('metrics of one’s own', () => {
  test('a counter adds, a gauge sets, a histogram observes; with added labels alone', () => {
    const { telemetry, context } = rig({
      definitions: [
        { name: 'request_size_sum', type: 'COUNTER', value: 'request.size' },
        { name: 'last_size', type: 'GAUGE', value: 'request.size' },
        { name: 'size', type: 'HISTOGRAM', value: 'request.size' },
        { name: 'requests_total', value: '1' },
        { name: 'none', value: "request.headers['x']" },
      ],
      metrics: [{ name: 'request_size_sum', dimensions: { method: 'request.method' } }],
    });
    for (const bytes of [5, 7]) {
      const info = exchange();
      info.bytesReceived = bytes;
      telemetry.httpDone(info, undefined, undefined, undefined, context);
    }
    assert.deepEqual(seriesOf(telemetry, 'istio_request_size_sum'), [{ labels: { method: 'GET' }, value: 12 }]);
    assert.deepEqual(seriesOf(telemetry, 'istio_last_size'), [{ labels: {}, value: 7 }]);
    assert.deepEqual(seriesOf(telemetry, 'istio_size_sum'), [{ labels: {}, value: 12 }]);
    assert.equal(seriesOf(telemetry, 'istio_none')[0]?.value, 0);
    assert.equal(seriesOf(telemetry, 'istio_requests_total')[0]?.value, 2, 'a standard metric is not defined anew');
  });
});

describe('how often open connections are told of', () => {
  test('as the filter says; never at 0', () => {
    assert.equal(rig({ tcp_reporting_duration: '2.5s' }).context.reportMs, 2500);
    assert.equal(rig({ tcp_reporting_duration: '0s' }).context.reportMs, 0);
    assert.equal(rig({}).context.reportMs, undefined);
  });
});

describe('cardinality', () => {
  test('a label with a million values cannot grow memory; what is not told apart is counted', () => {
    const { telemetry, context } = rig({ metrics: [{ dimensions: { user: "request.headers['x-user']" } }] });
    const call = (user: string): void => {
      const request = new HeaderBlock();
      request.set('x-user', user);
      telemetry.httpDone(exchange(), request, undefined, undefined, context);
    };
    for (let i = 0; i < 20_000; i++) call(`user-${i}`);
    const before = held();
    const sizes = [...telemetry.registry.families()].map((f) => f.size);
    for (let i = 20_000; i < 1_000_000; i++) call(`user-${i}`);
    const grown = held() - before;
    assert.deepEqual(
      [...telemetry.registry.families()].map((f) => f.size),
      sizes,
    );
    assert.ok(grown < 4, `${grown} MB more`);
    assert.ok((family(telemetry, 'istio_requests_total')?.size ?? 0) <= 10_001);
    assert.equal(seriesOf(telemetry, 'skein_metric_overflow_total')[0]?.value, 990_000);
    const all = seriesOf(telemetry, 'istio_requests_total');
    assert.equal(
      all.filter((s) => s.labels['user'] === 'overflow').reduce((sum, s) => sum + s.value, 0),
      990_000,
    );
    assert.equal(
      all.reduce((sum, s) => sum + s.value, 0),
      1_000_000,
      'nothing is lost',
    );
    call('user-7');
    assert.equal(
      seriesOf(telemetry, 'istio_requests_total').find((s) => s.labels['user'] === 'user-7')?.value,
      2,
      'a known one is still told',
    );
  });

  test('beyond the bound codes and services are told as long as there is room, then nothing', () => {
    const { telemetry, context } = rig({ metrics: [{ dimensions: { user: "request.headers['x-user']" } }] });
    const request = new HeaderBlock();
    const call = (i: number): void => {
      request.set('x-user', `user-${i}`);
      const info = exchange();
      info.responseCode = 200 + (i % 300);
      info.upstreamClusterRaw = `cluster-${i % 70}`;
      telemetry.httpDone(info, request, undefined, undefined, context);
    };
    for (let i = 0; i < 40_000; i++) call(i);
    const all = seriesOf(telemetry, 'istio_requests_total');
    assert.ok(all.length <= 11_001, String(all.length));
    assert.ok(all.some((s) => s.labels['user'] === 'overflow' && s.labels['response_code'] === '404'));
    assert.ok(all.some((s) => s.labels['response_code'] === 'overflow' && s.labels['destination_service'] === 'overflow'));
    assert.equal(
      all.reduce((sum, s) => sum + s.value, 0),
      40_000,
    );
  });

  test('a series that was forgotten leaves room', () => {
    const { telemetry, context, clock } = rig({ metrics: [{ dimensions: { user: "request.headers['x-user']" } }] });
    const request = new HeaderBlock();
    for (let i = 0; i < 10_001; i++) {
      request.set('x-user', `user-${i}`);
      telemetry.httpDone(exchange(), request, undefined, undefined, context);
    }
    clock.advance(60_000);
    clock.advance(60_000);
    assert.equal(seriesOf(telemetry, 'skein_metric_label_sets')[0]?.value, 0);
    assert.equal(family(telemetry, 'istio_requests_total')?.size, 0);
  });
});
