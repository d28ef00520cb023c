// The admin API over a data plane without sockets. What it prints is read with Envoy's own .proto files by protobufjs.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { createLog } from '../../src/base/log.ts';
import { MetricRegistry } from '../../src/base/metrics.ts';
import { handleAdmin } from '../../src/proxy/admin/admin-api.ts';
import type { AdminContext, AdminResponse } from '../../src/proxy/admin/admin-context.ts';
import { startAdminServer, startMetricsServer } from '../../src/proxy/admin/admin-server.ts';
import { prometheusName } from '../../src/proxy/admin/prometheus-names.ts';
import { HistogramStat } from '../../src/proxy/stats-store.ts';
import { ResourceStore } from '../../src/proxy/xds/resource-store.ts';
import type { Bootstrap } from '../../src/xds/gen/types.ts';
import { FakeDataPlane } from './xds-fake-data-plane.ts';
import { assignment, dynamicBootstrap, edsCluster, ManualClock, rdsListener, TYPES } from './xds-fixture.ts';

const { CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE, SECRET_TYPE } = TYPES;

const PRIVATE = '-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----';

const rig = () => {
  const dataPlane = new FakeDataPlane();
  const store = new ResourceStore();
  const clock = new ManualClock();
  const log = createLog(
    't',
    () => undefined,
    () => new Date(0),
  );
  const did: string[] = [];
  let live = true;
  const bootstrap: Bootstrap = dynamicBootstrap({ static_resources: { clusters: [{ name: 'static', type: 'STATIC' }] } });
  const context: AdminContext = {
    bootstrap,
    dataPlane,
    store,
    metrics: new MetricRegistry(),
    log,
    clock,
    startedAtMs: clock.now,
    version: 'skein/0',
    commandLine: { concurrency: 1 },
    state: () => (live ? 'LIVE' : 'PRE_INITIALIZING'),
    refreshStats: () => undefined,
    drainListeners: () => void did.push('drain'),
    hotRestart: () => '',
    hotRestartStatus: () => ({}),
    setHealthFailed: (f) => void did.push(`health ${f}`),
    reopenLogs: () => void did.push('reopen'),
    quit: () => void did.push('quit'),
  };
  const get = (path: string, method = 'GET'): AdminResponse => handleAdmin(context, { method, path, body: '' });
  const setLive = (l: boolean): void => {
    live = l;
  };
  return { dataPlane, store, clock, log, did, context, get, setLive };
};

const filled = () => {
  const r = rig();
  const { dataPlane, store } = r;
  dataPlane.setCluster({ name: 'static', type: 'STATIC' });
  store.accept(CLUSTER_TYPE.url, 'static', '', '', 1000, true);
  dataPlane.setCluster(edsCluster('web', { connect_timeout: '10s' }));
  store.accept(CLUSTER_TYPE.url, 'web', 'v1', 'f', 2000);
  dataPlane.setCluster(edsCluster('cold'));
  store.accept(CLUSTER_TYPE.url, 'cold', 'v1', 'f', 2000);
  store.setVersion(CLUSTER_TYPE.url, 'v1');
  dataPlane.setEndpoints(assignment('web'));
  store.accept(ENDPOINT_TYPE.url, 'web', 'e1', 'f', 2500);
  dataPlane.setListener(rdsListener('l', 'r', { bind_to_port: false }));
  store.accept(LISTENER_TYPE.url, 'l', 'v2', 'f', 3000);
  store.refuse(LISTENER_TYPE.url, 'l', {
    details: 'stat_prefix: is bad',
    version: 'v3',
    atMs: 4000,
    resource: { name: 'l', stat_prefix: 'bad' },
  });
  dataPlane.setRoutes({ name: 'r', virtual_hosts: [{ name: 'all', domains: ['*'] }] });
  store.accept(ROUTE_TYPE.url, 'r', 'v4', 'f', 5000);
  dataPlane.setSecret({
    name: 'default',
    tls_certificate: { certificate_chain: { inline_string: 'chain' }, private_key: { inline_bytes: new Uint8Array(Buffer.from(PRIVATE)) } },
  });
  store.accept(SECRET_TYPE.url, 'default', 's1', 'f', 6000);
  return r;
};

