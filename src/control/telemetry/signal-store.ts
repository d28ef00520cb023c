// A day of golden signals in memory: three rings of closed slices, 10 s for 15 minutes, 1 minute for 3 hours and 5 minutes for 24 hours.
// What happens is added to the open slice of 10 s; when that closes it goes into the open minute, and that into the open five. A look
// back takes the finest ring that reaches so far. No clock of its own: whoever adds or looks says what time it is.
import { KEPT_MS, SLICE_BYTES_MAX } from './limits.ts';
import { type SeriesKey, SeriesTable } from './series-table.ts';
import { addAll, type Cell, type Cells, cellOf, freeze } from './slice.ts';

interface Level {
  readonly stepMs: number;
  readonly keptMs: number;
  /** Oldest first. */
  readonly closed: { readonly atMs: number; readonly bytes: Uint8Array }[];
  open: Cells;
  openAtMs: number;
}

const level = (stepMs: number, keptMs: number): Level => ({ stepMs, keptMs, closed: [], open: new Map(), openAtMs: 0 });

export interface ClosedSlice {
  readonly atMs: number;
  readonly cells: Cells;
}

export interface Look {
  /** Of the oldest slice that is in it. */
  readonly fromMs: number;
  readonly cells: Cells;
  /** Nothing of the time asked for is missing: it was counting all along, and dropped nothing. */
  readonly complete: boolean;
}

export class SignalStore {
  readonly table: SeriesTable = new SeriesTable();
  readonly #fine = level(10_000, 15 * 60_000);
  readonly #middle = level(60_000, 3 * 3600_000);
  readonly #coarse = level(5 * 60_000, KEPT_MS);
  readonly #levels = [this.#fine, this.#middle, this.#coarse];
  #bytes = 0;
  /** Since when it has been counting, a restart with what was on disk included. */
  #sinceMs: number;
  /** Of the finest ring: what came from disk is in minutes. */
  #fineSinceMs: number;
  #forgotten = 0;
  /** Told of every minute that is over. */
  onMinute: (slice: ClosedSlice) => void = () => undefined;

