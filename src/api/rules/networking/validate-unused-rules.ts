// Warnings about rules of a VirtualService that no request can reach, as Istio gives them: a second rule without matches, a match that
// stands twice or behind a rule without matches, a prefix that an earlier, otherwise no narrower, prefix covers.

import type { Findings } from '../../findings.ts';
import { child, item } from '../../reading/field-path.ts';
import type { HttpMatchRequest, StringMatch, VirtualService } from '../../specs.ts';

/** Warnings of one object; of more their number is told. */
const WARNINGS_MAX = 100;
/** Matches of one object that are compared one with another, of those that an index does not tell apart. */
const COMPARISONS_MAX = 200_000;

export const warnUnusedRules = (spec: VirtualService, path: string, findings: Findings): void => {
  const told = new Told(findings);
  warnRepeated(spec.http ?? [], child(path, 'http'), told);
  const whole = warnCovered(spec.http ?? [], child(path, 'http'), told);
  warnRepeated(spec.tls ?? [], child(path, 'tls'), told);
  warnRepeated(spec.tcp ?? [], child(path, 'tcp'), told);
  if (told.untold > 0) findings.warn(path, `${told.untold} more rules and matches of it are not used`);
  if (!whole) findings.warn(path, 'too many matches of equal prefixes to tell which of them are not used', 'split the VirtualService');
};

/** Tells the first warnings and counts the rest. */
class Told {
  untold = 0;
  readonly #findings: Findings;
  #count = 0;

  constructor(findings: Findings) {
    this.#findings = findings;
  }

  warn(path: string, message: string): void {
    if (this.#count++ < WARNINGS_MAX) this.#findings.warn(path, message);
    else this.untold++;
  }
}

type Rule = { readonly match?: readonly object[] };

/** HTTP rules and matches may have names; the others have none. */
const ruleName = (named: object | undefined, index: number): string =>
  named && 'name' in named && typeof named.name === 'string' && named.name !== '' ? JSON.stringify(named.name) : `#${index}`;

const warnRepeated = (rules: readonly Rule[], path: string, told: Told): void => {
  const seen = new Map<string, number>();
  let catchAll = -1;
  for (const [index, rule] of rules.entries()) {
    const at = item(path, index);
    const matches = rule.match ?? [];
    if (matches.length === 0) {
      if (catchAll >= 0) told.warn(at, `virtualService rule ${ruleName(rule, index)} not used (only the last rule can have no matches)`);
      catchAll = index;
      continue;
    }
    if (catchAll >= 0) {
      told.warn(at, `virtualService rule ${ruleName(rule, index)} not used (route without matches defined before)`);
      continue;
    }
    let repeated = 0;
    for (const [matchIndex, match] of matches.entries()) {
      const key = stableText({ ...match, name: undefined });
      const first = seen.get(key);
      if (first === undefined) seen.set(key, index);
      else {
        repeated++;
        const where = item(child(at, 'match'), matchIndex);
        const other = ruleName(rules[first], first);
        told.warn(
          where,
          `virtualService rule ${ruleName(rule, index)} match ${ruleName(match, matchIndex)} is not used (duplicate match in rule ${other})`,
        );
      }
    }
    if (repeated === matches.length)
      told.warn(at, `virtualService rule ${ruleName(rule, index)} not used (all matches used by prior rules)`);
  }
};

/** JSON with sorted keys, so that equal values give equal text. */
const stableText = (value: unknown): string => {
  if (Array.isArray(value)) return `[${value.map(stableText).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  const entries = Object.entries(value).filter(([, v]) => v !== undefined);
  return `{${entries
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([k, v]) => `${JSON.stringify(k)}:${stableText(v)}`)
    .join(',')}}`;
};

interface PrefixMatch {
  readonly match: HttpMatchRequest;
  readonly prefix: string;
  readonly path: string;
  readonly label: string;
  readonly order: number;
}

/** Earlier matches by what must be the same for one to cover another: a shorter prefix, the port, the names of headers and parameters. */
class Earlier {
  readonly #byKey = new Map<string, PrefixMatch[]>();
  readonly #lengths = new Set<number>();

  add(match: PrefixMatch): void {
    const key = keyOf(match.prefix, match);
    const list = this.#byKey.get(key);
    if (list === undefined) this.#byKey.set(key, [match]);
    else list.push(match);
    this.#lengths.add(match.prefix.length);
  }

  /** In the order in which they were added. */
  candidates(later: PrefixMatch): readonly PrefixMatch[] {
    const lengths = [...this.#lengths].filter((n) => n < later.prefix.length);
    return lengths.flatMap((n) => this.#byKey.get(keyOf(later.prefix.slice(0, n), later)) ?? []).sort((a, b) => a.order - b.order);
  }
}

const keyOf = (prefix: string, { match }: PrefixMatch): string =>
  JSON.stringify([
    prefix,
    match.port ?? 0,
    ...[match.headers, match.queryParams, match.withoutHeaders].map((m) => Object.keys(m ?? {}).sort()),
  ]);

/** False when it was not looked at everything. */
const warnCovered = (rules: NonNullable<VirtualService['http']>, path: string, told: Told): boolean => {
  const earlier = new Earlier();
  let comparisons = 0;
  let order = 0;
  for (const [index, rule] of rules.entries()) {
    for (const [matchIndex, match] of (rule.match ?? []).entries()) {
      const prefix = match.uri?.prefix ?? '';
      if (prefix === '') continue;
      const label = `rule ${ruleName(rule, index)} match ${ruleName(match, matchIndex)}`;
      const later: PrefixMatch = { match, prefix, path: item(child(item(path, index), 'match'), matchIndex), label, order: order++ };
      for (const cover of earlier.candidates(later)) {
        if (++comparisons > COMPARISONS_MAX) return false;
        if (!covers(cover, later)) continue;
        told.warn(
          later.path,
          `virtualService ${label} of prefix ${prefix} is not used (overlapping match of prefix ${cover.prefix} in ${cover.label})`,
        );
      }
      earlier.add(later);
    }
  }
  return true;
};

/** As coarse as Istio's: equal ports, and every other condition of the earlier match begins with the later one's. */
const covers = (a: PrefixMatch, b: PrefixMatch): boolean =>
  b.prefix.startsWith(a.prefix) &&
  (a.match.port ?? 0) === (b.match.port ?? 0) &&
  (textOf(a.match.method) || 'exact:GET').startsWith(textOf(b.match.method) || 'exact:GET') &&
  textOf(a.match.authority).startsWith(textOf(b.match.authority)) &&
  coversMap(a.match.headers, b.match.headers) &&
  coversMap(a.match.queryParams, b.match.queryParams) &&
  coversMap(a.match.withoutHeaders, b.match.withoutHeaders);

type Matches = { readonly [name: string]: StringMatch } | undefined;

const coversMap = (a: Matches, b: Matches): boolean => {
  const left = Object.entries(a ?? {});
  if (left.length !== Object.keys(b ?? {}).length) return false;
  return left.every(([name, match]) => {
    const other = b?.[name];
    return other !== undefined && textOf(match).startsWith(textOf(other));
  });
};

const textOf = (match: StringMatch | undefined): string => {
  if (match?.exact) return `exact:${match.exact}`;
  return match?.prefix ? `prefix:${match.prefix}` : '';
};
