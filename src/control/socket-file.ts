// The file of a Unix socket that an earlier process left: removed before the next is bound. What is no socket is somebody's file or a link
// to one, named by mistake or planted: never removed.
import { lstatSync, rmSync } from 'node:fs';

/** Throws when something else is there. */
export const removeStaleSocket = (path: string): void => {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) throw new Error(`${path} is there and is no socket: name another path, or take it away`);
  rmSync(path, { force: true });
};
