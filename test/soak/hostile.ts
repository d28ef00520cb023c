// Clients that mean harm, a few at a time, for as long as the soak runs: slow-loris, garbage, rapid reset, half-open, huge heads,
// readers that stop. Bounded: at most CLIENTS_MAX connections, and each ends by itself.
import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';

const CLIENTS_MAX = 120;
const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const SETTINGS = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
/** :method GET, :scheme http, :path from `path`, :authority soak. */
const headBlock = (path: string): Buffer =>
  Buffer.concat([Buffer.from([0x82, 0x86, 0x04, path.length]), Buffer.from(path), Buffer.from([0x41, 4]), Buffer.from('soak')]);

const frame = (type: number, flags: number, stream: number, payload: Buffer): Buffer => {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
};

export class HostileClients {
  readonly #port: number;
  readonly #open = new Set<Socket>();
  readonly #timers: NodeJS.Timeout[] = [];
  readonly counts = new Map<string, number>();

  /** `port` speaks HTTP/1.1 and HTTP/2. */
  constructor(port: number, only: RegExp) {
    this.#port = port;
    const every = (ms: number, name: string, act: (socket: Socket) => void, livesMs: number): void => {
      if (only.test(name)) this.#timers.push(setInterval(() => this.#one(name, act, livesMs), ms));
    };
    every(1500, 'slow-loris', slowLoris, 30_000);
    every(400, 'garbage', (socket) => socket.write(randomBytes(2000)), 3000);
    every(1000, 'rapid reset', rapidReset, 3000);
    every(1000, 'half-open', (socket) => socket.write('POST /digest HTTP/1.1\r\nhost: soak\r\ncontent-length: 100000\r\n\r\nabc'), 20_000);
    every(700, 'huge head', (socket) => socket.write(`GET / HTTP/1.1\r\nhost: soak\r\nx-huge: ${'h'.repeat(200_000)}\r\n\r\n`), 3000);
    every(3000, 'stalled reader', stalled('GET /bytes?n=50000000 HTTP/1.1\r\nhost: soak\r\n\r\n'), 20_000);
    every(
      3000,
      'stalled reader, HTTP/2',
      stalled(Buffer.concat([PREFACE, SETTINGS, frame(1, 5, 1, headBlock('/bytes?n=50000000'))])),
      20_000,
    );
    every(250, 'connect and go', (socket) => socket.destroy(), 1000);
  }

  stop(): void {
    for (const timer of this.#timers) clearInterval(timer);
    for (const socket of this.#open) socket.destroy();
  }

  #one(name: string, act: (socket: Socket) => void, livesMs: number): void {
    if (this.#open.size >= CLIENTS_MAX) return;
    this.counts.set(name, (this.counts.get(name) ?? 0) + 1);
    const socket = connect({ port: this.#port, host: '127.0.0.1', allowHalfOpen: true });
    this.#open.add(socket);
    const end = setTimeout(() => socket.resetAndDestroy(), livesMs);
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearTimeout(end);
      this.#open.delete(socket);
    });
    socket.once('connect', () => {
      socket.resume();
      act(socket);
    });
  }
}

const slowLoris = (socket: Socket): void => {
  const text = `GET / HTTP/1.1\r\nhost: soak\r\n${'x-slow: loris\r\n'.repeat(20)}`;
  let at = 0;
  const drip = setInterval(() => socket.write(text[at++ % text.length] ?? 'x'), 300);
  socket.on('close', () => clearInterval(drip));
};

const rapidReset = (socket: Socket): void => {
  const frames: Buffer[] = [PREFACE, SETTINGS];
  const block = headBlock('/slow?ms=100');
  for (let stream = 1; stream < 1000; stream += 2) {
    frames.push(frame(1, 5, stream, block), frame(3, 0, stream, Buffer.from([0, 0, 0, 8])));
  }
  socket.write(Buffer.concat(frames));
};

const stalled =
  (request: string | Buffer) =>
  (socket: Socket): void => {
    socket.write(request);
    socket.pause();
  };
