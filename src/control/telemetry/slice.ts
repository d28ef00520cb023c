// What happened in one span of time: a cell for each series that something happened on. Open slices are added to; closed ones are bytes
// (a few dozen per cell), read again by visiting. Pure.

import { BUCKETS } from '../../base/latency-buckets.ts';
import { Reader, Writer } from '../../xds/wire-format.ts';

export class Cell {
  requests = 0;
  errors = 0;
  bytesIn = 0;
  bytesOut = 0;
  opened = 0;
  closed = 0;
  sent = 0;
  received = 0;
  /** Of response times; undefined while there is none. */
  times: Float64Array | undefined = undefined;

  add(other: Cell): void {
    this.requests += other.requests;
    this.errors += other.errors;
    this.bytesIn += other.bytesIn;
    this.bytesOut += other.bytesOut;
    this.opened += other.opened;
    this.closed += other.closed;
    this.sent += other.sent;
    this.received += other.received;
    if (other.times === undefined) return;
    const times = this.histogram();
    for (let i = 0; i < BUCKETS; i++) times[i] = (times[i] ?? 0) + (other.times[i] ?? 0);
  }

  histogram(): Float64Array {
    this.times ??= new Float64Array(BUCKETS);
    return this.times;
  }

  time(bucket: number, count: number): void {
    const times = this.histogram();
    times[bucket] = (times[bucket] ?? 0) + count;
  }
}

export type Cells = Map<number, Cell>;

/** The cell of a series, made when it is not there. */
export const cellOf = (cells: Cells, id: number): Cell => {
  let cell = cells.get(id);
  if (cell === undefined) {
    cell = new Cell();
    cells.set(id, cell);
  }
  return cell;
};

/** Counts, and then buckets: a mask tells which numbers follow. */
const NUMBERS = ['requests', 'errors', 'bytesIn', 'bytesOut', 'opened', 'closed', 'sent', 'received'] as const;
const HAS_TIMES = 1 << NUMBERS.length;

export const freeze = (cells: Cells): Uint8Array => {
  const w = new Writer();
  w.varint(cells.size);
  for (const [id, cell] of cells) writeCell(w, id, cell);
  return w.finish();
};

const writeCell = (w: Writer, id: number, cell: Cell): void => {
  w.varint(id);
  let mask = cell.times === undefined ? 0 : HAS_TIMES;
  for (let i = 0; i < NUMBERS.length; i++) if (cell[NUMBERS[i] ?? 'requests'] > 0) mask |= 1 << i;
  w.varint(mask);
  for (let i = 0; i < NUMBERS.length; i++) if ((mask & (1 << i)) !== 0) w.varint(Math.round(cell[NUMBERS[i] ?? 'requests']));
  if (cell.times === undefined) return;
  let used = 0;
  for (const count of cell.times) if (count > 0) used++;
  w.varint(used);
  let before = 0;
  for (let i = 0; i < BUCKETS; i++) {
    const count = Math.round(cell.times[i] ?? 0);
    if (cell.times[i] === 0) continue;
    w.varint(i - before);
    w.varint(count);
    before = i;
  }
};

/** Throws WireError for other bytes. The cell is one and the same for every visit. */
export const visit = (bytes: Uint8Array, each: (id: number, cell: Cell) => void): void => {
  const r = new Reader(bytes);
  const cell = new Cell();
  const times = new Float64Array(BUCKETS);
  for (let left = r.varint(); left > 0; left--) {
    const id = r.varint();
    const mask = r.varint();
    for (let i = 0; i < NUMBERS.length; i++) cell[NUMBERS[i] ?? 'requests'] = (mask & (1 << i)) === 0 ? 0 : r.varint();
    cell.times = undefined;
    if ((mask & HAS_TIMES) !== 0) {
      times.fill(0);
      cell.times = times;
      let bucket = 0;
      for (let used = r.varint(); used > 0; used--) {
        bucket += r.varint();
        if (bucket >= BUCKETS) break;
        times[bucket] = r.varint();
      }
    }
    each(id, cell);
  }
};

export const addAll = (into: Cells, bytes: Uint8Array): void => visit(bytes, (id, cell) => cellOf(into, id).add(cell));
