// The host's side of the relay: listens where people connect (ingress) and carries those connections into the hub; makes the connections
// and the DNS queries that workloads send to the world outside the mesh. Runs in the host's network namespace, as the invoking user.

import { createSocket } from 'node:dgram';
import { chmodSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer, isIP, type Server, type Socket } from 'node:net';
import { answer, ask, type IngressRule, join, type RelayRequest, readLine, reset } from './relay-protocol.ts';

export interface HostRelayOptions {
  /** Where the hub's side asks us. */
  readonly socketPath: string;
  /** Where we ask the hub's side. */
  readonly hubSocketPath: string;
  readonly ingress: readonly IngressRule[];
  readonly resolvConf?: string;
  log(message: string): void;
}

const DNS_TIMEOUT_MS = 5_000;
const CONNECT_TIMEOUT_MS = 10_000;

export const startHostRelay = async (options: HostRelayOptions): Promise<{ close(): void }> => {
  rmSync(options.socketPath, { force: true });
  const ingress = new Ingress(options);
  await ingress.set(options.ingress);
  const egress = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => undefined);
    serveHub(socket, options, ingress).catch((error: unknown) => {
      options.log(String(error));
      answer(socket, { ok: false, error: error instanceof Error ? error.message : String(error) });
      socket.end();
    });
  });
  await listening(egress, (done) => egress.listen(options.socketPath, done));
  chmodSync(options.socketPath, 0o600);
  return {
    close: () => {
      egress.close();
      void ingress.set([]);
    },
  };
};

/** The listeners that people connect to. A rule that goes away closes its listener, not its connections. */
class Ingress {
  readonly #options: HostRelayOptions;
  readonly #servers = new Map<string, Server>();

  constructor(options: HostRelayOptions) {
    this.#options = options;
  }

  async set(rules: readonly IngressRule[]): Promise<void> {
    const wanted = new Map(rules.map((rule) => [JSON.stringify(rule), rule]));
    for (const [key, server] of this.#servers) {
      if (wanted.has(key)) continue;
      this.#servers.delete(key);
      server.close();
    }
    for (const [key, rule] of wanted) {
      if (this.#servers.has(key)) continue;
      const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => carryIn(socket, rule, this.#options));
      await listening(server, (done) => server.listen(rule.listen.port, rule.listen.host, done));
      this.#servers.set(key, server);
    }
  }
}

const listening = (server: Server, start: (done: () => void) => void): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once('error', reject);
    start(() => {
      server.off('error', reject);
      resolve();
    });
  });

const carryIn = (socket: Socket, rule: IngressRule, options: HostRelayOptions): void => {
  socket.on('error', () => undefined);
  socket.setNoDelay(true);
  ask(options.hubSocketPath, { op: 'connect', host: rule.target.host, port: rule.target.port }).then(
    (inner) => join(socket, inner),
    (error: unknown) => {
      options.log(`ingress ${rule.target.host}:${rule.target.port}: ${String(error)}`);
      reset(socket);
    },
  );
};

const serveHub = async (socket: Socket, options: HostRelayOptions, ingress: Ingress): Promise<void> => {
  const request = JSON.parse(await readLine(socket)) as RelayRequest;
  if (request.op === 'ingress') {
    await ingress.set(request.rules);
    answer(socket, { ok: true });
    socket.end();
    return;
  }
  if (request.op === 'dns') {
    answer(socket, { ok: true });
    serveDns(socket, options.resolvConf ?? '/etc/resolv.conf');
    return;
  }
  if (request.op !== 'connect' || isIP(request.host) === 0) {
    answer(socket, { ok: false, error: 'unknown request' });
    socket.end();
    return;
  }
  const outer = connect({ host: request.host, port: request.port, allowHalfOpen: true, noDelay: true });
  const timer = setTimeout(() => outer.destroy(new Error('ETIMEDOUT')), CONNECT_TIMEOUT_MS);
  const refused = (error: Error): void => {
    clearTimeout(timer);
    answer(socket, { ok: false, error: error.message });
    socket.end();
  };
  outer.once('error', refused);
  outer.once('connect', () => {
    clearTimeout(timer);
    outer.off('error', refused);
    answer(socket, { ok: true });
    join(socket, outer);
  });
};

// Queries in DNS-over-TCP framing on the Unix socket, each answered in the order in which answers come.
const serveDns = (socket: Socket, resolvConf: string): void => {
  let held = Buffer.alloc(0);
  socket.on('data', (chunk: Buffer) => {
    held = Buffer.concat([held, chunk]);
    while (held.length >= 2 && held.length >= 2 + held.readUInt16BE(0)) {
      const query = held.subarray(2, 2 + held.readUInt16BE(0));
      held = held.subarray(2 + query.length);
      resolveOutside(query, resolvConf).then(
        (reply) => socket.write(Buffer.concat([Buffer.from([reply.length >> 8, reply.length & 0xff]), reply])),
        () => undefined, // the client asks again
      );
    }
  });
  socket.on('end', () => socket.end());
  socket.resume();
};

const nameserver = (resolvConf: string): string | undefined => {
  try {
    return /^\s*nameserver\s+([^\s%]+)/m.exec(readFileSync(resolvConf, 'utf8'))?.[1];
  } catch {
    return undefined;
  }
};

const resolveOutside = async (query: Buffer, resolvConf: string): Promise<Buffer> => {
  const server = nameserver(resolvConf);
  if (server === undefined) throw new Error('the host has no nameserver');
  const reply = await overUdp(query, server);
  return ((reply[2] ?? 0) & 2) === 0 ? reply : await overTcp(query, server);
};

const overUdp = (query: Buffer, server: string): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    const socket = createSocket(isIP(server) === 6 ? 'udp6' : 'udp4');
    const timer = setTimeout(() => finish(() => reject(new Error('DNS timeout'))), DNS_TIMEOUT_MS);
    const finish = (run: () => void): void => {
      clearTimeout(timer);
      socket.close();
      run();
    };
    socket.once('error', (error) => finish(() => reject(error)));
    socket.once('message', (reply) => finish(() => resolve(reply)));
    socket.send(query, 53, server);
  });

const overTcp = (query: Buffer, server: string): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    const socket = connect({ host: server, port: 53 });
    let held = Buffer.alloc(0);
    socket.setTimeout(DNS_TIMEOUT_MS, () => socket.destroy(new Error('DNS timeout')));
    socket.on('error', reject);
    socket.on('connect', () => socket.write(Buffer.concat([Buffer.from([query.length >> 8, query.length & 0xff]), query])));
    socket.on('data', (chunk: Buffer) => {
      held = Buffer.concat([held, chunk]);
      if (held.length < 2 || held.length < 2 + held.readUInt16BE(0)) return;
      resolve(held.subarray(2, 2 + held.readUInt16BE(0)));
      socket.destroy();
    });
    socket.on('close', () => reject(new Error('DNS connection closed')));
  });