  constructor(nowMs: number) {
    this.#sinceMs = nowMs;
    this.#fineSinceMs = nowMs;
    for (const l of this.#levels) l.openAtMs = alignedTo(nowMs, l.stepMs);
  }

  /** Bytes of closed slices. */
  get bytes(): number {
    return this.#bytes;
  }

  get sinceMs(): number {
    return this.#sinceMs;
  }

  /** The open cell of a series. Not to be kept beyond the call. */
  cell(key: SeriesKey, owner: string, nowMs: number): Cell {
    this.turn(nowMs);
    return cellOf(this.#fine.open, this.table.id(key, owner, nowMs));
  }

  /** Closes what is over. */
  turn(nowMs: number): void {
    if (nowMs < this.#fine.openAtMs + this.#fine.stepMs) return;
    this.#turn(0, nowMs);
    this.#expire(nowMs);
  }

  /** A minute as it was on disk, in the order of time; before anything else is added. */
  restore(atMs: number, cells: Iterable<readonly [SeriesKey, Cell]>, nowMs: number): void {
    if (atMs < nowMs - KEPT_MS) return;
    this.#sinceMs = Math.min(this.#sinceMs, atMs);
    const minute: Cells = new Map();
    for (const [key, cell] of cells) cellOf(minute, this.table.id(key, '', atMs)).add(cell);
    const bytes = freeze(minute);
    if (atMs >= nowMs - this.#middle.keptMs) this.#close(this.#middle, atMs, bytes);
    const five = alignedTo(atMs, this.#coarse.stepMs);
    if (five === this.#coarse.openAtMs) {
      addAll(this.#coarse.open, bytes);
      return;
    }
    const last = this.#coarse.closed.at(-1);
    if (last === undefined || last.atMs !== five) {
      this.#close(this.#coarse, five, bytes);
      return;
    }
    const merged: Cells = new Map();
    addAll(merged, last.bytes);
    addAll(merged, bytes);
    this.#coarse.closed.pop();
    this.#bytes -= last.bytes.length;
    this.#close(this.#coarse, five, freeze(merged));
  }

  /** Everything of the last so many milliseconds, and at most a step more. */
  look(windowMs: number, nowMs: number): Look {
    this.turn(nowMs);
    const asked = nowMs - windowMs;
    const reaches = (l: Level): boolean => windowMs <= l.keptMs && (l !== this.#fine || asked >= this.#fineSinceMs);
    // While all that there is was counted here, the finest ring has the whole of it.
    const youngest = this.#fineSinceMs <= this.#sinceMs && nowMs - this.#sinceMs <= this.#fine.keptMs;
    const found = youngest ? 0 : Math.max(0, [reaches(this.#fine), reaches(this.#middle), true].indexOf(true));
    const chosen = this.#levels[found] ?? this.#coarse;
    const cells: Cells = new Map();
    let fromMs = chosen.openAtMs;
    for (let i = chosen.closed.length - 1; i >= 0; i--) {
      const slice = chosen.closed[i];
      if (slice === undefined || slice.atMs + chosen.stepMs <= asked) break;
      fromMs = slice.atMs;
      addAll(cells, slice.bytes);
    }
    for (const l of this.#levels.slice(0, found + 1)) for (const [id, cell] of l.open) cellOf(cells, id).add(cell);
    fromMs = Math.max(fromMs, Math.min(this.#sinceMs, nowMs));
    return { fromMs, cells, complete: this.#sinceMs <= asked + chosen.stepMs && this.#forgotten === 0 };
  }

  /** The minute that is under way, as if it were over: at the end of the process. */
  finish(nowMs: number): void {
    this.turn(nowMs);
    const minute: Cells = new Map();
    for (const l of [this.#fine, this.#middle]) for (const [id, cell] of l.open) cellOf(minute, id).add(cell);
    if (minute.size > 0) this.onMinute({ atMs: this.#middle.openAtMs, cells: minute });
  }

  #turn(index: number, nowMs: number): void {
    const l = this.#levels[index];
    if (l === undefined || nowMs < l.openAtMs + l.stepMs) return;
    const next = this.#levels[index + 1];
    if (l.open.size > 0) {
      const bytes = freeze(l.open);
      this.#close(l, l.openAtMs, bytes);
      if (l === this.#middle) this.onMinute({ atMs: l.openAtMs, cells: l.open });
      if (next !== undefined) for (const [id, cell] of l.open) cellOf(next.open, id).add(cell);
      l.open = new Map();
    }
    // What was open belongs to the coarser slice that was open with it: that one closes after.
    this.#turn(index + 1, nowMs);
    l.openAtMs = alignedTo(nowMs, l.stepMs);
  }

  #close(l: Level, atMs: number, bytes: Uint8Array): void {
    l.closed.push({ atMs, bytes });
    this.#bytes += bytes.length;
  }

  #expire(nowMs: number): void {
    for (const l of this.#levels) this.#drop(l, (atMs) => atMs + l.stepMs <= nowMs - l.keptMs);
    // Over the budget, the past goes first, and of it what is finest costs most.
    for (const l of this.#levels) {
      while (this.#bytes > SLICE_BYTES_MAX && l.closed.length > 1) {
        this.#forgotten++;
        const first = l.closed[0]?.atMs ?? 0;
        this.#drop(l, (atMs) => atMs <= first);
      }
    }
    this.table.forget(nowMs - KEPT_MS - this.#coarse.stepMs);
  }

  #drop(l: Level, over: (atMs: number) => boolean): void {
    let count = 0;
    for (const slice of l.closed) {
      if (!over(slice.atMs)) break;
      this.#bytes -= slice.bytes.length;
      count++;
    }
    if (count > 0) l.closed.splice(0, count);
  }
}

const alignedTo = (ms: number, step: number): number => Math.floor(ms / step) * step;
