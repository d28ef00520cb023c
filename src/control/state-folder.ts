// The folder that holds keys, tokens and sockets: its owner's alone, also where somebody made it before with other rights. Whoever may
// write in it could put another socket or another root in place of ours.
import { chmodSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import type { Log } from '../base/log.ts';
import { err, ok, type Result } from '../base/result.ts';

const SHARED = 0o1000;
const OTHERS = 0o077;
const OTHERS_WRITE = 0o022;

/** What lies in the state folder of a control plane, or of a local mesh. */
const OWN: ReadonlySet<string> = new Set(['ca', 'audit', 'generation', 'objects', 'control-plane.lock', 'run', 'logs', 'run.json', 'lock']);

/** The error says why it is none to be used. */
export const openStateFolder = (folder: string, log: Log): Result<undefined, string> => {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const { mode } = statSync(folder);
  if ((mode & OTHERS) === 0) return ok(undefined);
  const entries = readdirSync(folder);
  const isOwn = (mode & SHARED) === 0 && (entries.length === 0 || entries.some((entry) => OWN.has(entry)));
  if (!isOwn) {
    if ((mode & OTHERS_WRITE) === 0) return ok(undefined);
    return err(`others may write in ${folder}, and it is no folder of its own: name an empty or new one with --state`);
  }
  try {
    chmodSync(folder, 0o700);
    log.warning('the state folder was open to others: now it is not', { folder, mode: (mode & 0o777).toString(8) });
  } catch {
    // A volume of somebody else, as containers have: its files and sockets are closed all the same.
    log.warning('the state folder is open to others, and not ours to close', { folder, mode: (mode & 0o777).toString(8) });
  }
  return ok(undefined);
};
