// Questions that the mesh cannot answer, passed to the upstream resolvers as they are under an id and a port of their own
// (both random: RFC 5452). One socket a question, connected, so the kernel drops answers from elsewhere. Bounded.
import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import { decode } from 'dns-packet';
import type { HostPort } from './agent-config.ts';
import { TcpMessages, tcpFrame } from './dns-tcp.ts';
import { DNS_FORWARDS_MAX, DNS_UPSTREAM_TIMEOUT_MS } from './limits.ts';

export interface DnsForwarderOptions {
  readonly upstreams: readonly HostPort[];
  /** Capture lets packets from this address pass; without it the question would come back to us. */
  readonly bindSource: string | undefined;
}

export class DnsForwarder {
  readonly #options: DnsForwarderOptions;
  #inFlight = 0;

  constructor(options: DnsForwarderOptions) {
    this.#options = options;
  }

  get available(): boolean {
    return this.#options.upstreams.length > 0;
  }

  /** The answer with the query's own id; undefined when every resolver failed or too many questions are under way. */
  async forward(query: Buffer, transport: 'udp' | 'tcp'): Promise<Buffer | undefined> {
    if (this.#inFlight >= DNS_FORWARDS_MAX) return undefined;
    this.#inFlight++;
    try {
      for (const upstream of this.#options.upstreams) {
        const id = randomInt(0x10000);
        const asked = Buffer.from(query);
        asked.writeUInt16BE(id, 0);
        const ask = transport === 'udp' ? askUdp : askTcp;
        const answer = await ask(asked, upstream, this.#options.bindSource);
        if (!answer) continue;
        const back = Buffer.from(answer);
        back.writeUInt16BE(query.readUInt16BE(0), 0);
        return back;
      }
      return undefined;
    } finally {
      this.#inFlight--;
    }
  }
}

const sameFamily = (host: string, source: string | undefined): string | undefined =>
  source !== undefined && host.includes(':') === source.includes(':') ? source : undefined;

const askUdp = (query: Buffer, to: HostPort, bindSource: string | undefined): Promise<Buffer | undefined> =>
  new Promise((resolve) => {
    const socket = createSocket(to.host.includes(':') ? 'udp6' : 'udp4');
    let over = false;
    const done = (answer: Buffer | undefined): void => {
      if (over) return;
      over = true;
      clearTimeout(timer);
      socket.close();
      resolve(answer);
    };
    const timer = setTimeout(() => done(undefined), DNS_UPSTREAM_TIMEOUT_MS);
    socket.on('error', () => done(undefined));
    socket.on('message', (answer) => {
      if (answersQuery(query, answer)) done(answer);
    });
    const send = (): void =>
      socket.connect(to.port, to.host, () => {
        if (!over) socket.send(query);
      });
    const source = sameFamily(to.host, bindSource);
    if (source === undefined) send();
    else socket.bind({ address: source, port: 0 }, send);
  });

const askTcp = (query: Buffer, to: HostPort, bindSource: string | undefined): Promise<Buffer | undefined> =>
  new Promise((resolve) => {
    const source = sameFamily(to.host, bindSource);
    const socket = connect({ host: to.host, port: to.port, ...(source === undefined ? {} : { localAddress: source }) });
    const done = (answer: Buffer | undefined): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(() => done(undefined), DNS_UPSTREAM_TIMEOUT_MS);
    const messages = new TcpMessages((answer) => done(answersQuery(query, answer) ? answer : undefined));
    socket.on('error', () => done(undefined));
    socket.on('close', () => done(undefined));
    socket.on('data', (chunk: Buffer) => messages.push(chunk));
    socket.write(tcpFrame(query));
  });

/** Same id and same question, ignoring case: anything else is not for us. */
const answersQuery = (query: Buffer, answer: Buffer): boolean => {
  try {
    const asked = decode(query);
    const got = decode(answer);
    if (got.type !== 'response' || got.id !== asked.id) return false;
    const [a] = asked.questions ?? [];
    const [b] = got.questions ?? [];
    if (!b) return (got.questions ?? []).length === 0 && (got.answers ?? []).length === 0;
    return a !== undefined && a.type === b.type && a.name.toLowerCase() === b.name.toLowerCase();
  } catch {
    return false;
  }
};
