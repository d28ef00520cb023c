// The RBAC filter over real sockets: what it answers, what it counts and what it leaves for the log, held to a stock Envoy.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StreamInfo } from '../../src/plan/stream-info.ts';
import { silentObserver } from '../../src/proxy/exchange/observer.ts';
import { fetchOnce, hcm, httpBackend, listener, RawClient, ROUTER, startPlane, staticCluster } from './harness.ts';
import { ANY, policy, RBAC_PER_ROUTE, RBAC_TABLE, type RbacRequest, rbac, rbacListeners } from './rbac-table.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';

const send = async (port: number, { path, method = 'GET', headers = [] }: RbacRequest) => {
  const client = await RawClient.open(port);
  try {
    const text = `${method} ${path} HTTP/1.1\r\nhost: a.test\r\n${headers.map((h) => `${h}\r\n`).join('')}\r\n`;
    return await client.send(text).response(method);
  } finally {
    client.close();
  }
};

test('every case of the table is decided as a stock Envoy decides it', { skip: NO_ENVOY }, async () => {
  await using backend = await httpBackend(() => 'ok');
  const clusters = [staticCluster('web', [backend.port])];
  const listeners = rbacListeners('web');
  await using ours = await startPlane({ clusters, listeners });
  await using envoy = await startEnvoy({ clusters, listeners });
  for (const { name, requests } of RBAC_TABLE) {
    for (const request of requests) {
      const [got, wanted] = [await send(ours.port(name), request), await send(envoy.port(name), request)];
      const what = `${name} ${JSON.stringify(request)}`;
      assert.deepEqual([got.status, got.body], [wanted.status, wanted.body], what);
      assert.equal(got.headers.get('content-type'), wanted.headers.get('content-type'), what);
    }
  }
  const wanted = RBAC_TABLE.reduce((n, c) => n + c.requests.length, 0);
  for (const until = performance.now() + 20_000; envoy.log().length < wanted && performance.now() < until; )
    await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual(
    ours.http.map((l) => [l.status, l.flags, l.details]),
    envoy.log().map((l) => [l.status, l.flags === '-' ? '' : l.flags, l.details]),
  );
});

test('403 with the policy that denies, spaces made underscores; of none, none', async () => {
  const rules = { action: 'DENY', policies: { 'ns[a] policy\tb': policy({ url_path: { path: { prefix: '/no' } } }) } };
  const allow = { policies: { x: policy({ url_path: { path: { prefix: '/yes' } } }) } };
  await using backend = await httpBackend(() => 'ok');
  const filters = [rbac({ rules }), rbac({ rules: allow }), ROUTER];
  await using rig = await startPlane({
    clusters: [staticCluster('web', [backend.port])],
    listeners: [listener('in', hcm([{ match: { prefix: '/' }, route: { cluster: 'web' } }], { http_filters: filters }))],
  });
  const port = rig.port('in');
  assert.equal((await fetchOnce(port, '/yes')).status, 200);
  const denied = await fetchOnce(port, '/no');
  assert.deepEqual([denied.status, denied.body], [403, 'RBAC: access denied']);
  assert.equal((await fetchOnce(port, '/other')).status, 403);
  const grpc = await fetchOnce(port, '/no', 'content-type: application/grpc\r\n');
  assert.deepEqual([grpc.status, grpc.headers.get('grpc-status')], [200, '7']);
  assert.deepEqual(
    rig.http.map((l) => [l.flags, l.details, l.attempts, l.cluster]),
    [
      ['', 'via_upstream', 1, 'web'],
      ['', 'rbac_access_denied_matched_policy[ns[a]_policy_b]', 0, 'web'],
      ['', 'rbac_access_denied_matched_policy[none]', 0, 'web'],
      ['', 'rbac_access_denied_matched_policy[ns[a]_policy_b]', 0, 'web'],
    ],
  );
  assert.equal(backend.received.join('').match(/GET/g)?.length, 1, 'what is denied reaches no backend');
});

test('a body that is on its way is not waited for', async () => {
  await using rig = await startPlane({
    listeners: [
      listener('in', hcm([{ match: { prefix: '/' }, route: { cluster: 'web' } }], { http_filters: [rbac({ rules: {} }), ROUTER] })),
    ],
  });
  const client = await RawClient.open(rig.port('in'));
  const answer = await client.send('POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 1000000\r\n\r\nabc').response();
  assert.equal(answer.status, 403);
  client.close();
});

