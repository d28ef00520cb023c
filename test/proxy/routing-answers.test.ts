// What a route says of headers, in answers that no upstream gave and in texts with operators; a stock Envoy, where there is one, agrees.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { hostname } from 'node:os';
import { test } from 'node:test';
import type { HeaderValueOption, Route } from '../../src/xds/gen/types.ts';
import { hcm, httpBackend, listener, startPlane, staticCluster, toCluster } from './harness.ts';
import { routingTables } from './routing-rig.ts';

const add = (key: string, value: string, action = 'APPEND_IF_EXISTS_OR_ADD'): HeaderValueOption => ({
  header: { key, value },
  append_action: action as NonNullable<HeaderValueOption['append_action']>,
});
const FAULT = 'type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault';
const RBAC = 'type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC';
const CORS = 'type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors';
const CORS_POLICY = 'type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy';
const fault = {
  name: 'envoy.filters.http.fault',
  typed_config: {
    '@type': FAULT,
    abort: { http_status: 418, percentage: { numerator: 100 } },
    headers: [{ name: 'x-fault', string_match: { exact: '1' } }],
  },
};
const OWN: Partial<Route> = {
  response_headers_to_add: [add('x-route', '%RESP(:status)% %RESPONSE_CODE% %RESP(content-type)%|'), add('content-type', 'text/own')],
};

