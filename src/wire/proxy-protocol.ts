// PROXY protocol, versions 1 and 2, as Envoy reads and writes it: the header before the first byte of a connection that names the
// connection's real two ends. Pure; every length is checked; a header that is not exactly right is an error, never a guess.
import { PROXY_V2_BYTES_MAX } from './limits.ts';

export interface ProxyTlv {
  readonly type: number;
  readonly value: Buffer;
}

/** Both ends as the header tells them. */
export interface ProxyAddresses {
  readonly sourceIp: string;
  readonly sourcePort: number;
  readonly destinationIp: string;
  readonly destinationPort: number;
}

export type ProxyHeader =
  | { readonly kind: 'need-more' }
  /** The bytes are not the start of any header. */
  | { readonly kind: 'none' }
  | { readonly kind: 'error'; readonly version: 1 | 2; readonly problem: string }
  | {
      readonly kind: 'header';
      readonly version: 1 | 2;
      /** Bytes of the header: what follows is the connection's. */
      readonly length: number;
      /** undefined: LOCAL or UNKNOWN, the connection's own ends count. */
      readonly addresses: ProxyAddresses | undefined;
      readonly tlvs: readonly ProxyTlv[];
    };

const V2_SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const V2_HEAD_BYTES = 16;
const V1_BYTES_MAX = 107;
const NEED_MORE = { kind: 'need-more' } as const;
const NONE = { kind: 'none' } as const;

/** `buf`: all bytes of the connection so far. */
export const readProxyHeader = (buf: Buffer): ProxyHeader => {
  if (buf.length === 0) return NEED_MORE;
  const asV2 = Math.min(buf.length, V2_SIGNATURE.length);
  if (buf.compare(V2_SIGNATURE, 0, asV2, 0, asV2) === 0) return asV2 < V2_SIGNATURE.length ? NEED_MORE : readV2(buf);
  const v1 = 'PROXY ';
  const asV1 = Math.min(buf.length, v1.length);
  if (buf.toString('latin1', 0, asV1) === v1.slice(0, asV1)) return asV1 < v1.length ? NEED_MORE : readV1(buf);
  return NONE;
};

const wrong = (version: 1 | 2, problem: string): ProxyHeader => ({ kind: 'error', version, problem });

const readV1 = (buf: Buffer): ProxyHeader => {
  const line = buf.toString('latin1', 0, Math.min(buf.length, V1_BYTES_MAX));
  const end = line.indexOf('\r\n');
  const feed = line.indexOf('\n');
  if (feed >= 0 && feed !== end + 1) return wrong(1, 'line feed without carriage return');
  if (end < 0) return buf.length >= V1_BYTES_MAX ? wrong(1, 'line too long') : NEED_MORE;
  const length = end + 2;
  const fields = line.slice(0, end).split(' ');
  if (fields[1] === 'UNKNOWN') return { kind: 'header', version: 1, length, addresses: undefined, tlvs: [] };
  const [, family, sourceIp = '', destinationIp = '', from = '', to = ''] = fields;
  if (fields.length !== 6) return wrong(1, 'fields');
  if (family !== 'TCP4' && family !== 'TCP6') return wrong(1, 'protocol');
  const fits = family === 'TCP4' ? isIpv4 : isIpv6;
  if (!fits(sourceIp) || !fits(destinationIp)) return wrong(1, 'address');
  const sourcePort = port(from);
  const destinationPort = port(to);
  if (sourcePort < 0 || destinationPort < 0) return wrong(1, 'port');
  return { kind: 'header', version: 1, length, addresses: { sourceIp, sourcePort, destinationIp, destinationPort }, tlvs: [] };
};

const isIpv4 = (text: string): boolean => {
  const parts = text.split('.');
  // As Envoy: no connection has the unspecified address or a broadcast one as an end.
  return parts.length === 4 && parts.every((p) => /^(0|[1-9]\d{0,2})$/.test(p) && Number(p) <= 255) && unicast(text);
};
const unicast = (ip: string): boolean => ip !== '0.0.0.0' && ip !== '255.255.255.255' && !/^(22[4-9]|23\d)\./.test(ip);

