// A config_dump as tables with istioctl's columns.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseClusters, parseConfigDump } from '../../src/cli/config-dump.ts';
import { clusterTable, endpointTable, listenerTable, routeTable } from '../../src/cli/proxy-config-tables.ts';

const DUMP = {
  configs: [
    {
      '@type': 'type.googleapis.com/envoy.admin.v3.ClustersConfigDump',
      dynamic_active_clusters: [
        {
          cluster: {
            '@type': 'x',
            name: 'outbound|8080|v1|payment.production.svc.cluster.local',
            type: 'EDS',
            metadata: {
              filter_metadata: { istio: { config: '/apis/networking.istio.io/v1/namespaces/production/destination-rule/payment' } },
            },
          },
        },
        { cluster: { name: 'BlackHoleCluster' } },
      ],
    },
    {
      '@type': 'type.googleapis.com/envoy.admin.v3.ListenersConfigDump',
      dynamic_listeners: [
        {
          name: 'l',
          active_state: {
            listener: {
              name: 'l',
              address: { socket_address: { address: '0.0.0.0', port_value: 8080 } },
              filter_chains: [
                {
                  filter_chain_match: { transport_protocol: 'raw_buffer', application_protocols: ['http/1.1'] },
                  filters: [{ typed_config: { rds: { route_config_name: '8080' } } }],
                },
              ],
              default_filter_chain: { filters: [{ typed_config: { cluster: 'PassthroughCluster' } }] },
            },
          },
        },
      ],
    },
    {
      '@type': 'type.googleapis.com/envoy.admin.v3.RoutesConfigDump',
      dynamic_route_configs: [
        {
          route_config: {
            name: '8080',
            virtual_hosts: [
              {
                name: 'v',
                domains: ['payment', 'payment.production'],
                routes: [
                  {
                    match: { prefix: '/' },
                    metadata: {
                      filter_metadata: { istio: { config: '/apis/networking.istio.io/v1/namespaces/production/virtual-service/payment' } },
                    },
                  },
                ],
              },
            ],
          },
        },
      ],
    },
  ],
};

const rows = (table: string): readonly (readonly string[])[] =>
  table
    .trimEnd()
    .split('\n')
    .map((line) => line.split(/ {3,}/));

describe('proxy-config tables', () => {
  const dump = parseConfigDump(DUMP);

  test('clusters, listeners and routes', () => {
    assert.deepEqual(rows(clusterTable(dump.clusters)), [
      ['SERVICE FQDN', 'PORT', 'SUBSET', 'DIRECTION', 'TYPE', 'DESTINATION RULE'],
      ['BlackHoleCluster', '-', '-', '-', 'STATIC'],
      ['payment.production.svc.cluster.local', '8080', 'v1', 'outbound', 'EDS', 'payment.production'],
    ]);
    assert.deepEqual(rows(listenerTable(dump.listeners)).slice(1), [
      ['0.0.0.0', '8080', 'Trans: raw_buffer; App: http/1.1', 'Route: 8080'],
      ['0.0.0.0', '8080', 'ALL', 'PassthroughCluster'],
    ]);
    assert.deepEqual(rows(routeTable(dump.routes)).slice(1), [['8080', 'v', 'payment, payment.production', '/*', 'payment.production']]);
  });

  test('endpoints with their health', () => {
    const host = (address: string, health: object) => ({ address: { socket_address: { address, port_value: 80 } }, health_status: health });
    const healthy = host('10.0.0.1', { eds_health_status: 'HEALTHY' });
    const ejected = host('10.0.0.2', { eds_health_status: 'HEALTHY', failed_outlier_check: true });
    const status = parseClusters({
      cluster_statuses: [{ name: 'c', host_statuses: [ejected, healthy, host('10.0.0.3', { eds_health_status: 'DRAINING' })] }],
    });
    assert.deepEqual(rows(endpointTable(status)).slice(1), [
      ['10.0.0.1:80', 'HEALTHY', 'OK', 'c'],
      ['10.0.0.2:80', 'HEALTHY', 'FAILED', 'c'],
      ['10.0.0.3:80', 'DRAINING', 'OK', 'c'],
    ]);
  });

  test('a dump without sections is empty, not an error', () => {
    assert.deepEqual(parseConfigDump({}), { listeners: [], routes: [], clusters: [], endpoints: [], secrets: [], bootstrap: undefined });
    assert.deepEqual(parseConfigDump({ configs: [null, 'x'] }).clusters, []);
  });
});
