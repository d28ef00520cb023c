// Real `skein proxy -c` processes for the tests of the process's life: one in front of an HTTP, a WebSocket and an echo
// backend of the test, and clients that count what goes wrong.

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const HCM = 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
const ROUTER = 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router';
const TCP = 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy';

/** Answers HTTP requests with `ok`, upgrades to an echo, and echoes whatever does not begin as HTTP. */
export const startEcho = async (port = 0, host = '127.0.0.1'): Promise<{ readonly server: Server; readonly port: number }> => {
  const server = createServer((socket) => {
    let mode: 'unknown' | 'http' | 'echo' = 'unknown';
    socket.on('error', () => socket.destroy());
    socket.on('data', (bytes) => {
      const text = bytes.toString('latin1');
      if (mode === 'unknown') mode = text.startsWith('GET ') ? 'http' : 'echo';
      if (mode === 'echo') socket.write(bytes);
      else if (/\r\nupgrade: websocket/i.test(text)) {
        mode = 'echo';
        socket.write('HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n');
      } else socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok');
    });
  });
  server.listen(port, host);
  await once(server, 'listening');
  return { server, port: (server.address() as AddressInfo).port };
};

export const proxyConfig = (backend: number, extra: object = {}): object => ({
  node: { id: 'n', cluster: 'c' },
  admin: { address: { socket_address: { address: '127.0.0.1', port_value: 0 } } },
  static_resources: {
    clusters: [
      {
        name: 'b',
        type: 'STATIC',
        load_assignment: { cluster_name: 'b', endpoints: [{ lb_endpoints: [{ endpoint: { address: address(backend) } }] }] },
      },
    ],
    listeners: [
      listenerOf('http', 0, httpFilter()),
      listenerOf('tcp', 0, { name: 't', typed_config: { '@type': TCP, stat_prefix: 't', cluster: 'b' } }),
    ],
  },
  ...extra,
});

export const listenerOf = (name: string, port: number, filter: object, more: object = {}): object => ({
  name,
  address: address(port),
  filter_chains: [{ filters: [filter] }],
  ...more,
});

export const httpFilter = (): object => ({
  name: 'h',
  typed_config: {
    '@type': HCM,
    stat_prefix: 'h',
    upgrade_configs: [{ upgrade_type: 'websocket' }],
    route_config: { virtual_hosts: [{ name: 'v', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'b' } }] }] },
    http_filters: [{ name: 'r', typed_config: { '@type': ROUTER } }],
  },
});

const address = (port: number): object => ({ socket_address: { address: '127.0.0.1', port_value: port } });

export class ProxyProcess {
  readonly folder = mkdtempSync(join(tmpdir(), 'skein-life-'));
  readonly child: ChildProcess;
  #log = '';
  admin = 0;

