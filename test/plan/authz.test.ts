// What the live tests cannot put in a request's way: filter state, addresses of both kinds, the order of names, an address list's bound.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AuthzView } from '../../src/plan/authz/authz-view.ts';
import { compilePolicies, NO_POLICY } from '../../src/plan/authz/policies.ts';
import type { Permission, Principal, Rbac_RBAC } from '../../src/xds/gen/types.ts';

const NOBODY: AuthzView = {
  request: undefined,
  localIp: '10.0.0.1',
  localPort: 8080,
  sourceIp: '10.0.0.2',
  directRemoteIp: '10.0.0.3',
  remoteIp: '2001:db8::7',
  sni: 'a.test',
  tls: undefined,
  dynamicMetadata: undefined,
  routeMetadata: undefined,
  filterState: { text: 'some text', address: '10.1.2.3:80', six: '[2001:db8::1]:80' },
};
const ANY = { any: true } as const;

const matches = (permission: Permission, principal: Principal = ANY, view: Partial<AuthzView> = {}): boolean => {
  const rules: Rbac_RBAC = { policies: { p: { permissions: [permission], principals: [principal] } } };
  return compilePolicies(rules, true, 'rules').match({ ...NOBODY, ...view }) === 0;
};
const range = (address_prefix: string, prefix_len: number) => ({ address_prefix, prefix_len });

test('every address of a connection is told apart', () => {
  assert.equal(matches({ destination_ip: range('10.0.0.1', 32) }), true);
  assert.equal(matches(ANY, { source_ip: range('10.0.0.2', 32) }), true);
  assert.equal(matches(ANY, { direct_remote_ip: range('10.0.0.3', 32) }), true);
  assert.equal(matches(ANY, { remote_ip: range('2001:db8::', 32) }), true);
  assert.equal(matches(ANY, { remote_ip: range('10.0.0.0', 8) }), false);
  assert.equal(matches(ANY, { remote_ip: range('0.0.0.0', 0) }), false, 'an IPv6 address is in no IPv4 range');
  assert.equal(matches(ANY, { source_ip: range('10.0.0.0', 8) }, { sourceIp: '::ffff:10.9.9.9' }), true, 'a mapped one is IPv4');
  assert.equal(matches(ANY, { source_ip: range('::', 0) }, { sourceIp: '/a/pipe' }), false);
  assert.equal(matches({ destination_port: 8080 }), true);
  assert.equal(matches({ destination_port_range: { start: 8080, end: 8081 } }), true);
  assert.equal(matches({ destination_port_range: { start: 8000, end: 8080 } }), false);
});

test('a connection has no path: nothing that asks for one matches', () => {
  assert.equal(matches({ url_path: { path: { prefix: '/' } } }), false);
  assert.equal(matches({ not_rule: { url_path: { path: { prefix: '/' } } } }), true);
  assert.equal(matches(ANY, { url_path: { path: { safe_regex: { regex: '.*' } } } }), false);
});

test('filter state is matched as text or as an address', () => {
  const state = (key: string, more: object): Principal => ({ filter_state: { key, ...more } });
  assert.equal(matches(ANY, state('text', { string_match: { contains: 'text' } })), true);
  assert.equal(matches(ANY, state('none', { string_match: { prefix: 'some' } })), false);
  assert.equal(matches(ANY, state('address', { address_match: { ranges: [range('10.2.0.0', 16), range('10.1.0.0', 16)] } })), true);
  assert.equal(matches(ANY, state('six', { address_match: { ranges: [range('2001:db8::', 32)] } })), true);
  assert.equal(matches(ANY, state('text', { address_match: { ranges: [range('0.0.0.0', 0)] } })), false);
  assert.throws(() => matches(ANY, state('', { string_match: { exact: 'x' } })), /filter_state\.key/);
  assert.throws(() => matches(ANY, state('x', {})), /filter_state: no match pattern/);
});

test('metadata has what was put into it and nothing else', () => {
  const at = (...path: string[]): Permission => ({
    metadata: { filter: 'f', path: path.map((key) => ({ key })), value: { present_match: true } },
  });
  const view = { dynamicMetadata: { f: JSON.parse('{"a":{"b":1},"__proto__":{"c":1}}') } };
  assert.equal(matches(at('a', 'b'), ANY, view), true);
  for (const path of [['constructor'], ['a', 'toString'], ['a', '__proto__'], ['c'], ['a', 'b', 'c']])
    assert.equal(matches(at(...path), ANY, view), false, path.join('.'));
});

test('policies are asked in the order of the bytes of their names', () => {
  const all = { permissions: [ANY], principals: [ANY] };
  const names = ['b', 'ä', '\u{1F600}', '\uFFFD', 'a', 'B', 'a b'];
  const { names: sorted, match } = compilePolicies({ policies: Object.fromEntries(names.map((n) => [n, all])) }, true, '');
  assert.deepEqual(sorted, ['B', 'a', 'a b', 'b', 'ä', '\uFFFD', '\u{1F600}']);
  assert.equal(match(NOBODY), 0);
});

test('no policy matches nothing; what that means is the action', () => {
  for (const [action, allowed] of [['ALLOW', false] as const, ['DENY', true] as const, ['LOG', true] as const]) {
    const policies = compilePolicies({ action }, true, '');
    assert.equal(policies.match(NOBODY), NO_POLICY);
    assert.equal(policies.allows(NO_POLICY), allowed);
    assert.equal(policies.allows(0), action !== 'DENY');
  }
  assert.throws(() => compilePolicies({ action: 'MAYBE' as never }, true, 'rules'), /rules\.action/);
});

test('an audit logger is refused unless it is optional', () => {
  const audit = (is_optional: boolean): Rbac_RBAC => ({ audit_logging_options: { logger_configs: [{ is_optional }] } });
  assert.throws(() => compilePolicies(audit(false), true, 'rules'), /rules\.audit_logging_options\.logger_configs\[0\]/);
  assert.doesNotThrow(() => compilePolicies(audit(true), true, 'rules'));
});

test('more clients than addresses are remembered of are all judged right', () => {
  const { match } = compilePolicies(
    { policies: { p: { permissions: [ANY], principals: [{ source_ip: range('10.0.0.0', 17) }] } } },
    true,
    '',
  );
  for (let i = 0; i < 5000; i++) {
    const sourceIp = `10.0.${(i * 7) % 256}.${i % 256}`;
    assert.equal(match({ ...NOBODY, sourceIp }) === 0, (i * 7) % 256 < 128, sourceIp);
  }
});
