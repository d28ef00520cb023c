// A ruleset as input of iptables-restore --noflush (ip6tables-restore for IPv6). Our jumps from built-in chains are put in with -A: on a
// machine where others hook the same chains they come first, as with Istio's. Pure text.

import { type Action, BUILT_IN_CHAINS, type Match, type Rule, type Ruleset, type TableName } from './ruleset.ts';

const TABLES: readonly TableName[] = ['mangle', 'nat', 'raw'];

export const renderIptables = ({ chains }: Ruleset): string =>
  TABLES.flatMap((table) => {
    const here = chains.filter((chain) => chain.table === table);
    if (here.length === 0) return [];
    const own = here.filter(({ name }) => !BUILT_IN_CHAINS.has(name));
    const rules = here.flatMap((chain) => chain.rules.map((rule) => `-A ${chain.name}${ruleText(rule)}`));
    return [`* ${table}`, ...own.map(({ name }) => `-N ${name}`), ...rules, 'COMMIT'];
  })
    .map((line) => `${line}\n`)
    .join('');

/** Takes the program away again: jumps first, then the chains of our own. Lines for one iptables-restore. */
export const renderIptablesRemoval = ({ chains }: Ruleset): string =>
  TABLES.flatMap((table) => {
    const here = chains.filter((chain) => chain.table === table);
    if (here.length === 0) return [];
    const own = here.filter(({ name }) => !BUILT_IN_CHAINS.has(name));
    const hooks = here.filter(({ name }) => BUILT_IN_CHAINS.has(name));
    return [
      `* ${table}`,
      ...hooks.flatMap((chain) => chain.rules.map((rule) => `-D ${chain.name}${ruleText(rule)}`)),
      ...own.map(({ name }) => `-F ${name}`),
      ...own.map(({ name }) => `-X ${name}`),
      'COMMIT',
    ];
  })
    .map((line) => `${line}\n`)
    .join('');

const ruleText = (rule: Rule): string => `${rule.matches.map((m) => ` ${matchText(m)}`).join('')} -j ${actionText(rule.action)}`;

const negation = (not: boolean | undefined): string => (not === true ? '! ' : '');

const matchText = (match: Match): string => {
  switch (match.kind) {
    case 'protocol':
      return `-p ${match.protocol}`;
    case 'destination-port':
      return match.ports.length > 1
        ? `-m multiport ${negation(match.not)}--dports ${match.ports.join(',')}`
        : `${negation(match.not)}--dport ${match.ports.join('')}`;
    case 'source-port':
      return `--sport ${match.port}`;
    case 'source':
      return `${negation(match.not)}-s ${match.cidr}`;
    case 'destination':
      return `${negation(match.not)}-d ${match.cidr}`;
    case 'in-interface':
      return `-i ${match.name}`;
    case 'out-interface':
      return `${negation(match.not)}-o ${match.name}`;
    case 'user':
      return `-m owner ${negation(match.not)}--uid-owner ${match.id}`;
    case 'group':
      return `-m owner ${negation(match.not)}--gid-owner ${match.id}`;
    case 'invalid-state':
      return '-m conntrack --ctstate INVALID';
    case 'every':
      return `-m statistic --mode nth --every ${match.of} --packet 0`;
  }
};

const actionText = (action: Action): string => {
  switch (action.kind) {
    case 'return':
      return 'RETURN';
    case 'drop':
      return 'DROP';
    case 'jump':
      return action.chain;
    case 'redirect':
      return `REDIRECT --to-ports ${action.port}`;
    case 'conntrack-zone':
      return `CT --zone ${action.zone}`;
    case 'source-nat':
      return `SNAT --to-source ${action.address}`;
    case 'destination-nat':
      return `DNAT --to-destination ${action.address}:${action.port}`;
  }
};
