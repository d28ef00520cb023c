// What the data plane's tests share: a plane with a recording observer, raw HTTP clients and servers over real sockets.
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { createLog } from '../../src/base/log.ts';
import type { StreamInfo } from '../../src/plan/stream-info.ts';
import { createDataPlane, type DataPlane, type DataPlaneOptions } from '../../src/proxy/data-plane.ts';
import { silentObserver } from '../../src/proxy/exchange/observer.ts';
import type { Cluster, FilterChain, HttpConnectionManager, Listener, Listener_Filter, Route, TcpProxy } from '../../src/xds/gen/types.ts';

export interface Logged {
  readonly status: number;
  readonly flags: string;
  readonly details: string;
  readonly attempts: number;
  readonly cluster: string;
  readonly upstream: string;
  readonly peer: string | undefined;
  readonly sni: string;
  readonly received: number;
  readonly sent: number;
  readonly chain: string;
}

const record = (info: StreamInfo): Logged => ({
  status: info.responseCode,
  flags: info.flagsShort(),
  details: info.responseCodeDetails,
  attempts: info.upstreamRequestAttemptCount,
  cluster: info.upstreamCluster,
  upstream: info.upstreamHost,
  peer: info.downstreamTls?.peer?.uriSans[0],
  sni: info.requestedServerName,
  received: info.bytesReceived,
  sent: info.bytesSent,
  chain: info.filterChainName,
});

export interface Plane extends AsyncDisposable {
  readonly plane: DataPlane;
  readonly http: Logged[];
  readonly tcp: Logged[];
  readonly connections: Logged[];
  readonly problems: string[];
  port(listener: string): number;
}

export const startPlane = async (
  resources: { clusters?: readonly Cluster[]; listeners?: readonly Listener[] },
  options: Partial<DataPlaneOptions> = {},
): Promise<Plane> => {
  const http: Logged[] = [];
  const tcp: Logged[] = [];
  const connections: Logged[] = [];
  const problems: string[] = [];
  const plane = createDataPlane({
    log: createLog(
      'test',
      (line) => problems.push(line),
      () => new Date(),
    ),
    observer: {
      ...silentObserver,
      httpDone: (info) => http.push(record(info)),
      tcpClosed: (info) => tcp.push(record(info)),
      connectionClosed: (info) => connections.push(record(info)),
    },
    ...options,
  });
  for (const cluster of resources.clusters ?? []) plane.setCluster(cluster);
  for (const listener of resources.listeners ?? []) plane.setListener(listener);
  await plane.settled();
  return {
    plane,
    http,
    tcp,
    connections,
    problems,
    port: (name) => {
      for (const listener of plane.listeners())
        if (listener.name === name) return Number(listener.localAddress.slice(listener.localAddress.lastIndexOf(':') + 1));
      throw new Error(`no listener ${name}`);
    },
    [Symbol.asyncDispose]: () => plane.close(),
  };
};

export const staticCluster = (name: string, ports: readonly number[], more: Partial<Cluster> = {}): Cluster => ({
  name,
  connect_timeout: '1s',
  load_assignment: {
    cluster_name: name,
    endpoints: [
      {
        lb_endpoints: ports.map((port) => ({
          endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } } },
        })),
      },
    ],
  },
  ...more,
});

export const HCM = 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
export const TCP = 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy';
export const ROUTER = {
  name: 'envoy.filters.http.router',
  typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
};

export const hcm = (routes: readonly Route[], more: Partial<HttpConnectionManager> = {}): Listener_Filter => ({
  name: 'envoy.filters.network.http_connection_manager',
  typed_config: {
    '@type': HCM,
    stat_prefix: 'test',
    route_config: { name: 'test', validate_clusters: false, virtual_hosts: [{ name: 'all', domains: ['*'], routes }] },
    http_filters: [ROUTER],
    ...more,
  },
});
export const tcpProxy = (cluster: string, more: Partial<TcpProxy> = {}): Listener_Filter => ({
  name: 'envoy.filters.network.tcp_proxy',
  typed_config: { '@type': TCP, stat_prefix: 'tcp', cluster, ...more },
});
export const listener = (name: string, filter: Listener_Filter, more: Partial<Listener> = {}): Listener =>
  chains(name, [{ filters: [filter] }], more);
export const chains = (name: string, filterChains: readonly FilterChain[], more: Partial<Listener> = {}): Listener => ({
  name,
  address: { socket_address: { address: '127.0.0.1', port_value: 0 } },
  filter_chains: filterChains,
  ...more,
});
export const toCluster = (cluster: string, more: Route['route'] = {}): Route => ({ match: { prefix: '/' }, route: { cluster, ...more } });

export interface Backend extends AsyncDisposable {
  readonly port: number;
  readonly server: Server;
  /** Raw bytes of every connection, in order of arrival. */
  readonly received: string[];
  readonly sockets: Socket[];
}

