// One process that is kept running: started, watched, started again after a pause that grows while it keeps failing, stopped in order.
// Owns its child and its log; says nothing to anybody but through the two callbacks.

import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { lastLine, openLog, rotateLog } from './log-file.ts';
import type { Command } from './namespaces.ts';
import { identify, type ProcessIdentity, signal } from './process-identity.ts';

export interface Launch {
  readonly command: Command;
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Becomes descriptor 3 of the process; closed here after the start. */
  readonly inherited?: number;
}

export interface ManagedProcessOptions {
  /** Also the log's name. */
  readonly name: string;
  readonly logs: string;
  /** Made anew for each start: tokens are for one process. */
  launch(): Promise<Launch>;
  started?(identity: ProcessIdentity): void;
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
    const insist = setTimeout(() => signal(identity, 'SIGKILL'), graceMs);
    await this.#exited;
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
      stdio: inherited === undefined ? ['ignore', log, log] : ['ignore', log, log, inherited],
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
      child.once('exit', (code, killer) => end(killer === null ? `exit code ${code}` : `killed by ${killer}`));
    });
    const identity = child.pid === undefined ? undefined : identify(child.pid);
    this.#identity = identity;
    if (identity !== undefined) this.#options.started?.(identity);
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

const killGroup = (leader: number): void => {
  try {
    process.kill(-leader, 'SIGKILL');
  } catch {
    // Empty already.
  }
};
