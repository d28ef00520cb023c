// The xDS door with a real gRPC client: answers, acknowledgements, pushes of changes only, order, and who is let in.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ENDPOINT_TYPE, streamMethod } from '../../../src/xds/resource-types.ts';
import { eventually, type Rig, startRig, XdsClient } from '../rig.ts';

const service = (name: string, ...endpoints: string[]): string => `kind: Service\nname: ${name}\nspec: {endpoints: [${endpoints}]}\n`;
const route = (name: string, cluster: string): string => `kind: VirtualService\nname: ${name}\nspec: {cluster: ${cluster}}\n`;
const listener = (name: string, value = 'x'): string => `kind: Gateway\nname: ${name}\nspec: {value: ${value}}\n`;

const shop = () => ({ 'a.yaml': service('a', '10.1.0.1'), 'r.yaml': route('r', 'a'), 'l.yaml': listener('l') });

interface TypeEntry {
  readonly state: string;
  readonly nack?: { readonly message: string };
}

const typesOf = async (rig: Rig): Promise<Record<string, TypeEntry>> => {
  const { body } = await rig.admin('GET', '/v1/proxies');
  const [proxy] = body as { types: Record<string, TypeEntry> }[];
  assert.ok(proxy, 'the proxy is listed');
  return proxy.types;
};

const withClient = async (files: Record<string, string>, run: (rig: Rig, client: XdsClient) => Promise<void>): Promise<void> => {
  const rig = await startRig(files);
  const client = new XdsClient(rig.controlPlane.xds[0] ?? '', { token: await rig.token('a') });
  try {
    await run(rig, client);
  } finally {
    client.close();
    await rig.close();
  }
};

const untilGeneration = (rig: Rig, number: number): Promise<true> =>
  eventually(`generation ${number}`, () => (rig.controlPlane.model.current?.number ?? 0) >= number && true);

