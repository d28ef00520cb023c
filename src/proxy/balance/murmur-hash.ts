// MurmurHash64A with the seed of std::hash, which ring_hash's MURMUR_HASH_2 asks for. Ring entries only: nothing of a request is hashed by it.

const MASK = 0xffffffffffffffffn;
const FACTOR = 0xc6a4a7935bd1e995n;
const SEED = 0xc70f6907n;
const SHIFT = 47n;

export const murmurHash2 = (text: string): bigint => {
  const bytes = Buffer.from(text, 'latin1');
  const whole = bytes.length & ~7;
  let hash = SEED ^ ((BigInt(bytes.length) * FACTOR) & MASK);
  for (let at = 0; at < whole; at += 8) {
    let word = (bytes.readBigUInt64LE(at) * FACTOR) & MASK;
    word = ((word ^ (word >> SHIFT)) * FACTOR) & MASK;
    hash = ((hash ^ word) * FACTOR) & MASK;
  }
  if (whole < bytes.length) {
    let rest = 0n;
    for (let at = bytes.length - 1; at >= whole; at--) rest = (rest << 8n) | BigInt(bytes[at] ?? 0);
    hash = ((hash ^ rest) * FACTOR) & MASK;
  }
  hash = ((hash ^ (hash >> SHIFT)) * FACTOR) & MASK;
  return hash ^ (hash >> SHIFT);
};
