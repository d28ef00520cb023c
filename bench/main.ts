// npm run bench: Skein beside Envoy, nginx and haproxy over the scenarios of scenarios.ts, in interleaved rounds on one machine.
// `npm run bench -- --help` tells the options. Writes bench/results/; leaves nothing else behind, also after Ctrl-C.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { envoyBinary } from '../test/conformance/proxies.ts';
import { installed, LineUp, missingText, RESULTS } from './line-up.ts';
import { PROGRAMS } from './load/generators.ts';
import { describeMachine } from './machine.ts';
import { HELP, OptionError, type Options, parseOptions } from './options.ts';
import { renderReport } from './report.ts';
import { CONTENDERS, type Scenario, takesPart } from './scenarios.ts';
import { Session } from './session.ts';
import { judge } from './targets.ts';
import type { TelemetryFacts } from './telemetry/tallies.ts';
import { noteTls } from './tls-facts.ts';

const print = (line: string): void => {
  process.stdout.write(`${line}\n`);
};

const factsRecord = ({ tallies, recoveries, failedRequests }: TelemetryFacts) => ({
  tallies: Object.fromEntries(tallies),
  recoveries: Object.fromEntries(recoveries),
  failedRequests,
});

/** A scenario whose contenders live as long as it lasts. */
const runTelemetry = async (
  scenario: Scenario,
  session: Session,
  lineUp: LineUp,
  options: Options,
  signal: AbortSignal,
): Promise<TelemetryFacts | undefined> => {
  const pairs = lineUp.telemetryPairs();
  try {
    print('\nstarting sidecars with and without telemetry');
    await pairs.start((name) => takesPart(scenario, name, options.only), signal);
    lineUp.contenders.push(...pairs.contenders);
    await session.run(scenario);
    const tallies = await pairs.tallies();
    print('  collectors come back');
    const recoveries = await pairs.recover(scenario, lineUp.scratch, signal);
    return { tallies, recoveries, failedRequests: session.errorsOf(scenario) };
  } catch (error) {
    signal.throwIfAborted();
    session.leaveOut(scenario, (error as Error).message);
    return undefined;
  } finally {
    await pairs.stop();
  }
};

const bench = async (options: Options, signal: AbortSignal): Promise<void> => {
  const binary = envoyBinary();
  const machine = await describeMachine(binary);
  mkdirSync(RESULTS, { recursive: true });
  const runnable = options.scenarios.filter((s) => PROGRAMS[s.load].every(installed));
  const lineUp = new LineUp(binary, signal);
  try {
    print('starting the contenders');
    await lineUp.start((name) => runnable.some((s) => takesPart(s, name, options.only)));
    for (const [name, why] of lineUp.absent) print(`${name}: not run: ${why}`);
    for (const contender of lineUp.contenders) await noteTls(contender, signal);
    const session = new Session(options, lineUp, signal, print);
    await session.noteReadyMemory();
    let telemetry: TelemetryFacts | undefined;
    for (const scenario of options.scenarios) {
      const lacking = PROGRAMS[scenario.load].find((program) => !installed(program));
      if (lacking !== undefined) session.leaveOut(scenario, missingText(lacking));
      else if (scenario.own !== true) await session.run(scenario);
      else if (scenario.contenders.some((name) => takesPart(scenario, name, options.only)))
        telemetry = await runTelemetry(scenario, session, lineUp, options, signal);
    }
    const results = { ...session.results(), telemetry };
    const notes = new Map(
      CONTENDERS.flatMap((name) => lineUp.contenders.filter((c) => c.name === name).map((c) => [name, c.note] as const)),
    );
    const text = renderReport({ ...options, machine, results, notes, notRun: session.notRun });
    writeFileSync(join(RESULTS, 'bench.md'), text);
    const record = {
      machine,
      rounds: session.record(),
      medians: session.medians(),
      targets: judge(results),
      telemetry: telemetry && factsRecord(telemetry),
    };
    writeFileSync(join(RESULTS, 'bench.json'), `${JSON.stringify(record, null, 1)}\n`);
    print(`\n${text}\nwritten: ${join(RESULTS, 'bench.md')}, bench.json, config-dump-*.json`);
  } finally {
    await lineUp.stop();
  }
};

const main = async (): Promise<void> => {
  const options = parseOptions(process.argv.slice(2));
  if (options.help) {
    process.stdout.write(HELP);
    return;
  }
  const interrupt = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      if (!interrupt.signal.aborted) print('stopping: ending what was started');
      interrupt.abort(new Error('interrupted'));
    });
  }
  await bench(options, interrupt.signal);
};

const exitCode = (error: NodeJS.ErrnoException): number => {
  if (error.message === 'interrupted') return 130;
  return error instanceof OptionError || error.code?.startsWith('ERR_PARSE_ARGS') ? 2 : 1;
};

main().then(
  () => process.exit(0),
  (error: Error) => {
    process.stderr.write(`bench: ${error.message}\n`);
    process.exit(exitCode(error));
  },
);
