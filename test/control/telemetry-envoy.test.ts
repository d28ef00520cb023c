// A real Envoy tells a live control plane what it did, by the log that its sidecars are given, and is counted to the last request.
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { test } from 'node:test';
import { PIPELINE } from '../../src/control/pipeline.ts';
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

const refusing: Listener = {
  name: 'refusing',
  address: { socket_address: { address: '127.0.0.1', port_value: 0 } },
  filter_chains: [
    {
      filters: [
        {
          name: 'envoy.filters.network.rbac',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC',
            stat_prefix: 'tcp.',
            rules: {
              action: 'DENY',
              policies: { 'ns[default]-policy[no-one]-rule[0]': { permissions: [{ any: true }], principals: [{ any: true }] } },
            },
          },
        },
        {
          name: 'envoy.filters.network.tcp_proxy',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy',
            stat_prefix: 'in',
            cluster: 'inbound|9000||',
            access_log: [summariesLog('tcp')],
          },
        },
      ],
    },
  ],
};

/** Sends, as Envoy decides with the first byte, and resolves with its own address when it has been closed. */
const refusedFrom = (port: number): Promise<string> =>
  new Promise((resolve, reject) => {
    let from = '';
    const socket = connect(port, '127.0.0.1', () => {
      from = `127.0.0.1:${socket.localPort}`;
      socket.write('hello');
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(from));
    socket.resume();
  });

const NO_ONE = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: no-one, namespace: default }
spec:
  action: DENY
  rules: [{}]
`;

test('a connection that a real Envoy refused is known by its address, and in the audit log with its policy', {
  skip: NO_ENVOY,
}, async () => {
  const rig = await startRig({ 'rules.yaml': NO_ONE }, { xds: ['127.0.0.1:0'], insecure: true, pipeline: PIPELINE });
  const port = Number(rig.controlPlane.xds[0]?.split(':').at(-1));
  // Envoy dials before it decides, and decides with the first byte: somebody must accept.
  const clusters = [cluster('xds-grpc', port, true), cluster('inbound|9000||', port, false)];
  const node = {
    id: 'sidecar~127.0.0.1~ledger-1.default~default.svc.cluster.local',
    cluster: 'ledger.default',
    metadata: { SKEIN_SUMMARIES: 'true', WORKLOAD_NAME: 'ledger' },
  };
  try {
    await using envoy = await startEnvoy({ clusters, listeners: [refusing] }, { node });
    const from = await refusedFrom(envoy.port('refusing'));
    const details = 'rbac_access_denied_matched_policy[ns[default]-policy[no-one]-rule[0]]';
    let told: readonly { readonly remote: string; readonly proxy: string; readonly details: string }[] = [];
    for (let asked = 0; told.length === 0 && asked < 500; asked++) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      told = (await rig.admin('GET', '/v1/telemetry/refused-connections')).body as typeof told;
    }
    assert.deepEqual(
      told.map((t) => [t.remote, t.proxy, t.details]),
      [[from, 'ledger-1.default', details]],
    );
    const { body } = await rig.admin('GET', '/v1/audit?type=denial');
    const [entry] = (body as { entries: readonly Record<string, unknown>[] }).entries;
    assert.deepEqual(
      [entry?.['connection'], entry?.['policy'], entry?.['rule'], entry?.['reason'], entry?.['line']],
      [from, 'default/no-one', 0, details, 6],
    );
  } finally {
    await rig.close();
  }
});