const isIpv6 = (text: string): boolean => {
  const halves = text.split('::');
  if (halves.length > 2 || text === '::') return false;
  let groups = 0;
  for (const [i, half] of halves.entries()) {
    if (half === '') {
      if (halves.length === 1) return false;
      continue;
    }
    const parts = half.split(':');
    for (const [j, part] of parts.entries()) {
      const isLast = i === halves.length - 1 && j === parts.length - 1;
      if (isLast && part.includes('.')) {
        if (!/^\d{1,3}(\.\d{1,3}){3}$/.test(part) || part.split('.').some((p) => Number(p) > 255)) return false;
        groups += 2;
      } else if (/^[0-9a-f]{1,4}$/i.test(part)) groups++;
      else return false;
    }
  }
  return (halves.length === 2 ? groups < 8 : groups === 8) && !/^ff/i.test(text);
};

const port = (text: string): number => {
  if (!/^\d{1,5}$/.test(text)) return -1;
  const n = Number(text);
  return n <= 65535 ? n : -1;
};

const readV2 = (buf: Buffer): ProxyHeader => {
  if (buf.length < V2_HEAD_BYTES) return NEED_MORE;
  const command = buf.readUInt8(12);
  if (command >> 4 !== 2) return wrong(2, 'version');
  if ((command & 15) > 1) return wrong(2, 'command');
  const family = buf.readUInt8(13);
  const rest = buf.readUInt16BE(14);
  const length = V2_HEAD_BYTES + rest;
  const isLocal = (command & 15) === 0;
  let addressBytes = 0;
  if (!isLocal) {
    const transport = family & 15;
    if (transport !== 1 && transport !== 2) return wrong(2, 'protocol');
    if (family >> 4 === 1) addressBytes = 12;
    else if (family >> 4 === 2) addressBytes = 36;
    else return wrong(2, 'address family');
    if (rest < addressBytes) return wrong(2, 'length');
  }
  if (length > PROXY_V2_BYTES_MAX) return wrong(2, 'length');
  if (buf.length < length) return NEED_MORE;
  // What a LOCAL header carries is to be skipped, whatever it is.
  if (isLocal) return { kind: 'header', version: 2, length, addresses: undefined, tlvs: [] };
  const tlvs = readTlvs(buf, V2_HEAD_BYTES + addressBytes, length);
  if (tlvs === undefined) return wrong(2, 'TLV length');
  return { kind: 'header', version: 2, length, addresses: addressBytes === 12 ? readV2Ipv4(buf) : readV2Ipv6(buf), tlvs };
};

const readV2Ipv4 = (buf: Buffer): ProxyAddresses => ({
  sourceIp: ipv4(buf, 16),
  destinationIp: ipv4(buf, 20),
  sourcePort: buf.readUInt16BE(24),
  destinationPort: buf.readUInt16BE(26),
});
const readV2Ipv6 = (buf: Buffer): ProxyAddresses => ({
  sourceIp: ipv6(buf, 16),
  destinationIp: ipv6(buf, 32),
  sourcePort: buf.readUInt16BE(48),
  destinationPort: buf.readUInt16BE(50),
});

const ipv4 = (buf: Buffer, at: number): string => `${buf[at]}.${buf[at + 1]}.${buf[at + 2]}.${buf[at + 3]}`;

/** RFC 5952: the longest run of zero groups, at least two, is left out. */
const ipv6 = (buf: Buffer, at: number): string => {
  const groups: number[] = [];
  for (let i = 0; i < 16; i += 2) groups.push(buf.readUInt16BE(at + i));
  let best = -1;
  let bestLength = 1;
  for (let i = 0; i < 8; i++) {
    let end = i;
    while (end < 8 && groups[end] === 0) end++;
    if (end - i > bestLength) {
      best = i;
      bestLength = end - i;
    }
  }
  const hex = (list: readonly number[]): string => list.map((g) => g.toString(16)).join(':');
  return best < 0 ? hex(groups) : `${hex(groups.slice(0, best))}::${hex(groups.slice(best + bestLength))}`;
};

