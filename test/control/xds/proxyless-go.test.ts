// grpc-go's xDS client against our control plane: the gRPC project's interoperability client dials `xds:///…` and calls often; what it
// called is counted at the servers. Needs that client (test/setup builds it where Go is); skipped by name otherwise.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { PIPELINE } from '../../../src/control/pipeline.ts';
import { tool } from '../../interop/tools.ts';
import { type Rig, startRig } from '../rig.ts';
import { type Backend, bootstrapOf, FAILOVER, PAYLOAD_BYTES, service, split, startBackend } from './proxyless-mesh.ts';

const CLIENT = tool('grpc-interop-client');

describe('a grpc-go client without a proxy', { skip: CLIENT === undefined && 'no grpc-interop-client: run test/setup where Go is' }, () => {
  const backends: Backend[] = [];
  let rig: Rig;

  before(async () => {
    for (const name of ['one', 'two', 'three', 'four', 'home', 'away']) backends.push(await startBackend(name));
    const [one, two, three, four, home, away] = backends;
    assert.ok(one && two && three && four && home && away);
    const services = [
      service('plain', [
        [one, 'v1', 'north'],
        [two, 'v1', 'north'],
      ]),
      service('split', [
        [three, 'v1', 'north'],
        [four, 'v2', 'north'],
      ]),
      service('near', [
        [home, 'v1', 'north'],
        [away, 'v1', 'south'],
      ]),
    ];
    const files = { 'mesh.yaml': services.join('') + FAILOVER, 'split.yaml': split([75, 25]) };
    rig = await startRig(files, { pipeline: PIPELINE, insecure: true, xds: ['127.0.0.1:0'] });
  });

  after(async () => {
    for (const b of backends) b.stop();
    await rig.close();
  });

  /** Calls that each server took. */
  const callMany = async (target: string, calls: number): Promise<Record<string, number>> => {
    for (const b of backends) b.calls = 0;
    const flags = [
      `--server_host=xds:///${target}`,
      '--server_port=0',
      '--test_case=rpc_soak',
      `--soak_iterations=${calls}`,
      '--soak_request_size=10',
      `--soak_response_size=${PAYLOAD_BYTES}`,
      '--soak_overall_timeout_seconds=30',
    ];
    const env = { ...process.env, GRPC_XDS_BOOTSTRAP_CONFIG: bootstrapOf(rig.controlPlane.xds[0]) };
    const child = spawn(CLIENT ?? '', flags, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    const output: string[] = [];
    child.stdout.on('data', (b: Buffer) => output.push(b.toString()));
    child.stderr.on('data', (b: Buffer) => output.push(b.toString()));
    const code = await new Promise((resolve) => child.on('exit', resolve));
    assert.equal(code, 0, output.join('').slice(-2000));
    return Object.fromEntries(backends.filter((b) => b.calls > 0).map((b) => [b.name, b.calls]));
  };

  test('balances over the endpoints', async () => {
    const seen = await callMany('plain.shop.svc.cluster.local:7000', 40);
    assert.deepEqual(Object.keys(seen).sort(), ['one', 'two']);
    assert.ok((seen['one'] ?? 0) >= 10 && (seen['two'] ?? 0) >= 10, JSON.stringify(seen));
  });

  test('splits by weight', async () => {
    const seen = await callMany('split:7000', 400);
    // 300 expected; four standard deviations are 35.
    assert.ok(Math.abs((seen['three'] ?? 0) - 300) <= 35, JSON.stringify(seen));
    assert.equal((seen['three'] ?? 0) + (seen['four'] ?? 0), 400);
  });

  test('stays in its locality, and leaves it when nobody answers there', async () => {
    assert.deepEqual(await callMany('near.shop:7000', 20), { home: 20 });
    backends.find((b) => b.name === 'home')?.stop();
    assert.deepEqual(await callMany('near.shop:7000', 20), { away: 20 });
  });
});
