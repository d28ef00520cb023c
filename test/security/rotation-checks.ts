// Rotation under load (line 2 of the table) and what is said of remaining life (line 6): a mesh whose leaf lives 5 s, its intermediate 60 s
// and its root 180 s, with keep-alive, HTTP/2, WebSocket and TCP through the sidecars; retries off, so one refused handshake is a failure.
import { spawn } from 'node:child_process';
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as after } from 'node:timers/promises';
import { Mesh, ROOT } from '../integration/mesh.ts';
import { expect } from '../integration/suite.ts';
import { toolPath } from '../interop/tools.ts';
import { LOAD_PROGRAM, LoadProcess } from '../nodrop/load-process.ts';
import type { LoadResult, Protocol, Target } from '../nodrop/load-result.ts';
import { judgeLoad } from '../nodrop/verdict.ts';
import type { Checks, ProxyKind, SecurityCheck, SecurityContext } from './check.ts';

interface Extent {
  readonly leafS: number;
  readonly intermediateS: number;
  readonly rootS: number;
  readonly seconds: number;
  /** Requests and messages a second, all protocols together. */
  readonly rate: number;
  /** Roots that must have been replaced by then. */
  readonly rotations: number;
}

const WHOLE: Extent = { leafS: 5, intermediateS: 60, rootS: 180, seconds: 600, rate: 1000, rotations: 3 };
const SHORT: Extent = { leafS: 5, intermediateS: 12, rootS: 40, seconds: 34, rate: 200, rotations: 1 };

const PORTS = { http1: 8080, http2: 8081, websocket: 8080, tcp: 9000 } as const;
const SHARES: Readonly<Record<Protocol, number>> = { http1: 0.4, http2: 0.4, websocket: 0.1, tcp: 0.1 };
const PORT = { skein: 18_190, envoy: 18_191 } as const;

/** Of `GET /v1/ca`, what is asked here. */
interface Authority {
  readonly issued: number;
  readonly rotation: { readonly replaced: number };
}

export const checks: Checks = (context) => [
  {
    line: 2,
    name: 'the identity machine under a virtual clock for 13 months: no certificate in use is refused',
    needs: [],
    run: () => context.testFile('test/identity/root-rotation.test.ts'),
  },
  {
    line: 2,
    name: 'requests go on through renewals, a rotation step by step and a revoked root',
    needs: [],
    run: () => context.testFile('test/control/ca/ca-rotation.test.ts'),
  },
  {
    line: 6,
    name: 'a root that ends within 30 days is a warning with exit code 1',
    needs: [],
    run: () => context.testFile('test/cli/check.test.ts'),
  },
  ...context.proxies.map((proxy): SecurityCheck => {
    const { seconds, leafS, intermediateS, rootS } = extentOf(context);
    return {
      line: 2,
      name: `leaf ${leafS} s, intermediate ${intermediateS} s, root ${rootS} s for ${seconds} s under load, retries off: 0 failed`,
      needs: proxy === 'envoy' ? ['namespaces', 'envoy', 'time'] : ['namespaces'],
      proxy,
      ownMesh: true,
      seconds,
      run: () => rotationUnderLoad(proxy, context),
    };
  }),
];

/** Asked for less than a few lives of the whole form's root, it is the short form, longer. */
const extentOf = ({ short, loadSeconds: seconds }: SecurityContext): Extent => {
  if (seconds === undefined) return short ? SHORT : WHOLE;
  return seconds < 300
    ? { ...SHORT, seconds, rotations: Math.max(1, Math.floor(seconds / 60)) }
    : { ...WHOLE, seconds, rotations: Math.floor(seconds / 200) };
};

const rotationUnderLoad = async (proxy: ProxyKind, context: SecurityContext): Promise<string> => {
  const extent = extentOf(context);
  const mesh = new Mesh({
    port: PORT[proxy],
    folder: join(ROOT, 'test/nodrop'),
    env: {
      PATH: toolPath(),
      ENVOY: context.envoy ?? '',
      SKEIN_LEAF_LIFE: `${extent.leafS}s`,
      SKEIN_INTERMEDIATE_LIFE: `${extent.intermediateS}s`,
      SKEIN_ROOT_LIFE: `${extent.rootS}s`,
    },
  });
  context.onEnd(() => mesh.remove());
  cpSync(join(ROOT, 'test/interop/peers'), join(mesh.dir, 'peers'), { recursive: true });
  writeFileSync(join(mesh.dir, 'mesh/rules.yaml'), RULES);
  try {
    await mesh.up(...(proxy === 'envoy' ? ['--proxy', 'envoy'] : []));
    const { results, since } = await underLoad(mesh, extent);
    const { issued, rotation } = JSON.parse(await mesh.ok('ca', 'status', '-o', 'json')) as Authority;
    const problems = results.flatMap((r) => judgeLoad(r, [], since));
    const sent = results.reduce((sum, r) => sum + r.sent, 0);
    const whole = `${rotation.replaced} roots replaced, ${issued} certificates issued`;
    expect(
      problems.length === 0,
      `${problems.length} problems of ${sent} (${whole}), load from ${new Date(since).toISOString()}:\n${problems.slice(0, 20).join('\n')}${logTail(mesh)}`,
    );
    expect(rotation.replaced >= extent.rotations, `${whole}; ${extent.rotations} rotations expected`);
    return `0 failed of ${sent}; ${whole}`;
  } finally {
    mesh.remove();
  }
};

const underLoad = async (
  mesh: Mesh,
  { rate, seconds }: Extent,
): Promise<{ readonly results: readonly LoadResult[]; readonly since: number }> => {
  const targets = (Object.keys(SHARES) as Protocol[]).map(
    (protocol): Target => ({
      name: protocol,
      protocol,
      host: 'server',
      port: PORTS[protocol],
      rate: rate * SHARES[protocol],
      connections: protocol === 'http2' ? 4 : 16,
      // Half of the streams are opened anew now and then: their handshakes fall into every step. The others stay open through all of them.
      streamMs: 3000,
    }),
  );
  const load = new LoadProcess(
    spawn(join(ROOT, 'bin/skein'), ['exec', 'client', '--', 'node', LOAD_PROGRAM, JSON.stringify(targets)], {
      env: { ...process.env, ...mesh.env },
    }),
  );
  try {
    await load.started;
    const since = Date.now();
    await after(seconds * 1000);
    return { results: await load.finish(), since };
  } finally {
    load.kill();
  }
};

/** What the processes of the mesh complained of. */
const logTail = (mesh: Mesh): string => {
  const folder = join(mesh.state, 'logs');
  const said = readdirSync(folder)
    .filter((name) => name.endsWith('.log'))
    .flatMap((name) => {
      const lines = readFileSync(join(folder, name), 'utf8').split('\n');
      const wanted = lines.filter((line) => / (warning|error) |rotation of roots|other roots|certificate is made/.test(line));
      return wanted.slice(-12).map((line) => `${name}: ${line.slice(0, 300)}`);
    });
  return `\n${said.join('\n')}`;
};

const RULES = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: server, namespace: nodrop}
spec:
  hosts: [server]
  http:
  - match: [{port: 8080}]
    route: [{destination: {host: server, port: {number: 8080}}}]
    retries: {attempts: 0}
  - match: [{port: 8081}]
    route: [{destination: {host: server, port: {number: 8081}}}]
    retries: {attempts: 0}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: nodrop}
spec: {mtls: {mode: STRICT}}
`;
