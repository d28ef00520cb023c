// Certificates that the mesh's own authority has signed, or an authority below it, and that still prove nothing to a STRICT port: each is
// refused and counted for its chain or for its names, as by a stock Envoy where one is installed. Those let in show that it is not for less.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CLIENT_AUTH, SERVER_AUTH } from './certificates.ts';
import { httpBackend, startPlane, staticCluster } from './harness.ts';
import { CLIENT, inlineSecrets, mesh, strictListener, tlsPeer } from './hostile-peers-rig.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';

const HOUR_MS = 3_600_000;
const ID = 'spiffe://cluster.local/ns/shop/sa/client';

interface Row {
  readonly who: string;
  readonly leaf: { readonly certificate: string; readonly key: string };
  /** What counts it; '' lets it in. */
  readonly counted: '' | 'fail_verify_error' | 'fail_verify_san';
  /** Skein is stricter: Envoy lets it in. */
  readonly envoyServes?: true;
}

const chain = (who: string, leaf: Row['leaf']): Row => ({ who, leaf, counted: 'fail_verify_error' });
const named = (uri: string): Row => ({ who: uri, leaf: mesh.issue({ uri }), counted: 'fail_verify_san' });
const good = (who: string, leaf: Row['leaf']): Row => ({ who, leaf, counted: '' });

const ROWS: readonly Row[] = [
  good('of the mesh', mesh.issue(CLIENT)),
  good('for clients only', mesh.issue({ ...CLIENT, usages: [CLIENT_AUTH] })),
  good('for no use in particular', mesh.issue({ ...CLIENT, usages: [] })),
  good('of an authority below', mesh.intermediate('below').issue(CLIENT)),
  good('of an authority for this trust domain', mesh.intermediate('own', { onlyUriHost: 'cluster.local' }).issue(CLIENT)),
  chain('for servers only', mesh.issue({ ...CLIENT, usages: [SERVER_AUTH] })),
  chain('for signing code', mesh.issue({ ...CLIENT, usages: ['1.3.6.1.5.5.7.3.3'] })),
  chain('an authority that has ended', mesh.intermediate('old', { validFrom: -2 * HOUR_MS, validFor: -HOUR_MS }).issue(CLIENT)),
  chain('an authority that has not begun', mesh.intermediate('new', { validFrom: HOUR_MS, validFor: 2 * HOUR_MS }).issue(CLIENT)),
  chain('a workload that signs', mesh.intermediate('workload', { plain: true }).issue(CLIENT)),
  chain('an extension that must be known', mesh.issue({ ...CLIENT, unknownCritical: true })),
  chain('an authority too many', mesh.intermediate('last', { pathLength: 0 }).intermediate('more').issue(CLIENT)),
  chain('an authority for another trust domain', mesh.intermediate('other', { onlyUriHost: 'other.test' }).issue(CLIENT)),
  named('spiffe://CLUSTER.LOCAL/ns/shop/sa/client'),
  named('SPIFFE://cluster.local/ns/shop/sa/client'),
  named('spiffe://cluster.local./ns/shop/sa/client'),
  named('spiffe://cluster.local.evil.test/ns/shop/sa/client'),
  named('spiffe://cluster.local@evil.test/ns/shop/sa/client'),
  named('spiffe://cluster.local:443/ns/shop/sa/client'),
  named('spiffe://evil.test/a, URI:spiffe://cluster.local/ns/shop/sa/client'),
  named('spiffe://evil.test/a\nspiffe://cluster.local/ns/shop/sa/client'),
  { who: 'its id as a DNS name', leaf: mesh.issue({ dns: ID }), counted: 'fail_verify_san' },
  { who: 'a DNS name with an id in it', leaf: mesh.issue({ dns: `a, URI:${ID}` }), counted: 'fail_verify_san' },
  { who: 'the same id twice', leaf: mesh.issue({ uris: [ID, ID] }), counted: 'fail_verify_san', envoyServes: true },
];

const listeners = [strictListener('strict', inlineSecrets)];
const COUNTED = /^listener\.strict\.ssl\.(fail_verify_\w+|connection_error)$/;

interface Subject {
  readonly port: number;
  counts(): Promise<ReadonlyMap<string, number>>;
}

const meet = async ({ who, leaf, counted }: Row, { port, counts }: Subject, maxVersion: 'TLSv1.2' | 'TLSv1.3'): Promise<void> => {
  const before = await counts();
  const { said, error } = await tlsPeer(leaf, { maxVersion })(port);
  assert.notEqual(error, 'not closed in time', who);
  assert.equal(/served$/.test(said), counted === '', `${who}, ${maxVersion}: ${said} ${error}`);
  let moved: string[] = [];
  for (const until = Date.now() + 20_000; Date.now() < until; await new Promise((resolve) => setTimeout(resolve, 10))) {
    const after = await counts();
    moved = [...after].filter(([name, n]) => n !== before.get(name)).map(([name, n]) => `${name} ${n - (before.get(name) ?? 0)}`);
    if (counted === '' || moved.length > 0) break;
  }
  assert.deepEqual(moved, counted === '' ? [] : [`listener.strict.ssl.${counted} 1`], `${who}, ${maxVersion}`);
};

test('a certificate of the mesh is worth its own use, its own name and the life of its authorities', { timeout: 60_000 }, async () => {
  await using app = await httpBackend(() => 'served');
  await using plane = await startPlane({ clusters: [staticCluster('app', [app.port])], listeners });
  const counts = async () => new Map([...plane.plane.stats.all()].filter((s) => COUNTED.test(s.name)).map((s) => [s.name, s.value]));
  for (const version of ['TLSv1.3', 'TLSv1.2'] as const)
    for (const row of ROWS) await meet(row, { port: plane.port('strict'), counts }, version);
});

test('stock Envoy takes and refuses the same certificates', { skip: NO_ENVOY, timeout: 60_000 }, async () => {
  await using app = await httpBackend(() => 'served');
  await using envoy = await startEnvoy({ clusters: [staticCluster('app', [app.port], { type: 'STATIC' })], listeners });
  const counts = async () => {
    const text = await (await fetch(`http://${envoy.admin}/stats?filter=listener.strict.ssl`)).text();
    const lines = text.split('\n').map((line) => line.split(': ') as [string, string]);
    return new Map(lines.filter(([name]) => COUNTED.test(name)).map(([name, n]): [string, number] => [name, Number(n)]));
  };
  for (const version of ['TLSv1.3', 'TLSv1.2'] as const)
    for (const row of ROWS)
      await meet(row.envoyServes === true ? { ...row, counted: '' } : row, { port: envoy.port('strict'), counts }, version);
});
