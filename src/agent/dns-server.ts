// The resolver of a workload's application, UDP and TCP on one port: mesh names from the name table, everything else from
// the upstream resolvers. Answers every question it can read, also when nothing works (SERVFAIL), so nobody waits in vain.
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { createServer, type Server, type Socket } from 'node:net';
import { decode, type Packet } from 'dns-packet';
import type { Log } from '../base/log.ts';
import type { NameTable } from '../xds/gen/types.ts';
import type { DnsConfig } from './agent-config.ts';
import { answerFromMesh, dnsResponse, dnsUdpResponse, type Rcode } from './dns-answer.ts';
import { DnsForwarder } from './dns-forward.ts';
import { TcpMessages, tcpFrame } from './dns-tcp.ts';
import { DNS_FIRST_NAMES_MS, DNS_FORWARDS_MAX, DNS_TCP_CONNECTIONS_MAX, DNS_TCP_IDLE_MS, DNS_UPSTREAM_TIMEOUT_MS } from './limits.ts';
import { NameIndex, type NameIndexOptions } from './name-index.ts';
import type { SocketSource } from './socket-source.ts';

export interface DnsServerOptions extends NameIndexOptions {
  readonly dns: DnsConfig;
  readonly bindSource: string | undefined;
  readonly log: Log;
  /** Absent: bound here. */
  readonly sockets?: SocketSource | undefined;
}

export class DnsServer {
  readonly #options: DnsServerOptions;
  readonly #forwarder: DnsForwarder;
  readonly #connections = new Set<Socket>();
  #index: NameIndex;
  /** Settles with the first name table, or when it has not come in time. */
  readonly #firstNames = Promise.withResolvers<void>();
  #namesTimer: NodeJS.Timeout | undefined;
  #hasTable = false;
  #held = 0;
  #udp: UdpSocket | undefined;
  readonly #taken: number[] = [];
  #answering = 0;
  #lastAnswer: (() => void) | undefined;
  #closed: Promise<void> = Promise.resolve();
  #udpClosed: Promise<void> = Promise.resolve();
  #tcp: Server | undefined;

  constructor(options: DnsServerOptions) {
    this.#options = options;
    this.#index = new NameIndex({}, options);
    this.#forwarder = new DnsForwarder({ upstreams: options.dns.upstreams, bindSource: options.bindSource });
  }

  /** The port in use (the configured one, or the one the kernel chose for 0). */
  get port(): number {
    return this.#udp?.address().port ?? 0;
  }

  setNames(table: NameTable): void {
    this.#index = new NameIndex(table, this.#options);
    this.#hasTable = true;
    this.#firstNames.resolve();
  }

