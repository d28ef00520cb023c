// A sidecar's answer in pieces through the control plane: what comes is given on at once, the sidecar hears when the reader has gone, who
// taps needs the role and is in the audit log, and a lost sidecar cuts the answer.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { test } from 'node:test';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { auditFolder } from '../../src/control/audit/chain-files.ts';
import { auditEntries } from '../../src/control/audit/query.ts';
import { OPERATOR_METHOD } from '../../src/control/xds/server.ts';
import { eventually, type Rig, startRig } from './rig.ts';

const raw = (bytes: Buffer): Buffer => bytes;
type Asked = { readonly id: number; readonly path?: string; readonly stream?: boolean; readonly cancel?: boolean };

/** The agent of the replica `a`, as far as the tunnel goes. */
const attach = async (rig: Rig) => {
  const client = new Client(rig.controlPlane.xds[0] ?? '', credentials.createInsecure());
  const metadata = new Metadata();
  metadata.set('authorization', `Bearer ${await rig.token('a')}`);
  const call = client.makeBidiStreamRequest(OPERATOR_METHOD, raw, raw, metadata);
  const asked: Asked[] = [];
  call.on('error', () => undefined);
  call.on('data', (bytes: Buffer) => {
    const message = JSON.parse(bytes.toString()) as Asked;
    asked.push(message);
    if (message.path !== undefined) onAsked(message);
  });
  let onAsked = (_: Asked): void => undefined;
  return {
    asked,
    say: (value: object): void => void call.write(Buffer.from(JSON.stringify(value))),
    answers: (with_: (asked: Asked) => void): void => {
      onAsked = with_;
    },
    close: (): void => {
      call.cancel();
      client.close();
    },
  };
};

const post = async (rig: Rig, path: string): Promise<IncomingMessage> => {
  const sent = request({
    socketPath: rig.controlPlane.adminSocket,
    method: 'POST',
    path: `/v1/proxies/default/a/admin/${path}`,
    agent: false,
  });
  sent.end('{"count":1}');
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  response.on('error', () => undefined);
  return response;
};

const withAgent = async (run: (rig: Rig, agent: Awaited<ReturnType<typeof attach>>) => Promise<void>): Promise<void> => {
  const rig = await startRig({});
  const agent = await attach(rig);
  try {
    agent.answers(({ id }) => agent.say({ id, status: 200, headers: {}, body: 'LIVE\n' }));
    for (let tries = 0; tries < 100 && (await rig.admin('GET', '/v1/proxies/default/a/admin/ready')).status === 404; tries++)
      await new Promise((r) => setTimeout(r, 10));
    await run(rig, agent);
  } finally {
    agent.close();
    await rig.close();
  }
};

test('pieces are given on as they come, and the sidecar hears when nobody reads any more', async () => {
  await withAgent(async (rig, agent) => {
    agent.answers(({ id, stream }) => {
      if (stream !== true) agent.say({ id, status: 200, headers: {}, body: 'LIVE' });
      else agent.say({ id, status: 200, headers: { 'content-type': 'application/x-ndjson' }, body: '', more: true });
      if (stream === true) agent.say({ id, body: '{"n":1}\n', more: true });
    });
    const reading = await post(rig, 'tap');
    assert.equal(reading.headers['content-type'], 'application/x-ndjson');
    const [first] = (await once(reading, 'data')) as [Buffer];
    assert.equal(first.toString(), '{"n":1}\n');
    assert.equal(agent.asked.at(-1)?.stream, true);
    const id = agent.asked.at(-1)?.id ?? 0;
    agent.say({ id, body: '{"n":2}\n', more: true });
    const [second] = (await once(reading, 'data')) as [Buffer];
    assert.equal(second.toString(), '{"n":2}\n');
    reading.destroy();
    await eventually('cancelled', () => agent.asked.some((a) => a.cancel === true && a.id === id));
    agent.say({ id, body: 'late', more: true });
    assert.equal((await rig.admin('GET', '/v1/proxies/default/a/admin/ready')).status, 200, 'a late piece ends nothing');
    const entries = auditEntries(auditFolder(rig.state), { type: 'call' }, 10);
    assert.deepEqual(
      entries.slice(-1).map((e) => [e['method'], e['path']]),
      [['POST', '/v1/proxies/default/a/admin/tap']],
    );
  });
});

test('an end is an end, a refusal is a refusal, and a sidecar that is lost cuts the answer', async () => {
  await withAgent(async (rig, agent) => {
    agent.answers(({ id }) => {
      agent.say({ id, status: 200, headers: {}, body: '', more: true });
      agent.say({ id, body: 'all', more: true });
      agent.say({ id, body: '', more: false });
    });
    assert.equal((await rig.admin('POST', '/v1/proxies/default/a/admin/tap', {})).body, 'all');
    agent.answers(({ id }) => agent.say({ id, status: 429, headers: { 'content-type': 'text/plain' }, body: 'too many' }));
    assert.deepEqual(await rig.admin('POST', '/v1/proxies/default/a/admin/tap', {}), { status: 429, body: 'too many' });
    agent.answers(({ id }) => {
      agent.say({ id, status: 200, headers: {}, body: '', more: true });
      agent.say({ id, body: 'half', more: true });
      agent.say({ id, body: '', more: false, cut: true });
    });
    const half = await post(rig, 'tap');
    half.resume();
    await new Promise((resolve) => half.on('close', resolve));
    assert.equal(half.complete, false, 'the proxy behind the agent has gone');
    agent.answers(({ id }) => agent.say({ id, status: 200, headers: {}, body: '', more: true }));
    const cut = await post(rig, 'tap');
    const over = new Promise((resolve) => cut.on('close', resolve));
    cut.resume();
    agent.close();
    await over;
    assert.equal(cut.complete, false);
  });
});
