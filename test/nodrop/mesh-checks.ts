// The same load from a workload of a real mesh: rules edited in the folder, a Service whose selector changes each second, certificates
// that the agents renew by themselves, sidecars that hand over to a new process.
import { spawn } from 'node:child_process';
import { cpSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as after } from 'node:timers/promises';
import { envoyBinary } from '../conformance/proxies.ts';
import { Mesh, ROOT } from '../integration/mesh.ts';
import { eventually, expect, type Named, type Suite } from '../integration/suite.ts';
import { toolPath } from '../interop/tools.ts';
import { LOAD_PROGRAM, LoadProcess } from './load-process.ts';
import type { Target } from './load-result.ts';
import type { PairRun } from './pair-checks.ts';
import { badLines, judgeLoad, lineOf } from './verdict.ts';

/** Asked of the authority; renewed at half of it. */
const CERTIFICATE_S = 60;
const RENEWALS_SEEN_S = 75;
const PORTS = { http1: 8080, http2: 8081, websocket: 8080, tcp: 9000 } as const;
const SIDECARS = ['client', 'server-a', 'server-b'] as const;

export const meshChecks = async (suite: Suite, named: Named, options: PairRun): Promise<void> => {
  const mesh = new Mesh({
    port: 18_095,
    folder: join(ROOT, 'test/nodrop'),
    env: { PATH: toolPath(), SKEIN_CERTIFICATE_TTL: String(CERTIFICATE_S), ENVOY: envoyBinary() ?? '' },
  });
  cpSync(join(ROOT, 'test/interop/peers'), join(mesh.dir, 'peers'), { recursive: true });
  writeRules(mesh, 0);
  try {
    const up = await suite.check(
      named('the mesh is ready'),
      async () => {
        await mesh.up(...(options.kind === 'envoy' ? ['--proxy', 'envoy'] : []));
        return undefined;
      },
      'always',
    );
    if (up) await underLoad(suite, named, mesh, options);
    else process.stdout.write(`${(await mesh.skein('status')).out.slice(-3000)}\n`);
  } finally {
    mesh.remove();
  }
};

const underLoad = async (suite: Suite, named: Named, mesh: Mesh, options: PairRun): Promise<void> => {
  const { extent, kind } = options;
  const step = (title: string, act: () => Promise<string>): Promise<boolean> =>
    suite.check(named(`${title}: nothing dropped`), () => oneStep(mesh, options, act));
  await step('rules edited in the folder', async () => {
    for (let i = 1; i <= extent.changes; i++) {
      writeRules(mesh, i);
      await after(Math.max(200, extent.changeMs));
    }
    return `${extent.changes} edits`;
  });
  await step('a Service whose selector changes each second', async () => {
    for (let i = 0; i < extent.churnS; i++) {
      select(mesh, ['{ app: server, track: a }', '{ app: server }', '{ app: server, track: b }', '{ app: server }'][i % 4] ?? '');
      await after(1000);
    }
    select(mesh, '{ app: server }');
    return `for ${extent.churnS} s`;
  });
  if (kind === 'envoy') process.stdout.write(`skip  ${named('hot restarts')}: not run, Envoy’s agent has none\n`);
  else await step('a hot restart of every sidecar', () => hotRestartAll(mesh));
  if (extent.churnS < RENEWALS_SEEN_S / 2)
    process.stdout.write(
      `skip  ${named('certificates renewed by the agents')}: not run, the short form has no ${RENEWALS_SEEN_S} s for it\n`,
    );
  else
    await step('certificates renewed by the agents', async () => {
      const before = await serials(mesh);
      await after(RENEWALS_SEEN_S * 1000);
      const now = await serials(mesh);
      for (const [name, serial] of now) expect(serial !== before.get(name), `${name} still has the certificate ${serial}`);
      return `all ${now.size} sidecars have new ones`;
    });
};