type Json = { [k: string]: Json } & Json[] & string;
const parse = (a: AdminResponse): Json => JSON.parse(a.body) as Json;
const configs = (a: AdminResponse): { [k: string]: Json }[] => (parse(a) as unknown as { configs: { [k: string]: Json }[] }).configs;
const dump = (a: AdminResponse, type: string): { [k: string]: Json } => {
  const found = configs(a).find((c) => String(c['@type']).endsWith(`.${type}`));
  assert.ok(found, type);
  return found;
};

describe('config_dump', () => {
  test('every section, versions, times, errors and warming', () => {
    const { get } = filled();
    const all = get('/config_dump');
    assert.equal(all.headers['content-type'], 'application/json');
    const clusters = dump(all, 'ClustersConfigDump');
    assert.equal(clusters['version_info'], 'v1');
    assert.deepEqual(
      clusters['static_clusters']?.map((c: Json) => c['cluster']?.['name']),
      ['static'],
    );
    assert.deepEqual(
      clusters['dynamic_active_clusters']?.map((c: Json) => [c['version_info'], c['cluster']?.['name'], c['last_updated']]),
      [['v1', 'web', '1970-01-01T00:00:02.000Z']],
    );
    assert.deepEqual(
      clusters['dynamic_warming_clusters']?.map((c: Json) => c['cluster']?.['name']),
      ['cold'],
    );
    const listener = dump(all, 'ListenersConfigDump')['dynamic_listeners']?.[0] as Json;
    assert.equal(listener['name'], 'l');
    assert.equal(listener['active_state']?.['version_info'], 'v2');
    assert.equal(listener['active_state']?.['listener']?.['@type'], LISTENER_TYPE.url);
    assert.equal(listener['error_state']?.['details'], 'stat_prefix: is bad');
    assert.equal(listener['error_state']?.['version_info'], 'v3');
    assert.equal(dump(all, 'RoutesConfigDump')['dynamic_route_configs']?.[0]?.['version_info'], 'v4');
    assert.ok(!configs(all).some((c) => String(c['@type']).endsWith('EndpointsConfigDump')));
    const withEds = dump(get('/config_dump?include_eds'), 'EndpointsConfigDump');
    assert.equal(withEds['dynamic_endpoint_configs']?.[0]?.['endpoint_config']?.['cluster_name'], 'web');
  });

  test('private keys never appear', () => {
    const { get } = filled();
    const answer = get('/config_dump');
    const secret = dump(answer, 'SecretsConfigDump')['dynamic_active_secrets']?.[0]?.['secret'] as Json;
    assert.equal(secret['tls_certificate']?.['private_key']?.['inline_bytes'], 'W3JlZGFjdGVkXQ==');
    assert.equal(secret['tls_certificate']?.['certificate_chain']?.['inline_string'], 'chain');
    assert.ok(!answer.body.includes(Buffer.from(PRIVATE).toString('base64').slice(0, 40)));
  });

  test('resource, name_regex and mask choose', () => {
    const { get } = filled();
    const listeners = configs(get('/config_dump?resource=dynamic_listeners'));
    assert.deepEqual(
      listeners.map((l) => [l['@type'], l['name']]),
      [['type.googleapis.com/envoy.admin.v3.ListenersConfigDump.DynamicListener', 'l']],
    );
    assert.equal(configs(get('/config_dump?resource=dynamic_endpoint_configs')).length, 1);
    assert.equal(get('/config_dump?resource=nothing').status, 404);
    assert.equal(get('/config_dump?name_regex=%5B').status, 400);
    const named = dump(get('/config_dump?name_regex=we.*'), 'ClustersConfigDump');
    assert.equal(named['static_clusters'], undefined);
    assert.equal(named['dynamic_active_clusters']?.length, 1);
    const masked = configs(get('/config_dump?resource=dynamic_active_clusters&mask=cluster.name,version_info'));
    assert.deepEqual(masked, [
      {
        '@type': 'type.googleapis.com/envoy.admin.v3.ClustersConfigDump.DynamicCluster',
        version_info: 'v1',
        cluster: { '@type': CLUSTER_TYPE.url, name: 'web' },
      },
    ]);
  });
});

