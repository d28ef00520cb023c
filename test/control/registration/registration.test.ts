// Workloads that come and go with their streams, on a real control plane with Istio's documents: the entry, its grace, a restart, health,
// who may register, and what a workload that misbehaves can cost.
import assert from 'node:assert/strict';
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { createLog } from '../../../src/base/log.ts';
import type { ControlPlaneConfig } from '../../../src/control/control-plane.ts';
import { REGISTRATIONS_MAX, REGISTRATIONS_PER_WORKLOAD_MAX } from '../../../src/control/limits.ts';
import { ControlMetrics } from '../../../src/control/metric-registry.ts';
import { PIPELINE } from '../../../src/control/pipeline.ts';
import { RegistrationStore } from '../../../src/control/registration/registration-store.ts';
import { Registrations } from '../../../src/control/registration/registrations.ts';
import { parseNode } from '../../../src/translate/proxy-node.ts';
import type { JsonObject } from '../../../src/xds/gen/types.ts';
import { HEALTH_TYPE_URL } from '../../../src/xds/resource-types.ts';
import { eventually, type Rig, startRig, temporaryFolder, urlOf, XdsClient } from '../rig.ts';

const GROUP = `
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: web, namespace: shop}
spec:
  metadata:
    labels: {app: web, tier: group}
    annotations: {example.com/team: payments}
  template:
    ports: {http: 8080}
    labels: {from: template, tier: template}
    serviceAccount: web
    locality: north/a
    weight: 3
`;
const PROBED = `${GROUP}  probe: {httpGet: {port: 8080, path: /healthy}}\n`;
const SERVICE = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web, namespace: shop}
spec:
  hosts: [web.shop.example]
  addresses: [10.96.0.9]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  workloadSelector: {labels: {app: web}}
