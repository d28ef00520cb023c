// A real Envoy tells a live control plane what it did, by the log that its sidecars are given, and is counted to the last request.
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { test } from 'node:test';
import { summariesLog } from '../../src/translate/access-log.ts';
import type { Cluster, Listener } from '../../src/xds/gen/types.ts';
import { NO_ENVOY, startEnvoy } from '../proxy/stock-envoy.ts';
import { eventually, startRig } from './rig.ts';

const REQUESTS = 25;

const listener: Listener = {
  name: 'main',
  address: { socket_address: { address: '127.0.0.1', port_value: 0 } },
  filter_chains: [
    {
      filters: [
        {
          name: 'envoy.filters.network.http_connection_manager',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
            stat_prefix: 'main',
            access_log: [summariesLog('http')],
            route_config: {
              virtual_hosts: [
                {
                  name: 'all',
                  domains: ['*'],
                  routes: [
                    { name: 'refused', match: { prefix: '/gone' }, route: { cluster: 'outbound|80||order.default.svc.cluster.local' } },
                    { name: 'direct', match: { prefix: '/' }, direct_response: { status: 200 } },
                  ],
                },
              ],
            },
            http_filters: [
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
};

const cluster = (name: string, port: number, http2: boolean): Cluster => ({
  name,
  type: 'STATIC',
  connect_timeout: '1s',
  load_assignment: {
    cluster_name: name,
    endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } } } }] }],
  },
  ...(http2
    ? {
        typed_extension_protocol_options: {
          'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
            '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
            explicit_http_config: { http2_protocol_options: {} },
          },
        },
      }
    : {}),
});

const get = (port: number, path: string): Promise<void> =>
  new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () =>
      socket.write(
        `GET ${path} HTTP/1.1\r\nhost: order\r\ntraceparent: 00-${'a'.repeat(32)}-${'b'.repeat(16)}-01\r\nconnection: close\r\n\r\n`,
      ),
    );
    socket.on('error', reject);
    // Envoy waits a second for whoever does not close.
    socket.once('data', () => {
      socket.destroy();
      resolve();
    });
  });

test('what a real Envoy logs is counted, with routes, flags and trace', { skip: NO_ENVOY }, async () => {
  const rig = await startRig({}, { xds: ['127.0.0.1:0'], insecure: true });
  const port = Number(rig.controlPlane.xds[0]?.split(':').at(-1));
  const clusters = [cluster('xds-grpc', port, true), cluster('outbound|80||order.default.svc.cluster.local', 1, false)];
  const node = {
    id: 'sidecar~127.0.0.1~web-1.default~default.svc.cluster.local',
    cluster: 'web.default',
    metadata: { SKEIN_SUMMARIES: 'true', WORKLOAD_NAME: 'web' },
  };
  try {
    await using envoy = await startEnvoy({ clusters, listeners: [listener] }, { node });
    for (let i = 0; i < REQUESTS; i++) await get(envoy.port('main'), i < 5 ? '/gone' : '/');
    interface Row {
      readonly route: string;
      readonly requests: number;
      readonly errors: number;
    }
    let rows: readonly Row[] = [];
    let asked = true;
    await eventually(
      () => `all requests are counted: ${JSON.stringify(rows)}`,
      () => {
        if (rows.reduce((n, r) => n + r.requests, 0) === REQUESTS) return true;
        if (asked) {
          asked = false;
          void rig.admin('GET', '/v1/telemetry/summary?by=route').then(({ body }) => {
            ({ rows } = body as { rows: readonly Row[] });
            asked = true;
          });
        }
        return false;
      },
    );
    assert.deepEqual(
      rows.map((r) => [r.route, r.requests, r.errors]),
      [
        ['direct', 20, 0],
        ['refused', 5, 5],
      ],
    );
    const { body } = await rig.admin('GET', `/v1/telemetry/requests?trace=${'a'.repeat(32)}&status=503`);
    const [one, ...rest] = (body as { requests: { flags: string; parentSpanId: string; source: { workload: string } }[] }).requests;
    assert.equal(rest.length, 4);
    assert.deepEqual([one?.flags.split(',').includes('UF'), one?.parentSpanId, one?.source.workload], [true, 'b'.repeat(16), 'web']);
  } finally {
    await rig.close();
  }
});
