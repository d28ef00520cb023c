// Where access log lines go: a file, standard output or standard error. Lines are collected in one buffer and written in one
// call at most a second later or at 64 KiB (Envoy's file_flush_min_size_kb). A writer that does not keep up, a full disk or a reader that is gone cost lines,
// never memory without bound and never a wait: what does not fit or cannot be written is counted in `dropped`.
import { closeSync, constants, openSync, statSync, write, writeSync } from 'node:fs';
import { LineBuffer } from '../../plan/line-buffer.ts';
import type { Clock } from '../clock.ts';

/** Written at once when this much is waiting. */
const FLUSH_BYTES = 64 * 1024;
/** A line waits no longer than this, unless the process is told otherwise. */
const FLUSH_MS = 1000;
/** More than this is not held for a slow writer, by all workers together. */
const QUEUE_BYTES_MAX = 2 * 1024 * 1024;
/** A buffer that had to grow beyond this is not kept. */
const KEPT_BYTES_MAX = 4 * FLUSH_BYTES;
const FIRST_BYTES = 4096;
/** A pipe that is full is tried again after this. */
const RETRY_MS = 50;

/** Every sink of the process: an exit that nobody prepared loses no line. */
const open = new Set<LogSink>();
const writeAllLast = (): void => {
  for (const sink of open) sink.writeLast();
};

export class LogSink {
  /** Lines. */
  dropped = 0;
  written = 0;
  /** Writes, as Envoy counts them. */
  writesCompleted = 0;
  writesFailed = 0;
  flushedByTimer = 0;
  reopenFailed = 0;
  readonly #path: string;
  readonly #clock: Clock;
  readonly #flushMs: number;
  /** It may be a pipe, where longer writes of several writers mix. */
  readonly #inPieces: boolean;
  readonly #queueBytesMax: number;
  readonly #flushBytes: number;
  #fd: number;
  #lines = new LineBuffer(FIRST_BYTES);
  /** The other of the two buffers; undefined while it is being written. */
  #spare: LineBuffer | undefined;
  #busy = false;
  /** Half a line is in the file, and the other half was dropped. */
  #torn = false;
  #cancelTimer: (() => void) | undefined;
  #closed = false;
  readonly #ended = Promise.withResolvers<void>();
  /** Moved away while a write to them was under way. */
  readonly #oldFds: number[] = [];

  /** `workers`: so many of this process write to the same place. Throws the system's error when the file cannot be opened. */
  constructor(path: string, clock: Clock, flushMs = FLUSH_MS, workers = 1) {
    this.#inPieces = workers > 1 && isStandard(path);
    this.#queueBytesMax = Math.ceil(QUEUE_BYTES_MAX / workers);
    // Of many, each writes before it is full.
    this.#flushBytes = Math.min(FLUSH_BYTES, this.#queueBytesMax / 2);
    this.#path = path;
    this.#clock = clock;
    this.#flushMs = flushMs;
    this.#fd = openLog(path);
    if (open.size === 0) process.on('exit', writeAllLast);
    open.add(this);
  }

