// Istio's redirection as data (the chains and their order are Istio's; reference: istio-iptables), with one loop-avoidance rule of our
// own: besides "packets of the proxy's user" also "packets from the proxy's own source address", which needs no second user id.
// Pure. TPROXY is not offered.

import type { Family } from './address.ts';
import { parseCidr } from './address.ts';
import type { Action, Chain, Match, Rule, Ruleset, TableName } from './ruleset.ts';

export interface CaptureOptions {
  readonly outboundPort: number;
  readonly inboundPort: number;
  readonly tunnelPort: number;
  /** How the proxy's own packets are told from the application's. */
  readonly proxy: ProxyMark;
  readonly inboundPorts: '*' | readonly number[];
  readonly excludeInboundPorts: readonly number[];
  /** Sources whose connections reach the application uncaptured (probes from outside the workload). */
  readonly excludeInboundSources: readonly string[];
  readonly outboundCidrs: '*' | readonly string[];
  readonly excludeOutboundCidrs: readonly string[];
  /** Ports redirected whatever the address. */
  readonly outboundPorts: readonly number[];
  readonly excludeOutboundPorts: readonly number[];
  readonly ownerGroups: '*' | readonly string[];
  readonly excludeOwnerGroups: readonly string[];
  readonly excludeInterfaces: readonly string[];
  readonly virtualInterfaces: readonly string[];
  readonly loopbackCidr: string;
  /** 'all': every server; otherwise only these. Absent: no DNS redirection. */
  readonly dns?: { readonly port: number; readonly servers: 'all' | readonly string[] };
  readonly dropInvalid: boolean;
  readonly ipv6: boolean;
  /** Packets that leave uncaptured from `from` get this source, so that others see one address per workload. IPv4. */
  readonly sourceNat?: { readonly from: string; readonly to: string };
}

export type ProxyMark =
  | { readonly kind: 'owner'; readonly users: readonly string[]; readonly groups: readonly string[] }
  | { readonly kind: 'source'; readonly address: string };

/** Istio's defaults for a sidecar; metrics, status and readiness ports are never captured. */
export const DEFAULT_CAPTURE: CaptureOptions = {
  outboundPort: 15001,
  inboundPort: 15006,
  tunnelPort: 15008,
  proxy: { kind: 'owner', users: ['1337'], groups: ['1337'] },
  inboundPorts: '*',
  excludeInboundPorts: [15090, 15021, 15020],
  excludeInboundSources: [],
  outboundCidrs: '*',
  excludeOutboundCidrs: [],
  outboundPorts: [],
  excludeOutboundPorts: [],
  ownerGroups: '*',
  excludeOwnerGroups: [],
  excludeInterfaces: [],
  virtualInterfaces: [],
  loopbackCidr: '127.0.0.1/32',
  dropInvalid: false,
  ipv6: false,
};

const TCP: Match = { kind: 'protocol', protocol: 'tcp' };
const UDP: Match = { kind: 'protocol', protocol: 'udp' };
const LOOPBACK: Match = { kind: 'out-interface', name: 'lo' };
const RETURN: Action = { kind: 'return' };
const port = (...ports: readonly number[]): Match => ({ kind: 'destination-port', ports });
const notPort = (...ports: readonly number[]): Match => ({ kind: 'destination-port', ports, not: true });
const jump = (chain: string): Action => ({ kind: 'jump', chain });
const redirect = (to: number): Action => ({ kind: 'redirect', port: to });

export const captureProgram = (given: CaptureOptions): Ruleset[] => {
  // DNS redirection without a server to redirect is none.
  const { dns, ...rest } = given;
  const options: CaptureOptions = dns === undefined || dns.servers.length === 0 ? rest : given;
  return families(options);
};

const families = (options: CaptureOptions): Ruleset[] =>
  (options.ipv6 ? (['ipv4', 'ipv6'] as const) : (['ipv4'] as const)).map((family) => familyProgram(options, family));

const familyProgram = (o: CaptureOptions, family: Family): Ruleset => {
  const chains = new ChainList();
  if (o.dropInvalid) {
    chains.add('mangle', 'PREROUTING', [{ kind: 'invalid-state' }], jump('ISTIO_DROP'));
    chains.add('mangle', 'ISTIO_DROP', [], { kind: 'drop' });
  }
  inbound(chains, o, family);
  chains.add('nat', 'ISTIO_REDIRECT', [TCP], redirect(o.outboundPort));
  chains.add('nat', 'ISTIO_IN_REDIRECT', [TCP], redirect(o.inboundPort));
  outbound(chains, o, family);
  if (o.dns !== undefined) dnsZones(chains, o, family);
  return { family, chains: chains.all() };
};

