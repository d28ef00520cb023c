// Requests that sidecars refuse by policy become audit entries, and nothing else of what they tell does; a flood of one sidecar leaves room
// for others, and all floods for what happens at the control plane's own doors.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AuditFields } from '../../../src/control/audit/chain.ts';
import { RequestDenials, type SeenRequest } from '../../../src/control/audit/request-denials.ts';

const party = { workload: '', namespace: '', service: '', version: '', principal: '' };
const seen = (more: Partial<SeenRequest>): SeenRequest => ({
  reporter: 'destination',
  proxy: 'payment-0.shop',
  source: { ...party, workload: 'web', namespace: 'shop', principal: 'spiffe://cluster.local/ns/shop/sa/web' },
  method: 'POST',
  path: '/charge?card=4111',
  authority: 'payment:8080',
  status: 403,
  details: 'rbac_access_denied_matched_policy[none]',
  requestId: 'r-1',
  ...more,
});

const start = () => {
  const entries: AuditFields[] = [];
  let nowMs = 1_800_000_000_000;
  const denials = new RequestDenials(
    (entry) => entries.push(entry()),
    () => nowMs,
    (details) => (details.includes('ns[shop]') ? { policy: 'shop/no-web', rule: 1, file: 'policies.yaml', line: 9 } : undefined),
  );
  return { entries, denials, later: (ms: number) => (nowMs += ms) };
};

test('a refusal is told with who, where, what and why, and without the query', () => {
  const { entries, denials } = start();
  denials.seen(seen({}));
  assert.deepEqual(entries, [
    {
      type: 'denial',
      door: 'sidecar',
      at: 'payment-0.shop',
      who: 'spiffe://cluster.local/ns/shop/sa/web',
      code: '403',
      reason: 'rbac_access_denied_matched_policy[none]',
      request: 'POST payment:8080/charge',
      requestId: 'r-1',
    },
  ]);
});

test('refusals of tokens, of an external server and of connections are told, other answers are not', () => {
  const { entries, denials } = start();
  for (const details of ['', 'via_upstream', 'route_not_found', 'fault_filter_abort']) denials.seen(seen({ details }));
  assert.equal(entries.length, 0);
  denials.seen(seen({ status: 401, details: 'jwt_authn_access_denied{Jwt_is_expired}' }));
  denials.seen(seen({ details: 'ext_authz_denied' }));
  denials.seen(seen({ method: '', path: '', authority: '', requestId: '', status: 0 }));
  denials.seen(seen({ source: party, path: '/a\nb' }));
  assert.deepEqual(
    entries.map((e) => [e['reason'], e['request'], e['who']]),
    [
      ['jwt_authn_access_denied{Jwt_is_expired}', 'POST payment:8080/charge', 'spiffe://cluster.local/ns/shop/sa/web'],
      ['ext_authz_denied', 'POST payment:8080/charge', 'spiffe://cluster.local/ns/shop/sa/web'],
      ['rbac_access_denied_matched_policy[none]', undefined, 'spiffe://cluster.local/ns/shop/sa/web'],
      ['rbac_access_denied_matched_policy[none]', 'POST payment:8080/a?b', ''],
    ],
  );
});

test('a refused connection is told with who, from where, to where, and the rule with its file and line', () => {
  const { entries, denials } = start();
  denials.refused({
    atMs: 0,
    proxy: 'ledger-0.shop',
    source: { ...party, workload: 'web', namespace: 'shop', principal: 'spiffe://cluster.local/ns/shop/sa/web' },
    destination: { ...party, workload: 'ledger', namespace: 'shop' },
    remote: '10.1.0.4:51000',
    local: '10.1.0.9:9000',
    sni: 'outbound_.9000_._.ledger.shop.svc.cluster.local',
    cluster: 'inbound|9000||',
    details: 'rbac_access_denied_matched_policy[ns[shop]-policy[no-web]-rule[1]]',
  });
  assert.deepEqual(entries, [
    {
      type: 'denial',
      door: 'sidecar',
      at: 'ledger-0.shop',
      who: 'spiffe://cluster.local/ns/shop/sa/web',
      reason: 'rbac_access_denied_matched_policy[ns[shop]-policy[no-web]-rule[1]]',
      code: 'connection',
      connection: '10.1.0.4:51000',
      to: 'ledger.shop 10.1.0.9:9000',
      policy: 'shop/no-web',
      rule: 1,
      file: 'policies.yaml',
      line: 9,
    },
  ]);
  for (let i = 0; i < 100; i++)
    denials.refused({
      atMs: 0,
      proxy: 'ledger-0.shop',
      source: party,
      destination: party,
      remote: `10.1.0.4:${i}`,
      local: '',
      sni: '',
      cluster: '',
      details: 'rbac_access_denied_matched_policy[none]',
    });
  assert.equal(entries.length, 20, 'connections and requests have one allowance');
});

test('a flood of one sidecar leaves room for others, and is told by number', () => {
  const { entries, denials, later } = start();
  for (let i = 0; i < 5000; i++) denials.seen(seen({}));
  assert.equal(entries.length, 20);
  denials.seen(seen({ proxy: 'order-0.shop' }));
  assert.deepEqual([entries.at(-1)?.['at'], entries.at(-1)?.['suppressed']], ['order-0.shop', 4980]);
  later(1000);
  denials.seen(seen({}));
  assert.deepEqual([entries.length, entries.at(-1)?.['suppressed']], [22, undefined]);
  for (let i = 0; i < 5000; i++) denials.seen(seen({ proxy: `p${i}` }));
  assert.ok(entries.length <= 240, 'all together are bounded');
});
