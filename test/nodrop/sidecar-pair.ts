// A caller's and a server's sidecar without a mesh: everything but the admin address comes from the control plane in the test's hand,
// with mutual TLS whose certificates come over SDS, JSON access logs to files, three endpoints.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePorts } from '../free-port.ts';
import { BareProxy, clusterTo, HTTP_OPTIONS, http2Upstream, type ProxyKind, socketAddress } from '../interop/bare-proxy.ts';
import { startPeer } from '../interop/peer-process.ts';
import { createAuthority } from '../proxy/certificates.ts';
import { XdsControl } from './xds-control.ts';

const TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3';
/** Longer than any run: nothing that began before a change may be cut by it. */
const DRAIN_S = 600;
export const ENDPOINTS = 3;
export type Side = 'client' | 'server';
export type Way = 'http' | 'tcp';

export interface SidecarPair {
  readonly control: XdsControl;
  readonly proxies: Readonly<Record<Side, BareProxy>>;
  /** Where callers connect: HTTP/1.1, HTTP/2 and WebSocket at one, TCP at the other; the `extra` ones for what is taken away. */
  readonly ports: Readonly<Record<'http' | 'tcp' | 'extraHttp' | 'extraTcp', number>>;
  setCluster(way: Way | 'extra', generation: number, secret?: string): void;
  setEndpoints(way: Way | 'extra', which: readonly number[]): void;
  setRoute(generation: number): void;
  setListener(name: keyof SidecarPair['ports'], generation: number): void;
  removeListener(name: keyof SidecarPair['ports']): void;
  setInbound(way: Way, index: number, generation: number, secret?: string): void;
  /** A new certificate for both, or under a secret name of its own. */
  rotate(side: Side, secret?: string): void;
  accessLog(side: Side): Record<string, unknown>[];
  /** Processes that took over from those: ended with the pair. */
  readonly successors: number[];
  stop(): Promise<void>;
}

const sds = (name: string): object => ({
  name,
  sds_config: {
    api_config_source: { api_type: 'GRPC', transport_api_version: 'V3', grpc_services: [{ envoy_grpc: { cluster_name: 'sds-grpc' } }] },
    resource_api_version: 'V3',
    initial_fetch_timeout: '0s',
  },
});
const common = (secret: string, alpn: readonly string[]): object => ({
  alpn_protocols: alpn,
  tls_certificate_sds_secret_configs: [sds(secret)],
  combined_validation_context: {
    default_validation_context: { match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { prefix: 'spiffe://cluster.local/' } }] },
    validation_context_sds_secret_config: sds('ROOTCA'),
  },
});
const socketOf = (type: 'DownstreamTlsContext' | 'UpstreamTlsContext', secret: string, more: object): object => ({
  transport_socket: {
    name: 'envoy.transport_sockets.tls',
    typed_config: {
      '@type': `${TLS}.${type}`,
      common_tls_context: common(secret, type === 'DownstreamTlsContext' ? ['h2', 'http/1.1'] : []),
      ...more,
    },
  },
});

const LOG_FIELDS = {
  flags: '%RESPONSE_FLAGS%',
  status: '%RESPONSE_CODE%',
  details: '%RESPONSE_CODE_DETAILS%',
  protocol: '%PROTOCOL%',
  path: '%REQ(:PATH)%',
  upstream: '%UPSTREAM_HOST%',
  failure: '%UPSTREAM_TRANSPORT_FAILURE_REASON%',
  termination: '%CONNECTION_TERMINATION_DETAILS%',
  start: '%START_TIME%',
  listener: '%FILTER_CHAIN_NAME%',
};
const logTo = (path: string): object[] => [
  {
    name: 'envoy.access_loggers.file',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog',
      path,
      log_format: { json_format: LOG_FIELDS },
    },
  },
];

const ADS = { ads: {}, resource_api_version: 'V3', initial_fetch_timeout: '0s' };
const bootstrapOf = (side: Side, xdsPort: number): object => ({
  node: { id: side, cluster: side },
  dynamic_resources: {
    lds_config: ADS,
    cds_config: ADS,
    ads_config: {
      api_type: 'GRPC',
      transport_api_version: 'V3',
      set_node_on_first_message_only: true,
      grpc_services: [{ envoy_grpc: { cluster_name: 'xds-grpc' } }],
    },
  },
  static_resources: { clusters: ['xds-grpc', 'sds-grpc'].map((name) => clusterTo(name, [xdsPort], http2Upstream())) },
});

