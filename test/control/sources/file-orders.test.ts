// Through the whole control plane: in which files and in which order objects are written is nothing that a proxy can tell, and a comment is
// no change to anybody.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { PIPELINE } from '../../../src/control/pipeline.ts';
import { eventually, type Rig, startRig, XdsClient } from '../rig.ts';

const ORDERS = 20;
const SERVICES = 60;
const SIDECAR = { node: 'sidecar~10.1.0.2~s1.shop~shop.svc.cluster.local', routes: ['80', '8080'] };
const GATEWAY = { node: 'router~10.1.9.9~gate.shop~shop.svc.cluster.local', routes: ['http.8080'] };
const ENDPOINTS = Array.from({ length: SERVICES }, (_, i) => `outbound|${i % 2 === 0 ? 80 : 8080}|v1|s${i}.shop.svc.cluster.local`);

const object = (kind: string, name: string, spec: string, group = 'networking.istio.io/v1', namespace = 'shop'): string =>
  `apiVersion: ${group}\nkind: ${kind}\nmetadata: {name: ${name}, namespace: ${namespace}}\nspec: ${spec}\n`;

/** 200 objects, some of which contend for a host: which one wins must not depend on where they stand. */
const objects = (): readonly string[] => {
  const out: string[] = [];
  for (let i = 0; i < SERVICES; i++) {
    const host = `s${i}.shop.svc.cluster.local`;
    const route = (subset: string, weight: number): string => `{destination: {host: ${host}, subset: ${subset}}, weight: ${weight}}`;
    const endpoints = ['v1', 'v2'].map((v, n) => `{address: 10.${n + 1}.0.${i + 1}, labels: {app: s${i}, version: ${v}}}`).join(', ');
    const port = i % 2 === 0 ? 80 : 8080;
    out.push(
      object(
        'ServiceEntry',
        `s${i}`,
        `{hosts: [${host}], addresses: [10.9.0.${i + 1}], location: MESH_INTERNAL, resolution: STATIC, ports: [{number: ${port}, name: http, protocol: HTTP}], endpoints: [${endpoints}]}`,
      ),
      object('VirtualService', `s${i}`, `{hosts: [${host}], http: [{route: [${route('v1', 90)}, ${route('v2', 10)}]}]}`),
      object(
        'DestinationRule',
        `s${i}`,
        `{host: ${host}, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}`,
      ),
    );
  }
  for (let i = 0; i < 6; i++) {
    const host = `s${i}.shop.svc.cluster.local`;
    out.push(
      object('VirtualService', `rival-${i}`, `{hosts: [${host}], http: [{timeout: 1s, route: [{destination: {host: ${host}}}]}]}`),
      object(
        'DestinationRule',
        `rival-${i}`,
        `{host: ${host}, trafficPolicy: {loadBalancer: {simple: RANDOM}}, subsets: [{name: v1, labels: {version: v9}}, {name: v3, labels: {version: v3}}]}`,
      ),
    );
  }
  out.push(
    object(
      'DestinationRule',
      'wide',
      `{host: '*.shop.svc.cluster.local', trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}}`,
      undefined,
      'istio-system',
    ),
    object('PeerAuthentication', 'default', '{mtls: {mode: STRICT}}', 'security.istio.io/v1', 'istio-system'),
    object('AuthorizationPolicy', 'b', `{action: DENY, rules: [{to: [{operation: {paths: ['/b']}}]}]}`, 'security.istio.io/v1'),
    object('AuthorizationPolicy', 'a', `{action: DENY, rules: [{to: [{operation: {paths: ['/a']}}]}]}`, 'security.istio.io/v1'),
    ...['one', 'two'].map((name) =>
      object(
        'Gateway',
        name,
        `{servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ['${name}.example.org', 'both.example.org']}]}`,
      ),
    ),
    ...['one', 'two'].map((name) =>
      object(
        'VirtualService',
        `at-${name}`,
        `{hosts: [both.example.org, ${name}.example.org], gateways: [one, two], http: [{name: ${name}, match: [{uri: {prefix: /${name}}}], route: [{destination: {host: s1.shop.svc.cluster.local}}]}]}`,
      ),
    ),
  );
  return out;
};

