// A real Prometheus beside the mesh under test, as the example starts it: asked over its API, ended with what it stored.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { freePort } from '../free-port.ts';
import { type Mesh, ROOT } from './mesh.ts';
import { eventually } from './suite.ts';

export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** Between two scrapes of a target. */
export const SCRAPE_S = 3;

export const prometheusIsHere = (): boolean => spawnSync('prometheus', ['--version']).status === 0;

export class Prometheus {
  readonly #process: ChildProcess;
  readonly #url: string;

  private constructor(process: ChildProcess, url: string) {
    this.#process = process;
    this.#url = url;
  }

  static async start(mesh: Mesh): Promise<Prometheus> {
    const [door, web] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`];
    const env = { ...process.env, ...mesh.env, DOOR: door, WEB: web, INTERVAL: `${SCRAPE_S}s` };
    const started = spawn(join(ROOT, 'examples/observability/start.sh'), { env, stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    for (const stream of [started.stdout, started.stderr])
      stream.on('data', (chunk: Buffer) => {
        if (said.length < 65_536) said += chunk;
      });
    await eventually('Prometheus is ready', 15_000, async () => {
      if (started.exitCode !== null) throw new Error(`start.sh exited ${started.exitCode}: ${said}`);
      return (await fetch(`http://${web}/-/ready`, { signal: AbortSignal.timeout(1000) })).ok || undefined;
    });
    return new Prometheus(started, `http://${web}`);
  }

  async stop(): Promise<void> {
    this.#process.kill('SIGTERM');
    if (this.#process.exitCode === null && this.#process.signalCode === null) await once(this.#process, 'exit');
  }

  async api(path: string): Promise<unknown> {
    const answer = await fetch(`${this.#url}/api/v1/${path}`, { signal: AbortSignal.timeout(10_000) });
    const { status, data, error } = (await answer.json()) as { readonly status: string; readonly data: unknown; readonly error?: string };
    if (status !== 'success') throw new Error(`${path}: ${error}`);
    return data;
  }

  /** `at`: seconds since 1970; now when absent. */
  async query(expression: string, at?: number): Promise<readonly Sample[]> {
    const data = await this.api(`query?query=${encodeURIComponent(expression)}${at === undefined ? '' : `&time=${at}`}`);
    const { result } = data as {
      readonly result: readonly { readonly metric: Sample['labels']; readonly value: readonly [number, string] }[];
    };
    return result.map(({ metric, value }) => ({ labels: metric, value: Number(value[1]) }));
  }

  /** Of an expression that gives one value; 0 for none. */
  async value(expression: string, at?: number): Promise<number> {
    return (await this.query(expression, at))[0]?.value ?? 0;
  }

  /** When a target was read, seconds since 1970, in the time before `at` that `window` says. */
  async scrapes(pod: string, window: string, at: number): Promise<readonly number[]> {
    const data = await this.api(`query?query=${encodeURIComponent(`up{pod="${pod}"}[${window}]`)}&time=${at}`);
    const { result } = data as { readonly result: readonly { readonly values: readonly (readonly [number, string])[] }[] };
    return result.flatMap(({ values }) => values.map(([time]) => time));
  }

  /** Until every target has been read since now. */
  async scraped(): Promise<void> {
    const since = Date.now();
    await eventually('every target was read', 15_000, async () => {
      const { activeTargets } = (await this.api('targets?state=active')) as { readonly activeTargets: readonly ActiveTarget[] };
      const late = activeTargets.filter(({ health, lastScrape }) => health !== 'up' || Date.parse(lastScrape) <= since);
      if (activeTargets.length === 0 || late.length > 0)
        throw new Error(`${late.length} of ${activeTargets.length} not yet: ${late[0]?.lastError}`);
      return true;
    });
  }
}

interface ActiveTarget {
  readonly health: string;
  readonly lastScrape: string;
  readonly lastError: string;
}
