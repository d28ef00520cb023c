// The documents that `-f` names: a file, a folder with everything below it, or standard input. Reads regular files, pipes and standard
// input only, never more than the api room's limit. What `-f` names itself and cannot be read is wrong usage; what a folder holds
// and cannot be read, and whatever is no text, is a problem of that file, told along with those of the other documents.
import { closeSync, openSync, readdirSync, readSync, realpathSync, statSync } from 'node:fs';
import { devNull } from 'node:os';
import { join } from 'node:path';
import { FILE_BYTES_MAX } from '../api/limits.ts';
import type { Problem } from '../api/problem.ts';
import { textOf, tooLarge } from '../api/reading/document-bytes.ts';
import { err, type Result } from '../base/result.ts';
import { UsageError } from './command-line.ts';

export interface DocumentFile {
  readonly file: string;
  readonly text: string;
}

export interface ReadFiles {
  readonly documents: readonly DocumentFile[];
  /** Of files that gave no text; all of severity error. */
  readonly problems: readonly Problem[];
}

const EXTENSION = /\.(ya?ml|json)$/;
const STDIN = '<stdin>';
const CHUNK_BYTES = 64 * 1024;

export const readDocuments = async (paths: readonly string[]): Promise<ReadFiles> => {
  const documents: DocumentFile[] = [];
  const problems: Problem[] = [];
  const take: Take = (file, read) => {
    if (read.ok) documents.push({ file, text: read.value });
    else problems.push(read.error);
  };
  for (const path of paths) {
    if (path === '-') take(STDIN, await readStdin());
    else readNamed(path, take);
  }
  if (documents.length + problems.length === 0) throw new UsageError(`no .yaml, .yml or .json file in ${paths.join(', ')}`);
  return { documents, problems };
};

/** For the texts that were read without a fault and hold nothing: most often a pipe whose first command failed. */
export const noObjectsIn = (paths: readonly string[]): string => `no objects in ${paths.map((p) => (p === '-' ? STDIN : p)).join(', ')}`;

type Take = (file: string, read: Result<string, Problem>) => void;

const readNamed = (path: string, take: Take): void => {
  try {
    if (statSync(path).isDirectory()) readFolder(path, take, new Set());
    else take(path, readRegular(path));
  } catch (error) {
    throw new UsageError(`cannot read ${path}: ${reasonOf(error)}`);
  }
};

/** `seen` holds the folders read so far by device and inode: a link back to one of them adds nothing. */
const readFolder = (folder: string, take: Take, seen: Set<string>): void => {
  const { dev, ino } = statSync(folder);
  if (seen.has(`${dev}:${ino}`)) return;
  seen.add(`${dev}:${ino}`);
  const entries = readdirSync(folder, { withFileTypes: true })
    .filter((entry) => !entry.name.startsWith('.') && (entry.isDirectory() || EXTENSION.test(entry.name)))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    const file = join(folder, entry.name);
    try {
      if (statSync(file).isDirectory()) readFolder(file, take, seen);
      else take(file, readRegular(file));
    } catch (error) {
      const message = `cannot be read: ${reasonOf(error)}`;
      take(file, err({ code: 'FILE_UNREADABLE', severity: 'error', file, line: 1, column: 1, path: '', message }));
    }
  }
};

class Unreadable extends Error {}

const reasonOf = (error: unknown): string =>
  error instanceof Unreadable ? error.message : ((error as NodeJS.ErrnoException).code ?? String(error));

/** Refuses before the first byte what may never end; counts while reading, for a size may be wrong (/proc) or grow. */
const readRegular = (path: string): Result<string, Problem> => {
  const stat = statSync(path);
  if (!stat.isFile() && !stat.isFIFO()) {
    if (realpathSync(path) === devNull) return textOf(path, new Uint8Array());
    throw new Unreadable('not a regular file; what a device gives is read with -f -');
  }
  if (stat.size > FILE_BYTES_MAX) return err(tooLarge(path));
  const descriptor = openSync(path, 'r');
  try {
    const chunks: Buffer[] = [];
    for (let total = 0; ; ) {
      const chunk = Buffer.allocUnsafe(Math.max(CHUNK_BYTES, stat.size - total));
      const count = readSync(descriptor, chunk, 0, chunk.length, null);
      if (count === 0) return textOf(path, Buffer.concat(chunks));
      total += count;
      if (total > FILE_BYTES_MAX) return err(tooLarge(path));
      chunks.push(chunk.subarray(0, count));
    }
  } finally {
    closeSync(descriptor);
  }
};

const readStdin = async (): Promise<Result<string, Problem>> => {
  const chunks: Buffer[] = [];
  let total = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    total += chunk.length;
    if (total > FILE_BYTES_MAX) return err(tooLarge(STDIN));
    chunks.push(chunk);
  }
  return textOf(STDIN, Buffer.concat(chunks));
};
