// ext_authz over gRPC and HTTP: what the server is told, and what its answers make of a request, as stock Envoy 1.40 does it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CheckResponse, HttpExtAuthz_ExtAuthz } from '../../src/xds/gen/types.ts';
import { type AuthzRig, GRPC, grpcAuthz, httpAuthz, OVER_HTTP, PER_ROUTE, startAuthz } from './ext-authz-rig.ts';
import { eventually, fetchOnce, hcm, listener, RawClient, ROUTER, startPlane, staticCluster, toCluster } from './harness.ts';

const count = (rig: AuthzRig, name: string): number => rig.plane.plane.stats.find(name)?.value ?? 0;
const saying = (answer: CheckResponse): string => `x-answer: ${JSON.stringify(answer)}\r\n`;
const last = (rig: AuthzRig) => rig.plane.http.at(-1);

test('the server is told who asks whom for what', async () => {
  await using authz = await grpcAuthz();
  await using rig = await startAuthz({ ...GRPC, include_tls_session: true }, authz.port);
  const response = await fetchOnce(rig.port, '/p?q=1', 'x-two: 1\r\nx-two: 2\r\nx-envoy-downstream-service-cluster: svc\r\nx-utf: é\r\n');
  assert.equal(response.body, '/p?q=1');
  const attributes = authz.asked[0]?.attributes;
  assert.equal(attributes?.source?.address?.socket_address?.address, '127.0.0.1');
  assert.equal(attributes.source.service, 'svc');
  assert.equal(attributes.destination?.address?.socket_address?.port_value, rig.port);
  const http = attributes.request?.http;
  assert.deepEqual([http?.method, http?.path, http?.host, http?.scheme, http?.protocol], ['GET', '/p?q=1', 'a.test', 'http', 'HTTP/1.1']);
  assert.deepEqual(
    [http?.headers?.[':authority'], http?.headers?.[':path'], http?.headers?.['x-two'], http?.headers?.['x-utf'], http?.headers?.['host']],
    ['a.test', '/p?q=1', '1,2', 'é', undefined],
  );
  assert.match(attributes.request?.time ?? '', /^\d{4}-/);
  assert.deepEqual([attributes.tls_session, attributes.metadata_context, attributes.context_extensions], [{}, {}, undefined]);
  assert.deepEqual(
    [authz.heads[0]?.[':path'], authz.heads[0]?.['te'], authz.heads[0]?.['content-length']],
    ['/envoy.service.auth.v3.Authorization/Check', 'trailers', undefined],
  );
  assert.deepEqual([count(rig, 'http.test.ext_authz.ok'), count(rig, 'cluster.web.ext_authz.ok')], [1, 1]);
});

test('a denial is answered with the server’s status, headers and body', async () => {
  await using authz = await grpcAuthz();
  await using rig = await startAuthz(GRPC, authz.port);
  const denied: CheckResponse = {
    status: { code: 7 },
    denied_response: {
      status: { code: 'Unauthorized' },
      body: 'nope',
      headers: [
        { header: { key: 'x-a', value: '1' } },
        { header: { key: 'X-A', value: '2' } },
        { header: { key: 'x-b', value: '3' }, append: true },
        { header: { key: 'content-type', value: 'text/html' } },
      ],
    },
  };
  const response = await fetchOnce(rig.port, '/d', saying(denied));
  assert.deepEqual([response.status, response.body, response.headers.get('content-type')], [401, 'nope', 'text/html']);
  assert.match(response.head, /x-a: 1\n[\s\S]*x-a: 2/);
  assert.equal(response.headers.has('x-b'), false);
  assert.deepEqual([last(rig)?.flags, last(rig)?.details], ['UAEX', 'ext_authz_denied']);
  assert.equal((await fetchOnce(rig.port, '/d', saying({ status: { code: 7 } }))).status, 403);
  assert.deepEqual([count(rig, 'http.test.ext_authz.denied'), count(rig, 'cluster.web.upstream_rq_4xx')], [2, 2]);
  assert.equal(rig.web.sockets.length, 0);
});

