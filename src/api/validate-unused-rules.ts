// Warnings about rules of a VirtualService that no request can reach, as Istio gives them: a second rule without matches, a match that
// stands twice or behind a rule without matches, a prefix that an earlier, otherwise no narrower, prefix covers.

import { child, item } from './field-path.ts';
import type { Findings } from './findings.ts';
import type { HttpMatchRequest, StringMatch, VirtualService } from './specs.ts';

export const warnUnusedRules = (spec: VirtualService, path: string, findings: Findings): void => {
  warnRepeated(spec.http ?? [], child(path, 'http'), findings);
  warnCovered(spec.http ?? [], child(path, 'http'), findings);
  warnRepeated(spec.tls ?? [], child(path, 'tls'), findings);
  warnRepeated(spec.tcp ?? [], child(path, 'tcp'), findings);
};

type Rule = { readonly match?: readonly object[] };

/** HTTP rules and matches may have names; the others have none. */
const ruleName = (named: object | undefined, index: number): string =>
  named && 'name' in named && typeof named.name === 'string' && named.name !== '' ? JSON.stringify(named.name) : `#${index}`;

const warnRepeated = (rules: readonly Rule[], path: string, findings: Findings): void => {
  const seen = new Map<string, number>();
  let catchAll = -1;
  for (const [index, rule] of rules.entries()) {
    const at = item(path, index);
    const matches = rule.match ?? [];
    if (matches.length === 0) {
      if (catchAll >= 0)
        findings.warn(at, `virtualService rule ${ruleName(rule, index)} not used (only the last rule can have no matches)`);
      catchAll = index;
      continue;
    }
    if (catchAll >= 0) {
      findings.warn(at, `virtualService rule ${ruleName(rule, index)} not used (route without matches defined before)`);
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
        findings.warn(
          where,
          `virtualService rule ${ruleName(rule, index)} match ${ruleName(match, matchIndex)} is not used (duplicate match in rule ${other})`,
        );
      }
    }
    if (repeated === matches.length)
      findings.warn(at, `virtualService rule ${ruleName(rule, index)} not used (all matches used by prior rules)`);
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
}

const warnCovered = (rules: NonNullable<VirtualService['http']>, path: string, findings: Findings): void => {
  const earlier: PrefixMatch[] = [];
  for (const [index, rule] of rules.entries()) {
    for (const [matchIndex, match] of (rule.match ?? []).entries()) {
      const prefix = match.uri?.prefix ?? '';
      if (prefix === '') continue;
      const label = `rule ${ruleName(rule, index)} match ${ruleName(match, matchIndex)}`;
      const later: PrefixMatch = { match, prefix, path: item(child(item(path, index), 'match'), matchIndex), label };
      for (const cover of earlier) {
        if (cover.prefix === prefix || !covers(cover, later)) continue;
        const message = `virtualService ${label} of prefix ${prefix} is not used (overlapping match of prefix ${cover.prefix} in ${cover.label})`;
        findings.warn(later.path, message);
      }
      earlier.push(later);
    }
  }
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
