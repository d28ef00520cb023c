// Child processes of a run: started with their output in a file, ended by id, none left behind.
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Hits } from './backends.ts';
import type { SentResult, WorkerCommand } from './host-worker.ts';

const all = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of all) child.kill('SIGKILL');
});

const track = (child: ChildProcess): ChildProcess => {
  all.add(child);
  child.on('exit', () => all.delete(child));
  child.on('error', () => all.delete(child));
  return child;
};

export interface Running {
  readonly pid: number;
  output(): string;
  stop(): Promise<void>;
  readonly exited: Promise<number | null>;
}

export const start = (command: readonly string[], logFile: string, env: Readonly<Record<string, string>> = {}): Running => {
  const fd = openSync(logFile, 'w');
  const [program = '', ...args] = command;
  const child = track(spawn(program, args, { stdio: ['ignore', fd, fd], env: { ...process.env, ...env } }));
  closeSync(fd);
  const exited = new Promise<number | null>((resolve) => {
    child.once('exit', resolve);
    child.once('error', () => resolve(-1));
  });
  return {
    pid: child.pid ?? -1,
    output: () => readFileSync(logFile, 'utf8'),
    stop: async () => {
      child.kill('SIGKILL');
      await exited;
    },
    exited,
  };
};

/** A host of the scenario: the worker process, inside the namespace it was started in. */
export class Worker {
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  #next = 0;

  constructor(command: readonly string[], nextStep: (testId: string) => number) {
    const [program = '', ...args] = command;
    this.#child = track(spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] }));
    this.pid = this.#child.pid ?? -1;
    const out = this.#child.stdout;
    if (!out) throw new Error('worker without output');
    createInterface({ input: out }).on('line', (line) => {
      const message = JSON.parse(line) as { id: number; result?: unknown; error?: string } | { ask: number; testId: string };
      if ('ask' in message) {
        this.#child.stdin?.write(`${JSON.stringify({ ask: message.ask, step: nextStep(message.testId) })}\n`);
        return;
      }
      const { id, result, error } = message;
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) waiting?.resolve(result);
      else waiting?.reject(new Error(error));
    });
    this.#child.on('exit', () => {
      for (const w of this.#waiting.values()) w.reject(new Error('the host worker ended'));
    });
  }

  run(command: Extract<WorkerCommand, { kind: 'request' }>): Promise<SentResult[]>;
  run(command: Extract<WorkerCommand, { kind: 'hits' }>): Promise<Hits>;
  run(command: WorkerCommand): Promise<unknown>;
  run(command: WorkerCommand): Promise<unknown> {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#child.stdin?.write(`${JSON.stringify({ id, command })}\n`);
    });
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGKILL');
    await gone;
  }
}
