// Keeps small what the sidecar holds of the machine's memory. Starting takes code, pages of the runtime's program file and
// compiled functions that serving never needs again; the runtime would keep them. Once the start is over, and later whenever
// memory has grown and nothing is being served, they are given back. Works on Bun; on any other runtime it does nothing. It
// changes no result, and what is needed again comes back by itself: a page from the page cache, a function from its source.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Clock } from './clock.ts';

/** From ready to the first trim: the first requests have found their code by then. */
const FIRST_MS = 1500;
/** The runtime drops code when it is idle, with pages of its own program, and the first requests have theirs compiled: pages go after it. */
const PAGES_AFTER_MS = 2500;
/** Whoever has had traffic from the start has compiled what it needs by then: what compiled it goes, once, busy or not. */
const SETTLED_MS = 8_000;
/** How often it looks whether a quiet sidecar has grown. */
const LOOK_MS = 10_000;
/** After each so many looks without work it will not soon need the code it has compiled. Before, only garbage and pages are given back. */
const IDLE_LOOKS = 30;
/** Growth since the last trim that is worth one. */
const GROWTH_BYTES = 6 * 1024 * 1024;
/** While it starts, functions are compiled at this multiple of the usual counts: what runs a few times stays bytecode. */
const JIT_SCALE_AT_START = 8;

interface BunMemory {
  readonly shrink?: () => void;
  readonly gc?: (synchronous: boolean) => void;
  readonly unsafe?: { readonly setJITPolicy?: (scale: number) => void };
}
interface BunFfi {
  readonly FFIType: { readonly i32: number; readonly u64: number };
  dlopen(
    path: string,
    symbols: { readonly madvise: { readonly args: readonly number[]; readonly returns: number } },
  ): { readonly symbols: { readonly madvise: (start: bigint, length: bigint, advice: number) => number } };
}

const bun = (): BunMemory | undefined => (globalThis as { readonly Bun?: BunMemory }).Bun;

/** To be called first; `keepMemoryLow` ends it. */
export const compileLate = (): void => compileAt(JIT_SCALE_AT_START);

// Called on its owner: it is a method.
const compileAt = (scale: number): void => bun()?.unsafe?.setJITPolicy?.(scale);

/** From `ready` on. `served` is any count that moves while work is done. */
export const keepMemoryLow = (clock: Clock, served: () => number): void => {
  const { shrink, gc } = bun() ?? {};
  if (shrink === undefined || gc === undefined) return;
  clock.after(FIRST_MS, () => compileAt(1));
  let floor = 0;
  let seen = served();
  let quietLooks = 0;
  const grown = (): boolean => floor > 0 && process.memoryUsage.rss() > floor + GROWTH_BYTES;
  const trim = (): void => {
    shrink();
    clock.after(PAGES_AFTER_MS, pages);
  };
  const pages = (): void => {
    releaseProgramPages();
    floor = process.memoryUsage.rss();
  };
  const look = (): void => {
    const now = served();
    quietLooks = now === seen ? quietLooks + 1 : 0;
    seen = now;
    if (quietLooks > 0 && quietLooks % IDLE_LOOKS === 0 && grown()) trim();
    else if (quietLooks === 1 && grown()) {
      gc(true); // some 20 ms in which nothing is being served
      releaseProgramPages();
    }
    clock.after(LOOK_MS, look);
  };
  clock.after(FIRST_MS, trim);
  clock.after(SETTLED_MS, () => {
    if (grown()) pages();
  });
  clock.after(LOOK_MS, look);
};

const MADV_DONTNEED = 4;

/**
 * Unmaps the pages of program files that nobody wrote to: the file has them, and the page cache of the machine, so the next use
 * is a minor fault. A mapping with a private page (a relocation) is left alone.
 */
const releaseProgramPages = (): void => {
  try {
    const { dlopen, FFIType } = createRequire(import.meta.url)('bun:ffi') as BunFfi;
    const { i32, u64 } = FFIType;
    const { madvise } = dlopen('libc.so.6', { madvise: { args: [u64, u64, i32], returns: i32 } }).symbols;
    for (const [start, end] of cleanFileMappings(readFileSync('/proc/self/smaps', 'latin1'))) madvise(start, end - start, MADV_DONTNEED);
  } catch {
    // Another libc, or no /proc: memory stays as it is.
  }
};

/** Read-only private mappings of files of which every page is the file's own, from the text of /proc/PID/smaps. */
export const cleanFileMappings = (smaps: string): (readonly [start: bigint, end: bigint])[] => {
  const found: (readonly [bigint, bigint])[] = [];
  let candidate: readonly [bigint, bigint] | undefined;
  for (const line of smaps.split('\n')) {
    const head = /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ (\d+)/.exec(line);
    if (head) {
      const [, start = '', end = '', mode, inode] = head;
      const isFile = inode !== '0' && (mode === 'r-xp' || mode === 'r--p');
      candidate = isFile ? [BigInt(`0x${start}`), BigInt(`0x${end}`)] : undefined;
    } else if (candidate !== undefined && line.startsWith('Anonymous:')) {
      if (/^Anonymous:\s+0 kB$/.test(line)) found.push(candidate);
      candidate = undefined;
    }
  }
  return found;
};
