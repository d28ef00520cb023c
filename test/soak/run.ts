// npm run soak [-- --minutes 30 --proxy skein|envoy --hostile PATTERN --quiet]: two sidecars with mutual TLS under a mixed, bounded load with hostile clients and
// configuration changes all the while. Samples memory and descriptors of every process each 10 s; what counts as growth is said in
// growth.ts. `--hostile` names the hostile clients that take part, `--quiet` leaves out everything but them and a little HTTP/1.1: to find
// out who makes what grow. Not part of CI.
import { type ChildProcess, spawn } from 'node:child_process';
import { parseArgs } from 'node:util';
import { freePorts } from '../free-port.ts';
import { tool } from '../interop/tools.ts';
import { LoadProcess } from '../nodrop/load-process.ts';
import type { Target } from '../nodrop/load-result.ts';
import { type SidecarPair, startPair } from '../nodrop/sidecar-pair.ts';
import { lineOf } from '../nodrop/verdict.ts';
import { growthOf } from './growth.ts';
import { HostileClients } from './hostile.ts';
import { type Holding, holdingOf } from './process-memory.ts';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '30' },
    proxy: { type: 'string', default: 'skein' },
    hostile: { type: 'string' },
    quiet: { type: 'boolean', default: false },
  },
});
const MINUTES = Number(values.minutes);
const SAMPLE_MS = 10_000;
/** What drains is gone long before the warm-up is over; no stream of the load lives so long. */
const DRAIN_S = 60;
const WARM_UP_MS = Math.min(5, MINUTES / 3) * 60_000;
/** Beyond these a process has grown. */
const ALLOWANCE = { rssMb: 8, privateMb: 8, descriptors: 20 } as const;

interface Sample {
  readonly atMs: number;
  readonly holding: Holding;
}

const targetsOf = ({ ports }: SidecarPair): Target[] =>
  (values.quiet ? (['http1'] as const) : (['http1', 'http2', 'websocket', 'tcp'] as const)).map((protocol) => ({
    ...{ name: protocol, protocol, host: '127.0.0.1', rate: 60, connections: 8, streamMs: 5000, noneLasts: true },
    port: protocol === 'tcp' ? ports.tcp : ports.http,
  }));

/** One of the gRPC interop client's own soaks; begun again when it ends. */
const grpcLoad = (port: number, testCase: string, betweenMs: number, tally: { ended: number; failed: number }): (() => void) => {
  let child: ChildProcess | undefined;
  let stopped = false;
  const begin = (): void => {
    const seconds = 60;
    const args = [
      ...['-server_host', '127.0.0.1', '-server_port', String(port), '-test_case', testCase],
      ...['-soak_iterations', String(Math.floor((seconds * 1000) / betweenMs)), '-soak_min_time_ms_between_rpcs', String(betweenMs)],
      ...['-soak_overall_timeout_seconds', String(seconds * 2), '-soak_per_iteration_max_acceptable_latency_ms', '10000'],
    ];
    child = spawn(tool('grpc-interop-client') ?? '', args, { stdio: 'ignore' });
    child.on('error', () => undefined);
    child.on('exit', (code) => {
      if (stopped) return;
      tally.ended++;
      if (code !== 0) tally.failed++;
      setTimeout(begin, 1000);
    });
  };
  begin();
  return () => {
    stopped = true;
    child?.kill('SIGKILL');
  };
};

const changeOften = (pair: SidecarPair): (() => void) => {
  let i = 0;
  const timer = setInterval(() => {
    // A generation names its statistics: only a few of them.
    const generation = Math.floor(i / 7) % 4;
    if (i % 7 === 0) pair.setCluster('http', generation);
    else if (i % 7 === 1) pair.setRoute(generation);
    else if (i % 7 === 2) pair.setListener('http', generation);
    else if (i % 7 === 3) pair.setEndpoints('http', generation % 2 === 0 ? [0, 1] : [0, 1, 2]);
    else if (i % 7 === 4) pair.setInbound('tcp', generation % 3, generation);
    else if (i % 7 === 5) pair.rotate(i % 2 === 0 ? 'client' : 'server');
    else pair.setEndpoints('tcp', generation % 2 === 0 ? [1, 2] : [0, 1, 2]);
    i++;
  }, 2000);
  return () => clearInterval(timer);
};

const watch = (pids: ReadonlyMap<string, number>, samples: Map<string, Sample[]>): (() => void) => {
  const began = performance.now();
  let rows = 0;
  const timer = setInterval(() => {
    const cells: string[] = [];
    for (const [name, pid] of pids) {
      const holding = holdingOf(pid);
      if (holding === undefined) continue;
      const list = samples.get(name) ?? [];
      list.push({ atMs: performance.now() - began, holding });
      samples.set(name, list);
      cells.push(`${name} rss ${holding.rssMb.toFixed(1)} private ${holding.privateMb.toFixed(1)} MB, ${holding.descriptors} fds`);
    }
    if (rows++ % 6 === 0)
      process.stdout.write(`${((performance.now() - began) / 60_000).toFixed(1).padStart(5)} min  ${cells.join('   ')}\n`);
  }, SAMPLE_MS);
  return () => clearInterval(timer);
};

