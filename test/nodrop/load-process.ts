// The load in a process of its own, so that what the test does in between does not delay it.
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { ROOT } from '../integration/mesh.ts';
import type { LoadResult, Target } from './load-result.ts';

const STARTED_MS = 20_000;

export const LOAD_PROGRAM = join(ROOT, 'test/nodrop/load.ts');

export class LoadProcess {
  readonly #child: ChildProcess;
  readonly #done: Promise<readonly LoadResult[]>;
  readonly started: Promise<void>;

  /** `child` runs load.ts. */
  constructor(child: ChildProcess) {
    this.#child = child;
    let out = '';
    let err = '';
    child.stdin?.on('error', () => undefined);
    child.stdout?.on('data', (b: Buffer) => {
      out += b.toString();
    });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.started = promise;
    const timer = setTimeout(() => reject(new Error(`the load had not started after ${STARTED_MS} ms: ${err.slice(-1000)}`)), STARTED_MS);
    child.stderr?.on('data', (b: Buffer) => {
      err += b.toString();
      if (/^started$/m.test(err)) resolve();
    });
    this.#done = new Promise((ended, failed) => {
      child.once('error', failed);
      // Not at its exit: what it wrote last may still be on the way.
      child.once('close', () => {
        clearTimeout(timer);
        const line = out.trim().split('\n').at(-1) ?? '';
        if (line.startsWith('[')) ended(JSON.parse(line) as LoadResult[]);
        else failed(new Error(`the load ended without a result: ${out.slice(-500)}${err.slice(-2000)}`));
        reject(new Error(`the load ended early: ${err.slice(-1000)}`));
      });
    });
    this.#done.catch(() => undefined);
    this.started.catch(() => undefined);
    promise.then(
      () => clearTimeout(timer),
      () => undefined,
    );
  }

  static local(targets: readonly Target[]): LoadProcess {
    return new LoadProcess(spawn('sh', [join(ROOT, 'scripts/node'), LOAD_PROGRAM, JSON.stringify(targets)]));
  }

  /** Sends nothing new, waits for what is under way. */
  finish(): Promise<readonly LoadResult[]> {
    this.#child.stdin?.end();
    return this.#done;
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}