describe('other pages', () => {
  test('clusters as text and JSON', () => {
    const { get } = filled();
    const text = get('/clusters').body;
    for (const line of [
      'web::observability_name::web',
      'web::default_priority::max_connections::1024',
      'web::added_via_api::true',
      'static::added_via_api::false',
      'web::10.0.0.1:8080::cx_total::2',
      'web::10.0.0.1:8080::health_flags::healthy',
      'web::10.0.0.1:8080::weight::1',
    ])
      assert.ok(text.includes(`${line}\n`), line);
    const json = parse(get('/clusters?format=json'));
    const web = (json['cluster_statuses'] as unknown as Json[]).find((c) => c['name'] === 'web');
    assert.deepEqual(web?.['host_statuses']?.[0]?.['address'], { socket_address: { address: '10.0.0.1', port_value: 8080 } });
    assert.equal(web?.['host_statuses']?.[0]?.['health_status']?.['eds_health_status'], 'HEALTHY');
  });

  test('listeners, ready, server_info, unknown paths', () => {
    const { get, setLive } = filled();
    assert.equal(get('/listeners').body, 'l::127.0.0.1:15001\n');
    assert.equal(parse(get('/listeners?format=json'))['listener_statuses']?.[0]?.['name'], 'l');
    assert.deepEqual([get('/ready').status, get('/ready').body], [200, 'LIVE\n']);
    assert.equal(parse(get('/server_info'))['state'], 'LIVE');
    setLive(false);
    assert.deepEqual([get('/ready').status, get('/ready').body], [503, 'PRE_INITIALIZING\n']);
    assert.equal(parse(get('/server_info'))['state'], 'PRE_INITIALIZING');
    const unknown = get('/nothing');
    assert.equal(unknown.status, 404);
    assert.match(unknown.body, /^invalid path\. admin commands are:\n {2}\/certs: /);
    assert.equal(get('/constructor').status, 404);
  });

  test('what changes something wants POST', () => {
    const { get, did, log } = filled();
    for (const path of ['/quitquitquit', '/drain_listeners?graceful', '/healthcheck/fail', '/reset_counters']) {
      assert.equal(get(path).status, 405, path);
      assert.equal(get(path, 'POST').status, 200, path);
    }
    assert.deepEqual(did, ['quit', 'drain', 'health true']);
    assert.equal(get('/logging?level=debug', 'POST').status, 200);
    assert.equal(log.level.value, 'debug');
    assert.equal(get('/logging?level=loud', 'POST').status, 400);
    assert.equal(get('/logging?level=error').status, 405);
    assert.equal(get('/logging').body, 'active loggers:\n  all: debug\n', 'who may read may look');
    assert.equal(get('/logging?paths=http:error', 'POST').status, 400);
    assert.equal(get('/logging?http=error', 'POST').status, 400);
    assert.equal(log.level.value, 'debug', 'a logger that is not here sets nothing');
    assert.equal(get('/logging?paths=all:error', 'POST').body, 'active loggers:\n  all: error\n');
  });

  test('stats: filter, usedonly, JSON', () => {
    const { get, dataPlane } = filled();
    dataPlane.stats.counter('cluster.web.upstream_rq_200').value = 3;
    dataPlane.stats.gauge('cluster.web.upstream_cx_active');
    assert.equal(get('/stats?usedonly').body, 'cluster.web.upstream_rq_200: 3\n');
    assert.equal(get('/stats?filter=cx_active').body, 'cluster.web.upstream_cx_active: 0\n');
    assert.deepEqual(parse(get('/stats?format=json&usedonly')), { stats: [{ name: 'cluster.web.upstream_rq_200', value: 3 }] });
    assert.equal(get('/stats?filter=%5B').status, 400);
  });

  test('histograms as Envoy summarises them', () => {
    const { get, dataPlane } = filled();
    const time = dataPlane.stats.histogram('http.p.downstream_rq_time');
    dataPlane.stats.histogram('http.q.downstream_rq_time');
    for (const ms of [0, 1, 1, 1, 4]) time.record(ms);
    // What Envoy 1.40 printed for these values, but for its intervals.
    const shown =
      'P0(nan,0) P25(nan,1.025) P50(nan,1.05) P75(nan,1.075) P90(nan,4.05) P95(nan,4.05) P99(nan,4.05) P99.5(nan,4.05) P99.9(nan,4.05) P100(nan,4.05)';
    assert.equal(get('/stats?usedonly').body, `http.p.downstream_rq_time: ${shown}\n`);
    assert.equal(get('/stats?filter=http.q').body, 'http.q.downstream_rq_time: No recorded values\n');
    assert.equal(get('/stats?filter=http.p&invert_filter&usedonly').body, '');
    assert.equal(get('/stats?type=Counters&usedonly').body, '');
    assert.equal(get('/stats?type=foo').status, 400);
    assert.match(get('/stats?usedonly&histogram_buckets=cumulative').body, /time: B0\.5\(0,1\) B1\(0,4\) B5\(0,5\) B10\(0,5\) /);
    assert.match(get('/stats?usedonly&histogram_buckets=disjoint').body, /time: B0\.5\(0,1\) B1\(0,3\) B5\(0,1\) B10\(0,0\) /);
    const json = parse(get('/stats?format=json&usedonly')) as unknown as {
      stats: [{ histograms: { computed_quantiles: [{ name: string; values: { cumulative: number }[] }] } }];
    };
    const [first] = json.stats[0].histograms.computed_quantiles;
    assert.equal(first.name, 'http.p.downstream_rq_time');
    assert.deepEqual(
      first.values.slice(0, 3).map((v) => v.cumulative),
      [0, 1.025, 1.05],
    );
    const page = get('/stats/prometheus?usedonly&filter=rq_time').body;
    assert.ok(
      page.includes(
        '\n# TYPE envoy_http_downstream_rq_time histogram\nenvoy_http_downstream_rq_time_bucket{envoy_http_conn_manager_prefix="p",le="0.5"} 1\n',
      ),
      page,
    );
    assert.ok(page.includes('_bucket{envoy_http_conn_manager_prefix="p",le="+Inf"} 5\n'), page);
    assert.ok(page.includes('envoy_http_downstream_rq_time_sum{envoy_http_conn_manager_prefix="p"} 7\n'), page);
  });

  test('histograms of two threads add up', () => {
    const [a, b] = [new HistogramStat('x'), new HistogramStat('x')];
    for (const v of [0, 3, 250]) a.record(v);
    for (const v of [3, 70_000]) b.record(v);
    a.add(b.parts);
    assert.equal(a.count, 5);
    assert.equal(a.sum, 70_256);
    assert.deepEqual(
      a.buckets().map(({ low, count }) => [Math.round(low * 10) / 10, count]),
      [
        [0, 1],
        [3, 2],
        [250, 1],
        [70_000, 1],
      ],
    );
  });

  test('what belongs to a process of another kind is refused in words', () => {
    const { get } = filled();
    assert.match(get('/contention').body, /no mutexes/);
    assert.equal(get('/heap_dump').status, 501);
    assert.equal(get('/stats/recentlookups').status, 501);
    assert.deepEqual([get('/runtime_modify?a=b', 'POST').status, get('/runtime_modify?a=b').status], [503, 405]);
    assert.equal(get('/nothing').status, 404);
  });

  test('Prometheus: names, labels, one TYPE a family, escaping', () => {
    const { get, dataPlane, context } = filled();
    dataPlane.stats.counter('cluster.outbound|80||a.b.svc.cluster.local.upstream_rq_200').value = 3;
    dataPlane.stats.counter('cluster.other.upstream_rq_503').value = 1;
    context.metrics.counter('x_total', 'a "help"\nline').series([['l', 'a"b\\c\nd']]).value = 2;
    context.metrics
      .histogram('h', '', [1, 5])
      .series([['k', 'v']])
      .observe(3);
    const page = get('/stats/prometheus');
    assert.match(page.headers['content-type'] ?? '', /^text\/plain; version=0\.0\.4/);
    assert.ok(page.body.includes('# HELP x_total a "help"\\nline\n# TYPE x_total counter\nx_total{l="a\\"b\\\\c\\nd"} 2\n'));
    assert.ok(
      page.body.includes(
        'h_bucket{k="v",le="1"} 0\nh_bucket{k="v",le="5"} 1\nh_bucket{k="v",le="+Inf"} 1\nh_sum{k="v"} 3\nh_count{k="v"} 1\n',
      ),
    );
    assert.ok(
      page.body.includes(
        '# TYPE envoy_cluster_upstream_rq counter\n' +
          'envoy_cluster_upstream_rq{envoy_response_code="200",envoy_cluster_name="outbound|80||a.b.svc.cluster.local"} 3\n' +
          'envoy_cluster_upstream_rq{envoy_response_code="503",envoy_cluster_name="other"} 1\n',
      ),
      page.body,
    );
    assert.deepEqual(prometheusName('listener.0.0.0.0_15006.downstream_cx_total'), {
      name: 'envoy_listener_downstream_cx_total',
      labels: 'envoy_listener_address="0.0.0.0_15006"',
    });
    assert.deepEqual(prometheusName('cluster.outbound|80||web.shop.svc.cluster.local;.upstream_cx_total'), {
      name: 'envoy_cluster_upstream_cx_total',
      labels: 'envoy_cluster_name="outbound|80||web.shop.svc.cluster.local"',
    });
    assert.equal(prometheusName('server.live').name, 'envoy_server_live');
  });
});

