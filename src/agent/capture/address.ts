// IP addresses and CIDRs as bytes, for kernel messages. Pure.

import { isIP } from 'node:net';

export type Family = 'ipv4' | 'ipv6';

export interface Cidr {
  readonly family: Family;
  readonly bytes: Uint8Array;
  readonly prefix: number;
}

export const addressBytes = (ip: string): Uint8Array => {
  const version = isIP(ip);
  if (version === 4) return Uint8Array.from(ip.split('.').map(Number));
  if (version === 6) return bytes6(ip);
  throw new Error(`"${ip}" is not an IP address`);
};

/** `10.0.0.0/8`, `::6`, host bits beyond the prefix cleared. */
export const parseCidr = (text: string): Cidr => {
  const [ip = '', length] = text.split('/');
  const bytes = addressBytes(ip);
  const prefix = length === undefined ? bytes.length * 8 : Number(length);
  if (!Number.isInteger(prefix) || prefix < 0 || prefix > bytes.length * 8) throw new Error(`"${text}" is not a CIDR`);
  const mask = prefixMask(prefix, bytes.length);
  return { family: bytes.length === 4 ? 'ipv4' : 'ipv6', bytes: bytes.map((b, i) => b & (mask[i] ?? 0)), prefix };
};

export const prefixMask = (prefix: number, length: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => {
    const bits = Math.max(0, Math.min(8, prefix - i * 8));
    return (0xff << (8 - bits)) & 0xff;
  });

const bytes6 = (ip: string): Uint8Array => {
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(ip);
  const pair = (high: string | undefined, low: string | undefined): string => ((Number(high) << 8) | Number(low)).toString(16);
  const text = dotted === null ? ip : `${dotted[1]}${pair(dotted[2], dotted[3])}:${pair(dotted[4], dotted[5])}`;
  const [head = '', tail] = text.split('::');
  const groups = (part: string): string[] => (part === '' ? [] : part.split(':'));
  const left = groups(head);
  const right = groups(tail ?? '');
  const zeros: string[] = Array.from({ length: 8 - left.length - right.length }, () => '0');
  return Uint8Array.from([...left, ...zeros, ...right].flatMap((g) => [Number.parseInt(g, 16) >> 8, Number.parseInt(g, 16) & 0xff]));
};
