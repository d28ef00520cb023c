// npm run bench:cost: what each feature adds to the CPU of a request, beside Envoy with the same configuration: one hop of plain HTTP/1.1,
// 32 connections, on loopback. For each feature four proxies take turns: ours and Envoy, without and with it. Writes
// bench/results/cost.md and cost.json; leaves nothing else behind, also after Ctrl-C.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { envoyBinary } from '../../test/conformance/proxies.ts';
import { installed, missingText, RESULTS } from '../line-up.ts';
import { describeMachine } from '../machine.ts';
import { measure } from '../measure.ts';
import { nginxBackend, writeBackendFiles } from '../peers/backends.ts';
import type { Contender, Route } from '../peers/contender.ts';
import { freePorts, Processes, untilListening } from '../peers/processes.ts';
import { SCENARIOS } from '../scenarios.ts';
import { median, type Round, summarize, wantsAnother } from '../statistics.ts';
import { bootstrapOf, type Feature, features } from './features.ts';
import { type CostRow, type Figures, PROXIES, type ProxyName, renderCost } from './report.ts';

const HELP = `npm run bench:cost -- [OPTIONS]: CPU per request that a feature adds, in Skein and in Envoy.

  --rounds N      clean rounds of each proxy with and without the feature (7)
  --seconds S     length of a round (2)
  --only NAMES    some of the rows, for example jwt,rbac
  --dirty         rounds count although others used the machine (a look, not a result)
  --quick         a smoke run: one short dirty round; its figures mean nothing
  --help
`;
const SKEIN = fileURLToPath(new URL('../../bin/skein', import.meta.url));
const WARM_UP_TURNS = 3;
const ONE_HOP = SCENARIOS.find((s) => s.id === 'a');

interface Options {
  readonly rounds: number;
  readonly seconds: number;
  readonly only: readonly string[] | undefined;
  readonly quick: boolean;
  readonly dirty: boolean;
}

const print = (line: string): void => {
  process.stdout.write(`${line}\n`);
};

const command = (proxy: ProxyName, file: string, envoy: string): readonly string[] =>
  proxy === 'skein'
    ? [SKEIN, 'proxy', '-c', file]
    : [envoy, '-c', file, '--concurrency', '1', '--disable-hot-restart', '--log-level', 'error'];

interface Setting {
  readonly envoy: string;
  readonly backendPort: number;
  readonly work: string;
  readonly options: Options;
  readonly signal: AbortSignal;
}

/** Starts a proxy with a feature; throws when it does not take the configuration. */
const startProxy = async (proxy: ProxyName, feature: Feature, setting: Setting, processes: Processes): Promise<Contender> => {
  const [port = 0] = await freePorts(1);
  const name = `${proxy}-${feature.id}`;
  const file = join(setting.work, `${name}.json`);
  const log = join(setting.work, `${name}.log`);
  writeFileSync(file, bootstrapOf(feature, port, setting.backendPort));
  const pid = processes.start(command(proxy, file, setting.envoy), log);
  await untilListening(name, [port], log);
  const route: Route = { via: [], host: '127.0.0.1', port, hops: [() => [pid]], request: { path: feature.path, headers: feature.headers } };
  const answer = await fetch(`http://127.0.0.1:${port}${feature.path}`, { headers: headersOf(feature), signal: setting.signal });
  await answer.arrayBuffer();
  if (answer.status !== 200) throw new Error(`${name} answers ${answer.status}`);
  return { name, note: '', route: () => route, roots: () => [] };
};

const headersOf = (feature: Feature): Record<string, string> =>
  Object.fromEntries(feature.headers.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]));

/** Rounds of every contender, taken in turns. */
const takeTurns = async (contenders: readonly Contender[], setting: Setting): Promise<Map<string, Round[]>> => {
  if (ONE_HOP === undefined) throw new Error('there is no scenario of one hop');
  const { rounds: wanted, seconds, quick, dirty } = setting.options;
  const out = new Map(contenders.map((c) => [c.name, [] as Round[]]));
  const turn = (c: Contender): Promise<Round> => measure(c, ONE_HOP, { seconds, scratch: setting.work, signal: setting.signal }, () => []);
  if (!quick) for (const contender of contenders) for (let i = 0; i < WARM_UP_TURNS; i++) await turn(contender);
  const waiting = (c: Contender): boolean => {
    const have = out.get(c.name) ?? [];
    return dirty ? have.length < wanted : wantsAnother(have, wanted);
  };
  for (let left = contenders.filter(waiting); left.length > 0; left = contenders.filter(waiting))
    for (const contender of left) out.get(contender.name)?.push(await turn(contender));
  return out;
};

