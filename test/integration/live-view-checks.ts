// The live views of a running mesh: a tap sees both ends of a call and no credentials, tables count what was sent, and what Envoy cannot
// show is said.
import { randomUUID } from 'node:crypto';
import type { Mesh } from './mesh.ts';
import { eventually, expect, type Named, type Suite } from './suite.ts';

const CHARGE = 'http://payment-service:8080/api/v1/charge';

interface Tapped {
  readonly side: string;
  readonly path: string;
  readonly requestId: string;
  readonly mtls: boolean | null;
  readonly source: { readonly workload: string } | null;
  readonly destination: { readonly workload: string } | null;
}
interface Row {
  readonly source: { readonly workload: string } | null;
  readonly destination: { readonly service: string } | null;
  readonly requests: number;
  readonly mtls: string;
  readonly p50: number | null;
}

/** `isEnvoy`: stock Envoys in all sidecars' place. */
export const liveViewChecks = async (suite: Suite, mesh: Mesh, named: Named, isEnvoy: boolean): Promise<void> => {
  const order = (await mesh.workload('order-service')).name;
  const echo = (await mesh.workload('echo')).name;
  await suite.check(named('tap shows both ends of a call, and no credentials'), () => tapShows(mesh, order, isEnvoy));
  await suite.check(named('edges and stat count what was sent, over mutual TLS'), () => edgesCount(mesh, echo));
  await suite.check(named('trace lists requests and shows one with both its ends'), () => traceShows(mesh, order));
  await suite.check(named('proxy log-level shows and sets'), () => logLevel(mesh, order, isEnvoy));
};

const tapShows = async (mesh: Mesh, order: string, isEnvoy: boolean): Promise<string> => {
  const marked = `${CHARGE}?token=sesame-${process.pid}`;
  const tap = mesh.spawn(
    'tap',
    '--path',
    '/api/v1/charge',
    '--from',
    'order-service',
    '--to',
    'payment-service',
    '--for',
    '20s',
    '-o',
    'json',
    '--headers',
  );
  let out = '';
  let err = '';
  tap.stdout?.on('data', (b: Buffer) => {
    out += b.toString();
  });
  tap.stderr?.on('data', (b: Buffer) => {
    err += b.toString();
  });
  const ended = new Promise((resolve) => tap.on('exit', resolve));
  const both = await eventually('both ends of one charge', 15_000, async () => {
    await mesh.exec(order, 'curl', '-sS', '-o', '/dev/null', '-X', 'POST', '-H', 'authorization: Bearer sesame', marked);
    const seen = out
      .split('\n')
      .slice(0, -1)
      .map((l) => JSON.parse(l) as Tapped);
    return seen.flatMap((a) => {
      const other = seen.find((b) => b.requestId === a.requestId && b.side === 'inbound');
      return a.side === 'outbound' && other !== undefined ? [[a, other] as const] : [];
    })[0];
  }).finally(() => tap.kill('SIGINT'));
  expect((await ended) === 0, `a tap that is interrupted ends with ${tap.exitCode}`);
  expect(!out.includes('sesame'), 'a credential is shown');
  if (isEnvoy) expect(err.includes('cannot be tapped (envoy)'), `what Envoy lacks is not said: ${err}`);
  else for (const r of both) expect(r.mtls === true, `not over mutual TLS: ${JSON.stringify(r)}`);
  for (const r of both)
    expect(r.source?.workload.startsWith('order') === true && r.destination?.workload.startsWith('payment') === true, JSON.stringify(r));
  const audit = await mesh.ok('audit', 'show', '--type', 'call', '-o', 'json', '--limit', '1000');
  expect(isEnvoy || audit.includes('/admin/tap'), 'who taps is not in the audit log');
  return `${out.split('\n').length - 1} shown`;
};

const rows = async (mesh: Mesh, ...args: string[]): Promise<readonly Row[]> =>
  (JSON.parse(await mesh.ok(...args, '-o', 'json')) as { readonly rows: readonly Row[] }).rows;

const edgesCount = async (mesh: Mesh, echo: string): Promise<string> => {
  const edge = async (): Promise<Row | undefined> =>
    (await rows(mesh, 'edges', '--from', 'echo', '--to', 'payment-service', '--window', '1h')).find((r) => r.requests > 0);
  const count = async (): Promise<number> =>
    (await rows(mesh, 'stat', '--from', 'echo', '--to', 'payment-service', '--window', '1h')).reduce((n, r) => n + r.requests, 0);
  const before = await count();
  const sent = 60;
  await mesh.load(echo, 'http://payment-service:8080/version', { count: sent });
  const after = await eventually(`${sent} requests more than ${before}`, 15_000, async () => {
    const now = await count();
    return now - before >= sent ? now : undefined;
  });
  expect(after - before === sent, `${after - before} counted, ${sent} sent`);
  // Stock Envoy's caller does not know; the called side tells in a report of its own, which may come after.
  const found = await eventually('an edge over mutual TLS', 15_000, async () => {
    const row = await edge();
    return row?.mtls === 'mutual_tls' ? row : undefined;
  });
  expect(found?.p50 !== null, 'no latency');
  const top = await mesh.ok('top', '--by', 'edge', '--window', '1h');
  expect(/^SOURCE +DESTINATION +RPS/.test(top) && /echo\.production +payment-v/.test(top) && !top.includes('\u001b'), top);
  return `${sent} of ${sent}`;
};

const traceShows = async (mesh: Mesh, order: string): Promise<undefined> => {
  const sent: string[] = [];
  // A busy sidecar tells of some requests only: one of several is enough.
  const text = await eventually('the trace of a request', 20_000, async () => {
    const id = randomUUID();
    sent.push(id);
    await mesh.exec(order, 'curl', '-sS', '-o', '/dev/null', '-X', 'POST', '-H', `x-request-id: ${id}`, CHARGE);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const answers = await Promise.all(sent.slice(-4).map((one) => mesh.skein('trace', one)));
    return answers.find(({ code, out }) => code === 0 && out.includes('→') && out.includes('←'))?.out;
  });
  expect(/payment-v\d.*←.*charge/.test(text), text);
  expect((await mesh.ok('trace', '--limit', '5')).startsWith('AT '), 'no list');
  expect((await mesh.skein('trace', 'nobody')).code === 1, 'an id that nobody knows is found');
  return undefined;
};

const logLevel = async (mesh: Mesh, order: string, isEnvoy: boolean): Promise<undefined> => {
  const levels = async (...args: string[]): Promise<Readonly<Record<string, string>>> =>
    (JSON.parse(await mesh.ok('proxy', 'log-level', order, ...args, '-o', 'json')) as { readonly loggers: Record<string, string> }).loggers;
  const component = isEnvoy ? 'http' : 'all';
  const before = (await levels())[component] ?? '';
  expect((await levels(`${component}:debug`))[component] === 'debug', 'it is not set');
  expect((await levels(`${component}:${before}`))[component] === before, 'it is not set back');
  expect((await mesh.skein('proxy', 'log-level', order, 'nonesuch:debug')).code === 1, 'a component that is not there is set');
  return undefined;
};
