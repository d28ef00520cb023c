// Judges packets by a ruleset, and reads iptables-restore text into one: so two programs are compared by what they do.

import { addressBytes, parseCidr } from '../../src/agent/capture/address.ts';
import type { Action, Match, Rule, Ruleset, TableName } from '../../src/agent/capture/ruleset.ts';

export interface Packet {
  readonly hook: 'PREROUTING' | 'OUTPUT';
  readonly protocol: 'tcp' | 'udp';
  readonly source: string;
  readonly destination: string;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly inInterface: string;
  readonly outInterface: string;
  readonly user: string;
  readonly group: string;
  readonly invalid: boolean;
}

/** What happens to the packet in each table: `nat redirect 15001`, `raw zone 1`, `mangle accept`. */
export const judge = (ruleset: Ruleset, packet: Packet): string =>
  (['raw', 'mangle', 'nat'] as const).map((table) => `${table} ${walk(ruleset, table, packet.hook, packet)}`).join(', ');

const walk = (ruleset: Ruleset, table: TableName, chain: string, packet: Packet): string =>
  walkChain(ruleset, table, chain, packet) ?? 'accept';

// undefined: the chain came to its end or returned.
const walkChain = (ruleset: Ruleset, table: TableName, name: string, packet: Packet): string | undefined => {
  const rules = ruleset.chains.filter((c) => c.table === table && c.name === name).flatMap((c) => c.rules);
  for (const rule of rules) {
    if (!rule.matches.every((m) => matches(m, packet))) continue;
    const { action } = rule;
    if (action.kind === 'return') return undefined;
    if (action.kind === 'jump') {
      const verdict = walkChain(ruleset, table, action.chain, packet);
      if (verdict !== undefined) return verdict;
    } else return JSON.stringify(action);
  }
  return undefined;
};

const matches = (m: Match, p: Packet): boolean => {
  switch (m.kind) {
    case 'protocol':
      return p.protocol === m.protocol;
    case 'destination-port':
      return m.ports.includes(p.destinationPort) !== (m.not ?? false);
    case 'source-port':
      return p.sourcePort === m.port;
    case 'source':
      return inCidr(p.source, m.cidr) !== (m.not ?? false);
    case 'destination':
      return inCidr(p.destination, m.cidr) !== (m.not ?? false);
    case 'in-interface':
      return p.inInterface === m.name;
    case 'out-interface':
      return (p.outInterface === m.name) !== (m.not ?? false);
    case 'user':
      return (p.user === m.id) !== (m.not ?? false);
    case 'group':
      return (p.group === m.id) !== (m.not ?? false);
    case 'invalid-state':
      return p.invalid;
    case 'every':
      return true;
  }
};

const inCidr = (ip: string, text: string): boolean => {
  const cidr = parseCidr(text);
  const bytes = addressBytes(ip);
  return bytes.length === cidr.bytes.length && parseCidr(`${ip}/${cidr.prefix}`).bytes.every((b, i) => b === cidr.bytes[i]);
};

/** The rules of iptables-restore text, `-I CHAIN 1` in front; throws for a word it does not know. */
export const readIptables = (text: string, family: Ruleset['family']): Ruleset => {
  const chains = new Map<string, { table: TableName; name: string; rules: Rule[] }>();
  let table: TableName = 'nat';
  for (const line of text.split('\n').map((l) => l.trim())) {
    const head = /^\* ?(\w+)$/.exec(line)?.[1];
    if (head !== undefined) table = head as TableName;
    const [, verb, name = '', rest = ''] = /^-(A|I) (\S+)(?: 1(?= ))?(.*)$/.exec(line) ?? [];
    if (verb === undefined) continue;
    const chain = chains.get(`${table} ${name}`) ?? { table, name, rules: [] };
    chains.set(`${table} ${name}`, chain);
    const rule = readRule(rest.trim().split(/\s+/), line);
    if (verb === 'A') chain.rules.push(rule);
    else chain.rules.unshift(rule);
  }
  return { family, chains: [...chains.values()] };
};

const MATCHES: Readonly<Record<string, (value: string, not: boolean) => Match>> = {
  '-p': (value) => ({ kind: 'protocol', protocol: value as 'tcp' }),
  '--dport': (value, not) => ({ kind: 'destination-port', ports: [Number(value)], not }),
  '--dports': (value, not) => ({ kind: 'destination-port', ports: value.split(',').map(Number), not }),
  '--sport': (value) => ({ kind: 'source-port', port: Number(value) }),
  '-s': (cidr, not) => ({ kind: 'source', cidr, not }),
  '-d': (cidr, not) => ({ kind: 'destination', cidr, not }),
  '-i': (name) => ({ kind: 'in-interface', name }),
  '-o': (name, not) => ({ kind: 'out-interface', name, not }),
  '--uid-owner': (id, not) => ({ kind: 'user', id, not }),
  '--gid-owner': (id, not) => ({ kind: 'group', id, not }),
  '--ctstate': () => ({ kind: 'invalid-state' }),
};

const readRule = (words: readonly string[], line: string): Rule => {
  const found: Match[] = [];
  let action: Action | undefined;
  let not = false;
  for (let i = 0; i < words.length; i += 2) {
    if (words[i] === '!') {
      not = true;
      i--;
      continue;
    }
    const [word = '', value = ''] = [words[i], words[i + 1]];
    const match = MATCHES[word];
    if (match !== undefined) found.push(match(value, not));
    else if (word === '-j') action = readAction(value);
    else if (/^--to-ports?$/.test(word)) action = { kind: 'redirect', port: Number(value) };
    else if (word === '--zone') action = { kind: 'conntrack-zone', zone: Number(value) };
    else if (word !== '-m') throw new Error(`unknown word "${word}" in: ${line}`);
    not = false;
  }
  if (action === undefined) throw new Error(`no action in: ${line}`);
  return { matches: found, action };
};

const readAction = (word: string): Action => {
  if (word === 'RETURN') return { kind: 'return' };
  if (word === 'DROP') return { kind: 'drop' };
  return { kind: 'jump', chain: word };
};
