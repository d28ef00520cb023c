// Whole proxies from bootstraps over real sockets: one calls through another, both tell the same story in their metrics;
// and the command line starts, validates, drains and ends.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, watch, writeFileSync } from 'node:fs';
import { createServer, request, type Server } from 'node:http';
import { createServer as createHttp2Server } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { createLog } from '../../src/base/log.ts';
import { ProxyServer } from '../../src/proxy/bootstrap/proxy-server.ts';
import type { Bootstrap, Cluster, JsonObject, Listener } from '../../src/xds/gen/types.ts';

const META: JsonObject = { istio_headers: {} };
const httpListener = (name: string, direction: 'INBOUND' | 'OUTBOUND', cluster: string, logPath: string): Listener => ({
  name,
  traffic_direction: direction,
  address: { socket_address: { address: '127.0.0.1', port_value: 0 } },
  filter_chains: [
    {
      filters: [
        {
          name: 'envoy.filters.network.http_connection_manager',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
            stat_prefix: name,
            route_config: {
              name: 'r',
              virtual_hosts: [{ name: 'v', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster } }] }],
            },
            access_log: [
              {
                name: 'file',
                typed_config: {
                  '@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog',
                  path: logPath,
                  log_format: { json_format: { path: '%REQ(:PATH)%', code: '%RESPONSE_CODE%', cluster: '%UPSTREAM_CLUSTER%' } },
                },
              },
            ],
            http_filters: [
              {
                name: 'istio.metadata_exchange',
                typed_config: {
                  '@type': 'type.googleapis.com/udpa.type.v1.TypedStruct',
                  type_url: 'type.googleapis.com/io.istio.http.peer_metadata.Config',
                  value:
                    direction === 'INBOUND'
                      ? { downstream_discovery: [META], downstream_propagation: [META] }
                      : { upstream_discovery: [META], upstream_propagation: [META] },
                },
              },
              { name: 'istio.stats', typed_config: { '@type': 'type.googleapis.com/stats.PluginConfig' } },
              {
                name: 'envoy.filters.http.router',
                typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
              },
            ],
          },
        },
      ],
    },
  ],
});

const staticCluster = (name: string, port: number): Cluster => ({
  name,
  type: 'STATIC',
  load_assignment: {
    cluster_name: name,
    endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } } } }] }],
  },
});

const bootstrapOf = (workload: string, listener: Listener, cluster: Cluster): Bootstrap => ({
  node: {
    id: `sidecar~127.0.0.1~${workload}.shop~shop.svc.cluster.local`,
    metadata: { WORKLOAD_NAME: workload, NAMESPACE: 'shop', LABELS: { app: workload } },
  },
  admin: { address: { socket_address: { address: '127.0.0.1', port_value: 0 } } },
  static_resources: { clusters: [cluster], listeners: [listener] },
});

const startProxy = async (bootstrap: Bootstrap): Promise<{ server: ProxyServer; port: number }> => {
  const server = new ProxyServer({
    bootstrap,
    log: createLog(
      't',
      () => undefined,
      () => new Date(),
    ),
    version: '0.1.0',
    quit: () => undefined,
  });
  server.start();
  await server.openAdmin();
  await server.whenLive();
  const [listener] = [...server.dataPlane.listeners()];
  return { server, port: Number(listener?.localAddress.split(':').at(-1)) };
};

const get = (url: string): Promise<{ status: number; headers: { [k: string]: unknown }; body: string }> =>
  new Promise((resolve, reject) => {
    request(url, { agent: false }, (res) => {
      let body = '';
      res.on('data', (c: Buffer) => {
        body += c.toString();
      });
      res.on('end', () => resolve({ status: res.statusCode ?? 0, headers: res.headers, body }));
    })
      .on('error', reject)
      .end();
  });

const startApplication = async (): Promise<{ app: Server; port: number; seen: string[][] }> => {
  const seen: string[][] = [];
  const app = createServer((req, res) => {
    seen.push(Object.keys(req.headers));
    res.end('from the application');
  });
  app.listen(0, '127.0.0.1');
  await once(app, 'listening');
  return { app, port: (app.address() as AddressInfo).port, seen };
};

