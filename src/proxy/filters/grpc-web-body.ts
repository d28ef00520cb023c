// A gRPC response as browsers read it: messages as they come, in base64 where that was asked for, and the trailers as one more frame
// behind them. Holds back two bytes at most.

import type { HeaderBlock } from '../../wire/header-block.ts';
import type { BodyPath, PacedResponse } from '../exchange/response-pace.ts';

const TRAILERS = 0x80;
const PREFIX_BYTES = 5;
const NOTHING = Buffer.alloc(0);

/** What the filter sees of the response whose body this is. */
export interface TrailedResponse {
  responseTrailers: HeaderBlock | undefined;
}

export class GrpcWebBody implements BodyPath {
  readonly resizes = true;
  readonly #response: TrailedResponse;
  readonly #text: boolean;
  /** What the body goes through behind this. */
  readonly #next: BodyPath | undefined;
  #carried: Buffer = NOTHING;
  /** Of the message that comes: bytes of its prefix that are here, its length, and what is still to come of it. */
  #prefixBytes = 0;
  #length = 0;
  #left = 0;

  constructor(response: TrailedResponse, text: boolean, next: BodyPath | undefined) {
    this.#response = response;
    this.#text = text;
    this.#next = next;
  }

  get settled(): boolean {
    return this.#next?.settled ?? this.#settled;
  }
  set settled(settled: boolean) {
    this.#settled = settled;
    if (this.#next !== undefined) this.#next.settled = settled;
  }
  #settled = false;

  get holds(): boolean {
    return this.#next?.holds ?? false;
  }

  drained(): boolean {
    return this.#next?.drained() ?? true;
  }

  body(response: PacedResponse, bytes: Buffer): boolean {
    return this.#pass(response, this.#text ? this.#encoded(bytes) : bytes);
  }

  end(response: PacedResponse): boolean {
    const trailers = this.#response.responseTrailers;
    if (trailers !== undefined) {
      this.#response.responseTrailers = undefined;
      const lines = Buffer.from(
        trailers.entries().reduce((text, [name, value]) => `${text}${name}:${value}\r\n`, ''),
        'latin1',
      );
      const prefix = Buffer.alloc(PREFIX_BYTES);
      prefix[0] = TRAILERS;
      prefix.writeUInt32BE(lines.length, 1);
      const frame = Buffer.concat([prefix, lines]);
      this.#pass(response, this.#text ? Buffer.from(frame.toString('base64')) : frame);
    }
    return this.#next?.end(response) ?? false;
  }

  #pass(response: PacedResponse, bytes: Buffer): boolean {
    if (bytes.length === 0) return true;
    return this.#next === undefined ? response.write(bytes) : this.#next.body(response, bytes);
  }

  /** Each message is encoded by itself, with its own padding. */
  #encoded(bytes: Buffer): Buffer {
    let text = '';
    for (let at = 0; at < bytes.length; ) {
      const from = at;
      while (this.#prefixBytes < PREFIX_BYTES && at < bytes.length) {
        const byte = bytes[at++] ?? 0;
        if (this.#prefixBytes++ > 0) this.#length = (this.#length * 256 + byte) % 2 ** 32;
        if (this.#prefixBytes === PREFIX_BYTES) this.#left = this.#length;
      }
      const taken = Math.min(this.#left, bytes.length - at);
      at += taken;
      this.#left -= taken;
      const whole = this.#prefixBytes === PREFIX_BYTES && this.#left === 0;
      const known = Buffer.concat([this.#carried, bytes.subarray(from, at)]);
      const end = whole ? known.length : known.length - (known.length % 3);
      text += known.toString('base64', 0, end);
      this.#carried = whole ? NOTHING : known.subarray(end);
      if (whole) this.#prefixBytes = this.#length = 0;
    }
    return Buffer.from(text);
  }
}
