// Hot restart, the old process's side: starts a successor with the same command line, hands it every listening socket by
// inherited descriptor, and steps back only once the successor says that it listens on all of them with its configuration
// in force. A successor that does not get there in time is ended, and everything stays as it was. What the successor must
// know travels over the inherited channel, never in arguments, environment or logs. Holds no connection itself.

import { type ChildProcess, spawn } from 'node:child_process';
import type { Log } from '../../base/log.ts';
import type { ListeningSockets } from '../listener/listening-sockets.ts';
import { HANDOVER_VARIABLE, type HandoverMessage, type HeirMessage, readHeirMessage } from './handover.ts';

export interface HotRestartOptions {
  readonly epoch: number;
  /** False: it becomes so with `takeCharge`. */
  readonly inCharge: boolean;
  readonly sockets: ListeningSockets;
  /** The identity token, where it came by a descriptor that a successor cannot read again. */
  readonly token: () => string | undefined;
  /** Where a supervisor is told of a new main process; the successor inherits it under the same number. */
  readonly notifyFd: number | undefined;
  /** Processes before this one that may still serve their last connections. */
  readonly predecessors: readonly number[];
  readonly readyWithinMs: number;
  /** Why it cannot be done at all; ''. */
  readonly impossible: string;
  readonly log: Log;
  /** The successor serves: stop accepting, finish what runs, end. */
  readonly stepBack: () => void;
}

export interface HotRestartStatus {
  /** `taking over`: the process before is still in charge. */
  readonly state: 'taking over' | 'idle' | 'starting' | 'failed' | 'handed over';
  readonly epoch: number;
  readonly pid: number;
  /** Of the successor; 0 without one. */
  readonly successor: number;
  /** What it waits for, or why the last attempt came to nothing. */
  readonly reason: string;
}

/** More old processes than this are not left behind: they hold memory. */
const PREDECESSORS_MAX = 8;
const CONFIRMED_WITHIN_MS = 5_000;

