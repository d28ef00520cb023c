// Tables for people, JSON and YAML for machines.
import { stringify } from 'yaml';
import type { OutputFormat } from './command-line.ts';

const GAP = 3;

/** Columns as wide as their widest cell, as kubectl prints them. Without rows nothing but the header. */
export const table = (header: readonly string[], rows: readonly (readonly string[])[]): string => {
  const all = [header, ...rows];
  const widths = header.map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)));
  const line = (row: readonly string[]): string =>
    header
      .map((_, column) => (row[column] ?? '').padEnd((widths[column] ?? 0) + GAP))
      .join('')
      .trimEnd();
  return `${all.map(line).join('\n')}\n`;
};

export const structured = (value: unknown, format: Exclude<OutputFormat, 'table'>): string =>
  format === 'json' ? `${JSON.stringify(value, undefined, 2)}\n` : stringify(value, { lineWidth: 0, aliasDuplicateObjects: false });

export const print = (text: string): void => {
  process.stdout.write(text);
};

/** `3m`, `2h`, `5d`: how long ago. */
export const age = (iso: string | undefined, nowMs: number): string => {
  const seconds = Math.max(0, Math.floor((nowMs - Date.parse(iso ?? '')) / 1000));
  if (Number.isNaN(seconds)) return '';
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
};
