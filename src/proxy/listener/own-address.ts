// This machine's own address, as it stands for a loopback client in x-forwarded-for. Read once, when a data plane is made.

import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { isLoopback } from '../exchange/request-headers.ts';

export const ownAddress = (): string => {
  for (const addresses of Object.values(networkInterfaces()))
    for (const address of addresses ?? []) if (address.family === 'IPv4' && !isLoopback(address.address)) return address.address;
  return routedAddress() ?? '127.0.0.1';
};

// An interface without carrier still has its address, but only the kernel's table of local routes lists it.
const routedAddress = (): string | undefined => {
  try {
    const found = readFileSync('/proc/net/fib_trie', 'utf8').matchAll(/\|-- (\d+\.\d+\.\d+\.\d+)\n\s*\/32 host LOCAL/g);
    for (const [, ip] of found) if (ip !== undefined && !isLoopback(ip)) return ip;
  } catch {
    // not on Linux
  }
  return undefined;
};
