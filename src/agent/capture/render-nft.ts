// A ruleset as text for `nft -f`: what the netlink batch does, for reading and for machines where the binary is preferred. Pure text.

import { chainName, TABLE } from './nftables.ts';
import { type Action, BUILT_IN_CHAINS, type Chain, type Match, type Ruleset, type TableName } from './ruleset.ts';

const PRIORITY: Readonly<Record<TableName, number>> = { raw: -300, mangle: -150, nat: -100 };

export const renderNft = (rulesets: readonly Ruleset[]): string =>
  rulesets
    .map(({ family, chains }) => {
      const ip = family === 'ipv4' ? 'ip' : 'ip6';
      const head = `table ${ip} ${TABLE}\ndelete table ${ip} ${TABLE}\n`;
      return `${head}table ${ip} ${TABLE} {\n${chains.map((chain) => chainText(ip, chain)).join('')}}\n`;
    })
    .join('');

const chainText = (ip: string, { table, name, rules }: Chain): string => {
  const priority = table === 'nat' && name === 'POSTROUTING' ? 100 : PRIORITY[table];
  const type = table === 'nat' ? 'nat' : 'filter';
  const hook = BUILT_IN_CHAINS.has(name) ? [`    type ${type} hook ${name.toLowerCase()} priority ${priority}; policy accept;\n`] : [];
  const lines = rules.map(
    ({ matches, action }) => `    ${[...matches.map((m) => matchText(ip, m)), actionText(table, action)].join(' ')}\n`,
  );
  return `  chain ${chainName(table, name)} {\n${[...hook, ...lines].join('')}  }\n`;
};

const equals = (not: boolean | undefined): string => (not === true ? '!= ' : '');

const matchText = (ip: string, match: Match): string => {
  switch (match.kind) {
    case 'protocol':
      return `meta l4proto ${match.protocol}`;
    case 'destination-port':
      return match.ports.length > 1
        ? `th dport ${equals(match.not)}{ ${match.ports.join(', ')} }`
        : `th dport ${equals(match.not)}${match.ports.join('')}`;
    case 'source-port':
      return `th sport ${match.port}`;
    case 'source':
      return `${ip} saddr ${equals(match.not)}${match.cidr}`;
    case 'destination':
      return `${ip} daddr ${equals(match.not)}${match.cidr}`;
    case 'in-interface':
      return `iifname "${match.name}"`;
    case 'out-interface':
      return `oifname ${equals(match.not)}"${match.name}"`;
    case 'user':
      return `meta skuid ${equals(match.not)}${match.id}`;
    case 'group':
      return `meta skgid ${equals(match.not)}${match.id}`;
    case 'invalid-state':
      return 'ct state invalid';
    case 'every':
      return `numgen inc mod ${match.of} 0`;
  }
};

const actionText = (table: TableName, action: Action): string => {
  switch (action.kind) {
    case 'return':
      return 'return';
    case 'drop':
      return 'drop';
    case 'jump':
      return `jump ${chainName(table, action.chain)}`;
    case 'redirect':
      return `redirect to :${action.port}`;
    case 'conntrack-zone':
      return `ct zone set ${action.zone}`;
    case 'source-nat':
      return `snat to ${action.address}`;
    case 'destination-nat':
      return `dnat to ${action.address}:${action.port}`;
  }
};
