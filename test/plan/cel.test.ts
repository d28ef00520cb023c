// Expressions of access log filters: what they mean, what has no value, what is refused.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { celText } from '../../src/plan/cel/attributes.ts';
import { compileCel, compileCelOperand, compileCelValue } from '../../src/plan/cel/compile.ts';
import { parseCel } from '../../src/plan/cel/parse.ts';
import { PlanError } from '../../src/plan/plan-error.ts';
import { FLAG } from '../../src/plan/response-flag.ts';
import { StreamInfo } from '../../src/plan/stream-info.ts';
import { HeaderBlock } from '../../src/wire/header-block.ts';

const block = (headers: Readonly<Record<string, string>>): HeaderBlock => {
  const out = new HeaderBlock();
  for (const [name, value] of Object.entries(headers)) out.add(name, value);
  return out;
};
const info = new StreamInfo();
Object.assign(info, {
  method: 'GET',
  path: '/orders/7?full=1',
  authority: 'shop.test',
  protocol: 'HTTP/1.1',
  responseCode: 503,
  startTime: 1_000,
  endTime: 2_500,
  bytesSent: 40,
  downstreamRemoteAddress: '10.0.0.9:4711',
  upstreamCluster: 'a',
  upstreamClusterRaw: 'outbound|80||a',
  dynamicMetadata: { own: { user: 'ann', deep: { n: 2 } } },
});
const facts = { info, request: block({ 'x-team': 'red', 'user-agent': 'curl/8' }), response: block({ 'x-b': '1' }), trailers: undefined };
const holds = (expression: string): boolean => compileCel(expression, 'expression')(facts);

describe('holds', () => {
  for (const expression of [
    'response.code >= 400',
    'response.code >= 400 && response.code < 600 || false',
    'request.method == \'GET\' && request.url_path.startsWith("/orders/")',
    "request.path.contains('?full') && request.query == 'full=1'",
    "request.headers['x-team'] == 'red'",
    "request.headers['X-Team'] == 'red' || request.headers[':path'].endsWith('1')",
    "'x-team' in request.headers && !('x-none' in request.headers)",
    "has(request.headers.x) == false && has(request.headers['x-team'].x) == false",
    "request.useragent.matches('^curl/[0-9]+$')",
    "request.useragent.matches('url')",
    'request.duration > duration("1s") && request.duration <= duration("1.5s")',
    'response.size + 2 * 3 == 46',
    '7 / 2 == 3 && 7 % 2 == 1 && 7.0 / 2.5 > 2.7',
    'response.code in [500, 503]',
    "metadata.filter_metadata['own'].user == 'ann' && metadata.filter_metadata.own.deep.n == 2",
    "xds.cluster_name == 'outbound|80||a' && source.port == 4711",
    "size(request.method) == 3 && int('7') == 7",
    "response.code == 503 ? request.method == 'GET' : false",
    '!connection.mtls',
    'response.grpc_status == 14',
    "response.headers['x-b'] == '1'",
    'timestamp("1970-01-01T00:00:01Z") == request.time',
    "r'a\\b' == 'a\\\\b' && \"\\u0061\" == 'a' // why not",
    'true || request.headers["none"] == "x"',
    'request.headers["none"] == "x" || true',
    '-response.code < 0 && --1 == 1',
  ])
    test(expression, () => assert.equal(holds(expression), true));
});

describe('does not hold', () => {
  for (const expression of [
    'response.code < 400',
    "request.headers['none'] == 'x'",
    "request.headers['none'] != 'x'",
    "!(request.headers['none'] == 'x')",
    'request.headers["none"] == "x" || false',
    'nothing == 1',
    'nothing.here != 1',
    'response.nothing == 1',
    'response.code',
    "'true'",
    "response.code < 'a'",
    '1 / 0 == 1',
    'response.grpc_status == 0',
    "'a' + 'b' == 'ab'",
    'constructor.name == "x" || request.constructor == 1 || request.headers.constructor == 1',
  ])
    test(expression, () => assert.equal(holds(expression), false));
});

