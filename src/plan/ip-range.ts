// IP addresses and CIDR ranges as bytes; longest-prefix match. An IPv4-mapped IPv6 address counts as IPv4.
import type { CidrRange } from '../xds/gen/types.ts';
import { PlanError } from './plan-error.ts';

/** 4 or 16 bytes; undefined when the text is no address. */
export const parseIp = (text: string): Uint8Array | undefined => {
  if (!text.includes(':')) return parseIpv4(text);
  const bytes = parseIpv6(text);
  if (bytes !== undefined && MAPPED.every((b, i) => bytes[i] === b)) return bytes.subarray(12);
  return bytes;
};
const MAPPED = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255];

const parseIpv4 = (text: string): Uint8Array | undefined => {
  const parts = text.split('.');
  if (parts.length !== 4 || !parts.every((p) => /^\d{1,3}$/.test(p) && Number(p) < 256)) return undefined;
  return Uint8Array.from(parts, Number);
};

const parseIpv6 = (raw: string): Uint8Array | undefined => {
  let text = raw.replace(/%.*$/, '');
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  if (dotted !== null) {
    const v4 = parseIpv4(dotted[2] as string);
    if (v4 === undefined) return undefined;
    const [a = 0, b = 0, c = 0, d = 0] = v4;
    text = `${dotted[1]}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  }
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const groups = halves.map((half) => (half === '' ? [] : half.split(':')));
  const [left = [], right = []] = groups;
  const missing = 8 - left.length - right.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const all = [...left, ...Array<string>(halves.length === 2 ? missing : 0).fill('0'), ...right];
  if (!all.every((g) => /^[0-9a-fA-F]{1,4}$/.test(g))) return undefined;
  return Uint8Array.from(all.flatMap((g) => [Number.parseInt(g, 16) >> 8, Number.parseInt(g, 16) & 255]));
};

export interface IpRange {
  readonly bytes: Uint8Array;
  readonly bits: number;
}

export const compileRange = (range: CidrRange, path: string): IpRange => {
  const bytes = parseIp(range.address_prefix ?? '');
  if (bytes === undefined) throw new PlanError(`${path}.address_prefix`, `"${range.address_prefix ?? ''}" is not an IP address`);
  const bits = range.prefix_len ?? 0;
  if (bits > bytes.length * 8) throw new PlanError(`${path}.prefix_len`, `${bits} is longer than the address`);
  return { bytes, bits };
};

/** The same text for ranges that hold the same addresses. */
export const rangeKey = (range: IpRange): string => {
  const whole = Array.from(range.bytes, (byte, i) => byte & mask(range.bits - i * 8));
  return `${whole.join('.')}/${range.bits}`;
};

export const inRange = (range: IpRange, ip: Uint8Array): boolean => {
  if (ip.length !== range.bytes.length) return false;
  for (let i = 0, left = range.bits; left > 0; i++, left -= 8) {
    if ((((ip[i] as number) ^ (range.bytes[i] as number)) & mask(left)) !== 0) return false;
  }
  return true;
};
/** The first `bits` of a byte. */
const mask = (bits: number): number => (bits >= 8 ? 255 : bits <= 0 ? 0 : (255 << (8 - bits)) & 255);

export const sameIp = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && a.every((byte, i) => byte === b[i]);
export const isLoopback = (ip: Uint8Array): boolean =>
  ip.length === 4 ? ip[0] === 127 : ip.every((byte, i) => byte === (i === 15 ? 1 : 0));
