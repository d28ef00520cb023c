// Runs the corpus files of a folder through their adapters and counts. A case that throws has failed.

import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Case, LeftOut } from './case.ts';
import { readCorpus } from './read-corpus.ts';
import { corpora } from './registry.ts';

export const GOAL = 0.98;

export interface FileCount {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}
export interface CorpusFailure {
  readonly file: string;
  readonly id: string;
  readonly expected: unknown;
  readonly got: unknown;
}
export interface CorporaReport extends FileCount {
  readonly files: Readonly<Record<string, FileCount>>;
  readonly failures: readonly CorpusFailure[];
  /** Cases that are not judged, counted by file and reason. */
  readonly skips: readonly { readonly file: string; readonly reason: string; readonly cases: number }[];
}

/** `only`: names of files; all when empty. */
export const runCorpora = (folder: string, only: readonly string[]): CorporaReport => {
  const files: Record<string, FileCount> = {};
  const failures: CorpusFailure[] = [];
  const skips = new Map<string, { file: string; reason: string; cases: number }>();
  const skip = (file: string, reason: string): void => {
    const known = skips.get(`${file} ${reason}`);
    if (known) known.cases++;
    else skips.set(`${file} ${reason}`, { file, reason, cases: 1 });
  };
  for (const file of [...Object.keys(corpora), ...strangers(folder)]) {
    const entry = corpora[file] ?? UNKNOWN;
    if ((only.length > 0 && !only.some((name) => names(file, name))) || !existsSync(join(folder, file))) continue;
    const corpus = readCorpus(folder, file);
    if (typeof entry !== 'function') {
      files[file] = { passed: 0, failed: 0, skipped: corpus.rows.length };
      skips.set(file, { file, reason: entry.leftOut, cases: corpus.rows.length });
      continue;
    }
    const count = { passed: 0, failed: 0, skipped: 0 };
    for (const one of entry(corpus)) {
      const found = runCase(one);
      if (found === undefined) count.passed++;
      else if ('leftOut' in found) {
        count.skipped++;
        skip(file, found.leftOut);
      } else {
        count.failed++;
        failures.push({ file, id: one.id, ...found });
      }
    }
    files[file] = count;
  }
  const sum = (field: keyof FileCount): number => Object.values(files).reduce((total, f) => total + f[field], 0);
  return { passed: sum('passed'), failed: sum('failed'), skipped: sum('skipped'), files, failures, skips: [...skips.values()] };
};

const UNKNOWN: LeftOut = { leftOut: 'no adapter knows this file' };

const strangers = (folder: string): string[] =>
  ['', 'tables/'].flatMap((below) =>
    existsSync(join(folder, below))
      ? readdirSync(join(folder, below))
          .filter((name) => name.endsWith('.json') && corpora[below + name] === undefined)
          .map((name) => below + name)
          .sort()
      : [],
  );

/** `tables/x.json` is also called `x`. */
const names = (file: string, name: string): boolean =>
  file === name || file.replace(/^tables\//, '').replace(/\.json$/, '') === name.replace(/^tables\//, '').replace(/\.json$/, '');

const runCase = (one: Case): ReturnType<Case['run']> => {
  try {
    return one.run();
  } catch (error) {
    return { expected: 'a verdict', got: error instanceof Error ? `${error.name}: ${error.message}` : String(error) };
  }
};

/** Files where less than the goal of the judged cases passed. */
export const belowGoal = (report: CorporaReport): string[] =>
  Object.entries(report.files)
    .filter(([, { passed, failed }]) => passed + failed > 0 && passed / (passed + failed) < GOAL)
    .map(([file]) => file);

export const corporaText = (report: CorporaReport): string => {
  const lines: string[] = [];
  for (const f of report.failures)
    lines.push(`${f.file} ${f.id}`, `  expected ${JSON.stringify(f.expected)}`, `  got      ${JSON.stringify(f.got)}`);
  for (const s of report.skips) lines.push(`not judged: ${s.cases} of ${s.file}: ${s.reason}`);
  const width = Math.max(4, ...Object.keys(report.files).map((f) => f.length));
  lines.push('', `${'file'.padEnd(width)}  passed  failed  skipped`);
  const line = (name: string, c: FileCount): string => {
    const judged = c.passed + c.failed;
    const share = judged === 0 ? '' : `${Math.floor((1000 * c.passed) / judged) / 10} %`;
    const number = (n: number): string => String(n).padStart(6);
    return `${name.padEnd(width)}  ${number(c.passed)}  ${number(c.failed)}  ${number(c.skipped)}   ${share}`.trimEnd();
  };
  for (const [file, count] of Object.entries(report.files)) lines.push(line(file, count));
  lines.push(line('all', report));
  return `${lines.join('\n')}\n`;
};
