// One proxy without a mesh: `skein proxy -c` or `envoy -c` with a bootstrap of our own, asked only through its admin address.
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { envoyBinary } from '../conformance/proxies.ts';
import { ROOT } from '../integration/mesh.ts';
import { eventually } from '../integration/suite.ts';

export type ProxyKind = 'skein' | 'envoy';

interface BareOptions {
  readonly kind: ProxyKind;
  readonly name: string;
  /** Holds the bootstrap, the output and the admin address; the caller removes it. */
  readonly folder: string;
  readonly bootstrap: object;
  readonly flags?: readonly string[];
}

const READY_MS = 10_000;

export class BareProxy {
  readonly child: ChildProcess;
  readonly name: string;
  readonly admin: string;
  readonly outputFile: string;

  constructor(child: ChildProcess, name: string, admin: string, outputFile: string) {
    this.child = child;
    this.name = name;
    this.admin = admin;
    this.outputFile = outputFile;
  }

  /** Ready: its first configuration is in force. */
  static async start({ kind, name, folder, bootstrap, flags = [] }: BareOptions): Promise<BareProxy> {
    const file = join(folder, `${name}.json`);
    const address = join(folder, `${name}.admin`);
    const outputFile = join(folder, `${name}.log`);
    writeFileSync(file, JSON.stringify({ admin: { address: socketAddress(0) }, ...bootstrap }));
    const program = kind === 'envoy' ? (envoyBinary() ?? 'envoy') : join(ROOT, 'bin/skein');
    const own =
      kind === 'envoy'
        ? ['--disable-hot-restart', '-l', 'warning', ...(flags.includes('--concurrency') ? [] : ['--concurrency', '1'])]
        : ['proxy'];
    const fd = openSync(outputFile, 'w');
    const child = spawn(program, [...own, '-c', file, '--admin-address-path', address, ...flags], { stdio: ['ignore', fd, fd] });
    closeSync(fd);
    try {
      const admin = await eventually(`${name} tells its admin address`, READY_MS, async () => {
        if (child.exitCode !== null) throw new Error(readFileSync(outputFile, 'utf8').slice(-2000));
        return readFileSync(address, 'utf8').trim() || undefined;
      });
      const proxy = new BareProxy(child, name, `http://${admin}`, outputFile);
      await eventually(`${name} is ready`, READY_MS, async () => ((await fetch(`${proxy.admin}/ready`)).status === 200 ? true : undefined));
      return proxy;
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    }
  }

  /** A connection each: after a hot restart another process answers. */
  request(path: string, method = 'GET'): Promise<Response> {
    return fetch(`${this.admin}${path}`, { method, keepalive: false, headers: { connection: 'close' } });
  }

  async get(path: string): Promise<string> {
    return (await this.request(path)).text();
  }

  /** The port that the listener got. */
  async port(listener: string): Promise<number> {
    const { listener_statuses: list = [] } = JSON.parse(await this.get('/listeners?format=json')) as ListenerPage;
    const found = list.find(({ name }) => name === listener)?.local_address?.socket_address?.port_value;
    if (found === undefined) throw new Error(`${this.name} has no listener ${listener}: ${JSON.stringify(list)}`);
    return found;
  }

  /** Sum of the counters or gauges whose names match. */
  async stat(pattern: RegExp): Promise<number> {
    let sum = 0;
    for (const line of (await this.get('/stats')).split('\n')) {
      const [name = '', value = ''] = line.split(': ');
      if (pattern.test(name)) sum += Number(value);
    }
    return sum;
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const gone = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.kill('SIGTERM');
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 3000);
    await gone;
    clearTimeout(timer);
  }
}

interface ListenerPage {
  readonly listener_statuses?: readonly {
    readonly name: string;
    readonly local_address?: { readonly socket_address?: { readonly port_value?: number } };
  }[];
}

export const socketAddress = (port: number): object => ({ socket_address: { address: '127.0.0.1', port_value: port } });

export const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';

export const clusterTo = (name: string, ports: readonly number[], more: object = {}): object => ({
  name,
  type: 'STATIC',
  connect_timeout: '2s',
  load_assignment: {
    cluster_name: name,
    endpoints: [{ lb_endpoints: ports.map((port) => ({ endpoint: { address: socketAddress(port) } })) }],
  },
  ...more,
});

export const http2Upstream = (options: object = {}): object => ({
  typed_extension_protocol_options: {
    [HTTP_OPTIONS]: {
      '@type': `type.googleapis.com/${HTTP_OPTIONS}`,
      explicit_http_config: { http2_protocol_options: options },
    },
  },
});

export const httpFilter = (cluster: string, more: object = {}): object => ({
  name: 'envoy.filters.network.http_connection_manager',
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
    stat_prefix: 'test',
    route_config: {
      name: 'test',
      virtual_hosts: [{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster, timeout: '0s' } }] }],
    },
    http_filters: [
      {
        name: 'envoy.filters.http.router',
        typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
      },
    ],
    ...more,
  },
});

export const tcpFilter = (cluster: string, more: object = {}): object => ({
  name: 'envoy.filters.network.tcp_proxy',
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy',
    stat_prefix: 'tcp',
    cluster,
    ...more,
  },
});

export const listenerOn = (name: string, filter: object, chain: object = {}, more: object = {}): object => ({
  name,
  address: socketAddress(0),
  filter_chains: [{ filters: [filter], ...chain }],
  ...more,
});

/** TLS for any client, as a gateway's listener has it. */
export const serverTls = (certificate: string, key: string): object => ({
  transport_socket: {
    name: 'envoy.transport_sockets.tls',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
      common_tls_context: {
        alpn_protocols: ['h2', 'http/1.1'],
        tls_certificates: [{ certificate_chain: { inline_string: certificate }, private_key: { inline_string: key } }],
      },
    },
  },
});
