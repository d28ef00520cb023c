// The Huffman code of HPACK (RFC 7541 appendix B), decoding only: what this side sends is plain, since four bits saved
// here and there cost more CPU than bytes inside a data centre. The code is canonical, so its code lengths say it all.
// Decoding walks a table of (state, four bits); no allocation, no loop per bit.

/** Code lengths by symbol, run-length written: `length` or `lengthxcount`; the last one is EOS. */
const LENGTHS =
  '13 23 28x7 24 30 28x2 30 28x8 30 28x9 6 10x2 12 13 6 8 11 10x2 8 11 8 6x3 5x3 6x7 7 8 15 6 12 10 13 6 7x22 8 7 8 13 19 13 14 6 15 ' +
  '5 6 5 6 5 6x3 5 7x2 6x3 5 6 7 6 5x2 6 7x5 15 11 14 13 28 20 22 20x2 22x3 23 22 23x5 24 23 24x2 22 23 24 23x4 21 22 23 22 23x2 24 22 ' +
  '21 20 22x2 23x2 21 23 22x2 24 21 22 23x2 21x2 22 21 23 22 23x2 20 22x3 23 22x2 23 26x2 20 19 22 23 22 25 26x3 27x2 26 24 25 19 21 ' +
  '26 27x2 26 27 24 21x2 26x2 28 27x3 20 24 20 21 22 21x2 23 22x2 25x2 24x2 26 23 26 27 26x2 27x5 28 27x5 26 30';

const EOS = 256;
// An entry: the next state in the low byte, the symbol above it, and what happens.
const EMITS = 1 << 16;
const FAILS = 1 << 17;
const steps = new Int32Array(256 * 16);
/** 1 for states in which a string may end: at a symbol's end, or at most 7 one-bits behind it. */
const mayEnd = new Uint8Array(256);

const codeLengths = (): number[] => {
  const out: number[] = [];
  for (const part of LENGTHS.split(' ')) {
    const [length, count] = part.split('x');
    for (let i = 0; i < Number(count ?? 1); i++) out.push(Number(length));
  }
  return out;
};

/** The code's tree: children of node n at 2n and 2n+1; a child is ~symbol for a leaf. Nodes are the states. */
const buildTree = (lengths: readonly number[]): Int32Array => {
  const tree = new Int32Array(512);
  let nodes = 1;
  let code = 0;
  for (let length = 1; length <= 30; length++) {
    code *= 2;
    for (let symbol = 0; symbol <= EOS; symbol++) {
      if (lengths[symbol] !== length) continue;
      let node = 0;
      for (let bit = length - 1; bit > 0; bit--) {
        const at = node * 2 + ((code >>> bit) & 1);
        if (tree[at] === 0) tree[at] = nodes++;
        node = tree[at] as number;
      }
      tree[node * 2 + (code & 1)] = ~symbol;
      code++;
    }
  }
  return tree;
};

const fillSteps = (tree: Int32Array): void => {
  for (let state = 0; state < 256; state++) {
    for (let bits = 0; bits < 16; bits++) {
      let node = state;
      let entry = 0;
      for (let i = 3; i >= 0; i--) {
        const next = tree[node * 2 + ((bits >> i) & 1)] as number;
        node = Math.max(next, 0);
        if (next < 0) entry |= ~next === EOS ? FAILS : EMITS | (~next << 8);
      }
      steps[state * 16 + bits] = entry | node;
    }
  }
  let node = 0;
  for (let ones = 0; ones <= 7; ones++) {
    mayEnd[node] = 1;
    node = tree[node * 2 + 1] as number;
  }
};
fillSteps(buildTree(codeLengths()));

/**
 * Decodes [start, end) of `from` into `to` at `at`, which has room for 8/5 of the bytes. Returns where it ended, -1 when
 * the string holds EOS or is padded wrongly.
 */
export const huffmanDecode = (from: Uint8Array, start: number, end: number, to: Uint8Array, at: number): number => {
  let state = 0;
  let out = at;
  for (let i = start; i < end; i++) {
    const byte = from[i] as number;
    let step = steps[(state << 4) | (byte >> 4)] as number;
    if (step >= EMITS) {
      if (step >= FAILS) return -1;
      to[out++] = (step >> 8) & 255;
    }
    step = steps[((step & 255) << 4) | (byte & 15)] as number;
    if (step >= EMITS) {
      if (step >= FAILS) return -1;
      to[out++] = (step >> 8) & 255;
    }
    state = step & 255;
  }
  return mayEnd[state] === 1 ? out : -1;
};
