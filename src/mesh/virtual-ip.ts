// Stable virtual addresses for Services that name none: a hash of namespace and name picks the place in 10.96.0.0/16, collisions probe
// onwards in the order of names, so the same set of services always gets the same addresses.

const PREFIX = '10.96.';
/** .0.0 and the first addresses are left to the platform (API server, DNS), the last is the broadcast address. */
const FIRST = 256;
const SIZE = 65_536 - FIRST - 1;

const fnv1a = (text: string): number => {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193) >>> 0;
  return h;
};

const addressAt = (index: number): string => {
  const n = FIRST + index;
  return `${PREFIX}${n >> 8}.${n & 255}`;
};

/** `keys` are `namespace/name`; `taken` are addresses that objects name themselves. Services beyond the range get none. */
export const allocateVirtualIps = (keys: readonly string[], taken: ReadonlySet<string>): ReadonlyMap<string, string> => {
  const used = new Set(taken);
  const out = new Map<string, string>();
  for (const key of [...keys].sort()) {
    const start = fnv1a(key) % SIZE;
    for (let probe = 0; probe < SIZE; probe++) {
      const address = addressAt((start + probe) % SIZE);
      if (used.has(address)) continue;
      used.add(address);
      out.set(key, address);
      break;
    }
  }
  return out;
};