describe('xDS server', () => {
  test('what many slow clients are sent at once is whole for each', async () => {
    const count = 700;
    const all = Array.from({ length: count }, (_, i) => `kind: Service\nname: s${i}\nspec: {value: ${`v${i}-`.repeat(60)}}\n`).join(
      '---\n',
    );
    const rig = await startRig({ 'all.yaml': all });
    const clients: XdsClient[] = [];
    try {
      for (let i = 0; i < 10; i++) {
        const token = await rig.token(`c${i}`);
        const client = new XdsClient(rig.controlPlane.xds[0] ?? '', {
          token,
          node: `sidecar~10.0.0.${i + 1}~c${i}.default~default.svc.cluster.local`,
        });
        clients.push(client);
        client.subscribe('CDS');
      }
      const [first, ...rest] = await Promise.all(clients.map((c) => c.next('CDS', 1)));
      assert.equal(first?.names.length, count);
      for (const one of rest) assert.deepEqual(one.response.resources, first?.response.resources);
    } finally {
      for (const client of clients) client.close();
      await rig.close();
    }
  });

  test('answers each type and reports what was acknowledged', async () => {
    await withClient(shop(), async (rig, client) => {
      await client.follow(['a'], ['r']);
      assert.deepEqual(
        client.received.map((r) => [r.type, r.names]),
        [
          ['CDS', ['a']],
          ['EDS', ['a']],
          ['LDS', ['l']],
          ['RDS', ['r']],
        ],
      );
      client.subscribe('NDS');
      const names = await client.next('NDS', 1);
      assert.ok(JSON.stringify(names.response).includes('a.default'));
      client.ack(names);
      await eventually('all acknowledged', () => rig.controlPlane.model.current);
      const until = Date.now() + 20_000;
      for (;;) {
        const types = await typesOf(rig);
        if (Object.values(types).every((t) => t.state === 'SYNCED')) break;
        assert.ok(Date.now() < until, JSON.stringify(types));
      }
    });
  });

  test('an edit that changes nothing for the proxy pushes nothing; one that does pushes only that', async () => {
    await withClient(shop(), async (rig, client) => {
      await client.follow(['a'], ['r']);
      rig.save('a.yaml', service('a', '10.1.0.1').replace('}', ', note: says nothing to proxies}'));
      await untilGeneration(rig, 2);
      rig.save('a.yaml', service('a', '10.1.0.1', '10.1.0.2'));
      const pushed = await client.next('EDS', 2);
      client.ack(pushed, ['a']);
      assert.ok(JSON.stringify(pushed.response).includes('10.1.0.2'));
      rig.save('r.yaml', route('r', 'elsewhere'));
      await client.next('RDS', 2);
      assert.deepEqual(
        client.received.map((r) => r.type),
        ['CDS', 'EDS', 'LDS', 'RDS', 'EDS', 'RDS'],
      );
    });
  });

  test('a refusal is kept with its text until a later version is accepted, and is not sent again', async () => {
    await withClient(shop(), async (rig, client) => {
      client.subscribe('LDS');
      client.ack(await client.next('LDS', 1));
      rig.save('l.yaml', listener('l', 'bad'));
      const bad = await client.next('LDS', 2);
      client.ack(bad, [], 'no such thing');
      const until = Date.now() + 20_000;
      for (let lds = (await typesOf(rig))['LDS']; lds?.state !== 'NACK'; lds = (await typesOf(rig))['LDS']) assert.ok(Date.now() < until);
      assert.equal((await typesOf(rig))['LDS']?.nack?.message, 'no such thing');
      rig.save('a.yaml', service('a', '10.9.9.9'));
      await untilGeneration(rig, 3);
      rig.save('l.yaml', listener('l', 'good'));
      client.ack(await client.next('LDS', 3));
      assert.equal(client.of('LDS').length, 3);
      for (let lds = (await typesOf(rig))['LDS']; lds?.state !== 'SYNCED'; lds = (await typesOf(rig))['LDS']) assert.ok(Date.now() < until);
    });
  });

  test('a client that does not answer gets the latest, not a backlog', async () => {
    await withClient(shop(), async (rig, client) => {
      client.subscribe('LDS');
      const first = await client.next('LDS', 1);
      for (const value of ['one', 'two', 'three']) {
        rig.save('l.yaml', listener('l', value));
        const want = (rig.controlPlane.model.current?.number ?? 0) + 1;
        await untilGeneration(rig, want);
      }
      assert.equal(client.of('LDS').length, 1);
      client.ack(first);
      const latest = await client.next('LDS', 2);
      assert.ok(JSON.stringify(latest.response).includes('three'));
    });
  });

  test('a route to a new cluster waits until the cluster has its endpoints', async () => {
    await withClient(shop(), async (rig, client) => {
      await client.follow(['a'], ['r']);
      await rig.admin('POST', '/v1/apply', { documents: [{ file: 'n.yaml', text: service('n', '10.2.0.1') }] });
      const added = await client.next('CDS', 2);
      rig.save('r.yaml', route('r', 'n'));
      await untilGeneration(rig, 3);
      assert.deepEqual(added.names, ['a', 'n']);
      assert.equal(client.of('RDS').length, 1, 'the route has not been pushed yet');
      client.ack(added);
      client.send({ type_url: ENDPOINT_TYPE.url, response_nonce: client.of('EDS').at(-1)?.nonce, resource_names: ['a', 'n'] });
      const endpoints = await client.next('EDS', 2);
      assert.deepEqual(endpoints.names, ['n']);
      assert.equal(client.of('RDS').length, 1);
      client.ack(endpoints, ['a', 'n']);
      const routed = await client.next('RDS', 2);
      assert.ok(JSON.stringify(routed.response).includes('"cluster":"n"'));
    });
  });

  test('a name is answered only once its routes have been taken', async () => {
    await withClient(shop(), async (rig, client) => {
      await client.follow(['a'], ['r', 's']);
      client.subscribe('NDS');
      client.ack(await client.next('NDS', 1));
      const documents = [service('n', '10.2.0.1'), route('s', 'n')].map((text, i) => ({ file: `${i}.yaml`, text }));
      await rig.admin('POST', '/v1/apply', { documents });
      client.ack(await client.next('CDS', 2));
      client.send({ type_url: ENDPOINT_TYPE.url, response_nonce: client.of('EDS').at(-1)?.nonce, resource_names: ['a', 'n'] });
      client.ack(await client.next('EDS', 2), ['a', 'n']);
      const routed = await client.next('RDS', 2);
      const named = (): boolean => client.of('NDS').some((r) => JSON.stringify(r.response).includes('n.default'));
      assert.ok(!named(), 'the name came before its routes were taken');
      client.ack(routed, ['r', 's']);
      await client.next('NDS', 2);
      assert.ok(named());
    });
  });

  test('a cluster is removed only after the routes that named it have been replaced', async () => {
    await withClient({ ...shop(), 'b.yaml': service('b') }, async (rig, client) => {
      await client.follow(['a', 'b'], ['r']);
      rig.save('r.yaml', route('r', 'b'));
      rig.save('a.yaml', '# empty\n');
      const routed = await client.next('RDS', 2);
      assert.equal(client.of('CDS').length, 1, 'the old cluster is still there');
      client.ack(routed, ['r']);
      assert.deepEqual((await client.next('CDS', 2)).names, ['b']);
      assert.deepEqual(
        client.received.slice(4).map((r) => r.type),
        ['RDS', 'CDS'],
      );
    });
  });

  test('a proxy that refuses its new routes keeps the clusters of the old ones', async () => {
    await withClient({ ...shop(), 'b.yaml': service('b') }, async (rig, client) => {
      await client.follow(['a', 'b'], ['r']);
      rig.save('r.yaml', route('r', 'b'));
      rig.save('a.yaml', '# empty\n');
      client.ack(await client.next('RDS', 2), ['r'], 'not this one');
      await new Promise((resolve) => setTimeout(resolve, 1500)); // longer than the quiet before a removal
      assert.equal(client.of('CDS').length, 1);
      rig.save('r.yaml', route('r', 'c'));
      client.ack(await client.next('RDS', 3), ['r']);
      assert.deepEqual((await client.next('CDS', 2)).names, ['b']);
    });
  });

  test('endpoints asked for by an unknown name are answered as none', async () => {
    await withClient(shop(), async (_, client) => {
      client.subscribe('EDS', ['ghost']);
      assert.deepEqual((await client.next('EDS', 1)).names, ['ghost']);
    });
  });

  test('a single-type stream serves that type', async () => {
    const rig = await startRig(shop());
    const client = new XdsClient(rig.controlPlane.xds[0] ?? '', { token: await rig.token('a'), method: streamMethod(ENDPOINT_TYPE) ?? '' });
    client.subscribe('EDS', ['a']);
    assert.deepEqual((await client.next('EDS', 1)).names, ['a']);
    client.subscribe('CDS');
    assert.equal((await eventually('refusal', () => client.status)).code, 3);
    client.close();
    await rig.close();
  });
});

