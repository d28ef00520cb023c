// Counts of one load: what was sent, what came back and how late, what failed and when.
import type { Failure, LoadResult } from './load-result.ts';

const FAILURES_KEPT = 50;

export class Tally {
  readonly #name: string;
  #sent = 0;
  #succeeded = 0;
  #failed = 0;
  readonly #failures: Failure[] = [];
  readonly #withoutHosts: number[] = [];
  readonly #latencies: number[] = [];
  reconnects = 0;
  refused = 0;

  constructor(name: string) {
    this.#name = name;
  }

  send(): void {
    this.#sent++;
  }
  /** `dueAt` as performance.now() gives it: waiting for a connection counts. */
  succeed(dueAt: number): void {
    this.#succeeded++;
    this.#latencies.push(performance.now() - dueAt);
  }
  fail(reason: string): void {
    this.#failed++;
    if (this.#failures.length < FAILURES_KEPT) this.#failures.push({ at: Date.now(), reason });
  }
  noHosts(): void {
    this.#withoutHosts.push(Date.now());
  }
  get succeeded(): number {
    return this.#succeeded;
  }
  /** Without an answer yet. */
  get open(): number {
    return this.#sent - this.#succeeded - this.#failed - this.#withoutHosts.length;
  }

  result(): LoadResult {
    const sorted = this.#latencies.sort((a, b) => a - b);
    const at = (share: number): number =>
      Math.round((sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0) * 10) / 10;
    return {
      name: this.#name,
      sent: this.#sent,
      succeeded: this.#succeeded,
      failures: this.#failures,
      failed: this.#failed + Math.max(0, this.open),
      withoutHosts: this.#withoutHosts,
      reconnects: this.reconnects,
      refused: this.refused,
      p50Ms: at(0.5),
      p99Ms: at(0.99),
      longestMs: at(1),
    };
  }
}
