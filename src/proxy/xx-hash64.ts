// xxHash64, the hash of Envoy's consistent-hash balancers and hash policies. In halves of 32 bits: a ring of a million entries is
// hashed while requests wait, and arithmetic on bigint is some thirty times slower.

/** A 64-bit word that changes in place. */
class Word {
  hi: number;
  lo: number;

  constructor(hi = 0, lo = 0) {
    this.hi = hi;
    this.lo = lo;
  }

  set(hi: number, lo: number): this {
    this.hi = hi;
    this.lo = lo;
    return this;
  }

  add(hi: number, lo: number): this {
    const sum = (this.lo >>> 0) + (lo >>> 0);
    this.lo = sum | 0;
    this.hi = (this.hi + hi + (sum > 0xffffffff ? 1 : 0)) | 0;
    return this;
  }

  mul(by: Word): this {
    const a0 = this.lo & 0xffff;
    const a1 = this.lo >>> 16;
    const b0 = by.lo & 0xffff;
    const b1 = by.lo >>> 16;
    const cross = a1 * b0;
    const other = a0 * b1;
    const middle = ((a0 * b0) >>> 16) + (cross & 0xffff) + (other & 0xffff);
    const carry = a1 * b1 + (cross >>> 16) + (other >>> 16) + (middle >>> 16);
    this.hi = (carry + Math.imul(this.hi, by.lo) + Math.imul(this.lo, by.hi)) | 0;
    this.lo = Math.imul(this.lo, by.lo);
    return this;
  }

  xor(hi: number, lo: number): this {
    this.hi ^= hi;
    this.lo ^= lo;
    return this;
  }

  /** Left, by 1 to 31. */
  rotate(by: number): this {
    const { hi, lo } = this;
    this.hi = (hi << by) | (lo >>> (32 - by));
    this.lo = (lo << by) | (hi >>> (32 - by));
    return this;
  }

  /** x ^= x >>> by. */
  fold(by: number): this {
    const { hi, lo } = this;
    return by >= 32 ? this.xor(0, hi >>> (by - 32)) : this.xor(hi >>> by, (lo >>> by) | (hi << (32 - by)));
  }
}

const P1 = new Word(0x9e3779b1, 0x85ebca87);
const P2 = new Word(0xc2b2ae3d, 0x27d4eb4f);
const P3 = new Word(0x165667b1, 0x9e3779f9);
const P4 = new Word(0x85ebca77, 0xc2b2ae63);
const P5 = new Word(0x27d4eb2f, 0x165667c5);

const encoder = new TextEncoder();

export const xxHash64 = (text: string, seed = 0n): bigint => {
  const bytes = encoder.encode(text);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const seedHi = Number(seed >> 32n);
  const seedLo = Number(seed & 0xffffffffn);
  const lane = new Word();
  let at = 0;
  let hash: Word;
  if (bytes.length >= 32) {
    const lanes = [
      new Word(seedHi, seedLo).add(P1.hi, P1.lo).add(P2.hi, P2.lo),
      new Word(seedHi, seedLo).add(P2.hi, P2.lo),
      new Word(seedHi, seedLo),
      minus(new Word(seedHi, seedLo), P1),
    ] as const;
    for (; at + 32 <= bytes.length; at += 32)
      for (let i = 0; i < 4; i++) {
        read(view, at + 8 * i, lane).mul(P2);
        lanes[i as 0 | 1 | 2 | 3].add(lane.hi, lane.lo).rotate(31).mul(P1);
      }
    const [a, b, c, d] = lanes;
    hash = new Word(a.hi, a.lo).rotate(1);
    for (const [word, by] of [[b, 7] as const, [c, 12] as const, [d, 18] as const]) {
      lane.set(word.hi, word.lo).rotate(by);
      hash.add(lane.hi, lane.lo);
    }
    for (const word of lanes) {
      lane.set(word.hi, word.lo).mul(P2).rotate(31).mul(P1);
      hash.xor(lane.hi, lane.lo).mul(P1).add(P4.hi, P4.lo);
    }
  } else hash = new Word(seedHi, seedLo).add(P5.hi, P5.lo);
  hash.add(0, bytes.length);
  for (; at + 8 <= bytes.length; at += 8) {
    read(view, at, lane).mul(P2).rotate(31).mul(P1);
    hash.xor(lane.hi, lane.lo).rotate(27).mul(P1).add(P4.hi, P4.lo);
  }
  if (at + 4 <= bytes.length) {
    lane.set(0, view.getInt32(at, true)).mul(P1);
    hash.xor(lane.hi, lane.lo).rotate(23).mul(P2).add(P3.hi, P3.lo);
    at += 4;
  }
  for (; at < bytes.length; at++) {
    lane.set(0, view.getUint8(at)).mul(P5);
    hash.xor(lane.hi, lane.lo).rotate(11).mul(P1);
  }
  hash.fold(33).mul(P2).fold(29).mul(P3).fold(32);
  return (BigInt(hash.hi >>> 0) << 32n) | BigInt(hash.lo >>> 0);
};

const read = (view: DataView, at: number, into: Word): Word => into.set(view.getInt32(at + 4, true), view.getInt32(at, true));
const minus = (from: Word, by: Word): Word => from.add(~by.hi, ~by.lo).add(0, 1);
