// One process that is kept running: started, watched, started again after a pause that grows while it keeps failing, stopped in order.
// Owns its child and its log; says nothing to anybody but through the two callbacks.

import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { constants } from 'node:os';
import { Readable } from 'node:stream';
import { lastLine, openLog, rotateLog } from './log-file.ts';
import type { Command } from './namespaces.ts';
import { identify, type ProcessIdentity, signal } from './process-identity.ts';
import { Succession } from './succession.ts';

export interface Launch {
  readonly command: Command;
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Becomes descriptor 3 of the process; closed here after the start. */
  readonly inherited?: number;
}

/** On it a successor of the process says that it is the main one now. */
export const NOTIFY_FD = 4;

export interface ManagedProcessOptions {
  /** Also the log's name. */
  readonly name: string;
  readonly logs: string;
  /** Made anew for each start: tokens are for one process. */
  launch(): Promise<Launch>;
  started?(identity: ProcessIdentity): void;
  /** It may hand over to a successor of its own, which is then the one that is kept running. */
  readonly handsOver?: boolean;
  succeeded?(identity: ProcessIdentity): void;
  /** It ended without having been asked to. */
  ended?(reason: string): void;
}

const BACK_OFF_FIRST_MS = 100;
const BACK_OFF_MAX_MS = 10_000;
const STABLE_MS = 5_000;
const LOG_CHECK_MS = 5_000;

export class ManagedProcess {
  readonly #options: ManagedProcessOptions;
  #child: ChildProcess | undefined;
  #identity: ProcessIdentity | undefined;
  #stopping = false;
  #backOffMs = BACK_OFF_FIRST_MS;
  #restart: NodeJS.Timeout | undefined;
  #rotation: NodeJS.Timeout | undefined;
  #exited: Promise<void> = Promise.resolve();
  #succession: Succession | undefined;
  #endAdopted: () => void = () => {};
  restarts = 0;

  constructor(options: ManagedProcessOptions) {
    this.#options = options;
  }

  get identity(): ProcessIdentity | undefined {
    return this.#identity;
  }

  get running(): boolean {
    return this.#child !== undefined;
  }

  /** Resolves when the process has been started (not: is ready). Later starts happen by themselves. */
  async start(): Promise<void> {
    this.#rotation ??= setInterval(() => rotateLog(this.#options.logs, this.#options.name), LOG_CHECK_MS);
    this.#rotation.unref();
    try {
      await this.#launch();
    } catch (error) {
      this.#failed(error instanceof Error ? error.message : String(error));
    }
  }

  /** Asks it to end, insists after `graceMs`. Resolves when it is gone; it is not started again. */
  async stop(graceMs: number, first: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#restart);
    clearInterval(this.#rotation);
    const identity = this.#identity;
    if (this.#child === undefined || identity === undefined) return;
    signal(identity, first);
    // It may have handed over in this very moment.
    const insist = setTimeout(() => signal(this.#identity ?? identity, 'SIGKILL'), graceMs);
    await Promise.all([this.#exited, this.#succession?.stopEarlier(graceMs)]);
    clearTimeout(insist);
  }

  async #launch(): Promise<void> {
    const { command, env, cwd, inherited } = await this.#options.launch();
    if (this.#stopping) {
      if (inherited !== undefined) closeSync(inherited);
      return;
    }
    const [program = '', ...args] = command;
    const log = openLog(this.#options.logs, this.#options.name);
    // A session of its own: a terminal's Ctrl-C is for the supervisor, which stops the others in order.
    const child = spawn(program, args, {
      stdio: ['ignore', log, log, inherited ?? 'ignore', ...(this.#options.handsOver === true ? (['pipe'] as const) : [])],
      detached: true,
      env: { ...env },
      ...(cwd === undefined ? {} : { cwd }),
    });
    closeSync(log);
    if (inherited !== undefined) closeSync(inherited);
    this.#child = child;
    const startedAt = Date.now();
    this.#exited = new Promise((resolve) => {
      let over = false;
      const end = (reason: string): void => {
        if (over) return;
        over = true;
        const identity = this.#identity;
        this.#child = undefined;
        this.#identity = undefined;
        // Whatever it left behind in its group would hold its ports.
        if (identity !== undefined) killGroup(identity.pid);
        resolve();
        if (this.#stopping) return;
        if (Date.now() - startedAt >= STABLE_MS) this.#backOffMs = BACK_OFF_FIRST_MS;
        const said = reason.startsWith('exit code') ? lastLine(this.#options.logs, this.#options.name) : '';
        this.#failed(said === '' ? reason : `${reason}: ${said}`);
      };
      child.once('error', (error) => end(error.message));
      child.once('exit', (code, killer) => {
        const reason = killer === null ? `exit code ${code}${signalOf(code ?? 0)}` : `killed by ${killer}`;
        const { pid = 0 } = child;
        if (this.#succession === undefined) end(reason);
        else void this.#succession.childEnded(pid).then((ended) => ended && end(reason));
      });
      this.#endAdopted = () => end('its process ended');
    });
    const identity = child.pid === undefined ? undefined : identify(child.pid);
    this.#identity = identity;
    this.#follow(identity, child.stdio[NOTIFY_FD]);
    if (identity !== undefined) this.#options.started?.(identity);
  }

  #follow(identity: ProcessIdentity | undefined, pipe: unknown): void {
    this.#succession = undefined;
    if (identity === undefined || !(pipe instanceof Readable)) return;
    this.#succession = new Succession(identity, pipe, {
      succeeded: (next) => {
        this.#identity = next;
        if (this.#stopping) signal(next, 'SIGTERM');
        this.#options.succeeded?.(next);
      },
      ended: () => this.#endAdopted(),
    });
  }

  #failed(reason: string): void {
    if (this.#stopping) return;
    this.#options.ended?.(reason);
    const pause = this.#backOffMs;
    this.#backOffMs = Math.min(pause * 2, BACK_OFF_MAX_MS);
    this.#restart = setTimeout(() => {
      this.restarts++;
      void this.start(); // failures come back here
    }, pause);
  }
}

/** A shell says by its exit code which signal ended what it ran. */
const signalOf = (code: number): string => {
  const [name] = Object.entries(constants.signals).find(([, number]) => number === code - 128) ?? [];
  return name === undefined ? '' : ` (${name})`;
};

const killGroup = (leader: number): void => {
  try {
    process.kill(-leader, 'SIGKILL');
  } catch {
    // Empty already.
  }
};
