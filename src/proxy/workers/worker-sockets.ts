// The listening sockets of a further worker: descriptors that the main thread has made and given to it by number. It closes
// them itself, and tells the main thread which it has, so that they can be handed to a successor of the process.

import { closeSync } from 'node:fs';
import { type ListenAddress, type SocketSource, socketKey } from '../listener/listening-sockets.ts';
import { duplicate, SocketError } from '../sockets/socket-calls.ts';
import type { GivenSocket } from './messages.ts';

export class WorkerSockets implements SocketSource {
  readonly #report: (open: readonly GivenSocket[]) => void;
  readonly #open = new Map<number, string>();
  #waiting: GivenSocket[] = [];

  constructor(report: (open: readonly GivenSocket[]) => void) {
    this.#report = report;
  }

  give(socket: GivenSocket): void {
    this.#waiting.push(socket);
    this.#changed();
  }

  /** Throws SocketError while the main thread has given none: it has none itself. */
  take(address: ListenAddress): number {
    const key = socketKey(address);
    const given = this.#waiting.find((s) => s.key === key);
    if (given === undefined) throw new SocketError('EAGAIN', `no socket for ${key} so far`);
    this.#waiting = this.#waiting.filter((s) => s !== given);
    this.#open.set(given.fd, key);
    return given.fd;
  }

  /** The main thread has them. */
  takeRest(): readonly number[] {
    return [];
  }

  closed(fd: number): void {
    this.#open.delete(fd);
    this.#changed();
  }

  renumber(fd: number): number | undefined {
    const key = this.#open.get(fd);
    const next = key === undefined ? -1 : duplicate(fd);
    if (key === undefined || next < 0) return undefined;
    this.#open.delete(fd);
    this.#open.set(next, key);
    this.#changed();
    return next;
  }

  park(fd: number): void {
    const next = this.renumber(fd);
    const key = next === undefined ? undefined : this.#open.get(next);
    if (next === undefined || key === undefined) return;
    this.#open.delete(next);
    this.give({ key, fd: next });
  }

  discard(fd: number): void {
    this.closed(fd);
    closeSync(fd);
  }

  #changed(): void {
    this.#report([...[...this.#open].map(([fd, key]) => ({ key, fd })), ...this.#waiting]);
  }
}
