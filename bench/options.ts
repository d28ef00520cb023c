// The command line of the benchmark.
import { parseArgs } from 'node:util';
import { CONTENDERS, SCENARIOS, type Scenario } from './scenarios.ts';

export const HELP = `npm run bench -- [OPTIONS]: Skein beside Envoy, nginx and haproxy, interleaved on this machine.

  --rounds N           clean rounds of each measurement (5)
  --seconds S          length of a measurement (2)
  --only NAMES         contenders, for example skein,envoy-full: ${CONTENDERS.join(', ')}
  --scenarios LETTERS  for example a,b; or by name: telemetry
  --idle N             idle connections opened in each of five steps (1000)
  --dirty              rounds count although others used the machine; none is repeated (a look, not a result)
  --quick              a smoke run: one short dirty round of everything; its figures mean nothing
  --help

Scenarios:
${SCENARIOS.map((s) => `  ${s.id}  ${s.title}${s.alias === undefined ? '' : ` (${s.alias})`}`).join('\n')}

What the machine lacks is named and left out; sh test/setup installs it. Results: bench/results/bench.md, bench.json and the
config_dumps of the sidecars. Rounds in which other processes used more than 5 % of the machine, the hypervisor took more than 2 %, or the
open-loop generator was late by more than 5 ms are marked and repeated; only clean ones count.
`;

export interface Options {
  readonly rounds: number;
  readonly seconds: number;
  readonly only: readonly string[] | undefined;
  readonly scenarios: readonly Scenario[];
  readonly idle: number;
  readonly quick: boolean;
  /** Rounds count that are not clean. */
  readonly dirty: boolean;
  readonly help: boolean;
}

export class OptionError extends Error {}

const positive = (name: string, text: string | undefined, otherwise: number): number => {
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (!(value > 0)) throw new OptionError(`--${name} must be a positive number, not ${JSON.stringify(text)}`);
  return value;
};

const chosen = (name: string, text: string | undefined, known: readonly string[]): readonly string[] | undefined => {
  if (text === undefined) return undefined;
  const list = text.split(',').filter((word) => word !== '');
  const odd = list.find((word) => !known.includes(word));
  if (odd !== undefined || list.length === 0)
    throw new OptionError(`--${name} takes some of ${known.join(',')}; not ${JSON.stringify(odd ?? text)}`);
  return list;
};

export const parseOptions = (argv: readonly string[]): Options => {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  const { values } = parseArgs({
    args: [...argv],
    options: { rounds: text, seconds: text, only: text, scenarios: text, idle: text, quick: flag, dirty: flag, help: flag },
  });
  const { quick, help } = values;
  const letters = chosen(
    'scenarios',
    values.scenarios,
    SCENARIOS.flatMap((s) => (s.alias === undefined ? [s.id] : [s.id, s.alias])),
  );
  return {
    rounds: Math.ceil(positive('rounds', values.rounds, quick ? 1 : 5)),
    seconds: positive('seconds', values.seconds, quick ? 1 : 2),
    only: chosen('only', values.only, CONTENDERS),
    scenarios: SCENARIOS.filter((s) => letters === undefined || letters.includes(s.id) || letters.includes(s.alias ?? s.id)),
    idle: Math.ceil(positive('idle', values.idle, quick ? 100 : 1000)),
    quick,
    dirty: quick || values.dirty,
    help,
  };
};
