// A connection of the gRPC door of which nobody knows yet whether it is HTTP/2 or HTTP/1: its first bytes say it. Who says nothing loses
// the connection.
import type net from 'node:net';
import { startsWithPreface } from '../../wire/http-sniff.ts';
import type { DoorConnection } from './http1-connection.ts';

const TICKS_MAX = 1;

export class FirstBytes implements DoorConnection {
  readonly #socket: net.Socket;
  readonly #decided: (http2: boolean, first: Buffer) => void;
  readonly #gone: () => void;
  readonly #receive = (chunk: Buffer): void => this.#look(chunk);
  #bytes: Buffer = Buffer.alloc(0);
  #ticks = 0;

  /** `decided`: the bytes and the socket are somebody else's now. */
  constructor(socket: net.Socket, decided: (http2: boolean, first: Buffer) => void, gone: () => void) {
    this.#socket = socket;
    this.#decided = decided;
    this.#gone = gone;
    socket.on('data', this.#receive);
    socket.on('error', this.#lost);
    socket.on('close', this.#lost);
  }

  tick(): void {
    this.#ticks++;
    if (this.#ticks > TICKS_MAX) this.destroy();
  }

  shutdown(): void {
    this.destroy();
  }

  destroy(): void {
    this.#leave();
    this.#socket.on('error', () => undefined);
    this.#socket.destroy();
  }

  #look(chunk: Buffer): void {
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
    const preface = startsWithPreface(this.#bytes);
    if (preface === 'need-more') return;
    this.#leave();
    this.#decided(preface === 'yes', this.#bytes);
  }

  readonly #lost = (): void => this.destroy();

  #leave(): void {
    this.#socket.off('data', this.#receive);
    this.#socket.off('error', this.#lost);
    this.#socket.off('close', this.#lost);
    this.#gone();
  }
}