const oneStep = async (mesh: Mesh, { rate, protocols }: PairRun, act: () => Promise<string>): Promise<string> => {
  const targets: Target[] = protocols.map((protocol) => ({
    name: protocol,
    protocol,
    host: 'server',
    port: PORTS[protocol],
    rate,
    connections: protocol === 'http2' ? 4 : 16,
    streamMs: 6000,
  }));
  const lines = await accessLines(mesh);
  const load = new LoadProcess(
    spawn(join(ROOT, 'bin/skein'), ['exec', 'client', '--', 'node', LOAD_PROGRAM, JSON.stringify(targets)], {
      env: { ...process.env, ...mesh.env },
    }),
  );
  try {
    await load.started;
    const since = Date.now();
    await after(500);
    const done = await act();
    await after(1000);
    const results = await load.finish();
    await after(1500); // the logs are written
    const problems = results.flatMap((r) => judgeLoad(r, [], since));
    for (const [name, all] of await accessLines(mesh)) problems.push(...badLines(name, all.slice(lines.get(name)?.length ?? 0)));
    const table = results.map(lineOf).join('\n');
    expect(problems.length === 0, `${problems.slice(0, 25).join('\n')}\n(${problems.length} problems; ${done})\n${table}`);
    return `${done}; 0 of ${results.reduce((sum, r) => sum + r.sent, 0)} failed\n${table.replace(/^/gm, '        ')}\n     `;
  } finally {
    load.kill();
  }
};

const writeRules = (mesh: Mesh, generation: number): void => {
  const file = join(mesh.dir, 'mesh/rules.yaml');
  const http = (port: number): string => `  - match: [{port: ${port}}]
    headers: {request: {set: {x-generation: "${generation}"}}}
    route: [{destination: {host: server, port: {number: ${port}}}}]
    retries: {attempts: 0}
`;
  const text = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: server, namespace: nodrop}
spec:
  hosts: [server]
  http:
${http(8080)}${http(8081)}---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: server, namespace: nodrop}
spec:
  host: server
  trafficPolicy:
    connectionPool: {tcp: {connectTimeout: ${10 + (Math.floor(generation / 3) % 5)}s}}
`;
  writeFileSync(`${file}.new`, text);
  renameSync(`${file}.new`, file);
};

const select = (mesh: Mesh, selector: string): void => {
  const file = join(mesh.dir, 'mesh/services.yaml');
  writeFileSync(`${file}.new`, readFileSync(file, 'utf8').replace(/selector: .*/, `selector: ${selector}`));
  renameSync(`${file}.new`, file);
};

/** Lines with response flags of every sidecar, as they are in its log. */
const accessLines = async (mesh: Mesh): Promise<Map<string, Record<string, unknown>[]>> => {
  const out = new Map<string, Record<string, unknown>[]>();
  for (const name of SIDECARS) {
    const { out: text } = await mesh.skein('logs', name, '-c', 'proxy');
    const lines = text.split('\n').filter((line) => line.startsWith('{') && line.endsWith('}'));
    out.set(
      name,
      lines.map((line) => {
        const entry = JSON.parse(line) as Record<string, unknown>;
        return { ...entry, flags: entry['response_flags'], status: entry['response_code'] };
      }),
    );
  }
  return out;
};

const serials = async (mesh: Mesh): Promise<Map<string, string>> => {
  const out = new Map<string, string>();
  for (const name of SIDECARS) {
    const { out: text } = await mesh.exec(name, 'curl', '-s', '--max-time', '5', 'http://127.0.0.1:15000/certs');
    const { certificates = [] } = JSON.parse(text) as { certificates?: { cert_chain?: { serial_number?: string }[] }[] };
    out.set(name, certificates.flatMap((c) => c.cert_chain?.map((entry) => entry.serial_number) ?? []).join());
  }
  return out;
};

const hotRestartAll = async (mesh: Mesh): Promise<string> => {
  for (const name of SIDECARS) {
    const target = `${name}-0`;
    const { pid } = mesh.process('sidecar', target);
    process.kill(pid, 'SIGUSR2');
    await eventually(`another process is the sidecar of ${target}`, 20_000, async () =>
      mesh.process('sidecar', target).pid === pid ? undefined : true,
    );
    await after(700);
  }
  return `${SIDECARS.length} sidecars`;
};
