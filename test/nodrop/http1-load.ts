// HTTP/1.1 keep-alive, open loop, on node:net: no retries, so that every answer is exactly one attempt. A connection that says
// `connection: close` is replaced; one that ends while a request is under way has failed it.
import { connect, type Socket } from 'node:net';
import type { Target } from './load-result.ts';
import type { Tally } from './tally.ts';

const CONNECTIONS_MAX = 256;
const GIVE_UP_MS = 10_000;

export class Http1Load {
  readonly #target: Target;
  readonly #tally: Tally;
  readonly #idle: Connection[] = [];
  readonly #waiting: number[] = [];
  #connections = 0;

  constructor(target: Target, tally: Tally) {
    this.#target = target;
    this.#tally = tally;
    for (let i = 0; i < target.connections; i++) this.#open();
  }

  send(dueAt: number): void {
    this.#tally.send();
    const connection = this.#idle.pop();
    if (connection !== undefined) connection.request(dueAt);
    else {
      this.#waiting.push(dueAt);
      if (this.#connections < CONNECTIONS_MAX) this.#open();
    }
  }

  close(): void {
    for (const connection of this.#idle) connection.end();
  }

  #open(): void {
    this.#connections++;
    const again = (): void => {
      this.#connections--;
      if (this.#waiting.length > 0 || this.#connections < this.#target.connections) setTimeout(() => this.#open(), 5);
    };
    const connection: Connection = new Connection(this.#target, this.#tally, {
      ready: () => {
        const next = this.#waiting.shift();
        if (next === undefined) this.#idle.push(connection);
        else connection.request(next);
      },
      gone: (refused) => {
        // Who keeps no connection open would have called now, and failed.
        if (refused !== undefined && this.#waiting.shift() !== undefined) this.#tally.fail(`HTTP/1.1: no connection: ${refused}`);
        const at = this.#idle.indexOf(connection);
        if (at >= 0) this.#idle.splice(at, 1);
        this.#tally.reconnects++;
        again();
      },
    });
  }
}

interface ConnectionEvents {
  ready(): void;
  /** `refused`: it never came to be. */
  gone(refused: string | undefined): void;
}

class Connection {
  readonly #socket: Socket;
  readonly #tally: Tally;
  readonly #events: ConnectionEvents;
  readonly #host: string;
  #dueAt: number | undefined;
  #seen = '';
  #timer: NodeJS.Timeout | undefined;
  #over = false;
  #connected = false;

  constructor({ host, port }: Target, tally: Tally, events: ConnectionEvents) {
    this.#tally = tally;
    this.#events = events;
    this.#host = `${host}:${port}`;
    this.#socket = connect({ host, port, noDelay: true });
    this.#socket.once('connect', () => {
      this.#connected = true;
      events.ready();
    });
    this.#socket.on('data', (bytes: Buffer) => this.#onData(bytes));
    this.#socket.on('error', (e) => this.#finish(e.message));
    this.#socket.on('end', () => this.#finish('the connection ended'));
    this.#socket.on('close', () => this.#finish('the connection closed'));
  }

  request(dueAt: number): void {
    this.#dueAt = dueAt;
    this.#seen = '';
    this.#timer = setTimeout(() => {
      this.#finish(`no answer in ${GIVE_UP_MS} ms`);
      this.#socket.destroy();
    }, GIVE_UP_MS);
    this.#socket.write(`GET /small HTTP/1.1\r\nhost: ${this.#host}\r\n\r\n`);
  }

  end(): void {
    this.#over = true;
    this.#socket.end();
  }

  #onData(bytes: Buffer): void {
    this.#seen += bytes.toString('latin1');
    const end = this.#seen.indexOf('\r\n\r\n');
    if (end < 0 || this.#dueAt === undefined) return;
    const head = this.#seen.slice(0, end).toLowerCase();
    const length = Number(/\r\ncontent-length: (\d+)/.exec(head)?.[1] ?? -1);
    if (length < 0 || this.#seen.length < end + 4 + length) return;
    const status = head.slice(9, 12);
    const body = this.#seen.slice(end + 4);
    const dueAt = this.#dueAt;
    this.#dueAt = undefined;
    clearTimeout(this.#timer);
    if (status === '200') this.#tally.succeed(dueAt);
    else if (status === '503' && body === 'no healthy upstream') this.#tally.noHosts();
    else this.#tally.fail(`HTTP/1.1 status ${status} ${body.slice(0, 120)}`);
    if (/\r\nconnection: close/.test(head)) {
      this.#finish('');
      this.#socket.end();
    } else this.#events.ready();
  }

  #finish(reason: string): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#timer);
    if (this.#dueAt !== undefined) this.#tally.fail(`HTTP/1.1: ${reason} before the answer`);
    this.#events.gone(this.#connected ? undefined : reason);
  }
}
