// One measurement: the load runs while the clocks of the hops, of everything that is ours, and of the machine are read before and after.
import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { type LoadContext, runLoad } from './load/generators.ts';
import type { Contender, Route } from './peers/contender.ts';
import { MANY_DESCRIPTORS } from './peers/processes.ts';
import { cpuSecondsOf, KERNEL_THREADS, machineSeconds, memoryOf, treeSeconds, withDescendants } from './process-clock.ts';
import type { Scenario } from './scenarios.ts';
import { foreignShare, type Round } from './statistics.ts';

/** Everything whose CPU is not foreign: this process, what it started, and the roots of every contender. */
export type OwnRoots = () => readonly number[];

const IDLE_CLIENT = fileURLToPath(new URL('load/idle-client.ts', import.meta.url));
const SETTLE_MS = 1_500;

interface Clocks {
  readonly at: number;
  readonly hops: number;
  readonly own: number;
  readonly busy: number;
  readonly stolen: number;
}

const readClocks = (pids: readonly number[], ownRoots: OwnRoots): Clocks => ({
  at: performance.now(),
  hops: cpuSecondsOf(pids),
  own: treeSeconds([process.pid, KERNEL_THREADS, ...ownRoots()]),
  ...machineSeconds(),
});

const shares = (before: Clocks, after: Clocks): Pick<Round, 'foreign' | 'stolen'> => {
  const wall = (after.at - before.at) / 1000;
  const cores = availableParallelism();
  return {
    foreign: foreignShare(after.busy - before.busy, after.own - before.own, wall, cores),
    stolen: Math.max(0, after.stolen - before.stolen) / (wall * cores),
  };
};

const pidsOf = (route: Route): number[] => withDescendants(route.hops.flatMap((hop) => hop()));

const memoryPerHop = (route: Route, pids: readonly number[]): Pick<Round, 'rssMb' | 'privateMb'> => {
  const { rssKb, privateKb } = memoryOf(pids);
  const hops = Math.max(1, route.hops.length);
  return { rssMb: rssKb / 1024 / hops, privateMb: privateKb / 1024 / hops };
};

const routeOf = (contender: Contender, scenario: Scenario): Route => {
  const route = contender.route(scenario.path);
  if (typeof route === 'string') throw new Error(route);
  return route;
};

export const measure = async (contender: Contender, scenario: Scenario, context: LoadContext, ownRoots: OwnRoots): Promise<Round> => {
  const route = routeOf(contender, scenario);
  const pids = pidsOf(route);
  const before = readClocks(pids, ownRoots);
  const counted = await runLoad(scenario, route, context);
  const after = readClocks(pids, ownRoots);
  if (counted.units <= 0) throw new Error('not one request succeeded');
  return { ...counted, cpuSeconds: after.hops - before.hops, ...memoryPerHop(route, pids), ...shares(before, after) };
};

/** Opens `perStep` idle connections in each of `steps` steps; each step is a round. */
export const measureIdle = async (
  contender: Contender,
  scenario: Scenario,
  steps: number,
  perStep: number,
  context: LoadContext,
  ownRoots: OwnRoots,
): Promise<Round[]> => {
  const route = routeOf(contender, scenario);
  const { tls } = route;
  if (tls === undefined) throw new Error('there is no TLS listener');
  const [program = '', ...args] = [
    ...[...route.via, ...MANY_DESCRIPTORS, process.execPath, IDLE_CLIENT, route.host, String(route.port)],
    ...[tls.cert, tls.key, tls.alpn, tls.sni],
  ];
  context.signal.throwIfAborted();
  const client = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
  const over = new Promise<void>((resolve) => client.once('close', () => resolve()));
  let complaint = '';
  client.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint += text;
  });
  client.stdin.on('error', () => undefined);
  const abort = (): void => {
    client.stdin.destroy();
  };
  context.signal.addEventListener('abort', abort, { once: true });
  const lines = createInterface({ input: client.stdout })[Symbol.asyncIterator]();
  const rounds: Round[] = [];
  try {
    for (let step = 0; step < steps; step++) {
      const pids = pidsOf(route);
      const before = readClocks(pids, ownRoots);
      const memory = memoryOf(pids);
      client.stdin.write(`${perStep}\n`);
      const line = await lines.next();
      if (line.done) throw new Error(`connections could not be opened: ${complaint.trim().slice(-300)}`);
      const opened = readClocks(pids, ownRoots);
      await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
      const grown = memoryOf(pids).rssKb - memory.rssKb;
      rounds.push({
        units: perStep,
        perSecond: perStep / ((opened.at - before.at) / 1000),
        cpuSeconds: opened.hops - before.hops,
        errors: 0,
        kibPerConnection: grown / perStep,
        ...memoryPerHop(route, pids),
        // Memory does not care who else uses the CPU.
        foreign: 0,
        stolen: 0,
      });
    }
  } finally {
    context.signal.removeEventListener('abort', abort);
    client.stdin.end();
    await over;
  }
  return rounds;
};
