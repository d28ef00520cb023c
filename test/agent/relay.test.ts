// The proxy's ADS stream through the agent: bytes both ways, the name table injected, the control plane going and coming.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { GrpcChannel } from '../../src/agent/grpc-channel.ts';
import { createLog } from '../../src/base/log.ts';
import { decode, encode } from '../../src/xds/codec.ts';
import type { DiscoveryRequest } from '../../src/xds/gen/types.ts';
import { ADS_METHOD, CLUSTER_TYPE, LISTENER_TYPE, NAME_TABLE_TYPE, PROXY_CONFIG_TYPE } from '../../src/xds/resource-types.ts';
import type { XdsTransport } from '../../src/xds/transport.ts';
import { respond } from './fake-control-plane.ts';
import { type Bench, openStream, TOKEN, withAgent } from './setup.ts';

const quiet = createLog(
  'test',
  () => {},
  () => new Date(),
);
const request = (r: DiscoveryRequest): Uint8Array => encode('envoy.service.discovery.v3.DiscoveryRequest', r);
const overSocket = (dir: string): GrpcChannel =>
  new GrpcChannel({ target: { kind: 'unix', path: join(dir, 'run', 'xds.sock') }, metadata: () => ({}), log: quiet });

const relayBothWays = async ({ control }: Bench, transport: XdsTransport): Promise<void> => {
  const proxy = openStream(transport, ADS_METHOD);
  proxy.stream.send(request({ type_url: CLUSTER_TYPE.url, node: { id: 'from the proxy' } }));
  const { call, requests } = await control.ads.next();
  assert.equal(call.metadata.get('authorization')[0], `Bearer ${TOKEN}`);
  const first = await requests.next();
  assert.equal(first.node?.id, 'from the proxy');
  assert.equal(first.type_url, CLUSTER_TYPE.url);
  assert.equal((await requests.next()).type_url, NAME_TABLE_TYPE.url, 'the agent asks for names on the same stream');
  assert.equal((await requests.next()).type_url, PROXY_CONFIG_TYPE.url, 'and for what is trusted');
  const big = {
    type_url: CLUSTER_TYPE.url,
    version_info: '1',
    nonce: 'a',
    resources: [{ '@type': CLUSTER_TYPE.url, name: 'x'.repeat(500_000) }],
  };
  const sent = respond(call, big);
  assert.deepEqual(Buffer.from(await proxy.messages.next()), sent, 'bytes as they were sent');
  // Names stay with the agent, which acknowledges them; the next message for the proxy passes.
  respond(call, {
    type_url: NAME_TABLE_TYPE.url,
    version_info: '7',
    nonce: 'n1',
    resources: [{ '@type': NAME_TABLE_TYPE.url, table: {} }],
  });
  const ack = await requests.next();
  assert.deepEqual([ack.type_url, ack.version_info, ack.response_nonce], [NAME_TABLE_TYPE.url, '7', 'n1']);
  respond(call, { type_url: LISTENER_TYPE.url, version_info: '2', nonce: 'b' });
  const next = decode('envoy.service.discovery.v3.DiscoveryResponse', await proxy.messages.next());
  assert.equal(next.type_url, LISTENER_TYPE.url);
  proxy.stream.send(request({ type_url: CLUSTER_TYPE.url, version_info: '1', response_nonce: 'a' }));
  assert.equal((await requests.next()).response_nonce, 'a');
  const cancelled = new Promise<void>((resolve) => call.once('cancelled', resolve));
  proxy.stream.close();
  await cancelled;
};

test('requests and responses pass both ways for a proxy in the process', async () => {
  await withAgent({}, (bench) => relayBothWays(bench, bench.agent.transports.ads));
});

test('requests and responses pass both ways over the socket', async () => {
  await withAgent({}, async (bench) => {
    const channel = overSocket(bench.dir);
    await relayBothWays(bench, channel);
    channel.close();
  });
});

