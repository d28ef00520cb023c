// IP addresses and subnets in text, as strict as Istio: no leading zeros, no short forms. Pure, so not node:net.

/** 4, 6, or 0 when the text is no address. An IPv6 address may have a zone (`fe80::1%eth0`). */
export const ipVersion = (text: string): 0 | 4 | 6 => {
  if (/^\d{1,3}(?:\.\d{1,3}){3}$/.test(text)) return text.split('.').every((p) => Number(p) <= 255 && String(Number(p)) === p) ? 4 : 0;
  if (!text.includes(':')) return 0;
  const zone = text.indexOf('%');
  if (zone === text.length - 1) return 0;
  return isIpv6(zone === -1 ? text : text.slice(0, zone)) ? 6 : 0;
};

const isIpv6 = (text: string): boolean => {
  const halves = text.split('::');
  if (halves.length > 2) return false;
  let groups = 0;
  for (const [index, half] of halves.entries()) {
    if (half === '') {
      if (halves.length === 1) return false;
      continue;
    }
    const parts = half.split(':');
    const last = parts.at(-1) ?? '';
    const embedded = index === halves.length - 1 && last.includes('.');
    if (embedded && ipVersion(last) !== 4) return false;
    const words = embedded ? parts.slice(0, -1) : parts;
    if (!words.every((w) => /^[0-9a-fA-F]{1,4}$/.test(w))) return false;
    groups += words.length + (embedded ? 2 : 0);
  }
  return halves.length === 2 ? groups < 8 : groups === 8;
};

export const isIp = (text: string): boolean => ipVersion(text) !== 0;

export const checkIp = (text: string): string | undefined => (isIp(text) ? undefined : `${JSON.stringify(text)} is not a valid IP address`);

/** An address, or an address with a prefix length. */
export const checkSubnet = (text: string): string | undefined => {
  const slash = text.indexOf('/');
  if (slash === -1) return checkIp(text);
  const address = text.slice(0, slash);
  const bits = text.slice(slash + 1);
  const version = address.includes('%') ? 0 : ipVersion(address);
  const most = version === 4 ? 32 : version === 6 ? 128 : -1;
  return /^(?:0|[1-9]\d{0,2})$/.test(bits) && Number(bits) <= most ? undefined : `${JSON.stringify(text)} is not a valid CIDR block`;
};
