// A real Envoy as our child: its bootstrap in the run folder, its output passed through, started again with back-off when
// it dies, drained before it is stopped. Signals only the pid it started; where util-linux is there, the kernel ends it with an agent that
// was killed.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { chmodSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Log } from '../base/log.ts';
import type { Bootstrap } from '../xds/gen/types.ts';
// The bootstrap may name extensions that only Envoy has.
import '../xds/control-types.ts';
import { toJson } from '../xds/json.ts';
import type { AdminRequest, AdminResponse } from './admin-client.ts';
import { BackOff } from './back-off.ts';
import { killLeftover, writePid } from './leftover.ts';
import { PROXY_RESTART_MS } from './limits.ts';

export interface EnvoyProcessOptions {
  /** Binary, then the user's own arguments. */
  readonly command: readonly string[];
  readonly bootstrap: Bootstrap;
  readonly runDir: string;
  /** How long listeners drain gradually (`--drain-time-s`). */
  readonly drainTimeS: number;
  /** How long a stop waits for the last connections. */
  readonly drainWaitMs: number;
  /** Listeners of the sidecar itself (metrics, readiness): whoever is connected there is not waited for. */
  readonly ownPorts: readonly number[];
  readonly admin: (request: AdminRequest) => Promise<AdminResponse>;
  readonly log: Log;
}

/** A process that ran this long was healthy: the next restart is quick again. */
const STABLE_MS = 10_000;
const KILL_AFTER_MS = 2_000;
const POLL_MS = 200;
/** No connection for this long: nothing is left to wait for. */
const IDLE_BEFORE_STOP_MS = 1_000;

export class EnvoyProcess {
  readonly #options: EnvoyProcessOptions;
  readonly #configPath: string;
  readonly #backOff = new BackOff(PROXY_RESTART_MS, Math.random);
  readonly #pidPath: string;
  #child: ChildProcess | undefined;
  #timer: NodeJS.Timeout | undefined;
  #stopping = false;

  constructor(options: EnvoyProcessOptions) {
    this.#options = options;
    this.#configPath = join(options.runDir, 'envoy.json');
    this.#pidPath = join(options.runDir, 'envoy.pid');
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** A child that a killed agent left behind is stopped first: it holds the ports. */
  async start(): Promise<void> {
    await killLeftover(this.#pidPath, this.#options.log);
    if (this.#stopping) return;
    writeFileSync(this.#configPath, JSON.stringify(toJson('envoy.config.bootstrap.v3.Bootstrap', this.#options.bootstrap), undefined, 1), {
      mode: 0o600,
    });
    chmodSync(this.#configPath, 0o600);
    this.#spawn();
  }

  /** Drains, waits, stops. */
  async stop(): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    clearTimeout(this.#timer);
    const child = this.#child;
    if (child && isAlive(child)) {
      const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
      await this.#drain(child, exited);
      if (isAlive(child)) child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), KILL_AFTER_MS);
      await exited;
      clearTimeout(timer);
    }
    rmSync(this.#configPath, { force: true });
    rmSync(this.#pidPath, { force: true });
  }

  #spawn(): void {
    const { command, drainTimeS, log } = this.#options;
    const [binary = 'envoy', ...own] = command;
    const has = (...names: readonly string[]): boolean => own.some((a) => names.includes(a.split('=')[0] ?? ''));
    // A launcher's own words come before options: `skein proxy` in Envoy's place.
    const words = own.findIndex((a) => a.startsWith('-'));
    const launcher = words < 0 ? own : own.slice(0, words);
    const argv = [
      ...launcher,
      '-c',
      this.#configPath,
      '--drain-time-s',
      String(drainTimeS),
      '--drain-strategy',
      'immediate',
      '--disable-hot-restart',
      '--allow-unknown-static-fields',
      ...(has('-l', '--log-level') ? [] : ['-l', 'warning']),
      ...(has('--concurrency') ? [] : ['--concurrency', '2']),
      ...own.slice(launcher.length),
    ];
    const startedMs = Date.now();
    const [program = binary, ...args] = [...endsWithParent(), binary, ...argv];
    const child = spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit'] });
    this.#child = child;
    child.once('spawn', () => {
      log.info('envoy started', { pid: child.pid });
      if (child.pid !== undefined) writePid(this.#pidPath, child.pid);
    });
    let over = false;
    const ended = (why: string): void => {
      if (over) return;
      over = true;
      if (this.#stopping) return;
      if (Date.now() - startedMs > STABLE_MS) this.#backOff.reset();
      const delayMs = this.#backOff.nextMs();
      log.error('envoy ended', { why, restartMs: Math.round(delayMs) });
      this.#timer = setTimeout(() => this.#spawn(), delayMs);
    };
    child.on('error', (e) => ended(e.message));
    child.once('exit', (code, signal) => ended(signal ? `signal ${signal}` : `exit code ${code}`));
  }

  /** Until the wait is over, the process is gone, or no connection has been open for a while. */
  async #drain(child: ChildProcess, exited: Promise<void>): Promise<void> {
    const { admin, drainWaitMs, log } = this.#options;
    const deadlineMs = Date.now() + drainWaitMs;
    try {
      await admin({ method: 'POST', path: '/drain_listeners?graceful', body: '' });
    } catch (e) {
      log.warning('envoy was not drained', { problem: e instanceof Error ? e.message : String(e) });
      return;
    }
    for (let idleMs = 0; Date.now() < deadlineMs && isAlive(child) && idleMs < IDLE_BEFORE_STOP_MS; ) {
      const open = await this.#openConnections();
      idleMs = open === 0 ? idleMs + POLL_MS : 0;
      await Promise.race([exited, new Promise((resolve) => setTimeout(resolve, POLL_MS))]);
    }
  }

  async #openConnections(): Promise<number | undefined> {
    try {
      const { body } = await this.#options.admin({ method: 'GET', path: '/stats?filter=%5Elistener%5C..*downstream_cx_active$', body: '' });
      return countOpenConnections(body, this.#options.ownPorts);
    } catch {
      return undefined;
    }
  }
}

let wrapper: readonly string[] | undefined;

/** What a command line begins with so that its process gets SIGTERM when this one is no more. Of busybox's setpriv that cannot be had. */
const endsWithParent = (): readonly string[] => {
  const wanted = ['setpriv', '--pdeathsig', 'TERM', '--'];
  const [program = '', ...args] = wanted;
  wrapper ??= spawnSync(program, [...args, 'true'], { stdio: 'ignore' }).status === 0 ? wanted : [];
  return wrapper;
};

/** Of `listener.<address>_<port>.downstream_cx_active: N` lines, without the admin's, the per-worker ones and `ownPorts`. */
export const countOpenConnections = (stats: string, ownPorts: readonly number[]): number => {
  let open = 0;
  for (const [, name = '', value] of stats.matchAll(/^listener\.(.+)\.downstream_cx_active: (\d+)$/gm)) {
    const port = Number(/_(\d+)$/.exec(name)?.[1]);
    if (name !== 'admin' && !/worker_\d+$|\.main_thread$/.test(name) && !ownPorts.includes(port)) open += Number(value);
  }
  return open;
};

const isAlive = (child: ChildProcess): boolean => child.pid !== undefined && child.exitCode === null && child.signalCode === null;
