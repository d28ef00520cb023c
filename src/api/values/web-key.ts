// Which public keys a proxy's verifier can read, as Envoy reads JSON web keys: what it cannot read it leaves out, and a set of which
// nothing is left it refuses, with everything the set came in.

export interface ReadableKeys {
  /** Of the keys that can be read. Undefined when there is none. */
  readonly keys: string | undefined;
  /** Why the others cannot, in words that hold no key. Undefined when there is no other. */
  readonly unreadable: string | undefined;
}

type Json = Readonly<Record<string, unknown>>;

/** Undefined for a text that is neither a key set nor one key alone. */
export const readableKeys = (text: string): ReadableKeys | undefined => {
  const list = keysIn(text);
  if (list === undefined) return undefined;
  const good: unknown[] = [];
  const faults: string[] = [];
  for (const [index, key] of list.entries()) {
    const fault = keyFault(key);
    if (fault === undefined) good.push(key);
    else faults.push(`key ${nameOf(key, index)}: ${fault}`);
  }
  return { keys: good.length === 0 ? undefined : JSON.stringify({ keys: good }), unreadable: summary(faults) };
};

/** Keys named in one message. */
const NAMED_MAX = 3;

const summary = (faults: readonly string[]): string | undefined => {
  const more = faults.length - NAMED_MAX;
  return faults.length === 0 ? undefined : `${faults.slice(0, NAMED_MAX).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
};

/** A key set is understood by every verifier; one key alone by none of them. */
export const asKeySet = (text: string): string => {
  const value = parsed(text);
  return isObject(value) && isKey(value) ? JSON.stringify({ keys: [value] }) : text;
};

const keysIn = (text: string): readonly unknown[] | undefined => {
  const value = parsed(text);
  if (!isObject(value)) return undefined;
  if (isKey(value)) return [value];
  return Array.isArray(value['keys']) ? value['keys'] : undefined;
};

const parsed = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};

const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value);

const isKey = (value: Json): boolean => 'kty' in value && !('keys' in value);

/** Its id where it has a plain one. */
const nameOf = (key: unknown, index: number): string => {
  const id = isObject(key) ? key['kid'] : undefined;
  return typeof id === 'string' && /^[\w.:-]{1,64}$/.test(id) ? JSON.stringify(id) : `#${index}`;
};

const keyFault = (key: unknown): string | undefined => {
  if (!isObject(key)) return 'not an object';
  switch (key['kty']) {
    case undefined:
      return 'kty is missing';
    case 'RSA':
      return rsaFault(key);
    case 'EC':
      return curveFault(key);
    case 'OKP':
      return edwardsFault(key);
    case 'oct':
      return secretFault(key);
    default:
      return 'kty is none of RSA, EC, OKP, oct';
  }
};

const algorithm = ({ alg }: Json): string => (typeof alg === 'string' ? alg : '');

/** The bytes, or what is wrong with the text. */
const bytesOf = (key: Json, field: string): { readonly bytes: Uint8Array } | { readonly fault: string } => {
  const text = key[field];
  if (text === undefined) return { fault: `${field} is missing` };
  if (typeof text !== 'string') return { fault: `${field} is not text` };
  const plain = text.replace(/\s/g, '');
  const digits = plain.replace(/={1,2}$/, '');
  const padded = digits !== plain && plain.length % 4 !== 0;
  if (padded || !/^[\w-]*$/.test(digits) || digits.length % 4 === 1) return { fault: `${field} is not base64url` };
  return { bytes: Buffer.from(digits, 'base64url') };
};

const numberOf = (bytes: Uint8Array): bigint => BigInt(`0x0${Buffer.from(bytes).toString('hex')}`);

const MODULUS_BITS_MIN = 512;
const MODULUS_BITS_MAX = 16_384;
const EXPONENTS: ReadonlySet<bigint> = new Set([3n, 65_537n]);

