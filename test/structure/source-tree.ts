// Reads the source tree once: every file of src/ with its room, text and imports. Used by the structure tests only.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../..');

export interface Import {
  /** Path below the repository for a relative import, the bare specifier otherwise. */
  readonly target: string;
  readonly relative: boolean;
  readonly typeOnly: boolean;
  readonly line: number;
}
export interface SourceFile {
  /** `src/room/file.ts` */
  readonly path: string;
  readonly room: string;
  readonly text: string;
  readonly lines: readonly string[];
  readonly imports: readonly Import[];
}

const IMPORT = /(?:^|\n)\s*(import|export)\s+(type\s+)?[^;'"]*?from\s+'([^']+)'|(?:^|\n)\s*import\s+'([^']+)'|\bimport\(\s*'([^']+)'\s*\)/g;

const importsOf = (path: string, text: string): Import[] => {
  const found: Import[] = [];
  for (const match of text.matchAll(IMPORT)) {
    const specifier = match[3] ?? match[4] ?? match[5] ?? '';
    const isRelative = specifier.startsWith('.');
    found.push({
      target: isRelative ? normalize(join(dirname(path), specifier)) : specifier,
      relative: isRelative,
      typeOnly: match[2] !== undefined,
      line: text.slice(0, match.index).split('\n').length + (match[0].startsWith('\n') ? 1 : 0),
    });
  }
  return found;
};

const walk = (dir: string): string[] =>
  readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) return entry.name === 'gen' || entry.name === 'node_modules' ? [] : walk(path);
    return /\.tsx?$/.test(entry.name) && !entry.name.endsWith('.d.ts') ? [path] : [];
  });

export const sourceTree = (): SourceFile[] =>
  walk(join(ROOT, 'src')).map((full) => {
    const path = relative(ROOT, full);
    const text = readFileSync(full, 'utf8');
    return { path, room: path.split('/')[1] ?? '', text, lines: text.split('\n'), imports: importsOf(path, text) };
  });
