// Where a listening socket comes from: handed down by the process that this one takes over from (or by systemd), or bound
// anew. Knows every one that is open, so that they can be handed on. One object a process; it accepts nothing itself.

import { chmodSync, closeSync, renameSync, rmSync, statSync } from 'node:fs';
import { isIP } from 'node:net';
import { boundSocket, duplicate, SocketError, type SocketOptionValue } from '../sockets/socket-calls.ts';

export interface ListenAddress {
  readonly kind: 'tcp' | 'udp' | 'unix';
  /** A literal address, or the path (`@name`: abstract). */
  readonly host: string;
  readonly port: number;
  /** Tells sockets on port 0 apart, and finds a descriptor by its name. */
  readonly name: string;
  readonly ipv6Only?: boolean;
  /** Several sockets on one address (one a worker). */
  readonly reusePort?: boolean;
  readonly options?: readonly SocketOptionValue[];
  /** Of the socket's file. */
  readonly mode?: number;
}

export interface InheritedSocket {
  /** `socketKey` of the address that the giver had it for. */
  readonly key: string;
  readonly fd: number;
  /** The giver's name for it (LISTEN_FDNAMES). */
  readonly name?: string;
}

/** What a listener asks for its sockets. */
export interface SocketSource {
  /** A bound descriptor for `server.listen({fd})`, which then closes it; `closed` must be told. Throws SocketError. */
  take(address: ListenAddress): number;
  /** Further ones on the same address that were handed down: clients may wait there. */
  takeRest(address: ListenAddress): readonly number[];
  /** Its server is closed, or is about to be in this turn. */
  closed(fd: number): void;
  /** The same socket under another number: the old one may be closed, and its clients go on to wait. Undefined: not possible now. */
  renumber(fd: number): number | undefined;
  /** Left to whoever asks for its address next; its server may be closed. */
  park(fd: number): void;
  /** Given back without a server. */
  discard(fd: number): void;
}

interface OpenSocket {
  readonly key: string;
  readonly path: string | undefined;
  readonly inode: number;
}

export const socketKey = ({ kind, host, port, name }: ListenAddress): string => {
  if (kind === 'unix') return `unix:${host}`;
  const where = host.includes(':') ? `[${host}]` : host;
  return port === 0 ? `${kind}:${where}:0|${name}` : `${kind}:${where}:${port}`;
};

export class ListeningSockets implements SocketSource {
  readonly #open = new Map<number, OpenSocket>();
  #inherited: readonly InheritedSocket[];
  #handedOver = false;
  /** Of further workers, by their number. */
  readonly #ofWorkers = new Map<number, readonly InheritedSocket[]>();

  constructor(inherited: readonly InheritedSocket[] = []) {
    this.#inherited = inherited;
  }

  take(address: ListenAddress): number {
    const key = socketKey(address);
    const inherited = this.#inheritedFor(address, key);
    if (inherited !== undefined) this.#inherited = this.#inherited.filter((s) => s !== inherited);
    const path = address.kind === 'unix' && !address.host.startsWith('@') ? address.host : undefined;
    const fd = inherited?.fd ?? bind(address, path);
    this.#open.set(fd, { key, path, inode: path === undefined ? 0 : inodeOf(path) });
    return fd;
  }

  takeRest(address: ListenAddress): readonly number[] {
    const key = socketKey(address);
    const rest = this.#inherited.filter((s) => s.key === key);
    this.#inherited = this.#inherited.filter((s) => s.key !== key);
    for (const { fd } of rest) this.#open.set(fd, { key, path: undefined, inode: 0 });
    return rest.map((s) => s.fd);
  }

  /** One that was handed down, for a further worker, which says itself what it has open. */
  takeInherited(address: ListenAddress): number | undefined {
    const key = socketKey(address);
    const found = this.#inherited.find((s) => s.key === key);
    this.#inherited = this.#inherited.filter((s) => s !== found);
    return found?.fd;
  }

  workerHas(worker: number, open: readonly InheritedSocket[]): void {
    this.#ofWorkers.set(worker, open);
  }

  /** A socket's file goes with it, unless somebody else listens there now. */
  closed(fd: number): void {
    const socket = this.#open.get(fd);
    this.#open.delete(fd);
    if (socket?.path === undefined || this.#handedOver || inodeOf(socket.path) !== socket.inode) return;
    rmSync(socket.path, { force: true });
  }

  renumber(fd: number): number | undefined {
    const socket = this.#open.get(fd);
    const next = socket === undefined ? -1 : duplicate(fd);
    if (socket === undefined || next < 0) return undefined;
    this.#open.delete(fd);
    this.#open.set(next, socket);
    return next;
  }

  park(fd: number): void {
    const next = this.renumber(fd);
    const socket = next === undefined ? undefined : this.#open.get(next);
    if (next === undefined || socket === undefined) return;
    this.#open.delete(next);
    this.#inherited = [...this.#inherited, { key: socket.key, fd: next }];
  }

  discard(fd: number): void {
    this.closed(fd);
    closeSync(fd);
  }

  /** What a successor is to get; `spare` are those that nobody here has asked for. */
  get open(): readonly (InheritedSocket & { readonly spare: boolean })[] {
    return [
      ...[...this.#open].map(([fd, { key }]) => ({ key, fd, spare: false })),
      ...this.#inherited.map((socket) => ({ ...socket, spare: true })),
      ...[...this.#ofWorkers.values()].flat().map((socket) => ({ ...socket, spare: false })),
    ];
  }

  /** Keys of those that are in use here. */
  get keys(): readonly string[] {
    return [...this.#open.values()].map((s) => s.key);
  }

  /** Handed down, and not asked for so far. */
  get unused(): readonly InheritedSocket[] {
    return this.#inherited;
  }

  /** Nobody would ever answer on them. */
  closeUnused(): void {
    for (const { fd } of this.#inherited) closeSync(fd);
    this.#inherited = [];
  }

  /** A successor listens on all of them: their files are no longer ours to remove. */
  handedOver(): void {
    this.#handedOver = true;
  }

  #inheritedFor(address: ListenAddress, key: string): InheritedSocket | undefined {
    const exact = this.#inherited.find((s) => s.key === key);
    if (exact !== undefined || address.kind === 'udp') return exact;
    const named = this.#inherited.filter((s) => s.name !== undefined && s.name === address.name);
    if (named.length === 1) return named[0];
    // A socket unit's `ListenStream=80` is one of both families.
    return address.host === '0.0.0.0'
      ? this.#inherited.find((s) => s.name !== undefined && s.key === `tcp:[::]:${address.port}`)
      : undefined;
  }
}

const bind = (address: ListenAddress, path: string | undefined): number => {
  const { kind, host, port, ipv6Only = false, reusePort = false, options = [], mode } = address;
  if (kind !== 'unix' && isIP(host) === 0) throw new SocketError('EINVAL', `malformed IP address: ${host}`);
  // Under another name first: whoever listens there now goes on until ours stands in its place, and a dead one's file is no obstacle.
  const temporary = path === undefined ? host : `${path}.${process.pid}`;
  if (path !== undefined) rmSync(temporary, { force: true });
  const fd = boundSocket({ kind, host: temporary, port, ipv6Only, reusePort, options });
  if (path !== undefined) {
    if (mode !== undefined) chmodSync(temporary, mode);
    renameSync(temporary, path);
  }
  return fd;
};

const inodeOf = (path: string): number => {
  try {
    return statSync(path).ino;
  } catch {
    return -1;
  }
};
