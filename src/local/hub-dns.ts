// The hub's DNS: names of Services for workloads outside the mesh (and whatever a sidecar's agent does not know), everything else asked
// of the host's resolver through the relay. Answers A; AAAA of a known name is empty. Never invents an answer for a name it cannot ask.

import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { createServer, type Server, type Socket } from 'node:net';
import dnsPacket from 'dns-packet';
import { ask } from './relay-protocol.ts';

const TTL_SECONDS = 5;
const FORWARD_TIMEOUT_MS = 6_000;
const CLUSTER_DOMAIN = 'cluster.local';
const NXDOMAIN = 3;
const SERVFAIL = 2;

/** Lower-case names without the last dot to addresses. */
export type NameTable = Readonly<Record<string, readonly string[]>>;

export class HubDns {
  #names: NameTable = {};
  #upstream: Promise<Socket> | undefined;
  readonly #waiting = new Map<number, (reply: Buffer) => void>();
  #nextId = 1;
  readonly #hostSocket: string;

  constructor(hostSocket: string) {
    this.#hostSocket = hostSocket;
  }

  set names(names: NameTable) {
    this.#names = names;
  }

  async listen(address: string): Promise<void> {
    const udp = createSocket('udp4');
    udp.on('message', (query, from) => {
      void this.answer(query).then((reply) => reply !== undefined && send(udp, reply, from.port, from.address));
    });
    await new Promise<void>((resolve, reject) => {
      udp.once('error', reject);
      udp.bind(53, address, resolve);
    });
    const tcp: Server = createServer((socket) => this.#serveTcp(socket));
    await new Promise<void>((resolve, reject) => {
      tcp.once('error', reject);
      tcp.listen(53, address, resolve);
    });
  }

  /** The reply to one query; undefined for bytes that are no query. */
  async answer(query: Buffer): Promise<Buffer | undefined> {
    let packet: ReturnType<typeof dnsPacket.decode>;
    try {
      packet = dnsPacket.decode(query);
    } catch {
      return undefined;
    }
    const question = packet.questions?.[0];
    if (packet.type !== 'query' || question === undefined) return undefined;
    const name = question.name.toLowerCase().replace(/\.$/, '');
    const addresses = this.#names[name];
    const reply = (code: number, answers: readonly string[]): Buffer =>
      dnsPacket.encode({
        type: 'response',
        id: packet.id ?? 0,
        flags: dnsPacket.RECURSION_DESIRED | dnsPacket.RECURSION_AVAILABLE | code,
        questions: [question],
        answers: answers.map((data) => ({ type: 'A' as const, name: question.name, ttl: TTL_SECONDS, data })),
      });
    if (addresses !== undefined) return reply(0, question.type === 'A' || question.type === 'ANY' ? addresses : []);
    if (name === CLUSTER_DOMAIN || name.endsWith(`.${CLUSTER_DOMAIN}`)) return reply(NXDOMAIN, []);
    return await this.#forward(query).catch(() => reply(SERVFAIL, []));
  }

  async #forward(query: Buffer): Promise<Buffer> {
    this.#upstream ??= this.#connect();
    const upstream = await this.#upstream;
    const id = this.#nextId;
    this.#nextId = (this.#nextId % 0xffff) + 1;
    const renumbered = Buffer.from(query);
    renumbered.writeUInt16BE(id, 0);
    return await new Promise<Buffer>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new Error('DNS timeout'));
      }, FORWARD_TIMEOUT_MS);
      this.#waiting.set(id, (reply) => {
        clearTimeout(timer);
        const restored = Buffer.from(reply);
        query.copy(restored, 0, 0, 2);
        resolve(restored);
      });
      upstream.write(Buffer.concat([Buffer.from([query.length >> 8, query.length & 0xff]), renumbered]));
    });
  }

  async #connect(): Promise<Socket> {
    try {
      const socket = await ask(this.#hostSocket, { op: 'dns' });
      const lost = (): void => {
        this.#upstream = undefined;
        socket.destroy();
      };
      socket.on('error', lost);
      socket.on('close', lost);
      eachMessage(socket, (reply) => {
        const id = reply.readUInt16BE(0);
        const waiting = this.#waiting.get(id);
        this.#waiting.delete(id);
        waiting?.(reply);
      });
      return socket;
    } catch (error) {
      this.#upstream = undefined;
      throw error;
    }
  }

  #serveTcp(socket: Socket): void {
    socket.on('error', () => socket.destroy());
    socket.setTimeout(30_000, () => socket.destroy());
    eachMessage(socket, (query) => {
      void this.answer(query).then((reply) => {
        if (reply !== undefined && !socket.destroyed)
          socket.write(Buffer.concat([Buffer.from([reply.length >> 8, reply.length & 0xff]), reply]));
      });
    });
  }
}

const send = (socket: UdpSocket, bytes: Buffer, port: number, address: string): void => {
  socket.send(bytes, port, address, () => undefined); // a client that is gone is its own affair
};

const eachMessage = (socket: Socket, take: (message: Buffer) => void): void => {
  let held = Buffer.alloc(0);
  socket.on('data', (chunk: Buffer) => {
    held = Buffer.concat([held, chunk]);
    while (held.length >= 2 && held.length >= 2 + held.readUInt16BE(0)) {
      const length = held.readUInt16BE(0);
      const message = held.subarray(2, 2 + length);
      held = held.subarray(2 + length);
      if (length >= 12) take(message);
    }
  });
  socket.resume();
};
