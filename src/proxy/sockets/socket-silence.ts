// Bounds how long the kernel waits for a peer that no longer acknowledges anything: a host that fell silent (power, network, a
// namespace gone) sends no reset, and a request on its way there would wait for many minutes. A peer that lives, however slow its
// application, is not touched. Works through the runtime's own foreign-function interface, as original-destination.ts does.

import { createRequire } from 'node:module';
import type { Socket } from 'node:net';

type SetSockOpt = (fd: number, level: number, option: number, value: Uint8Array, length: number) => number;

const IPPROTO_TCP = 6;
const TCP_USER_TIMEOUT = 18;
const PROBE_AFTER_MS = 1000;

interface BunFfi {
  readonly FFIType: { readonly i32: number; readonly ptr: number };
  dlopen(
    path: string,
    symbols: { readonly setsockopt: { readonly args: readonly number[]; readonly returns: number } },
  ): { readonly symbols: { readonly setsockopt: SetSockOpt } };
}

let loaded: SetSockOpt | undefined;
const load = (): SetSockOpt => {
  if (loaded !== undefined) return loaded;
  const require = createRequire(import.meta.url);
  if (process.versions['bun'] !== undefined) {
    const { dlopen, FFIType } = require('bun:ffi') as BunFfi;
    const { i32, ptr } = FFIType;
    loaded = dlopen('libc.so.6', { setsockopt: { args: [i32, i32, i32, ptr, i32], returns: i32 } }).symbols.setsockopt;
  } else {
    const koffi = require('koffi') as typeof import('koffi');
    loaded = koffi.load('libc.so.6').func('int setsockopt(int, int, int, void *, int)') as unknown as SetSockOpt;
  }
  return loaded;
};

/** The connection fails when its peer acknowledges nothing for `silenceMs`. Best effort. */
export const boundSilence = (socket: Socket, silenceMs: number): void => {
  socket.setKeepAlive(true, PROBE_AFTER_MS);
  const handle = (socket as unknown as { _handle?: { fd?: number } })._handle;
  if (typeof handle?.fd !== 'number' || handle.fd < 0) return;
  try {
    const value = new Uint8Array(4);
    new DataView(value.buffer).setUint32(0, silenceMs, true);
    load()(handle.fd, IPPROTO_TCP, TCP_USER_TIMEOUT, value, 4);
  } catch {
    // No libc to call: keep-alive alone must do.
  }
};
