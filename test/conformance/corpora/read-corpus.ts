// Reads corpus files: a JSON array, one row per line. Absent files have no rows.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Corpus, Row } from './case.ts';

export const readCorpus = (folder: string, file: string): Corpus => ({
  rows: readRows(folder, file),
  other: (name) => readRows(folder, name),
});

const readRows = (folder: string, file: string): readonly Row[] => {
  const path = join(folder, file);
  if (!existsSync(path)) return [];
  const value: unknown = JSON.parse(readFileSync(path, 'utf8'));
  return (Array.isArray(value) ? value : [value]).map((v) => expand(v) as Row);
};

/** `{"$repeat": [unit, count, tail]}` stands for a long string. */
const expand = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(expand);
  if (typeof value !== 'object' || value === null) return value;
  if ('$repeat' in value && Array.isArray(value.$repeat)) {
    const [unit, count, tail] = value.$repeat;
    return String(unit).repeat(Number(count)) + String(tail ?? '');
  }
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, expand(v)]));
};
