// Operators of formats that stand for several, for expressions, networks and sizes: what they say as text and as JSON, and what is refused.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { compileLogFormat } from '../../src/plan/log-format.ts';
import { PlanError } from '../../src/plan/plan-error.ts';
import { block, info } from './request.ts';

const exchange = info({
  method: 'GET',
  path: '/a?b=1',
  authority: 'svc:80',
  scheme: 'http',
  protocol: 'HTTP/1.1',
  upstreamProtocol: 'HTTP/2',
  startTime: 1000,
  endTime: 1010,
  responseCode: 404,
  responseCodeDetails: 'route not found',
  requestHeadersBytes: 100,
  requestFields: 3,
  responseHeadersBytes: 90,
  upstreamHeaderBytesSent: 40,
  upstreamHeaderBytesReceived: 30,
  bytesReceived: 5,
  bytesSent: 7,
  upstreamHost: '[2001:db8::1]:80',
  upstreamHostsAttempted: ['10.0.0.1:80', '[2001:db8::1]:80'],
  downstreamRemoteAddress: '10.1.2.3:4000',
  dynamicMetadata: { f: { z: 1, a: { y: 'x', b: true } } },
  filterState: { peer: 'as it is' },
});
const process = {
  hostname: 'h',
  environment: { HOME: '/root' },
  node: { id: 'n1' },
  direction: 1,
  stateOf: (key: string) => (key === 'peer' ? { workload: 'w', service: 's' } : undefined),
};
const req = block({ 'user-agent': 'curl', 'x-tag': 't' });
const text = (format: string): string => compileLogFormat({ text: format }, false, 'log_format', process)(exchange, req);
const json = (format: string): unknown =>
  JSON.parse(compileLogFormat({ json: { v: format } }, false, 'log_format', process)(exchange, req)).v;

