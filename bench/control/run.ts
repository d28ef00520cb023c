// One run of the benchmark: a folder of configuration, a control plane started on it, the process that plays its clients, and what is
// measured of one phase. Everything that it starts ends with it, and the folder goes.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { treeSeconds, withDescendants } from '../process-clock.ts';
import type { Answer, Order } from './client-process.ts';
import { clockMs } from './delta-client.ts';
import { type ConfigFile, configFiles } from './folder.ts';
import type { Options } from './options.ts';
import { type Phase, phaseOf } from './report.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const START_PATIENCE_MS = 120_000;
const QUIET_MS = 600;

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const ownCommand = `${JSON.stringify(join(ROOT, 'bin/skein'))} control-plane --config {config} --state {state} --xds {address} --insecure --log-level warning`;

/** Resident and peak resident memory of a process tree. */
export const memory = (root: number): { readonly rssMb: number; readonly peakMb: number } => {
  let rss = 0;
  let peak = 0;
  for (const pid of withDescendants([root])) {
    try {
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      rss += Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0);
      peak += Number(/^VmHWM:\s+(\d+)/m.exec(status)?.[1] ?? 0);
    } catch {
      // ended meanwhile
    }
  }
  return { rssMb: rss / 1024, peakMb: peak / 1024 };
};

/** CPU seconds so far, once they have stopped growing. */
const settled = async (root: number): Promise<number> => {
  let before = treeSeconds([root]);
  for (let tries = 0; tries < 30; tries++) {
    await pause(QUIET_MS);
    const now = treeSeconds([root]);
    if (now - before < 0.04) return now;
    before = now;
  }
  return before;
};

const accepts = (host: string, port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = net.connect({ host, port });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });

/** Saved as editors do: written beside and moved into place, so that no half of it is read. */
export const save = (folder: string, file: ConfigFile): void => {
  const part = join(folder, `.${file.name}.part`);
  writeFileSync(part, file.text);
  renameSync(part, join(folder, file.name));
};

/** The process that plays the clients. */
class Clients {
  readonly #child: ChildProcess;
  readonly #timeoutMs: number;
  readonly #answers: Answer[] = [];
  #wake: (() => void) | undefined;
  #ended = false;

  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
    const program = fileURLToPath(new URL('./client-process.ts', import.meta.url));
    this.#child = spawn(process.execPath, [program], { stdio: ['pipe', 'pipe', 'inherit'] });
    if (!this.#child.stdout) throw new Error('the clients have no output');
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      this.#answers.push(JSON.parse(line) as Answer);
      this.#wake?.();
    });
    this.#child.once('exit', () => {
      this.#ended = true;
      this.#wake?.();
    });
  }

  order(order: Order): void {
    this.#child.stdin?.write(`${JSON.stringify(order)}\n`);
  }

  async answer(): Promise<Answer> {
    const until = Date.now() + this.#timeoutMs;
    for (;;) {
      const answer = this.#answers.shift();
      if (answer?.problem !== undefined) throw new Error(`a client failed: ${answer.problem}`);
      if (answer) return answer;
      if (this.#ended) throw new Error('the clients ended');
      const left = until - Date.now();
      if (left <= 0) throw new Error('timed out: not every client has been told');
      await Promise.race([new Promise<void>((resolve) => (this.#wake = resolve)), pause(Math.min(left, 1000))]);
    }
  }

  close(): void {
    this.#child.stdin?.end();
  }
}

export interface Run {
  readonly setting: RunSetting;
  readonly folder: string;
  readonly control: number;
  readonly clients: Clients;
}

/** Something is done, every client is told, and the control plane comes to rest. */
export const measure = async (run: Run, name: string, order: Order, act: () => void): Promise<Phase> => {
  const before = await settled(run.control);
  run.clients.order(order);
  if (order.do === 'await') await run.clients.answer();
  const sinceMs = clockMs();
  act();
  const answer = await run.clients.answer();
  const cpuSeconds = (await settled(run.control)) - before;
  const phase = phaseOf(name, answer, sinceMs, { cpuSeconds, ...memory(run.control) });
  process.stderr.write(
    `${name}: last ${phase.last?.toFixed(3) ?? '–'} s, ${phase.cpuSeconds.toFixed(2)} CPU s, ${phase.rssMb.toFixed(0)} MB\n`,
  );
  return phase;
};

const started = async (options: Options, command: string, log: string): Promise<ChildProcess> => {
  if (await accepts(options.host, options.port)) throw new Error(`something serves ${options.host}:${options.port} already`);
  const control = spawn('/bin/sh', ['-c', `exec ${command} >${JSON.stringify(log)} 2>&1`], { stdio: 'ignore', detached: true });
  const until = Date.now() + START_PATIENCE_MS;
  while (!(await accepts(options.host, options.port))) {
    if (control.exitCode !== null) throw new Error(`the control plane ended: ${readFileSync(log, 'utf8').slice(-2000)}`);
    if (Date.now() > until) throw new Error('the control plane does not serve');
    await pause(50);
  }
  return control;
};

/** How many services and clients. */
export interface RunSetting {
  readonly n: number;
  readonly clients: number;
  readonly options: Options;
}

export const withRun = async <T>(setting: RunSetting, act: (run: Run) => Promise<T>): Promise<T> => {
  const { n, options } = setting;
  const base = mkdtempSync(join(tmpdir(), 'skein-bench-control-'));
  const folder = join(base, 'config');
  mkdirSync(folder);
  for (const file of configFiles(n)) writeFileSync(join(folder, file.name), file.text);
  const command = (options.control ?? ownCommand)
    .replaceAll('{config}', folder)
    .replaceAll('{state}', join(base, 'state'))
    .replaceAll('{address}', `${options.host}:${options.port}`);
  let control: ChildProcess | undefined;
  let clients: Clients | undefined;
  try {
    control = await started(options, command, join(base, 'control.log'));
    clients = new Clients(options.timeoutMs);
    return await act({ setting, folder, control: control.pid ?? 0, clients });
  } finally {
    clients?.close();
    if (control) await ended(control);
    if (!options.keep) rmSync(base, { recursive: true, force: true });
    else process.stderr.write(`kept: ${base}\n`);
  }
};

const ended = async (control: ChildProcess): Promise<void> => {
  if (control.pid === undefined || control.exitCode !== null) return;
  const gone = new Promise((resolve) => control.once('exit', resolve));
  process.kill(-control.pid, 'SIGTERM');
  await Promise.race([gone, pause(3000)]);
};
