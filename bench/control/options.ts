// The command line of the control plane's benchmark.
import { parseArgs } from 'node:util';

export const HELP = `npm run bench:control -- [OPTIONS]: how fast, and at what cost, a control plane tells its proxies what is new.

  --n N            services with two endpoints each; half as many VirtualServices with a split, as many DestinationRules (100)
  --clients C      connected delta xDS clients (as --n)
  --control CMD    command line of the control plane, run by a shell; {config} is the folder it reads, {state} an empty
                   folder and {address} where it serves plaintext xDS (default: this Skein)
  --address A      HOST:PORT of the xDS server (127.0.0.1:15910)
  --rounds R       how often the weight and the endpoint are changed; the median round counts (3)
  --timeout S      seconds that one phase may take (300)
  --churn MIN      instead: change weights, rules and endpoints, add and remove services for so many minutes, with proxies coming and
                   going, and watch the memory
  --keep           leave the folder of configuration in place
  --help

CPU and memory are those of the process tree that CMD starts. Results: bench/results/control-N-C.md and .json.
`;

export interface Options {
  readonly n: number;
  readonly clients: number;
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

export const parseOptions = (argv: readonly string[]): Options => {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  const { values } = parseArgs({
    args: [...argv],
    options: { n: text, clients: text, control: text, address: text, rounds: text, timeout: text, churn: text, keep: flag, help: flag },
  });
  const n = count('n', values.n, 100);
  const address = values.address ?? '127.0.0.1:15910';
  const colon = address.lastIndexOf(':');
  const port = Number(address.slice(colon + 1));
  if (colon <= 0 || !Number.isInteger(port) || port <= 0) throw new OptionError(`--address ${address} is not HOST:PORT`);
  return {
    n,
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