describe('says', () => {
  const cases: readonly (readonly [string, string, unknown?])[] = [
    ['%CEL(request.method)%', 'GET'],
    ['%CEL(response.code)%', '404', '404'],
    ["%CEL(request.headers['x-tag'] + 1)%", '-', null],
    ['%CEL(request.method):2%', 'GE'],
    ['%CEL(xds.node.id)%', 'n1'],
    ['%CEL(filter_state.peer.service)%', 's'],
    ['%TYPED_CEL(response.code)%', '404', 404],
    ['%TYPED_CEL(response.code == 404)%', 'true', true],
    ['%TYPED_CEL(null)%', 'NULL', null],
    ["%TYPED_CEL([1, 'a'])%", 'CelList value', [1, 'a']],
    ["%TYPED_CEL(metadata.filter_metadata['f'])%", 'CelMap value', { a: { b: true, y: 'x' }, z: 1 }],
    [
      '%TYPED_CEL(request.headers)%',
      'CelMap value',
      { ':authority': 'svc:80', ':method': 'GET', ':path': '/a?b=1', ':scheme': 'http', 'user-agent': 'curl', 'x-tag': 't' },
    ],
    ['%TYPED_CEL(timestamp("2026-01-02T03:04:05Z"))%', '2026-01-02T03:04:05+00:00', '2026-01-02T03:04:05Z'],
    ['%COALESCE({"operators":[{"command":"REQ","param":"x-none"},{"command":"REQ","param":"x-tag"}]})%', 't'],
    ['%COALESCE({"operators":["REQUESTED_SERVER_NAME",{"command":"REQ","param":"user-agent","max_length":3}]})%', 'cur'],
    ['%COALESCE({"operators":["RESPONSE_CODE"]})%', '404', 404],
    ['%COALESCE({"operators":["PROTOCOL"]}):4%', 'HTTP'],
    ['%COALESCE({"operators":[{"command":"COALESCE","param":"{\\"operators\\":[\\"PROTOCOL\\"]}"}]})%', 'HTTP/1.1'],
    ['%COALESCE({"operators":["REQUESTED_SERVER_NAME"]})%', '-', null],
    ['%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(16)%', '10.1.0.0/16'],
    ['%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(0)%', '0.0.0.0/0'],
    ['%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(99)%', '10.1.2.3/32'],
    ['%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(x)%', '10.1.2.3'],
    ['%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(32)%', '2001:db8::/32'],
    ['%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(8)%', '-', null],
    ['%UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT%', '10.0.0.1,2001:db8::1'],
    ['%DYNAMIC_METADATA(f)%', '{"a":{"b":true,"y":"x"},"z":1}', { a: { b: true, y: 'x' }, z: 1 }],
    ['%DYNAMIC_METADATA(f):6%', '{"a":{', { a: { b: true, y: 'x' }, z: 1 }],
    ['%METADATA(ROUTE)%', '-', null],
    ['%FILTER_STATE(peer)%', '{"service":"s","workload":"w"}', { service: 's', workload: 'w' }],
    ['%FILTER_STATE(peer:FIELD:workload)%', 'w'],
    ['%ENVIRONMENT(NONE)%', '-', '-'],
    ['%ENVIRONMENT(HOME):3%', '/ro'],
    ['%RESPONSE_CODE_DETAILS(OTHER)%', 'route_not_found'],
    ['%COMMON_DURATION(A:B:ms)%', '-', null],
    ['%CUSTOM_FLAGS%', '', ''],
    ['%UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID%', '', ''],
    ['%UPSTREAM_DETECTED_CLOSE_TYPE% %DOWNSTREAM_DETECTED_CLOSE_TYPE%', 'Normal Normal'],
    // GET /a?b=1 HTTP/1.1 and HTTP/1.1 404 Not Found, with the ends of their lines and of the head; a byte less for each field that came.
    ['%DOWNSTREAM_HEADER_BYTES_RECEIVED%', String(100 - 21 - 2 - 3), 74],
    ['%DOWNSTREAM_HEADER_BYTES_SENT%', String(90 - 24 - 2), 64],
    ['%DOWNSTREAM_WIRE_BYTES_RECEIVED% %DOWNSTREAM_WIRE_BYTES_SENT%', '105 97'],
    ['%UPSTREAM_HEADER_BYTES_SENT% %UPSTREAM_HEADER_BYTES_RECEIVED%', '49 39'],
    ['%UPSTREAM_WIRE_BYTES_SENT% %UPSTREAM_WIRE_BYTES_RECEIVED%', '54 46'],
    ['%REQUEST_HEADERS_BYTES%', String(':method:path:authority:schemeGET/a?b=1svc:80http'.length + 'user-agentcurlx-tagt'.length), 68],
  ];
  for (const [format, expected, typed = expected] of cases)
    test(format, () => {
      assert.equal(text(format), expected);
      assert.deepEqual(json(format), typed);
    });
});

describe('refused', () => {
  for (const format of [
    '%CEL()%',
    '%CEL(1 +)%',
    '%CEL(frobnicate(1))%',
    '%COALESCE%',
    '%COALESCE(x)%',
    '%COALESCE({"operators":[]})%',
    '%COALESCE({"operators":["NOPE"]})%',
    '%COALESCE({"operators":[1]})%',
    '%COALESCE({"operators":[{"command":"REQ"}]})%',
    '%COALESCE({"operators":[{"command":"REQ","param":"x","max_length":0}]})%',
    '%PROTOCOL:2%',
    '%RESPONSE_CODE:1%',
    '%START_TIME(%Y):2%',
    '%GRPC_STATUS:2%',
    '%CLUSTER_METADATA(own):3%',
    '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(8):3%',
  ])
    test(format, () => assert.throws(() => text(format), PlanError));

  test('what only a log or a metric knows, in a header', () =>
    assert.throws(() => compileLogFormat({ text: '%CEL(xds.node.id)%' }, false, 'log_format'), /xds\.node is not supported here/));
});
