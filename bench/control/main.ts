// The benchmark of a control plane: starts it on a folder, connects the clients, changes one thing at a time and measures until every
// client knows. `npm run bench:control -- --help`.
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { churn } from './churn.ts';
import { churnVerdict, EXIT_CODES, verdictLine } from './churn-verdict.ts';
import { churnSteadyAt } from './folder.ts';
import { HELP, type Options, parseOptions } from './options.ts';
import { phases } from './phases.ts';
import { churnMarkdown, markdown, type Setting } from './report.ts';
import { withRun } from './run.ts';
import { type ScaleRow, scaleMarkdown } from './scale-report.ts';

const RESULTS = fileURLToPath(new URL('../results', import.meta.url));

type Where = Pick<Setting, 'control' | 'machine' | 'date'>;

const where = (options: Options): Where => ({
  control: options.control ?? 'bin/skein control-plane',
  machine: `${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}`,
  date: new Date().toISOString().slice(0, 16).replace('T', ' '),
});

const publish = (options: Options, name: string, report: object, text: string): void => {
  const folder = options.results ?? RESULTS;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${name}.json`), `${JSON.stringify(report, undefined, 2)}\n`);
  writeFileSync(join(folder, `${name}.md`), text);
  process.stdout.write(text);
};

const scale = async (options: Options, sizes: NonNullable<Options['scale']>): Promise<void> => {
  const rows: ScaleRow[] = [];
  const about = where(options);
  for (const size of sizes) {
    process.stderr.write(`${size.n} services, ${size.clients} clients\n`);
    rows.push({ ...size, phases: await withRun({ ...size, options }, phases) });
  }
  const report = { ...about, rows };
  publish(options, 'control', report, scaleMarkdown(report));
};

const main = async (options: Options): Promise<void> => {
  const { n, clients, churnMs } = options;
  if (options.scale) {
    await scale(options, options.scale);
    return;
  }
  const setting = { n, clients, options };
  const name = `control-${n}-${clients}`;
  if (churnMs === undefined) {
    const report = { n, clients, ...where(options), phases: await withRun(setting, phases) };
    publish(options, name, report, markdown(report));
    return;
  }
  const samples = await withRun(setting, (run) => churn(run, churnMs));
  const verdict = churnVerdict(samples, churnSteadyAt(n));
  const report = { n, clients, ...where(options), verdict, samples };
  publish(options, `${name}-churn`, report, churnMarkdown(report));
  process.stderr.write(`${verdictLine(verdict)}\n`);
  process.exitCode = EXIT_CODES[verdict.verdict];
};

try {
  const options = parseOptions(process.argv.slice(2));
  if (options.help) process.stdout.write(HELP);
  else await main(options);
} catch (error) {
  process.stderr.write(`bench:control: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