export class HotRestart {
  readonly #options: HotRestartOptions;
  #state: HotRestartStatus['state'];
  #askedEarly = false;
  #reason = '';
  #child: ChildProcess | undefined;
  #timer: NodeJS.Timeout | undefined;
  #heirKeys: ReadonlySet<string> | undefined;
  #confirm: () => void = () => {};
  readonly #confirmed = new Promise<void>((resolve) => {
    this.#confirm = resolve;
  });

  constructor(options: HotRestartOptions) {
    this.#options = options;
    this.#state = options.inCharge ? 'idle' : 'taking over';
  }

  /** The process before has stepped back. */
  takeCharge(): void {
    this.#state = 'idle';
    if (this.#askedEarly) this.request();
  }

  get status(): HotRestartStatus {
    return {
      state: this.#state,
      epoch: this.#options.epoch,
      pid: process.pid,
      successor: this.#child?.pid ?? 0,
      reason: this.#reason,
    };
  }

  /** Begins; a second request while one is under way joins it. Answers why not, or ''. */
  request(): string {
    if (this.#state === 'starting') return '';
    if (this.#state === 'taking over') {
      this.#askedEarly = true;
      return '';
    }
    const refusal = this.#refusal();
    if (refusal !== '') {
      this.#options.log.warning('no hot restart', { reason: refusal });
      return refusal;
    }
    this.#start();
    return '';
  }

  /** Resolves when the successor is known to those who supervise us: sooner, our end would look like a crash. */
  async settled(): Promise<void> {
    if (this.#state !== 'handed over') return;
    await Promise.race([this.#confirmed, new Promise((resolve) => setTimeout(resolve, CONFIRMED_WITHIN_MS))]);
  }

  /** The process ends: a successor that has not taken over ends too. */
  abort(): void {
    if (this.#state === 'starting') this.#fail('this process was stopped');
  }

  #refusal(): string {
    const { impossible, predecessors } = this.#options;
    if (impossible !== '') return impossible;
    if (this.#state === 'handed over') return `process ${this.#child?.pid ?? 0} has taken over`;
    const alive = predecessors.filter(runs).length;
    return alive < PREDECESSORS_MAX ? '' : `${alive} earlier processes still finish their connections`;
  }

  #start(): void {
    const { sockets, token, notifyFd, predecessors, epoch, readyWithinMs, log } = this.#options;
    this.#state = 'starting';
    this.#reason = 'the successor starts';
    this.#heirKeys = undefined;
    const open = sockets.open;
    const layout = descriptors(
      notifyFd,
      open.map((s) => s.fd),
    );
    const handover: HandoverMessage = {
      version: 1,
      epoch: epoch + 1,
      predecessors: [...predecessors.filter(runs), process.pid],
      token: token(),
      sockets: open.map(({ key, name }, i) => ({ key, fd: layout.places[i] ?? -1, ...(name === undefined ? {} : { name }) })),
    };
    const { LISTEN_FDS: _fds, LISTEN_PID: _pid, LISTEN_FDNAMES: _names, ...environment } = process.env;
    const [program, ...args] = commandLine();
    const child = spawn(program, args, {
      // A session of its own: whoever ends this process's group must not end its successor.
      detached: true,
      stdio: layout.stdio,
      env: { ...environment, [HANDOVER_VARIABLE]: '1' },
    });
    this.#child = child;
    log.info('hot restart: the successor starts', { pid: child.pid ?? 0, epoch: epoch + 1 });
    child.on('error', (error) => this.#over(child, error.message));
    child.on('exit', (code, killer) =>
      this.#over(child, killer === null ? `the successor ended with ${code}` : `the successor was ended by ${killer}`),
    );
    child.on('message', (message) => this.#heard(child, readHeirMessage(message)));
    child.send(handover, (error) => {
      if (error) this.#over(child, error.message);
    });
    this.#timer = setTimeout(
      () => this.#fail(`the successor was not ready within ${readyWithinMs / 1000} s: ${this.#reason}`),
      readyWithinMs,
    );
  }

  #heard(child: ChildProcess, message: HeirMessage | undefined): void {
    if (child !== this.#child || message === undefined) return;
    if (message.kind === 'mine') this.#confirm();
    if (this.#state !== 'starting' || message.kind === 'mine') return;
    if (message.kind === 'waiting') {
      this.#reason = message.reason;
      return;
    }
    this.#heirKeys = new Set(message.keys);
    const missing = this.#missing();
    if (missing !== '') {
      this.#reason = `it does not listen on ${missing}`;
      return;
    }
    clearTimeout(this.#timer);
    this.#state = 'handed over';
    this.#reason = '';
    const { sockets, stepBack, log } = this.#options;
    sockets.handedOver();
    stepBack();
    child.send({ kind: 'yours' });
    log.info('hot restart: handed over', { pid: child.pid ?? 0 });
  }

  /** What we listen on and the successor does not: nothing is given up by handing over. */
  #missing(): string {
    return this.#options.sockets.keys.filter((key) => this.#heirKeys?.has(key) !== true).join(', ');
  }

  #over(child: ChildProcess, reason: string): void {
    if (child === this.#child && this.#state === 'starting') this.#fail(`${reason} (${this.#reason})`);
  }

  #fail(reason: string): void {
    clearTimeout(this.#timer);
    this.#state = 'failed';
    this.#reason = reason;
    this.#child?.kill('SIGKILL');
    this.#child = undefined;
    this.#options.log.error('hot restart failed: this process serves on', { reason });
  }
}

/** As this process was started: by the launcher where there is one, which knows what is installed now. */
const commandLine = (): readonly [string, ...string[]] => {
  const launcher = process.env['SKEIN_LAUNCHER'];
  return launcher === undefined
    ? [process.execPath, ...process.execArgv, ...process.argv.slice(1)]
    : ['/bin/sh', launcher, ...process.argv.slice(2)];
};

const runs = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

type Stdio = ('inherit' | 'ignore' | 'ipc' | number)[];

/** The successor's descriptors: ours for output, the supervisor's at its number, the channel, then the sockets. */
const descriptors = (
  notifyFd: number | undefined,
  sockets: readonly number[],
): { readonly stdio: Stdio; readonly places: readonly number[] } => {
  const stdio: Stdio = ['inherit', 'inherit', 'inherit'];
  if (notifyFd !== undefined) {
    while (stdio.length < notifyFd) stdio.push('ignore');
    stdio.push(notifyFd);
  }
  const free = stdio.indexOf('ignore');
  if (free < 0) stdio.push('ipc');
  else stdio[free] = 'ipc';
  const places = sockets.map((fd) => stdio.push(fd) - 1);
  return { stdio, places };
};
