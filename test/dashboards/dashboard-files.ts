// The dashboards and rules as files: every expression with where it stands, and the metric names it asks for.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../../dashboards');
export const RULES = join(ROOT, 'prometheus/rules.yaml');
export const RULE_TESTS = join(ROOT, 'prometheus/rules.test.yaml');

interface Target {
  readonly expr: string;
  readonly datasource: { readonly uid: string };
}
interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly datasource?: { readonly type: string; readonly uid: string };
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets?: readonly Target[];
}
export interface Dashboard {
  readonly file: string;
  readonly uid: string;
  readonly title: string;
  readonly schemaVersion: number;
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { readonly name: string; readonly type: string; readonly definition?: string }[] };
}
export interface Expression {
  readonly where: string;
  readonly text: string;
}

export const dashboards = (): readonly Dashboard[] =>
  readdirSync(join(ROOT, 'grafana'))
    .sort()
    .filter((file) => file.endsWith('.json'))
    .map((file) => ({ file, ...(JSON.parse(readFileSync(join(ROOT, 'grafana', file), 'utf8')) as Omit<Dashboard, 'file'>) }));

/** As Grafana sends them: variables filled in. `values` by name; others match everything. */
export const panelExpressions = (values: Readonly<Record<string, string>> = {}): readonly Expression[] =>
  dashboards().flatMap(({ file, panels }) =>
    panels.flatMap(({ title, targets = [] }) =>
      targets.map(({ expr }) => ({
        where: `${file}, ${title}`,
        text: filled(expr, { __rate_interval: '1m', reporter: 'source', ...values }),
      })),
    ),
  );

const filled = (expr: string, values: Readonly<Record<string, string>>): string =>
  expr.replaceAll(/\$(\w+)/g, (_, name: string) => values[name] ?? '.*');

interface Rule {
  readonly alert?: string;
  readonly record?: string;
  readonly expr: string;
}

export const ruleExpressions = (): readonly Expression[] => {
  const { groups } = parse(readFileSync(RULES, 'utf8')) as { readonly groups: readonly { readonly rules: readonly Rule[] }[] };
  return groups.flatMap(({ rules }) => rules.map(({ alert, record, expr }) => ({ where: alert ?? record ?? '', text: expr })));
};

/** Of metrics, not of what rules record. Histograms by the names of their series. */
export const metricNames = (expression: string): readonly string[] => [
  ...new Set(
    expression
      .replaceAll(/"(?:[^"\\]|\\.)*"/g, '""')
      .replaceAll(/\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)/g, ' ')
      .replaceAll(/\{[^}]*\}/g, ' ')
      .match(/(?<![\w:.])[a-z_][\w:]*(?![\w:])(?!\s*\()/g)
      ?.filter((word) => !WORDS.has(word) && !word.includes(':')) ?? [],
  ),
];

const WORDS: ReadonlySet<string> = new Set(['and', 'or', 'unless', 'offset', 'bool']);
