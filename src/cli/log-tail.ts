// One log file read as lines, from its end or its beginning on, and further while it grows; through a rotation, too. Bounded: a line
// without an end is cut into pieces.
import { closeSync, openSync, readSync, statSync } from 'node:fs';

const CHUNK_BYTES = 64 * 1024;
const LINE_CHARS_MAX = 64 * 1024;

export class LogTail {
  readonly path: string;
  readonly #line: (text: string) => void;
  #at: number;
  #rest = '';
  #decoder = new TextDecoder('utf-8', { ignoreBOM: true });

  /** `lines`: of the end; undefined: all. */
  constructor(path: string, lines: number | undefined, line: (text: string) => void) {
    this.path = path;
    this.#line = line;
    this.#at = lines === undefined ? 0 : tailOffset(path, lines);
  }

  /** Gives on what has come since. */
  read(): void {
    const size = sizeOf(this.path);
    if (size < this.#at) {
      // Rotated: what was left of the older file has no end.
      this.flush();
      this.#at = 0;
    }
    if (size === this.#at) return;
    const fd = openSync(this.path, 'r');
    try {
      const chunk = Buffer.alloc(CHUNK_BYTES);
      while (this.#at < size) {
        const count = readSync(fd, chunk, 0, Math.min(chunk.length, size - this.#at), this.#at);
        if (count <= 0) break;
        this.#at += count;
        this.#take(this.#decoder.decode(chunk.subarray(0, count), { stream: true }));
      }
    } finally {
      closeSync(fd);
    }
  }

  /** What has no end of line yet. */
  flush(): void {
    if (this.#rest !== '') this.#line(this.#rest);
    this.#rest = '';
    this.#decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  }

  #take(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) this.#line(line);
    if (this.#rest.length > LINE_CHARS_MAX) this.flush();
  }
}

/** A file that is being rotated is not there for a moment. */
const sizeOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

const tailOffset = (path: string, lines: number): number => {
  const fd = openSync(path, 'r');
  try {
    const chunk = Buffer.alloc(CHUNK_BYTES);
    const size = statSync(path).size;
    let at = size;
    let seen = 0;
    while (at > 0) {
      const length = Math.min(chunk.length, at);
      at -= length;
      readSync(fd, chunk, 0, length, at);
      for (let i = length - 1; i >= 0; i--) {
        // The newline that ends the file ends the last line, it does not begin another.
        if (chunk[i] !== 10 || at + i === size - 1) continue;
        seen++;
        if (seen === lines) return at + i + 1;
      }
    }
    return lines === 0 ? size : 0;
  } finally {
    closeSync(fd);
  }
};
