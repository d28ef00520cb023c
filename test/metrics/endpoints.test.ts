// Every page of metrics passes a strict reading and promtool, and what the sidecar tells under Envoy's names is told by Envoy under the
// same names, types and labels.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, createServer, type IncomingMessage, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createLog } from '../../src/base/log.ts';
import { MetricRegistry } from '../../src/base/metrics.ts';
import { ProxyServer } from '../../src/proxy/bootstrap/proxy-server.ts';
import { LimitMetrics } from '../../src/ratelimit/limit-metrics.ts';
import type { Bootstrap } from '../../src/xds/gen/types.ts';
import { startRig } from '../control/rig.ts';
import { freePort } from '../free-port.ts';
import { ENVOY, NO_ENVOY } from '../proxy/stock-envoy.ts';
import { unknownFindings } from './promtool.ts';
import { readStrictly } from './strict-text.ts';

const quiet = createLog(
  'test',
  () => {},
  () => new Date(0),
);

const check = (page: string): void => {
  const { problems, samples } = readStrictly(page);
  assert.deepEqual(problems, []);
  assert.ok(samples.length > 0);
  const findings = unknownFindings(page);
  if (findings === undefined) console.log('promtool is not here: its check was not run');
  else assert.deepEqual(findings, []);
};

const bootstrap = (admin: number, port: number, tcp: number, backend: number, stats: boolean): Bootstrap => {
  const routes = [{ match: { prefix: '/' }, route: { cluster: 'up', retry_policy: { retry_on: '5xx', num_retries: 1 } } }];
  const endpoint = { lb_endpoints: [{ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: backend } } } }] };
  const text = {
    node: { id: 'n', cluster: 'c' },
    admin: { address: { socket_address: { address: '127.0.0.1', port_value: admin } } },
    static_resources: {
      listeners: [
        {
          name: 'in',
          address: { socket_address: { address: '127.0.0.1', port_value: port } },
          filter_chains: [
            {
              filters: [
                {
                  name: 'hcm',
                  typed_config: {
                    '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
                    stat_prefix: 'inb',
                    route_config: { name: 'r', virtual_hosts: [{ name: 'v', domains: ['*'], routes }] },
                    http_filters: [
                      ...(stats ? [{ name: 'istio.stats', typed_config: { '@type': 'type.googleapis.com/stats.PluginConfig' } }] : []),
                      {
                        name: 'rbac',
                        typed_config: {
                          '@type': 'type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC',
                          rules_stat_prefix: 'rp_',
                          track_per_rule_stats: true,
                          rules: { policies: { pol: { permissions: [{ any: true }], principals: [{ any: true }] } } },
                        },
                      },
                      {
                        name: 'limit',
                        typed_config: {
                          '@type': 'type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit',
                          stat_prefix: 'lrp',
                          token_bucket: { max_tokens: 100, fill_interval: '1s' },
                          filter_enabled: { default_value: { numerator: 100 } },
                        },
                      },
                      { name: 'fault', typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault' } },
                      { name: 'router', typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' } },
                    ],
                  },
                },
              ],
            },
          ],
        },
        {
          name: 'tcp',
          address: { socket_address: { address: '127.0.0.1', port_value: tcp } },
          filter_chains: [
            {
              filters: [
                {
                  name: 'tcp',
                  typed_config: {
                    '@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy',
                    stat_prefix: 'tt',
                    cluster: 'up',
                  },
                },
              ],
            },
          ],
        },
      ],
      clusters: [
        {
          name: 'up',
          type: 'STATIC',
          connect_timeout: '1s',
          circuit_breakers: { thresholds: [{ max_connections: 10, track_remaining: true }] },
          outlier_detection: { consecutive_5xx: 1000 },
          load_assignment: { cluster_name: 'up', endpoints: [endpoint] },
        },
      ],
    },
  };
  return text as unknown as Bootstrap;
};

const untilServed = async (url: string): Promise<string> => {
  for (let i = 0; ; i++) {
    try {
      const response = await fetch(url);
      const body = await response.text();
      if (response.status === 200) return body;
    } catch (problem) {
      if (i > 100) throw problem;
    }
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
};

const get = async (url: string, agent: Agent): Promise<void> => {
  const [response] = (await once(request(url, { agent }).end(), 'response')) as [IncomingMessage];
  response.resume();
  await once(response, 'close');
};

/** Requests that succeed, fail and are retried; a connection; then the page, when both that ended are over. */
const use = async (port: number, tcp: number, admin: number): Promise<string> => {
  const [kept, single] = [new Agent({ keepAlive: true, maxSockets: 1 }), new Agent()];
  for (const path of ['/', '/', '/5xx']) await get(`http://127.0.0.1:${port}${path}`, kept);
  await get(`http://127.0.0.1:${tcp}/`, single);
  for (let i = 0; ; i++) {
    const page = await untilServed(`http://127.0.0.1:${admin}/stats/prometheus`);
    const over = /^envoy_cluster_upstream_cx_destroy\{.*\} 2$/m.test(page);
    if (!over && i < 100) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      continue;
    }
    for (const agent of [kept, single]) agent.destroy();
    return page;
  }
};

describe('pages of metrics', () => {
  let backend: Server;
  let backendPort = 0;
  before(async () => {
    backend = createServer((request, response) => response.writeHead(request.url === '/5xx' ? 503 : 200).end('x')).listen(0, '127.0.0.1');
    await once(backend, 'listening');
    backendPort = (backend.address() as AddressInfo).port;
  });
  after(() => void backend.close());

  const ours = async (stats: boolean): Promise<string> => {
    const [admin, port, tcp] = [await freePort(), await freePort(), await freePort()];
    const server = new ProxyServer({
      bootstrap: bootstrap(admin, port, tcp, backendPort, stats),
      log: quiet,
      version: '0.1.0',
      quit: () => {},
    });
    server.start();
    try {
      await server.openAdmin();
      await server.whenLive();
      return await use(port, tcp, admin);
    } finally {
      await server.close();
    }
  };

  test('the sidecar’s', async () => {
    const page = await ours(true);
    check(page);
    const { samples } = readStrictly(page);
    const value = (name: string, label = ''): number | undefined =>
      samples.find((s) => s.name === name && (label === '' || Object.values(s.labels).includes(label)))?.value;
    assert.equal(value('istio_requests_total', '200'), 2);
    assert.equal(value('envoy_cluster_upstream_rq', '200'), 2);
    assert.equal(value('envoy_cluster_upstream_rq_retry'), 1);
    assert.equal(value('envoy_cluster_upstream_rq_retry_limit_exceeded'), 1);
    assert.equal(value('envoy_cluster_upstream_rq_retry_backoff_exponential'), 1);
    assert.equal(value('envoy_cluster_circuit_breakers_default_remaining_cx') !== undefined, true);
    assert.equal(value('envoy_http_rbac_policy_allowed', 'pol'), 3);
  });

  test('the control plane’s', async () => {
    const rig = await startRig({});
    try {
      const { body } = await rig.admin('GET', '/metrics');
      check(String(body));
      for (const name of ['pilot_services', 'citadel_server_csr_count', 'pilot_xds_lds_reject', 'skein_config_generation', 'pilot_info'])
        assert.match(String(body), new RegExp(`^${name}[ {]`, 'm'));
    } finally {
      await rig.close();
    }
  });

  test('the rate-limit server’s', () => {
    const registry = new MetricRegistry();
    const limits = new LimitMetrics(registry);
    limits.of({ path: 'shop.user', detailed: true } as Parameters<LimitMetrics['of']>[0], 'a "quoted"\nvalue').total_hits.value++;
    limits.requests.value++;
    check(registry.render());
  });

  test('what the sidecar tells under Envoy’s names, Envoy tells under the same names, types and labels', { skip: NO_ENVOY }, async () => {
    const mine = await ours(false);
    const [admin, port, tcp] = [await freePort(), await freePort(), await freePort()];
    const folder = mkdtempSync(join(tmpdir(), 'skein-metrics-'));
    const file = join(folder, 'envoy.json');
    writeFileSync(file, JSON.stringify(bootstrap(admin, port, tcp, backendPort, false)));
    const envoy: ChildProcess = spawn(ENVOY, ['-c', file, '-l', 'error', '--concurrency', '1', '--use-dynamic-base-id'], {
      stdio: 'ignore',
    });
    try {
      await untilServed(`http://127.0.0.1:${admin}/ready`);
      const page = await use(port, tcp, admin);
      const theirs = shapes(page);
      assert.deepEqual(numbers(mine), numbers(page));
      // Answers tell how many milliseconds they took, in as many digits.
      const [sent = 0, sentThere = 0] = [mine, page]
        .map((p) => numbers(p, ['http_downstream_cx_tx_bytes_total']))
        .map((n) => Object.values(n)[0]?.[0]);
      assert.ok(sent > 0 && Math.abs(sent - sentThere) <= 9, `${sent} bytes to clients, Envoy: ${sentThere}`);
      const strange = [...shapes(mine)].filter(
        ([name, shape]) => name.startsWith('envoy_') && !OURS.test(name) && theirs.get(name) !== shape,
      );
      assert.deepEqual(
        strange.map(([name, shape]) => `${name} ${shape}, Envoy: ${theirs.get(name)}`),
        [],
      );
    } finally {
      envoy.kill('SIGKILL');
      rmSync(folder, { recursive: true });
    }
  });
});

/** What the same traffic comes to in both: of connections, how many, who ended them, and each byte. */
const SAME = [
  'cluster_upstream_cx_total',
  'cluster_upstream_cx_active',
  'cluster_upstream_cx_destroy',
  'cluster_upstream_cx_destroy_local',
  'cluster_upstream_cx_destroy_remote',
  'cluster_upstream_cx_destroy_with_active_rq',
  'cluster_upstream_cx_destroy_local_with_active_rq',
  'cluster_upstream_cx_http1_total',
  'cluster_upstream_cx_http2_total',
  'cluster_upstream_cx_rx_bytes_total',
  'cluster_upstream_cx_tx_bytes_total',
  'cluster_upstream_rq_retry',
  'cluster_upstream_rq_retry_limit_exceeded',
  'cluster_manager_cluster_added',
  'http_downstream_cx_total',
  'http_downstream_cx_active',
  'http_downstream_cx_destroy',
  'http_downstream_cx_http1_total',
  'http_downstream_cx_http1_active',
  'http_downstream_cx_ssl_total',
  'http_downstream_cx_rx_bytes_total',
  'http_downstream_rq_xx',
  'listener_manager_listener_added',
  'listener_manager_listener_create_success',
  'tcp_downstream_cx_total',
  'tcp_downstream_cx_rx_bytes_total',
  'tcp_downstream_cx_tx_bytes_total',
];

const numbers = (page: string, names: readonly string[] = SAME): Readonly<Record<string, readonly number[]>> => {
  const { samples } = readStrictly(page);
  const ours = samples.filter(({ labels }) => labels['envoy_http_conn_manager_prefix'] !== 'admin');
  return Object.fromEntries(
    names.map((name) => [
      name,
      ours
        .filter((s) => s.name === `envoy_${name}` && s.value > 0)
        .map((s) => s.value)
        .sort((a, b) => a - b),
    ]),
  );
};

/** Names that only this proxy has, or that stock Envoy tells only with other settings. */
const OURS =
  /^envoy_(?:server_first_|overload_|server_(?:descriptor|memory)_limit|access_logs_|listener_manager_lds|cluster_manager_cds|control_plane_)/;

/** Name → type and labels' names. */
const shapes = (page: string): Map<string, string> => {
  const { samples, types } = readStrictly(page);
  const found = new Map<string, string>();
  for (const { name, labels } of samples) {
    const family = types.has(name) ? name : name.replace(/_(?:bucket|sum|count)$/, '');
    const { le: _, ...rest } = labels;
    found.set(family, `${types.get(family)} {${Object.keys(rest).sort().join()}}`);
  }
  return found;
};
