// Where a redirected connection was going (SO_ORIGINAL_DST), read from the kernel through the runtime's own foreign-function
// interface: bun:ffi on Bun, koffi on Node. The only file that touches a descriptor. Tests pass their own OriginalDestination.

import { createRequire } from 'node:module';
import type { Socket } from 'node:net';

export interface Destination {
  readonly ip: string;
  readonly port: number;
}

export interface OriginalDestination {
  /** undefined: not redirected, or the kernel does not say. */
  of(socket: Socket): Destination | undefined;
}

type GetSockOpt = (fd: number, level: number, option: number, value: Uint8Array, length: Uint8Array) => number;

const SOL_IP = 0;
const SOL_IPV6 = 41;
const SO_ORIGINAL_DST = 80; // IP6T_SO_ORIGINAL_DST has the same number

interface BunFfi {
  readonly FFIType: { readonly i32: number; readonly ptr: number };
  dlopen(
    path: string,
    symbols: { readonly getsockopt: { readonly args: readonly number[]; readonly returns: number } },
  ): { readonly symbols: { readonly getsockopt: GetSockOpt } };
}

let loaded: GetSockOpt | undefined;
const load = (): GetSockOpt => {
  if (loaded !== undefined) return loaded;
  const require = createRequire(import.meta.url);
  if (process.versions['bun'] !== undefined) {
    const { dlopen, FFIType } = require('bun:ffi') as BunFfi;
    const library = dlopen('libc.so.6', {
      getsockopt: { args: [FFIType.i32, FFIType.i32, FFIType.i32, FFIType.ptr, FFIType.ptr], returns: FFIType.i32 },
    });
    const call = library.symbols.getsockopt;
    loaded = (fd, level, option, value, length) => call(fd, level, option, value, length);
  } else {
    const koffi = require('koffi') as typeof import('koffi');
    const library = koffi.load('libc.so.6');
    loaded = library.func('int getsockopt(int, int, int, void *, void *)') as unknown as GetSockOpt;
  }
  return loaded;
};

// socket._handle.fd is not public API; both runtimes have it (pinned versions, held by a test).
const descriptorOf = (socket: Socket): number => {
  const handle = (socket as unknown as { _handle?: { fd?: number } })._handle;
  return typeof handle?.fd === 'number' ? handle.fd : -1;
};

const read4 = (bytes: Uint8Array): Destination => ({
  ip: `${bytes[4]}.${bytes[5]}.${bytes[6]}.${bytes[7]}`,
  port: ((bytes[2] ?? 0) << 8) | (bytes[3] ?? 0),
});

const read6 = (bytes: Uint8Array): Destination => {
  const groups: string[] = [];
  for (let at = 8; at < 24; at += 2) groups.push((((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0)).toString(16));
  return { ip: groups.join(':').replace(/(^|:)0(:0)+(:|$)/, '::'), port: ((bytes[2] ?? 0) << 8) | (bytes[3] ?? 0) };
};

export const kernelOriginalDestination: OriginalDestination = {
  of: (socket) => {
    const fd = descriptorOf(socket);
    if (fd < 0) return undefined;
    const call = load();
    const value = new Uint8Array(28);
    const length = new Uint8Array(4);
    const view = new DataView(length.buffer);
    const v6 = socket.remoteFamily === 'IPv6' && socket.localAddress?.startsWith('::ffff:') !== true;
    view.setUint32(0, v6 ? 28 : 16, true);
    if (call(fd, v6 ? SOL_IPV6 : SOL_IP, SO_ORIGINAL_DST, value, length) !== 0) return undefined;
    return v6 ? read6(value) : read4(value);
  },
};