const inbound = (chains: ChainList, o: CaptureOptions, family: Family): void => {
  for (const name of o.excludeInterfaces) chains.insert('nat', 'PREROUTING', [{ kind: 'in-interface', name }], RETURN);
  for (const name of o.virtualInterfaces) {
    const from: Match = { kind: 'in-interface', name };
    if (o.outboundCidrs === '*') chains.add('nat', 'PREROUTING', [from], jump('ISTIO_REDIRECT'));
    else
      for (const cidr of ofFamily(o.outboundCidrs, family))
        chains.add('nat', 'PREROUTING', [from, { kind: 'destination', cidr }], jump('ISTIO_REDIRECT'));
    chains.add('nat', 'PREROUTING', [from], RETURN);
  }
  chains.add('nat', 'ISTIO_INBOUND', [TCP, port(o.tunnelPort)], RETURN);
  if (o.inboundPorts !== '*' && o.inboundPorts.length === 0) return;
  chains.add('nat', 'PREROUTING', [TCP], jump('ISTIO_INBOUND'));
  for (const cidr of ofFamily(o.excludeInboundSources, family)) chains.add('nat', 'ISTIO_INBOUND', [{ kind: 'source', cidr }], RETURN);
  if (o.inboundPorts === '*') {
    for (const p of o.excludeInboundPorts) chains.add('nat', 'ISTIO_INBOUND', [TCP, port(p)], RETURN);
    chains.add('nat', 'ISTIO_INBOUND', [TCP], jump('ISTIO_IN_REDIRECT'));
  } else {
    for (const p of o.inboundPorts) chains.add('nat', 'ISTIO_INBOUND', [TCP, port(p)], jump('ISTIO_IN_REDIRECT'));
  }
};

const outbound = (chains: ChainList, o: CaptureOptions, family: Family): void => {
  const out = (matches: readonly Match[], action: Action): void => chains.add('nat', 'ISTIO_OUTPUT', matches, action);
  const inboundSource = family === 'ipv4' ? '127.0.0.6/32' : '::6/128';
  const loopback: Match = { kind: 'destination', cidr: family === 'ipv4' ? o.loopbackCidr : '::1/128' };
  chains.add('nat', 'OUTPUT', [], jump('ISTIO_OUTPUT'));
  for (const p of o.excludeOutboundPorts) out([TCP, port(p)], RETURN);
  out([LOOPBACK, { kind: 'source', cidr: inboundSource }], RETURN);
  for (const mark of proxyMarks(o.proxy, family)) ownTraffic(out, o, mark, loopback);
  for (const id of o.excludeOwnerGroups) out([{ kind: 'group', id }], RETURN);
  if (o.ownerGroups !== '*')
    out(
      o.ownerGroups.map((id) => ({ kind: 'group', id, not: true })),
      RETURN,
    );
  if (o.dns !== undefined) {
    out([], jump('ISTIO_OUTPUT_DNS'));
    for (const protocol of [TCP, UDP]) {
      for (const server of dnsServers(o.dns.servers, family))
        chains.add('nat', 'ISTIO_OUTPUT_DNS', [protocol, port(53), ...server], redirect(o.dns.port));
    }
  }
  out([loopback], RETURN);
  for (const cidr of ofFamily(o.excludeOutboundCidrs, family)) out([{ kind: 'destination', cidr }], RETURN);
  for (const p of o.outboundPorts) out([TCP, port(p)], jump('ISTIO_REDIRECT'));
  if (o.outboundCidrs === '*') out([], jump('ISTIO_REDIRECT'));
  else for (const cidr of ofFamily(o.outboundCidrs, family)) out([{ kind: 'destination', cidr }], jump('ISTIO_REDIRECT'));
  if (o.sourceNat !== undefined && family === 'ipv4') {
    const { from, to } = o.sourceNat;
    chains.add(
      'nat',
      'POSTROUTING',
      [
        { kind: 'out-interface', name: 'lo', not: true },
        { kind: 'source', cidr: from },
      ],
      { kind: 'source-nat', address: to },
    );
  }
};

interface Mark {
  readonly match: Match;
  readonly not: Match;
  /** Istio lets a DNS query over TCP of the proxy's user go out even when it goes over lo; for groups it does not say so. */
  readonly exceptDns: boolean;
}

