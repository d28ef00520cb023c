// The main thread's listening sockets when there are further workers: whenever it takes an address, each of them is given a
// socket on it too. Those are in one group (SO_REUSEPORT), over which the kernel spreads connections; what cannot be in a group
// (a path, or a socket made elsewhere without the option) is one socket that all accept from.

import { closeSync } from 'node:fs';
import { type ListenAddress, type ListeningSockets, type SocketSource, socketKey } from '../listener/listening-sockets.ts';
import { boundPort, boundSocket, duplicate, SocketError } from '../sockets/socket-calls.ts';
import type { GivenSocket } from './messages.ts';

export class MainSockets implements SocketSource {
  readonly #sockets: ListeningSockets;
  readonly #workers: number;
  readonly #give: (worker: number, socket: GivenSocket) => void;
  /** Keys by descriptor: the workers close theirs when the main thread is told to close its own, and keep them when it does. */
  readonly #keys = new Map<number, string>();
  readonly #given = new Set<string>();

  /** `give`: to the further worker of that number, from 1 on. */
  constructor(sockets: ListeningSockets, workers: number, give: (worker: number, socket: GivenSocket) => void) {
    this.#sockets = sockets;
    this.#workers = workers;
    this.#give = give;
  }

  take(address: ListenAddress): number {
    const key = socketKey(address);
    const shared = { ...address, reusePort: address.kind === 'tcp' };
    const fd = this.#sockets.take(shared);
    if (!this.#given.has(key)) this.#share(shared, key, fd);
    this.#keys.set(fd, key);
    return fd;
  }

  takeRest(address: ListenAddress): readonly number[] {
    return this.#sockets.takeRest(address);
  }

  closed(fd: number): void {
    this.#forget(fd);
    this.#sockets.closed(fd);
  }

  renumber(fd: number): number | undefined {
    const next = this.#sockets.renumber(fd);
    const key = this.#keys.get(fd);
    if (next === undefined || key === undefined) return next;
    this.#keys.delete(fd);
    this.#keys.set(next, key);
    return next;
  }

  park(fd: number): void {
    // The workers park theirs: nothing new is to be given to them.
    this.#keys.delete(fd);
    this.#sockets.park(fd);
  }

  discard(fd: number): void {
    this.#forget(fd);
    this.#sockets.discard(fd);
  }

  #forget(fd: number): void {
    const key = this.#keys.get(fd);
    this.#keys.delete(fd);
    if (key !== undefined && ![...this.#keys.values()].includes(key)) this.#given.delete(key);
  }

  #share(address: ListenAddress, key: string, fd: number): void {
    const made: number[] = [];
    try {
      for (let worker = 1; worker < this.#workers; worker++) made.push(this.#another(address, fd));
    } catch (problem) {
      for (const other of made) closeSync(other);
      this.#sockets.discard(fd);
      throw problem;
    }
    this.#given.add(key);
    made.forEach((other, i) => {
      this.#give(i + 1, { key, fd: other });
    });
  }

  #another(address: ListenAddress, fd: number): number {
    const { kind, host, ipv6Only = false, options = [] } = address;
    const inherited = this.#sockets.takeInherited(address);
    if (inherited !== undefined) return inherited;
    try {
      if (kind === 'tcp') return boundSocket({ kind, host, port: boundPort(fd), ipv6Only, reusePort: true, options });
    } catch (problem) {
      if (!(problem instanceof SocketError) || problem.code !== 'EADDRINUSE') throw problem;
    }
    const copy = duplicate(fd);
    if (copy < 0) throw new SocketError('EMFILE', 'no descriptor is left for a worker’s listening socket');
    return copy;
  }
}
