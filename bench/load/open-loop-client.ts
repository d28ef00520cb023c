// A program: sends requests at a fixed rate over keep-alive connections whether or not earlier answers have come, and measures each from the
// moment it was due. Prints one JSON line.
//   bun open-loop-client.ts HOST PORT RATE CONNECTIONS SECONDS
import { connect, type Socket } from 'node:net';
import { percentile } from '../statistics.ts';

const [host = '', port = '', rate = '1000', connections = '16', seconds = '2'] = process.argv.slice(2);
const TOTAL = Math.round(Number(rate) * Number(seconds));
const INTERVAL_MS = 1000 / Number(rate);
/** After the last request: whatever is not answered by then is an error. */
const DRAIN_MS = 3_000;
const REQUEST = `GET / HTTP/1.1\r\nHost: ${host}:${port}\r\n\r\n`;

const latencies: number[] = [];
const lateness: number[] = [];
let errors = 0;
let finished = 0;
let next = 0;
let startedAt = 0;
/** Numbers of requests that were due while every connection was busy. */
const waiting: number[] = [];
const idle: Connection[] = [];
const done = Promise.withResolvers<void>();

class Connection {
  readonly #socket: Socket;
  #due = -1;
  #head = '';
  #left = -1;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (data) => this.#read(data));
    socket.on('error', () => undefined);
    socket.on('close', () => this.#closed());
  }

  send(index: number): void {
    this.#due = startedAt + index * INTERVAL_MS;
    this.#socket.write(REQUEST);
  }

  end(): void {
    this.#socket.removeAllListeners('close');
    this.#socket.destroy();
  }

  #read(data: Buffer): void {
    let body = data.length;
    if (this.#left < 0) {
      this.#head += data.toString('latin1');
      const end = this.#head.indexOf('\r\n\r\n');
      if (end < 0) return;
      if (!this.#head.startsWith('HTTP/1.1 200')) errors++;
      this.#left = Number(/^content-length: *(\d+)/im.exec(this.#head)?.[1] ?? 0);
      body = this.#head.length - end - 4;
      this.#head = '';
    }
    this.#left -= body;
    if (this.#left > 0) return;
    this.#left = -1;
    this.#answered();
  }

  #answered(): void {
    latencies.push(performance.now() - this.#due);
    this.#due = -1;
    idle.push(this);
    completed();
    const index = waiting.shift();
    if (index !== undefined) idle.pop()?.send(index);
  }

  #closed(): void {
    const at = idle.indexOf(this);
    if (at >= 0) idle.splice(at, 1);
    if (this.#due >= 0) failed();
    void open();
  }
}

const completed = (): void => {
  finished++;
  if (finished === TOTAL) done.resolve();
};

const failed = (): void => {
  errors++;
  completed();
};

const open = (): Promise<void> =>
  new Promise((resolve) => {
    const socket = connect(Number(port), host);
    socket.once('error', () => {
      failed();
      resolve();
    });
    socket.once('connect', () => {
      socket.removeAllListeners('error');
      idle.push(new Connection(socket));
      resolve();
    });
  });

const tick = (): void => {
  const now = performance.now();
  while (next < TOTAL && startedAt + next * INTERVAL_MS <= now) {
    const index = next++;
    // Our own fault only: what waits for a connection waits for the other side.
    lateness.push(performance.now() - startedAt - index * INTERVAL_MS);
    // First in, first out: every connection is used.
    const connection = idle.shift();
    if (connection === undefined) waiting.push(index);
    else connection.send(index);
  }
  if (next < TOTAL) setTimeout(tick, Math.max(0, startedAt + next * INTERVAL_MS - performance.now()));
  else setTimeout(done.resolve, DRAIN_MS);
};

await Promise.all(Array.from({ length: Number(connections) }, open));
startedAt = performance.now() + 20;
setTimeout(tick, 20);
await done.promise;
const sorted = latencies.sort((a, b) => a - b);
const late = lateness.sort((a, b) => a - b);
const wall = (performance.now() - startedAt) / 1000;
process.stdout.write(
  `${JSON.stringify({
    requests: sorted.length,
    errors: errors + TOTAL - finished,
    perSecond: sorted.length / wall,
    p50Ms: percentile(sorted, 0.5),
    p90Ms: percentile(sorted, 0.9),
    p99Ms: percentile(sorted, 0.99),
    lateMs: percentile(late, 0.99),
  })}\n`,
);
process.exit(0);
