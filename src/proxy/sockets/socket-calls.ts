// The kernel calls that make a listening socket: socket, setsockopt, bind. Made here, and not by the runtime, because a
// descriptor of our own is bound at once (a listener whose address is taken is refused, not reported later), takes every
// socket option, and can be handed to a successor. The caller owns what it gets. Never accepts, reads or writes.

import { closeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { isIPv6 } from 'node:net';
import { constants } from 'node:os';

export interface SocketOptionValue {
  readonly level: number;
  readonly name: number;
  readonly value: Uint8Array;
  /** Set once the address is taken. */
  readonly afterBind: boolean;
}

export interface SocketRequest {
  readonly kind: 'tcp' | 'udp' | 'unix';
  /** A literal address, or the path. */
  readonly host: string;
  readonly port: number;
  /** `::` that does not serve IPv4 too. */
  readonly ipv6Only: boolean;
  readonly reusePort: boolean;
  readonly options: readonly SocketOptionValue[];
}

/** `code` is the kernel's name for it (EADDRINUSE). */
export class SocketError extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

interface Calls {
  socket(domain: number, type: number, protocol: number): number;
  setsockopt(fd: number, level: number, option: number, value: Uint8Array, length: number): number;
  bind(fd: number, address: Uint8Array, length: number): number;
  listen(fd: number, backlog: number): number;
  fcntl(fd: number, command: number, value: number): number;
  getsockname(fd: number, address: Uint8Array, length: Uint8Array): number;
  errno(): number;
}

interface BunFfi {
  readonly FFIType: { readonly i32: number; readonly u32: number; readonly ptr: number };
  readonly read: { i32(pointer: number, offset: number): number };
  dlopen(
    path: string,
    symbols: { readonly [name: string]: { readonly args: readonly number[]; readonly returns: number } },
  ): { readonly symbols: Omit<Calls, 'errno'> & { __errno_location(): number } };
}

const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_FLAGS = 0o4000 | 0o2000000; // non-blocking, closed on exec
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_REUSEPORT = 15;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;
const F_DUPFD_CLOEXEC = 1030;

let loaded: Calls | undefined;
const load = (): Calls => {
  if (loaded !== undefined) return loaded;
  const require = createRequire(import.meta.url);
  if (process.versions['bun'] !== undefined) {
    const { dlopen, FFIType, read } = require('bun:ffi') as BunFfi;
    const { i32, u32, ptr } = FFIType;
    const { symbols } = dlopen('libc.so.6', {
      socket: { args: [i32, i32, i32], returns: i32 },
      setsockopt: { args: [i32, i32, i32, ptr, u32], returns: i32 },
      bind: { args: [i32, ptr, u32], returns: i32 },
      listen: { args: [i32, i32], returns: i32 },
      fcntl: { args: [i32, i32, i32], returns: i32 },
      getsockname: { args: [i32, ptr, ptr], returns: i32 },
      __errno_location: { args: [], returns: ptr },
    });
    loaded = {
      socket: (domain, type, protocol) => symbols.socket(domain, type, protocol),
      setsockopt: (fd, level, option, value, length) => symbols.setsockopt(fd, level, option, value, length),
      bind: (fd, address, length) => symbols.bind(fd, address, length),
      listen: (fd, backlog) => symbols.listen(fd, backlog),
      fcntl: (fd, command, value) => symbols.fcntl(fd, command, value),
      getsockname: (fd, address, length) => symbols.getsockname(fd, address, length),
      errno: () => read.i32(symbols.__errno_location(), 0),
    };
  } else {
    const koffi = require('koffi') as typeof import('koffi');
    const library = koffi.load('libc.so.6');
    loaded = {
      socket: library.func('int socket(int, int, int)') as unknown as Calls['socket'],
      setsockopt: library.func('int setsockopt(int, int, int, void *, uint32_t)') as unknown as Calls['setsockopt'],
      bind: library.func('int bind(int, void *, uint32_t)') as unknown as Calls['bind'],
      listen: library.func('int listen(int, int)') as unknown as Calls['listen'],
      fcntl: library.func('int fcntl(int, int, int)') as unknown as Calls['fcntl'],
      getsockname: library.func('int getsockname(int, _Out_ uint8_t *, _Inout_ uint8_t *)') as unknown as Calls['getsockname'],
      errno: () => koffi.errno(),
    };
  }
  return loaded;
};

export const int32 = (value: number): Uint8Array => {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setInt32(0, value, true);
  return bytes;
};

/** A bound descriptor that does not listen yet. Throws SocketError. */
export const boundSocket = (request: SocketRequest): number => {
  const calls = load();
  const v6 = request.kind !== 'unix' && isIPv6(request.host);
  const domain = request.kind === 'unix' ? AF_UNIX : v6 ? AF_INET6 : AF_INET;
  const fd = calls.socket(domain, (request.kind === 'udp' ? SOCK_DGRAM : SOCK_STREAM) | SOCK_FLAGS, 0);
  if (fd < 0) throw failure(calls.errno(), request);
  const set = (level: number, name: number, value: Uint8Array): void => {
    if (calls.setsockopt(fd, level, name, value, value.length) !== 0) refuse(fd, calls.errno(), request);
  };
  if (request.kind === 'tcp') set(SOL_SOCKET, SO_REUSEADDR, int32(1));
  if (request.reusePort) set(SOL_SOCKET, SO_REUSEPORT, int32(1));
  if (v6) set(IPPROTO_IPV6, IPV6_V6ONLY, int32(request.ipv6Only ? 1 : 0));
  for (const { level, name, value, afterBind } of request.options) if (!afterBind) set(level, name, value);
  const address = v6
    ? address6(request.host, request.port)
    : request.kind === 'unix'
      ? path(request)
      : address4(request.host, request.port);
  if (calls.bind(fd, address, address.length) !== 0) refuse(fd, calls.errno(), request);
  for (const { level, name, value, afterBind } of request.options) if (afterBind) set(level, name, value);
  return fd;
};

/** The same socket under another number; -1 when there is none left. */
export const duplicate = (fd: number): number => load().fcntl(fd, F_DUPFD_CLOEXEC, 0);

/** How many connections may wait at a socket that listens already: both runtimes give one that they did not make 511. */
export const setBacklog = (fd: number, backlog: number): void => {
  load().listen(fd, backlog);
};

/** The port of a bound TCP socket; 0 when it cannot be told. */
export const boundPort = (fd: number): number => {
  const address = new Uint8Array(28);
  if (load().getsockname(fd, address, int32(address.length)) !== 0) return 0;
  return ((address[2] ?? 0) << 8) | (address[3] ?? 0);
};

const refuse = (fd: number, errno: number, request: SocketRequest): never => {
  closeSync(fd);
  throw failure(errno, request);
};

const REASONS: { readonly [code: string]: string } = {
  EADDRINUSE: 'Address already in use',
  EADDRNOTAVAIL: 'Cannot assign requested address',
  EACCES: 'Permission denied',
  EPERM: 'Operation not permitted',
  EMFILE: 'Too many open files',
  ENOENT: 'No such file or directory',
};

const failure = (errno: number, { kind, host, port }: SocketRequest): SocketError => {
  const code = Object.entries(constants.errno).find(([, value]) => value === errno)?.[0] ?? `errno ${errno}`;
  const where = kind === 'unix' ? host : host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
  return new SocketError(code, `cannot bind '${where}': ${REASONS[code] ?? code}`);
};

const address4 = (host: string, port: number): Uint8Array =>
  Uint8Array.of(AF_INET, 0, port >> 8, port & 255, ...host.split('.').map(Number), 0, 0, 0, 0, 0, 0, 0, 0);

const address6 = (host: string, port: number): Uint8Array => {
  const bytes = new Uint8Array(28);
  bytes.set([AF_INET6, 0, port >> 8, port & 255]);
  const [head = '', tail] = dotless(host.split('%')[0] ?? '').split('::');
  const groups = (text: string): number[] => (text === '' ? [] : text.split(':').map((g) => Number.parseInt(g, 16)));
  const front = groups(head);
  const back = groups(tail ?? '');
  const all = tail === undefined ? front : [...front, ...new Array<number>(8 - front.length - back.length).fill(0), ...back];
  all.forEach((group, i) => {
    bytes[8 + 2 * i] = group >> 8;
    bytes[9 + 2 * i] = group & 255;
  });
  return bytes;
};

/** `::ffff:1.2.3.4` with its last four bytes as two groups. */
const dotless = (host: string): string =>
  host.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, a: string, b: string, c: string, d: string) => {
    const group = (high: string, low: string): string => ((Number(high) << 8) | Number(low)).toString(16);
    return `${group(a, b)}:${group(c, d)}`;
  });

const PATH_BYTES_MAX = 107;

const path = ({ host }: SocketRequest): Uint8Array => {
  const text = Buffer.from(host.startsWith('@') ? `\0${host.slice(1)}` : `${host}\0`);
  if (text.length > PATH_BYTES_MAX + 1) throw new SocketError('ENAMETOOLONG', `the path of a socket is too long: ${host}`);
  return Uint8Array.of(AF_UNIX, 0, ...text);
};
