// A connection to the stock store, made when first needed and again after it broke.
import { connect, type Socket } from 'node:net';
import { encodeCommand, RespReader, type RespValue } from './resp.ts';

const TIMEOUT_MS = 5_000;

interface Waiting {
  resolve(value: RespValue): void;
  reject(error: Error): void;
}

export class StockClient {
  readonly #host: string;
  readonly #port: number;
  #socket: Socket | undefined;
  #waiting: Waiting[] = [];

  constructor(host: string, port: number) {
    this.#host = host;
    this.#port = port;
  }

  command(...words: string[]): Promise<RespValue> {
    return new Promise((resolve, reject) => {
      const socket = this.#connected();
      this.#waiting.push({ resolve, reject });
      socket.write(encodeCommand(words));
    });
  }

  #connected(): Socket {
    if (this.#socket) return this.#socket;
    const socket = connect(this.#port, this.#host);
    const reader = new RespReader();
    const fail = (error: Error): void => {
      if (this.#socket === socket) this.#socket = undefined;
      socket.destroy();
      const waiting = this.#waiting;
      this.#waiting = [];
      for (const w of waiting) w.reject(error);
    };
    socket.setNoDelay(true);
    socket.setTimeout(TIMEOUT_MS, () => (this.#waiting.length > 0 ? fail(new Error('the stock store does not answer')) : undefined));
    socket.on('error', (e) => fail(e));
    socket.on('close', () => fail(new Error('the stock store closed the connection')));
    socket.on('data', (chunk) => {
      for (const value of reader.push(chunk)) {
        const next = this.#waiting.shift();
        if (value instanceof Error) next?.reject(value);
        else next?.resolve(value);
      }
    });
    this.#socket = socket;
    return socket;
  }
}
