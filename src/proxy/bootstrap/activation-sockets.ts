// Listening sockets that systemd (or anything that speaks its protocol) has opened for us: LISTEN_PID, LISTEN_FDS,
// LISTEN_FDNAMES. Their addresses are read from /proc. Takes the variables out of the environment.

import { readFileSync, readlinkSync } from 'node:fs';
import type { InheritedSocket } from '../listener/listening-sockets.ts';

const FIRST_FD = 3;
const FDS_MAX = 1024;
const TCP_LISTEN = '0A';
const UNIX_ACCEPTING = 0x10000;

export interface ActivationSockets {
  readonly sockets: readonly InheritedSocket[];
  /** Descriptors that are no listening TCP or Unix sockets. */
  readonly unusable: readonly number[];
}

export const activationSockets = (env: Record<string, string | undefined>, pid: number): ActivationSockets => {
  const { LISTEN_PID: forPid, LISTEN_FDS: count, LISTEN_FDNAMES: names } = env;
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) delete env[name];
  if (forPid !== String(pid) || count === undefined || !/^\d+$/.test(count)) return { sockets: [], unusable: [] };
  const given = (names ?? '').split(':');
  const listening = listeningSockets();
  const sockets: InheritedSocket[] = [];
  const unusable: number[] = [];
  for (let i = 0; i < Math.min(Number(count), FDS_MAX); i++) {
    const fd = FIRST_FD + i;
    const key = listening.get(inodeOf(fd));
    // Without a name of its own systemd calls one "unknown".
    if (key === undefined) unusable.push(fd);
    else sockets.push({ key, fd, name: given[i] ?? 'unknown' });
  }
  return { sockets, unusable };
};

const inodeOf = (fd: number): string => {
  try {
    return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/self/fd/${fd}`))?.[1] ?? '';
  } catch {
    return '';
  }
};

/** Keys by inode. */
const listeningSockets = (): ReadonlyMap<string, string> => {
  const found = new Map<string, string>();
  for (const file of ['tcp', 'tcp6'])
    for (const fields of rows(`/proc/self/net/${file}`)) {
      const [, local = '', , state] = fields;
      const inode = fields[9];
      if (state === TCP_LISTEN && inode !== undefined) found.set(inode, `tcp:${addressOf(local)}`);
    }
  for (const [, , , flags = '0', , , inode, path] of rows('/proc/self/net/unix'))
    if (inode !== undefined && path !== undefined && (Number.parseInt(flags, 16) & UNIX_ACCEPTING) !== 0) found.set(inode, `unix:${path}`);
  return found;
};

const rows = (file: string): string[][] => {
  try {
    return readFileSync(file, 'utf8')
      .split('\n')
      .slice(1)
      .map((line) => line.trim().split(/\s+/));
  } catch {
    return [];
  }
};

/** `0100007F:1F90`: words of four bytes as the machine has them, little end first. */
const addressOf = (text: string): string => {
  const [hex = '', port = '0'] = text.split(':');
  const bytes = Buffer.from(hex, 'hex');
  for (let at = 0; at < bytes.length; at += 4) bytes.subarray(at, at + 4).reverse();
  const number = Number.parseInt(port, 16);
  if (bytes.length === 4) return `${bytes.join('.')}:${number}`;
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(2 * i).toString(16));
  return `[${groups.join(':').replace(/(^|:)0(:0)+(:|$)/, '::')}]:${number}`;
};
