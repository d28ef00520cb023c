// The cost table as Markdown. Pure.
import type { Machine } from '../report.ts';

export const PROXIES = ['skein', 'envoy'] as const;
export type ProxyName = (typeof PROXIES)[number];

export interface Figures {
  /** CPU of a request, median of the rounds that count; undefined: none did. */
  readonly microseconds: number | undefined;
  readonly counted: number;
  readonly measured: number;
  readonly errors: number;
}

export interface CostRow {
  readonly title: string;
  /** Why a proxy is not in the row. */
  readonly missing: ReadonlyMap<ProxyName, string>;
  readonly base: Readonly<Record<ProxyName, Figures>>;
  readonly with: Readonly<Record<ProxyName, Figures>>;
}

export interface CostReport {
  readonly machine: Machine;
  readonly rounds: number;
  readonly seconds: number;
  readonly quick: boolean;
  readonly dirty: boolean;
  readonly rows: readonly CostRow[];
}

const HEAD = [
  'feature',
  'Skein µs',
  'Envoy µs',
  'Skein / Envoy',
  'lower',
  'Skein adds µs',
  'Envoy adds µs',
  'adds less',
  'rounds',
  'errors',
];

export const renderCost = ({ machine, rounds, seconds, quick, dirty, rows }: CostReport): string => {
  const versions = Object.entries(machine.versions).map(([name, version]) => `${name} ${version}`);
  const lines = [
    '# What a feature costs',
    '',
    'CPU per request of one proxy between 32 connections and a backend, plain HTTP/1.1 on loopback, 1 kB answers, one worker; the same static',
    'bootstrap for both. `adds` is the difference to the same proxy with a router and one route, measured in turn with it.',
    `${rounds} rounds of ${seconds} s each in turns, medians of the clean ones.`,
    '',
    ...(quick || dirty ? ['**Not a result:** rounds count although others used the machine.', ''] : []),
    `| ${HEAD.join(' | ')} |`,
    `|---|${HEAD.slice(1)
      .map(() => '---:|')
      .join('')}`,
    ...rows.map((row) => `| ${cells(row).join(' | ')} |`),
    '',
    ...rows.flatMap((row) => [...row.missing].map(([proxy, why]) => `- ${row.title}: ${proxy} not run: ${why}`)),
    `${machine.date}, ${machine.cpu}, ${machine.cores} cores, Linux ${machine.kernel}; ${versions.join(', ')}`,
  ];
  return `${lines.join('\n')}\n`;
};

const cells = (row: CostRow): string[] => {
  const [skein, envoy] = PROXIES.map((proxy) => row.with[proxy].microseconds);
  const [skeinAdds, envoyAdds] = PROXIES.map((proxy) => minus(row.with[proxy].microseconds, row.base[proxy].microseconds));
  const all = PROXIES.flatMap((proxy) => [row.base[proxy], row.with[proxy]]);
  return [
    row.title,
    number(skein),
    number(envoy),
    skein === undefined || envoy === undefined ? '–' : (skein / envoy).toFixed(2),
    lower(skein, envoy),
    number(skeinAdds),
    number(envoyAdds),
    lower(skeinAdds, envoyAdds),
    all.map((f) => f.counted).join(' '),
    String(all.reduce((sum, f) => sum + f.errors, 0)),
  ];
};

const minus = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined || b === undefined ? undefined : a - b;
const number = (value: number | undefined): string => (value === undefined ? '–' : value.toFixed(1));
const lower = (skein: number | undefined, envoy: number | undefined): string =>
  skein === undefined || envoy === undefined ? '–' : skein < envoy ? 'Skein' : 'Envoy';
