// npm run conformance -- --oracle DIR [--proxy skein|envoy] [--control skein|recorded] [--only NAME] [-o json]
// npm run conformance -- --oracle DIR --translate [--only NAME,…] [-o json]: compares configuration instead (translate.ts).
// npm run conformance -- --oracle DIR --accept [--only NAME,…]: feeds every recorded answer to a data plane (accept.ts).
// npm run conformance -- --corpora DIR [--only FILE,…] [-o json]: judges cases of Istio's own tests (corpora-main.ts).
// Replays recorded behaviour against a cell of {control plane} x {proxy} and reports every difference.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { acceptRecords } from './accept.ts';
import { corporaMain } from './corpora-main.ts';
import { enterOwnNamespace } from './network.ts';
import { envoyBinary } from './proxies.ts';
import { type Cell, type Found, runScenario } from './run-scenario.ts';
import { loadRecordings, loadScenarios, type RecordedXds, type Scenario } from './scenario.ts';
import { skipReason } from './supported.ts';
import { translateMain } from './translate-main.ts';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../..');
const USAGE =
  'usage: npm run conformance -- --oracle DIR [--proxy skein|envoy] [--control skein|recorded] [--only NAME,…] [--keep] [-o json]';

interface Failure {
  readonly id: string;
  readonly expected: unknown;
  readonly got: unknown;
}

const DEFAULT_ORACLE = process.env['SKEIN_SHARED'] ? join(process.env['SKEIN_SHARED'], 'oracle') : join(ROOT, '../shared/oracle');

const options = (): { oracle: string; cell: Cell; only: string[]; json: boolean; keep: boolean } => {
  const { values } = parseArgs({
    options: {
      oracle: { type: 'string' },
      proxy: { type: 'string', default: 'skein' },
      control: { type: 'string', default: 'skein' },
      only: { type: 'string' },
      keep: { type: 'boolean', default: false },
      output: { type: 'string', short: 'o' },
    },
  });
  const oracle = values.oracle ?? DEFAULT_ORACLE;
  const fail = (why: string): never => {
    process.stderr.write(`${why}\n${USAGE}\n`);
    process.exit(2);
  };
  if (values.proxy !== 'skein' && values.proxy !== 'envoy') return fail(`--proxy ${values.proxy}: skein or envoy`);
  if (values.control !== 'skein' && values.control !== 'recorded') return fail(`--control ${values.control}: skein or recorded`);
  if (!existsSync(join(oracle, 'behaviour.jsonl'))) return fail(`--oracle ${oracle}: no behaviour.jsonl there`);
  return {
    oracle: resolve(oracle),
    cell: { proxy: values.proxy, control: values.control },
    only: values.only?.split(',') ?? [],
    json: values.output === 'json',
    keep: values.keep,
  };
};

const makeCerts = (oracle: string, dir: string): void => {
  const done = spawnSync('bash', [join(oracle, 'make-certs.sh'), dir], { encoding: 'utf8' });
  if (done.status !== 0) throw new Error(`make-certs.sh: ${done.stderr}`);
};

/** Features whose outcome is partly drawn by lot, in Envoy as well. */
const RANDOM: readonly string[] = ['retries', 'timeouts', 'weights', 'canary', 'loadBalancer', 'outlier', 'fault', 'mirror'];

