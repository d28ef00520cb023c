// What is done to a pair of sidecars while the load runs. Each is a step with a name; none waits for the load.
import { setTimeout as after } from 'node:timers/promises';
import { eventually, expect } from '../integration/suite.ts';
import type { BareProxy } from '../interop/bare-proxy.ts';
import { ENDPOINTS, type SidecarPair } from './sidecar-pair.ts';
import type { Window } from './verdict.ts';

export interface Extent {
  readonly changes: number;
  readonly changeMs: number;
  readonly rotations: number;
  readonly churnS: number;
  readonly lateMs: number;
}
export const FULL: Extent = { changes: 50, changeMs: 300, rotations: 5, churnS: 60, lateMs: 5000 };
export const SHORT: Extent = { changes: 50, changeMs: 100, rotations: 5, churnS: 8, lateMs: 1500 };

const IN_FORCE_MS = 5000;

/** What the load alone brings: everything else is compared with it. */
export const quiet = async ({ lateMs }: Extent): Promise<string> => {
  await after(lateMs);
  return `${lateMs} ms`;
};

/** Clusters, routes and listeners in turn, on both sides. */
export const changes = async (pair: SidecarPair, { changes: count, changeMs }: Extent): Promise<string> => {
  for (let i = 1; i <= count; i++) {
    if (i % 5 === 0) pair.setCluster('http', i);
    else if (i % 5 === 1) pair.setRoute(i);
    else if (i % 5 === 2) pair.setListener(i % 2 === 0 ? 'http' : 'tcp', i);
    else if (i % 5 === 3) pair.setInbound(i % 2 === 0 ? 'http' : 'tcp', i % ENDPOINTS, i);
    else pair.setCluster('tcp', i);
    await after(changeMs);
  }
  for (const [side, name] of [
    ['client', lastName('http', 5, 2, count)],
    ['server', lastName('in', 5, 3, count)],
  ] as const)
    await eventually(`the ${side} has the last change, ${name}`, IN_FORCE_MS, async () =>
      (await pair.proxies[side].get('/config_dump')).includes(`"${name}"`) ? true : undefined,
    );
  return `${count} changes`;
};

/** Filter chains are called after the change that made them: every `step`th from `first`, of HTTP when even. */
const lastName = (prefix: string, step: number, first: number, count: number): string => {
  let last = first;
  for (let i = first; i <= count; i += step) if (i % 2 === 0) last = i;
  return `${prefix}-${last}`;
};

/** By the certificates that it uses. */
const inForce = async (server: BareProxy): Promise<boolean> =>
  (await server.get('/config_dump?resource=dynamic_active_secrets')).includes('"late"');

/** Cluster and listener change to a certificate that the control plane does not have yet: what they were serves on. */
export const lateSecrets = async (pair: SidecarPair, { lateMs }: Extent): Promise<string> => {
  for (const side of ['client', 'server'] as const) {
    pair.control.hold(side, 'SDS', 'late');
    pair.rotate(side, 'late');
  }
  pair.setCluster('http', 101, 'late');
  pair.setCluster('tcp', 101, 'late');
  for (let i = 0; i < ENDPOINTS; i++) for (const way of ['http', 'tcp'] as const) pair.setInbound(way, i, 101, 'late');
  await after(lateMs);
  const server = pair.proxies.server;
  expect(!(await inForce(server)), 'the listener that waits for its certificate is in force');
  for (const side of ['client', 'server'] as const) pair.control.release(side, 'SDS', 'late');
  await eventually('the listener whose certificate came is in force', IN_FORCE_MS, async () =>
    (await inForce(server)) ? true : undefined,
  );
  await after(1000);
  return `late by ${lateMs} ms`;
};

export const emptyThenFull = async (pair: SidecarPair, windows: Window[]): Promise<string> => {
  for (const way of ['http', 'tcp'] as const) {
    // A cluster that is being made anew: empty before it is full, under the one that still serves.
    pair.control.hold('client', 'EDS', way);
    pair.setCluster(way, 202);
    await after(300);
    pair.control.release('client', 'EDS', way);
  }
  await after(500);
  const from = Date.now();
  pair.setEndpoints('http', []);
  await after(200);
  pair.setEndpoints('http', [0, 1, 2]);
  windows.push({ from, to: Date.now() });
  await after(800);
  return 'also for 200 ms while in use';
};

/** The listeners of the extra streams go: the streams stay, and when the listeners are back they take new connections. */
export const listenerRemoved = async (pair: SidecarPair): Promise<string> => {
  const gone = async (): Promise<true | undefined> =>
    (await pair.proxies.client.get('/listeners?format=json')).includes('extraTcp') ? undefined : true;
  pair.removeListener('extraHttp');
  pair.removeListener('extraTcp');
  await eventually('the listeners are gone', 20_000, gone);
  await after(2000);
  pair.setListener('extraHttp', 303);
  pair.setListener('extraTcp', 303);
  await after(1000);
  return 'gone for 2 s';
};

export const rotations = async (pair: SidecarPair, { rotations: count }: Extent): Promise<string> => {
  for (let i = 0; i < count; i++) {
    for (const side of ['client', 'server'] as const) for (const secret of ['default', 'late']) pair.rotate(side, secret);
    await after(600);
  }
  return `${count} rotations on both sides`;
};

export const endpointChurn = async (pair: SidecarPair, { churnS }: Extent): Promise<string> => {
  const sets = [[0], [1, 2], [2], [0, 1], [1], [0, 2]];
  for (let i = 0; i < churnS; i++) {
    const set = sets[i % sets.length] ?? [0];
    pair.setEndpoints('http', set);
    pair.setEndpoints('tcp', set);
    await after(1000);
  }
  for (const way of ['http', 'tcp'] as const) pair.setEndpoints(way, [0, 1, 2]);
  return `each second for ${churnS} s`;
};
