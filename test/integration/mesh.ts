// One running mesh under test: a copy of the shop with two workloads more, started and asked only through the `skein` command.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { networkNamespace } from './host-network.ts';
import type { LoadOptions, LoadResult } from './load-result.ts';

export const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../..');
const SKEIN = join(ROOT, 'bin/skein');

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}
export interface WorkloadStatus {
  readonly name: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly ready: boolean;
  readonly address: string;
}
export interface MeshProcess {
  readonly name: string;
  readonly kind: string;
  readonly pid: number;
  readonly netnsPid?: number;
}
interface RunFile {
  readonly supervisor: { readonly pid: number };
  readonly processes: readonly MeshProcess[];
}

interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
  readonly uid?: number | undefined;
  readonly cwd?: string;
  /** Killed after so long. */
  readonly msMax?: number;
}

const RUN_MS_MAX = 60_000;

/** Ends when the program does, not when a daemon of its own closes the pipe. */
export const run = (program: string, args: readonly string[], options: RunOptions = {}): Promise<Ran> =>
  finished(start(program, args, options), options.msMax);

const start = (program: string, args: readonly string[], { env, input, uid, cwd }: RunOptions): ChildProcess => {
  const child = spawn(program, args, { env: { ...process.env, ...env }, cwd, ...(uid === undefined ? {} : { uid, gid: uid }) });
  child.stdin?.on('error', () => undefined);
  child.stdin?.end(input ?? '');
  return child;
};

const finished = (child: ChildProcess, msMax = RUN_MS_MAX): Promise<Ran> =>
  new Promise((resolve, reject) => {
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    const timer = setTimeout(() => child.kill('SIGKILL'), msMax);
    child.stdout?.on('data', (b: Buffer) => out.push(b));
    child.stderr?.on('data', (b: Buffer) => err.push(b));
    child.on('error', reject);
    let late: NodeJS.Timeout | undefined;
    const done = (): void => {
      clearTimeout(timer);
      clearTimeout(late);
      resolve({ code: child.exitCode ?? -1, out: Buffer.concat(out).toString('utf8'), err: Buffer.concat(err).toString('utf8') });
    };
    child.on('close', done);
    child.on('exit', () => {
      late = setTimeout(done, 200);
    });
  });

// A workload outside the mesh, and one inside that shows what reaches an application.
const EXTRA = `---
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
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: echo, namespace: production}
---
apiVersion: skein.dev/v1
kind: Workload
metadata: {name: echo, namespace: production, labels: {app: echo, version: v1}}
spec:
  serviceAccount: echo
  command: [bun, test/echo.ts]
  ports: [{name: http, port: 8080}]
  readiness: {httpGet: {path: /, port: 8080}}
---
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: production}
spec:
  selector: {app: echo}
  ports: [{name: http, port: 8080}]
`;

export interface MeshSettings {
  readonly port: number;
  readonly uid?: number;
  readonly env?: Readonly<Record<string, string>>;
  /** Another mesh than the shop: a folder with `mesh/` in it. */
  readonly folder?: string;
}

export class Mesh {
  readonly dir: string;
  readonly state: string;
  readonly env: Readonly<Record<string, string>>;
  readonly ingress: string;
  readonly #uid: number | undefined;

  constructor({ port, uid, env, folder }: MeshSettings) {
    const base = mkdtempSync(join(tmpdir(), 'skein-it-'));
    this.dir = join(base, 'shop');
    this.state = join(base, 'state');
    cpSync(folder ?? join(ROOT, 'examples/shop'), this.dir, { recursive: true });
    mkdirSync(join(this.dir, 'test'));
    cpSync(join(ROOT, 'test/integration/echo.ts'), join(this.dir, 'test/echo.ts'));
    for (const file of ['load.ts', 'load-result.ts', 'counted-load.ts'])
      cpSync(join(ROOT, 'test/integration', file), join(this.dir, 'test', file));
    if (folder === undefined) writeFileSync(join(this.dir, 'mesh/extra.yaml'), EXTRA);
    this.#uid = uid;
    if (uid !== undefined) spawnSync('chown', ['-R', `${uid}:${uid}`, base]);
    this.ingress = `127.0.0.1:${port}`;
    this.env = { ...env, SKEIN_STATE: this.state, HOME: base };
    running.add(this);
  }

