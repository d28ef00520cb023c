// Small rules about text: durations, hosts, addresses, headers, names, paths, quantities.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { child, item, splitPath } from '../../src/api/reading/field-path.ts';
import { lowerCamel, nearest } from '../../src/api/reading/key-case.ts';
import { checkAttribute, checkPathTemplate, checkTrustDomainMatch } from '../../src/api/values/authorization-value.ts';
import { checkDuration, checkDurationOrZero, durationMs, formatDuration, parseDuration } from '../../src/api/values/duration-text.ts';
import { checkHeaderValue, routingClaim } from '../../src/api/values/header-text.ts';
import {
  checkGatewayName,
  checkGatewayServerHost,
  checkHostPort,
  checkWildcardDomain,
  hostsOverlap,
  hostWithin,
} from '../../src/api/values/host-name.ts';
import { checkSubnet, ipVersion } from '../../src/api/values/ip-text.ts';
import { isLabelKey, isLabelValue } from '../../src/api/values/label-text.ts';
import { quantityValue } from '../../src/api/values/quantity-text.ts';
import { checkRegex } from '../../src/api/values/regex-text.ts';
import { missing, sharedFile } from './shared-data.ts';

test('durations', () => {
  const canonical = (text: string): string => formatDuration(parseDuration(text) ?? -1n);
  for (const [text, seconds] of [
    ['1.5s', '1.5s'],
    ['1h', '3600s'],
    ['1h30m', '5400s'],
    ['100ms', '0.1s'],
    ['0', '0s'],
    ['-2s', '-2s'],
    ['.5s', '0.5s'],
    ['1us', '0.000001s'],
  ] as const) {
    assert.equal(canonical(text), seconds);
  }
  for (const text of ['', '5', '1 s', 's', '1d', '1.5.5s', 'abc', '99999999999999h']) assert.equal(parseDuration(text), undefined, text);
  assert.equal(durationMs('1.5s'), 1500);
  assert.equal(checkDuration('1ms'), undefined);
  for (const text of ['0s', '999us', '1.0005s', '-1s']) assert.notEqual(checkDuration(text), undefined, text);
  assert.equal(checkDurationOrZero('0s'), undefined);
  fc.assert(fc.property(fc.bigInt(-(10n ** 18n), 10n ** 18n), (n) => parseDuration(formatDuration(n)) === n));
});

test('addresses', () => {
  for (const text of ['1.2.3.4', '0.0.0.0', '255.255.255.255']) assert.equal(ipVersion(text), 4, text);
  for (const text of ['::', '::1', '2001:db8::1', '1:2:3:4:5:6:7:8', '::ffff:1.2.3.4', 'fe80::1%eth0', '1::'])
    assert.equal(ipVersion(text), 6, text);
  for (const text of [
    '',
    '1.2.3',
    '1.2.3.04',
    '256.1.1.1',
    ':::',
    '1:2',
    '1::2::3',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:5:6:7::8',
    '::1%',
    'g::',
    'a.b',
  ]) {
    assert.equal(ipVersion(text), 0, text);
  }
  for (const text of ['10.0.0.0/8', '::/0', '1.2.3.4']) assert.equal(checkSubnet(text), undefined, text);
  for (const text of ['10.0.0.0/33', '10.0.0.0/', '10.0.0/8', '10.0.0.0/08', '::/129', '1.1.1.1/1/1'])
    assert.notEqual(checkSubnet(text), undefined, text);
});

test('hosts', () => {
  for (const host of ['a', '*', '*.a.b', '*-x.a', '*x', 'a.b.']) assert.equal(checkWildcardDomain(host), undefined, host);
  for (const host of ['', 'a.*', '**', 'a..b', '-a', 'a_b', 'a.1', 'a'.repeat(64)])
    assert.notEqual(checkWildcardDomain(host), undefined, host);
  for (const host of ['*', 'a.b', '*/*', './a.b', 'ns/*.a.b', '1.2.3.4', '*.a'])
    assert.equal(checkGatewayServerHost(host), undefined, host);
  for (const host of ['short', 'ns/', '/a.b', '*a.b', 'n_s/a.b']) assert.notEqual(checkGatewayServerHost(host), undefined, host);
  for (const name of ['mesh', 'gw', 'ns/gw', './gw', 'gw.ns.svc.cluster.local']) assert.equal(checkGatewayName(name), undefined, name);
  for (const name of ['', 'ns/', '/gw', 'a/b/c', 'n.s/gw']) assert.notEqual(checkGatewayName(name), undefined, name);
  for (const address of ['a.b:80', '1.2.3.4:1', '[::1]:443']) assert.equal(checkHostPort(address), undefined, address);
  for (const address of ['a.b', 'a:0', ':80', '::1:80', 'a:x', '[x]:1']) assert.notEqual(checkHostPort(address), undefined, address);
  assert.ok(hostsOverlap('*.com', '*.foo.com') && hostsOverlap('*.foo.com', '*.com') && hostsOverlap('*', 'a'));
  assert.ok(!hostsOverlap('*.foo.com', 'foo.com') && !hostsOverlap('a', 'b'));
  assert.ok(hostWithin('a.b', '*.b') && hostWithin('*.a.b', '*.b') && !hostWithin('*.b', '*.a.b') && !hostWithin('*.b', 'a.b'));
});