  constructor(
    config: object,
    flags: readonly string[] = [],
    env: Readonly<Record<string, string>> = {},
    descriptors: readonly number[] = [],
    shell = '',
  ) {
    this.configure(config);
    const command = [MAIN, 'proxy', '-c', this.#config, '--admin-address-path', this.#adminPath, ...flags];
    // `shell` runs before it in the same process.
    this.child = spawn('/bin/sh', ['-c', `${shell} exec "$0" "$@"`, process.execPath, ...command], {
      stdio: ['ignore', 'ignore', 'pipe', ...descriptors],
      env: { ...process.env, ...env },
    });
    this.child.stderr?.on('data', (bytes: Buffer) => {
      this.#log += bytes.toString();
    });
  }

  get #config(): string {
    return join(this.folder, 'envoy.json');
  }
  get #adminPath(): string {
    return join(this.folder, 'admin');
  }
  get log(): string {
    return this.#log;
  }

  /** What the next process of this command line will read. */
  configure(config: object): void {
    writeFileSync(join(this.folder, 'envoy.json'), JSON.stringify(config));
  }

  async ready(): Promise<void> {
    await until(
      () => this.#log.includes(' ready '),
      () => `the proxy is not ready (${this.child.exitCode ?? this.child.signalCode ?? 'runs'}):\n${this.#log}`,
    );
    this.admin = Number(readFileSync(this.#adminPath, 'utf8').split(':').at(-1));
  }

  async call(method: string, path: string): Promise<{ readonly status: number; readonly body: string }> {
    return await new Promise((resolve, reject) => {
      const sent = request({ port: this.admin, host: '127.0.0.1', method, path, agent: false }, (res) => {
        let body = '';
        res.on('data', (chunk: Buffer) => {
          body += chunk.toString();
        });
        res.on('end', () => resolve({ status: res.statusCode ?? 0, body }));
      });
      sent.on('error', reject);
      sent.end();
    });
  }

  async status(): Promise<{ readonly state: string; readonly epoch: number; readonly pid: number; readonly reason: string }> {
    return JSON.parse((await this.call('GET', '/hot_restart')).body) as Awaited<ReturnType<ProxyProcess['status']>>;
  }

  /** The port that a listener really has. */
  async port(name: string): Promise<number> {
    const { body } = await this.call('GET', '/listeners');
    return Number(new RegExp(`^${name}::.*:(\\d+)$`, 'm').exec(body)?.[1]);
  }

  /** Asks for a successor and waits until it serves; its pid. */
  async restart(): Promise<number> {
    const { epoch } = await this.status();
    const answer = await this.call('POST', '/hot_restart');
    assert.equal(answer.status, 202, answer.body);
    return await this.served(epoch + 1);
  }

  async served(epoch: number): Promise<number> {
    let last = { state: '', epoch: -1, pid: 0, reason: '' };
    await until(
      async () => {
        last = await this.status().catch(() => last);
        return (last.epoch >= epoch && last.state === 'idle') || last.state === 'failed';
      },
      () => `no successor: ${JSON.stringify(last)}\n${this.#log}`,
    );
    assert.equal(last.epoch, epoch, last.reason);
    return last.pid;
  }

  remove(pids: readonly number[]): void {
    for (const pid of [this.child.pid ?? 0, ...pids]) if (runs(pid)) process.kill(pid, 'SIGKILL');
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export const runs = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
  } catch {
    return false;
  }
};

export const until = async (holds: () => boolean | Promise<boolean>, otherwise: () => string, withinMs = 60_000): Promise<void> => {
  const end = Date.now() + withinMs;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(otherwise());
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
};

/** Sends on one connection, one message after the other, and takes a new connection only when it is told to go. */
export class SteadyClient {
  readonly failures: string[] = [];
  done = 0;
  connections = 0;
  readonly #host: string;
  #stopped = false;
  #running: Promise<void> = Promise.resolve();

  constructor(port: number, kind: 'http' | 'websocket' | 'tcp', everyMs: number, host = '127.0.0.1') {
    this.#host = host;
    this.#running = (kind === 'http' ? this.#http(port, everyMs) : this.#echo(port, kind, everyMs)).catch((e: unknown) => {
      this.failures.push(String(e));
    });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async #http(port: number, everyMs: number): Promise<void> {
    let line: Line | undefined;
    while (!this.#stopped) {
      line ??= await this.#connect(port);
      const answer = await line.exchange(`GET / HTTP/1.1\r\nhost: ${this.#host}\r\n\r\n`, (text) => text.endsWith('\r\n\r\nok'));
      if (answer.startsWith('HTTP/1.1 200')) this.done++;
      else this.failures.push(`answer: ${JSON.stringify(answer)}`);
      if (/^connection: close\r$/im.test(answer) || !answer.startsWith('HTTP/1.1 200')) {
        line.socket.destroy();
        line = undefined;
      }
      await new Promise((resolve) => setTimeout(resolve, everyMs));
    }
    line?.socket.destroy();
  }

  async #echo(port: number, kind: 'websocket' | 'tcp', everyMs: number): Promise<void> {
    const line = await this.#connect(port);
    if (kind === 'websocket') {
      const head = `GET /ws HTTP/1.1\r\nhost: ${this.#host}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n`;
      const answer = await line.exchange(head, (text) => text.includes('\r\n\r\n'));
      if (!answer.startsWith('HTTP/1.1 101')) this.failures.push(answer);
    }
    for (let n = 0; !this.#stopped; n++) {
      const message = `message ${n};`;
      const answer = await line.exchange(message, (text) => text.length >= message.length);
      if (answer === message) this.done++;
      else {
        this.failures.push(`echo: ${JSON.stringify(answer)}`);
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, everyMs));
    }
    line.socket.destroy();
  }

  async #connect(port: number): Promise<Line> {
    this.connections++;
    const socket = connect(port, this.#host);
    await once(socket, 'connect');
    return new Line(socket);
  }
}

class Line {
  readonly socket: Socket;
  #text = '';
  #ended = '';
  #wake: () => void = () => {};

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (bytes: Buffer) => {
      this.#text += bytes.toString('latin1');
      this.#wake();
    });
    socket.on('error', (error) => this.#end(error.message));
    socket.on('close', () => this.#end('closed'));
    socket.on('end', () => this.#end('ended'));
  }

  async exchange(message: string, complete: (text: string) => boolean): Promise<string> {
    if (this.#ended !== '') return `<${this.#ended} before>`;
    this.#text = '';
    this.socket.write(message);
    while (!complete(this.#text) && this.#ended === '') {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return complete(this.#text) ? this.#text : `${this.#text}<${this.#ended}>`;
  }

  #end(why: string): void {
    this.#ended ||= why;
    this.#wake();
  }
}