test('a first request without a node gets the workload’s', async () => {
  await withAgent({}, async ({ control, agent }) => {
    const { stream } = openStream(agent.transports.ads, ADS_METHOD);
    stream.send(request({ type_url: CLUSTER_TYPE.url }));
    const first = await (await control.ads.next()).requests.next();
    assert.equal(first.node?.id, 'sidecar~10.244.0.5~web-0.production~production.svc.cluster.local');
    assert.equal(first.node?.metadata?.['NAMESPACE'], 'production');
    assert.deepEqual(first.node?.metadata?.['LABELS'], { app: 'web', version: 'v1' });
    assert.equal(first.type_url, CLUSTER_TYPE.url);
  });
});

test('a malformed name table is refused by its nonce and the stream goes on', async () => {
  await withAgent({}, async ({ control, agent }) => {
    const { stream, messages } = openStream(agent.transports.ads, ADS_METHOD);
    stream.send(request({ type_url: CLUSTER_TYPE.url, node: { id: 'x' } }));
    const { call, requests } = await control.ads.next();
    await requests.until((r) => r.type_url === PROXY_CONFIG_TYPE.url);
    respond(call, {
      type_url: NAME_TABLE_TYPE.url,
      version_info: '1',
      nonce: 'bad',
      resources: [{ type_url: NAME_TABLE_TYPE.url, value: Uint8Array.of(0xff) }],
    });
    const nack = await requests.next();
    assert.deepEqual([nack.response_nonce, nack.version_info ?? '', nack.error_detail !== undefined], ['bad', '', true]);
    respond(call, { type_url: CLUSTER_TYPE.url, nonce: 'c' });
    await messages.next();
  });
});

const survivesRestart = async ({ control }: Bench, transport: XdsTransport): Promise<void> => {
  const before = openStream(transport, ADS_METHOD);
  before.stream.send(request({ type_url: CLUSTER_TYPE.url, node: { id: 'x' } }));
  const { call, requests } = await control.ads.next();
  await requests.until((r) => r.type_url === NAME_TABLE_TYPE.url);
  respond(call, { type_url: NAME_TABLE_TYPE.url, version_info: '3', nonce: 'n', resources: [{ '@type': NAME_TABLE_TYPE.url, table: {} }] });
  await requests.until((r) => r.response_nonce === 'n');
  control.kill();
  assert.notEqual((await before.ends.next()).code, 0, 'the proxy is told, so that it comes back with its versions');
  // It comes back while nobody is there: its requests wait.
  const after = openStream(transport, ADS_METHOD);
  after.stream.send(request({ type_url: CLUSTER_TYPE.url, version_info: '41', node: { id: 'x' } }));
  await new Promise((resolve) => setTimeout(resolve, 150));
  assert.equal(after.ends.all.length, 0);
  await control.start();
  const again = await control.ads.next();
  assert.equal((await again.requests.next()).version_info, '41');
  const names = await again.requests.next();
  assert.deepEqual([names.version_info, names.response_nonce ?? ''], ['3', ''], 'names are asked for from the version we have');
  respond(again.call, { type_url: CLUSTER_TYPE.url, version_info: '42', nonce: 'z' });
  await after.messages.next();
  after.stream.close();
};

test('the control plane goes and comes back: the stream ends, the next one waits and is served', async () => {
  await withAgent({}, (bench) => survivesRestart(bench, bench.agent.transports.ads));
});

test('the same over the socket', async () => {
  await withAgent({}, async (bench) => {
    const channel = overSocket(bench.dir);
    await survivesRestart(bench, channel);
    channel.close();
  });
});

test('the control plane’s refusal reaches the proxy with its code', async () => {
  await withAgent({}, async ({ control, agent }) => {
    const { stream, ends } = openStream(agent.transports.ads, ADS_METHOD);
    stream.send(request({ type_url: CLUSTER_TYPE.url, node: { id: 'x' } }));
    const { call } = await control.ads.next();
    call.emit('error', { code: 7, details: 'not your node: 50 %' });
    assert.deepEqual(await ends.next(), { code: 7, message: 'not your node: 50 %' });
  });
});