test('header values with variables', () => {
  for (const value of ['', 'foo', '100%%', '%HOSTNAME%', 'a %REQ(X-A?:PATH)% b', '%UPSTREAM_METADATA(["ns", "key"])%', '%A%%B%']) {
    assert.equal(checkHeaderValue(value), undefined, value);
  }
  for (const value of ['abc%123', '%', '%START_TIME%%', '%REQ(X%', '%A(b)c%', '%REQ(X):5%', '%A(["x)%', 'a\u0000b', 'a\nb']) {
    assert.notEqual(checkHeaderValue(value), undefined, value);
  }
});

test('names that were meant', () => {
  const fields = ['subsets', 'trafficPolicy', 'host', 'exportTo'];
  assert.equal(nearest('subsetz', fields), 'subsets');
  assert.equal(nearest('traffic-policy', fields), 'trafficPolicy');
  assert.equal(nearest('hsot', fields), 'host');
  assert.equal(nearest('zzzzzzz', fields), undefined);
  assert.equal(lowerCamel('consecutive_5xx_errors'), 'consecutive5xxErrors');
});

test('paths are read back as they are written', () => {
  const step = fc.oneof(fc.nat(99), fc.string({ minLength: 1 }), fc.constantFrom('spec', 'x-canary', 'a.b/c', '[0]', '"'));
  fc.assert(
    fc.property(fc.array(step, { minLength: 1 }), (steps) => {
      const path = steps.reduce<string>((at, s) => (typeof s === 'number' ? item(at, s) : child(at, s)), '');
      assert.deepEqual(splitPath(path), steps);
    }),
  );
});

test('labels, quantities, regular expressions', () => {
  for (const key of ['app', 'app.kubernetes.io/name', 'A_b-c.d']) assert.ok(isLabelKey(key), key);
  for (const key of ['', '/a', 'a/b/c', '-a', 'a-', 'a b']) assert.ok(!isLabelKey(key), key);
  assert.ok(isLabelValue('') && isLabelValue('v1.0') && !isLabelValue('a b') && !isLabelValue('a'.repeat(64)));
  assert.equal(quantityValue('128Mi'), 128 * 1024 * 1024);
  assert.equal(quantityValue('500m'), 0.5);
  assert.equal(quantityValue('1e3'), 1000);
  for (const text of ['', 'Mi', '1 Mi', '1KB', 'x']) assert.equal(quantityValue(text), undefined, text);
  assert.equal(checkRegex('(?i)/a\\pN.*\\z'), undefined);
  for (const text of ['*', '(', '(?=a)', '\\1', 'a'.repeat(1025)]) assert.notEqual(checkRegex(text), undefined, text);
});

interface Row {
  readonly test: string;
  readonly case: Readonly<Record<string, unknown>>;
}
const rows = (file: string, name: string): Row['case'][] =>
  (JSON.parse(sharedFile(`corpora/tables/${file}.json`) ?? '[]') as Row[]).filter((r) => r.test === name && r.case).map((r) => r.case);
const list = (value: unknown): string[] => (Array.isArray(value) ? value.map(String) : []);

test("Istio's tables of hosts, claims, labels and authorization values", { skip: missing('corpora/tables/pkg_config_host.json') }, () => {
  for (const c of rows('pkg_config_host', 'TestNameMatches'))
    assert.equal(hostsOverlap(String(c['a']), String(c['b'])), c['out'] === true, JSON.stringify(c));
  for (const c of rows('pkg_config_host', 'TestNameSubsetOf'))
    assert.equal(hostWithin(String(c['a']), String(c['b'])), c['out'] === true, JSON.stringify(c));
  for (const c of rows('pkg_jwt', 'TestToRoutingClaim')) {
    const want = c['want'] as { Match?: boolean; Claims?: string[] };
    assert.deepEqual(routingClaim(String(c['name'])), want.Match ? want.Claims : undefined, JSON.stringify(c));
  }
  for (const c of rows('pkg_config_labels', 'TestInstanceValidate')) {
    const valid = Object.entries((c['tags'] ?? {}) as Record<string, string>).every(([k, v]) => isLabelKey(k) && isLabelValue(v));
    assert.equal(valid, c['valid'] === true, JSON.stringify(c));
  }
  for (const c of rows('pkg_config_security', 'TestValidateCondition')) {
    assert.equal(checkAttribute(String(c['key']), list(c['values'])) !== undefined, c['wantError'] === true, JSON.stringify(c));
  }
  for (const c of rows('pkg_config_security', 'TestCheckValidPathTemplate')) {
    assert.equal(
      list(c['values']).some((v) => checkPathTemplate(v) !== undefined),
      c['wantError'] === true,
      JSON.stringify(c),
    );
  }
  for (const c of rows('pkg_config_security', 'TestCheckTrustDomainValues')) {
    assert.equal(
      list(c['values']).some((v) => checkTrustDomainMatch(v) !== undefined),
      c['wantError'] === true,
      JSON.stringify(c),
    );
  }
});
