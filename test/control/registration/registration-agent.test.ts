// A real control plane and a real agent: the workload registers, is probed as its WorkloadGroup says, leaves the endpoints while it is
// not healthy, and is known again after either of the two has been restarted.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Agent, startAgent } from '../../../src/agent/agent.ts';
import type { AgentConfig } from '../../../src/agent/agent-config.ts';
import { createLog } from '../../../src/base/log.ts';
import { PIPELINE } from '../../../src/control/pipeline.ts';
import { decode, encode } from '../../../src/xds/codec.ts';
import type { DiscoveryResponse } from '../../../src/xds/gen/types.ts';
import { ADS_METHOD, CLUSTER_TYPE, DELTA_ADS_METHOD, ENDPOINT_TYPE } from '../../../src/xds/resource-types.ts';
import type { XdsStream } from '../../../src/xds/transport.ts';
import { testConfig } from '../../agent/setup.ts';
import { type Rig, startRig } from '../rig.ts';

const TIMES = { graceMs: 3000, returnMs: 4000 };
const CLUSTER = 'outbound|80||web.production.example';
const SERVICE = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web, namespace: production}
spec:
  hosts: [web.production.example]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  workloadSelector: {labels: {app: web}}
`;
const group = (probe: string): string => `
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: web, namespace: production}
spec:
  template: {ports: {http: 8080}, serviceAccount: web}
  probe: ${probe}
