// Which virtual host a request's host belongs to: exact name, longest `*.suffix`, longest `prefix.*`, then `*`.
import { PlanError } from './plan-error.ts';

export interface HostTable<T> {
  readonly exact: ReadonlyMap<string, T>;
  /** Suffixes (with their first character behind `*`) and prefixes, by length, longest first. */
  readonly suffixes: readonly LengthGroup<T>[];
  readonly prefixes: readonly LengthGroup<T>[];
  readonly any: T | undefined;
  readonly ignorePort: boolean;
}
interface LengthGroup<T> {
  readonly length: number;
  readonly byText: ReadonlyMap<string, T>;
}

export const compileHostTable = <T>(
  hosts: readonly { readonly domains: readonly string[]; readonly value: T; readonly path: string }[],
  ignorePort: boolean,
): HostTable<T> => {
  const exact = new Map<string, T>();
  const suffixes = new Map<string, T>();
  const prefixes = new Map<string, T>();
  let any: T | undefined;
  for (const { domains, value, path } of hosts) {
    domains.forEach((raw, i) => {
      const domain = raw.toLowerCase();
      const where = `${path}.domains[${i}]`;
      if (domain === '') throw new PlanError(where, 'must not be empty');
      const once = (map: Map<string, T>, key: string): void => {
        if (map.has(key)) throw new PlanError(where, `"${raw}" is a domain of more than one place`);
        map.set(key, value);
      };
      if (domain === '*') {
        if (any !== undefined) throw new PlanError(where, 'only one virtual host may have the domain "*"');
        any = value;
      } else if (domain.startsWith('*')) once(suffixes, domain.slice(1));
      else if (domain.endsWith('*')) once(prefixes, domain.slice(0, -1));
      else once(exact, domain);
    });
  }
  return { exact, suffixes: byLength(suffixes), prefixes: byLength(prefixes), any, ignorePort };
};

const byLength = <T>(texts: ReadonlyMap<string, T>): LengthGroup<T>[] => {
  const groups = new Map<number, Map<string, T>>();
  for (const [text, value] of texts) {
    const group = groups.get(text.length) ?? new Map<string, T>();
    group.set(text, value);
    groups.set(text.length, group);
  }
  return [...groups].sort(([a], [b]) => b - a).map(([length, byText]) => ({ length, byText }));
};

export const lookUpHost = <T>(table: HostTable<T>, authority: string): T | undefined => {
  const raw = table.ignorePort ? withoutPort(authority) : authority;
  const direct = table.exact.get(raw);
  if (direct !== undefined) return direct;
  const host = raw.toLowerCase();
  const folded = table.exact.get(host);
  if (folded !== undefined) return folded;
  if (host !== '') {
    for (const { length, byText } of table.suffixes) {
      if (length >= host.length) continue;
      const found = byText.get(host.slice(host.length - length));
      if (found !== undefined) return found;
    }
    for (const { length, byText } of table.prefixes) {
      if (length >= host.length) continue;
      const found = byText.get(host.slice(0, length));
      if (found !== undefined) return found;
    }
  }
  return table.any;
};

const withoutPort = (authority: string): string => {
  const colon = authority.lastIndexOf(':');
  if (colon < 0 || colon < authority.lastIndexOf(']')) return authority;
  return authority.slice(0, colon);
};