test('an allowed request is changed as the server says, and so is its response', async () => {
  await using authz = await grpcAuthz();
  await using rig = await startAuthz(GRPC, authz.port);
  const allowed: CheckResponse = {
    ok_response: {
      headers: [
        { header: { key: 'x-set', value: 'new' } },
        { header: { key: 'x-none', value: 'app' }, append: true },
        { header: { key: 'x-two', value: 'app' }, append: true },
        { header: { key: 'x-two', value: 'abs' }, append_action: 'ADD_IF_ABSENT' },
        { header: { key: 'host', value: 'b' } },
      ],
      headers_to_remove: ['X-Gone', 'host', ':path'],
      response_headers_to_add: [
        { header: { key: 'x-up', value: 'r2' }, append: true },
        { header: { key: 'x-set', value: 'r3' }, append: false },
        { header: { key: 'x-ab', value: 'r4' }, append_action: 'ADD_IF_ABSENT' },
        { header: { key: 'x-up', value: 'r5' }, append_action: 'ADD_IF_ABSENT' },
        { header: { key: 'x-over', value: 'r6' }, append_action: 'OVERWRITE_IF_EXISTS' },
        { header: { key: 'x-over2', value: 'r7' }, append_action: 'OVERWRITE_IF_EXISTS' },
      ],
      query_parameters_to_set: [
        { key: 'q', value: '2' },
        { key: 'a', value: '9' },
      ],
      query_parameters_to_remove: ['r'],
    },
  };
  const response = await fetchOnce(rig.port, '/p?z=0&q=1&r=5&q=7&s', `x-set: old\r\nx-two: 1\r\nx-gone: 1\r\n${saying(allowed)}`);
  assert.equal(response.body, '/p?a=9&q=2&s=&z=0');
  const sent = (rig.web.received[0] ?? '').replace(/x-answer.*\r\n/, '');
  assert.match(sent, /host: b\r\n/);
  assert.match(sent, /x-set: new\r\n/);
  assert.match(sent, /x-two: abs,app\r\n/);
  assert.doesNotMatch(sent, /x-none|x-gone/);
  assert.match(response.head, /x-up: web\n[\s\S]*x-up: r2/);
  assert.deepEqual(
    ['x-set', 'x-ab', 'x-over', 'x-over2'].map((name) => response.headers.get(name)),
    ['r3', 'r4', 'r6', undefined],
  );
  assert.doesNotMatch(response.head, /r5/);
});

test('what the server tells is dynamic metadata', async () => {
  const seen: unknown[] = [];
  await using authz = await grpcAuthz(() => ({ dynamic_metadata: { user: 'ann' } }));
  await using rig = await startAuthz(GRPC, authz.port, [
    {
      ...toCluster('web'),
      response_headers_to_add: [{ header: { key: 'x-user', value: '%DYNAMIC_METADATA(envoy.filters.http.ext_authz:user)%' } }],
    },
  ]);
  seen.push((await fetchOnce(rig.port, '/')).headers.get('x-user'));
  assert.deepEqual(seen, ['ann']);
});

test('a server that fails, says nothing in time or nothing sensible refuses the request, unless it may fail open', async () => {
  await using authz = await grpcAuthz();
  await using closed = await startAuthz(
    { ...GRPC, grpc_service: { envoy_grpc: { cluster_name: 'authz' }, timeout: '0.1s' }, status_on_error: { code: 503 } },
    authz.port,
  );
  for (const answer of ['13', 'silent']) {
    const response = await fetchOnce(closed.port, '/', `x-answer: ${answer}\r\n`);
    assert.deepEqual([response.status, last(closed)?.flags, last(closed)?.details], [503, 'UAEX', 'ext_authz_error'], answer);
  }
  await using open = await startAuthz({ ...GRPC, failure_mode_allow: true, failure_mode_allow_header_add: true }, authz.port);
  assert.equal((await fetchOnce(open.port, '/open', 'x-answer: 14\r\n')).body, '/open');
  assert.match(open.web.received[0] ?? '', /x-envoy-auth-failure-mode-allowed: true/);
  assert.deepEqual([count(open, 'http.test.ext_authz.error'), count(open, 'http.test.ext_authz.failure_mode_allowed')], [1, 1]);
});

test('a client that goes away takes its question back', async () => {
  await using authz = await grpcAuthz();
  await using rig = await startAuthz(GRPC, authz.port);
  const client = await RawClient.open(rig.port);
  client.send('GET / HTTP/1.1\r\nhost: a\r\nx-answer: silent\r\n\r\n');
  await eventually(() => authz.asked.length === 1, 'asked');
  client.close();
  await eventually(() => authz.aborted() === 1, 'aborted');
  await eventually(() => count(rig, 'cluster.authz.upstream_rq_active') === 0, 'nothing runs');
});