  skein(...args: string[]): Promise<Ran> {
    return run(SKEIN, args, { env: this.env, uid: this.#uid });
  }
  /** With standard input, or variables of its own. */
  skeinWith(options: RunOptions, ...args: string[]): Promise<Ran> {
    return run(SKEIN, args, { ...options, env: { ...this.env, ...options.env }, uid: this.#uid });
  }
  /** Still running when this returns. The caller ends it. */
  spawn(...args: string[]): ChildProcess {
    return start(SKEIN, args, { env: this.env, uid: this.#uid });
  }
  async ok(...args: string[]): Promise<string> {
    const done = await this.skein(...args);
    if (done.code !== 0) throw new Error(`skein ${args.join(' ')} exited ${done.code}\n${done.out.slice(-2000)}\n${done.err.slice(-3000)}`);
    return done.out;
  }
  up(...args: string[]): Promise<string> {
    return this.ok('up', '-d', this.dir, '--ingress', this.ingress, ...args);
  }

  async workload(app: string, version?: string): Promise<WorkloadStatus> {
    const { workloads } = JSON.parse((await this.skein('status', '-o', 'json')).out) as { workloads: WorkloadStatus[] };
    const found = workloads.find((w) => w.labels['app'] === app && (version === undefined || w.labels['version'] === version));
    if (!found) throw new Error(`status knows no workload with app=${app}`);
    return found;
  }
  exec(workload: string, ...command: string[]): Promise<Ran> {
    return this.skein('exec', workload, '--', ...command);
  }
  page(): Promise<Ran> {
    return run('curl', ['-sS', '--max-time', '10', `http://${this.ingress}/`]);
  }

  get supervisor(): number {
    return this.#runFile.supervisor.pid;
  }
  process(kind: string, name: string): MeshProcess {
    const found = this.#runFile.processes.find((p) => p.kind === kind && p.name === name);
    if (!found) throw new Error(`run.json has no ${kind} ${name}: ${JSON.stringify(this.#runFile.processes)}`);
    return found;
  }
  get #runFile(): RunFile {
    return JSON.parse(readFileSync(join(this.state, 'run.json'), 'utf8')) as RunFile;
  }

  /** Runs load.ts inside a workload to its end. */
  load(workload: string, url: string, options: LoadOptions): Promise<LoadResult> {
    return this.startLoad(workload, url, options).done;
  }
  startLoad(workload: string, url: string, options: LoadOptions): { readonly started: Promise<void>; readonly done: Promise<LoadResult> } {
    const child = this.spawn('exec', workload, '--', 'bun', join(this.dir, 'test/load.ts'), url, JSON.stringify(options));
    const ended = finished(child);
    const started = new Promise<void>((resolve) => {
      child.stderr?.on('data', (b: Buffer) => b.includes('started') && resolve());
      child.once('exit', () => resolve());
    });
    const done = ended.then((ran) => {
      if (ran.code !== 0) throw new Error(`load from ${workload}: exit ${ran.code} ${ran.err.slice(-2000)}`);
      return JSON.parse(ran.out.trim().split('\n').at(-1) ?? '{}') as LoadResult;
    });
    return { started, done };
  }

  /** Network namespaces of the hub and the workloads, as /proc names them. */
  namespaces(): ReadonlySet<string> {
    const pids = this.#runFile.processes.flatMap(({ netnsPid }) => (netnsPid === undefined ? [] : [String(netnsPid)]));
    return new Set(pids.map(networkNamespace));
  }

  /** Processes of this mesh that are still there: command lines and environments that name its folders. */
  leftovers(): string[] {
    const base = dirname(this.dir);
    return readdirSync('/proc')
      .filter((pid) => /^\d+$/.test(pid) && Number(pid) !== process.pid && mentions(pid, base))
      .map((pid) => `${pid} ${textOf(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').slice(0, 200)}`);
  }

  /** Whatever state it is in: stopped, and its folder removed. */
  remove(): void {
    if (!running.delete(this)) return;
    spawnSync(SKEIN, ['down'], {
      env: { ...process.env, ...this.env },
      ...(this.#uid === undefined ? {} : { uid: this.#uid, gid: this.#uid }),
    });
    rmSync(dirname(this.dir), { recursive: true, force: true });
  }
}

const running = new Set<Mesh>();

/** For a suite that is interrupted. */
export const removeAll = (): void => {
  for (const mesh of running) mesh.remove();
};

const mentions = (pid: string, text: string): boolean =>
  textOf(`/proc/${pid}/cmdline`).includes(text) || textOf(`/proc/${pid}/environ`).includes(text);

const textOf = (path: string): string => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
};
