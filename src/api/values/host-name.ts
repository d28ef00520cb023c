// Host names, names of ports and namespaces as Istio's API takes them, and how hosts with a leading `*` compare. Checks return the
// failure in words, or undefined.

import { isIp } from './ip-text.ts';

const label = /^[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?$/;
const wildcardLabel = /^(?:\*|(?:\*-?)?[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?)$/;
const LABEL_MAX = 63;
const NAME_MAX = 255;

/** A DNS label; upper case is allowed here as in Istio. */
export const isDnsLabel = (text: string): boolean => text.length <= LABEL_MAX && label.test(text);
const isWildcardLabel = (text: string): boolean => text.length <= LABEL_MAX && wildcardLabel.test(text);

const checkSize = (name: string): string | undefined => {
  if (name === '') return 'empty domain name not allowed';
  return name.length > NAME_MAX ? `domain name ${JSON.stringify(name)} too long (max ${NAME_MAX})` : undefined;
};

const checkLabels = (name: string): string | undefined => {
  const parts = name.split('.');
  const top = parts.at(-1) ?? '';
  if (/^[+-]?\d+$/.test(top))
    return `domain name ${JSON.stringify(name)} invalid (top level domain ${JSON.stringify(top)} cannot be all-numeric)`;
  for (const [index, part] of parts.entries()) {
    // One trailing dot makes a name absolute.
    if (index === parts.length - 1 && part === '') return undefined;
    if (!isDnsLabel(part)) return `domain name ${JSON.stringify(name)} invalid (label ${JSON.stringify(part)} invalid)`;
  }
  return undefined;
};

export const checkFqdn = (name: string): string | undefined => checkSize(name) ?? checkLabels(name);

/** A name whose first label may be or begin with `*`. */
export const checkWildcardDomain = (name: string): string | undefined => {
  const size = checkSize(name);
  if (size !== undefined) return size;
  const dot = name.indexOf('.');
  const first = dot === -1 ? name : name.slice(0, dot);
  if (!isWildcardLabel(first)) return `domain name ${JSON.stringify(name)} invalid (label ${JSON.stringify(first)} invalid)`;
  return dot === -1 ? undefined : checkLabels(name.slice(dot + 1));
};

/** Hosts of a VirtualService on a gateway; with SNI routes also the names Istio gives to clusters (`outbound_.80_._.a.b`). */
export const checkGatewayBoundDomain = (name: string, sni: boolean): string | undefined => {
  if (sni && name.startsWith('outbound_.')) {
    const size = checkSize(name);
    if (size !== undefined) return size;
    return /^outbound_\.[0-8]/.test(name) ? undefined : `domain name ${JSON.stringify(name)} invalid (label "outbound_" invalid)`;
  }
  return checkWildcardDomain(name);
};

/** `*foo.com` is a wildcard Istio takes in few places; `*` and `*.foo.com` are not meant. */
export const checkNoPartialWildcard = (name: string): string | undefined =>
  name.includes('*') && name.length > 1 && !name.startsWith('*.') ? `partial wildcard ${JSON.stringify(name)} not allowed` : undefined;

/** `[namespace/]dnsName` of a Gateway server. The first failure. */
export const checkGatewayServerHost = (text: string): string | undefined => {
  const slash = text.indexOf('/');
  if (slash === -1) return checkGatewayDnsName(text);
  const namespace = text.slice(0, slash);
  const name = text.slice(slash + 1);
  if (namespace === '' || name === '') return 'namespace and dnsName of a host cannot be empty';
  if (namespace !== '*' && namespace !== '.' && !isDnsLabel(namespace))
    return `invalid namespace value ${JSON.stringify(namespace)} in gateway`;
  return checkGatewayDnsName(name);
};

const checkGatewayDnsName = (name: string): string | undefined => {
  if (isIp(name)) return undefined;
  const domain = checkWildcardDomain(name);
  if (domain !== undefined) return domain;
  if (name !== '*' && !name.includes('.')) return 'short names (non FQDN) are not allowed';
  return checkNoPartialWildcard(name);
};

export const checkTrustDomain = (name: string): string | undefined => {
  if (name === '') return 'empty domain name not allowed';
  const parts = name.split('.');
  const bad = parts.some((part, i) => !(i === parts.length - 1 && i > 0 && part === '') && !isDnsLabel(part));
  return bad ? `trust domain name ${JSON.stringify(name)} invalid` : undefined;
};

/** A gateway named by a VirtualService: `mesh`, `name`, `namespace/name`, `./name`, or the legacy FQDN. */
export const checkGatewayName = (text: string): string | undefined => {
  const slash = text.indexOf('/');
  if (slash === -1) return checkFqdn(text);
  const namespace = text.slice(0, slash);
  const name = text.slice(slash + 1);
  if (namespace === '' || name === '') return 'config namespace and gateway name cannot be empty';
  if (namespace !== '.' && !isDnsLabel(namespace)) return `invalid value for namespace: ${JSON.stringify(namespace)}`;
  return isDnsLabel(name) ? undefined : `invalid value for gateway name: ${JSON.stringify(name)}`;
};

/** Whether two hosts share a name. Only a leading `*` is a wildcard, compared as a suffix: `*.a.b` does not match `a.b`. */
export const hostsOverlap = (a: string, b: string): boolean => {
  if (a.startsWith('*')) {
    if (!b.startsWith('*')) return b.endsWith(a.slice(1));
    return a.length < b.length ? b.slice(1).endsWith(a.slice(1)) : a.slice(1).endsWith(b.slice(1));
  }
  return b.startsWith('*') ? a.endsWith(b.slice(1)) : a === b;
};

/** Whether every name of `inner` is one of `outer`. */
export const hostWithin = (inner: string, outer: string): boolean => {
  if (!inner.startsWith('*')) return outer.startsWith('*') ? inner.endsWith(outer.slice(1)) : inner === outer;
  return outer.startsWith('*') && inner.length >= outer.length && inner.slice(1).endsWith(outer.slice(1));
};

export const checkPort = (port: number): string | undefined =>
  Number.isInteger(port) && port >= 1 && port <= 65535 ? undefined : `port number ${port} must be in the range 1..65535`;

export const checkPortName = (name: string): string | undefined =>
  isDnsLabel(name) ? undefined : `invalid port name: ${JSON.stringify(name)}`;

/** A path of a Unix socket after `unix://`: absolute and no folder, or abstract (`@name`). */
export const checkUnixPath = (path: string): string | undefined => {
  if (path === '') return 'unix address must not be empty';
  if (path.startsWith('@')) return undefined;
  return path.startsWith('/') && !path.endsWith('/') ? undefined : `${path} is not an absolute path to a file`;
};

/** `HOST:PORT`, `[IPV6]:PORT`. */
export const checkHostPort = (text: string): string | undefined => {
  const found = /^(?:\[([^\]]*)\]|([^:]*)):(\d+)$/.exec(text);
  if (!found) return `${JSON.stringify(text)} is not HOST:PORT`;
  const host = found[1] ?? found[2] ?? '';
  if (found[1] !== undefined && !isIp(host)) return `${JSON.stringify(host)} is not an IP address`;
  if (checkFqdn(host) !== undefined && !isIp(host)) return `${JSON.stringify(host)} is not a valid hostname or an IP address`;
  return checkPort(Number(found[3]));
};
