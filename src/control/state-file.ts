// Files of the state folder: written whole or not at all (temporary file, fsync, rename), readable by the owner only.
// A crash at any point leaves the old content or the new one, and at worst a `*.tmp` file that the next start removes.
import { createHash } from 'node:crypto';
import { closeSync, fsyncSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const TEMPORARY = '.tmp';
let sequence = 0;

/** Not durable: whole for every reader, but a power failure may bring back the old content. */
export const writeStateFile = (path: string, content: string | Uint8Array, { durable } = { durable: true }): void => {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  sequence += 1;
  const temporary = `${path}.${process.pid}.${sequence}${TEMPORARY}`;
  const fd = openSync(temporary, 'wx', 0o600);
  try {
    writeFileSync(fd, content);
    if (durable) fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(temporary, path);
  if (durable) syncFolder(dirname(path));
};

/** Leaves room for the ending and the mark of a temporary file below the 255 bytes of a file name. */
const NAME_BYTES_MAX = 200;

/** A file name for an object's name: itself where it fits, else its beginning and its hash. */
export const stateFileName = (name: string): string => {
  const encoded = encodeURIComponent(name);
  if (encoded.length <= NAME_BYTES_MAX) return `${encoded}.json`;
  return `${encoded.slice(0, NAME_BYTES_MAX / 2)}~${createHash('sha256').update(name).digest('hex')}.json`;
};

export const removeStateFile = (path: string): void => {
  rmSync(path, { force: true });
};

export interface StateFile {
  readonly path: string;
  readonly text: string;
}

/** Every file below `folder`, sorted by path; leftovers of interrupted writes are removed. */
export const readStateFolder = (folder: string): readonly StateFile[] => {
  const found: StateFile[] = [];
  for (const entry of listFolder(folder)) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) found.push(...readStateFolder(path));
    else if (entry.name.endsWith(TEMPORARY)) removeStateFile(path);
    else if (entry.isFile()) found.push({ path, text: readFileSync(path, 'utf8') });
  }
  return found.sort((a, b) => (a.path < b.path ? -1 : 1));
};

const listFolder = (folder: string) => {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
};

/** The rename itself survives a power loss only once the folder is on disk; file systems that refuse this are let be. */
const syncFolder = (folder: string): void => {
  try {
    const fd = openSync(folder, 'r');
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch {
    // The content is there for every reader of this machine all the same.
  }
};
