// The loads: each runs a generator to its end and answers what it counted. The generators' own CPU does not count.
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BULK_PATH, GRPC_PATH, GRPC_REQUEST } from '../peers/backends.ts';
import type { Route } from '../peers/contender.ts';
import { type Ran, runCommand } from '../run-command.ts';
import type { LoadKind, Scenario } from '../scenarios.ts';
import { type Counted, parseH2load, parseWrk } from './generator-output.ts';

export interface LoadContext {
  readonly seconds: number;
  /** A folder where generators inside a workload may write. */
  readonly scratch: string;
  readonly signal: AbortSignal;
}

/** Programs that a load needs; what is missing is told by name. */
export const PROGRAMS: Readonly<Record<LoadKind, readonly string[]>> = {
  wrk: ['wrk'],
  churn: ['wrk'],
  h2load: ['h2load'],
  bulk: ['curl'],
  'open-loop': [],
  idle: [],
};

const WRK_CONNECTIONS = 32;
const CHURN_CONNECTIONS = 16;
const H2_CLIENTS = 8;
const H2_STREAMS = 4;
const GRPC_STREAMS = 32;
const OPEN_LOOP_RATE = 1_000;
const OPEN_LOOP_CONNECTIONS = 16;
/** Past its own duration a generator is stuck. */
const GRACE_MS = 30_000;

const fail = (ran: Ran): never => {
  throw new Error(`the load generator failed (exit ${ran.status}): ${`${ran.stdout}${ran.stderr}`.trim().slice(-600)}`);
};

const at = (route: Route, path: string): string => `http://${route.host}:${route.port}${path}`;

const run = (route: Route, context: LoadContext, command: readonly string[]): Promise<Ran> =>
  runCommand([...route.via, ...command], { signal: context.signal, timeoutMs: context.seconds * 1000 + GRACE_MS });

const wrk = async (route: Route, context: LoadContext, connections: number, headers: readonly string[]): Promise<Counted> => {
  const options = ['-t1', `-c${connections}`, `-d${Math.max(1, Math.round(context.seconds))}s`, '--latency', '--timeout', '5s'];
  const all = [...headers, ...(route.request?.headers ?? [])];
  const ran = await run(route, context, ['wrk', ...options, ...all.flatMap((h) => ['-H', h]), at(route, route.request?.path ?? '/')]);
  if (ran.status !== 0) fail(ran);
  return parseWrk(ran.stdout);
};

const h2load = async (route: Route, context: LoadContext, grpc: boolean): Promise<Counted> => {
  const log = join(context.scratch, 'h2load.tsv');
  const body = join(context.scratch, 'grpc-request');
  writeFileSync(body, GRPC_REQUEST);
  rmSync(log, { force: true });
  const asGrpc = ['-d', body, '-H', 'content-type: application/grpc', '-H', 'te: trailers'];
  const ran = await run(route, context, [
    'h2load',
    `-c${H2_CLIENTS}`,
    `-m${grpc ? GRPC_STREAMS : H2_STREAMS}`,
    `-D${context.seconds}`,
    `--log-file=${log}`,
    ...(grpc ? asGrpc : []),
    at(route, grpc ? GRPC_PATH : '/'),
  ]);
  if (ran.status !== 0) fail(ran);
  return parseH2load(ran.stdout, readFileSync(log, 'utf8'), context.seconds);
};

const bulk = async (route: Route, context: LoadContext): Promise<Counted> => {
  const figures = ['--write-out', '%{size_download} %{time_total} %{http_code}'];
  const limit = ['--max-time', String(context.seconds)];
  const ran = await run(route, context, ['curl', '--silent', '--output', '/dev/null', ...limit, ...figures, at(route, BULK_PATH)]);
  const TIME_IS_UP = 28;
  if (ran.status !== 0 && ran.status !== TIME_IS_UP) fail(ran);
  const [bytes = 0, seconds = 1, status = 0] = ran.stdout.trim().split(' ').map(Number);
  return { units: bytes / 1024 ** 3, perSecond: bytes / 1e6 / seconds, errors: status === 200 ? 0 : 1 };
};

const OPEN_LOOP = fileURLToPath(new URL('open-loop-client.ts', import.meta.url));

const openLoop = async (route: Route, context: LoadContext): Promise<Counted> => {
  const numbers = [OPEN_LOOP_RATE, OPEN_LOOP_CONNECTIONS, context.seconds].map(String);
  const ran = await run(route, context, [process.execPath, OPEN_LOOP, route.host, String(route.port), ...numbers]);
  if (ran.status !== 0) fail(ran);
  const { requests, ...counted } = JSON.parse(ran.stdout) as { requests: number } & Omit<Counted, 'units'>;
  return { units: requests, ...counted };
};

export const runLoad = (scenario: Scenario, route: Route, context: LoadContext): Promise<Counted> => {
  switch (scenario.load) {
    case 'wrk':
      return wrk(route, context, WRK_CONNECTIONS, []);
    case 'churn':
      return wrk(route, context, CHURN_CONNECTIONS, ['Connection: close']);
    case 'h2load':
      return h2load(route, context, scenario.path === 'one-hop-grpc');
    case 'bulk':
      return bulk(route, context);
    case 'open-loop':
      return openLoop(route, context);
    case 'idle':
      throw new Error('idle connections are measured in steps');
  }
};
