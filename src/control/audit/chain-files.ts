// Where the audit log lies: `audit.log`, older parts named for their first entry, and `head.json`. Reading, for the writer that starts again
// and for those who check; a file is read line by line.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ChainCheck, type ChainFault, type ChainHead, EMPTY_HEAD, readHead } from './chain.ts';

export const HEAD_FILE = 'head.json';
export const CURRENT_FILE = 'audit.log';
const OLDER = /^audit-(\d{12})\.log$/;

export const olderFile = (firstSeq: number): string => `audit-${String(firstSeq).padStart(12, '0')}.log`;
export const firstSeqOf = (file: string): number => Number(OLDER.exec(file)?.[1] ?? 0);

/** Of a state folder. */
export const auditFolder = (stateDir: string): string => join(stateDir, 'audit');

/** Oldest first. */
export const auditFiles = (folder: string): readonly string[] => {
  if (!existsSync(folder)) return [];
  const names = readdirSync(folder);
  return [...names.filter((n) => OLDER.test(n)).sort(), ...names.filter((n) => n === CURRENT_FILE)];
};

/** Whole lines; one that is still being written is left out. */
export const auditLines = (folder: string, file: string): readonly string[] =>
  readFileSync(join(folder, file), 'utf8').split('\n').slice(0, -1);

export const headOf = (folder: string): ChainHead | undefined => {
  try {
    return readHead(readFileSync(join(folder, HEAD_FILE), 'utf8'));
  } catch {
    return undefined;
  }
};

export interface AuditVerdict {
  readonly faults: readonly ChainFault[];
  readonly entries: number;
  readonly files: number;
  readonly first: number;
  readonly last: { readonly seq: number; readonly hash: string };
  /** Entries that the head does not know yet: the writer was stopped, or is at work. */
  readonly behind: number;
}

export const verifyAudit = (folder: string, expected: ReadonlyMap<number, string> = new Map()): AuditVerdict => {
  const steps = verifySteps(folder, expected);
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
};

/** A file at a time, for those who have other work. */
export function* verifySteps(folder: string, expected: ReadonlyMap<number, string>): Generator<void, AuditVerdict> {
  const files = auditFiles(folder);
  const known = headOf(folder);
  const head = known ?? EMPTY_HEAD;
  const check = new ChainCheck(head, expected);
  const faults: ChainFault[] = [];
  if (known === undefined && files.length > 0)
    faults.push({ file: HEAD_FILE, line: 0, seq: 0, problem: 'is not there, or cannot be read: a cut end would not be seen' });
  for (const file of files) {
    for (const [i, line] of auditLines(folder, file).entries()) check.line(file, i + 1, line);
    yield;
  }
  const { behind, last } = check.end(HEAD_FILE);
  return {
    faults: [...faults, ...check.faults],
    entries: check.lines,
    files: files.length,
    first: head.first.seq,
    last,
    behind: known === undefined ? 0 : behind,
  };
}
