// An agent under test beside a fake control plane, on sockets and ports of its own.
import { join } from 'node:path';
import { type Agent, startAgent } from '../../src/agent/agent.ts';
import type { AgentConfig } from '../../src/agent/agent-config.ts';
import { createLog } from '../../src/base/log.ts';
import type { StreamStatus, XdsTransport } from '../../src/xds/transport.ts';
import { Arrivals, FakeControlPlane, scratch } from './fake-control-plane.ts';

export const TOKEN = 'token-of-the-test';

export const testConfig = (dir: string, over: Partial<AgentConfig> = {}): AgentConfig => ({
  name: 'web-0',
  namespace: 'production',
  serviceAccount: 'web',
  workload: 'web',
  ips: ['10.244.0.5'],
  labels: { app: 'web', version: 'v1' },
  trustDomain: 'cluster.local',
  domain: 'cluster.local',
  clusterId: 'Kubernetes',
  meshId: 'cluster.local',
  locality: {},
  xds: `unix:${join(dir, 'control.sock')}`,
  xdsCaPem: undefined,
  token: () => TOKEN,
  runDir: join(dir, 'run'),
  dns: { listen: { host: '127.0.0.1', port: 0 }, upstreams: [] },
  statusPort: 0,
  statsPort: 0,
  adminPort: 1,
  prometheusPort: 0,
  gateway: false,
  metadata: {},
  bindSource: undefined,
  appPorts: [8080],
  statusListener: 'agent',
  certificateTtlS: 3600,
  ...over,
});

export interface Bench {
  readonly dir: string;
  readonly control: FakeControlPlane;
  readonly agent: Agent;
  readonly log: string[];
}

/** Runs `body` and takes everything down again, whatever happens. */
export const withAgent = async (
  over: Partial<AgentConfig>,
  body: (bench: Bench) => Promise<void>,
  prepare?: (c: FakeControlPlane) => void,
): Promise<void> => {
  const { dir, remove } = scratch();
  const control = new FakeControlPlane(join(dir, 'control.sock'));
  prepare?.(control);
  await control.start();
  const log: string[] = [];
  const agent = await startAgent(
    testConfig(dir, over),
    createLog(
      'agent',
      (line) => log.push(line),
      () => new Date(),
      { value: 'debug' },
    ),
  );
  try {
    await body({ dir, control, agent, log });
  } catch (e) {
    if (e instanceof Error) e.message += `\n--- log\n${log.join('')}`;
    throw e;
  } finally {
    await agent.stop();
    control.kill();
    remove();
  }
};

/** One stream of a transport, its messages and its end in order. */
export const openStream = (transport: XdsTransport, method: string) => {
  const messages = new Arrivals<Uint8Array>();
  const ends = new Arrivals<StreamStatus>();
  const stream = transport.open(method, { message: (m) => messages.push(m), end: (s) => ends.push(s) });
  return { messages, ends, stream };
};
