// Finds the shared data beside the checkout (or at SKEIN_SHARED); tests that need it skip, saying so, where it is absent.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const folder = process.env['SKEIN_SHARED'] ?? join(import.meta.dirname, '../../../shared');

export const sharedFile = (path: string): string | undefined => {
  const file = join(folder, path);
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
};

export const missing = (path: string): string | false =>
  existsSync(join(folder, path)) ? false : `no ${path} in ${folder}: set SKEIN_SHARED`;

/** `{"$repeat": [unit, count, tail]}` stands for a long string. */
export const expand = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(expand);
  if (typeof value !== 'object' || value === null) return value;
  if ('$repeat' in value && Array.isArray(value.$repeat)) {
    const [unit, count, tail] = value.$repeat;
    return String(unit).repeat(Number(count)) + String(tail ?? '');
  }
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, expand(v)]));
};