routingTables([
  {
    name: 'answers in the place of an upstream carry the headers of configuration, virtual host and route',
    config: { response_headers_to_add: [add('x-config', 'c')], validate_clusters: false },
    host: { domains: ['x.test'], response_headers_to_add: [add('x-host', 'h')] },
    routes: [
      { match: { prefix: '/dead' }, route: { cluster: 'dead' }, ...OWN },
      { match: { prefix: '/none' }, route: { cluster: 'nobody' }, ...OWN },
      { match: { prefix: '/slow' }, route: { cluster: 'c', timeout: '0.2s' }, ...OWN },
      { match: { prefix: '/direct' }, direct_response: { status: 404 }, ...OWN },
      { match: { prefix: '/moved' }, redirect: { host_redirect: 'y.test' }, ...OWN },
      { match: { prefix: '/c' }, route: { cluster: 'c' }, ...OWN },
    ],
    filters: [fault],
    shows: ['x-route', 'x-host', 'x-config', 'content-type'],
    rows: {
      'GET /dead':
        '503 upstream connect error or disconnect/reset before headers. reset reason: remote connection failure x0 UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused} x-route=503 0 | x-host=h x-config=c content-type=text/own',
      'GET /none': '503 x0 NC cluster_not_found x-route=503 0 | x-host=h x-config=c',
      'GET /slow\nx-plan: silent':
        '504 upstream request timeout x1 UT response_timeout x-route=504 0 | x-host=h x-config=c content-type=text/own',
      'GET /c\nx-plan: reset':
        '503 upstream connect error or disconnect/reset before headers. reset reason: connection termination x1 UC upstream_reset_before_response_started{connection_termination} x-route=503 0 | x-host=h x-config=c content-type=text/own',
      'GET /c\nx-fault: 1': '418 fault filter abort x0 FI fault_filter_abort x-route=418 0 | x-host=h x-config=c content-type=text/own',
      'GET /direct': '404 x0 direct_response x-route=404 0 | x-host=h x-config=c',
      'GET /direct\nx-fault: 1': '418 fault filter abort x0 FI fault_filter_abort content-type=text/plain',
      'GET /moved\nx-fault: 1': '418 fault filter abort x0 FI fault_filter_abort content-type=text/plain',
      'GET /other': '404 x0 NR route_not_found',
      'GET /c\nhost: other': '404 x0 NR route_not_found',
    },
  },
  {
    name: 'a refusal carries them too, a preflight does not',
    routes: [
      {
        match: { prefix: '/' },
        route: { cluster: 'c' },
        ...OWN,
        typed_per_filter_config: {
          'envoy.filters.http.cors': { '@type': CORS_POLICY, allow_origin_string_match: [{ exact: 'o' }], allow_methods: 'GET' },
        },
      },
    ],
    filters: [
      { name: 'envoy.filters.http.cors', typed_config: { '@type': CORS } },
      {
        name: 'envoy.filters.http.rbac',
        typed_config: {
          '@type': RBAC,
          rules: { action: 'DENY', policies: { p: { permissions: [{ any: true }], principals: [{ any: true }] } } },
        },
      },
    ],
    shows: ['x-route', 'content-type', 'grpc-status', 'access-control-allow-methods'],
    rows: {
      'GET /': '403 RBAC: access denied x0 rbac_access_denied_matched_policy[p] x-route=403 0 | content-type=text/own',
      'GET /\ncontent-type: application/grpc':
        '200 x0 rbac_access_denied_matched_policy[p] x-route=403 0 | content-type=application/grpc grpc-status=7',
      'OPTIONS /\norigin: o\naccess-control-request-method: GET': '200 x0 cors_response access-control-allow-methods=GET',
    },
  },
  {
    name: 'a level of header operations is made of what was there before it',
    routes: [
      {
        match: { prefix: '/' },
        route: { cluster: 'c' },
        request_headers_to_add: [
          add('x-new', 'now', 'OVERWRITE_IF_EXISTS_OR_ADD'),
          add('x-was', '%REQ(x-new)%|'),
          add('x-first', 'a', 'ADD_IF_ABSENT'),
          add('x-first', 'b', 'ADD_IF_ABSENT'),
        ],
      },
    ],
    seen: ['x-new', 'x-was', 'x-first'],
    rows: { 'GET /': '200 n0 x1 via_upstream [now | a,b]', 'GET /\nx-new: before': '200 n0 x1 via_upstream [now before| a,b]' },
  },
  {
    name: 'operators in header operations: process, attempt, details',
    host: { response_headers_to_add: [add('x-details', '%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%')] },
    routes: [
      {
        match: { prefix: '/' },
        route: { cluster: 'c', retry_policy: { retry_on: '5xx', num_retries: 2, retry_back_off: { base_interval: '0.001s' } } },
        request_headers_to_add: [
          add('x-attempt', '%UPSTREAM_REQUEST_ATTEMPT_COUNT%'),
          add('x-at', '%HOSTNAME%'),
          add('x-home', '%ENVIRONMENT(HOME)%'),
        ],
      },
    ],
    shows: ['x-details'],
    seen: ['x-attempt', 'x-at', 'x-home'],
    rows: {
      'GET /\nx-plan: 503|200': `200 n1 x2 via_upstream x-details=via_upstream [1 ${hostname()} ${process.env['HOME'] ?? ''}] [1 ${hostname()} ${process.env['HOME'] ?? ''}]`,
    },
  },
  {
    name: 'a path that a rewrite leaves as it is',
    routes: [
      {
        match: { prefix: '/r' },
        route: { cluster: 'c', regex_rewrite: { pattern: { regex: '^/r/(\\w+)/(\\w+)' }, substitution: '/\\2/\\1' } },
      },
      { match: { prefix: '/p' }, route: { cluster: 'c', prefix_rewrite: '/p' } },
    ],
    seen: ['path', 'x-envoy-original-path'],
    rows: { 'GET /r/one': '200 n0 x1 via_upstream [/r/one /r/one]', 'GET /p/a': '200 n0 x1 via_upstream [/p/a /p/a]' },
  },
  {
    name: 'a 400 ends the connection, also of a gRPC call',
    routes: [{ match: { prefix: '/' }, route: { cluster: 'c' } }],
    filters: [
      {
        name: 'envoy.filters.http.fault',
        typed_config: { '@type': FAULT, abort: { http_status: 400, percentage: { numerator: 100 } } },
      },
    ],
    shows: ['connection', 'grpc-status'],
    rows: {
      'GET /': '400 fault filter abort x0 FI fault_filter_abort connection=close',
      'GET /\ncontent-type: application/grpc': '200 x0 FI fault_filter_abort connection=close grpc-status=13',
    },
  },
  {
    name: 'a scheme that is set stands in x-forwarded-proto too',
    routes: [{ match: { prefix: '/' }, route: { cluster: 'c' } }],
    hcm: { scheme_header_transformation: { scheme_to_overwrite: 'https' } },
    seen: ['x-forwarded-proto'],
    rows: { 'GET /': '200 n0 x1 via_upstream [https]' },
  },
]);

test('what is answered to HEAD says how long the body of GET would be, or that its length is not told', async () => {
  await using backend = await httpBackend(() => 'HTTP/1.1 200 OK\r\n\r\n');
  const direct = (prefix: string, text: string): Route => ({
    match: { prefix },
    direct_response: { status: 200, ...(text === '' ? {} : { body: { inline_string: text } }) },
  });
  const routes = [direct('/empty', ''), direct('/text', 'text'), toCluster('c')];
  await using plane = await startPlane({ clusters: [staticCluster('c', [backend.port])], listeners: [listener('l', hcm(routes))] });
  const head = async (path: string): Promise<string> => {
    const socket = connect(plane.port('l'), '127.0.0.1');
    socket.write(`HEAD ${path} HTTP/1.1\r\nhost: x\r\n\r\n`);
    let text = '';
    while (!text.endsWith('\r\n\r\n')) text += String((await once(socket, 'data'))[0]);
    socket.destroy();
    return /^(?:content-length|transfer-encoding): .*$/m.exec(text)?.[0] ?? '';
  };
  assert.equal(await head('/empty'), 'transfer-encoding: chunked');
  assert.equal(await head('/text'), 'content-length: 4');
  assert.equal(await head('/'), 'transfer-encoding: chunked');
});
