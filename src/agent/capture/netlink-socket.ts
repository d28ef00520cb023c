// One conversation with the kernel over AF_NETLINK, in this process's network namespace or another's. Synchronous: the kernel has queued
// every answer when `send` returns. Never leaves the calling thread in a foreign namespace: if it cannot return, the process ends.

import { closeSync, openSync } from 'node:fs';
import { type Libc, libc } from './netlink-libc.ts';
import { decodeReplies, encodeRequests, type NetlinkReply, type NetlinkRequest } from './netlink-message.ts';

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const MSG_DONTWAIT = 0x40;
const CLONE_NEWNET = 0x40000000;
const RECEIVE_BYTES = 256 * 1024;

export const NETLINK_ROUTE = 0;
export const NETLINK_NETFILTER = 12;

const ERRNO: Readonly<Record<number, string>> = {
  1: 'EPERM (not permitted)',
  2: 'ENOENT (no such object or kernel feature)',
  13: 'EACCES (not permitted)',
  16: 'EBUSY',
  17: 'EEXIST',
  19: 'ENODEV',
  22: 'EINVAL',
  93: 'EPROTONOSUPPORT',
  95: 'EOPNOTSUPP (the kernel lacks the feature)',
  97: 'EAFNOSUPPORT',
  101: 'ENETUNREACH',
};
export const EEXIST = 17;
export const ESRCH = 3;

export class NetlinkError extends Error {
  readonly errno: number;
  constructor(what: string, errno: number) {
    super(`${what}: ${ERRNO[errno] ?? `errno ${errno}`}`);
    this.errno = errno;
  }
}

export class NetlinkSocket {
  readonly #libc: Libc;
  readonly #fd: number;
  #sequence = 1;

  private constructor(calls: Libc, fd: number) {
    this.#libc = calls;
    this.#fd = fd;
  }

  /** `namespace`: a path such as /proc/PID/ns/net; this process's own when absent. */
  static open(protocol: number, namespace?: string): NetlinkSocket {
    const calls = libc();
    const fd = namespace === undefined ? openHere(calls, protocol) : inNamespace(calls, namespace, () => openHere(calls, protocol));
    return new NetlinkSocket(calls, fd);
  }

  /** Sends the requests as one datagram and returns every reply; throws on the first refusal. */
  transact(requests: readonly NetlinkRequest[]): NetlinkReply[] {
    const first = this.#sequence;
    this.#sequence += requests.length;
    const bytes = encodeRequests(requests, first);
    if (this.#libc.send(this.#fd, bytes, bytes.length, 0) < 0) throw new NetlinkError('netlink send', this.#libc.errno());
    const replies = this.#drain();
    const refusal = replies.find((r) => r.error !== undefined && r.error !== 0);
    if (refusal?.error !== undefined) throw new NetlinkError(requests[refusal.sequence - first]?.what ?? 'netlink', refusal.error);
    return replies;
  }

  close(): void {
    this.#libc.close(this.#fd);
  }

  #drain(): NetlinkReply[] {
    const buffer = new Uint8Array(RECEIVE_BYTES);
    const replies: NetlinkReply[] = [];
    for (;;) {
      const count = this.#libc.recv(this.#fd, buffer, buffer.length, MSG_DONTWAIT);
      if (count <= 0) return replies;
      replies.push(...decodeReplies(buffer.slice(0, count)));
    }
  }
}

const openHere = (calls: Libc, protocol: number): number => {
  const fd = calls.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
  if (fd < 0) throw new NetlinkError('open a netlink socket', calls.errno());
  const address = new Uint8Array(12);
  address[0] = AF_NETLINK;
  if (calls.bind(fd, address, address.length) < 0) {
    const errno = calls.errno();
    calls.close(fd);
    throw new NetlinkError('bind a netlink socket', errno);
  }
  return fd;
};

// setns(CLONE_NEWNET) moves only the calling thread, and no other JavaScript runs between the two calls. A socket stays in the
// namespace it was made in.
const inNamespace = <T>(calls: Libc, path: string, run: () => T): T => {
  const home = openSync('/proc/thread-self/ns/net', 'r');
  try {
    const away = openSync(path, 'r');
    try {
      if (calls.setns(away, CLONE_NEWNET) < 0) throw new NetlinkError(`enter ${path}`, calls.errno());
      try {
        return run();
      } finally {
        if (calls.setns(home, CLONE_NEWNET) < 0) process.abort();
      }
    } finally {
      closeSync(away);
    }
  } finally {
    closeSync(home);
  }
};
