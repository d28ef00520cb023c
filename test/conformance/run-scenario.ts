// Runs one scenario in one cell: fresh hosts, fresh control plane, fresh proxies, then the vectors in order.
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { compare, type Difference, type Outcome } from './compare.ts';
import { compareConnections, connectionEntries, enoughEntries } from './connection-log.ts';
import type { SentResult } from './host-worker.ts';
import { ADDRESS, besideProcess, inNewNamespace, plugIn } from './network.ts';
import { type Running, start, Worker } from './processes.ts';
import { envoyBinary, gatewayNode, HOSTS, logEntries, type ProxyNode, sidecarNode, writeBootstrap } from './proxies.ts';
import { RecordedControl } from './recorded-control.ts';
import type { RecordedXds, Scenario, Vector, VectorRequest, Workload } from './scenario.ts';

export interface Cell {
  readonly proxy: 'skein' | 'envoy';
  readonly control: 'skein' | 'recorded';
}
interface Place {
  readonly root: string;
  readonly dir: string;
  readonly certs: string;
  readonly recordings: readonly RecordedXds[];
}
interface Host {
  readonly name: string;
  readonly worker: Worker;
}
interface Proxy {
  readonly name: string;
  readonly logFile: string;
  readonly running: Running;
}

const XDS_PORT = 15010;
const SDS_PORT = 15012;
const READY_MS = 25_000;
const LOG_MS = 1_500;
const PROXY_UID = '1337';
const SCENARIO_MS = 40_000;

export interface Found {
  readonly vector: number;
  readonly difference: Difference;
}

export const runScenario = async (scenario: Scenario, cell: Cell, place: Place): Promise<Found[]> => {
  const cleanUp: (() => Promise<void> | void)[] = [];
  const found: Found[] = [];
  const nacks: string[] = [];
  const over = Promise.withResolvers<'over'>();
  const timer = setTimeout(() => over.resolve('over'), SCENARIO_MS);
  try {
    const replay = replayVectors(scenario, cell, place, { cleanUp, found, nacks });
    replay.catch(() => undefined); // what fails after the bound is of no interest
    if ((await Promise.race([replay, over.promise])) === 'over')
      found.push({ vector: -1, difference: { what: 'run', expected: `the scenario ends within ${SCENARIO_MS} ms`, got: 'did not end' } });
  } catch (error) {
    found.push({ vector: -1, difference: { what: 'run', expected: 'the scenario runs', got: (error as Error).message } });
  } finally {
    clearTimeout(timer);
    for (const step of cleanUp.reverse()) await step();
  }
  for (const text of new Set(nacks))
    found.push({ vector: -1, difference: { what: 'nack', expected: 'every resource is accepted', got: text } });
  return found;
};

interface Run {
  readonly cleanUp: (() => Promise<void> | void)[];
  readonly found: Found[];
  readonly nacks: string[];
}

const replayVectors = async (scenario: Scenario, cell: Cell, place: Place, { cleanUp, found, nacks }: Run): Promise<void> => {
  const hosts = await startHosts(scenario, place, cleanUp);
  await startControl(scenario, cell, place, cleanUp, nacks);
  const proxies = await startProxies(scenario, cell, place, hosts, cleanUp);
  for (const [i, vector] of scenario.vectors.entries()) {
    if ('sleep' in vector) {
      await pause(vector.sleep * 1000);
      continue;
    }
    const outcome = await runVector(i, vector, scenario, hosts, proxies);
    const next = scenario.vectors[i + 1];
    const tolerance = { nondeterministic: scenario.nondeterministic ?? '', beforePause: next !== undefined && 'sleep' in next };
    for (const difference of compare(vector.request, vector.expected, outcome, tolerance)) found.push({ vector: i, difference });
  }
  for (const difference of compareConnections(scenario, await connectionLogs(scenario, proxies))) found.push({ vector: -1, difference });
};

/** What was logged beside the vectors' requests. */
const connectionLogs = async (scenario: Scenario, proxies: readonly Proxy[]): Promise<Record<string, Record<string, unknown>[]>> => {
  const out: Record<string, Record<string, unknown>[]> = {};
  for (const until = performance.now() + LOG_MS; ; await pause(25)) {
    for (const { name, logFile } of proxies) out[name] = connectionEntries(logEntries(logFile));
    if (enoughEntries(scenario, out) || performance.now() > until) return out;
  }
};

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

