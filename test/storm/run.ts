// npm run test:storm [-- --proxy skein|envoy]: one of three payment instances fails all its requests, then answers 2 s late, with the shop's recipes for circuit
// breaker and retries and a retry budget in force. The caller's success rate and p99 with Skein's proxy, with peak EWMA besides, and
// with Envoy in every sidecar's place, in one table. Fails when retries exceed their budget, or when Skein's callers fare worse.
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { parseAllDocuments } from 'yaml';
import { envoyBinary } from '../conformance/proxies.ts';
import { Mesh, ROOT, removeAll } from '../integration/mesh.ts';
import { type AtOnce, type Ran, retriesAtOnce } from './retries-at-once.ts';
import type { StormLoad } from './storm-load.ts';

const CALLER = 'order-service';
const TARGET = 'payment-service';
const URL = `http://${TARGET}:8080/version`;
const CLUSTER = `cluster.outbound|8080||${TARGET}.production.svc.cluster.local`;
const RATE = 100;
const WARM_UP_SECONDS = 2;
const BUDGET = { percent: 20, minRetryConcurrency: 3 };
const PEAK_EWMA = 'skein.dev/load-balancer';

interface Phase {
  readonly name: string;
  readonly seconds: number;
  /** What the instance does. */
  readonly broken: object;
}
const PHASES: readonly Phase[] = [
  { name: 'fails 100 %', seconds: 5, broken: { status: 500 } },
  { name: 'fails late (0.5 s)', seconds: 5, broken: { status: 500, delayMs: 500 } },
  { name: 'slow (2 s)', seconds: 5, broken: { delayMs: 2000 } },
];

interface Contender {
  readonly title: string;
  readonly port: number;
  readonly up: readonly string[];
  readonly env?: { readonly [name: string]: string };
  /** The rounds it goes through: a phase, and whether the rule asks for peak EWMA. */
  readonly rounds: readonly { readonly phase: Phase; readonly peakEwma: boolean }[];
}

interface Row {
  readonly contender: string;
  readonly phase: string;
  readonly load: StormLoad;
  readonly retries: number;
  readonly refused: number;
  readonly atOnce: AtOnce;
}

/** The shop without what no request of the storm meets; its payment service also tells of retries. */
const smallShop = (): string => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-storm-'));
  cpSync(join(ROOT, 'examples/shop'), folder, { recursive: true });
  const file = join(folder, 'mesh/workloads.yaml');
  const kept = parseAllDocuments(readFileSync(file, 'utf8')).filter((d) =>
    [CALLER, TARGET].includes(String(d.getIn(['metadata', 'labels', 'app']))),
  );
  writeFileSync(file, kept.map((d) => d.toString({ directives: false })).join('---\n'));
  cpSync(join(ROOT, 'test/storm/storm-payment.ts'), join(folder, 'services/payment.ts'));
  for (const other of ['ingress.yaml', 'staging.yaml', 'subsets.yaml']) rmSync(join(folder, 'mesh', other));
  return folder;
};

/** Both recipes, with a retry budget. */
const recipes = (peakEwma: boolean): string => {
  const read = (name: string) => parseAllDocuments(readFileSync(join(ROOT, 'examples/shop/recipes', name), 'utf8'));
  const documents = [...read('circuit-breaker.yaml'), ...read('retries.yaml')];
  for (const document of documents) {
    if (document.get('kind') !== 'DestinationRule') continue;
    document.setIn(['spec', 'trafficPolicy', 'retryBudget'], BUDGET);
    if (peakEwma) document.setIn(['metadata', 'annotations'], { [PEAK_EWMA]: 'peak-ewma' });
  }
  return documents.map((d) => d.toString({ directives: false })).join('---\n');
};

const counters = async (mesh: Mesh, caller: string): Promise<{ readonly retries: number; readonly refused: number }> => {
  const page = (await mesh.exec(caller, 'curl', '-s', 'http://127.0.0.1:15000/stats')).out;
  const value = (name: string): number => {
    const line = page.split('\n').find((l) => l.startsWith(CLUSTER) && l.includes(`.${name}: `));
    if (line === undefined) throw new Error(`${caller} tells nothing of ${name}`);
    return Number(line.split(': ')[1]);
  };
  return { retries: value('upstream_rq_retry'), refused: value('upstream_rq_retry_overflow') };
};

const storm = async (contender: Contender, folder: string, rows: Row[]): Promise<void> => {
  const mesh = new Mesh({ port: contender.port, folder, env: contender.env ?? {} });
  try {
    const script = join(mesh.dir, 'test/storm-load.ts');
    cpSync(join(ROOT, 'test/storm/storm-load.ts'), script);
    await mesh.up(...contender.up);
    const caller = (await mesh.workload(CALLER)).name;
    const instance = await mesh.workload(TARGET, 'v2');
    const file = join(mesh.dir, 'mesh/storm.yaml');
    // Runtimes and connections are warm when it begins.
    await loadFrom(mesh, caller, script, WARM_UP_SECONDS);
    for (const { phase, peakEwma } of contender.rounds) {
      // Rules taken away and given again: who was ejected has a new chance.
      rmSync(file, { force: true });
      await settled(mesh);
      writeFileSync(file, recipes(peakEwma));
      await settled(mesh);
      await breakIt(mesh, instance.name, phase.broken);
      const before = await counters(mesh, caller);
      const load = await loadFrom(mesh, caller, script, phase.seconds);
      const after = await counters(mesh, caller);
      rows.push({
        contender: peakEwma ? `${contender.title}, peak EWMA` : contender.title,
        phase: phase.name,
        load,
        retries: after.retries - before.retries,
        refused: after.refused - before.refused,
        atOnce: retriesAtOnce(load.ran, await retriesSeen(mesh), BUDGET),
      });
      await mesh.exec(instance.name, 'curl', '-s', '-X', 'DELETE', 'http://127.0.0.1:8080/broken');
    }
  } finally {
    mesh.remove();
  }
};

