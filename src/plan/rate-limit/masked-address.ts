// An address cut down to its network, as text: `10.1.2.0/24`, `2001:db8::/32`.
import { parseIp } from '../ip-range.ts';

/** undefined: the text is no address. */
export const maskedAddress = (text: string, v4Bits: number, v6Bits: number): string | undefined => {
  const ip = parseIp(text);
  if (ip === undefined) return undefined;
  const bits = ip.length === 4 ? v4Bits : v6Bits;
  const network = Array.from(ip, (byte, i) => byte & byteMask(bits - i * 8));
  return `${network.length === 4 ? network.join('.') : ipv6Text(network)}/${bits}`;
};

const byteMask = (bits: number): number => (bits >= 8 ? 255 : bits <= 0 ? 0 : (255 << (8 - bits)) & 255);

/** RFC 5952: the longest run of zeros, of at least two, is left out. */
const ipv6Text = (bytes: readonly number[]): string => {
  const groups = Array.from({ length: 8 }, (_, i) => ((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0));
  let start = -1;
  let longest = 1;
  for (let i = 0; i < 8; i++) {
    let end = i;
    while (end < 8 && groups[end] === 0) end++;
    if (end - i > longest) {
      start = i;
      longest = end - i;
    }
    if (end > i) i = end;
  }
  const hex = groups.map((group) => group.toString(16));
  return start < 0 ? hex.join(':') : `${hex.slice(0, start).join(':')}::${hex.slice(start + longest).join(':')}`;
};
