// Where access log lines go: a file, standard output or standard error. Lines are collected and written in one call at
// most a second later or at 64 KiB. A writer that does not keep up costs lines, never memory without bound: what
// does not fit is counted in `dropped`.
import { closeSync, openSync, write, writeSync } from 'node:fs';
import type { Clock } from '../clock.ts';

/** Written at once when this much is waiting. */
const FLUSH_BYTES = 64 * 1024;
/** A line waits no longer than this, unless the process is told otherwise. */
const FLUSH_MS = 1000;
/** More than this is not held for a slow writer. */
const QUEUE_BYTES_MAX = 8 * 1024 * 1024;

export class LogSink {
  dropped = 0;
  written = 0;
  readonly #path: string;
  readonly #clock: Clock;
  readonly #flushMs: number;
  #fd: number;
  #lines = '';
  #busy = false;
  #cancelTimer: (() => void) | undefined;
  #closed = false;

  /** Throws the system's error when the file cannot be opened. */
  constructor(path: string, clock: Clock, flushMs = FLUSH_MS) {
    this.#path = path;
    this.#clock = clock;
    this.#flushMs = flushMs;
    this.#fd = openLog(path);
  }

  write(line: string): void {
    if (this.#lines.length + line.length > QUEUE_BYTES_MAX || this.#closed) {
      this.dropped++;
      return;
    }
    this.#lines += line;
    this.written++;
    if (this.#busy) return;
    if (this.#lines.length >= FLUSH_BYTES) this.flush();
    else this.#cancelTimer ??= this.#clock.after(this.#flushMs, () => this.flush());
  }

  /** Starts writing what waits. */
  flush(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    if (this.#busy || this.#lines === '' || this.#closed) return;
    const bytes = Buffer.from(this.#lines);
    this.#lines = '';
    this.#busy = true;
    this.#writeAll(bytes);
  }

  /** Opens the file anew after it was moved away (log rotation). */
  reopen(): void {
    if (isStandard(this.#path) || this.#closed) return;
    const old = this.#fd;
    this.#fd = openLog(this.#path);
    if (this.#busy) this.#clock.after(FLUSH_MS, () => closeSync(old));
    else closeSync(old);
  }

  /** Writes the rest before it returns. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#cancelTimer?.();
    this.#writeNow(Buffer.from(this.#lines));
    this.#lines = '';
    if (!isStandard(this.#path) && !this.#busy) closeSync(this.#fd);
  }

  #writeAll(bytes: Buffer): void {
    write(this.#fd, bytes, (error, count) => {
      const rest = error ? bytes : bytes.subarray(count);
      if (error && error.code !== 'EAGAIN' && error.code !== 'EINTR') {
        this.dropped += countLines(bytes);
        this.#wrote();
      } else if (rest.length === 0) this.#wrote();
      else if (this.#closed) this.#writeNow(rest);
      else if (error) this.#clock.after(50, () => this.#writeAll(rest));
      else this.#writeAll(rest);
    });
  }

  #wrote(): void {
    this.#busy = false;
    if (this.#lines !== '' && !this.#closed) {
      if (this.#lines.length >= FLUSH_BYTES) this.flush();
      else this.#cancelTimer ??= this.#clock.after(this.#flushMs, () => this.flush());
    }
  }

  #writeNow(bytes: Buffer): void {
    try {
      let at = 0;
      while (at < bytes.length) at += writeSync(this.#fd, bytes, at);
    } catch {
      this.dropped += countLines(bytes); // the process is ending and its reader is gone or does not read
    }
  }
}

const isStandard = (path: string): boolean => path === '/dev/stdout' || path === '/dev/stderr';
/** The descriptors themselves: opening /dev/stdout anew fails when it is a socket. */
const openLog = (path: string): number => (path === '/dev/stdout' ? 1 : path === '/dev/stderr' ? 2 : openSync(path, 'a', 0o644));

const countLines = (bytes: Buffer): number => {
  let n = 0;
  for (const b of bytes) if (b === 10) n++;
  return n;
};
