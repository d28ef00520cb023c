// The minutes of a day on disk: one file an hour, to which each minute is appended as one record with its length and a check sum, so that
// a crash costs the record that was being written and nothing else. A file names its series itself and can go without the others. What
// is too old or too much goes, whole files at a time. A disk that cannot be written costs minutes, which are counted, and stops nothing.
import { appendFile, mkdirSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { Reader, WireError, Writer } from '../../xds/wire-format.ts';
import { DISK_BYTES_MAX, KEPT_MS } from './limits.ts';
import { keyOfText, type SeriesKey, type SeriesTable } from './series-table.ts';
import type { ClosedSlice } from './signal-store.ts';
import { Cell, type Cells, freeze, visit } from './slice.ts';

const HOUR_MS = 3600_000;
const FILE = /^signals-(\d{13})\.bin$/;
const HEAD_BYTES = 8;
/** Minutes that wait for a disk that does not answer. */
const WAITING_MAX = 5;

export interface SliceFilesOptions {
  readonly folder: string;
  readonly failed: (problem: string) => void;
  /** All files together. */
  readonly bytesMax?: number;
}

export class SliceFiles {
  /** Minutes that are not on disk. */
  lost = 0;
  readonly #options: SliceFilesOptions;
  #hourMs = -1;
  /** Series that the file of this hour has named: id here → number there. */
  #named = new Map<number, number>();
  #waiting: { readonly path: string; readonly bytes: Uint8Array }[] = [];
  #busy = false;
  /** On disk or on the way there; undefined: not looked at yet. */
  #bytes: number | undefined;

  constructor(options: SliceFilesOptions) {
    this.#options = options;
  }

  /** Oldest first. A record that is broken ends its file. */
  read(nowMs: number, minute: (atMs: number, cells: Iterable<readonly [SeriesKey, Cell]>) => void): void {
    for (const { path, hourMs } of this.#files()) {
      if (hourMs + HOUR_MS < nowMs - KEPT_MS) rmSync(path, { force: true });
      else {
        const whole = readRecords(path, minute);
        // What is appended behind a torn record would never be read.
        if (whole < sizeOf(path)) truncate(path, whole);
      }
    }
  }

  /** Begins to write; the cells may change afterwards. */
  append({ atMs, cells }: ClosedSlice, table: SeriesTable, nowMs: number): void {
    const { path, bytes } = this.#record(atMs, cells, table, nowMs);
    if (!this.#fits(path, bytes.length, nowMs)) return;
    if (this.#waiting.length >= WAITING_MAX) {
      this.#lose('the disk does not keep up', 1);
      return;
    }
    this.#waiting.push({ path, bytes });
    this.#writeNext();
  }

  /** The last one, at the end of the process. */
  appendNow({ atMs, cells }: ClosedSlice, table: SeriesTable, nowMs: number): void {
    const last = this.#record(atMs, cells, table, nowMs);
    const fits = this.#fits(last.path, last.bytes.length, nowMs);
    // The one that is under way is written by the system; the same bytes must not be written again.
    const rest = this.#busy ? this.#waiting.slice(1) : this.#waiting;
    this.#waiting = [];
    this.#makeFolder();
    for (const { path, bytes } of fits ? [...rest, last] : rest) {
      try {
        writeFileSync(path, bytes, { flag: 'a', mode: 0o600 });
      } catch (error) {
        this.#lose(messageOf(error), 1);
      }
    }
  }

  #record(atMs: number, cells: Cells, table: SeriesTable, nowMs: number): { readonly path: string; readonly bytes: Uint8Array } {
    const hourMs = Math.floor(atMs / HOUR_MS) * HOUR_MS;
    const path = join(this.#options.folder, `signals-${String(hourMs).padStart(13, '0')}.bin`);
    if (hourMs !== this.#hourMs) {
      this.#hourMs = hourMs;
      // A file that another process began goes on with names of ours: a name that comes again stands for the same number anew.
      this.#named = new Map();
      this.#clean(nowMs);
    }
    const names = new Writer();
    let count = 0;
    for (const id of cells.keys()) {
      if (this.#named.has(id)) continue;
      const text = table.text(id);
      if (text === undefined) continue;
      this.#named.set(id, id);
      names.varint(id);
      names.string(text);
      count++;
    }
    const w = new Writer();
    w.varint(atMs);
    w.varint(count);
    w.raw(names.finish());
    w.raw(freeze(cells));
    return { path, bytes: withHead(w.finish()) };
  }

  #writeNext(): void {
    const [next] = this.#waiting;
    if (this.#busy || next === undefined) return;
    this.#busy = true;
    this.#makeFolder();
    appendFile(next.path, next.bytes, { mode: 0o600 }, (error) => {
      this.#busy = false;
      this.#waiting.shift();
      if (error) this.#lose(error.message, 1);
      this.#writeNext();
    });
  }

  #makeFolder(): void {
    try {
      mkdirSync(this.#options.folder, { recursive: true, mode: 0o700 });
    } catch {
      // The write says what is wrong.
    }
  }

  #lose(problem: string, minutes: number): void {
    this.lost += minutes;
    // The rest of this file would name series that are not in it.
    this.#named = new Map();
    this.#options.failed(problem);
  }

  /** Makes room for so much more: the oldest hours go, and never the one that is written; false: there is none. */
  #fits(path: string, bytes: number, nowMs: number): boolean {
    const most = this.#options.bytesMax ?? DISK_BYTES_MAX;
    if ((this.#bytes ?? most) + bytes > most) this.#clean(nowMs, bytes, path);
    if ((this.#bytes ?? 0) + bytes > most) {
      this.#lose(`this hour alone has more than the ${most} bytes that all may have`, 1);
      return false;
    }
    this.#bytes = (this.#bytes ?? 0) + bytes;
    return true;
  }

  #clean(nowMs: number, more = 0, writing = ''): void {
    const most = this.#options.bytesMax ?? DISK_BYTES_MAX;
    const waiting = this.#waiting.reduce((sum, { bytes }) => sum + bytes.length, 0);
    let left = more + waiting;
    let over = false;
    for (const { path, hourMs } of [...this.#files()].reverse()) {
      const bytes = sizeOf(path);
      over ||= hourMs + HOUR_MS < nowMs - KEPT_MS || left + bytes > most;
      if (over && path !== writing) rmSync(path, { force: true });
      else left += bytes;
    }
    this.#bytes = left - more;
  }

  /** Oldest first. */
  #files(): readonly { readonly path: string; readonly hourMs: number }[] {
    const { folder } = this.#options;
    const names = listFolder(folder);
    return names.flatMap((name) => {
      const hour = FILE.exec(name)?.[1];
      return hour === undefined ? [] : [{ path: join(folder, name), hourMs: Number(hour) }];
    });
  }
}

const listFolder = (folder: string): readonly string[] => {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
};

const sizeOf = (path: string): number => {
  try {
    return statSync(path).size;
  } catch {
    return 0;
  }
};

const truncate = (path: string, bytes: number): void => {
  try {
    truncateSync(path, bytes);
  } catch {
    // It stays as it is: its hour is over before long.
  }
};

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

const withHead = (payload: Uint8Array): Uint8Array => {
  const record = Buffer.alloc(HEAD_BYTES + payload.length);
  record.writeUInt32LE(payload.length, 0);
  record.writeUInt32LE(crc32(payload), 4);
  record.set(payload, HEAD_BYTES);
  return record;
};

/** Answers how many bytes are whole records. */
const readRecords = (path: string, minute: (atMs: number, cells: Iterable<readonly [SeriesKey, Cell]>) => void): number => {
  let file: Buffer;
  try {
    file = readFileSync(path);
  } catch {
    return 0;
  }
  const names = new Map<number, SeriesKey>();
  let at = 0;
  while (at + HEAD_BYTES <= file.length) {
    const length = file.readUInt32LE(at);
    const payload = file.subarray(at + HEAD_BYTES, at + HEAD_BYTES + length);
    if (payload.length < length || crc32(payload) !== file.readUInt32LE(at + 4)) return at;
    try {
      readRecord(payload, names, minute);
    } catch (error) {
      if (error instanceof WireError) return at;
      throw error;
    }
    at += HEAD_BYTES + length;
  }
  return at;
};

const readRecord = (
  payload: Uint8Array,
  names: Map<number, SeriesKey>,
  minute: (atMs: number, cells: Iterable<readonly [SeriesKey, Cell]>) => void,
): void => {
  const r = new Reader(payload);
  const atMs = r.varint();
  for (let left = r.varint(); left > 0; left--) {
    const id = r.varint();
    const key = keyOfText(r.string());
    if (key !== undefined) names.set(id, key);
  }
  const cells: [SeriesKey, Cell][] = [];
  visit(payload.subarray(r.pos), (id, cell) => {
    const key = names.get(id);
    if (key === undefined) return;
    // The one that is visited is used again.
    const own = new Cell();
    own.add(cell);
    cells.push([key, own]);
  });
  minute(atMs, cells);
};