const loadFrom = async (mesh: Mesh, caller: string, script: string, seconds: number): Promise<StormLoad> => {
  const ran = await mesh.exec(caller, 'bun', script, URL, JSON.stringify({ rate: RATE, seconds }));
  if (ran.code !== 0) throw new Error(`storm-load: exit ${ran.code} ${ran.err.slice(-1000)}`);
  return JSON.parse(ran.out.trim().split('\n').at(-1) ?? '{}') as StormLoad;
};

/** Of all instances, since they were asked last. */
const retriesSeen = async (mesh: Mesh): Promise<Ran> => {
  const { workloads } = JSON.parse(await mesh.ok('status', '-o', 'json')) as { workloads: { name: string; labels: { app?: string } }[] };
  const instances = workloads.filter((w) => w.labels.app === TARGET);
  const pages = await Promise.all(instances.map((w) => mesh.exec(w.name, 'curl', '-s', 'http://127.0.0.1:8080/retries')));
  return pages.flatMap((page) => JSON.parse(page.out) as Ran);
};

const breakIt = async (mesh: Mesh, instance: string, broken: object): Promise<void> => {
  const args = ['-s', '-X', 'PUT', '-H', 'content-type: application/json', '-d', JSON.stringify(broken)];
  const done = await mesh.exec(instance, 'curl', ...args, 'http://127.0.0.1:8080/broken');
  if (!done.out.includes('broken')) throw new Error(`the instance does not break: ${done.out} ${done.err}`);
};

/** The change has reached every proxy. */
const settled = async (mesh: Mesh): Promise<void> => {
  await new Promise((resolve) => setTimeout(resolve, 700));
  await mesh.skein('status', '-o', 'json');
};

const table = (rows: readonly Row[]): string => {
  const head = ['one of three instances', 'proxy', 'success', 'p50 ms', 'p99 ms', 'retries', 'refused', 'at once (allowed)'];
  const lines = [...rows]
    .sort((a, b) => PHASES.findIndex((p) => p.name === a.phase) - PHASES.findIndex((p) => p.name === b.phase))
    .map(({ phase, contender, load, retries, refused, atOnce }) => [
      phase,
      contender,
      `${((100 * load.succeeded) / load.sent).toFixed(2)} %`,
      load.p50Ms.toFixed(1),
      load.p99Ms.toFixed(1),
      String(retries),
      String(refused),
      `${atOnce.most} (${atOnce.allowed})`,
    ]);
  const all = [head, ...lines];
  const widths = head.map((_, i) => Math.max(...all.map((line) => line[i]?.length ?? 0)));
  const text = all.map((line) =>
    line
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  return [text[0], widths.map((w) => '-'.repeat(w)).join('  '), ...text.slice(1)].join('\n');
};

/** How much less of its requests may succeed than with Envoy, for what chance does to a few hundred of them. */
const WORSE_BY_AT_MOST = 0.02;

const judge = (rows: readonly Row[]): string[] => {
  const problems = rows.filter((r) => r.atOnce.beyond > 0).map((r) => `${r.contender}, ${r.phase}: more retries than the budget allows`);
  for (const { name } of PHASES) {
    const share = (contender: string): number | undefined => {
      const row = rows.find((r) => r.phase === name && r.contender === contender);
      return row === undefined ? undefined : row.load.succeeded / row.load.sent;
    };
    const [own, envoy] = [share('skein'), share('envoy')];
    if (own !== undefined && envoy !== undefined && own < envoy - WORSE_BY_AT_MOST)
      problems.push(`${name}: fewer requests succeed than with Envoy`);
  }
  return problems;
};

const contenders = (): readonly Contender[] => {
  const envoy = envoyBinary();
  const plain = PHASES.map((phase) => ({ phase, peakEwma: false }));
  const slow = PHASES.filter(({ broken }) => !('status' in broken)).map((phase) => ({ phase, peakEwma: true }));
  return [
    { title: 'skein', port: 18_090, up: [], rounds: [...plain, ...slow] },
    ...(envoy === undefined ? [] : [{ title: 'envoy', port: 18_091, up: ['--proxy', 'envoy'], env: { ENVOY: envoy }, rounds: plain }]),
  ];
};

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => {
    removeAll();
    process.exit(130);
  });

const { values } = parseArgs({ options: { proxy: { type: 'string' } } });
const folder = smallShop();
const rows: Row[] = [];
try {
  for (const contender of contenders())
    if (values.proxy === undefined || values.proxy === contender.title) await storm(contender, folder, rows);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
console.log(table(rows));
for (const { contender, phase, load } of rows)
  if (load.failures.length > 0) console.log(`${contender}, ${phase}: ${load.failures.join(', ')}`);
const problems = judge(rows);
for (const problem of problems) console.error(problem);
process.exitCode = problems.length === 0 ? 0 : 1;
