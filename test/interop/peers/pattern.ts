// Bytes that both ends can make and compare: a block of prime length repeated, so that a lost or doubled chunk shifts everything after it.
import { createHash } from 'node:crypto';

const BLOCK_BYTES = 65_521;

const block = ((): Buffer => {
  const out = Buffer.alloc(BLOCK_BYTES);
  let x = 0x2545_f491;
  for (let i = 0; i < BLOCK_BYTES; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    out[i] = x & 255;
  }
  return out;
})();

/** `length` bytes from `offset` on. */
export const patternBytes = (offset: number, length: number): Buffer => {
  const out = Buffer.alloc(length);
  for (let at = 0; at < length; ) {
    const from = (offset + at) % BLOCK_BYTES;
    at += block.copy(out, at, from, Math.min(BLOCK_BYTES, from + length - at));
  }
  return out;
};

/** SHA-256 of the first `length` bytes. */
export const patternDigest = (length: number): string => {
  const hash = createHash('sha256');
  for (let at = 0; at < length; at += BLOCK_BYTES) hash.update(block.subarray(0, Math.min(BLOCK_BYTES, length - at)));
  return hash.digest('hex');
};

/** Undefined when `bytes` are the pattern from `offset` on; else where they differ first. */
export const patternDiffers = (bytes: Buffer, offset: number): number | undefined => {
  for (let at = 0; at < bytes.length; ) {
    const from = (offset + at) % BLOCK_BYTES;
    const length = Math.min(BLOCK_BYTES - from, bytes.length - at);
    if (bytes.compare(block, from, from + length, at, at + length) !== 0) {
      for (let i = 0; i < length; i++) if (bytes[at + i] !== block[from + i]) return offset + at + i;
    }
    at += length;
  }
  return undefined;
};
