// A whole proxy from its bootstrap: what of it listens, where its answers to people are, whom it asks for configuration, and whom its
// connections seem to come from; and which of two zones is its own.
import { createLog } from '../../../src/base/log.ts';
import { PlanError } from '../../../src/plan/plan-error.ts';
import { ProxyServer } from '../../../src/proxy/bootstrap/proxy-server.ts';
import type { Bootstrap, Cluster, LocalityLbEndpoints } from '../../../src/xds/gen/types.ts';
import { createAuthority } from '../../proxy/certificates.ts';
import {
  type Backend,
  chains,
  eventually,
  hcm,
  httpBackend,
  listener,
  startBackend,
  staticCluster,
  toCluster,
} from '../../proxy/harness.ts';
import { type FieldCase, only, type Part } from '../case.ts';
import { ask } from '../http-probe.ts';

const bootstrap = (message: Bootstrap): Part => ({ type: 'envoy.config.bootstrap.v3.Bootstrap', message });
const LOCAL = { address: { socket_address: { address: '127.0.0.1', port_value: 0 } } };

/** The proxy, for as long as `look` takes. */
const running =
  (look: (server: ProxyServer, port: () => number) => Promise<unknown>): FieldCase['observe'] =>
  async (parts) => {
    const server = started(only(parts, 'envoy.config.bootstrap.v3.Bootstrap'));
    try {
      await server.openAdmin();
      return await look(server, () => Number([...server.dataPlane.listeners()][0]?.localAddress.split(':').at(-1) ?? 0));
    } finally {
      await server.close();
    }
  };

/** What is refused is refused by the path of its field. */
const started = (config: Bootstrap): ProxyServer => {
  const server = new ProxyServer({
    bootstrap: config,
    log: createLog(
      'fields',
      () => undefined,
      () => new Date(0),
    ),
    version: '1.0.0',
    quit: () => undefined,
    random: () => 0.7,
  });
  try {
    server.start();
    return server;
  } catch (problem) {
    void server.close();
    const [, path, reason] = /([\w.[\]]+): (.*)$/.exec(problem instanceof Error ? problem.message : '') ?? [];
    throw path === undefined ? problem : new PlanError(path, reason ?? '');
  }
};

let backend: Backend;
const start = async () => {
  backend = await startBackend((socket, text) => {
    if (/^GET \//.test(text)) socket.write(`HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n${socket.remoteAddress}`);
  });
  return backend;
};
const authority = createAuthority('fields');
const issued = authority.issue({ dns: 'a.test' });
const TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext';

const startWhole: FieldCase = {
  name: 'start-whole',
  start,
  parts: () => [
    bootstrap({
      node: { id: 'n', cluster: 'c' },
      admin: LOCAL,
      cluster_manager: { upstream_bind_config: { source_address: { address: '127.0.0.7', port_value: 0 } } },
      static_resources: {
        clusters: [staticCluster('backend', [backend.port])],
        listeners: [listener('in', hcm([toCluster('backend')]))],
      },
    }),
  ],
  observe: running(async (server, port) => {
    await server.whenLive();
    return [(await ask(port(), '/')).body, server.adminAddress?.startsWith('127.0.0.1:')];
  }),
  expect: ['127.0.0.7', true],
};

const startSecrets: FieldCase = {
  name: 'start-secrets',
  parts: () => [
    bootstrap({
      node: { id: 'n' },
      static_resources: {
        secrets: [
          {
            name: 'own',
            tls_certificate: { certificate_chain: { inline_string: issued.certificate }, private_key: { inline_string: issued.key } },
          },
        ],
        listeners: [
          chains('in', [
            {
              transport_socket: {
                name: 'envoy.transport_sockets.tls',
                typed_config: { '@type': TLS, common_tls_context: { tls_certificate_sds_secret_configs: [{ name: 'own' }] } },
              },
              filters: [hcm([])],
            },
          ]),
        ],
      },
    }),
  ],
  observe: running(async (server) => {
    await server.whenLive();
    return [...server.dataPlane.listeners()].map((l) => l.warm);
  }),
  expect: [true],
};

const startAds: FieldCase = {
  name: 'start-ads',
  start,
  parts: () => [
    bootstrap({
      node: { id: 'n' },
      dynamic_resources: {
        ads_config: { api_type: 'DELTA_GRPC', grpc_services: [{ envoy_grpc: { cluster_name: 'xds' } }] },
        lds_config: { ads: {} },
      },
      static_resources: { clusters: [staticCluster('xds', [backend.port])] },
    }),
  ],
  observe: async (parts) => {
    const from = backend.received.length;
    return await running(async () => {
      const asked = () => backend.received.slice(from).some((text) => text.startsWith('PRI * HTTP/2.0'));
      await eventually(asked, 'a stream').catch(() => undefined);
      return asked();
    })(parts);
  },
  expect: true,
};

let zones: Record<'own' | 'other', Backend>;
const zone = (name: string, port: number): LocalityLbEndpoints => ({
  locality: { zone: name },
  load_balancing_weight: 1,
  lb_endpoints: [{ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } } } }],
});
const inZones = (name: string, more: Partial<Cluster> = {}): Cluster => ({
  name,
  load_assignment: { cluster_name: name, endpoints: [zone('own', zones.own.port), zone('other', zones.other.port)] },
  ...more,
});
const startZone: FieldCase = {
  name: 'start-zone',
  start: async () => {
    const [own, other] = [await httpBackend(() => 'own'), await httpBackend(() => 'other')];
    zones = { own, other };
    return {
      [Symbol.asyncDispose]: async () => {
        await own[Symbol.asyncDispose]();
        await other[Symbol.asyncDispose]();
      },
    };
  },
  parts: () => [
    bootstrap({
      node: { id: 'n', locality: { zone: 'own' } },
      cluster_manager: { local_cluster_name: 'callers' },
      static_resources: {
        clusters: [inZones('callers'), inZones('called', { common_lb_config: { zone_aware_lb_config: { min_cluster_size: 1 } } })],
        listeners: [listener('in', hcm([toCluster('called')]))],
      },
    }),
  ],
  observe: running(async (server, port) => {
    await server.whenLive();
    const seen = new Set<string>();
    for (let n = 0; n < 8; n++) seen.add((await ask(port(), '/')).body);
    return [...seen];
  }),
  expect: ['own'],
};

export const PROCESS_CASES: readonly FieldCase[] = [startWhole, startSecrets, startAds, startZone];
