// The settings of `skein capture` as text and as options: the words of istio-iptables, checked here. Pure.

import { isIP } from 'node:net';
import { type CaptureOptions, DEFAULT_CAPTURE } from './program.ts';

export interface CaptureSettings {
  readonly inboundPorts?: string;
  readonly excludeInboundPorts?: string;
  readonly excludeInboundSources?: string;
  readonly outboundCidrs?: string;
  readonly excludeOutboundCidrs?: string;
  readonly outboundPorts?: string;
  readonly excludeOutboundPorts?: string;
  readonly excludeInterfaces?: string;
  readonly virtualInterfaces?: string;
  readonly ownerGroups?: string;
  readonly excludeOwnerGroups?: string;
  readonly proxyUid?: string;
  readonly proxyGid?: string;
  readonly proxyAddress?: string;
  readonly outboundPort?: string;
  readonly inboundPort?: string;
  readonly dns?: boolean;
  readonly dnsServers?: string;
  readonly dnsPort?: string;
  readonly dropInvalid?: boolean;
  readonly ipv6?: boolean;
}

/** Throws naming the setting. */
export const parseCaptureSettings = (s: CaptureSettings): CaptureOptions => {
  const d = DEFAULT_CAPTURE;
  return {
    ...d,
    outboundPort: s.outboundPort === undefined ? d.outboundPort : port('proxy port', s.outboundPort),
    inboundPort: s.inboundPort === undefined ? d.inboundPort : port('inbound capture port', s.inboundPort),
    proxy:
      s.proxyAddress === undefined
        ? { kind: 'owner', users: ids('user', s.proxyUid ?? '1337'), groups: ids('group', s.proxyGid ?? s.proxyUid ?? '1337') }
        : { kind: 'source', address: address('proxy address', s.proxyAddress) },
    inboundPorts: (s.inboundPorts ?? '*') === '*' ? '*' : ports('inbound port', s.inboundPorts),
    excludeInboundPorts: [...new Set([...d.excludeInboundPorts, ...ports('excluded inbound port', s.excludeInboundPorts)])],
    excludeInboundSources: cidrs('excluded inbound source', s.excludeInboundSources),
    outboundCidrs: (s.outboundCidrs ?? '*') === '*' ? '*' : cidrs('outbound range', s.outboundCidrs),
    excludeOutboundCidrs: cidrs('excluded outbound range', s.excludeOutboundCidrs),
    outboundPorts: ports('outbound port', s.outboundPorts),
    excludeOutboundPorts: ports('excluded outbound port', s.excludeOutboundPorts),
    excludeInterfaces: interfaces(s.excludeInterfaces),
    virtualInterfaces: interfaces(s.virtualInterfaces),
    ownerGroups: (s.ownerGroups ?? '*') === '*' ? '*' : ids('group', s.ownerGroups ?? ''),
    excludeOwnerGroups: ids('group', s.excludeOwnerGroups ?? ''),
    dropInvalid: s.dropInvalid ?? false,
    ipv6: s.ipv6 ?? false,
    ...(s.dns === true
      ? { dns: { port: s.dnsPort === undefined ? 15053 : port('DNS port', s.dnsPort), servers: dnsServers(s.dnsServers) } }
      : {}),
  };
};

const list = (text: string | undefined): string[] =>
  (text ?? '')
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');

const port = (what: string, text: string): number => {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1 || value > 65535) throw new Error(`${what} "${text}" is not a port`);
  return value;
};

const ports = (what: string, text: string | undefined): number[] => list(text).map((p) => port(what, p));

const address = (what: string, text: string): string => {
  if (isIP(text) === 0) throw new Error(`${what} "${text}" is not an IP address`);
  return text;
};

const cidrs = (what: string, text: string | undefined): string[] =>
  list(text).map((cidr) => {
    const [ip = '', prefix] = cidr.split('/');
    const bits = isIP(ip) === 6 ? 128 : 32;
    const valid = isIP(ip) !== 0 && (prefix === undefined || (/^\d+$/.test(prefix) && Number(prefix) <= bits));
    if (!valid) throw new Error(`${what} "${cidr}" is not a CIDR`);
    return prefix === undefined ? `${cidr}/${bits}` : cidr;
  });

const ids = (what: string, text: string): string[] =>
  list(text).map((id) => {
    if (!/^[a-z0-9_][a-z0-9_.-]*$/i.test(id)) throw new Error(`${what} "${id}" is not an id or name`);
    return id;
  });

const interfaces = (text: string | undefined): string[] =>
  list(text).map((name) => {
    if (name.length > 15 || /[\s/]/.test(name)) throw new Error(`"${name}" is not an interface name`);
    return name;
  });

const dnsServers = (text: string | undefined): 'all' | string[] =>
  text === undefined || text === 'all' ? 'all' : list(text).map((ip) => address('DNS server', ip));