  /** Rejects when the port cannot be bound. */
  async start(): Promise<void> {
    const { host, port } = this.#options.dns.listen;
    const tcp = createServer((socket) => this.#serveTcp(socket));
    this.#tcp = tcp;
    await new Promise<void>((resolve, reject) => {
      tcp.once('error', reject);
      const fd = this.#take('tcp', host, port);
      if (fd === undefined) tcp.listen(port, host, resolve);
      else tcp.listen({ fd }, resolve);
    });
    const bound = tcp.address();
    const udpPort = typeof bound === 'object' && bound !== null ? bound.port : port;
    const udp = createSocket(host.includes(':') ? 'udp6' : 'udp4');
    this.#udp = udp;
    await new Promise<void>((resolve, reject) => {
      udp.once('error', reject);
      const fd = this.#take('udp', host, udpPort);
      if (fd === undefined) udp.bind(udpPort, host, resolve);
      else udp.bind({ fd }, resolve);
    });
    this.#namesTimer = setTimeout(() => this.#firstNames.resolve(), DNS_FIRST_NAMES_MS);
    this.#namesTimer.unref();
    udp.on('error', (e) => this.#options.log.warning('DNS socket', { problem: e.message }));
    let open = true;
    udp.on('close', () => {
      open = false;
    });
    udp.on('message', (query, from) => {
      this.#answering++;
      const answered = (): void => {
        if (--this.#answering === 0) this.#lastAnswer?.();
      };
      void this.#answer(query, 'udp').then((answer) => {
        // A forged question may come from port 0, where nothing can be sent. What is sent leaves in a later turn: a socket that is
        // closed before would take the answer with it.
        if (answer && open && from.port > 0) udp.send(answer, from.port, from.address, answered);
        else answered();
      });
    });
  }

  async stop(): Promise<void> {
    this.release();
    for (const c of this.#connections) c.destroy();
    await Promise.all([this.#closed, this.#udpClosed]);
  }

  /** Stops accepting questions; those that were asked over TCP are answered. */
  release(): void {
    const tcp = this.#tcp;
    this.#tcp = undefined;
    for (const fd of this.#taken.splice(0)) this.#options.sockets?.closed(fd);
    const udp = this.#udp;
    this.#udp = undefined;
    if (udp) {
      this.#udpClosed = new Promise((resolve) => udp.once('close', () => resolve()));
      this.#closeAnswered(udp);
    }
    clearTimeout(this.#namesTimer);
    this.#firstNames.resolve();
    if (tcp) this.#closed = new Promise((resolve) => tcp.close(() => resolve()));
  }

  // Questions that it has read get their answers first.
  #closeAnswered(udp: UdpSocket): void {
    if (this.#answering === 0) {
      udp.close();
      return;
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, DNS_UPSTREAM_TIMEOUT_MS);
    this.#lastAnswer = resolve;
    void promise.then(() => {
      clearTimeout(timer);
      this.#lastAnswer = undefined;
      udp.close();
    });
  }

  #take(kind: 'tcp' | 'udp', host: string, port: number): number | undefined {
    const fd = this.#options.sockets?.take({ kind, host, port, name: 'dns' });
    if (fd !== undefined) this.#taken.push(fd);
    return fd;
  }

  #serveTcp(socket: Socket): void {
    if (this.#connections.size >= DNS_TCP_CONNECTIONS_MAX) {
      socket.destroy();
      return;
    }
    this.#connections.add(socket);
    socket.setTimeout(DNS_TCP_IDLE_MS, () => socket.destroy());
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#connections.delete(socket));
    const messages = new TcpMessages((query) => {
      void this.#answer(query, 'tcp').then((answer) => {
        if (answer && !socket.destroyed) socket.write(tcpFrame(answer));
      });
    });
    socket.on('data', (chunk: Buffer) => messages.push(chunk));
  }

  /** Never rejects. Undefined for bytes that are not a question: no answer could be addressed. */
  async #answer(bytes: Buffer, transport: 'udp' | 'tcp'): Promise<Buffer | undefined> {
    let query: Packet;
    try {
      query = decode(bytes);
    } catch {
      return undefined;
    }
    if (query.type !== 'query') return undefined;
    const respond = transport === 'udp' ? dnsUdpResponse : dnsResponse;
    const fail = (rcode: Rcode): Buffer => dnsResponse({ ...query, additionals: [] }, rcode, []);
    const [question, second] = query.questions ?? [];
    if (query.opcode !== undefined && query.opcode !== 'QUERY') return fail('NOTIMP');
    if (!question || second) return fail('FORMERR');
    try {
      if (!this.#hasTable && this.#mayBeOurs(question.name) && this.#held < DNS_FORWARDS_MAX) {
        // The application may start a moment before the names arrive: "does not exist" would be believed.
        this.#held++;
        await this.#firstNames.promise;
        this.#held--;
      }
      const answers = question.class === 'IN' ? answerFromMesh(this.#index, question, Math.random) : undefined;
      if (answers) return respond(query, 'NOERROR', answers);
      if (!this.#hasTable && !this.#forwarder.available) return fail('SERVFAIL');
      if (!this.#forwarder.available) return fail('NXDOMAIN');
      return (await this.#forwarder.forward(bytes, transport)) ?? fail('SERVFAIL');
    } catch (e) {
      this.#options.log.warning('DNS question failed', { problem: e instanceof Error ? e.message : String(e) });
      return fail('SERVFAIL');
    }
  }

  /** Of the cluster, or without a dot. */
  #mayBeOurs(name: string): boolean {
    return this.#index.isClusterName(name) || !name.includes('.');
  }
}