const verdict = (samples: ReadonlyMap<string, readonly Sample[]>): string[] => {
  const problems: string[] = [];
  process.stdout.write(
    `\n| process | | first | after warm-up, median | last | line | shift | spread | allowed |\n|---|---|---:|---:|---:|---:|---:|---:|---:|\n`,
  );
  for (const [name, list] of samples) {
    const later = list.filter(({ atMs }) => atMs >= WARM_UP_MS);
    for (const what of ['rssMb', 'privateMb', 'descriptors'] as const) {
      const series = later.map(({ holding }) => holding[what]);
      const growth = growthOf(series, ALLOWANCE[what]);
      const middle = [...series].sort((a, b) => a - b)[Math.floor(series.length / 2)] ?? 0;
      const n = (value: number | undefined): string => (value ?? 0).toFixed(what === 'descriptors' ? 0 : 1);
      const cells = [
        list[0]?.holding[what],
        middle,
        list.at(-1)?.holding[what],
        growth.fitted,
        growth.shifted,
        growth.spread,
        ALLOWANCE[what],
      ];
      process.stdout.write(`| ${name} | ${what} | ${cells.map(n).join(' | ')} |\n`);
      if (growth.grew) problems.push(`${name}: ${what} grew by ${n(growth.fitted)} (line), ${n(growth.shifted)} (medians)`);
    }
  }
  return problems;
};

const main = async (): Promise<number> => {
  const [grpcPort = 0] = await freePorts(1);
  const grpcServer = tool('grpc-interop-server');
  const grpc = grpcServer === undefined ? undefined : spawn(grpcServer, ['-port', String(grpcPort)], { stdio: 'ignore' });
  if (grpc === undefined) process.stdout.write('gRPC: not run, there is no grpc-interop-server (sh test/setup builds it)\n');
  const pair = await startPair(values.proxy === 'envoy' ? 'envoy' : 'skein', grpc === undefined ? undefined : grpcPort, DRAIN_S);
  const grpcTally = { ended: 0, failed: 0 };
  const stops: (() => void)[] = [];
  const load = LoadProcess.local(targetsOf(pair));
  let code = 1;
  try {
    await load.started;
    const hostile = new HostileClients(pair.ports.extraHttp, new RegExp(values.hostile ?? ''));
    stops.push(() => hostile.stop());
    if (!values.quiet) stops.push(changeOften(pair));
    if (grpc !== undefined && !values.quiet) {
      stops.push(grpcLoad(pair.ports.http, 'rpc_soak', 50, grpcTally), grpcLoad(pair.ports.http, 'channel_soak', 200, grpcTally));
    }
    const samples = new Map<string, Sample[]>();
    const pids = new Map(Object.entries(pair.proxies).map(([side, { child }]) => [side, child.pid ?? 0]));
    stops.push(watch(pids, samples));
    await new Promise((resolve) => setTimeout(resolve, MINUTES * 60_000));
    for (const stop of stops.splice(0)) stop();
    const results = await load.finish();
    process.stdout.write(`\n${results.map(lineOf).join('\n')}\n`);
    if (grpc !== undefined) process.stdout.write(`gRPC soaks of a minute: ${grpcTally.ended} ended, ${grpcTally.failed} of them failed\n`);
    process.stdout.write(`hostile connections: ${[...hostile.counts].map(([name, n]) => `${name} ${n}`).join(', ')}\n`);
    const problems = verdict(samples);
    for (const side of ['client', 'server'] as const)
      if (pair.proxies[side].child.exitCode !== null) problems.push(`the ${side}'s sidecar has ended`);
    for (const r of results) if (r.failed > 0) problems.push(`${r.name}: ${r.failed} failed: ${r.failures[0]?.reason}`);
    if (grpcTally.failed > 0) problems.push(`gRPC: ${grpcTally.failed} soaks failed`);
    for (const refusal of pair.control.refusals.slice(0, 5)) problems.push(refusal);
    process.stdout.write(`\n${problems.length === 0 ? 'no growth, nothing failed' : problems.join('\n')}\n`);
    process.stdout.write(`${problems.length === 0 ? 1 : 0} passed, ${problems.length} failed\n`);
    code = problems.length === 0 ? 0 : 1;
  } finally {
    for (const stop of stops) stop();
    load.kill();
    grpc?.kill('SIGKILL');
    await pair.stop();
  }
  return code;
};

process.exit(await main());
