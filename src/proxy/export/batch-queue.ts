// What is to be told to a server, in batches: a bounded queue that fills as fast as it likes and empties as fast as the server takes it.
// One batch is on its way at a time; one that failed is tried again after a wait that grows, a few times, then given up. Whatever does not
// reach the server is counted. `push` never waits, never throws and sends nothing itself but a full batch.

import { type TimerWheel, WheelTimer } from '../timer-wheel.ts';
import { Backoff } from '../xds/backoff.ts';

/** A counter of the statistics, or anything like it. */
export interface Count {
  value: number;
}

export interface BatchCounts {
  /** Items that a server has taken. */
  readonly sent: Count;
  /** Items that found the queue full or closed. */
  readonly dropped: Count;
  /** Items of batches that were given up. */
  readonly failed: Count;
  /** Items that the server did not take of batches that it took. */
  readonly rejected: Count;
}

/** What became of a batch. `again` false: the server will never take it. `rejected`: of a batch that it took, so many items it did not. */
export type BatchDone = (ok: boolean, again?: boolean, rejected?: number) => void;

export interface BatchQueueOptions<T> {
  readonly wheel: TimerWheel;
  /** [0, 1) */
  readonly random: () => number;
  readonly counts: BatchCounts;
  /** Bounds of everything that waits, the batch on its way included. */
  readonly itemsMax: number;
  readonly bytesMax: number;
  /** A batch goes when it has so many items or bytes, or when its first has waited so long. */
  readonly batchItems: number;
  readonly batchBytes: number;
  readonly flushMs: number;
  /** How often one batch is sent before it is given up. */
  readonly attempts: number;
  readonly backoffMs?: number;
  readonly backoffMaxMs?: number;
  /** Calls `done` once, now or later; what it returns is called when nobody waits for that any more. */
  readonly send: (batch: readonly T[], done: BatchDone) => (() => void) | undefined;
}

interface Batch<T> {
  readonly items: T[];
  bytes: number;
}

const FLUSH = 0;
const AGAIN = 1;
const CLOSE = 2;
const BACKOFF_MS = 250;
const BACKOFF_MAX_MS = 10_000;

export class BatchQueue<T> {
  readonly #options: BatchQueueOptions<T>;
  readonly #backoff: Backoff;
  readonly #flushTimer = new WheelTimer(this, FLUSH);
  readonly #againTimer = new WheelTimer(this, AGAIN);
  readonly #closeTimer = new WheelTimer(this, CLOSE);
  #forming: Batch<T> = { items: [], bytes: 0 };
  readonly #ready: Batch<T>[] = [];
  #flying: Batch<T> | undefined;
  #attempts = 0;
  /** Of the call that is awaited: an older one's answer means nothing. */
  #call = 0;
  #cancel: (() => void) | undefined;
  #items = 0;
  #bytes = 0;
  #closing = false;
  #closed: (() => void)[] = [];

  constructor(options: BatchQueueOptions<T>) {
    this.#options = options;
    this.#backoff = new Backoff(options.random, options.backoffMs ?? BACKOFF_MS, options.backoffMaxMs ?? BACKOFF_MAX_MS);
  }

  /** Items that wait or are on their way. */
  get length(): number {
    return this.#items;
  }

  /** False: it was dropped, and counted. `bytes`: about what it holds. */
  push(item: T, bytes = 0): boolean {
    const { itemsMax, bytesMax, batchItems, batchBytes, counts, wheel, flushMs } = this.#options;
    if (this.#closing || this.#items >= itemsMax || this.#bytes + bytes > bytesMax) {
      counts.dropped.value++;
      return false;
    }
    const forming = this.#forming;
    forming.items.push(item);
    forming.bytes += bytes;
    this.#items++;
    this.#bytes += bytes;
    if (forming.items.length >= batchItems || forming.bytes >= batchBytes) this.#cut();
    else if (forming.items.length === 1) wheel.arm(this.#flushTimer, flushMs);
    return true;
  }

  /** What waits goes now. */
  flush(): void {
    if (this.#forming.items.length > 0) this.#cut();
  }

  /** Takes nothing more and sends what it has; what is not gone within `withinMs` is given up. */
  close(withinMs: number): Promise<void> {
    this.#closing = true;
    this.flush();
    return new Promise((resolve) => {
      this.#closed.push(resolve);
      if (this.#items === 0 || withinMs <= 0) {
        this.#end();
        return;
      }
      this.#options.wheel.arm(this.#closeTimer, withinMs);
      if (!this.#againTimer.armed) return;
      this.#options.wheel.disarm(this.#againTimer);
      this.#send();
    });
  }

  onTimer(kind: number): void {
    if (kind === FLUSH) this.flush();
    else if (kind === AGAIN) this.#send();
    else this.#end();
  }

  #cut(): void {
    this.#options.wheel.disarm(this.#flushTimer);
    this.#ready.push(this.#forming);
    this.#forming = { items: [], bytes: 0 };
    this.#next();
  }

  #next(): void {
    if (this.#flying !== undefined || this.#againTimer.armed) return;
    this.#flying = this.#ready.shift();
    this.#attempts = 0;
    if (this.#flying !== undefined) this.#send();
    else if (this.#closing && this.#items === 0) this.#end();
  }

  #send(): void {
    this.#flying ??= this.#ready.shift();
    const batch = this.#flying;
    if (batch === undefined) return;
    this.#attempts++;
    const call = ++this.#call;
    const done: BatchDone = (ok, again = true, rejected = 0) => {
      if (call !== this.#call || this.#flying !== batch) return;
      this.#call++;
      this.#cancel = undefined;
      this.#settle(batch, ok, again, Math.min(rejected, batch.items.length));
    };
    let cancel: (() => void) | undefined;
    try {
      cancel = this.#options.send(batch.items, done);
    } catch {
      done(false, false);
    }
    if (call === this.#call) this.#cancel = cancel;
  }

  #settle(batch: Batch<T>, ok: boolean, again: boolean, rejected: number): void {
    const { counts, attempts, wheel } = this.#options;
    if (!ok && again && this.#attempts < attempts && !this.#closing) {
      wheel.arm(this.#againTimer, this.#backoff.nextMs());
      return;
    }
    if (ok) {
      counts.sent.value += batch.items.length - rejected;
      counts.rejected.value += rejected;
    } else counts.failed.value += batch.items.length;
    this.#flying = undefined;
    this.#attempts = 0;
    this.#items -= batch.items.length;
    this.#bytes -= batch.bytes;
    // A server that takes nothing is not asked by each next batch at once.
    if (ok || !again) this.#backoff.reset();
    else if (!this.#closing) wheel.arm(this.#againTimer, this.#backoff.nextMs());
    this.#next();
  }

  #end(): void {
    this.#call++;
    this.#cancel?.();
    this.#cancel = undefined;
    this.#options.counts.failed.value += this.#items;
    this.#items = 0;
    this.#bytes = 0;
    this.#flying = undefined;
    this.#ready.length = 0;
    this.#forming = { items: [], bytes: 0 };
    for (const timer of [this.#flushTimer, this.#againTimer, this.#closeTimer]) this.#options.wheel.drop(timer);
    for (const resolve of this.#closed) resolve();
    this.#closed = [];
  }
}