  /** Where the next line goes, to be followed by `lineWritten`; undefined: there is no room, and the line is counted as dropped. */
  line(): LineBuffer | undefined {
    if (this.#lines.length < this.#queueBytesMax && !this.#closed) return this.#lines;
    this.dropped++;
    return undefined;
  }

  lineWritten(): void {
    this.written++;
    if (this.#busy) return;
    if (this.#lines.length >= this.#flushBytes) this.flush();
    else this.#flushLater();
  }

  /** Bytes that wait. */
  get buffered(): number {
    return this.#lines.length;
  }

  /** Starts writing what waits. */
  flush(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    if (this.#busy || this.#lines.length === 0 || this.#closed) return;
    const full = this.#lines;
    this.#lines = this.#spare ?? new LineBuffer(FIRST_BYTES);
    this.#spare = undefined;
    this.#busy = true;
    const bytes = full.bytes.subarray(0, full.length);
    this.#writeAll(full, this.#torn ? Buffer.concat([LINE_BREAK, bytes]) : bytes, this.#torn);
  }

  /** Opens the file anew after it was moved away (log rotation). Answers why that failed: lines then go where they went. */
  reopen(): string {
    if (isStandard(this.#path) || this.#closed) return '';
    const old = this.#fd;
    try {
      this.#fd = openLog(this.#path);
    } catch (e) {
      this.reopenFailed++;
      return e instanceof Error ? e.message : String(e);
    }
    this.#torn = false;
    if (this.#busy) this.#oldFds.push(old);
    else closeSync(old);
    return '';
  }

  /** What waits is in the file when it returns, unless a write is under way: then when that is over and the promise resolves. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    open.delete(this);
    if (open.size === 0) process.off('exit', writeAllLast);
    this.#cancelTimer?.();
    if (!this.#busy) this.#end();
    await this.#ended.promise;
  }

  /** The process ends now: whatever can be written is. */
  writeLast(): void {
    if (!this.#closed && !this.#busy) this.#writeNow(this.#lines.bytes.subarray(0, this.#lines.length));
    this.#lines.length = 0;
  }

  #end(): void {
    this.#writeNow(this.#lines.bytes.subarray(0, this.#lines.length));
    this.#lines.length = 0;
    if (!isStandard(this.#path)) closeSync(this.#fd);
    this.#ended.resolve();
  }

  /** `torn`: the file ends within a line. */
  #writeAll(buffer: LineBuffer, bytes: Buffer, torn = false): void {
    write(this.#fd, this.#inPieces ? wholeLines(bytes) : bytes, (error, count) => {
      const rest = error ? bytes : bytes.subarray(count);
      if (error && error.code !== 'EAGAIN' && error.code !== 'EINTR') {
        this.writesFailed++;
        this.dropped += countLines(bytes) - (torn && bytes[0] === LINE_END ? 1 : 0);
        this.#torn = torn;
        this.#wrote(buffer);
      } else if (rest.length === 0) {
        this.writesCompleted++;
        this.#torn = false;
        this.#wrote(buffer);
      } else if (error === null || error === undefined) this.#writeAll(buffer, rest, count === 0 ? torn : bytes[count - 1] !== LINE_END);
      else if (this.#closed) {
        this.#writeNow(rest);
        this.#wrote(buffer);
      } else this.#clock.after(RETRY_MS, () => this.#writeAll(buffer, rest, torn));
    });
  }

  #wrote(buffer: LineBuffer): void {
    this.#busy = false;
    for (const fd of this.#oldFds.splice(0)) closeSync(fd);
    if (this.#closed) {
      this.#end();
      return;
    }
    buffer.length = 0;
    if (buffer.bytes.length <= KEPT_BYTES_MAX) this.#spare = buffer;
    if (this.#lines.length === 0) return;
    if (this.#lines.length >= this.#flushBytes) this.flush();
    else this.#flushLater();
  }

  #flushLater(): void {
    this.#cancelTimer ??= this.#clock.after(this.#flushMs, () => {
      this.flushedByTimer++;
      this.flush();
    });
  }

  #writeNow(bytes: Buffer): void {
    try {
      let at = 0;
      while (at < bytes.length) {
        const rest = bytes.subarray(at);
        at += writeSync(this.#fd, this.#inPieces ? wholeLines(rest) : rest);
      }
    } catch {
      this.dropped += countLines(bytes); // the process is ending and its reader is gone or does not read
    }
  }
}

/** A pipe takes so much at once or not at all (PIPE_BUF). */
const PIPE_BYTES = 4096;
const LINE_END = 10;
const LINE_BREAK = Buffer.from('\n');

/** As many of its lines as a pipe takes at once; the first one at least. */
export const wholeLines = (bytes: Buffer): Buffer => {
  if (bytes.length <= PIPE_BYTES) return bytes;
  const end = bytes.lastIndexOf(LINE_END, PIPE_BYTES - 1);
  const first = end < 0 ? bytes.indexOf(LINE_END) : end;
  return first < 0 ? bytes : bytes.subarray(0, first + 1);
};

const isStandard = (path: string): boolean => path === '/dev/stdout' || path === '/dev/stderr';
/** The descriptors themselves: opening /dev/stdout anew fails when it is a socket. */
const openLog = (path: string): number => (path === '/dev/stdout' ? 1 : path === '/dev/stderr' ? 2 : openFile(path));

/** Opening a named pipe to write alone waits for its reader, and so does a write that finds it full. */
const openFile = (path: string): number =>
  statSync(path, { throwIfNoEntry: false })?.isFIFO() === true
    ? openSync(path, constants.O_RDWR | constants.O_NONBLOCK)
    : openSync(path, 'a', 0o644);

const countLines = (bytes: Buffer): number => {
  let n = 0;
  for (const b of bytes) if (b === 10) n++;
  return n;
};
