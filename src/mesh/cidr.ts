// Address ranges by what they contain: two spellings of one range have one key.

/** Sixteen-bit groups of an IPv6 address, or bytes of an IPv4 one; undefined for anything else. */
const groupsOf = (address: string): { readonly groups: readonly number[]; readonly width: number } | undefined => {
  if (!address.includes(':')) {
    const bytes = address.split('.').map(Number);
    return bytes.length === 4 && bytes.every((b) => Number.isInteger(b) && b >= 0 && b <= 255) ? { groups: bytes, width: 8 } : undefined;
  }
  const [head = '', tail] = address.split('::');
  const parse = (part: string): number[] => (part === '' ? [] : part.split(':').map((g) => Number.parseInt(g, 16)));
  const before = parse(head);
  const after = tail === undefined ? [] : parse(tail);
  const missing = 8 - before.length - after.length;
  if (missing < 0 || (tail === undefined && missing !== 0)) return undefined;
  const groups = [...before, ...new Array<number>(missing).fill(0), ...after];
  return groups.some(Number.isNaN) ? undefined : { groups, width: 16 };
};

export interface Range {
  readonly address: string;
  readonly length: number;
}

export const parseRange = (text: string): Range => {
  const [address = text, length] = text.split('/');
  return { address, length: length === undefined ? (address.includes(':') ? 128 : 32) : Number(length) };
};

/** Equal for ranges of the same addresses, whatever their insignificant bits say. */
export const rangeKey = (text: string): string => {
  const { address, length } = parseRange(text);
  const parsed = groupsOf(address);
  if (parsed === undefined) return text;
  const { groups, width } = parsed;
  const masked = groups.map((g, i) => {
    const kept = Math.min(width, Math.max(0, length - i * width));
    return kept === width ? g : kept === 0 ? 0 : g & ~((1 << (width - kept)) - 1);
  });
  return `${width === 8 ? 4 : 6}:${masked.join('.')}/${length}`;
};

export const inRange = (address: string, range: string): boolean => {
  const { length } = parseRange(range);
  return rangeKey(`${address}/${length}`) === rangeKey(range);
};