test('results go to metadata under their prefixes and are counted; a route may have rules of its own, or none', async () => {
  const seen: StreamInfo['dynamicMetadata'][] = [];
  const denied = { policies: { q: policy({ url_path: { path: { exact: '/q' } } }) } };
  const filters = [
    rbac({ rules: { action: 'LOG', policies: { l: policy({ url_path: { path: { exact: '/q' } } }) } }, rules_stat_prefix: 'log_' }),
    rbac({
      rules: denied,
      shadow_rules: { action: 'DENY', policies: { s: policy(ANY) } },
      shadow_rules_stat_prefix: 'try_',
      track_per_rule_stats: true,
    }),
    ROUTER,
  ];
  const own = (config: object) => ({ 'envoy.filters.http.rbac': { '@type': RBAC_PER_ROUTE, ...config } }) as never;
  const direct = { direct_response: { status: 200 } };
  const routes = [
    {
      match: { prefix: '/own' },
      ...direct,
      typed_per_filter_config: own({ rbac: { rules: { policies: { o: policy(ANY) } }, rules_stat_prefix: 'own_' } }),
    },
    { match: { prefix: '/free' }, ...direct, typed_per_filter_config: own({}) },
    { match: { prefix: '/' }, ...direct },
  ];
  const observer = { ...silentObserver, httpDone: (info: StreamInfo) => void seen.push({ ...info.dynamicMetadata }) };
  await using rig = await startPlane({ listeners: [listener('in', hcm(routes, { http_filters: filters }))] }, { observer });
  for (const path of ['/q', '/x', '/own', '/free', '/q']) await fetchOnce(rig.port('in'), path);
  const RESULT = 'envoy.filters.http.rbac';
  const logged = { log_enforced_effective_policy_id: 'l', log_enforced_engine_result: 'allowed' };
  const tried = { try_shadow_effective_policy_id: 's', try_shadow_engine_result: 'denied' };
  const allowed = { enforced_effective_policy_id: 'q', enforced_engine_result: 'allowed' };
  const first = { [RESULT]: { ...logged, ...tried, ...allowed }, 'envoy.common': { access_log_hint: true } };
  assert.deepEqual(seen, [
    first,
    {
      [RESULT]: { log_enforced_engine_result: 'allowed', ...tried, enforced_engine_result: 'denied' },
      'envoy.common': { access_log_hint: false },
    },
    { [RESULT]: { own_enforced_effective_policy_id: 'o', own_enforced_engine_result: 'allowed' } },
    {},
    first,
  ]);
  const count = (name: string) => rig.plane.stats.find(`http.test.rbac.${name}`)?.value;
  assert.deepEqual(
    [
      'log_.allowed',
      'allowed',
      'denied',
      'try_.shadow_denied',
      'try_.shadow_allowed',
      'policy.q.allowed',
      'try_.policy.s.shadow_denied',
    ].map(count),
    [4, 3, 1, 3, 0, 2, 3],
  );
});

test('what cannot be decided is refused with its field', async () => {
  const refused = async (config: object): Promise<string> => {
    await using rig = await startPlane({});
    const filters = [rbac(config), ROUTER];
    try {
      rig.plane.setListener(listener('in', hcm([{ match: { prefix: '/' }, direct_response: { status: 200 } }], { http_filters: filters })));
    } catch (problem) {
      return String(problem);
    }
    return 'taken';
  };
  const one = (p: object) => ({ rules: { policies: { p } } });
  const table: readonly (readonly [object, RegExp])[] = [
    [{ matcher: {} }, /matcher: matcher trees/],
    [{ shadow_matcher: {} }, /shadow_matcher: matcher trees/],
    [one({ ...policy(ANY), condition: {} }), /rules\.policies\.p\.condition: CEL/],
    [one({ principals: [ANY] }), /rules\.policies\.p\.permissions: must not be empty/],
    [one({ permissions: [ANY] }), /rules\.policies\.p\.principals: must not be empty/],
    [one(policy({})), /permissions\[0\]: no rule is set/],
    [one(policy({ any: false })), /permissions\[0\]\.any/],
    [one(policy({ and_rules: { rules: [] } })), /and_rules\.rules: must not be empty/],
    [one(policy({ matcher: { name: 'm' } })), /permissions\[0\]\.matcher: m is not supported/],
    [one(policy({ destination_port_range: { start: 5, end: 5 } })), /destination_port_range/],
    [one(policy(ANY, { custom: { name: 'c' } })), /principals\[0\]\.custom: c is not supported/],
    [one(policy(ANY, {})), /principals\[0\]: no identifier is set/],
  ];
  for (const [config, why] of table) assert.match(await refused(config), why);
  for (const bad of ['a/b', '/a//b', '/**/*', '/**/**', '/a*', '/a/"', '/{a}/{b}/{c}/{d}/{e}/{f}', '/{1}'])
    assert.match(
      await refused(
        one(
          policy({
            uri_template: {
              typed_config: {
                '@type': 'type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig',
                path_template: bad,
              } as never,
            },
          }),
        ),
      ),
      /path_template/,
      bad,
    );
});

test('what a route says to a filter of another kind under the name of this one opens nothing', async () => {
  const other = { '@type': 'type.googleapis.com/envoy.extensions.filters.http.buffer.v3.BufferPerRoute', disabled: true };
  const filter = rbac({ rules: { policies: { x: policy({ url_path: { path: { prefix: '/yes' } } }) } } });
  const route = {
    match: { prefix: '/' },
    direct_response: { status: 204 },
    typed_per_filter_config: { [filter.name ?? '']: other },
  };
  await using rig = await startPlane({ listeners: [listener('in', hcm([route], { http_filters: [filter, ROUTER] }))] });
  assert.equal((await fetchOnce(rig.port('in'), '/no')).status, 403);
  assert.equal((await fetchOnce(rig.port('in'), '/yes')).status, 204);
});
