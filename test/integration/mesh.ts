// One running mesh under test: a copy of the shop, started and asked only through the `skein` command.
import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../..');
const SKEIN = join(ROOT, 'bin/skein');

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  readonly ms: number;
}
export interface WorkloadStatus {
  readonly name: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly ready: boolean;
  readonly address?: string;
}

export const run = (
  program: string,
  args: readonly string[],
  options: { env?: Record<string, string>; input?: string; timeoutMs?: number; uid?: number } = {},
): Promise<Ran> =>
  new Promise((resolve, reject) => {
    const started = performance.now();
    const child = spawn(program, args, {
      env: { ...process.env, ...options.env },
      ...(options.uid === undefined ? {} : { uid: options.uid, gid: options.uid }),
    });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    const timer = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs ?? 60_000);
    child.stdout.on('data', (b: Buffer) => out.push(b));
    child.stderr.on('data', (b: Buffer) => err.push(b));
    child.on('error', reject);
    // 'exit', not 'close': a daemon may keep the pipe's other end.
    child.on('exit', (code) =>
      setTimeout(() => {
        clearTimeout(timer);
        resolve({
          code: code ?? -1,
          out: Buffer.concat(out).toString('utf8'),
          err: Buffer.concat(err).toString('utf8'),
          ms: performance.now() - started,
        });
      }, 20),
    );
    child.stdin.end(options.input ?? '');
  });

const LEGACY = `---
apiVersion: skein.dev/v1
kind: Workload
metadata: {name: legacy, namespace: production, labels: {app: legacy, version: v1, sidecar.istio.io/inject: "false"}}
spec:
  serviceAccount: loadgen
  command: [bun, services/user.ts]
  env: {SERVICE: legacy, VERSION: v1}
  ports: [{name: http, port: 8080}]
  readiness: {httpGet: {path: /healthz, port: 8080}}
---
apiVersion: v1
kind: Service
metadata: {name: legacy, namespace: production}
spec:
  selector: {app: legacy}
  ports: [{name: http, port: 8080}]
`;

export class Mesh {
  readonly dir: string;
  readonly state: string;
  readonly env: Record<string, string>;
  readonly ingress: string;
  readonly #uid: number | undefined;

  constructor(port: number, uid?: number) {
    const base = mkdtempSync(join(tmpdir(), 'skein-it-'));
    this.dir = join(base, 'shop');
    this.state = join(base, 'state');
    cpSync(join(ROOT, 'examples/shop'), this.dir, { recursive: true });
    writeFileSync(join(this.dir, 'mesh/legacy.yaml'), LEGACY);
    this.#uid = uid;
    this.ingress = `127.0.0.1:${port}`;
    this.env = { SKEIN_STATE: this.state, HOME: base };
  }

  skein(...args: string[]): Promise<Ran> {
    return run(SKEIN, args, { env: this.env, ...(this.#uid === undefined ? {} : { uid: this.#uid }) });
  }
  async ok(...args: string[]): Promise<string> {
    const done = await this.skein(...args);
    if (done.code !== 0) throw new Error(`skein ${args.join(' ')} exited ${done.code}\n${done.out.slice(-2000)}\n${done.err.slice(-3000)}`);
    return done.out;
  }
  up(...args: string[]): Promise<string> {
    return this.ok('up', '-d', this.dir, '--ingress', this.ingress, ...args);
  }
  async workloads(): Promise<WorkloadStatus[]> {
    const done = await this.skein('status', '-o', 'json');
    return (JSON.parse(done.out) as { workloads: WorkloadStatus[] }).workloads;
  }
  async workload(app: string, version?: string): Promise<WorkloadStatus> {
    const found = (await this.workloads()).find(
      (w) => w.labels['app'] === app && (version === undefined || w.labels['version'] === version),
    );
    if (!found) throw new Error(`status knows no workload with app=${app}`);
    return found;
  }
  exec(workload: string, ...command: string[]): Promise<Ran> {
    return this.skein('exec', workload, '--', ...command);
  }

  /** Runs the load script inside a workload; see load.ts. */
  async load(
    workload: string,
    url: string,
    options: { count?: number; rate?: number; seconds?: number; header?: string },
  ): Promise<LoadResult> {
    const args = ['bun', join(ROOT, 'test/integration/load.ts'), url, JSON.stringify(options)];
    const done = await this.exec(workload, ...args);
    if (done.code !== 0) throw new Error(`load from ${workload}: exit ${done.code} ${done.err.slice(-2000)}`);
    return JSON.parse(done.out.trim().split('\n').at(-1) ?? '{}') as LoadResult;
  }

  /** Processes of this mesh that are still there: command lines and environments that name its state folder. */
  leftovers(): string[] {
    return readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && Number(pid) !== process.pid && mentions(pid, this.state));
  }
  remove(): void {
    rmSync(dirname(this.dir), { recursive: true, force: true });
  }
}

const mentions = (pid: string, text: string): boolean => {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(text) || readFileSync(`/proc/${pid}/environ`, 'utf8').includes(text);
  } catch {
    return false;
  }
};

export interface LoadResult {
  readonly sent: number;
  readonly failed: number;
  readonly failures: readonly string[];
  readonly versions: Readonly<Record<string, number>>;
  /** [second since start, version] of each change of proportion is left to the reader: raw [ms, version] pairs. */
  readonly timeline: readonly (readonly [number, string])[];
  /** Longest single request, milliseconds. */
  readonly slowestMs: number;
}