const figuresOf = (rounds: readonly Round[], options: Options): Figures => {
  const { cpu, counted, errors } = summarize(rounds, 1e6, options.dirty);
  return { microseconds: cpu, counted, measured: rounds.length, errors: errors ?? median(rounds.map((r) => r.errors)) ?? 0 };
};

const row = async (feature: Feature, base: Feature, setting: Setting, all: Record<string, readonly Round[]>): Promise<CostRow> => {
  const processes = new Processes();
  const missing = new Map<ProxyName, string>();
  const contenders: Contender[] = [];
  try {
    for (const proxy of PROXIES)
      try {
        const both = [await startProxy(proxy, base, setting, processes), await startProxy(proxy, feature, setting, processes)];
        contenders.push(...both);
      } catch (error) {
        setting.signal.throwIfAborted();
        missing.set(
          proxy,
          (error as Error).message
            .trim()
            .replace(/\s*\n\s*/g, ' / ')
            .slice(-300),
        );
      }
    const rounds = await takeTurns(contenders, setting);
    for (const [name, list] of rounds) all[`${feature.id}/${name}`] = list;
    const figures = (proxy: ProxyName, of: Feature): Figures => figuresOf(rounds.get(`${proxy}-${of.id}`) ?? [], setting.options);
    return {
      title: feature.title,
      missing,
      base: { skein: figures('skein', base), envoy: figures('envoy', base) },
      with: { skein: figures('skein', feature), envoy: figures('envoy', feature) },
    };
  } finally {
    await processes.stop();
  }
};

const bench = async (options: Options, signal: AbortSignal): Promise<void> => {
  const envoy = envoyBinary();
  if (envoy === undefined) throw new Error(missingText('envoy'));
  for (const program of ['nginx', 'wrk']) if (!installed(program)) throw new Error(missingText(program));
  const machine = await describeMachine(envoy);
  const [base, ...rest] = features(Date.now());
  const chosen = rest.filter((f) => options.only?.includes(f.id) ?? true);
  const work = mkdtempSync(join(tmpdir(), 'skein-cost-'));
  const processes = new Processes();
  try {
    const [http = 0, http2 = 0, grpc = 0, tcp = 0] = await freePorts(4);
    writeBackendFiles(work, '127.0.0.1', { http, http2, grpc, tcp });
    const log = join(work, 'backend.log');
    processes.start(nginxBackend(work), log);
    await untilListening('the backend', [http], log);
    const rows: CostRow[] = [];
    const rounds: Record<string, readonly Round[]> = {};
    for (const feature of chosen) {
      print(feature.title);
      rows.push(await row(feature, base, { envoy, backendPort: http, work, options, signal }, rounds));
    }
    const text = renderCost({ ...options, machine, rows });
    mkdirSync(RESULTS, { recursive: true });
    writeFileSync(join(RESULTS, 'cost.md'), text);
    const record = rows.map(({ missing, ...r }) => ({ ...r, missing: Object.fromEntries(missing) }));
    writeFileSync(join(RESULTS, 'cost.json'), `${JSON.stringify({ machine, rows: record, rounds }, null, 1)}\n`);
    print(`\n${text}\nwritten: ${join(RESULTS, 'cost.md')}, cost.json`);
  } finally {
    await processes.stop();
    rmSync(work, { recursive: true, force: true });
  }
};

const positive = (name: string, text: string | undefined, otherwise: number): number => {
  const value = text === undefined ? otherwise : Number(text);
  if (!(value > 0)) throw new Error(`--${name} must be a positive number, not ${JSON.stringify(text)}`);
  return value;
};

const main = async (): Promise<void> => {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  const { values } = parseArgs({ options: { rounds: text, seconds: text, only: text, quick: flag, dirty: flag, help: flag } });
  if (values.help) {
    process.stdout.write(HELP);
    return;
  }
  const { quick } = values;
  const interrupt = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => interrupt.abort(new Error('interrupted')));
  await bench(
    {
      rounds: Math.ceil(positive('rounds', values.rounds, quick ? 1 : 7)),
      seconds: positive('seconds', values.seconds, quick ? 1 : 2),
      only: values.only?.split(','),
      quick,
      dirty: quick || values.dirty,
    },
    interrupt.signal,
  );
};

main().then(
  () => process.exit(0),
  (error: Error) => {
    process.stderr.write(`bench:cost: ${error.message}\n`);
    process.exit(error.message === 'interrupted' ? 130 : 1);
  },
);
