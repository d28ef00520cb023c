// The benchmark of a control plane: starts it on a folder, connects the clients, changes one thing at a time and measures until every
// client knows. `npm run bench:control -- --help`.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { treeSeconds, withDescendants } from '../process-clock.ts';
import type { Answer, Order } from './client-process.ts';
import { clockMs } from './delta-client.ts';
import { type ConfigFile, churnEdit, configFiles, routeFile, serviceFile, WEIGHT_AT_START } from './folder.ts';
import { HELP, type Options, parseOptions } from './options.ts';
import { churnMarkdown, markdown, medianRound, type Phase, phaseOf, type Sample, type Setting } from './report.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const RESULTS = join(ROOT, 'bench/results');
const START_PATIENCE_MS = 120_000;
const QUIET_MS = 600;
const LISTEN_MS = 3000;
const EDIT_MS = 100;
const SAMPLE_MS = 10_000;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const ownCommand = `${JSON.stringify(join(ROOT, 'bin/skein'))} control-plane --config {config} --state {state} --xds {address} --insecure --log-level warning`;

/** Resident and peak resident memory of a process tree. */
const memory = (root: number): { readonly rssMb: number; readonly peakMb: number } => {
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
const save = (folder: string, file: ConfigFile): void => {
  const part = join(folder, `.${file.name}.part`);
  writeFileSync(part, file.text);
  renameSync(part, join(folder, file.name));
};

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

interface Run {
  readonly options: Options;
  readonly folder: string;
  readonly control: number;
  readonly clients: Clients;
}

/** Something is done, every client is told, and the control plane comes to rest. */
const measure = async (run: Run, name: string, order: Order, act: () => void): Promise<Phase> => {
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

const phases = async (run: Run): Promise<Phase[]> => {
  const { options, folder } = run;
  const { host, port, clients, n } = options;
  const out: Phase[] = [];
  out.push(await measure(run, 'all configured', { do: 'connect', host, port, clients, n }, () => undefined));
  const weights: Phase[] = [];
  const endpoints: Phase[] = [];
  for (let round = 1; round <= options.rounds; round++) {
    weights.push(await measure(run, 'one weight', { do: 'await', type: 'RDS' }, () => save(folder, routeFile(0, WEIGHT_AT_START - round))));
    endpoints.push(await measure(run, 'one endpoint', { do: 'await', type: 'EDS' }, () => save(folder, serviceFile(1, round))));
  }
  out.push(medianRound(weights), medianRound(endpoints));
  const touched = serviceFile(0);
  const comment = { ...touched, text: `# looked at again\n${touched.text}` };
  out.push(await measure(run, 'a file written again', { do: 'listen', forMs: LISTEN_MS }, () => save(folder, touched)));
  out.push(await measure(run, 'a comment added', { do: 'listen', forMs: LISTEN_MS }, () => save(folder, comment)));
  return out;
};

/** Edits as fast as the control plane takes them, one a tenth of a second. */
const churn = async (run: Run, forMs: number): Promise<Sample[]> => {
  const { options, folder } = run;
  const { host, port, clients, n } = options;
  await measure(run, 'all configured', { do: 'connect', host, port, clients, n }, () => undefined);
  const samples: Sample[] = [];
  const startedMs = clockMs();
  let sampledMs = startedMs;
  for (let edit = 0; clockMs() - startedMs < forMs; edit++) {
    for (const file of churnEdit(edit, n)) {
      if (file.text === undefined) rmSync(join(folder, file.name), { force: true });
      else save(folder, { name: file.name, text: file.text });
    }
    if (edit % 20 === 19) {
      run.clients.order({ do: 'replace', host, port, clients: Math.max(1, Math.floor(clients / 20)), n });
      await run.clients.answer();
    }
    await pause(EDIT_MS);
    if (clockMs() - sampledMs < SAMPLE_MS) continue;
    sampledMs = clockMs();
    const sample = {
      seconds: Math.round((sampledMs - startedMs) / 1000),
      edits: edit + 1,
      cpuSeconds: treeSeconds([run.control]),
      ...memory(run.control),
    };
    samples.push(sample);
    process.stderr.write(
      `${sample.seconds} s, ${sample.edits} edits: ${sample.rssMb.toFixed(0)} MB, peak ${sample.peakMb.toFixed(0)} MB\n`,
    );
  }
  return samples;
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

/** Beside what was measured: where. */
const publish = <T extends object>(options: Options, measured: T, suffix: string, text: (report: Setting & T) => string): void => {
  const report = {
    n: options.n,
    clients: options.clients,
    control: options.control ?? 'bin/skein control-plane',
    machine: `${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}`,
    date: new Date().toISOString().slice(0, 16).replace('T', ' '),
    ...measured,
  };
  mkdirSync(RESULTS, { recursive: true });
  const name = join(RESULTS, `control-${options.n}-${options.clients}${suffix}`);
  writeFileSync(`${name}.json`, `${JSON.stringify(report, undefined, 2)}\n`);
  writeFileSync(`${name}.md`, text(report));
  process.stdout.write(text(report));
};

const main = async (options: Options): Promise<void> => {
  const base = mkdtempSync(join(tmpdir(), 'skein-bench-control-'));
  const folder = join(base, 'config');
  mkdirSync(folder);
  for (const file of configFiles(options.n)) writeFileSync(join(folder, file.name), file.text);
  const address = `${options.host}:${options.port}`;
  const command = (options.control ?? ownCommand)
    .replaceAll('{config}', folder)
    .replaceAll('{state}', join(base, 'state'))
    .replaceAll('{address}', address);
  let control: ChildProcess | undefined;
  let clients: Clients | undefined;
  try {
    control = await started(options, command, join(base, 'control.log'));
    clients = new Clients(options.timeoutMs);
    const run: Run = { options, folder, control: control.pid ?? 0, clients };
    if (options.churnMs === undefined) publish(options, { phases: await phases(run) }, '', markdown);
    else publish(options, { samples: await churn(run, options.churnMs) }, '-churn', churnMarkdown);
  } finally {
    clients?.close();
    if (control?.pid !== undefined && control.exitCode === null) {
      const gone = new Promise((resolve) => control?.once('exit', resolve));
      process.kill(-control.pid, 'SIGTERM');
      await Promise.race([gone, pause(3000)]);
    }
    if (!options.keep) rmSync(base, { recursive: true, force: true });
    else process.stderr.write(`kept: ${base}\n`);
  }
};

try {
  const options = parseOptions(process.argv.slice(2));
  if (options.help) process.stdout.write(HELP);
  else await main(options);
} catch (error) {
  process.stderr.write(`bench:control: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