test('the body goes with the question: whole, in part, as bytes, or not at all', async () => {
  await using authz = await grpcAuthz();
  await using whole = await startAuthz({ ...GRPC, with_request_body: { max_request_bytes: 10 } }, authz.port);
  const post = async (rig: AuthzRig, body: string) => {
    const client = await RawClient.open(rig.port);
    client.send(`POST /b HTTP/1.1\r\nhost: a\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
    const response = await client.response();
    client.close();
    return response;
  };
  const told = () => {
    const http = authz.asked.at(-1)?.attributes?.request?.http;
    return [http?.body, http?.size, http?.headers?.['x-envoy-auth-partial-body']];
  };
  assert.equal((await post(whole, 'hellohello')).status, 200);
  assert.deepEqual(told(), ['hellohello', 10, 'false']);
  const large = await post(whole, 'hellohello!');
  assert.deepEqual(
    [large.status, large.body, last(whole)?.details, last(whole)?.flags],
    [413, 'Payload Too Large', 'request_payload_too_large', ''],
  );
  assert.equal((await fetchOnce(whole.port, '/')).status, 200);
  assert.deepEqual(told(), [undefined, undefined, undefined]);
  assert.match(whole.web.received.join(), /\r\n\r\nhellohelloGET/);

  await using part = await startAuthz(
    { ...GRPC, with_request_body: { max_request_bytes: 10, allow_partial_message: true, pack_as_bytes: true } },
    authz.port,
  );
  assert.equal((await post(part, 'hellohello!!')).status, 200);
  const http = authz.asked.at(-1)?.attributes?.request?.http;
  assert.equal(Buffer.from(http?.raw_body ?? []).toString(), 'hellohello');
  assert.deepEqual(told(), [undefined, 12, 'true']);
  await eventually(() => part.web.received.join().endsWith('hellohello!!'), 'all of it went on');
});

test('an upgrade is asked for without a body', async () => {
  await using authz = await grpcAuthz(() => ({ status: { code: 7 } }));
  await using rig = await startAuthz({ ...GRPC, with_request_body: { max_request_bytes: 10 } }, authz.port, [toCluster('web')], {
    upgrade_configs: [{ upgrade_type: 'websocket' }],
  });
  assert.equal((await fetchOnce(rig.port, '/', 'connection: upgrade\r\nupgrade: websocket\r\n')).status, 403);
});

test('a route may do without, or say more', async () => {
  await using authz = await grpcAuthz();
  const of = (path: string, settings: object) => ({
    ...toCluster('web'),
    match: { prefix: path },
    typed_per_filter_config: { 'envoy.filters.http.ext_authz': { '@type': PER_ROUTE, ...settings } },
  });
  await using rig = await startAuthz({ ...GRPC, with_request_body: { max_request_bytes: 3 } }, authz.port, [
    of('/off', { disabled: true }),
    of('/more', { check_settings: { context_extensions: { k: 'v' }, disable_request_body_buffering: true } }),
  ]);
  assert.equal((await fetchOnce(rig.port, '/off', 'x-answer: 13\r\n')).status, 200);
  assert.equal(authz.asked.length, 0);
  const client = await RawClient.open(rig.port);
  assert.equal((await client.send('POST /more HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello').response()).status, 200);
  client.close();
  assert.deepEqual(authz.asked[0]?.attributes?.context_extensions, { k: 'v' });
  assert.equal(authz.asked[0].attributes.request?.http?.body, undefined);
  // What no route takes goes nowhere: nobody is asked.
  assert.equal((await fetchOnce(rig.port, '/none')).status, 404);
  assert.equal(authz.asked.length, 1);
});

test('a route may ask another server, over another protocol', async () => {
  await using authz = await grpcAuthz();
  await using other = await httpAuthz();
  const http_service = { server_uri: { uri: 'http://o', cluster: 'other', timeout: '5s' }, path_override: '/over' };
  const check_settings = { http_service };
  const typed_per_filter_config = { 'envoy.filters.http.ext_authz': { '@type': PER_ROUTE, check_settings } };
  await using rig = await startAuthz(GRPC, authz.port, [{ ...toCluster('web'), typed_per_filter_config }]);
  rig.plane.plane.setCluster(staticCluster('other', [other.port]));
  assert.equal((await fetchOnce(rig.port, '/p?q=1')).status, 200);
  assert.match(other.received[0] ?? '', /^GET \/over HTTP/);
  assert.equal(authz.asked.length, 0);
});

test('what all levels of a route say is told, the most specific before the others', async () => {
  await using authz = await grpcAuthz();
  const saying = (context_extensions: Record<string, string>) => ({
    'envoy.filters.http.ext_authz': { '@type': PER_ROUTE, check_settings: { context_extensions } },
  });
  const route = { ...toCluster('web'), typed_per_filter_config: saying({ a: 'route', c: 'route' }) };
  const virtual_hosts = [{ name: 'all', domains: ['*'], routes: [route], typed_per_filter_config: saying({ a: 'host', b: 'host' }) }];
  await using rig = await startAuthz(GRPC, authz.port, [], {
    route_config: { name: 'r', virtual_hosts, typed_per_filter_config: saying({ b: 'all', d: 'all' }) },
  });
  assert.equal((await fetchOnce(rig.port, '/')).status, 200);
  assert.deepEqual(authz.asked[0]?.attributes?.context_extensions, { a: 'route', b: 'host', c: 'route', d: 'all' });
});

test('what the server changes may choose another route, where it is to', async () => {
  await using authz = await grpcAuthz(() => ({ ok_response: { headers: [{ header: { key: 'x-to', value: 'two' } }] } }));
  const routes = [
    { match: { prefix: '/', headers: [{ name: 'x-to', string_match: { exact: 'two' } }] }, direct_response: { status: 202 } },
    toCluster('web'),
  ];
  await using kept = await startAuthz(GRPC, authz.port, routes);
  assert.equal((await fetchOnce(kept.port, '/')).status, 200);
  await using cleared = await startAuthz({ ...GRPC, clear_route_cache: true }, authz.port, routes);
  assert.equal((await fetchOnce(cleared.port, '/')).status, 202);
});

test('the filter may be off for a share of requests or by what filters before it found, and deny while it is', async () => {
  await using authz = await grpcAuthz();
  const off = { default_value: { numerator: 0 } };
  await using disabled = await startAuthz({ ...GRPC, filter_enabled: off }, authz.port);
  assert.equal((await fetchOnce(disabled.port, '/', 'x-answer: 13\r\n')).status, 200);
  assert.equal(count(disabled, 'http.test.ext_authz.disabled'), 1);
  await using denying = await startAuthz(
    { ...GRPC, filter_enabled: off, deny_at_disable: { default_value: true, runtime_key: 'x' } },
    authz.port,
  );
  assert.equal((await fetchOnce(denying.port, '/')).status, 403);
  assert.equal(last(denying)?.details, 'ext_authz_error');
  const shadow = {
    filter: 'envoy.filters.http.rbac',
    path: [{ key: 'istio_ext_authz_shadow_effective_policy_id' }],
    value: { string_match: { prefix: 'istio-ext-authz' } },
  };
  await using byMetadata = await startAuthz({ ...GRPC, filter_enabled_metadata: shadow }, authz.port);
  assert.equal((await fetchOnce(byMetadata.port, '/', 'x-answer: 13\r\n')).status, 200);
  assert.equal(authz.asked.length, 0);
});

test('mutations that could not be sent are an error where they are checked', async () => {
  await using authz = await grpcAuthz();
  await using rig = await startAuthz({ ...GRPC, validate_mutations: true }, authz.port);
  const bad: readonly CheckResponse[] = [
    { ok_response: { headers: [{ header: { key: 'x y', value: '1' } }] } },
    { ok_response: { query_parameters_to_set: [{ key: 'a b', value: '1' }] } },
    { status: { code: 7 }, denied_response: { headers: [{ header: { key: 'x y', value: '1' } }] } },
  ];
  for (const answer of bad) assert.equal((await fetchOnce(rig.port, '/', saying(answer))).status, 500);
  assert.deepEqual([last(rig)?.details, count(rig, 'http.test.ext_authz.invalid')], ['ext_authz_invalid', 3]);
  await using lax = await startAuthz(GRPC, authz.port);
  assert.equal((await fetchOnce(lax.port, '/', saying(bad[0] ?? {}))).status, 503);
});

test('over HTTP the server sees the request’s own line and few of its headers, and its answer is taken by lists', async () => {
  await using authz = await httpAuthz();
  const http_service = {
    ...OVER_HTTP,
    path_prefix: '/pre',
    authorization_request: { headers_to_add: [{ key: 'x-added', value: '%REQ(x-one)%' }] },
    authorization_response: {
      allowed_upstream_headers: { patterns: [{ exact: 'x-u' }] },
      allowed_upstream_headers_to_append: { patterns: [{ exact: 'x-ap' }] },
      allowed_client_headers_on_success: { patterns: [{ exact: 'x-cs' }] },
    },
  };
  const allowed_headers = { patterns: [{ exact: 'x-answer' }, { exact: 'x-one' }] };
  await using rig = await startAuthz({ http_service, allowed_headers, disallowed_headers: { patterns: [{ exact: 'x-one' }] } }, authz.port);
  const answer = 'HTTP/1.1 200 OK|content-length: 0|x-u: up|x-ap: second|x-cs: cs|x-no: 1|x-envoy-auth-headers-to-remove: x-gone, x-two||';
  const response = await fetchOnce(
    rig.port,
    '/p',
    `x-one: 1\r\nx-two: 2\r\nx-gone: 3\r\nx-ap: first\r\nauthorization: b\r\nx-answer: ${answer}\r\n`,
  );
  assert.equal(response.headers.get('x-cs'), 'cs');
  const asked = (authz.received[0] ?? '').replace(/x-answer.*\r\n/, '');
  assert.match(
    asked,
    /^GET \/pre\/p HTTP\/1.1\r\nhost: a.test\r\ncontent-length: 0\r\nauthorization: b\r\nx-added: 1\r\nx-envoy-internal: true\r\n/,
  );
  assert.doesNotMatch(asked, /x-one|x-two|x-forwarded-for/);
  const sent = (rig.web.received[0] ?? '').replace(/x-answer.*\r\n/, '');
  assert.match(sent, /x-ap: first\r\n[\s\S]*x-u: up\r\nx-ap: second/);
  assert.doesNotMatch(sent, /x-two|x-gone|x-no/);
});

test('over HTTP any other answer is the client’s, and 5xx an error', async () => {
  await using authz = await httpAuthz();
  const allowed_headers = { patterns: [{ exact: 'x-answer' }] };
  await using rig = await startAuthz({ http_service: OVER_HTTP, allowed_headers }, authz.port);
  const denied = await fetchOnce(
    rig.port,
    '/',
    'x-answer: HTTP/1.1 401 No|content-length: 2|x-c: 1|set-cookie: a=1|set-cookie: b=2|location: /l||no\r\n',
  );
  assert.deepEqual([denied.status, denied.body, denied.headers.get('x-c'), denied.headers.get('location')], [401, 'no', '1', '/l']);
  assert.match(denied.head, /set-cookie: a=1\nset-cookie: b=2/);
  assert.equal((await fetchOnce(rig.port, '/', 'x-answer: HTTP/1.1 503 No|content-length: 2||no\r\n')).status, 403);
  assert.equal(last(rig)?.details, 'ext_authz_error');
  const listed = { ...OVER_HTTP, authorization_response: { allowed_client_headers: { patterns: [{ exact: 'x-c' }] } } };
  await using few = await startAuthz({ http_service: listed, allowed_headers }, authz.port);
  const kept = await fetchOnce(few.port, '/', 'x-answer: HTTP/1.1 401 No|content-length: 2|x-c: 1|x-d: 2|www-authenticate: B||no\r\n');
  assert.deepEqual([kept.headers.get('x-c'), kept.headers.get('x-d'), kept.headers.get('www-authenticate')], ['1', undefined, 'B']);
});

test('configuration that could not be honoured is refused by its field', async () => {
  const rows: readonly [HttpExtAuthz_ExtAuthz, RegExp][] = [
    [{}, /services/],
    [{ grpc_service: { google_grpc: { target_uri: 'x' } } }, /google_grpc/],
    [{ http_service: {} }, /http_service\.server_uri\.cluster/],
    [{ http_service: { ...OVER_HTTP, path_prefix: 'x' } }, /path_prefix/],
    [{ ...GRPC, with_request_body: {} }, /with_request_body\.max_request_bytes/],
    [{ ...GRPC, bootstrap_metadata_labels_key: 'x' }, /bootstrap_metadata_labels_key/],
    [{ ...GRPC, decoder_header_mutation_rules: {} }, /decoder_header_mutation_rules/],
  ];
  await using rig = await startPlane({});
  for (const [config, refusal] of rows) {
    const filter = {
      name: 'f',
      typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz', ...config },
    };
    assert.throws(() => rig.plane.setListener(listener('l', hcm([toCluster('c')], { http_filters: [filter, ROUTER] }))), refusal);
  }
});
