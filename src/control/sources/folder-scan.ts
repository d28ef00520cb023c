// The configuration files below a folder, with what tells whether one has changed. Links are followed, hidden entries and
// other extensions are not looked at. Never reads a file's content.
import { type Dirent, readdirSync, type Stats, statSync } from 'node:fs';
import { join } from 'node:path';
import { CONFIG_DEPTH_MAX, CONFIG_FILES_MAX } from '../limits.ts';

export interface ScannedFile {
  readonly path: string;
  /** Differs whenever the content may differ. */
  readonly stamp: string;
  readonly bytes: number;
  readonly changedAtMs: number;
}

export interface Scan {
  readonly files: ReadonlyMap<string, ScannedFile>;
  readonly folders: readonly string[];
  /** The folder itself cannot be read, or holds too much. */
  readonly problem: string | undefined;
}

const EXTENSION = /\.(ya?ml|json)$/;

export const scanFolder = (root: string): Scan => {
  const files = new Map<string, ScannedFile>();
  const folders: string[] = [];
  const problem = walk(root, 0, files, folders, new Set());
  return { files: new Map([...files].sort(([a], [b]) => (a < b ? -1 : 1))), folders, problem };
};

/** `seen` holds the folders read so far by device and inode: a link back to one of them adds nothing and is left alone. */
const walk = (folder: string, depth: number, files: Map<string, ScannedFile>, folders: string[], seen: Set<string>): string | undefined => {
  const self = statOf(folder);
  const identity = `${self?.dev}:${self?.ino}`;
  if (self !== undefined && seen.has(identity)) return undefined;
  seen.add(identity);
  if (depth > CONFIG_DEPTH_MAX) return `${folder} is nested deeper than ${CONFIG_DEPTH_MAX} folders`;
  let entries: Dirent[];
  try {
    entries = readdirSync(folder, { withFileTypes: true });
  } catch (error) {
    // A folder below may vanish between two calls; the root must be there.
    return depth === 0 ? `cannot read ${folder}: ${(error as NodeJS.ErrnoException).code ?? String(error)}` : undefined;
  }
  folders.push(folder);
  for (const entry of entries) {
    if (entry.name.startsWith('.')) continue;
    const path = join(folder, entry.name);
    const stat = entry.isDirectory() || EXTENSION.test(entry.name) || entry.isSymbolicLink() ? statOf(path) : undefined;
    if (stat?.isDirectory()) {
      const problem = walk(path, depth + 1, files, folders, seen);
      if (problem !== undefined) return problem;
    } else if (stat?.isFile() && EXTENSION.test(entry.name)) {
      files.set(path, scanned(path, stat));
      if (files.size > CONFIG_FILES_MAX) return `${folder} holds more than ${CONFIG_FILES_MAX} configuration files`;
    }
  }
  return undefined;
};

/** One file alone; undefined when it is not there, or no file. */
export const scanFile = (path: string): ScannedFile | undefined => {
  const stat = statOf(path);
  return stat?.isFile() ? scanned(path, stat) : undefined;
};

const scanned = (path: string, stat: Stats): ScannedFile => ({
  path,
  stamp: `${stat.dev}:${stat.ino}:${stat.size}:${stat.mtimeMs}:${stat.ctimeMs}`,
  bytes: stat.size,
  changedAtMs: stat.mtimeMs,
});

const statOf = (path: string): Stats | undefined => {
  try {
    return statSync(path);
  } catch {
    return undefined;
  }
};
