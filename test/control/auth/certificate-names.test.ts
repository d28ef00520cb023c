// Who a certificate is of, where its names are written to look like others: as text they are told one behind the other.
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { certificateCaller } from '../../../src/control/auth/peer-certificate.ts';
import { createAuthority, type LeafNames } from '../../proxy/certificates.ts';

const mesh = createAuthority('mesh');
const ID = 'spiffe://cluster.local/ns/shop/sa/admin';
const callerOf = (names: LeafNames) => certificateCaller(new X509Certificate(mesh.issue(names).certificate), 'cluster.local', Date.now());

test('a certificate with one id of the trust domain is of that workload', () => {
  for (const names of [{ uri: ID }, { uri: ID, dns: 'admin.shop.svc' }, { uri: ID, dns: 'a, b' }]) {
    const caller = callerOf(names);
    assert.ok(caller.ok, JSON.stringify(names));
    assert.deepEqual([caller.value.namespace, caller.value.serviceAccount], ['shop', 'admin']);
  }
});

test('an id inside another name proves nothing', () => {
  for (const names of [
    { dns: `a, URI:${ID}` },
    { dns: `a, URI:${ID}, b` },
    { dns: `a", URI:${ID}, "b` },
    { dns: `a, URI:"${ID}", b` },
    { uri: `spiffe://evil.test/a, URI:${ID}, b` },
    { uri: `spiffe://evil.test/a\nURI:${ID}` },
    { uri: `${ID}, b` },
    { uri: `${ID}"` },
    { subject: ID, dns: 'a' },
    { uris: [ID, ID] },
    { uris: [ID, 'https://a.test'] },
    { uris: ['https://a.test', ID] },
    { uri: `${ID}\u0000` },
    { uri: ID.toUpperCase() },
    { uri: `${ID}/` },
    { uri: `${ID}?a=b` },
    { uri: ID.replace('cluster.local', 'cluster.local.') },
    { uri: ID.replace('/shop/', '/shop%2Fx/') },
    { uri: ID.replace('/ns/', '//ns/') },
  ] as const) {
    const caller = callerOf(names);
    assert.equal(caller.ok, false, JSON.stringify(names));
  }
});