// --- parts

const startHosts = async (scenario: Scenario, place: Place, cleanUp: (() => Promise<void> | void)[]): Promise<Host[]> => {
  const command = [
    process.execPath,
    join(place.root, 'test/conformance/host-worker.ts'),
    place.certs,
    scenario.topology === 'sidecars' ? 'any' : 'listed',
  ];
  const steps = new Map<string, number>();
  const nextStep = (testId: string): number => {
    const step = steps.get(testId) ?? 0;
    steps.set(testId, step + 1);
    return step;
  };
  const hosts: Host[] = [];
  if (scenario.topology === 'gateway') {
    hosts.push({ name: 'gateway', worker: new Worker(command, nextStep) });
  } else {
    for (const name of Object.keys(HOSTS)) hosts.push({ name, worker: new Worker(inNewNamespace(command), nextStep) });
  }
  for (const h of hosts) cleanUp.push(() => h.worker.stop());
  if (scenario.topology === 'sidecars') {
    for (const h of hosts) await plugIn(h.worker.pid, HOSTS[h.name]?.address ?? '');
  }
  const all = [...scenario.workloads, ...(scenario.extraBackends ?? [])];
  const here = (h: Host): readonly Workload[] =>
    scenario.topology === 'gateway' ? all : all.filter((w) => w.address === HOSTS[h.name]?.address);
  await Promise.all(hosts.map((h) => h.worker.run({ kind: 'backends', workloads: unique(here(h)) })));
  return hosts;
};

/** A backend that several services list is one server. */
const unique = (workloads: readonly Workload[]): Workload[] => [...new Map(workloads.map((w) => [`${w.address}:${w.port}`, w])).values()];

const nodeOf = (name: string, scenario: Scenario, recordings: readonly RecordedXds[]): ProxyNode => {
  const address = scenario.topology === 'gateway' ? '127.0.0.1' : (HOSTS[name]?.address ?? '');
  const recorded = recordings.find(
    (r) => r.node?.id.split('~')[1] === address && (scenario.topology === 'sidecars') === r.node.id.startsWith('sidecar~'),
  );
  if (recorded?.node) return recorded.node;
  return scenario.topology === 'gateway' ? gatewayNode(scenario) : sidecarNode(name, scenario);
};

const isTwin = (a: RecordedXds['node'], b: ProxyNode): boolean => {
  const facts = (node: { readonly [key: string]: unknown } | undefined): string => {
    const metadata = (node?.['metadata'] ?? {}) as Record<string, unknown>;
    return `${metadata['NAMESPACE']}/${metadata['SERVICE_ACCOUNT']}`;
  };
  return facts(a) === facts(b);
};

const startControl = async (
  scenario: Scenario,
  cell: Cell,
  place: Place,
  cleanUp: (() => Promise<void> | void)[],
  nacks: string[],
): Promise<void> => {
  const rewrite = (text: string): string => text.replaceAll('/certs/', `${place.certs}/`);
  const secrets = new RecordedControl(place.certs, nacks);
  await secrets.start(`${ADDRESS}:${SDS_PORT}`);
  cleanUp.push(() => secrets.stop());
  if (cell.control === 'recorded') {
    const recorded = new RecordedControl(place.certs, nacks);
    for (const record of place.recordings) if (record.node) recorded.add(record.node.id, record, rewrite);
    for (const name of scenario.topology === 'sidecars' ? scenario.proxies : []) {
      const node = nodeOf(name, scenario, place.recordings);
      if (place.recordings.some((r) => r.node?.id === node.id)) continue;
      // Recorded once for two replicas that differ in nothing but their address.
      const twin = place.recordings.find((r) => isTwin(r.node, node));
      if (!twin) throw new Error(`no configuration was recorded for ${name} or a replica of the same service`);
      recorded.add(node.id, twin, rewrite);
    }
    await recorded.start(`${ADDRESS}:${XDS_PORT}`);
    cleanUp.push(() => recorded.stop());
    return;
  }
  const config = join(place.dir, 'config');
  const { mkdirSync } = await import('node:fs');
  mkdirSync(config, { recursive: true });
  writeFileSync(join(config, 'scenario.yaml'), rewrite(scenario.yaml));
  writeFileSync(join(place.dir, 'mesh.json'), JSON.stringify(scenario.meshConfig));
  const args = [
    'control-plane',
    '--insecure',
    '--config',
    config,
    '--mesh-config',
    join(place.dir, 'mesh.json'),
    '--xds',
    `${ADDRESS}:${XDS_PORT}`,
    '--state',
    join(place.dir, 'state'),
  ];
  const running = start([join(place.root, 'bin/skein'), ...args], join(place.dir, 'control.log'));
  cleanUp.push(() => running.stop());
  await connectable(ADDRESS, XDS_PORT, running, 'the control plane');
};

