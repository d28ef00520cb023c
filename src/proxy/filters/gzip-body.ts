// A response body on its way to the client, as gzip: each piece that comes is sent at once, compressed behind what went before, so that
// nothing waits and nothing has to be closed when the client goes away. Keeps one window of what was sent.

import { createRequire } from 'node:module';
import type { BodyPath, PacedResponse } from '../exchange/response-pace.ts';

type Zlib = typeof import('node:zlib');
const require = createRequire(import.meta.url);
/** Loaded where something is compressed. */
export const zlib = (): Zlib => require('node:zlib') as Zlib;

export interface GzipSettings {
  readonly windowBits: number;
  readonly memLevel: number;
  readonly level: number;
  readonly strategy: number;
}
export interface GzipCounts {
  bytesIn(count: number): void;
  bytesOut(count: number): void;
}

const HEAD = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]);
/** An empty last block. */
const LAST_BLOCK = Buffer.from([3, 0]);
const NOTHING = Buffer.alloc(0);

export class GzipBody implements BodyPath, PacedResponse {
  readonly resizes = true;
  readonly #settings: GzipSettings;
  readonly #counts: GzipCounts;
  /** What the body goes through before this. */
  readonly #before: BodyPath | undefined;
  #response: PacedResponse | undefined;
  #window: Buffer = NOTHING;
  #began = false;
  #crc = 0;
  #length = 0;
  #settled = false;

  constructor(settings: GzipSettings, counts: GzipCounts, before: BodyPath | undefined) {
    this.#settings = settings;
    this.#counts = counts;
    this.#before = before;
  }

  get settled(): boolean {
    return this.#before?.settled ?? this.#settled;
  }
  set settled(settled: boolean) {
    this.#settled = settled;
    if (this.#before !== undefined) this.#before.settled = settled;
  }
  get holds(): boolean {
    return this.#before?.holds ?? false;
  }
  drained(): boolean {
    return this.#before?.drained() ?? true;
  }

  body(response: PacedResponse, bytes: Buffer): boolean {
    this.#response = response;
    return this.#before === undefined ? this.write(bytes) : this.#before.body(this, bytes);
  }

  end(response: PacedResponse): boolean {
    this.#response = response;
    if (this.#before?.end(this) === true) return true;
    this.#tail();
    return false;
  }

  // --- what came out of the path before (PacedResponse) ---

  write(piece: Buffer): boolean {
    const response = this.#response;
    if (response === undefined || piece.length === 0) return true;
    const { constants, crc32, deflateRawSync } = zlib();
    const window = this.#window;
    const deflated = deflateRawSync(piece, {
      ...this.#settings,
      finishFlush: constants.Z_SYNC_FLUSH,
      ...(window.length === 0 ? {} : { dictionary: window }),
    });
    this.#crc = crc32(piece, this.#crc);
    this.#length = (this.#length + piece.length) % 2 ** 32;
    this.#remember(piece);
    this.#counts.bytesIn(piece.length);
    return this.#send(response, this.#began ? deflated : Buffer.concat([HEAD, deflated]));
  }

  flush(): void {
    this.#response?.flush();
  }

  room(): void {
    this.#response?.room();
  }

  finish(): void {
    this.#tail();
    this.#response?.finish();
  }

  #remember(piece: Buffer): void {
    const size = 2 ** this.#settings.windowBits;
    const all = piece.length >= size ? piece : Buffer.concat([this.#window, piece]);
    // A copy: what was read is read over.
    this.#window = Buffer.from(all.subarray(-size));
  }

  #tail(): void {
    if (this.#response === undefined) return;
    const sums = Buffer.alloc(8);
    sums.writeUInt32LE(this.#crc, 0);
    sums.writeUInt32LE(this.#length, 4);
    this.#send(this.#response, Buffer.concat([this.#began ? NOTHING : HEAD, LAST_BLOCK, sums]));
  }

  #send(response: PacedResponse, bytes: Buffer): boolean {
    this.#began = true;
    this.#counts.bytesOut(bytes.length);
    return response.write(bytes);
  }
}