/** A server that hands every connection's bytes to `answer`. */
export const startBackend = async (
  answer: (socket: Socket, text: string, n: number) => void,
  host = '127.0.0.1',
  port = 0,
): Promise<Backend> => {
  const received: string[] = [];
  const sockets: Socket[] = [];
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const n = sockets.push(socket) - 1;
    received.push('');
    socket.on('error', () => {});
    socket.on('data', (bytes) => {
      received[n] += bytes.toString('latin1');
      answer(socket, bytes.toString('latin1'), n);
    });
    socket.on('end', () => socket.end());
  });
  server.listen(port, host);
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    server,
    received,
    sockets,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
};

export const ok = (body: string, more = ''): string => `HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n${more}\r\n${body}`;

/** A server that answers every complete GET head with `body(n)`: n counts requests. */
export const httpBackend = (body: (n: number, head: string) => string): Promise<Backend> => {
  let n = 0;
  const pending = new WeakMap<Socket, string>();
  return startBackend((socket, text) => {
    let all = (pending.get(socket) ?? '') + text;
    for (let end = all.indexOf('\r\n\r\n'); end >= 0; end = all.indexOf('\r\n\r\n')) {
      const head = all.slice(0, end);
      const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
      if (all.length < end + 4 + length) break;
      all = all.slice(end + 4 + length);
      const answer = body(n++, head);
      if (answer === 'reset') socket.resetAndDestroy();
      else if (answer !== 'silent') socket.write(answer.startsWith('HTTP/') ? answer : ok(answer));
    }
    pending.set(socket, all);
  });
};

export interface RawResponse {
  readonly status: number;
  readonly head: string;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

/** A client on one connection: what is sent is written as it is, responses are read one by one. */
export class RawClient {
  readonly socket: Socket;
  #buffer = Buffer.alloc(0);
  #ended = false;
  #wake: () => void = () => {};

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('error', () => {});
    socket.on('data', (bytes) => {
      this.#buffer = Buffer.concat([this.#buffer, bytes]);
      this.#wake();
    });
    const over = () => {
      this.#ended = true;
      this.#wake();
    };
    socket.on('end', over);
    socket.on('close', over);
  }

  static async open(port: number, host = '127.0.0.1'): Promise<RawClient> {
    const socket = connect({ port, host, noDelay: true, allowHalfOpen: true });
    await once(socket, 'connect');
    return new RawClient(socket);
  }

  send(text: string | Buffer): this {
    this.socket.write(text);
    return this;
  }

  get ended(): boolean {
    return this.#ended;
  }

  async #until<T>(read: () => T | undefined): Promise<T> {
    for (;;) {
      const value = read();
      if (value !== undefined) return value;
      if (this.#ended) throw new Error(`connection ended, unread: ${this.#buffer.toString('latin1').slice(0, 200)}`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async #take(bytes: number): Promise<Buffer> {
    return await this.#until(() => {
      if (this.#buffer.length < bytes) return undefined;
      const taken = this.#buffer.subarray(0, bytes);
      this.#buffer = this.#buffer.subarray(bytes);
      return taken;
    });
  }

  async #line(): Promise<string> {
    const at = await this.#until(() => {
      const end = this.#buffer.indexOf('\r\n');
      return end < 0 ? undefined : end;
    });
    return (await this.#take(at + 2)).toString('latin1').slice(0, -2);
  }

  async bytes(count: number): Promise<string> {
    return (await this.#take(count)).toString('latin1');
  }

  /** Everything until the peer ends. */
  async rest(): Promise<string> {
    while (!this.#ended)
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    const text = this.#buffer.toString('latin1');
    this.#buffer = Buffer.alloc(0);
    return text;
  }

  async response(method = 'GET'): Promise<RawResponse> {
    const lines: string[] = [];
    for (let line = await this.#line(); line !== ''; line = await this.#line()) lines.push(line);
    const status = Number(lines[0]?.split(' ')[1]);
    const headers = new Map(
      lines.slice(1).map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 2)] as const),
    );
    let body = '';
    if (method === 'HEAD' || status === 204 || status === 304 || status < 200) body = '';
    else if (headers.get('transfer-encoding') === 'chunked') {
      for (let size = Number.parseInt(await this.#line(), 16); size > 0; size = Number.parseInt(await this.#line(), 16)) {
        body += await this.bytes(size);
        await this.bytes(2);
      }
      for (let line = await this.#line(); line !== ''; line = await this.#line()) body += `[${line}]`;
    } else if (headers.has('content-length')) body = await this.bytes(Number(headers.get('content-length')));
    else body = await this.rest();
    return { status, head: lines.join('\n'), headers, body };
  }

  async get(path: string, headers = ''): Promise<RawResponse> {
    return await this.send(`GET ${path} HTTP/1.1\r\nhost: a.test\r\n${headers}\r\n`).response();
  }

  close(): void {
    this.socket.destroy();
  }
}

export const fetchOnce = async (port: number, path: string, headers = ''): Promise<RawResponse> => {
  const client = await RawClient.open(port);
  try {
    return await client.get(path, headers);
  } finally {
    client.close();
  }
};

/** Waits until `check` holds; fails loudly when it does not in time. */
export const eventually = async (check: () => boolean, what: string): Promise<void> => {
  const until = performance.now() + 20_000;
  while (!check()) {
    if (performance.now() > until) throw new Error(`not within 20 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
};