const proxyMarks = (proxy: ProxyMark, family: Family): Mark[] => {
  if (proxy.kind === 'owner') {
    const mark = (kind: 'user' | 'group', id: string): Mark => ({
      match: { kind, id },
      not: { kind, id, not: true },
      exceptDns: kind === 'user',
    });
    return [...proxy.users.map((id) => mark('user', id)), ...proxy.groups.map((id) => mark('group', id))];
  }
  const cidr = parseCidr(proxy.address);
  if (cidr.family !== family) return [];
  return [{ match: { kind: 'source', cidr: proxy.address }, not: { kind: 'source', cidr: proxy.address, not: true }, exceptDns: true }];
};

// A call of the proxy to its own workload enters as inbound traffic; the application's calls on lo stay; other calls of the proxy leave.
const ownTraffic = (out: (matches: readonly Match[], action: Action) => void, o: CaptureOptions, mark: Mark, loopback: Match): void => {
  const elsewhere: Match = { ...loopback, kind: 'destination', cidr: (loopback as { readonly cidr: string }).cidr, not: true };
  const except = o.dns !== undefined && mark.exceptDns ? notPort(53, o.tunnelPort) : notPort(o.tunnelPort);
  out([LOOPBACK, elsewhere, TCP, except, mark.match], jump('ISTIO_IN_REDIRECT'));
  // When loopback addresses are themselves captured, the application's traffic to them must go on to the rules below.
  if (!capturesLoopback(o)) out(o.dns === undefined ? [LOOPBACK, mark.not] : [LOOPBACK, TCP, notPort(53), mark.not], RETURN);
  out([mark.match], RETURN);
};

const capturesLoopback = (o: CaptureOptions): boolean =>
  o.outboundCidrs !== '*' && o.outboundCidrs.some((cidr) => parseCidr(cidr).family === 'ipv4' && parseCidr(cidr).bytes[0] === 127);

const dnsServers = (servers: 'all' | readonly string[], family: Family): Match[][] =>
  servers === 'all'
    ? [[]]
    : ofFamily(servers, family).map((ip) => [{ kind: 'destination', cidr: `${ip}${family === 'ipv4' ? '/32' : '/128'}` }]);

// The application's query and the proxy's own query for the same name may use the same tuple; separate conntrack zones keep them
// apart. With a source address of the proxy's own the tuples differ already.
const dnsZones = (chains: ChainList, o: CaptureOptions, family: Family): void => {
  const add = (matches: readonly Match[], zone: number): void =>
    chains.add('raw', 'ISTIO_OUTPUT_DNS', [UDP, ...matches], { kind: 'conntrack-zone', zone });
  const dns = o.dns;
  if (dns === undefined || o.proxy.kind === 'source') return;
  const servers = dnsServers(dns.servers, family);
  if (servers.length === 0) return;
  chains.add('raw', 'OUTPUT', [], jump('ISTIO_OUTPUT_DNS'));
  for (const { match } of proxyMarks(o.proxy, family)) {
    add([port(53), match], 1);
    add([{ kind: 'source-port', port: dns.port }, match], 2);
  }
  chains.add('raw', 'PREROUTING', [], jump('ISTIO_INBOUND'));
  for (const server of servers) {
    add([port(53), ...server], 2);
    const from: Match[] = server.flatMap((m) => (m.kind === 'destination' ? [{ kind: 'source', cidr: m.cidr }] : []));
    chains.add('raw', 'ISTIO_INBOUND', [UDP, { kind: 'source-port', port: 53 }, ...from], { kind: 'conntrack-zone', zone: 1 });
  }
};

const ofFamily = (addresses: readonly string[], family: Family): string[] => addresses.filter((a) => parseCidr(a).family === family);

class ChainList {
  readonly #chains = new Map<string, { table: TableName; name: string; rules: Rule[] }>();

  add(table: TableName, name: string, matches: readonly Match[], action: Action): void {
    this.#of(table, name).push({ matches, action });
  }

  insert(table: TableName, name: string, matches: readonly Match[], action: Action): void {
    this.#of(table, name).unshift({ matches, action });
  }

  all(): Chain[] {
    return [...this.#chains.values()];
  }

  #of(table: TableName, name: string): Rule[] {
    const key = `${table} ${name}`;
    const known = this.#chains.get(key) ?? { table, name, rules: [] };
    this.#chains.set(key, known);
    return known.rules;
  }
}