/** The same sequence for one seed. */
const shuffled = <T>(list: readonly T[], seed: number): T[] => {
  const out = [...list];
  let state = seed * 2_654_435_761 + 1;
  for (let i = out.length - 1; i > 0; i--) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const j = state % (i + 1);
    [out[i], out[j]] = [out[j] as T, out[i] as T];
  }
  return out;
};

/** In files of one to five objects. */
const inFiles = (list: readonly string[], seed: number): Record<string, string> => {
  const order = shuffled(list, seed);
  const files: Record<string, string> = {};
  for (let at = 0, n = 0; at < order.length; n++) {
    const take = 1 + ((seed + n) % 5);
    files[`${String(n).padStart(3, '0')}.yaml`] = order.slice(at, at + take).join('---\n');
    at += take;
  }
  return files;
};

const start = (files: Record<string, string>): Promise<Rig> =>
  startRig(files, { pipeline: PIPELINE, xds: ['127.0.0.1:0'], insecure: true });

/** All that a proxy is given, with the versions, which are hashes of the bytes. */
const givenTo = async (rig: Rig, { node, routes }: typeof SIDECAR): Promise<string> => {
  const client = new XdsClient(rig.controlPlane.xds[0] ?? '', { node });
  try {
    await client.follow(ENDPOINTS, routes);
    const given = client.received.map((r) => ({ type: r.type, version: r.version, resources: r.response.resources }));
    assert.ok(given.length >= 4 && JSON.stringify(given).length > 50_000, `${node} is given a mesh`);
    return JSON.stringify(given);
  } finally {
    client.close();
  }
};

test(`the same objects in ${ORDERS} orders of files are the same for every proxy`, { timeout: 120_000 }, async () => {
  const list = objects();
  assert.equal(list.length, 200);
  let first: readonly string[] | undefined;
  for (let seed = 0; seed < ORDERS; seed++) {
    const rig = await start(inFiles(list, seed));
    try {
      const given = [];
      for (const proxy of [SIDECAR, GATEWAY]) given.push(await givenTo(rig, proxy));
      first ??= given;
      for (const [i, text] of given.entries()) assert.ok(text === first[i], `proxy ${i} is given something else in order ${seed}`);
    } finally {
      await rig.close();
    }
  }
});

test('a comment pushes nothing and makes no generation; what is said of its objects names the new lines', async () => {
  const lost = object('VirtualService', 'lost', '{hosts: [lost], http: [{route: [{destination: {host: nowhere}}]}]}');
  const rig = await start({ ...inFiles(objects(), 1), 'lost.yaml': lost });
  const client = new XdsClient(rig.controlPlane.xds[0] ?? '', { node: SIDECAR.node });
  const said = async (): Promise<{ readonly generation: number; readonly lines: readonly number[] }> => {
    const { generation, problems } = (await rig.admin('GET', '/v1/status')).body as {
      readonly generation: number;
      readonly problems: readonly { readonly file: string; readonly line: number }[];
    };
    return { generation, lines: problems.filter((p) => p.file === join(rig.config, 'lost.yaml')).map((p) => p.line) };
  };
  try {
    await client.follow(ENDPOINTS, SIDECAR.routes);
    const pushes = client.received.length;
    const before = await said();
    assert.equal(before.lines.length, 1);
    rig.save('lost.yaml', `# looked at\n# again\n${lost}`);
    let after = await said();
    for (let tries = 0; tries < 200 && after.lines[0] === before.lines[0]; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      after = await said();
    }
    assert.deepEqual(after, { generation: before.generation, lines: before.lines.map((line) => line + 2) });
    assert.equal(client.received.length, pushes);
    // What says something else is told: the same objects are still followed.
    rig.save(
      'lost.yaml',
      `# looked at\n${lost.replaceAll('lost', 's2.shop.svc.cluster.local').replace('name: s2.shop.svc.cluster.local', 'name: a')}`,
    );
    await eventually('a change is pushed', () => client.received.length > pushes);
  } finally {
    client.close();
    await rig.close();
  }
});
