// node redis-client.ts CASE HOST PORT: a Redis client of a few lines, because the cases are about bytes: commands, pipeline, pubsub, large.
import { connect } from 'node:net';
import { patternBytes, patternDiffers } from './pattern.ts';

type Value = string | number | Buffer | null | readonly Value[];
const LARGE_BYTES = 100 * 1024 * 1024;
const WITHIN_MS = 50_000;

class Redis {
  readonly #socket;
  #chunks: Buffer[] = [];
  #length = 0;
  #wake: () => void = () => undefined;
  #over = false;

  constructor(host: string, port: number) {
    this.#socket = connect({ host, port, noDelay: true });
    this.#socket.on('data', (bytes: Buffer) => {
      this.#chunks.push(bytes);
      this.#length += bytes.length;
      this.#wake();
    });
    for (const event of ['end', 'close', 'error'])
      this.#socket.on(event, () => {
        this.#over = true;
        this.#wake();
      });
  }

  send(...parts: (string | Buffer)[]): void {
    this.#socket.write(`*${parts.length}\r\n`);
    for (const part of parts) {
      const bytes = typeof part === 'string' ? Buffer.from(part) : part;
      this.#socket.write(`$${bytes.length}\r\n`);
      this.#socket.write(bytes);
      this.#socket.write('\r\n');
    }
  }

  async ask(...parts: (string | Buffer)[]): Promise<Value> {
    this.send(...parts);
    return this.read();
  }

  async read(): Promise<Value> {
    const line = await this.#line();
    const rest = line.slice(1);
    if (line[0] === '+') return rest;
    if (line[0] === ':') return Number(rest);
    if (line[0] === '-') throw new Error(rest);
    if (line[0] === '$') {
      if (rest === '-1') return null;
      return (await this.#take(Number(rest) + 2)).subarray(0, -2);
    }
    if (line[0] === '*') {
      const list: Value[] = [];
      for (let i = 0; i < Number(rest); i++) list.push(await this.read());
      return list;
    }
    throw new Error(`not a Redis answer: ${line.slice(0, 80)}`);
  }

  end(): void {
    this.#socket.end();
  }

  async #more(): Promise<void> {
    if (this.#over) throw new Error('the connection ended');
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
  }

  async #line(): Promise<string> {
    for (;;) {
      const all = this.#chunks.length > 1 ? Buffer.concat(this.#chunks) : (this.#chunks[0] ?? Buffer.alloc(0));
      this.#chunks = [all];
      const end = all.indexOf('\r\n');
      if (end >= 0) return (await this.#take(end + 2)).toString('latin1', 0, end);
      await this.#more();
    }
  }

  async #take(bytes: number): Promise<Buffer> {
    while (this.#length < bytes) await this.#more();
    const all = Buffer.concat(this.#chunks);
    this.#chunks = [all.subarray(bytes)];
    this.#length = all.length - bytes;
    return all.subarray(0, bytes);
  }
}

const same = (got: Value, wanted: Value, what: string): void => {
  const text = (v: Value): string =>
    Array.isArray(v) ? `[${v.map(text).join()}]` : JSON.stringify(v instanceof Buffer ? v.toString('latin1') : v);
  if (text(got) !== text(wanted)) throw new Error(`${what} gave ${text(got).slice(0, 200)}, not ${text(wanted).slice(0, 200)}`);
};

const cases: Readonly<Record<string, (open: () => Redis) => Promise<string>>> = {
  commands: async (open) => {
    const redis = open();
    same(await redis.ask('PING'), 'PONG', 'PING');
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    same(await redis.ask('SET', 'binary', bytes), 'OK', 'SET');
    same(await redis.ask('GET', 'binary'), bytes, 'GET of all 256 bytes');
    same(await redis.ask('GET', 'absent'), null, 'GET of an absent key');
    same(await redis.ask('DEL', 'binary', 'absent'), 1, 'DEL');
    const refused = await redis.ask('NOSUCH').catch((e: Error) => e.message);
    if (!String(refused).startsWith('ERR unknown command')) throw new Error(`an unknown command gave ${String(refused)}`);
    redis.end();
    return '6 commands';
  },
  pipeline: async (open) => {
    const redis = open();
    await redis.ask('DEL', 'counter');
    const total = 20_000;
    for (let i = 0; i < total; i++) redis.send('INCR', 'counter');
    for (let i = 1; i <= total; i++) same(await redis.read(), i, `INCR ${i}`);
    redis.end();
    return `${total} commands in one pipeline`;
  },
  pubsub: async (open) => {
    const subscriber = open();
    const publisher = open();
    same(await subscriber.ask('SUBSCRIBE', 'news'), [Buffer.from('subscribe'), Buffer.from('news'), 1], 'SUBSCRIBE');
    const total = 1000;
    for (let i = 0; i < total; i++) publisher.send('PUBLISH', 'news', `item ${i}`);
    for (let i = 0; i < total; i++) same(await publisher.read(), 1, 'PUBLISH');
    for (let i = 0; i < total; i++) {
      const message = await subscriber.read();
      const text = Array.isArray(message) ? String(message[2]) : String(message);
      if (text !== `item ${i}`) throw new Error(`message ${i} is ${text}`);
    }
    subscriber.end();
    publisher.end();
    return `${total} messages`;
  },
  large: async (open) => {
    const redis = open();
    const started = performance.now();
    same(await redis.ask('SET', 'large', patternBytes(0, LARGE_BYTES)), 'OK', 'SET of 100 MiB');
    same(await redis.ask('STRLEN', 'large'), LARGE_BYTES, 'STRLEN');
    const back = await redis.ask('GET', 'large');
    if (!(back instanceof Buffer) || back.length !== LARGE_BYTES) throw new Error('GET gave something else than 100 MiB');
    const at = patternDiffers(back, 0);
    if (at !== undefined) throw new Error(`byte ${at} differs`);
    same(await redis.ask('DEL', 'large'), 1, 'DEL');
    redis.end();
    return `100 MiB there and back in ${((performance.now() - started) / 1000).toFixed(1)} s`;
  },
};

const [, , name = '', host = '', port = ''] = process.argv;
setTimeout(() => {
  console.error(`not over within ${WITHIN_MS} ms`);
  process.exit(1);
}, WITHIN_MS).unref();
process.exitCode = 1; // also when nothing is left to wait for
(cases[name] ?? (() => Promise.reject(new Error(`no case ${name}`))))(() => new Redis(host, Number(port))).then(
  (detail) => {
    console.log(detail);
    process.exit(0);
  },
  (e: Error) => {
    console.error(e.message);
    process.exit(1);
  },
);
