// For tests of the HTTP/2 machine: an owner that writes down what it is told, and frames made by hand.
import { HeaderBlock } from '../../src/wire/header-block.ts';
import {
  Http2Connection,
  type Http2Options,
  type Http2Owner,
  type Http2Problem,
  type Http2Stream,
} from '../../src/wire/http2-connection.ts';

export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

export const frame = (type: number, flags: number, id: number, payload: Uint8Array = Buffer.alloc(0)): Buffer => {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(id, 5);
  return Buffer.concat([head, payload]);
};

export const u32 = (n: number): Buffer => {
  const out = Buffer.alloc(4);
  out.writeUInt32BE(n >>> 0);
  return out;
};

export const setting = (name: number, value: number): Buffer => Buffer.concat([Buffer.from([0, name]), u32(value)]);
export const SETTINGS = frame(4, 0, 0);
export const SETTINGS_ACK = frame(4, 1, 0);
/** A client's first bytes. */
export const HELLO = Buffer.concat([PREFACE, SETTINGS]);

const string = (text: string): Buffer => {
  const bytes = Buffer.from(text, 'latin1');
  if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes]);
  const length = [127];
  let rest = bytes.length - 127;
  for (; rest >= 128; rest >>= 7) length.push(128 | (rest & 127));
  length.push(rest);
  return Buffer.concat([Buffer.from(length), bytes]);
};

/** A header block of literals without indexing. */
export const block = (...fields: readonly (readonly [string, string])[]): Buffer =>
  Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), string(name), string(value)]));

export const GET: readonly (readonly [string, string])[] = [
  [':method', 'GET'],
  [':scheme', 'http'],
  [':path', '/'],
  [':authority', 'a'],
];
export const POST: readonly (readonly [string, string])[] = [[':method', 'POST'], ...GET.slice(1)];
/** END_HEADERS, and END_STREAM when `end`. */
export const headers = (id: number, end: boolean, ...fields: readonly (readonly [string, string])[]): Buffer =>
  frame(1, end ? 5 : 4, id, block(...fields));

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly id: number;
  readonly payload: Buffer;
}

export const frames = (bytes: Buffer): Frame[] => {
  const out: Frame[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUIntBE(at, 3);
    const payload = bytes.subarray(at + 9, at + 9 + length);
    out.push({ type: bytes[at + 3] as number, flags: bytes[at + 4] as number, id: bytes.readUInt32BE(at + 5) & 0x7fffffff, payload });
    at += 9 + length;
  }
  return out;
};

export const headerBlock = (fields: readonly (readonly [string, string])[] = []): HeaderBlock => {
  const out = new HeaderBlock();
  for (const [name, value] of fields) out.add(name, value);
  return out;
};

export class Peer implements Http2Owner {
  readonly connection: Http2Connection;
  /** What came, as text; DATA of one stream in a row is one entry. */
  readonly events: string[] = [];
  readonly streams = new Map<number, Http2Stream>();
  readonly bodies = new Map<number, Buffer[]>();
  problem: Http2Problem | undefined;
  outputs = 0;
  /** Body bytes are given back at once. */
  greedy = true;
  onRequest: ((stream: Http2Stream) => void) | undefined;
  onHeadRefused: ((detail: string) => void) | undefined;
  onFinished: ((stream: Http2Stream) => void) | undefined;
  onCanWrite: ((stream: Http2Stream) => void) | undefined;

  constructor(role: 'server' | 'client', options: Http2Options = {}) {
    this.connection = new Http2Connection(role, this, options);
  }

  feed(...pieces: readonly Uint8Array[]): this {
    for (const piece of pieces) {
      const copy = Buffer.from(piece);
      this.connection.execute(copy, 0, copy.length);
      copy.fill(0x58); // whoever kept a reference to it shows
    }
    return this;
  }

  /** What the machine wants to send. */
  output(): Buffer {
    const out: Buffer[] = [];
    for (;;) {
      const pieces = this.connection.takeOutput();
      if (pieces.length === 0) return Buffer.concat(out);
      out.push(...pieces);
    }
  }

  /** The codes of GOAWAY and RST_STREAM in what it wants to send: `goaway 1`, `reset 3 8`. */
  verdicts(): string[] {
    return frames(this.output()).flatMap((f) => {
      if (f.type === 7) return [`goaway ${f.payload.readUInt32BE(4)}`];
      return f.type === 3 ? [`reset ${f.id} ${f.payload.readUInt32BE(0)}`] : [];
    });
  }

  body(id: number): string {
    return Buffer.concat(this.bodies.get(id) ?? []).toString('latin1');
  }

  onHead(stream: Http2Stream, endStream: boolean): void {
    this.streams.set(stream.id, stream);
    const s = stream;
    const line = s.statusCode > 0 ? `${s.statusCode}` : `${s.method} ${s.scheme} ${s.authority} ${s.path} ${s.protocol}`;
    this.events.push(`head ${s.id} ${line} ${JSON.stringify(s.headers.entries())} ${s.contentLength} ${endStream}`);
    this.onRequest?.(stream);
  }
  onInformational(stream: Http2Stream): void {
    this.events.push(`inform ${stream.id} ${stream.statusCode} ${JSON.stringify(stream.headers.entries())}`);
  }
  onData(stream: Http2Stream, buf: Buffer, start: number, end: number): void {
    const chunks = this.bodies.get(stream.id) ?? [];
    chunks.push(Buffer.from(buf.subarray(start, end)));
    this.bodies.set(stream.id, chunks);
    const text = `data ${stream.id}`;
    if (this.events.at(-1) !== text) this.events.push(text);
    if (this.greedy) stream.consume(end - start);
  }
  onTrailers(stream: Http2Stream, trailers: HeaderBlock): void {
    this.events.push(`trailers ${stream.id} ${JSON.stringify(trailers.entries())}`);
  }
  onEnd(stream: Http2Stream): void {
    this.events.push(`end ${stream.id}`);
    this.onFinished?.(stream);
  }
  onReset(stream: Http2Stream, code: number, remote: boolean): void {
    this.events.push(`reset ${stream.id} ${code} ${remote ? 'remote' : 'local'}`);
  }
  onWritable(stream: Http2Stream): void {
    this.onCanWrite?.(stream);
  }
  onGoaway(last: number, code: number): void {
    this.events.push(`goaway ${last} ${code}`);
  }
  onPeerSettings(): void {
    this.events.push('settings');
  }
  onPingAck(): void {
    this.events.push('pong');
  }
  onError(problem: Http2Problem): void {
    this.problem = problem;
    this.events.push(`error ${problem.code} ${problem.detail}`);
  }
  onOutput(): void {
    this.outputs++;
  }
}

/** Bytes to and fro until neither side has any; `cut` splits what is on its way. */
export const talk = (a: Peer, b: Peer, cut: (bytes: Buffer) => readonly Buffer[] = (bytes) => [bytes]): void => {
  for (;;) {
    const there = a.output();
    if (there.length > 0) b.feed(...cut(there));
    const back = b.output();
    if (back.length > 0) a.feed(...cut(back));
    if (there.length === 0 && back.length === 0) return;
  }
};
