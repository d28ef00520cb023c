// Names of users and groups in rules as the numbers that the kernel compares. Reads /etc/passwd and /etc/group.

import { readFileSync } from 'node:fs';
import type { Match, Ruleset } from './ruleset.ts';

export const resolveOwners = (ruleset: Ruleset): Ruleset => ({
  ...ruleset,
  chains: ruleset.chains.map((chain) => ({
    ...chain,
    rules: chain.rules.map((rule) => ({ ...rule, matches: rule.matches.map(numeric) })),
  })),
});

const numeric = (match: Match): Match =>
  match.kind === 'user' || match.kind === 'group' ? { ...match, id: idOf(match.kind, match.id) } : match;

const idOf = (kind: 'user' | 'group', name: string): string => {
  if (/^\d+$/.test(name)) return name;
  const lines = readFileSync(kind === 'user' ? '/etc/passwd' : '/etc/group', 'utf8').split('\n');
  const id = lines.map((line) => line.split(':')).find((fields) => fields[0] === name)?.[2];
  if (id === undefined) throw new Error(`there is no ${kind} "${name}"`);
  return id;
};
