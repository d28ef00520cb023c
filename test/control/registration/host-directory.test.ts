// What a host name leads to where virtual hosts are asked for one by one.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import { HostDirectory, selectHosts } from '../../../src/control/registration/host-directory.ts';
import { decode } from '../../../src/xds/codec.ts';
import type { EncodedResource } from '../../../src/xds/content.ts';
import type { VirtualHost } from '../../../src/xds/gen/types.ts';

const hash = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex').slice(0, 8);
const host = (name: string, ...domains: string[]): VirtualHost => ({
  name,
  domains,
  routes: [{ match: { prefix: '/' }, route: { cluster: name } }],
});
const directory = (...hosts: VirtualHost[]): HostDirectory => new HostDirectory({ route: '80', hosts, ignorePort: true }, hash);
const read = (r: EncodedResource | undefined): VirtualHost => decode('envoy.config.route.v3.VirtualHost', r?.bytes ?? new Uint8Array());

describe('virtual hosts one by one', () => {
  test('every name of a service leads to one resource, whatever its case and port', () => {
    const d = directory(host('a', 'a', 'a.shop', 'a.shop.svc'));
    const found = ['a', 'A.shop', 'a.shop.svc:80'].map((n) => d.resolve(n)?.name);
    assert.deepEqual(found, ['80/a', '80/a', '80/a']);
    assert.deepEqual(read(d.resolve('a')).domains, ['a', 'a.shop', 'a.shop.svc']);
    assert.equal(d.resolve('b'), undefined);
  });

  test('where a pattern fits, the answer is for the one host alone, or another would never be asked for', () => {
    const d = directory(host('wild', '*.example'), host('known', 'known.example'), host('rest', '*'));
    assert.deepEqual(read(d.resolve('known.example')).name, 'known');
    const one = d.resolve('one.example:8080');
    assert.equal(one?.name, '80/wild|one.example');
    assert.deepEqual([read(one).name, read(one).domains, read(one).routes?.[0]?.route?.cluster], ['wild', ['one.example'], 'wild']);
    assert.deepEqual(read(d.resolve('elsewhere')).domains, ['elsewhere']);
    assert.equal(read(d.resolve('elsewhere')).name, 'rest');
    assert.notEqual(d.resolve('one.example')?.version, d.resolve('two.example')?.version);
  });

  test('a host with names and patterns is found by both', () => {
    const d = directory(host('both', 'exact.example', '*.example'));
    assert.deepEqual(read(d.resolve('exact.example')).domains, ['exact.example']);
    assert.deepEqual(read(d.resolve('other.example')).domains, ['other.example']);
  });

  test('a selection is found under what was asked for and listed under its own names', () => {
    const all = new Map([['80', directory(host('a', 'a', 'a.shop'))]]);
    const content = selectHosts(all, new Set(['80/a', '80/a.shop', '80/nobody', '81/a']), false);
    assert.deepEqual([...content.resources.keys()], ['80/a', '80/nobody', '81/a']);
    assert.deepEqual(content.resources.get('80/a.shop')?.aliases, ['80/a', '80/a.shop']);
    assert.equal(content.resources.get('80/nobody')?.absent, true);
    assert.equal(content.resources.has('80/other'), false);
  });

  test('Envoy hears of every route configuration', () => {
    const content = selectHosts(new Map([['80', directory()]]), new Set(), true);
    assert.deepEqual(
      [...content.resources.values()].map((r) => [r.name, r.absent]),
      [['80/', true]],
    );
  });
});
