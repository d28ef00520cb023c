// Follows a process that hands over to a successor of its own (hot restart): on an inherited pipe the successor says that it
// is the main process now. Successors are not our children, so that they are watched by pid and start time.

import type { Readable } from 'node:stream';
import { identify, isAlive, type ProcessIdentity, signal } from './process-identity.ts';

export interface SuccessionEvents {
  /** Another process is the main one now. */
  succeeded(identity: ProcessIdentity): void;
  /** A main process that was no child of ours is gone. */
  ended(): void;
}

const WATCH_MS = 100;
/** A child that has handed over may be gone before its successor has been heard. */
const LAST_WORDS_MS = 200;
const LINE_MAX = 200;

export class Succession {
  readonly #events: SuccessionEvents;
  /** Finish their last connections. */
  #earlier: ProcessIdentity[] = [];
  #main: ProcessIdentity;
  #watch: NodeJS.Timeout | undefined;
  #lastWord: () => void = () => {};
  readonly #silence = new Promise<void>((resolve) => {
    this.#lastWord = resolve;
  });

  constructor(first: ProcessIdentity, pipe: Readable, events: SuccessionEvents) {
    this.#main = first;
    this.#events = events;
    let held = '';
    pipe.on('data', (bytes: Buffer) => {
      const lines = (held + bytes.toString('latin1')).split('\n');
      held = (lines.pop() ?? '').slice(0, LINE_MAX);
      for (const line of lines) this.#heard(line);
    });
    pipe.on('error', () => undefined);
    // Everybody who could speak is gone.
    for (const event of ['end', 'close']) pipe.on(event, () => this.#lastWord());
  }

  /** Our child has ended: true when that was its end and not a handing over. */
  async childEnded(pid: number): Promise<boolean> {
    if (this.#main.pid === pid) {
      await Promise.race([this.#silence, pause(LAST_WORDS_MS)]);
      // A loop that was late has not looked at the pipe yet.
      await new Promise((resolve) => setImmediate(resolve));
    }
    return this.#main.pid === pid;
  }

  /** Ends those that only finish their connections; resolves when none is left. */
  async stopEarlier(graceMs: number): Promise<void> {
    for (const process of this.#earlier) signal(process, 'SIGTERM');
    const until = Date.now() + graceMs;
    while (this.#earlier.some(isAlive) && Date.now() < until) await pause(WATCH_MS / 2);
    for (const process of this.#earlier) signal(process, 'SIGKILL');
  }

  #heard(line: string): void {
    const pid = Number(/^MAINPID=(\d{1,9})$/.exec(line)?.[1]);
    const identity = Number.isInteger(pid) ? identify(pid) : undefined;
    if (identity === undefined || identity.pid === this.#main.pid) return;
    this.#earlier = [...this.#earlier.filter(isAlive), this.#main];
    this.#main = identity;
    this.#lastWord();
    this.#events.succeeded(identity);
    clearInterval(this.#watch);
    this.#watch = setInterval(() => {
      if (isAlive(this.#main)) return;
      clearInterval(this.#watch);
      this.#events.ended();
    }, WATCH_MS);
  }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
