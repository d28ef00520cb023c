// WebSocket and raw TCP: long-lived streams whose every echoed byte is compared. A stream that ends before we ended it has failed,
// whether or not a message was under way: neither protocol lets a proxy take it back.
import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { patternBytes, patternDiffers } from '../interop/peers/pattern.ts';
import { BINARY, encodeFrame, FrameReader } from '../interop/peers/websocket.ts';
import { upgrade } from '../interop/peers/websocket-client.ts';
import type { Target } from './load-result.ts';
import type { Tally } from './tally.ts';

const MESSAGE_BYTES = 256;
const GIVE_UP_MS = 10_000;

export class StreamLoad {
  readonly #target: Target;
  readonly #tally: Tally;
  readonly #streams: (EchoStream | undefined)[] = [];
  readonly #waiting: number[] = [];
  #next = 0;
  #closing = false;

  constructor(target: Target, tally: Tally) {
    this.#target = target;
    this.#tally = tally;
    for (let slot = 0; slot < target.connections; slot++) void this.#open(slot, slot / target.connections);
  }

  send(dueAt: number): void {
    this.#tally.send();
    this.#hand(dueAt);
  }

  #hand(dueAt: number): void {
    for (let i = 0; i < this.#streams.length; i++) {
      const stream = this.#streams[this.#next++ % this.#streams.length];
      if (stream?.open !== true) continue;
      stream.send(dueAt);
      return;
    }
    this.#waiting.push(dueAt);
  }

  close(): void {
    this.#closing = true;
    for (const stream of this.#streams) stream?.finish();
  }

  async #open(slot: number, phase: number): Promise<void> {
    const { host, port, protocol, streamMs, noneLasts } = this.#target;
    try {
      const { socket, rest } = protocol === 'websocket' ? await upgrade(host, port) : await plain(host, port);
      const stream = new EchoStream(socket, protocol === 'websocket', this.#tally, (cut) => {
        this.#streams[slot] = undefined;
        if (this.#closing) return;
        if (cut !== undefined) this.#tally.fail(`${protocol}: the stream was cut: ${cut}`);
        this.#tally.reconnects++;
        setTimeout(() => this.#open(slot, 1), 5);
      });
      this.#streams[slot] = stream;
      stream.push(rest);
      for (const dueAt of this.#waiting.splice(0)) stream.send(dueAt);
      // Half of the streams live to the end, unless none shall.
      if (streamMs > 0 && (noneLasts === true || slot % 2 === 0)) setTimeout(() => stream.finish(), streamMs * (0.5 + phase)).unref();
    } catch (error) {
      if (this.#closing) return;
      this.#tally.fail(`${protocol}: no stream: ${error instanceof Error ? error.message : String(error)}`);
      this.#streams[slot] = undefined;
      setTimeout(() => this.#open(slot, 1), 50);
    }
  }
}

const plain = (host: string, port: number): Promise<{ socket: Socket; rest: Buffer }> =>
  new Promise((resolve, reject) => {
    const socket = connect({ host, port, noDelay: true, allowHalfOpen: true });
    socket.once('connect', () => resolve({ socket, rest: Buffer.alloc(0) }));
    socket.once('error', reject);
  });

class EchoStream {
  readonly #socket: Socket;
  readonly #framed: boolean;
  readonly #tally: Tally;
  readonly #pending: number[] = [];
  readonly #frames: FrameReader;
  #sent = 0;
  #received = 0;
  #ended = false;
  #over = false;

  constructor(socket: Socket, framed: boolean, tally: Tally, over: (cut: string | undefined) => void) {
    this.#socket = socket;
    this.#framed = framed;
    this.#tally = tally;
    this.#frames = new FrameReader((_opcode, payload) => this.#compare(payload));
    const finish = (reason: string): void => {
      if (this.#over) return;
      this.#over = true;
      clearInterval(watch);
      for (const _ of this.#pending.splice(0)) tally.fail(`${framed ? 'websocket' : 'tcp'}: ${reason} before the echo`);
      socket.destroy();
      over(this.#ended ? undefined : reason);
    };
    const watch = setInterval(() => {
      const [oldest] = this.#pending;
      if (oldest !== undefined && performance.now() - oldest > GIVE_UP_MS) finish(`no echo in ${GIVE_UP_MS} ms`);
    }, 500);
    socket.removeAllListeners('error').removeAllListeners('close');
    socket.on('data', (bytes: Buffer) => this.push(bytes));
    socket.on('error', (e) => finish(e.message));
    socket.on('end', () => finish('end'));
    socket.on('close', () => finish('close'));
  }

  get open(): boolean {
    return !this.#ended && !this.#over;
  }

  send(dueAt: number): void {
    this.#pending.push(dueAt);
    const payload = patternBytes(this.#sent, MESSAGE_BYTES);
    this.#sent += MESSAGE_BYTES;
    this.#socket.write(this.#framed ? encodeFrame(BINARY, payload, randomBytes(4)) : payload);
  }

  /** Ends it in order: what is under way comes back first, as the peer answers everything before its own end. */
  finish(): void {
    if (!this.open) return;
    this.#ended = true;
    if (this.#framed) this.#socket.write(encodeFrame(8, Buffer.from([3, 232]), randomBytes(4)));
    else this.#socket.end();
  }

  push(bytes: Buffer): void {
    if (this.#framed) this.#frames.push(bytes);
    else this.#compare(bytes);
  }

  #compare(bytes: Buffer): void {
    if (this.#ended && this.#framed && bytes.length === 2) return; // the answer to our close
    const at = patternDiffers(bytes, this.#received);
    if (at !== undefined) this.#tally.fail(`${this.#framed ? 'websocket' : 'tcp'}: byte ${at} differs`);
    this.#received += bytes.length;
    const owed = Math.ceil((this.#sent - this.#received) / MESSAGE_BYTES);
    while (this.#pending.length > owed) this.#tally.succeed(this.#pending.shift() ?? 0);
  }
}