`;
const CLUSTER = 'outbound|80||web.shop.example';
/** Short graces, long enough for a busy machine to come back within. */
const TIMES = { graceMs: 400, returnMs: 700 };

interface Who {
  readonly name?: string;
  readonly account?: string;
  readonly ip?: string;
  readonly metadata?: JsonObject;
  readonly labels?: Readonly<Record<string, string>>;
}

const rigOf = (files: Record<string, string> = {}, over: Partial<ControlPlaneConfig> = {}, root?: string): Promise<Rig> =>
  startRig(
    { 'group.yaml': GROUP, 'service.yaml': SERVICE, ...files },
    { pipeline: PIPELINE, registration: TIMES, ...over },
    ...(root === undefined ? [] : [root]),
  );

const addressOf = (rig: Rig): string => rig.controlPlane.xds[0] ?? '';

const tokenFor = (rig: Rig, { name = 'vm-1', account = 'web' }: Who = {}): Promise<string> =>
  rig.token(name, { namespace: 'shop', serviceAccount: account });

const nodeOf = ({ name = 'vm-1', ip = '10.1.0.1', labels = {}, metadata = {} }: Who = {}) => ({
  id: `sidecar~${ip}~${name}.shop~shop.svc.cluster.local`,
  user_agent_name: 'envoy',
  metadata: { AUTO_REGISTER_GROUP: 'web', NAMESPACE: 'shop', LABELS: labels, ...metadata },
});

/** A sidecar that has asked for its clusters. */
const come = async (rig: Rig, who: Who = {}, token?: string): Promise<XdsClient> => {
  const client = new XdsClient(addressOf(rig), { token: token ?? (await tokenFor(rig, who)) });
  client.send({ type_url: urlOf('CDS'), node: nodeOf(who) });
  return client;
};

interface Shown {
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly annotations: Readonly<Record<string, string>>;
    readonly ownerReferences: readonly JsonObject[];
  };
  readonly spec: JsonObject;
  readonly status?: { readonly conditions: readonly { readonly type: string; readonly status: string; readonly message?: string }[] };
}

const entries = async (rig: Rig): Promise<readonly Shown[]> => {
  const { body } = await rig.admin('GET', '/v1/resources?kind=WorkloadEntry');
  return (body as { readonly resources: readonly { readonly object: Shown }[] }).resources.map((r) => r.object);
};

/** `read` of the entries as they become. */
const until = async (rig: Rig, what: string, read: (list: readonly Shown[]) => boolean): Promise<readonly Shown[]> => {
  let list: readonly Shown[] = [];
  const deadline = Date.now() + 20_000;
  while (Date.now() < deadline) {
    list = await entries(rig);
    if (read(list)) return list;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`${what} did not happen; entries: ${JSON.stringify(list)}`);
};

const endpointsIn = (client: XdsClient): readonly string[] =>
  client
    .of('EDS')
    .at(-1)
    ?.response.resources?.flatMap((r) => {
      const { endpoints = [] } = r as { readonly endpoints?: readonly { readonly lb_endpoints?: readonly JsonObject[] }[] };
      return endpoints.flatMap((l) =>
        (l.lb_endpoints ?? []).map((e) => /"address":"([\d.]+)","port_value":(\d+)/.exec(JSON.stringify(e))?.slice(1, 3).join(':') ?? ''),
      );
    }) ?? [];

const watcher = async (rig: Rig): Promise<XdsClient> => {
  const client = new XdsClient(addressOf(rig), {
    token: await rig.token('watcher', { namespace: 'shop' }),
    node: 'sidecar~10.9.0.1~watcher.shop~shop.svc.cluster.local',
  });
  await client.follow([CLUSTER], ['80']);
  acknowledge(client);
  return client;
};

/** What comes from now on, until the stream ends. */
const acknowledge = (client: XdsClient): void => {
  let taken = client.received.length;
  const timer = setInterval(() => {
    if (client.status) clearInterval(timer);
    for (const r of client.received.slice(taken)) client.ack(r, { EDS: [CLUSTER], RDS: ['80'] }[r.type as string] ?? []);
    taken = client.received.length;
  }, 5);
};

const withRig = async (rig: Promise<Rig>, body: (rig: Rig) => Promise<void>): Promise<void> => {
  const running = await rig;
  try {
    await body(running);
  } finally {
    await running.close();
  }
};

test('a sidecar that names its group becomes an entry of the group, and an endpoint of the services that select it', async () => {
  await withRig(rigOf(), async (rig) => {
    const seen = await watcher(rig);
    const client = await come(rig, { labels: { version: 'v7', tier: 'node' }, metadata: { NETWORK: 'vms' } });
    const [entry] = await until(rig, 'the registration', (list) => list.length === 1);
    assert.ok(entry);
    assert.equal(entry.metadata.name, 'web-10.1.0.1-vms');
    assert.deepEqual(entry.metadata.labels, { from: 'template', tier: 'node', app: 'web', version: 'v7' });
    assert.deepEqual(entry.spec, {
      address: '10.1.0.1',
      ports: { http: 8080 },
      labels: entry.metadata.labels,
      network: 'vms',
      locality: 'north/a',
      weight: 3,
      serviceAccount: 'web',
    });
    const { 'istio.io/connectedAt': at = '', 'istio.io/workloadController': controller, ...rest } = entry.metadata.annotations;
    assert.deepEqual(rest, { 'istio.io/autoRegistrationGroup': 'web', 'example.com/team': 'payments' });
    assert.ok(Math.abs(Date.parse(at) - Date.now()) < 60_000 && controller !== '', at);
    assert.deepEqual(entry.metadata.ownerReferences, [
      { apiVersion: 'networking.istio.io/v1', kind: 'WorkloadGroup', name: 'web', controller: true },
    ]);
    assert.equal(entry.status, undefined, 'nobody probes it');
    await eventually('the endpoint', () => endpointsIn(seen).includes('10.1.0.1:8080'));
    const { status, body } = await rig.admin('DELETE', `/v1/resources/WorkloadEntry/${entry.metadata.namespace}/${entry.metadata.name}`);
    assert.equal(status, 409);
    assert.match((body as { readonly error: { readonly message: string } }).error.message, /registered by its workload/);
    client.close();
    seen.close();
  });
});

test('an IPv6 address makes a name without colons', async () => {
  await withRig(rigOf(), async (rig) => {
    const client = await come(rig, { ip: 'fd00::7' });
    const [entry] = await until(rig, 'the registration', (list) => list.length === 1);
    assert.equal(entry?.metadata.name, 'web-fd00--7');
    client.close();
  });
});

test('the entry of a workload that is away for longer than the grace is removed', async () => {
  await withRig(rigOf(), async (rig) => {
    const token = await tokenFor(rig);
    const [one, two] = [await come(rig, {}, token), await come(rig, {}, token)];
    await two.next('CDS', 1);
    await until(rig, 'the registration', (list) => list.length === 1);
    one.close();
    await new Promise((resolve) => setTimeout(resolve, 2 * TIMES.graceMs));
    assert.equal((await entries(rig)).length, 1, 'a second stream keeps it');
    two.close();
    const [away] = await until(rig, 'the mark', (l) => l[0]?.metadata.annotations['istio.io/disconnectedAt'] !== undefined);
    assert.equal(away?.metadata.annotations['istio.io/connectedAt'], undefined);
    await until(rig, 'the removal', (list) => list.length === 0);
    await eventually('its file', () => readdirSync(join(rig.state, 'registrations', 'shop')).length === 0);
  });
});

test('a workload that is back within the grace keeps its entry, and no proxy is told anything', async () => {
  await withRig(rigOf(), async (rig) => {
    const token = await tokenFor(rig);
    let client = await come(rig, {}, token);
    await until(rig, 'the registration', (list) => list.length === 1);
    const seen = await watcher(rig);
    await eventually('the endpoint', () => endpointsIn(seen).length === 1);
    const pushes = seen.received.length;
    for (let i = 0; i < 20; i++) {
      client.close();
      client = await come(rig, {}, token);
      await client.next('CDS', 1);
    }
    await new Promise((resolve) => setTimeout(resolve, 2 * TIMES.graceMs));
    const [entry] = await entries(rig);
    assert.ok(entry?.metadata.annotations['istio.io/connectedAt'] !== undefined);
    assert.equal(entry.metadata.annotations['istio.io/disconnectedAt'], undefined);
    assert.equal(seen.received.length, pushes);
    client.close();
    seen.close();
  });
});

test('a restarted control plane has the entries it had, once, and drops those whose workloads stay away', async () => {
  const first = await rigOf();
  const tokens = [await tokenFor(first, { name: 'vm-1' }), await tokenFor(first, { name: 'vm-2' })];
  const clients = [await come(first, {}, tokens[0]), await come(first, { name: 'vm-2', ip: '10.1.0.2' }, tokens[1])];
  const before = (await until(first, 'both', (list) => list.length === 2)).map((e) => e.metadata.name);
  await first.controlPlane.close();
  for (const client of clients) client.close();
  await withRig(rigOf({}, {}, first.root), async (rig) => {
    assert.deepEqual(
      (await entries(rig)).map((e) => e.metadata.name),
      before,
      'known before anybody is back',
    );
    const back = await come(rig, {}, tokens[0]);
    await back.next('CDS', 1);
    const left = await until(rig, 'the removal of the one that stays away', (list) => list.length === 1);
    assert.deepEqual(
      left.map((e) => e.metadata.name),
      ['web-10.1.0.1'],
    );
    back.close();
  });
  rmSync(first.root, { recursive: true, force: true });
});

const report = (client: XdsClient, problem?: string): void =>
  client.send({ type_url: HEALTH_TYPE_URL, ...(problem === undefined ? {} : { error_detail: { code: 500, message: problem } }) });

test('health changes endpoints and nothing else', async () => {
  await withRig(rigOf({ 'group.yaml': PROBED }), async (rig) => {
    const seen = await watcher(rig);
    const client = await come(rig, { metadata: { PROXY_CONFIG: { readinessProbe: { tcpSocket: { port: 8080 } } } } });
    const [fresh] = await until(rig, 'the registration', (list) => list.length === 1);
    assert.equal(fresh?.metadata.annotations['proxy.istio.io/health-checks-enabled'], 'true');
    await client.next('CDS', 1);
    await eventually('its account in the cluster', () => JSON.stringify(seen.of('CDS').at(-1)?.response).includes('/sa/web'));
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.deepEqual(endpointsIn(seen), [], 'not before it is healthy');
    const before = seen.received.length;
    const told = async (healthy: boolean): Promise<void> => {
      report(client, healthy ? undefined : 'port 8080 is shut');
      await eventually(`an endpoint ${healthy}`, () => endpointsIn(seen).length === (healthy ? 1 : 0));
    };
    await told(true);
    assert.deepEqual(
      (await entries(rig))[0]?.status?.conditions.map((c) => [c.type, c.status]),
      [['Healthy', 'True']],
    );
    await told(false);
    assert.deepEqual(
      (await entries(rig))[0]?.status?.conditions.map((c) => [c.type, c.status, c.message]),
      [['Healthy', 'False', 'port 8080 is shut']],
    );
    await told(true);
    assert.deepEqual(
      seen.received.slice(before).map((r) => r.type),
      ['EDS', 'EDS', 'EDS'],
    );
    client.close();
    seen.close();
  });
});

test('the health of a workload outlasts a restart of the control plane', async () => {
  const first = await rigOf({ 'group.yaml': PROBED });
  const metadata = { PROXY_CONFIG: { readinessProbe: { tcpSocket: { port: 8080 } } } };
  const client = await come(first, { metadata });
  await client.next('CDS', 1);
  report(client);
  await until(first, 'the condition', (list) => list[0]?.status?.conditions[0]?.status === 'True');
  await first.controlPlane.close();
  client.close();
  await withRig(rigOf({ 'group.yaml': PROBED }, { registration: { graceMs: 400, returnMs: 5000 } }, first.root), async (rig) => {
    const seen = await watcher(rig);
    assert.deepEqual(endpointsIn(seen), ['10.1.0.1:8080']);
    seen.close();
  });
});

test('only the group’s own account may register, and only with a token', async () => {
  await withRig(rigOf({}, { insecure: true, xds: ['127.0.0.1:0'] }), async (rig) => {
    const refused = async (client: XdsClient, code: number, words: RegExp): Promise<void> => {
      const status = await eventually('the refusal', () => client.status);
      assert.equal(status.code, code, status.details);
      assert.match(status.details, words);
      client.close();
    };
    await refused(await come(rig, { account: 'other' }), 7, /WorkloadGroup shop\/web is for service account web.*other's/);
    const anonymous = new XdsClient(addressOf(rig));
    anonymous.send({ type_url: urlOf('CDS'), node: nodeOf() });
    await refused(anonymous, 16, /token/);
    const elsewhere = await rig.token('vm-1', { namespace: 'default', serviceAccount: 'web' });
    await refused(await come(rig, {}, elsewhere), 7, /another workload/);
    await refused(await come(rig, { metadata: { AUTO_REGISTER_GROUP: 'nobody' } }), 9, /no WorkloadGroup shop\/nobody/);
    await refused(await come(rig, { labels: { 'a b': 'c' } }), 3, /label/);
    await refused(await come(rig, { ip: 'host.example' }), 3, /not an IP address/);
    await refused(await come(rig, { metadata: { NETWORK: '../../x' } }), 3, /network/);
    assert.deepEqual(await entries(rig), []);
  });
});

test('an entry is not taken over by another account, whatever became of its group', async () => {
  await withRig(rigOf({ 'group.yaml': GROUP.replace('    serviceAccount: web\n', '') }), async (rig) => {
    const client = await come(rig);
    await until(rig, 'the registration', (list) => list.length === 1);
    const thief = await come(rig, { name: 'vm-9', account: 'thief' });
    const status = await eventually('the refusal', () => thief.status);
    assert.equal(status.code, 7);
    assert.match(status.details, /service account web's, not thief's/);
    thief.close();
    client.close();
  });
});

test('entries go with their group, and come back with it and their health while their workloads are there', async () => {
  await withRig(rigOf(), async (rig) => {
    const client = await come(rig);
    await until(rig, 'the registration', (list) => list.length === 1);
    await client.next('CDS', 1);
    report(client, 'shut');
    await until(rig, 'the report', (list) => list[0]?.status !== undefined);
    rig.save('group.yaml', '');
    await until(rig, 'the removal', (list) => list.length === 0);
    rig.save('group.yaml', GROUP.replace('weight: 3', 'weight: 4'));
    const [entry] = await until(rig, 'the return', (list) => list.length === 1);
    assert.equal(entry?.spec['weight'], 4);
    assert.equal(entry.status?.conditions[0]?.message, 'shut');
    client.close();
  });
});

test('one workload cannot fill the mesh with entries', async () => {
  await withRig(rigOf({}, { registration: { graceMs: 20_000, returnMs: 20_000 } }), async (rig) => {
    const token = await tokenFor(rig);
    for (let i = 0; i < REGISTRATIONS_PER_WORKLOAD_MAX; i++) {
      const client = await come(rig, { ip: `10.1.1.${i}` }, token);
      await client.next('CDS', 1);
      client.close();
    }
    const more = await come(rig, { ip: '10.1.2.1' }, token);
    const status = await eventually('the refusal', () => more.status);
    assert.equal(status.code, 8);
    const all = await until(rig, 'the entries', (list) => list.length >= REGISTRATIONS_PER_WORKLOAD_MAX);
    assert.equal(all.length, REGISTRATIONS_PER_WORKLOAD_MAX);
    more.close();
  });
});

test('health of a stream that registered nothing is not heard, and health that flickers costs little', async () => {
  await withRig(rigOf({ 'group.yaml': PROBED }), async (rig) => {
    const stranger = await watcher(rig);
    for (let i = 0; i < 1000; i++) report(stranger, `noise ${i}`);
    const client = await come(rig, { metadata: { PROXY_CONFIG: { readinessProbe: { tcpSocket: { port: 8080 } } } } });
    await client.next('CDS', 1);
    const generation = (): number => rig.controlPlane.model.current?.number ?? 0;
    const before = generation();
    const startedAtMs = Date.now();
    for (let i = 0; i < 2000; i++) report(client, i % 2 === 0 ? undefined : `no ${'x'.repeat(5000)}`);
    report(client);
    await until(rig, 'the last word', (list) => list[0]?.status?.conditions[0]?.status === 'True');
    await new Promise((resolve) => setTimeout(resolve, 300));
    const allowed = 3 + (Date.now() - startedAtMs) / 100;
    assert.ok(generation() - before <= allowed, `${generation() - before} generations in ${Date.now() - startedAtMs} ms`);
    assert.equal((await entries(rig)).length, 1);
    assert.match(String((await rig.admin('GET', '/metrics')).body), /skein_health_reports_ignored \d+/);
    client.close();
    stranger.close();
  });
});

test('forty workloads register at once and leave', async () => {
  await withRig(rigOf(), async (rig) => {
    const clients = await Promise.all(Array.from({ length: 40 }, (_, i) => come(rig, { name: `vm-${i}`, ip: `10.2.0.${i}` })));
    await until(rig, 'all', (list) => list.length === 40);
    for (const client of clients) client.close();
    await until(rig, 'their removal', (list) => list.length === 0);
  });
});

test('a thousand registrations and their ends cost a bounded time, and the number of entries is bounded', async () => {
  const folder = temporaryFolder();
  const [group] = PIPELINE.parseDocuments('group.yaml', GROUP, {}).resources;
  assert.ok(group);
  const resources = [group];
  let full = false;
  class Store extends RegistrationStore {
    override get size(): number {
      return full ? REGISTRATIONS_MAX : super.size;
    }
  }
  const store = new Store(folder);
  const registrations = new Registrations({
    store,
    resources: () => resources,
    times: { graceMs: 60_000, returnMs: 60_000 },
    controller: 'test',
    metrics: new ControlMetrics(),
    log: createLog(
      'test',
      () => undefined,
      () => new Date(),
    ),
    now: Date.now,
  });
  const comes = (i: number): ReturnType<Registrations['connect']> => {
    const ip = `10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`;
    const node = parseNode(nodeOf({ name: `vm-${i}`, ip }));
    assert.ok(node);
    return registrations.connect(i, node, { namespace: 'shop', serviceAccount: 'web', name: `vm-${i}`, address: ip });
  };
  const startedAtMs = Date.now();
  for (let i = 0; i < 1000; i++) assert.ok(comes(i).ok);
  for (let i = 0; i < 1000; i++) registrations.health(i, i % 2 === 0, 'shut');
  for (let i = 0; i < 1000; i++) registrations.disconnect(i);
  const tookMs = Date.now() - startedAtMs;
  assert.ok(tookMs < 20_000, `${tookMs} ms`);
  assert.equal(store.size, 1000);
  full = true;
  const refused = comes(1000);
  assert.equal(!refused.ok && refused.error.code, 8);
  registrations.close();
  rmSync(folder, { recursive: true, force: true });
});
