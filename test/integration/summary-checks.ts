// The control plane's own summaries of a running mesh: what they count is what the load generator did, to the last request.
import { join } from 'node:path';
import type { CountedResult, CountedStep } from './counted-load.ts';
import { type Mesh, run } from './mesh.ts';
import { eventually, expect, type Named, type Suite } from './suite.ts';

const STEPS: readonly CountedStep[] = [
  { name: 'version', url: 'http://product-service:8080/version', count: 120 },
  { name: 'missing', url: 'http://product-service:8080/nothing', count: 30 },
  { name: 'store', url: 'tcp://stock:6379', count: 5, pings: 3 },
];

interface Row {
  readonly source: { readonly workload: string } | null;
  readonly destination: { readonly workload: string; readonly service: string };
  readonly requests: number;
  readonly errors: number;
  readonly mtls: string;
  readonly p99: number | null;
  readonly tcp: { readonly closed: number } | null;
}

export const summaryChecks = async (suite: Suite, mesh: Mesh, named: Named, isEnvoy: boolean): Promise<void> => {
  await suite.check(named('summaries count what the load generator did'), () => summariesAgree(mesh, isEnvoy));
};

interface Sums {
  readonly requests: number;
  readonly errors: number;
  readonly closed: number;
  /** All of them are secured, and have percentiles. */
  readonly whole: boolean;
}

const sumsOf = (rows: readonly Row[]): Sums => ({
  requests: rows.reduce((n, r) => n + r.requests, 0),
  errors: rows.reduce((n, r) => n + r.errors, 0),
  closed: rows.reduce((n, r) => n + (r.tcp?.closed ?? 0), 0),
  whole: rows.length > 0 && rows.every((r) => r.mtls === 'mutual_tls' && r.p99 !== null),
});

const rowsOf = async (mesh: Mesh): Promise<readonly Row[]> => {
  const socket = join(mesh.state, 'admin.sock');
  const url = 'http://skein/v1/telemetry/summary?by=edge&window=3600&namespace=production&workload=echo';
  const { out } = await run('curl', ['-sS', '--max-time', '10', '--unix-socket', socket, url]);
  const { rows } = JSON.parse(out) as { readonly rows: readonly Row[] };
  return rows.filter((row) => row.source?.workload === 'echo');
};

const summariesAgree = async (mesh: Mesh, isEnvoy: boolean): Promise<string> => {
  // A service may be several workloads.
  const of = async (service: string): Promise<Sums> =>
    sumsOf((await rowsOf(mesh)).filter((r) => r.destination.service.startsWith(`${service}.`)));
  const [before, tcpBefore] = [await of('product-service'), await of('stock')];
  const echo = (await mesh.workload('echo')).name;
  const ran = await mesh.exec(echo, 'bun', join(mesh.dir, 'test/counted-load.ts'), JSON.stringify(STEPS));
  const said = JSON.parse(ran.out.trim().split('\n').at(-1) ?? '{}') as CountedResult;
  const wanted = [...Object.values(said['version']?.statuses ?? {}), ...Object.values(said['missing']?.statuses ?? {})];
  const total = wanted.reduce((a, b) => a + b, 0);
  expect(total === 150, `the generator made ${total} requests: ${ran.err.slice(-500)}`);
  const row = await eventually('the summary has all requests', 15_000, async () => {
    const now = await of('product-service');
    const count = now.requests - before.requests;
    if (count < total) throw new Error(`${count} of ${total}`);
    // What the called side knows comes in a report of its own.
    if (!now.whole) throw new Error('a row has no percentiles, or is not over mutual TLS');
    return now;
  });
  const [requests, errors] = [row.requests - before.requests, row.errors - before.errors];
  expect(requests === total && errors === 0, `${requests} requests and ${errors} errors, not ${total} and none`);
  const tcp = await eventually('the summary has all connections', 15_000, async () => {
    const now = await of('stock');
    const closed = now.closed - tcpBefore.closed;
    if (closed < 5) throw new Error(`${closed} of 5 connections: ${JSON.stringify(await rowsOf(mesh)).slice(0, 1500)}`);
    return closed;
  });
  expect(tcp === 5, `${tcp} connections, not 5`);
  return `${total} requests and ${tcp} connections${isEnvoy ? ', told of by Envoy' : ''}`;
};