const connectable = async (host: string, port: number, running: Running, what: string): Promise<void> => {
  const until = performance.now() + READY_MS;
  while (performance.now() < until) {
    if (await tries(host, port)) return;
    const ended = await Promise.race([running.exited.then(() => true), pause(20).then(() => false)]);
    if (ended) throw new Error(`${what} ended: ${running.output().slice(-2000)}`);
  }
  throw new Error(`${what} is not ready after ${READY_MS} ms: ${running.output().slice(-2000)}`);
};

const tries = (host: string, port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, host, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });

const startProxies = async (
  scenario: Scenario,
  cell: Cell,
  place: Place,
  hosts: readonly Host[],
  cleanUp: (() => Promise<void> | void)[],
): Promise<Proxy[]> => {
  const proxies: Proxy[] = [];
  for (const name of scenario.topology === 'gateway' ? ['gateway'] : scenario.proxies) {
    const bootstrap = join(place.dir, `${name}.json`);
    writeBootstrap(bootstrap, nodeOf(name, scenario, place.recordings), ADDRESS, XDS_PORT, SDS_PORT);
    const flags = ['-c', bootstrap, '--file-flush-interval-msec', '50', '--log-level', 'warning'];
    const program =
      cell.proxy === 'envoy'
        ? [envoyBinary() ?? 'envoy', ...flags, '--concurrency', '1', '--disable-hot-restart']
        : [join(place.root, 'bin/skein'), 'proxy', ...flags];
    const host = hosts.find((h) => h.name === name);
    const logFile = join(place.dir, `${name}.log`);
    const command = scenario.topology === 'gateway' || !host ? program : besideProcess(host.worker.pid, asProxyUser(program));
    // Before the proxy: rules that come while its first connections stand can cut them off.
    if (scenario.topology === 'sidecars' && host) await capture(place, host.worker.pid);
    const running = start(command, logFile);
    cleanUp.push(() => running.stop());
    proxies.push({ name, logFile, running });
  }
  await Promise.all(proxies.map((p) => ready(p, hosts, scenario)));
  return proxies;
};

/** Sidecars run as their own user: redirection leaves that user's connections alone. File access stays root's. */
const asProxyUser = (program: readonly string[]): string[] => [
  'setpriv',
  '--reuid',
  PROXY_UID,
  '--inh-caps',
  '+dac_override,+net_bind_service',
  '--ambient-caps',
  '+dac_override,+net_bind_service',
  ...program,
];

const capture = async (place: Place, pid: number): Promise<void> => {
  const log = join(place.dir, `capture-${pid}.log`);
  const running = start(besideProcess(pid, [join(place.root, 'bin/skein'), 'capture', 'apply', '--proxy-uid', PROXY_UID]), log);
  if ((await running.exited) !== 0) throw new Error(`capture: ${running.output()}`);
};

