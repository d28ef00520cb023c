// The admin API over its socket: apply and its refusals, ownership, replicas, restart, events, and the operator's way in.
import assert from 'node:assert/strict';
import { statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import type { Problem } from '../../../src/api/problem.ts';
import { PIPELINE } from '../../../src/control/pipeline.ts';
import { OPERATOR_METHOD } from '../../../src/control/xds/server.ts';
import { eventually, type Rig, startRig, XdsClient } from '../rig.ts';

const object = (name: string, value = 'x', kind = 'Service'): string => `kind: ${kind}\nname: ${name}\nspec: {value: ${value}}\n`;
const apply = (rig: Rig, text: string, extra: object = {}) =>
  rig.admin('POST', '/v1/apply', { documents: [{ file: 'given.yaml', text }], ...extra });
const actions = (body: unknown): readonly string[] =>
  (body as { applied: { name: string; action: string }[] }).applied.map((a) => `${a.name} ${a.action}`);
const problems = (body: unknown): readonly Problem[] => (body as { problems: readonly Problem[] }).problems;
const names = async (rig: Rig): Promise<readonly string[]> => {
  const { body } = await rig.admin('GET', '/v1/resources');
  return (body as { resources: { object: { metadata: { name: string } } }[] }).resources.map((r) => r.object.metadata.name);
};
const instance = (extra: object = {}) => ({
  workload: 'a',
  address: '10.244.0.2',
  labels: { app: 'a' },
  serviceAccount: 'a',
  ports: [{ name: 'http', port: 80 }],
  ready: true,
  meshed: true,
  ...extra,
});

const withRig = async (files: Record<string, string>, run: (rig: Rig) => Promise<void>): Promise<void> => {
  const rig = await startRig(files);
  try {
    await run(rig);
  } finally {
    await rig.close();
  }
};

describe('apply', () => {
  test('creates, configures, leaves alone, and answers with the generation in force', async () => {
    await withRig({}, async (rig) => {
      const first = await apply(rig, `${object('a')}---\n${object('b')}`);
      assert.equal(first.status, 200);
      assert.deepEqual(actions(first.body), ['a created', 'b created']);
      assert.equal((first.body as { generation: number }).generation, rig.controlPlane.model.current?.number);
      assert.deepEqual(actions((await apply(rig, `${object('a', 'y')}---\n${object('b')}`)).body), ['a configured', 'b unchanged']);
      assert.deepEqual(await names(rig), ['a', 'b']);
    });
  });

  test('refuses the whole of it with every problem, and stores nothing', async () => {
    await withRig({}, async (rig) => {
      const refused = await apply(rig, `${object('a')}---\n${object('b', '!broken')}---\n${object('c', '!broken')}`);
      assert.equal(refused.status, 422);
      assert.deepEqual(
        problems(refused.body).map((p) => [p.file, p.line, p.severity]),
        [
          ['given.yaml', 7, 'error'],
          ['given.yaml', 11, 'error'],
        ],
      );
      assert.equal((await apply(rig, object('a', 'snapshot-error'))).status, 422, 'what only the whole mesh shows refuses too');
      assert.equal((await apply(rig, `${object('a')}---\n${object('a')}`)).status, 422, 'written twice');
      assert.deepEqual(await names(rig), []);
      const warned = await apply(rig, object('w', '!warn'));
      assert.equal(warned.status, 200);
    });
  });

  test('a dry run tells the same and stores nothing', async () => {
    await withRig({}, async (rig) => {
      assert.deepEqual(actions((await apply(rig, object('a'), { dryRun: true })).body), ['a created']);
      assert.deepEqual(await names(rig), []);
    });
  });

  test('an object of a watched file is refused, and deleted only in the file', async () => {
    await withRig({ 'owned.yaml': object('a') }, async (rig) => {
      const refused = await apply(rig, object('a', 'mine'));
      assert.equal(refused.status, 422);
      assert.match(problems(refused.body)[0]?.message ?? '', /owned\.yaml:2/);
      const kept = await rig.admin('DELETE', '/v1/resources/Service/default/a');
      assert.equal(kept.status, 409);
      assert.match(JSON.stringify(kept.body), /owned\.yaml/);
      assert.equal((await apply(rig, object('b'))).status, 200);
      rig.save('later.yaml', object('b', 'from-file'));
      await eventually('the file wins', () => rig.controlPlane.model.current?.problems.some((p) => p.code === 'SHADOWED_BY_FILE'));
      assert.equal((await rig.admin('DELETE', '/v1/resources/Service/default/b')).status, 200);
      assert.equal((await rig.admin('DELETE', '/v1/resources/Service/default/none')).status, 404);
    });
  });

  test('two files with one object: the first is in force, the second is a problem', async () => {
    await withRig({ 'a.yaml': object('a', 'first'), 'b.yaml': object('a', 'second') }, async (rig) => {
      const found = rig.controlPlane.model.current?.problems ?? [];
      assert.deepEqual(
        found.map((p) => [p.code, p.file]),
        [['DUPLICATE_OBJECT', join(rig.config, 'b.yaml')]],
      );
    });
  });
});

describe('admin API', () => {
  test('input is checked strictly', async () => {
    await withRig({}, async (rig) => {
      const put = async (body: unknown): Promise<number> => (await rig.admin('PUT', '/v1/instances/default/a-0', body)).status;
      assert.equal(await put(instance({ address: 'nowhere' })), 400);
      assert.equal(await put(instance({ ready: 'yes' })), 400);
      assert.equal(await put(instance({ ports: [{ name: 'http', port: 0 }] })), 400);
      assert.equal(await put(instance({ surprise: 1 })), 400);
      assert.equal((await rig.admin('PUT', '/v1/instances/default/A_0', instance())).status, 400);
      assert.equal(await put(instance()), 200);
      assert.equal((await rig.admin('GET', '/v1/nothing')).status, 404);
      assert.equal((await rig.admin('DELETE', '/v1/status')).status, 405);
      assert.equal((await rig.admin('POST', '/v1/tokens', { namespace: 'x' })).status, 400);
      assert.equal((await rig.admin('POST', '/v1/tokens', { pad: 'x'.repeat(2_000_000) })).status, 413);
      assert.equal(statSync(rig.controlPlane.adminSocket).mode & 0o777, 0o600);
    });
  });

  test('a restart knows replicas, tokens and objects; the folder is locked meanwhile', async () => {
    const first = await startRig({});
    await first.admin('PUT', '/v1/instances/default/a-0', instance());
    await apply(first, object('kept'));
    const token = await first.token('a-0');
    await assert.rejects(startRig({}, {}, first.root), /in use by the control plane/);
    await first.controlPlane.close();
    const second = await startRig({}, {}, first.root);
    const { body } = await second.admin('GET', '/v1/status');
    const status = body as { workloads: { name: string; ready: boolean; labels: unknown }[]; generation: number };
    assert.deepEqual(
      status.workloads.map((w) => [w.name, w.ready, w.labels]),
      [['a-0', true, { app: 'a' }]],
    );
    assert.ok(status.generation >= 1);
    const client = new XdsClient(second.controlPlane.xds[0] ?? '', {
      token,
      node: 'sidecar~10.244.0.2~a-0.default~default.svc.cluster.local',
    });
    client.subscribe('CDS');
    assert.deepEqual((await client.next('CDS', 1)).names, ['kept']);
    await eventually('connected', () => client.received.length > 0);
    const connected = (await second.admin('GET', '/v1/status')).body as { workloads: { connected: boolean; proxy: string }[] };
    assert.deepEqual(
      connected.workloads.map((w) => [w.connected, w.proxy]),
      [[true, 'envoy']],
    );
    await second.admin('DELETE', '/v1/instances/default/a-0');
    const revoked = new XdsClient(second.controlPlane.xds[0] ?? '', { token });
    revoked.subscribe('CDS');
    assert.equal((await eventually('the token is gone', () => revoked.status)).code, 16);
    client.close();
    revoked.close();
    await second.close();
  });

  test('events tell generations, replicas and proxies', async () => {
    await withRig({}, async (rig) => {
      let text = '';
      const sent = request({ socketPath: rig.controlPlane.adminSocket, path: '/v1/events', agent: false }, (response) => {
        response.on('data', (chunk: Buffer) => {
          text += chunk.toString();
        });
        response.on('error', () => undefined);
      });
      sent.on('error', () => undefined);
      sent.end();
      await eventually('connected', () => text.includes(': connected'));
      await rig.admin('PUT', '/v1/instances/default/a-0', instance());
      await eventually('the replica', () => /event: instance\ndata: .*"a-0".*"registered"/.test(text));
      await eventually('the generation', () => text.includes('event: generation'));
      rig.save('bad.yaml', object('x', '!broken'));
      await eventually('the problem', () => /event: problem\ndata: .*bad\.yaml/.test(text));
      sent.destroy();
    });
  });

  test("a request travels to the sidecar's admin API over its agent's stream", async () => {
    await withRig({}, async (rig) => {
      assert.equal((await rig.admin('GET', '/v1/proxies/default/a/admin/config_dump')).status, 404);
      const raw = (b: Buffer): Buffer => b;
      const metadata = new Metadata();
      metadata.set('authorization', `Bearer ${await rig.token('a')}`);
      const client = new Client(rig.controlPlane.xds[0] ?? '', credentials.createInsecure());
      const call = client.makeBidiStreamRequest(OPERATOR_METHOD, raw, raw, metadata);
      call.on('error', () => undefined);
      call.on('data', (bytes: Buffer) => {
        const { id, method, path, body } = JSON.parse(bytes.toString()) as Record<string, unknown>;
        const answer = { id, status: 200, headers: { 'content-type': 'application/json' }, body: JSON.stringify({ method, path, body }) };
        call.write(Buffer.from(JSON.stringify(answer)));
      });
      const until = Date.now() + 20_000;
      let reply = await rig.admin('POST', '/v1/proxies/default/a/admin/logging?level=debug', { x: 1 });
      while (reply.status === 404 && Date.now() < until)
        reply = await rig.admin('POST', '/v1/proxies/default/a/admin/logging?level=debug', { x: 1 });
      assert.deepEqual(reply, { status: 200, body: { method: 'POST', path: '/logging?level=debug', body: '{"x":1}' } });
      call.cancel();
      client.close();
    });
  });

  test('status names ports of HTTP/2 while a proxy is connected that does not read it', async () => {
    const grpc = 'apiVersion: v1\nkind: Service\nmetadata: {name: g}\nspec:\n  ports:\n  - {name: grpc, port: 9000}\n';
    const rig = await startRig({ 'g.yaml': grpc }, { pipeline: PIPELINE });
    const told = async (): Promise<readonly (string | number)[][]> =>
      problems((await rig.admin('GET', '/v1/status')).body).map((p) => [p.code, p.line, p.path]);
    try {
      const envoy = new XdsClient(rig.controlPlane.xds[0] ?? '', { token: await rig.token('a') });
      envoy.subscribe('CDS');
      await envoy.next('CDS', 1);
      assert.deepEqual(await told(), []);
      const skein = new XdsClient(rig.controlPlane.xds[0] ?? '', { token: await rig.token('a'), agent: 'skein' });
      skein.subscribe('CDS');
      await skein.next('CDS', 1);
      assert.deepEqual(await told(), [['HTTP2_NOT_YET', 6, 'spec.ports[0]']]);
      envoy.close();
      skein.close();
    } finally {
      await rig.close();
    }
  });

  test('the number of generations goes on after a restart', async () => {
    const first = await startRig({ 'a.yaml': object('a') });
    await apply(first, object('b'));
    const number = first.controlPlane.model.current?.number ?? 0;
    assert.ok(number >= 2);
    await first.controlPlane.close();
    const second = await startRig({ 'a.yaml': object('a') }, {}, first.root);
    assert.equal(second.controlPlane.model.current?.number, number + 1);
    await second.close();
  });

  test('a file that is broken over a restart keeps the objects of its last good text', async () => {
    const first = await startRig({ 'a.yaml': object('a', 'good') });
    first.save('a.yaml', object('a', '!broken'));
    await eventually('the refusal', () => first.controlPlane.model.files.some((f) => f.state === 'refused'));
    await first.controlPlane.close();
    const second = await startRig({}, {}, first.root);
    assert.deepEqual(await names(second), ['a']);
    assert.deepEqual(
      second.controlPlane.model.files.map((f) => [f.state, f.objects]),
      [['refused', 1]],
    );
    second.save('a.yaml', object('a', 'better'));
    await eventually('the repair', () => second.controlPlane.model.files.every((f) => f.state === 'applied'));
    await second.controlPlane.close();
    writeFileSync(join(second.config, 'a.yaml'), object('a', '!broken'));
    const third = await startRig({}, {}, first.root);
    assert.deepEqual(await names(third), [], 'what has been repaired since is not brought back');
    await third.close();
  });

  test('metrics are in text form', async () => {
    await withRig({}, async (rig) => {
      const { body } = await rig.admin('GET', '/metrics');
      assert.match(String(body), /^pilot_xds 0$/m);
      assert.match(String(body), /^pilot_proxy_convergence_time_count 0$/m);
    });
  });
});