describe('refused', () => {
  for (const expression of [
    '',
    'response.code >=',
    '(1',
    '1 2',
    "'open",
    'frobnicate(1)',
    'size()',
    'string(1)',
    'request.path.matches(request.method)',
    "request.path.matches('(a')",
    '[1].all(x, x > 0)',
    'xds.node == 1',
    'xds.listener_direction == 1',
    `${'('.repeat(100)}1${')'.repeat(100)}`,
    `${'!'.repeat(100)}true`,
    `1${' + 1'.repeat(2_000)}`,
  ])
    test(expression.slice(0, 40) || 'nothing', () => assert.throws(() => compileCel(expression, 'expression'), PlanError));
});

describe('what a label or a log says', () => {
  const told = new StreamInfo();
  Object.assign(told, {
    path: '/a',
    method: 'GET',
    responseCode: 503,
    startTime: 1_767_323_045_678.901,
    firstUpstreamTxByte: 1_767_323_045_680.151,
    lastUpstreamTxByte: 1_767_323_045_681,
    firstUpstreamRxByte: 1_767_323_045_684.5,
    upstreamClusterRaw: 'outbound|80||a',
    upstreamCluster: 'a',
    virtualHostMetadata: { filter_metadata: { own: { vh: 1 } } },
    upstreamLocality: { locality: { region: 'r', zone: 'z' }, metadata: { filter_metadata: { own: { near: true } } } },
    downstreamTransportFailureReason: 'TLS_error',
    filterState: { 'wasm.own': 'kept', peer: { name: 'n' } },
    upstreamFilterState: { up: 'u' },
  });
  told.setFlag(FLAG.UF);
  told.setFlag(FLAG.URX);
  const of = { info: told, request: block({ 'x-tag': '1' }), response: undefined, trailers: undefined };
  of.request.add('x-tag', '2');
  const place = {
    node: { id: 'n1', metadata: { LABELS: { app: 'web' } }, locality: { zone: 'own' } },
    direction: 2,
    stateOf: (key: string) => (key === 'peer' ? { service: 's' } : undefined),
  };
  const VALUES: readonly (readonly [string, string])[] = [
    ['response.flags', String(2 ** 5 + 2 ** 15)],
    ['response.flags >= 32 ? "bad" : "good"', 'bad'],
    ['response.backend_latency', '3.5ms'],
    ['upstream.cx_pool_ready_duration', '1.25ms'],
    ['request.time', '2026-01-02T03:04:05.678901+00:00'],
    ['timestamp("2026-01-02T03:04:05Z")', '2026-01-02T03:04:05+00:00'],
    ['duration("1h2m3.5s")', '1h2m3.5s'],
    ['duration("90m")', '1h30m'],
    ['duration("0s")', '0'],
    ['duration("7us")', '7us'],
    ['connection.transport_failure_reason', 'TLS_error'],
    ['upstream.locality.zone', 'z'],
    ["xds.upstream_host_locality_metadata.filter_metadata['own'].near", 'true'],
    ["xds.virtual_host_metadata.filter_metadata['own'].vh", '1'],
    ['xds.cluster_name', 'outbound|80||a'],
    ['xds.node.id', 'n1'],
    ["xds.node.metadata['LABELS'].app", 'web'],
    ['xds.node.locality.zone', 'own'],
    ['xds.listener_direction', '2'],
    ['xds.listener_direction == 2 && has(xds.node.id)', 'true'],
    ["filter_state['wasm.own']", 'kept'],
    ['filter_state.peer.service', 's'],
    ["'peer' in filter_state", 'true'],
    ["upstream_filter_state['up']", 'u'],
    ["request.headers['x-tag']", '1,2'],
    ['1234567.5', '1.23457e+06'],
    ['0.00001234', '1.234e-05'],
    ['1.5 + 2.25', '3.75'],
    ['[1]', 'CelList value'],
    ['request', 'CelMap value'],
  ];
  for (const [expression, expected] of VALUES)
    test(expression, () => {
      assert.equal(celText(compileCelOperand(expression, 'at', place)(of)), expected);
      assert.equal(celText(compileCelValue(parseCel(expression, 'at'), 'at', place)(of)), expected);
    });
  for (const expression of ['xds.none', 'none', 'filter_state.none', 'upstream_filter_state.none', 'response.none'])
    test(`nothing: ${expression}`, () => assert.equal(compileCelOperand(expression, 'at', place)(of), undefined));
});