const ready = async (proxy: Proxy, hosts: readonly Host[], scenario: Scenario): Promise<void> => {
  const worker = scenario.topology === 'gateway' ? hosts[0]?.worker : hosts.find((h) => h.name === proxy.name)?.worker;
  const until = performance.now() + READY_MS;
  while (performance.now() < until) {
    const [answer] =
      (await worker?.run({
        kind: 'request',
        request: { path: '/ready', host: 'admin' },
        target: { host: '127.0.0.1', port: 15000 },
        testId: 'ready',
      })) ?? [];
    if (answer?.status === 200) return;
    const ended = await Promise.race([proxy.running.exited.then(() => true), pause(25).then(() => false)]);
    if (ended) throw new Error(`proxy ${proxy.name} ended: ${proxy.running.output().slice(-2000)}`);
  }
  const [waits] =
    (await worker?.run({
      kind: 'request',
      request: { path: '/init_dump', host: 'admin' },
      target: { host: '127.0.0.1', port: 15000 },
      testId: 'init',
    })) ?? [];
  const why = `waits for ${waits?.body.slice(0, 1000).replace(/\s+/g, ' ')}`;
  throw new Error(`proxy ${proxy.name} is not ready after ${READY_MS} ms: ${why} ${proxy.running.output().slice(-2000)}`);
};

// --- vectors

const DEFAULT_PORT = 8000;

const targetOf = (request: VectorRequest): { host: string; port: number } => {
  if (request.to === undefined) return { host: '127.0.0.1', port: request.port ?? DEFAULT_PORT };
  const colon = request.to.lastIndexOf(':');
  return colon < 0
    ? { host: request.to, port: request.port ?? 80 }
    : { host: request.to.slice(0, colon), port: Number(request.to.slice(colon + 1)) };
};

const runVector = async (
  index: number,
  vector: Extract<Vector, { request: unknown }>,
  scenario: Scenario,
  hosts: readonly Host[],
  proxies: readonly Proxy[],
): Promise<Outcome> => {
  const { request, expected } = vector;
  const testId = `t${index}`;
  const target = targetOf(request);
  const client = scenario.topology === 'gateway' ? hosts[0] : hosts.find((h) => h.name === request.from);
  if (!client) throw new Error(`vector ${index}: no host "${request.from}"`);
  if (scenario.topology === 'gateway' && index === 0) await listening(target);
  await Promise.all(hosts.map((h) => h.worker.run({ kind: 'hits' })));
  const results = await client.worker.run({ kind: 'request', request, target, testId });
  await pause((request.settle ?? 0) * 1000);
  const hits: Record<string, number> = {};
  const last: Outcome['last'] = {};
  for (const h of hosts) {
    const taken = await h.worker.run({ kind: 'hits' });
    for (const [name, count] of Object.entries(taken.counts)) hits[name] = (hits[name] ?? 0) + count;
    Object.assign(last, taken.last);
  }
  const total = Object.values(hits).reduce((sum, n) => sum + n, 0);
  return { results, hits, last, log: await logsOf(testId, results, expected.log ?? {}, proxies, total) };
};

/** Listeners open a moment after the proxy says it is ready. */
const listening = async (target: { host: string; port: number }): Promise<void> => {
  for (let i = 0; i < 60; i++) {
    if (await tries(target.host, target.port)) return;
    await pause(25);
  }
};

const logsOf = async (
  testId: string,
  results: readonly SentResult[],
  wanted: Readonly<Record<string, unknown>>,
  proxies: readonly Proxy[],
  hits: number,
): Promise<Record<string, Record<string, unknown>[]>> => {
  const out: Record<string, Record<string, unknown>[]> = {};
  const until = performance.now() + LOG_MS;
  const taken = (proxy: Proxy): Record<string, unknown>[] =>
    logEntries(proxy.logFile).filter((e) => e['id'] === testId || String(e['id']).startsWith(`${testId}-`));
  for (;;) {
    for (const proxy of proxies) out[proxy.name] = taken(proxy);
    const written = Object.values(out).reduce((sum, list) => sum + list.length, 0);
    // Replicas stand for each other and write a line for each hit; every other proxy writes its own, the client's often last.
    const names = Object.keys(wanted);
    const isReplica = (name: string): boolean => /-v\d+$/.test(name);
    const atReplicas = Object.entries(out).reduce((sum, [name, list]) => sum + (isReplica(name) ? list.length : 0), 0);
    const missing =
      names.some((name) => !isReplica(name) && (out[name]?.length ?? 0) < results.length) || (names.some(isReplica) && atReplicas < hits);
    if ((!missing && written >= results.length * Object.keys(wanted).length) || performance.now() > until) break;
    await pause(25);
  }
  return out;
};
