// What outlier detection knows of one host, and who of a cluster's workers ejects. All workers of a sidecar see the same
// (workers/shared-host-state.ts); with one worker these are plain numbers.

/** Counts of one kind of answer in a row. */
export const ROW = { any5xx: 0, gateway: 1, local: 2 } as const;
export type Row = (typeof ROW)[keyof typeof ROW];

/** Answers of one host within one interval. */
export const ANSWERS = { external: 0, local: 1 } as const;
export type Answers = (typeof ANSWERS)[keyof typeof ANSWERS];

/** What checking says of one host, as bits. */
export const FLAG_BIT = {
  /** Checked at least once. */
  checked: 1,
  failed: 2,
  degraded: 4,
  /** Asked to be left alone at once: counts in no share. */
  excluded: 8,
  timedOut: 16,
  /** By an answer to a request, not to a check. */
  degradedByAnswer: 32,
  /** It has had a connection of a request. */
  used: 64,
} as const;

export interface AnswerCount {
  readonly good: number;
  readonly all: number;
}

export interface HostState {
  readonly ejected: boolean;
  readonly ejectedAtMs: number;
  readonly ejections: number;
  /** FLAG_BITs. */
  readonly flags: number;
  /** Clears first, then sets. False: nothing has changed. */
  setFlags(set: number, clear: number): boolean;
  /** Connections to it, where a limit for each host asks. */
  readonly connections: number;
  /** False: it is ejected already. `grow`: the next ejection lasts longer. */
  eject(nowMs: number, grow: boolean): boolean;
  takeBack(nowMs: number): void;
  forgive(): void;
  /** One more of a kind in a row; answers how many. */
  next(row: Row): number;
  endRow(row: Row): void;
  answered(of: Answers, good: boolean): void;
  answers(of: Answers): AnswerCount;
  forgetAnswers(): void;
  /** The host has left, and no connection to it is left. */
  close(): void;
}

/** Who may be ejected is decided by one worker at a time. */
export interface Ejections {
  /** Gives ejected hosts another chance and judges shares: one worker does. */
  readonly judges: boolean;
  exclusively(act: () => boolean): boolean;
  /** The other workers are to look anew. */
  tell(): void;
  close(): void;
}

export class LocalHostState implements HostState {
  ejected = false;
  ejectedAtMs = 0;
  ejections = 0;
  flags = 0;
  connections = 0;
  #any5xx = 0;
  #gateway = 0;
  #local = 0;
  readonly #external = { good: 0, all: 0 };
  readonly #localOrigin = { good: 0, all: 0 };

  setFlags(set: number, clear: number): boolean {
    const before = this.flags;
    this.flags = (before & ~clear) | set;
    return this.flags !== before;
  }
  eject(nowMs: number, grow: boolean): boolean {
    if (this.ejected) return false;
    this.ejected = true;
    this.ejectedAtMs = nowMs;
    if (grow) this.ejections++;
    return true;
  }
  takeBack(nowMs: number): void {
    this.ejected = false;
    this.ejectedAtMs = nowMs;
    this.#any5xx = 0;
    this.#gateway = 0;
    this.#local = 0;
  }
  forgive(): void {
    this.ejections--;
  }
  next(row: Row): number {
    if (row === ROW.any5xx) return ++this.#any5xx;
    return row === ROW.gateway ? ++this.#gateway : ++this.#local;
  }
  endRow(row: Row): void {
    if (row === ROW.any5xx) this.#any5xx = 0;
    else if (row === ROW.gateway) this.#gateway = 0;
    else this.#local = 0;
  }
  answered(of: Answers, good: boolean): void {
    const count = of === ANSWERS.external ? this.#external : this.#localOrigin;
    count.all++;
    if (good) count.good++;
  }
  answers(of: Answers): AnswerCount {
    return of === ANSWERS.external ? this.#external : this.#localOrigin;
  }
  forgetAnswers(): void {
    for (const count of [this.#external, this.#localOrigin]) {
      count.good = 0;
      count.all = 0;
    }
  }
  close(): void {}
}

export class LocalEjections implements Ejections {
  readonly judges = true;
  exclusively(act: () => boolean): boolean {
    return act();
  }
  tell(): void {}
  close(): void {}
}