describe('proxy server', () => {
  test('two proxies in a row: who called whom, in metrics, logs and dumps of both', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'skein-server-'));
    const { app, port: appPort, seen } = await startApplication();
    const inbound = await startProxy(
      bootstrapOf('payment', httpListener('in', 'INBOUND', 'app', join(dir, 'in.log')), staticCluster('app', appPort)),
    );
    const outbound = await startProxy(
      bootstrapOf('web', httpListener('out', 'OUTBOUND', 'payment', join(dir, 'out.log')), staticCluster('payment', inbound.port)),
    );
    const answer = await get(`http://127.0.0.1:${outbound.port}/charge?x=1`);
    assert.deepEqual([answer.status, answer.body], [200, 'from the application']);
    assert.ok(!Object.keys(answer.headers).some((h) => h.startsWith('x-envoy-peer-metadata')), 'the caller sees no metadata');
    assert.ok(!(seen[0] ?? []).some((h) => h.startsWith('x-envoy-peer-metadata')), 'the application sees no metadata');
    const metrics = async (p: ProxyServer): Promise<string> => (await get(`http://${p.adminAddress}/stats/prometheus`)).body;
    assert.match(
      await metrics(outbound.server),
      /istio_requests_total\{reporter="source",source_workload="web",.*destination_workload="payment",.*response_code="200".*\} 1\n/,
    );
    assert.match(
      await metrics(inbound.server),
      /istio_requests_total\{reporter="destination",source_workload="web",.*destination_workload="payment",.*\} 1\n/,
    );
    const dump = JSON.parse((await get(`http://${outbound.server.adminAddress}/config_dump`)).body) as {
      configs: { '@type': string; static_listeners?: unknown[] }[];
    };
    assert.equal(dump.configs.find((c) => c['@type'].endsWith('ListenersConfigDump'))?.static_listeners?.length, 1);
    assert.match(
      (await get(`http://${outbound.server.adminAddress}/stats?usedonly&filter=^(server.state|listener_manager.workers_started)`)).body,
      /listener_manager\.workers_started: 1\n/,
    );
    await outbound.server.drain(1000);
    assert.equal((await get(`http://${outbound.server.adminAddress}/ready`)).status, 503);
    await outbound.server.close();
    await inbound.server.close();
    assert.deepEqual(JSON.parse(readFileSync(join(dir, 'out.log'), 'utf8')), { path: '/charge?x=1', code: 200, cluster: 'payment' });
    app.close();
    app.closeAllConnections();
    rmSync(dir, { recursive: true });
  });

  test('a static cluster that speaks HTTP/2 takes requests like any other', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'skein-server-'));
    const versions: string[] = [];
    const app = createHttp2Server((req, res) => {
      versions.push(req.httpVersion);
      res.end('over HTTP/2');
    });
    app.listen(0, '127.0.0.1');
    await once(app, 'listening');
    const cluster: Cluster = {
      ...staticCluster('app', (app.address() as AddressInfo).port),
      typed_extension_protocol_options: {
        'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
          '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
          explicit_http_config: { http2_protocol_options: {} },
        },
      },
    };
    const { server, port } = await startProxy(bootstrapOf('web', httpListener('out', 'OUTBOUND', 'app', join(dir, 'out.log')), cluster));
    const answer = await get(`http://127.0.0.1:${port}/`);
    assert.deepEqual([answer.status, answer.body, versions], [200, 'over HTTP/2', ['2.0']]);
    await server.close();
    app.close();
    rmSync(dir, { recursive: true });
  });

  test('a static resource that is refused stops the start and is named', async () => {
    const bad = bootstrapOf(
      'web',
      { ...httpListener('out', 'OUTBOUND', 'x', '/dev/null'), filter_chains: [{ filters: [{ name: 'no.such' }] }] },
      staticCluster('x', 1),
    );
    const server = new ProxyServer({
      bootstrap: bad,
      log: createLog(
        't',
        () => undefined,
        () => new Date(),
      ),
      version: '0',
      quit: () => undefined,
    });
    assert.throws(() => server.start(), /static_resources: LDS out: filter_chains\[0\]\.filters\[0\]/);
    await server.close();
  });
});

describe('skein proxy -c', () => {
  const main = join(import.meta.dirname, '../../src/cli/main.ts');
  const skein = (...args: string[]) => spawn(process.execPath, [main, 'proxy', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const outputOf = async (child: ReturnType<typeof skein>): Promise<{ code: number | null; text: string }> => {
    let text = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (c: Buffer) => (text = `${text}${c.toString()}`));
    const [code] = (await once(child, 'close')) as [number | null];
    return { code, text };
  };
  const appears = (path: string): Promise<void> =>
    new Promise((resolve) => {
      const done = (): void => {
        if (!existsSync(path) || readFileSync(path, 'utf8') === '') return;
        watcher.close();
        resolve();
      };
      const watcher = watch(dirname(path), (_e, file) => {
        if (file === basename(path)) done();
      });
      done();
    });

  test('serves, says where its admin API is, drains on SIGTERM and exits 0', { timeout: 120_000 }, async () => {
    const dir = mkdtempSync(join(tmpdir(), 'skein-cli-'));
    const config = join(dir, 'e.json');
    const admin = join(dir, 'admin');
    writeFileSync(config, JSON.stringify(bootstrapOf('web', httpListener('l', 'OUTBOUND', 'x', join(dir, 'log')), staticCluster('x', 9))));
    const child = skein('-c', config, '--admin-address-path', admin);
    const ended = outputOf(child);
    await appears(admin);
    assert.equal((await get(`http://${readFileSync(admin, 'utf8')}/ready`)).body, 'LIVE\n');
    child.kill('SIGTERM');
    const { code, text } = await ended;
    assert.equal(code, 0, text);
    rmSync(dir, { recursive: true });
  });

  test('validates without binding; names what is wrong; wrong usage is 2', { timeout: 120_000 }, async () => {
    const dir = mkdtempSync(join(tmpdir(), 'skein-cli-'));
    const good = join(dir, 'good.json');
    writeFileSync(good, JSON.stringify(bootstrapOf('web', httpListener('l', 'OUTBOUND', 'x', '/dev/null'), staticCluster('x', 9))));
    const valid = await outputOf(skein('-c', good, '--mode', 'validate', '-l', 'off'));
    assert.deepEqual(valid, { code: 0, text: `configuration '${good}' OK\n` });
    const bad = join(dir, 'bad.yaml');
    writeFileSync(bad, 'static_resources: {listeners: [{nam: x}]}');
    const invalid = await outputOf(skein('-c', bad, '--mode', 'validate'));
    assert.equal(invalid.code, 1);
    assert.match(invalid.text, /static_resources\.listeners\[0\]\.nam/);
    const usage = await outputOf(skein('-c', good, '--no-such'));
    assert.equal(usage.code, 2);
    rmSync(dir, { recursive: true });
  });
});
