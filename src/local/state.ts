// The state folder of a local mesh: where everything lies, the lock, and run.json, the record by which `down`, `exec` and the next `up`
// find what runs. Written atomically. Never holds a token or key.

import { chmodSync, existsSync, linkSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { identify, isAlive, type ProcessIdentity } from './process-identity.ts';

export type ProcessKind = 'control-plane' | 'hub' | 'relay-hub' | 'relay-host' | 'namespace' | 'sidecar' | 'gateway' | 'application';

export interface RunProcess extends ProcessIdentity {
  readonly name: string;
  readonly kind: ProcessKind;
  /** Holder of the network and mount namespaces it runs in; absent for the host's. */
  readonly netnsPid?: number;
  readonly workload?: string;
  readonly namespace?: string;
  readonly address?: string;
}

export interface RunRecord {
  readonly version: 1;
  readonly supervisor: ProcessIdentity;
  readonly directory: string;
  readonly state: 'starting' | 'ready' | 'stopping';
  readonly proxy: 'skein' | 'envoy';
  readonly privilege: unknown;
  /** What people should know about how it runs: "applications run as root …". */
  readonly notes: readonly string[];
  readonly addresses: readonly { readonly url: string; readonly target: string }[];
  /** Replicas that were not ready when the start had waited long enough. */
  readonly notReady: readonly string[];
  readonly processes: readonly RunProcess[];
}

export interface StatePaths {
  readonly root: string;
  readonly adminSocket: string;
  readonly xdsSocket: string;
  readonly runFile: string;
  readonly lockFile: string;
  readonly logs: string;
  readonly run: string;
  readonly hubSocket: string;
  readonly hostSocket: string;
}

/** `--state`, SKEIN_STATE, or the user's own state folder. */
export const stateFolder = (flag: string | undefined, env: Readonly<Record<string, string | undefined>>): string =>
  resolve(flag ?? env['SKEIN_STATE'] ?? join(env['XDG_STATE_HOME'] ?? join(env['HOME'] ?? homedir(), '.local', 'state'), 'skein'));

export const statePaths = (root: string): StatePaths => ({
  root,
  adminSocket: join(root, 'admin.sock'),
  xdsSocket: join(root, 'xds.sock'),
  runFile: join(root, 'run.json'),
  lockFile: join(root, 'lock'),
  logs: join(root, 'logs'),
  run: join(root, 'run'),
  hubSocket: join(root, 'run', 'hub.sock'),
  hostSocket: join(root, 'run', 'host.sock'),
});

// The kernel's limit for socket paths is 108 bytes with the closing zero; the longest of ours is run/<replica>/<name>.sock.
const ROOT_BYTES_MAX = 60;

export const createState = (paths: StatePaths): void => {
  if (Buffer.byteLength(paths.root) > ROOT_BYTES_MAX) {
    throw new Error(
      `the state folder's path is too long for Unix sockets (more than ${ROOT_BYTES_MAX} bytes): choose a shorter one with --state`,
    );
  }
  refuseForeign(paths.root);
  mkdirSync(paths.root, { recursive: true, mode: 0o700 });
  // Applications may run as another user and must not read what lies here; their own files lie elsewhere.
  chmodSync(paths.root, 0o700);
  mkdirSync(paths.logs, { recursive: true });
  mkdirSync(paths.run, { recursive: true });
};

const OWN_ENTRIES: ReadonlySet<string> = new Set(['logs', 'run', 'run.json', 'lock', 'ca', 'control-plane.lock']);

/** `--state /tmp` or a home folder would be closed to everybody else and emptied of what has our names. */
const refuseForeign = (root: string): void => {
  const entries = existsSync(root) ? readdirSync(root) : [];
  if (entries.length === 0 || entries.some((entry) => OWN_ENTRIES.has(entry))) return;
  throw new Error(`${root} holds other things and is not a state folder: name an empty or new one with --state`);
};

export const readRun = (paths: StatePaths): RunRecord | undefined => {
  try {
    const record = JSON.parse(readFileSync(paths.runFile, 'utf8')) as RunRecord;
    return record.version === 1 ? record : undefined;
  } catch {
    return undefined;
  }
};

export const writeRun = (paths: StatePaths, record: RunRecord): void => {
  const temporary = `${paths.runFile}.${process.pid}`;
  writeFileSync(temporary, `${JSON.stringify(record, null, 1)}\n`, { mode: 0o600 });
  renameSync(temporary, paths.runFile);
};

/** One supervisor a state folder. Throws naming the one that runs. */
export const takeLock = (paths: StatePaths): void => {
  const self = identify(process.pid);
  if (self === undefined) throw new Error('/proc is not mounted');
  const own = `${paths.lockFile}.${process.pid}`;
  writeFileSync(own, JSON.stringify(self), { mode: 0o600 });
  try {
    for (let attempt = 0; attempt < 3; attempt++) {
      try {
        // A link is made with its content or not at all: nobody ever reads a lock that is being written.
        linkSync(own, paths.lockFile);
        return;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
        const holder = lockHolder(paths);
        if (holder !== undefined) {
          throw new Error(
            `a mesh already runs from ${paths.root} (supervisor ${holder.pid}): \`skein down\` stops it, --state starts another`,
          );
        }
        rmSync(paths.lockFile, { force: true });
      }
    }
  } finally {
    rmSync(own, { force: true });
  }
  throw new Error(`cannot lock ${paths.lockFile}`);
};

/** The supervisor that holds the folder, also one that has not written run.json yet; undefined when it is gone. */
export const lockHolder = (paths: StatePaths): ProcessIdentity | undefined => {
  const holder = readLock(paths);
  return holder !== undefined && isAlive(holder) ? holder : undefined;
};

/** A `skein control-plane` of this folder that runs, by its lock (`pid start`); after a sweep it is one that no `skein up` started. */
export const controlPlaneHolder = (paths: StatePaths): ProcessIdentity | undefined => {
  try {
    const [pid, startTime] = readFileSync(join(paths.root, 'control-plane.lock'), 'utf8').trim().split(' ').map(Number);
    const holder = pid === undefined || startTime === undefined ? undefined : { pid, startTime };
    return holder !== undefined && isAlive(holder) ? holder : undefined;
  } catch {
    return undefined;
  }
};

export const releaseLock = (paths: StatePaths): void => {
  if (readLock(paths)?.pid === process.pid) rmSync(paths.lockFile, { force: true });
};

const readLock = (paths: StatePaths): ProcessIdentity | undefined => {
  try {
    return JSON.parse(readFileSync(paths.lockFile, 'utf8')) as ProcessIdentity;
  } catch {
    return undefined;
  }
};