describe('who is let in', () => {
  const refusal = async (rig: Rig, options: ConstructorParameters<typeof XdsClient>[1]): Promise<number> => {
    const client = new XdsClient(rig.controlPlane.xds[0] ?? '', options);
    client.subscribe('CDS');
    const { code } = await eventually('the stream ends', () => client.status);
    assert.equal(client.received.length, 0, 'nothing was sent');
    client.close();
    return code;
  };

  test('a stream needs a known token, for the node that it is', async () => {
    const rig = await startRig(shop());
    const token = await rig.token('a', { address: '10.0.0.1' });
    assert.equal(await refusal(rig, {}), 16);
    assert.equal(await refusal(rig, { token: 'skein_wrong' }), 16);
    assert.equal(await refusal(rig, { token, node: 'sidecar~10.0.0.1~b.default~default.svc.cluster.local' }), 7);
    assert.equal(await refusal(rig, { token, node: 'sidecar~10.0.0.1~a.other~other.svc.cluster.local' }), 7);
    assert.equal(await refusal(rig, { token, node: 'sidecar~10.0.0.9~a.default~default.svc.cluster.local' }), 7);
    assert.equal(await refusal(rig, { token, node: 'nonsense' }), 3);
    const client = new XdsClient(rig.controlPlane.xds[0] ?? '', { token });
    client.subscribe('CDS');
    assert.deepEqual((await client.next('CDS', 1)).names, ['a']);
    client.close();
    await rig.close();
  });

  test('an insecure TCP port serves any client, and only when asked for', async () => {
    await assert.rejects(startRig(shop(), { xds: ['127.0.0.1:0'] }), /--insecure/);
    const rig = await startRig(shop(), { xds: ['127.0.0.1:0'], insecure: true });
    const client = new XdsClient(rig.controlPlane.xds[0] ?? '', { node: 'router~10.0.0.7~gw.istio-system~istio-system.svc.cluster.local' });
    client.subscribe('CDS');
    assert.deepEqual((await client.next('CDS', 1)).names, ['a']);
    client.close();
    await rig.close();
  });
});
