// The few libc calls that netlink needs (socket, bind, send, recv, close, setns), through the runtime's own foreign-function interface:
// bun:ffi on Bun, koffi on Node. The only file of the capture that touches descriptors. Loaded on first use: a sidecar that never
// programs the kernel never pays for it. Every call is synchronous and never blocks (netlink answers before `send` returns).

import { createRequire } from 'node:module';

export interface Libc {
  socket(domain: number, type: number, protocol: number): number;
  bind(fd: number, address: Uint8Array, length: number): number;
  send(fd: number, bytes: Uint8Array, length: number, flags: number): number;
  recv(fd: number, bytes: Uint8Array, length: number, flags: number): number;
  close(fd: number): number;
  setns(fd: number, kind: number): number;
  getsockopt(fd: number, level: number, option: number, value: Uint8Array, length: Uint8Array): number;
  errno(): number;
}

/** glibc, then musl: the first that loads. */
const LIBRARIES = ['libc.so.6', 'libc.musl-x86_64.so.1', 'libc.musl-aarch64.so.1'];

let loaded: Libc | undefined;

export const libc = (): Libc => {
  loaded ??= process.versions['bun'] === undefined ? loadNode() : loadBun();
  return loaded;
};

const firstOf = <T>(open: (library: string) => T): T => {
  let last: unknown;
  for (const library of LIBRARIES) {
    try {
      return open(library);
    } catch (error) {
      last = error;
    }
  }
  throw new Error(`cannot load the C library: ${String(last)}`);
};

/** The part of bun:ffi that is used here. */
interface BunFfi {
  readonly FFIType: { readonly i32: number; readonly ptr: number; readonly u64: number; readonly i64_fast: number };
  readonly read: { i32(at: number, offset: number): number };
  dlopen<S extends string>(
    path: string,
    symbols: Readonly<Record<S, { readonly args: readonly number[]; readonly returns: number }>>,
  ): { readonly symbols: Readonly<Record<S, (...args: (number | Uint8Array)[]) => number>> };
}

const loadBun = (): Libc => {
  const { dlopen, read, FFIType } = createRequire(import.meta.url)('bun:ffi') as BunFfi;
  const { i32, ptr } = FFIType;
  const { symbols } = firstOf((library) =>
    dlopen(library, {
      socket: { args: [i32, i32, i32], returns: i32 },
      bind: { args: [i32, ptr, i32], returns: i32 },
      send: { args: [i32, ptr, FFIType.u64, i32], returns: FFIType.i64_fast },
      recv: { args: [i32, ptr, FFIType.u64, i32], returns: FFIType.i64_fast },
      close: { args: [i32], returns: i32 },
      setns: { args: [i32, i32], returns: i32 },
      getsockopt: { args: [i32, i32, i32, ptr, ptr], returns: i32 },
      __errno_location: { args: [], returns: ptr },
    }),
  );
  return {
    socket: (domain, type, protocol) => symbols.socket(domain, type, protocol),
    bind: (fd, address, length) => symbols.bind(fd, address, length),
    send: (fd, bytes, length, flags) => Number(symbols.send(fd, bytes, length, flags)),
    recv: (fd, bytes, length, flags) => Number(symbols.recv(fd, bytes, length, flags)),
    close: (fd) => symbols.close(fd),
    setns: (fd, kind) => symbols.setns(fd, kind),
    getsockopt: (fd, level, option, value, length) => symbols.getsockopt(fd, level, option, value, length),
    errno: () => {
      const at = symbols.__errno_location();
      return at ? read.i32(at, 0) : 0;
    },
  };
};

const loadNode = (): Libc => {
  const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
  const library = firstOf((name) => koffi.load(name));
  const call = (signature: string) => library.func(signature) as unknown as (...args: (number | Uint8Array)[]) => number;
  return {
    socket: call('int socket(int, int, int)'),
    bind: call('int bind(int, void *, int)'),
    send: call('int64_t send(int, void *, uint64_t, int)'),
    recv: call('int64_t recv(int, void *, uint64_t, int)'),
    close: call('int close(int)'),
    setns: call('int setns(int, int)'),
    getsockopt: call('int getsockopt(int, int, int, void *, void *)'),
    errno: () => koffi.errno(),
  };
};
