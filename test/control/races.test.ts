// Many hands on one object: parallel applies and deletes by the admin API are taken one after another. The last one is what is in force,
// on disk and in what proxies are sent; every change is a generation of its own.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually, type Rig, startRig, XdsClient } from './rig.ts';

const ROUNDS = 200;
const WIDTH = 20;

interface Done {
  readonly generation: number;
  /** What the object says since; undefined: it is gone. */
  readonly says: string | undefined;
}

const applied = async (rig: Rig, says: string): Promise<Done> => {
  const text = `kind: VirtualService\nname: one\nspec: {cluster: ${says}}\n`;
  const { status, body } = await rig.admin('POST', '/v1/apply', { documents: [{ file: 'one.yaml', text }] });
  assert.equal(status, 200, JSON.stringify(body));
  return { generation: (body as { readonly generation: number }).generation, says };
};

const deleted = async (rig: Rig): Promise<Done | undefined> => {
  const { status, body } = await rig.admin('DELETE', '/v1/resources/VirtualService/default/one');
  if (status === 404) return undefined;
  assert.equal(status, 200, JSON.stringify(body));
  return { generation: (body as { readonly generation: number }).generation, says: undefined };
};

const inForce = async (rig: Rig): Promise<string | undefined> => {
  const { body } = await rig.admin('GET', '/v1/resources?kind=VirtualService');
  const { resources } = body as { readonly resources: readonly { readonly object: { readonly spec: { readonly cluster: string } } }[] };
  assert.ok(resources.length <= 1);
  return resources[0]?.object.spec.cluster;
};

test(`${ROUNDS} parallel applies and deletes of one object end as the last of them said`, async () => {
  const rig = await startRig({});
  const client = new XdsClient(rig.controlPlane.xds[0] ?? '', { token: await rig.token('a') });
  client.subscribe('RDS', ['one']);
  const done: Done[] = [];
  for (let round = 0; round < ROUNDS; round += WIDTH) {
    const batch = Array.from({ length: WIDTH }, (_, i) => (i % 3 === 2 ? deleted(rig) : applied(rig, `v${round + i}`)));
    done.push(...(await Promise.all(batch)).filter((d) => d !== undefined));
    for (const r of client.of('RDS').slice(-1)) client.ack(r, ['one']);
  }
  done.push(await applied(rig, 'last'));
  const generations = done.map((d) => d.generation);
  assert.equal(new Set(generations).size, done.length, 'every change has a generation of its own');
  assert.equal(Math.max(...generations), rig.controlPlane.model.current?.number);
  const last = done.reduce((a, b) => (a.generation > b.generation ? a : b));
  assert.equal(last.says, 'last');
  assert.equal(await inForce(rig), 'last');
  let taken = 0;
  await eventually('the proxy has it', () => {
    for (const r of client.of('RDS').slice(taken)) client.ack(r, ['one']);
    taken = client.of('RDS').length;
    return JSON.stringify(client.of('RDS').at(-1)?.response ?? {}).includes('"last"');
  });
  client.close();
  await rig.close();
});

test('what parallel applies and deletes left is what a restarted control plane finds', async () => {
  const rig = await startRig({});
  const batch = Array.from({ length: ROUNDS }, (_, i) => (i % 2 === 1 ? deleted(rig) : applied(rig, `v${i}`)));
  const done = (await Promise.all(batch)).filter((d) => d !== undefined);
  const last = done.reduce((a, b) => (a.generation > b.generation ? a : b));
  assert.equal(await inForce(rig), last.says);
  await rig.controlPlane.close();
  const again = await startRig({}, {}, rig.root);
  assert.equal(await inForce(again), last.says);
  assert.ok((await applied(again, 'after')).generation > last.generation);
  await again.close();
});

test('objects that are applied in parallel are all in force, each once', async () => {
  const rig = await startRig({});
  const text = (i: number): string => `kind: Service\nname: s${i}\nspec: {endpoints: [10.0.0.${i}]}\n`;
  const replies = await Promise.all(
    Array.from({ length: 100 }, (_, i) => rig.admin('POST', '/v1/apply', { documents: [{ file: 'a.yaml', text: text(i % 50) }] })),
  );
  assert.ok(replies.every((r) => r.status === 200));
  const actions = replies.flatMap((r) => (r.body as { readonly applied: readonly { readonly action: string }[] }).applied);
  assert.equal(actions.filter((a) => a.action === 'created').length, 50);
  assert.equal(actions.filter((a) => a.action === 'unchanged').length, 50);
  const { body } = await rig.admin('GET', '/v1/resources?kind=Service');
  assert.equal((body as { readonly resources: readonly unknown[] }).resources.length, 50);
  await rig.close();
});
