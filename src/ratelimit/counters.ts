// Where hits are counted: in memory for one server, in Redis for many.

export interface Hit {
  readonly key: string;
  /** Below zero: so many are given back. */
  readonly hits: number;
  /** The key is of no use after so many. */
  readonly expireSeconds: number;
}

export interface Counters {
  /** The counts with these hits in them, in the same order. Rejects, in bounded time, when nobody can say. */
  add(hits: readonly Hit[]): Promise<readonly number[]>;
  /** Whether it is there. */
  readonly ready: boolean;
  close(): Promise<void>;
}
