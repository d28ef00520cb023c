// The documents that `-f` names: a file, a folder with everything below it, or standard input.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { text as readAll } from 'node:stream/consumers';
import { UsageError } from './command-line.ts';

export interface DocumentFile {
  readonly file: string;
  readonly text: string;
}

const EXTENSION = /\.(ya?ml|json)$/;

export const readDocuments = async (paths: readonly string[]): Promise<readonly DocumentFile[]> => {
  const documents: DocumentFile[] = [];
  for (const path of paths) documents.push(...(path === '-' ? [{ file: '<stdin>', text: await readAll(process.stdin) }] : readPath(path)));
  if (documents.length === 0) throw new UsageError(`no .yaml, .yml or .json file in ${paths.join(', ')}`);
  return documents;
};

const readPath = (path: string): readonly DocumentFile[] => {
  try {
    if (!statSync(path).isDirectory()) return [{ file: path, text: readFileSync(path, 'utf8') }];
    return readdirSync(path, { withFileTypes: true })
      .filter((entry) => !entry.name.startsWith('.') && (entry.isDirectory() || EXTENSION.test(entry.name)))
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .flatMap((entry) => readPath(join(path, entry.name)));
  } catch (error) {
    throw new UsageError(`cannot read ${path}: ${(error as NodeJS.ErrnoException).code ?? String(error)}`);
  }
};
