// The command line of the control plane's benchmark.
import { parseArgs } from 'node:util';

const SCALE_DEFAULT = '100x100,300x300,1000x1000,3000x300';

export const HELP = `npm run bench:control -- [OPTIONS]: how fast, and at what cost, a control plane tells its proxies what is new.

Without --n, --clients and --churn the whole table is measured, 100 × 100 to 1,000 × 1,000 and 3,000 × 300 (some ten minutes), and put
beside what was recorded of istiod: bench/results/control.md and .json.

  --n N            services with two endpoints each; half as many VirtualServices with a split, as many DestinationRules (100)
  --clients C      connected delta xDS clients (as --n)
  --scale LIST     the table's rows (${SCALE_DEFAULT})
  --control CMD    command line of the control plane, run by a shell; {config} is the folder it reads, {state} an empty
                   folder and {address} where it serves plaintext xDS (default: this Skein)
  --address A      HOST:PORT of the xDS server (127.0.0.1:15910)
  --rounds R       how often the weight and the endpoint are changed; the median round counts (3)
  --timeout S      seconds that one phase may take (300)
  --churn MIN      instead: change weights, rules and endpoints, add and remove services for so many minutes, with proxies coming and
                   going, and watch the memory
  --results DIR    where results are written (bench/results)
  --keep           leave the folder of configuration in place
  --help

CPU and memory are those of the process tree that CMD starts. Results: control-N-C.md and .json, control-N-C-churn.md and .json.
Exit codes: 0 measured, and with --churn: memory is flat; 1 it failed, or memory grows; 2 --churn was too short for a verdict.
`;

/** How many services and clients. */
export interface Size {
  readonly n: number;
  readonly clients: number;
}

export interface Options extends Size {
  /** Undefined: one size is measured. */
  readonly scale: readonly Size[] | undefined;
  /** Undefined: where the repository keeps them. */
  readonly results: string | undefined;
  readonly control: string | undefined;
  readonly host: string;
  readonly port: number;
  readonly rounds: number;
  readonly timeoutMs: number;
  /** Undefined: the phases are measured. */
  readonly churnMs: number | undefined;
  readonly keep: boolean;
  readonly help: boolean;
}

export class OptionError extends Error {}

const count = (name: string, text: string | undefined, otherwise: number): number => {
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (!Number.isInteger(value) || value <= 0)
    throw new OptionError(`--${name} must be a positive whole number, not ${JSON.stringify(text)}`);
  return value;
};

const sizes = (text: string): readonly Size[] =>
  text.split(',').map((item) => {
    const [, n, clients] = /^(\d+)x(\d+)$/.exec(item.trim()) ?? [];
    if (n === undefined) throw new OptionError(`--scale is a list such as ${SCALE_DEFAULT}, not ${JSON.stringify(text)}`);
    return { n: count('scale', n, 1), clients: count('scale', clients, 1) };
  });

export const parseOptions = (argv: readonly string[]): Options => {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  const { values } = parseArgs({
    args: [...argv],
    options: {
      n: text,
      clients: text,
      scale: text,
      control: text,
      address: text,
      rounds: text,
      timeout: text,
      churn: text,
      results: text,
      keep: flag,
      help: flag,
    },
  });
  const n = count('n', values.n, 100);
  const address = values.address ?? '127.0.0.1:15910';
  const colon = address.lastIndexOf(':');
  const port = Number(address.slice(colon + 1));
  if (colon <= 0 || !Number.isInteger(port) || port <= 0) throw new OptionError(`--address ${address} is not HOST:PORT`);
  const one = values.n !== undefined || values.clients !== undefined || values.churn !== undefined;
  if (one && values.scale !== undefined) throw new OptionError('--scale measures sizes of its own: leave out --n, --clients and --churn');
  return {
    n,
    scale: one ? undefined : sizes(values.scale ?? SCALE_DEFAULT),
    results: values.results,
    clients: count('clients', values.clients, n),
    control: values.control,
    host: address.slice(0, colon),
    port,
    rounds: count('rounds', values.rounds, 3),
    timeoutMs: count('timeout', values.timeout, 300) * 1000,
    churnMs: values.churn === undefined ? undefined : count('churn', values.churn, 1) * 60_000,
    keep: values.keep,
    help: values.help,
  };
};
