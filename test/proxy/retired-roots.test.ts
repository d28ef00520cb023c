// What a bundle says of roots that were replaced: connections below them may stay when their certificates have ended, and no others.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { trustBundle } from '../../src/proxy/transport/trust-bundle.ts';
import { createAuthority } from './certificates.ts';

const der = (pem: string): Buffer[] =>
  [...pem.matchAll(/-----BEGIN CERTIFICATE-----([^-]+)-----/g)].map((m) => Buffer.from((m[1] ?? '').replace(/\s+/g, ''), 'base64'));
const body = (pem: string): string => pem.replace(/-----[^-]+-----|\s+/g, '');

test('a replaced root keeps those connections alone whose certificate has ended', () => {
  const [old, young] = [createAuthority('old'), createAuthority('young')];
  const uri = 'spiffe://cluster.local/ns/a/sa/b';
  const ended = der(old.issue({ uri, validFrom: -3_600_000, validFor: -1000 }).certificate);
  const alive = der(old.issue({ uri }).certificate);
  const both = trustBundle(old.pem + young.pem);
  const replaced = trustBundle(`# retired root ${body(old.pem)}\n${young.pem}`);
  assert.equal(replaced.lost(both), true, 'so it is looked at who is connected');
  assert.equal(replaced.accepts(ended), true);
  assert.equal(replaced.accepts(alive), false, 'below a root that was replaced in order no certificate lives');
  const taken = trustBundle(young.pem);
  assert.equal(taken.accepts(ended), false);
});
