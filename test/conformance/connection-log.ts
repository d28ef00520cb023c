// Compares what proxies logged beside requests that have an id: TCP connections, handshakes that failed, messages that are none. They are
// told apart by nothing but what they say, so they are compared as a bag, in which replicas of a service stand for each other.

import type { Difference } from './compare.ts';
import type { Scenario } from './scenario.ts';

type Entry = Readonly<Record<string, unknown>>;
type Logs = Readonly<Record<string, readonly Entry[]>>;

const KEYS = ['attempts', 'cluster', 'details', 'flags', 'peer', 'route', 'sni', 'status', 'terminationDetails', 'upstream'];
/** Which endpoint is chosen, and by chance which cluster. */
const ANY_ENDPOINT = /^outbound\|\d+\|\|/;

/** Of one proxy no more were kept. */
const RECORDED_MAX = 40;

const replicaSet = (proxy: string): string => proxy.replace(/-v\d+$/, '');

/** What is left out: a connection that is refused is not dialled here, and who answers behind a service's address is free. */
const told = (entry: Entry, byChance: boolean, replica: boolean): string => {
  const cluster = typeof entry['cluster'] === 'string' ? entry['cluster'] : '';
  const shown = KEYS.filter((key) => {
    const value = entry[key];
    if (value === undefined || value === null || (value === '-' && key !== 'flags')) return false;
    if (key === 'cluster') return !byChance;
    if (key === 'attempts' || key === 'upstream')
      if (String(entry['terminationDetails'] ?? '').startsWith('rbac_access_denied')) return false;
    if (key === 'peer' || key === 'sni') return !replica;
    return key !== 'upstream' || !(byChance || replica || ANY_ENDPOINT.test(cluster));
  });
  return shown.map((key) => `${key}=${String(entry[key])}`).join(' ');
};

const bagsOf = (logs: Logs, byChance: boolean): Map<string, string[]> => {
  const bags = new Map<string, string[]>();
  for (const [proxy, entries] of Object.entries(logs)) {
    const set = replicaSet(proxy);
    const bag = bags.get(set) ?? [];
    for (const entry of entries) bag.push(told(entry, byChance, set !== proxy));
    bags.set(set, bag.sort());
  }
  return bags;
};

/** Entries that are no vector's. */
export const connectionEntries = (entries: readonly Record<string, unknown>[]): Record<string, unknown>[] =>
  entries.filter((entry) => entry['id'] === undefined || entry['id'] === null || entry['id'] === '-' || entry['id'] === '');

export const enoughEntries = (scenario: Scenario, got: Logs): boolean => {
  const [expected, have] = [bagsOf(scenario.connectionLog ?? {}, true), bagsOf(got, true)];
  return [...expected].every(([set, bag]) => (have.get(set)?.length ?? 0) >= bag.length);
};

export const compareConnections = (scenario: Scenario, got: Logs): Difference[] => {
  if (scenario.connectionLog === undefined || Object.keys(scenario.connectionLog).length === 0) return [];
  const byChance = /weights/.test(scenario.nondeterministic ?? '');
  const [expected, have] = [bagsOf(scenario.connectionLog, byChance), bagsOf(got, byChance)];
  return [...expected].flatMap(([set, bag]) => {
    const rest = [...(have.get(set) ?? [])];
    const missing = bag.filter((line) => {
      const at = rest.indexOf(line);
      if (at >= 0) rest.splice(at, 1);
      return at < 0;
    });
    // Whether a listener listens is asked by connecting to it.
    const extra = bag.length >= RECORDED_MAX ? [] : scenario.topology === 'gateway' ? rest.slice(1) : rest;
    const got = missing.length > 0 ? rest : extra;
    return missing.length === 0 && extra.length === 0 ? [] : [{ what: `connectionLog.${set}`, expected: missing, got: got.slice(0, 8) }];
  });
};
