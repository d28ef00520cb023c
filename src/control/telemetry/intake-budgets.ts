// How much may be told, and how fast: by each teller, in bytes and in entries, and by all together. Tellers are remembered up to a bound;
// whoever was heard first is forgotten first. No clock of its own.
import { BURST_S, BYTES_PER_S, ENTRIES_PER_S, ENTRIES_PER_S_ALL, PROXIES_MAX } from './limits.ts';

class Budget {
  readonly #perS: number;
  #left: number;
  #atMs: number;

  constructor(perS: number, nowMs: number) {
    this.#perS = perS;
    this.#left = perS * BURST_S;
    this.#atMs = nowMs;
  }

  take(amount: number, nowMs: number): boolean {
    this.#left = Math.min(this.#perS * BURST_S, this.#left + (Math.max(0, nowMs - this.#atMs) / 1000) * this.#perS);
    this.#atMs = nowMs;
    if (amount > this.#left) return false;
    this.#left -= amount;
    return true;
  }
}

interface Own {
  readonly entries: Budget;
  readonly bytes: Budget;
}

export class IntakeBudgets {
  readonly #all: Budget;
  readonly #byTeller = new Map<string, Own>();

  constructor(nowMs: number) {
    this.#all = new Budget(ENTRIES_PER_S_ALL, nowMs);
  }

  /** So many bytes may be read. */
  bytes(teller: string, bytes: number, nowMs: number): boolean {
    return this.#of(teller, nowMs).bytes.take(bytes, nowMs);
  }

  /** One entry more may be taken; undefined: nobody knows yet who tells. */
  entry(teller: string | undefined, nowMs: number): boolean {
    return (teller === undefined || this.#of(teller, nowMs).entries.take(1, nowMs)) && this.#all.take(1, nowMs);
  }

  #of(teller: string, nowMs: number): Own {
    let found = this.#byTeller.get(teller);
    if (found === undefined) {
      if (this.#byTeller.size >= PROXIES_MAX) this.#byTeller.delete(this.#byTeller.keys().next().value ?? '');
      found = { entries: new Budget(ENTRIES_PER_S, nowMs), bytes: new Budget(BYTES_PER_S, nowMs) };
      this.#byTeller.set(teller, found);
    }
    return found;
  }
}
