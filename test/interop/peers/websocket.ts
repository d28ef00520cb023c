// WebSocket frames (RFC 6455), as much as echo needs: whole messages in one frame, masked from the client, control frames, close.
import { createHash } from 'node:crypto';

export const TEXT = 1;
export const BINARY = 2;
export const CLOSE = 8;
export const PING = 9;
export const PONG = 10;

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const FRAME_BYTES_MAX = 64 * 1024 * 1024;

export const acceptKey = (key: string): string =>
  createHash('sha1')
    .update(key + GUID)
    .digest('base64');

export const encodeFrame = (opcode: number, payload: Buffer, mask?: Buffer): Buffer => {
  const size = payload.length < 126 ? 2 : payload.length < 65_536 ? 4 : 10;
  const out = Buffer.alloc(size + (mask === undefined ? 0 : 4) + payload.length);
  out[0] = 0x80 | opcode;
  const masked = mask === undefined ? 0 : 0x80;
  if (size === 2) out[1] = masked | payload.length;
  else if (size === 4) {
    out[1] = masked | 126;
    out.writeUInt16BE(payload.length, 2);
  } else {
    out[1] = masked | 127;
    out.writeBigUInt64BE(BigInt(payload.length), 2);
  }
  if (mask === undefined) payload.copy(out, size);
  else {
    mask.copy(out, size);
    for (let i = 0; i < payload.length; i++) out[size + 4 + i] = (payload[i] ?? 0) ^ (mask[i & 3] ?? 0);
  }
  return out;
};

/** Bytes in any pieces to whole frames. */
export class FrameReader {
  #pending: Buffer = Buffer.alloc(0);
  readonly #onFrame: (opcode: number, payload: Buffer) => void;

  constructor(onFrame: (opcode: number, payload: Buffer) => void) {
    this.#onFrame = onFrame;
  }

  push(bytes: Buffer): void {
    this.#pending = this.#pending.length === 0 ? bytes : Buffer.concat([this.#pending, bytes]);
    while (this.#one());
  }

  #one(): boolean {
    const b = this.#pending;
    if (b.length < 2) return false;
    const short = (b[1] ?? 0) & 127;
    const size = short < 126 ? 2 : short === 126 ? 4 : 10;
    const masked = ((b[1] ?? 0) & 0x80) !== 0;
    const start = size + (masked ? 4 : 0);
    if (b.length < start) return false;
    const length = size === 2 ? short : size === 4 ? b.readUInt16BE(2) : Number(b.readBigUInt64BE(2));
    if (length > FRAME_BYTES_MAX) throw new Error(`a WebSocket frame of ${length} bytes`);
    if (b.length < start + length) return false;
    const payload = Buffer.from(b.subarray(start, start + length));
    if (masked) for (let i = 0; i < length; i++) payload[i] = (payload[i] ?? 0) ^ (b[size + (i & 3)] ?? 0);
    this.#pending = b.subarray(start + length);
    this.#onFrame((b[0] ?? 0) & 15, payload);
    return true;
  }
}

/** A server's side of one connection: echoes messages, answers pings, closes when asked to. */
export const echoFrames = (write: (bytes: Buffer) => void, end: () => void): FrameReader =>
  new FrameReader((opcode, payload) => {
    if (opcode === PING) write(encodeFrame(PONG, payload));
    else if (opcode === CLOSE) {
      write(encodeFrame(CLOSE, payload));
      end();
    } else if (opcode !== PONG) write(encodeFrame(opcode, payload));
  });