/** `grpcPort`: a server for the gRPC interop service beside the others. */
export const startPair = async (kind: ProxyKind, grpcPort?: number, drainSeconds = DRAIN_S): Promise<SidecarPair> => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-nodrop-'));
  const control = new XdsControl();
  const xdsPort = await control.start();
  const web = await startPeer('web-server.ts', folder);
  const greeter = await startPeer('echo-server.ts', folder);
  const [http, tcp, extraHttp, extraTcp, ...inbound] = await freePorts(4 + 2 * ENDPOINTS);
  const ports = { http: http ?? 0, tcp: tcp ?? 0, extraHttp: extraHttp ?? 0, extraTcp: extraTcp ?? 0 };
  const inboundPort = (way: Way, index: number): number => inbound[(way === 'http' ? 0 : ENDPOINTS) + index] ?? 0;
  const authority = createAuthority('nodrop');
  const logFile = (side: Side): string => join(folder, `${side}-access.log`);
  const hcm = (stat: string, file: string, routes: object): object => ({
    name: 'envoy.filters.network.http_connection_manager',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
      stat_prefix: stat,
      ...routes,
      upgrade_configs: [{ upgrade_type: 'websocket' }],
      http_filters: [
        {
          name: 'envoy.filters.http.router',
          typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
        },
      ],
      access_log: logTo(file),
    },
  });
  const tcpProxy = (stat: string, cluster: string, file: string): object => ({
    name: 'envoy.filters.network.tcp_proxy',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy',
      stat_prefix: stat,
      cluster,
      idle_timeout: '0s',
      access_log: logTo(file),
    },
  });
  const route = (cluster: string, name: string, generation: number): object => ({
    name,
    virtual_hosts: [
      {
        name: 'all',
        domains: ['*'],
        routes: [
          ...(name === 'inbound' && grpcPort !== undefined
            ? [{ match: { prefix: '/grpc.testing.' }, route: { cluster: 'grpc', timeout: '0s' } }]
            : []),
          { match: { prefix: '/' }, route: { cluster, timeout: '0s' } },
        ],
        request_headers_to_add: [{ header: { key: 'x-generation', value: String(generation) } }],
      },
    ],
  });
  const followsCaller = {
    typed_extension_protocol_options: {
      [HTTP_OPTIONS]: {
        '@type': `type.googleapis.com/${HTTP_OPTIONS}`,
        use_downstream_protocol_config: { http_protocol_options: {}, http2_protocol_options: {} },
      },
    },
  };
  const pair: Omit<SidecarPair, 'proxies' | 'stop'> = {
    control,
    ports,
    successors: [],
    setCluster: (way, generation, secret = 'default') =>
      control.set('client', 'CDS', way, {
        name: way,
        type: 'EDS',
        connect_timeout: `${10 + (generation % 5)}s`,
        eds_cluster_config: { eds_config: ADS },
        ...(way === 'tcp' ? {} : followsCaller),
        ...socketOf('UpstreamTlsContext', secret, { sni: 'nodrop.test' }),
      }),
    setEndpoints: (way, which) =>
      control.set('client', 'EDS', way, {
        cluster_name: way,
        endpoints: [
          { lb_endpoints: which.map((i) => ({ endpoint: { address: socketAddress(inboundPort(way === 'tcp' ? 'tcp' : 'http', i)) } })) },
        ],
      }),
    setRoute: (generation) => control.set('client', 'RDS', 'routes', route('http', 'routes', generation)),
    setListener: (name, generation) => {
      const isHttp = name === 'http' || name === 'extraHttp';
      const file = logFile('client');
      const rds = { rds: { route_config_name: name === 'http' ? 'routes' : 'extra-routes', config_source: ADS } };
      control.set('client', 'LDS', name, {
        name,
        address: socketAddress(ports[name]),
        filter_chains: [
          {
            name: `${name}-${generation}`,
            filters: [isHttp ? hcm(`out${generation}`, file, rds) : tcpProxy(`out${generation}`, 'tcp', file)],
          },
        ],
      });
    },
    removeListener: (name) => control.remove('client', 'LDS', name),
    setInbound: (way, index, generation, secret = 'default') => {
      const file = logFile('server');
      const filter =
        way === 'http'
          ? hcm(`in${generation}`, file, { route_config: route('web', 'inbound', generation) })
          : tcpProxy(`in${generation}`, 'greeter', file);
      control.set('server', 'LDS', `${way}-${index}`, {
        name: `${way}-${index}`,
        address: socketAddress(inboundPort(way, index)),
        filter_chains: [
          {
            name: `in-${generation}`,
            filters: [filter],
            ...socketOf('DownstreamTlsContext', secret, { require_client_certificate: true }),
          },
        ],
      });
    },
    rotate: (side, secret = 'default') => {
      const { certificate, key } = authority.issue({ uri: `spiffe://cluster.local/ns/default/sa/${side}` });
      control.set(side, 'SDS', secret, {
        name: secret,
        tls_certificate: { certificate_chain: { inline_string: certificate }, private_key: { inline_string: key } },
      });
    },
    accessLog: (side) =>
      readFileSync(logFile(side), 'utf8')
        .split('\n')
        .filter((line) => line.endsWith('}'))
        .map((line) => JSON.parse(line) as Record<string, unknown>),
  };
  for (const side of ['client', 'server'] as const) {
    pair.rotate(side);
    control.set(side, 'SDS', 'ROOTCA', { name: 'ROOTCA', validation_context: { trusted_ca: { inline_string: authority.pem } } });
  }
  control.set('server', 'CDS', 'web', {
    ...clusterTo('web', [web.port]),
  });
  if (grpcPort !== undefined) control.set('server', 'CDS', 'grpc', clusterTo('grpc', [grpcPort], http2Upstream()));
  control.set('server', 'CDS', 'greeter', clusterTo('greeter', [greeter.port]));
  for (const way of ['http', 'tcp'] as const) {
    for (let i = 0; i < ENDPOINTS; i++) pair.setInbound(way, i, 0);
    pair.setCluster(way, 0);
    pair.setEndpoints(way, [0, 1, 2]);
  }
  // Its own upstream connections: what is done to those shares nothing with the others.
  pair.setCluster('extra', 0);
  pair.setEndpoints('extra', [0, 1, 2]);
  control.set('client', 'RDS', 'extra-routes', route('extra', 'extra-routes', 0));
  pair.setRoute(0);
  for (const name of ['http', 'tcp', 'extraHttp', 'extraTcp'] as const) pair.setListener(name, 0);

  const started: BareProxy[] = [];
  const stop = async (): Promise<void> => {
    for (const proxy of started) pair.successors.push(...(await heirsOf(proxy)));
    for (const proxy of started) proxy.child.kill('SIGKILL');
    for (const pid of pair.successors) killed(pid);
    for (const peer of [web, greeter]) peer.stop();
    control.stop();
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    for (const side of ['server', 'client'] as const)
      started.push(
        await BareProxy.start({
          kind,
          name: side,
          folder,
          bootstrap: bootstrapOf(side, xdsPort),
          flags: ['--drain-time-s', String(drainSeconds), '--drain-strategy', 'immediate', '--file-flush-interval-msec', '200'],
        }),
      );
  } catch (error) {
    await stop();
    throw error;
  }
  const [server, client] = started;
  if (server === undefined || client === undefined) throw new Error('unreachable');
  return { ...pair, proxies: { server, client }, stop };
};

const killed = (pid: number): void => {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // it has ended
  }
};

/** Whoever answers in its place by now, and whom that one has started. */
const heirsOf = async (proxy: BareProxy): Promise<number[]> => {
  try {
    const { pid = 0, successor = 0 } = JSON.parse(await proxy.get('/hot_restart')) as { pid?: number; successor?: number };
    return [pid, successor].filter((p) => p > 1);
  } catch {
    return []; // none, or not of this kind
  }
};
