// One address of a listener: which it is by the configuration, its bound descriptor, and the server on it. Bound when it is
// made, so that what cannot be had is known at once; accepts only once it is told to listen.

import { createServer, isIP, type Server, type Socket } from 'node:net';
import { PlanError } from '../../plan/plan-error.ts';
import type { Address, Listener, SocketOption } from '../../xds/gen/types.ts';
import { addressText } from '../connection-facts.ts';
import { int32, type SocketOptionValue, setBacklog } from '../sockets/socket-calls.ts';
import type { ListenAddress, SocketSource } from './listening-sockets.ts';

export interface ListenerAddress extends ListenAddress {
  /** As configured. */
  readonly key: string;
}

/** Not handed to by others alone. */
export const bindsToPort = ({ bind_to_port: binds, deprecated_v1: old }: Listener): boolean =>
  binds !== false && old?.bind_to_port !== false;

/** Where a listener wants to listen; nothing for one that only others hand connections to. Throws PlanError. */
export const bindAddresses = (config: Listener): readonly ListenerAddress[] => {
  if (!bindsToPort(config)) return [];
  const name = config.name ?? '';
  const options = [...ownOptions(config), ...(config.socket_options ?? []).map(optionValue)];
  const more = (config.additional_addresses ?? []).map((extra, i) => {
    const own = extra.socket_options?.socket_options?.map(optionValue);
    return addressOf(extra.address, `additional_addresses[${i}].address`, `${name}#${i + 1}`, own ?? options);
  });
  return [addressOf(config.address, 'address', name, options), ...more];
};

const addressOf = (address: Address | undefined, path: string, name: string, options: readonly SocketOptionValue[]): ListenerAddress => {
  const pipe = address?.pipe;
  if (pipe?.path !== undefined) {
    const mode = pipe.mode === undefined || pipe.mode === 0 ? {} : { mode: pipe.mode };
    return { key: pipe.path, kind: 'unix', host: pipe.path, port: 0, name, options: [], ...mode };
  }
  const socket = address?.socket_address;
  if (socket === undefined) throw new PlanError(path, 'only socket and pipe addresses are supported');
  if (socket.protocol === 'UDP') throw new PlanError(`${path}.socket_address.protocol`, 'only TCP is supported');
  const host = socket.address ?? '';
  const port = socket.port_value ?? 0;
  if (isIP(host) === 0) throw new PlanError(`${path}.socket_address.address`, `malformed IP address: ${host}`);
  if (socket.named_port !== undefined) throw new PlanError(`${path}.socket_address.named_port`, 'not supported');
  return {
    key: addressText(host, port),
    kind: 'tcp',
    host,
    port,
    name,
    options,
    ipv6Only: host.includes(':') && socket.ipv4_compat !== true,
  };
};

const SOL_IP = 0;
const SOL_IPV6 = 41;
const SOL_TCP = 6;
const TCP_FASTOPEN = 23;

const ownOptions = (config: Listener): readonly SocketOptionValue[] => {
  const v6 = config.address?.socket_address?.address?.includes(':') === true;
  const flag = (v4: number, of6: number): SocketOptionValue => ({
    level: v6 ? SOL_IPV6 : SOL_IP,
    name: v6 ? of6 : v4,
    value: int32(1),
    afterBind: false,
  });
  return [
    ...(config.freebind === true ? [flag(15, 78)] : []),
    ...(config.tcp_fast_open_queue_length === undefined
      ? []
      : [{ level: SOL_TCP, name: TCP_FASTOPEN, value: int32(config.tcp_fast_open_queue_length), afterBind: true }]),
  ];
};

const optionValue = (option: SocketOption): SocketOptionValue => ({
  level: Number(option.level ?? 0),
  name: Number(option.name ?? 0),
  value: option.buf_value ?? int32(Number(option.int_value ?? 0)),
  afterBind: option.state === 'STATE_BOUND' || option.state === 'STATE_LISTENING',
});

/** One descriptor and the server on it, while there is one. */
interface End {
  fd: number;
  server: Server | undefined;
}

export class ListenerSocket {
  readonly #source: SocketSource;
  readonly #address: ListenerAddress;
  /** Its own, and those that a process before had on the same address for further workers. */
  readonly #ends: readonly [End, ...End[]];
  #closed = false;
  #paused = false;
  #local = '';
  failed = false;

  /** Throws SocketError. */
  constructor(address: ListenerAddress, source: SocketSource) {
    this.#source = source;
    this.#address = address;
    const fd = source.take(address);
    this.#ends = [{ fd, server: undefined }, ...source.takeRest(address).map((rest) => ({ fd: rest, server: undefined }))];
  }

  get listening(): boolean {
    return this.#paused || this.#ends[0].server?.listening === true;
  }

  /** What is really bound ('ip:port' with the port that the kernel gave), once it listens. */
  get localAddress(): string {
    return this.#local === '' ? this.#address.key : this.#local;
  }

  /** Resolves to '' or why not; undefined: it listens already. */
  listen(backlog: number, accept: (socket: Socket) => void): Promise<string> | undefined {
    if (this.#ends[0].server !== undefined) return undefined;
    this.#paused = false;
    const all = this.#ends.map((end) => this.#listenOn(end, backlog, accept));
    return Promise.all(all).then((failures) => failures.find((f) => f !== '') ?? '');
  }

  #listenOn(end: End, backlog: number, accept: (socket: Socket) => void): Promise<string> {
    const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: false });
    end.server = server;
    server.on('connection', accept);
    return new Promise((resolve) => {
      server.once('error', (error) => {
        this.failed = true;
        resolve(error.message);
      });
      server.once('listening', () => {
        server.on('error', () => {});
        setBacklog(end.fd, backlog);
        const address = server.address();
        if (address !== null && typeof address === 'object' && address.address !== undefined)
          this.#local = addressText(address.address, address.port);
        resolve('');
      });
      server.listen({ fd: end.fd });
    });
  }

  /** Accepts nothing for now: clients wait in the kernel's queue. */
  pause(): void {
    if (this.failed) return;
    for (const end of this.#ends) {
      const { server } = end;
      const next = server === undefined ? undefined : this.#source.renumber(end.fd);
      if (server === undefined || next === undefined) return;
      end.fd = next;
      end.server = undefined;
      this.#paused = true;
      server.close();
    }
  }

  /** Stops accepting; connections live on. `leave`: another listener takes the address, and those that wait there. */
  close(leave = false): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const { fd, server } of this.#ends) {
      if (leave && !this.failed) this.#source.park(fd);
      if (server === undefined) {
        this.#source.discard(fd);
        continue;
      }
      this.#source.closed(fd);
      // A server that could not listen has closed its descriptor.
      if (!this.failed) server.close();
    }
  }
}
