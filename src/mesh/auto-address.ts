// Addresses for entries that name none, so that clients whose DNS the mesh answers can tell them apart: from 240.240.0.0/16 and
// 2001:2::/48, by a hash of namespace and host as Istio places them. The same set of entries always gets the same addresses.

import { isWildcard } from './host.ts';
import type { Service } from './service.ts';

const SLOTS = 256 * 254;
/** The largest prime below it: steps of the second hash. */
const PRIME = 65_011;

const fnv1a = (text: string): number => {
  let h = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) h = Math.imul(h ^ byte, 0x01000193) >>> 0;
  return h;
};

export interface AutoAddress {
  readonly v4: string;
  readonly v6: string;
}

type Wanting = Pick<Service, 'host' | 'namespace' | 'registry' | 'resolution' | 'addresses'>;

/** Without a destination of its own a connection could not be passed on; a wildcard is no name a client asks for. */
const wantsAddress = (s: Wanting): boolean =>
  s.registry === 'External' && s.addresses.length === 0 && s.resolution !== 'passthrough' && !isWildcard(s.host);

/** By `namespace/host`. Entries of one namespace and host share theirs. */
export const autoAddresses = (services: readonly Wanting[]): ReadonlyMap<string, AutoAddress> => {
  const slots = new Map<number, string>();
  for (const key of new Set(services.filter(wantsAddress).map((s) => `${s.namespace}/${s.host}`))) {
    const hash = fnv1a(key);
    const step = PRIME - (hash % PRIME);
    for (let i = 0; i < SLOTS; i++) {
      const slot = (hash + i * step) % SLOTS;
      if (slots.has(slot)) continue;
      slots.set(slot, key);
      break;
    }
  }
  const out = new Map<string, AutoAddress>();
  let skipped = 0;
  for (const [slot, key] of [...slots].sort((a, b) => a[0] - b[0])) {
    let n = slot + 1 + skipped;
    // No address ends in 0.
    if (n % 255 === 0) {
      skipped++;
      n++;
    }
    const third = Math.floor(n / 255);
    const fourth = n % 255;
    const low = third === 0 ? fourth.toString(16) : `${third.toString(16)}${fourth.toString(16)}`;
    out.set(key, { v4: `240.240.${third}.${fourth}`, v6: `2001:2::f0f0:${low}` });
  }
  return out;
};