/** undefined: a TLV reaches beyond the header. */
const readTlvs = (buf: Buffer, start: number, end: number): readonly ProxyTlv[] | undefined => {
  const tlvs: ProxyTlv[] = [];
  let at = start;
  while (at < end) {
    if (at + 3 > end) return undefined;
    const next = at + 3 + buf.readUInt16BE(at + 1);
    if (next > end) return undefined;
    // Copied: the read buffer is not kept for a few bytes of it.
    tlvs.push({ type: buf.readUInt8(at), value: Buffer.from(buf.subarray(at + 3, next)) });
    at = next;
  }
  return tlvs;
};

/** Version 1. Ends of different families, or none, are UNKNOWN. */
export const writeProxyV1 = (addresses: ProxyAddresses | undefined): Buffer => {
  if (addresses === undefined) return Buffer.from('PROXY UNKNOWN\r\n', 'latin1');
  const { sourceIp, destinationIp, sourcePort, destinationPort } = addresses;
  const isV6 = sourceIp.includes(':');
  if (isV6 !== destinationIp.includes(':')) return writeProxyV1(undefined);
  return Buffer.from(`PROXY ${isV6 ? 'TCP6' : 'TCP4'} ${sourceIp} ${destinationIp} ${sourcePort} ${destinationPort}\r\n`, 'latin1');
};

/** Version 2; without addresses LOCAL. TLVs that do not fit are left out, all of them, as they are worth nothing in part. */
export const writeProxyV2 = (addresses: ProxyAddresses | undefined, tlvs: readonly ProxyTlv[]): Buffer => {
  const isV6 = addresses?.sourceIp.includes(':') === true;
  const usable = addresses !== undefined && isV6 === addresses.destinationIp.includes(':');
  const addressBytes = !usable ? 0 : isV6 ? 36 : 12;
  const wanted = tlvs.reduce((sum, tlv) => sum + 3 + tlv.value.length, 0);
  const fitting = !usable || addressBytes + wanted > 65535 ? [] : tlvs;
  const head = Buffer.alloc(V2_HEAD_BYTES + addressBytes);
  V2_SIGNATURE.copy(head, 0);
  head[12] = usable ? 0x21 : 0x20;
  head[13] = !usable ? 0 : isV6 ? 0x21 : 0x11;
  head.writeUInt16BE(addressBytes + (fitting.length === 0 ? 0 : wanted), 14);
  if (addresses !== undefined && usable) {
    const size = isV6 ? 16 : 4;
    head.set(isV6 ? ipv6Bytes(addresses.sourceIp) : ipv4Bytes(addresses.sourceIp), 16);
    head.set(isV6 ? ipv6Bytes(addresses.destinationIp) : ipv4Bytes(addresses.destinationIp), 16 + size);
    head.writeUInt16BE(addresses.sourcePort, 16 + 2 * size);
    head.writeUInt16BE(addresses.destinationPort, 18 + 2 * size);
  }
  const parts: Buffer[] = [head];
  for (const { type, value } of fitting) parts.push(Buffer.from([type, value.length >> 8, value.length & 255]), value);
  return parts.length === 1 ? head : Buffer.concat(parts);
};

const ipv4Bytes = (text: string): number[] => text.split('.').map(Number);

const ipv6Bytes = (text: string): number[] => {
  const [left = '', right] = text.split('::');
  const groups = (half: string): number[] =>
    half === ''
      ? []
      : half.split(':').flatMap((part) => {
          if (!part.includes('.')) return [Number.parseInt(part, 16)];
          const [a = 0, b = 0, c = 0, d = 0] = ipv4Bytes(part);
          return [a * 256 + b, c * 256 + d];
        });
  const before = groups(left);
  const after = right === undefined ? [] : groups(right);
  const all = [...before, ...new Array<number>(8 - before.length - after.length).fill(0), ...after];
  return all.flatMap((g) => [g >> 8, g & 255]);
};
