// Identities, what a certificate request may ask, and when certificates are renewed.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { leafLifeMs, workloadProfile } from '../../src/identity/certificate-profile.ts';
import { admitCsr, type CsrFacts } from '../../src/identity/csr-policy.ts';
import { pemBlocks } from '../../src/identity/pem.ts';
import { renewAtMs, renewInMs } from '../../src/identity/rotation.ts';
import { parseSpiffeId, spiffeIdOf } from '../../src/identity/spiffe-id.ts';
import { bundlePem, mergeBundles, trustBundle } from '../../src/identity/trust-bundle.ts';

const CALLER = { trustDomain: 'cluster.local', namespace: 'production', serviceAccount: 'payment' };
const ID = 'spiffe://cluster.local/ns/production/sa/payment';

describe('SPIFFE ids', () => {
  test('are written and read back', () => {
    const made = spiffeIdOf(CALLER);
    assert.ok(made.ok);
    assert.equal(made.value, ID);
    assert.deepEqual(parseSpiffeId(ID), { ok: true, value: CALLER });
  });

  test('of another shape are refused', () => {
    for (const bad of [
      '',
      'spiffe://cluster.local/ns/production/sa/',
      'spiffe://cluster.local/ns/production/sa/payment/more',
      'spiffe://cluster.local/sa/payment/ns/production',
      'spiffe://Cluster.Local/ns/production/sa/payment',
      'spiffe://user@cluster.local/ns/production/sa/payment',
      'spiffe://cluster.local:80/ns/production/sa/payment',
      'spiffe://cluster.local/ns/production/sa/payment?x',
      'spiffe://cluster.local/ns/../sa/payment',
      'https://cluster.local/ns/production/sa/payment',
    ]) {
      assert.equal(parseSpiffeId(bad).ok, false, bad);
    }
    assert.equal(spiffeIdOf({ ...CALLER, namespace: 'a/b' }).ok, false);
  });

  test('whatever is accepted reads back as the same identity', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.string(), (trustDomain, namespace, serviceAccount) => {
        const made = spiffeIdOf({ trustDomain, namespace, serviceAccount });
        if (made.ok) assert.deepEqual(parseSpiffeId(made.value), { ok: true, value: { trustDomain, namespace, serviceAccount } });
      }),
    );
  });
});

describe('certificate requests', () => {
  const facts = (extra: Partial<CsrFacts> = {}): CsrFacts => ({
    signatureValid: true,
    key: { kind: 'ec', curve: 'P-256' },
    uriSans: [],
    otherSans: [],
    asksForCa: false,
    asksTwice: false,
    ...extra,
  });

  test('get the identity of the caller', () => {
    assert.deepEqual(admitCsr(facts(), CALLER), { ok: true, value: ID });
    assert.deepEqual(admitCsr(facts({ uriSans: [ID], key: { kind: 'rsa', bits: 2048 } }), CALLER), { ok: true, value: ID });
  });

  test('are refused when they ask for more', () => {
    const refused = (extra: Partial<CsrFacts>): string => {
      const result = admitCsr(facts(extra), CALLER);
      assert.ok(!result.ok);
      return result.error.kind;
    };
    assert.equal(refused({ uriSans: ['spiffe://cluster.local/ns/production/sa/other'] }), 'forbidden');
    assert.equal(refused({ otherSans: ['dns:payment'] }), 'forbidden');
    assert.equal(refused({ asksForCa: true }), 'forbidden');
    assert.equal(refused({ asksTwice: true }), 'invalid');
    assert.equal(refused({ signatureValid: false }), 'invalid');
    assert.equal(refused({ key: { kind: 'rsa', bits: 1024 } }), 'invalid');
    assert.equal(refused({ key: { kind: 'ec', curve: 'P-521' } }), 'invalid');
    assert.equal(refused({ key: { kind: 'other', name: 'Ed25519' } }), 'invalid');
  });
});

describe('lifetimes', () => {
  const hour = 3_600_000;

  test('a certificate begins a minute ago, lasts as long as leaves do unless less is asked, and never outlives its issuer', () => {
    const at = 1_800_000_000_000;
    const day = 24 * hour;
    const life = (asked: number, issuer = at + 1e12): number =>
      workloadProfile(ID, at, leafLifeMs(asked, day), issuer).notAfter.getTime() - at;
    assert.equal(workloadProfile(ID, at, day, at + 1e12).notBefore.getTime(), at - 60_000);
    assert.equal(life(0), day);
    assert.equal(life(hour), hour);
    assert.equal(life(1), 1000);
    assert.equal(life(1e15), day);
    assert.equal(life(0, at + hour), hour);
  });

  test('renewal is at half of the life, spread by a twentieth, and at once when late', () => {
    const validity = { notBeforeMs: 0, notAfterMs: 24 * hour };
    assert.equal(renewAtMs(validity, 0.5), 12 * hour);
    assert.equal(renewAtMs(validity, 0), 24 * hour * 0.45);
    assert.ok(renewAtMs(validity, 0.999) < 24 * hour * 0.55);
    assert.equal(renewInMs(validity, 23 * hour, 0.5), 0);
  });
});

describe('trust bundles', () => {
  const pem = (body: string): string => `-----BEGIN CERTIFICATE-----\n${body}\n-----END CERTIFICATE-----\n`;

  test('hold each root once, and merge for one trust domain only', () => {
    const old = trustBundle('a', pem('QQ==') + pem('QQ=='));
    const next = trustBundle('a', `# comment\n${pem('Qg==')}`);
    assert.ok(old.ok && next.ok);
    assert.equal(old.value.roots.length, 1);
    const both = mergeBundles(old.value, next.value);
    assert.ok(both.ok);
    assert.equal(bundlePem(both.value), pem('QQ==') + pem('Qg=='));
    assert.equal(mergeBundles(old.value, { trustDomain: 'b', roots: [] }).ok, false);
    assert.equal(trustBundle('a', 'nothing').ok, false);
    assert.equal(pemBlocks('-----BEGIN A-----\nQQ==\n-----END B-----').length, 0);
  });
});
