// gRPC's own xDS client against our control plane, without any proxy: it balances, splits by weight and fails over by what ADS says alone.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Client, credentials, status } from '@grpc/grpc-js';
import { PIPELINE } from '../../../src/control/pipeline.ts';
import { type Rig, startRig } from '../rig.ts';
import { type Backend, bootstrapOf, FAILOVER, PATH, plain, service, split, startBackend } from './proxyless-mesh.ts';

describe('a gRPC client without a proxy', () => {
  const backends: Backend[] = [];
  const clients: Client[] = [];
  let rig: Rig;

  before(async () => {
    for (const name of ['one', 'two', 'three', 'four', 'home', 'away']) backends.push(await startBackend(name));
    const [one, two, three, four, home, away] = backends;
    assert.ok(one && two && three && four && home && away);
    rig = await startRig(
      {
        'mesh.yaml':
          service('plain', [
            [one, 'v1', 'north'],
            [two, 'v1', 'north'],
          ]) +
          service('split', [
            [three, 'v1', 'north'],
            [four, 'v2', 'north'],
          ]) +
          service('near', [
            [home, 'v1', 'north'],
            [away, 'v1', 'south'],
          ]) +
          FAILOVER,
        'split.yaml': split([75, 25]),
      },
      { pipeline: PIPELINE, insecure: true, xds: ['127.0.0.1:0'] },
    );
    process.env['GRPC_XDS_BOOTSTRAP_CONFIG'] = bootstrapOf(rig.controlPlane.xds[0]);
    // The bootstrap is read once, when the client is first used.
    (await import('@grpc/grpc-js-xds')).register();
  });

  after(async () => {
    for (const c of clients) c.close();
    for (const b of backends) b.stop();
    await rig.close();
  });

  const dial = (target: string): Client => {
    const client = new Client(`xds:///${target}`, credentials.createInsecure());
    clients.push(client);
    return client;
  };
  const call = (client: Client): Promise<string> =>
    new Promise((resolve) => {
      client.makeUnaryRequest(PATH, plain, plain, Buffer.alloc(0), { deadline: Date.now() + 20_000 }, (error, value) =>
        resolve(error ? `${status[error.code]}: ${error.details}` : String(value)),
      );
    });
  const tally = async (client: Client, calls: number): Promise<Record<string, number>> => {
    const out: Record<string, number> = {};
    for (let i = 0; i < calls; i++) {
      const who = await call(client);
      out[who] = (out[who] ?? 0) + 1;
    }
    return out;
  };

  test('balances over the endpoints, by whichever name it dials', async () => {
    for (const target of ['plain.shop.svc.cluster.local:7000', 'plain:7000']) {
      const client = dial(target);
      await call(client);
      const seen = await tally(client, 40);
      assert.deepEqual(Object.keys(seen).sort(), ['one', 'two'], target);
      assert.ok((seen['one'] ?? 0) >= 15 && (seen['two'] ?? 0) >= 15, JSON.stringify(seen));
    }
  });

  test('splits by weight, and follows when the weights change', async () => {
    const client = dial('split.shop.svc.cluster.local:7000');
    const seen = await tally(client, 400);
    assert.deepEqual(Object.keys(seen).sort(), ['four', 'three']);
    // 300 expected; four standard deviations are 35.
    assert.ok(Math.abs((seen['three'] ?? 0) - 300) <= 35, JSON.stringify(seen));
    rig.save('split.yaml', split([0, 100]));
    const until = Date.now() + 20_000;
    for (;;) {
      const now = await tally(client, 20);
      if (now['four'] === 20) break;
      assert.ok(Date.now() < until, JSON.stringify(now));
    }
  });

  test('stays in its locality and leaves it when nobody answers there', async () => {
    const client = dial('near.shop.svc.cluster.local:7000');
    assert.deepEqual(await tally(client, 20), { home: 20 });
    backends.find((b) => b.name === 'home')?.stop();
    const until = Date.now() + 20_000;
    for (;;) {
      const now = await tally(client, 10);
      if (now['away'] === 10) break;
      assert.ok(Date.now() < until, JSON.stringify(now));
    }
  });

  test('a service that is gone is gone for its clients', async () => {
    const client = dial('late.shop.svc.cluster.local:7000');
    const [one] = backends;
    assert.ok(one);
    rig.save('late.yaml', service('late', [[one, 'v1', 'north']]));
    assert.equal(await call(client), 'one');
    rig.save('late.yaml', '');
    const until = Date.now() + 20_000;
    while ((await call(client)) === 'one') assert.ok(Date.now() < until);
    assert.match(await call(client), /^UNAVAILABLE/);
  });
});
