// The key set that stands for one that was never had: one valid key that nobody can sign for, so that every token is refused. Its bytes
// are the same in each process and on each machine: a control plane that starts again, or a second one, sends proxies the same listeners.
//
// Why nobody can sign: the key is a point of P-256 whose x is a hash of the text below, tried with 0, 1, 2 … until there is such a point.
// A private key is the logarithm of its point; who picks the point by a hash does not learn it, and to compute it is what breaking the
// curve means. A modulus for RSA made in the same way would be weaker: a random number may have a factorization that can be found.
import { createHash } from 'node:crypto';

const TEXT = 'skein: a key that nobody owns';

/** The curve: y² = x³ − 3x + B over the integers modulo P (FIPS 186-5, SP 800-186 §3.2.1.3). */
const P = 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn;
const B = 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn;

const sha256 = (text: string): bigint => BigInt(`0x${createHash('sha256').update(text).digest('hex')}`);

const power = (base: bigint, exponent: bigint): bigint => {
  let out = 1n;
  for (let square = base % P, rest = exponent; rest > 0n; square = (square * square) % P, rest >>= 1n) {
    if (rest & 1n) out = (out * square) % P;
  }
  return out;
};

const point = (): { readonly x: bigint; readonly y: bigint } => {
  for (let n = 0; ; n++) {
    const x = sha256(`${TEXT} ${n}`);
    if (x >= P) continue;
    const square = (((x * x) % P) * x + (P - 3n) * x + B) % P;
    const y = power(square, (P + 1n) / 4n); // a square root where there is one, P being 3 modulo 4
    if ((y * y) % P === square) return { x, y };
  }
};

const coordinate = (value: bigint): string => Buffer.from(value.toString(16).padStart(64, '0'), 'hex').toString('base64url');

const unownedKey = (): object => {
  const { x, y } = point();
  return { kty: 'EC', crv: 'P-256', x: coordinate(x), y: coordinate(y) };
};

export const UNOWNED_KEY_SET: string = JSON.stringify({ keys: [unownedKey()] });