const main = async (): Promise<void> => {
  const args = process.argv.slice(2);
  // Not `process.exit`, which cuts off what a pipe has not taken yet.
  if (args.some((a) => a === '--corpora' || a.startsWith('--corpora='))) {
    process.exitCode = corporaMain(args);
    return;
  }
  if (args.includes('--accept')) {
    await accept(args);
    return;
  }
  if (process.argv.includes('--translate')) process.exit(translateMain(process.argv.slice(2), DEFAULT_ORACLE));
  const { oracle, cell, only, json, keep } = options();
  if (cell.proxy === 'envoy' && !envoyBinary()) throw new Error('no Envoy: set ENVOY or run test/setup');
  enterOwnNamespace();
  const work = mkdtempSync(join(tmpdir(), 'skein-conformance-'));
  const certs = join(work, 'certs');
  mkdirSync(certs);
  makeCerts(oracle, certs);
  const recordings = loadRecordings(oracle);
  const scenarios = loadScenarios(oracle).filter((s) => only.length === 0 || only.includes(s.name));
  let passed = 0;
  let failed = 0;
  const skipped: { id: string; reason: string }[] = [];
  const failures: Failure[] = [];
  for (const scenario of scenarios) {
    const reason = skipReason(scenario, cell, recordings(scenario));
    if (reason) {
      skipped.push({ id: scenario.name, reason });
      continue;
    }
    const started = performance.now();
    let found = await attempt(scenario, cell, work, certs, recordings);
    // Back-off jitter and random picks may meet a time-out or a tail once; a difference that is ours meets it again.
    const again = found.length > 0 && scenario.features.some((f) => RANDOM.includes(f));
    if (again) found = await attempt(scenario, cell, work, certs, recordings);
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    if (found.length === 0) passed++;
    else failed++;
    for (const { vector, difference } of found)
      failures.push({ id: `${scenario.name}#${vector} ${difference.what}`, expected: difference.expected, got: difference.got });
    const line = `${found.length === 0 ? 'ok  ' : 'FAIL'} ${scenario.name} ${seconds} s${again ? ', run twice' : ''}\n`;
    (json ? process.stderr : process.stdout).write(line);
  }
  if (keep) process.stderr.write(`kept: ${work}\n`);
  else rmSync(work, { recursive: true, force: true });
  report({ passed, failed, skipped: skipped.length, failures, skips: skipped }, json);
  process.exit(failed > 0 ? 1 : 0);
};

/** What is refused is told with the field that stands in the way; whether it should be is for accept.test.ts to say. */
const accept = async (args: readonly string[]): Promise<void> => {
  const { values } = parseArgs({
    args: args.filter((a) => a !== '--accept'),
    options: { oracle: { type: 'string', default: DEFAULT_ORACLE }, only: { type: 'string' } },
  });
  const certs = mkdtempSync(join(tmpdir(), 'skein-accept-'));
  try {
    makeCerts(values.oracle, certs);
    const { records, resources, refusals } = await acceptRecords(values.oracle, certs, values.only?.split(',') ?? []);
    for (const { id, why } of refusals) process.stdout.write(`refused ${id}: ${why}\n`);
    process.stdout.write(
      `${records} records, ${resources} resources: ${resources - refusals.length} accepted, ${refusals.length} refused by name\n`,
    );
  } finally {
    rmSync(certs, { recursive: true, force: true });
  }
};

const attempt = async (
  scenario: Scenario,
  cell: Cell,
  work: string,
  certs: string,
  recordings: (scenario: Scenario) => RecordedXds[],
): Promise<Found[]> => {
  const dir = mkdtempSync(join(work, `${scenario.name}-`));
  return runScenario(scenario, cell, { root: ROOT, dir, certs, recordings: recordings(scenario) });
};

interface Report {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly failures: readonly Failure[];
  readonly skips: readonly { id: string; reason: string }[];
}
const report = (r: Report, json: boolean): void => {
  if (json) {
    process.stdout.write(`${JSON.stringify(r, null, 1)}\n`);
    return;
  }
  for (const s of r.skips) process.stdout.write(`skip ${s.id}: ${s.reason}\n`);
  for (const f of r.failures)
    process.stdout.write(`\n${f.id}\n  expected ${JSON.stringify(f.expected)}\n  got      ${JSON.stringify(f.got)}\n`);
  process.stdout.write(`${r.passed} passed, ${r.failed} failed, ${r.skipped} skipped\n`);
};

main().catch((error: Error) => {
  process.stderr.write(`conformance: ${error.message}\n`);
  process.exit(1);
});