`;

interface Shown {
  readonly metadata: { readonly annotations: Readonly<Record<string, string>> };
  readonly status?: { readonly conditions: readonly { readonly status: string; readonly message?: string }[] };
}

/** The workload's condition: '' while there is none, 'gone' without an entry. */
const condition = async (rig: Rig): Promise<string> => {
  const { body } = await rig.admin('GET', '/v1/resources?kind=WorkloadEntry');
  const [entry] = (body as { readonly resources: readonly { readonly object: Shown }[] }).resources;
  if (!entry) return 'gone';
  const [healthy] = entry.object.status?.conditions ?? [];
  return healthy ? `${healthy.status} ${healthy.message ?? ''}`.trim() : '';
};

const until = async (what: string, read: () => Promise<boolean>): Promise<void> => {
  const deadline = Date.now() + 20_000;
  while (!(await read())) {
    if (Date.now() > deadline) throw new Error(`${what} did not happen`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
};

/** A proxy that follows clusters and endpoints, comes back when its stream ends, and keeps what it was told. */
class Sidecar {
  readonly pushes: string[] = [];
  endpoints: readonly string[] = [];
  #stream: XdsStream | undefined;
  #closed = false;

  constructor(agent: Agent) {
    this.#open(agent);
  }

  close(): void {
    this.#closed = true;
    this.#stream?.close();
  }

  #open(agent: Agent): void {
    const stream = agent.transports.ads.open(ADS_METHOD, {
      message: (bytes) => this.#take(stream, decode('envoy.service.discovery.v3.DiscoveryResponse', bytes)),
      end: () => setTimeout(() => !this.#closed && this.#open(agent), 50),
    });
    this.#stream = stream;
    stream.send(encode('envoy.service.discovery.v3.DiscoveryRequest', { type_url: CLUSTER_TYPE.url }));
    stream.send(encode('envoy.service.discovery.v3.DiscoveryRequest', { type_url: ENDPOINT_TYPE.url, resource_names: [CLUSTER] }));
  }

  #take(stream: XdsStream, response: DiscoveryResponse): void {
    const { type_url: url = '', nonce = '', version_info: version = '' } = response;
    this.pushes.push(url === ENDPOINT_TYPE.url ? 'EDS' : url === CLUSTER_TYPE.url ? 'CDS' : url);
    if (url === ENDPOINT_TYPE.url)
      this.endpoints = [...JSON.stringify(response.resources).matchAll(/"address":"([\d.]+)"/g)].map(([, ip]) => ip ?? '');
    const names = url === ENDPOINT_TYPE.url ? [CLUSTER] : [];
    stream.send(
      encode('envoy.service.discovery.v3.DiscoveryRequest', {
        type_url: url,
        response_nonce: nonce,
        version_info: version,
        resource_names: names,
      }),
    );
  }
}

interface Scene {
  readonly rig: Rig;
  readonly token: string;
  readonly log: string[];
  agent(over?: Partial<AgentConfig>): Promise<Agent>;
  proxyOf(agent: Agent): Sidecar;
}

const withScene = async (probe: string, body: (scene: Scene) => Promise<void>): Promise<void> => {
  const rig = await startRig({ 'group.yaml': group(probe), 'service.yaml': SERVICE }, { pipeline: PIPELINE, registration: TIMES });
  const token = await rig.token('web-0', { namespace: 'production', serviceAccount: 'web', address: '10.244.0.5' });
  const agents: Agent[] = [];
  const proxies: Sidecar[] = [];
  const proxyOf: Scene['proxyOf'] = (of) => {
    const proxy = new Sidecar(of);
    proxies.push(proxy);
    return proxy;
  };
  const log: string[] = [];
  const quiet = createLog(
    'agent',
    (line) => log.push(line),
    () => new Date(),
  );
  const agent: Scene['agent'] = async (over = {}) => {
    const dir = join(rig.root, `agent-${agents.length}`);
    mkdirSync(dir);
    const config = testConfig(dir, {
      xds: rig.controlPlane.xds[0] ?? '',
      token: () => token,
      dns: undefined,
      metadata: { AUTO_REGISTER_GROUP: 'web' },
      ...over,
    });
    const started = await startAgent(config, quiet);
    started.setProxyStatus(() => ({ ready: true }));
    agents.push(started);
    return started;
  };
  try {
    await body({ rig, token, log, agent, proxyOf });
  } catch (e) {
    if (e instanceof Error) e.message += `\n--- control plane\n${rig.log.slice(-20).join('')}--- agent\n${log.slice(-20).join('')}`;
    throw e;
  } finally {
    for (const proxy of proxies) proxy.close();
    for (const a of agents) await a.stop();
    await rig.close();
  }
};

const withApplication = async (body: (port: number, answer: (status: number) => void) => Promise<void>): Promise<void> => {
  let status = 200;
  const server = createServer((_request, response) => void response.writeHead(status).end());
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  try {
    await body((server.address() as AddressInfo).port, (next) => {
      status = next;
    });
  } finally {
    server.close();
  }
};

test('a workload is probed as its group says, and is an endpoint while that finds it healthy', async () => {
  await withApplication(async (port, answer) => {
    await withScene(`{httpGet: {port: ${port}}, periodSeconds: 1}`, async ({ rig, agent, proxyOf }) => {
      const proxy = proxyOf(await agent());
      await until('healthy', async () => (await condition(rig)) === 'True');
      await until('the endpoint', async () => proxy.endpoints.length === 1);
      const before = proxy.pushes.length;
      answer(503);
      await until('unhealthy', async () => (await condition(rig)) === 'False HTTP status 503');
      await until('no endpoint', async () => proxy.endpoints.length === 0);
      answer(204);
      await until('the endpoint again', async () => proxy.endpoints.length === 1);
      assert.deepEqual(proxy.pushes.slice(before), ['EDS', 'EDS'], 'endpoints only');
      proxy.close();
    });
  });
});

test('a probe that changes in the group is the one that is run, and none means healthy', async () => {
  await withApplication(async (port) => {
    await withScene(`{tcpSocket: {port: 1}, periodSeconds: 1}`, async ({ rig, agent, proxyOf }) => {
      const proxy = proxyOf(await agent());
      await until('unhealthy', async () => (await condition(rig)).startsWith('False'));
      rig.save('group.yaml', group(`{tcpSocket: {port: ${port}}, periodSeconds: 1}`));
      await until('the endpoint', async () => proxy.endpoints.length === 1);
      rig.save('group.yaml', group('{tcpSocket: {port: 1}, periodSeconds: 1}'));
      await until('no endpoint', async () => proxy.endpoints.length === 0);
      rig.save('group.yaml', group('').replace('  probe: \n', ''));
      await until('the endpoint without a probe', async () => proxy.endpoints.length === 1);
      proxy.close();
    });
  });
});

test('a command of the group is run only where the agent allows it; an own probe goes before the group’s', async () => {
  await withScene(`{exec: {command: ['true']}, periodSeconds: 1}`, async ({ rig, agent, proxyOf }) => {
    const strict = await agent();
    const first = proxyOf(strict);
    await until('the refusal', async () => (await condition(rig)).includes('--exec-probes'));
    first.close();
    await strict.stop();
    const lenient = await agent({ execProbes: true });
    const second = proxyOf(lenient);
    await until('healthy', async () => (await condition(rig)) === 'True');
    second.close();
    await lenient.stop();
    const own = { exec: { command: ['sh', '-c', 'exit 7'] }, periodSeconds: 1 };
    const third = proxyOf(await agent({ metadata: { AUTO_REGISTER_GROUP: 'web', PROXY_CONFIG: { readinessProbe: own } } }));
    await until('its own', async () => (await condition(rig)).includes('exit code 7'));
    third.close();
  });
});

test('what is known of a workload’s health is said again on every new stream, of either variant', async () => {
  await withApplication(async (port) => {
    await withScene(`{httpGet: {port: ${port}}, periodSeconds: 1}`, async ({ rig, agent, proxyOf }) => {
      const running = await agent();
      const proxy = proxyOf(running);
      await until('healthy', async () => (await condition(rig)) === 'True');
      proxy.close();
      await until('the end of the entry', async () => (await condition(rig)) === 'gone');
      const stream = running.transports.ads.open(DELTA_ADS_METHOD, { message: () => {}, end: () => {} });
      stream.send(encode('envoy.service.discovery.v3.DeltaDiscoveryRequest', { type_url: CLUSTER_TYPE.url }));
      await until('healthy at once', async () => (await condition(rig)) === 'True');
      stream.close();
    });
  });
});