const rsaFault = (key: Json): string | undefined => {
  const alg = algorithm(key);
  if (alg !== '' && !/^[RP]S/.test(alg)) return 'alg is none for an RSA key';
  const n = bytesOf(key, 'n');
  if ('fault' in n) return n.fault;
  const e = bytesOf(key, 'e');
  if ('fault' in e) return e.fault;
  const first = n.bytes.findIndex((b) => b !== 0);
  const bits = first === -1 ? 0 : (n.bytes.length - first) * 8 - Math.clz32(n.bytes[first] ?? 0) + 24;
  if (bits < MODULUS_BITS_MIN || bits > MODULUS_BITS_MAX)
    return `n has ${bits} bits, a modulus has ${MODULUS_BITS_MIN} to ${MODULUS_BITS_MAX}`;
  if ((n.bytes.at(-1) ?? 0) % 2 === 0) return 'n is an even number';
  return EXPONENTS.has(numberOf(e.bytes)) ? undefined : 'e is neither 3 nor 65537 (AQAB)';
};

interface Curve {
  readonly alg: string;
  readonly p: bigint;
  readonly b: bigint;
}

/** y² = x³ - 3x + b over p. */
const CURVES: ReadonlyMap<string, Curve> = new Map([
  [
    'P-256',
    {
      alg: 'ES256',
      p: 2n ** 256n - 2n ** 224n + 2n ** 192n + 2n ** 96n - 1n,
      b: 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn,
    },
  ],
  [
    'P-384',
    {
      alg: 'ES384',
      p: 2n ** 384n - 2n ** 128n - 2n ** 96n + 2n ** 32n - 1n,
      b: 0xb3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aefn,
    },
  ],
  [
    'P-521',
    {
      alg: 'ES512',
      p: 2n ** 521n - 1n,
      b: 0x0051953eb9618e1c9a1f929a21a0b68540eea2da725b99b315f3b8b489918ef109e156193951ec7e937b1652c0bd3bb1bf073573df883d2c34f1ef451fd46b503f00n,
    },
  ],
]);

const curveFault = (key: Json): string | undefined => {
  const alg = algorithm(key);
  if (alg !== '' && !alg.startsWith('ES')) return 'alg is none for an EC key';
  const written = key['crv'] ?? '';
  if (typeof written !== 'string') return 'crv is not text';
  const byAlgorithm = [...CURVES].find(([, c]) => c.alg === alg)?.[0];
  const name = written === '' ? (alg === '' ? 'P-256' : byAlgorithm) : written;
  const curve = name === undefined ? undefined : CURVES.get(name);
  if (alg !== '' && written !== '' && curve?.alg !== alg) return 'crv and alg do not go together';
  if (curve === undefined) return `crv is none of ${[...CURVES.keys()].join(', ')}`;
  const x = bytesOf(key, 'x');
  if ('fault' in x) return x.fault;
  const y = bytesOf(key, 'y');
  if ('fault' in y) return y.fault;
  return isPoint(numberOf(x.bytes), numberOf(y.bytes), curve) ? undefined : 'x and y are no point of the curve';
};

const isPoint = (x: bigint, y: bigint, { p, b }: Curve): boolean => x < p && y < p && (y * y - x * x * x + 3n * x - b) % p === 0n;

const ED25519_BYTES = 32;

const edwardsFault = (key: Json): string | undefined => {
  const alg = algorithm(key);
  if (alg !== '' && alg !== 'EdDSA') return 'alg is none for an OKP key';
  if (key['crv'] !== 'Ed25519') return 'crv is not Ed25519';
  const x = bytesOf(key, 'x');
  if ('fault' in x) return x.fault;
  return x.bytes.length === ED25519_BYTES ? undefined : `x has ${x.bytes.length} bytes, not ${ED25519_BYTES}`;
};

const secretFault = (key: Json): string | undefined => {
  const alg = algorithm(key);
  if (alg !== '' && !alg.startsWith('HS')) return 'alg is none for an oct key';
  const k = bytesOf(key, 'k');
  if ('fault' in k) return k.fault;
  return k.bytes.length === 0 ? 'k is empty' : undefined;
};