describe('admin sockets', () => {
  const fetchFrom = (path: string, url: string): Promise<{ status: number; body: string }> =>
    new Promise((resolve, reject) => {
      request({ socketPath: path, path: url }, (res) => {
        let body = '';
        res.on('data', (c: Buffer) => {
          body += c.toString();
        });
        res.on('end', () => resolve({ status: res.statusCode ?? 0, body }));
      })
        .on('error', reject)
        .end();
    });

  test('a Unix socket for all, a second server for the metrics alone', async () => {
    const { context } = filled();
    const dir = mkdtempSync(join(tmpdir(), 'skein-admin-'));
    const admin = await startAdminServer(context, { pipe: { path: join(dir, 'a.sock') } });
    const metrics = await startMetricsServer(context, { pipe: { path: join(dir, 'm.sock') } });
    assert.equal((await fetchFrom(admin.address, '/ready')).body, 'LIVE\n');
    assert.equal((await fetchFrom(metrics.address, '/ready')).status, 404);
    assert.equal((await fetchFrom(metrics.address, '/stats/prometheus')).status, 200);
    // A path that is no URL must not end the process.
    assert.equal((await fetchFrom(metrics.address, '//')).status, 404);
    assert.equal((await fetchFrom(admin.address, '//')).status, 500);
    await admin.close();
    await metrics.close();
    const tcp = await startAdminServer(context, { socket_address: { address: '127.0.0.1', port_value: 0 } });
    assert.match(tcp.address, /^127\.0\.0\.1:\d+$/);
    await assert.rejects(
      startAdminServer(context, { socket_address: { address: '127.0.0.1', port_value: Number(tcp.address.split(':')[1]) } }),
    );
    await tcp.close();
    rmSync(dir, { recursive: true });
  });
});
