// Expressions of access log filters: what they mean, what has no value, what is refused.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { compileCel } from '../../src/plan/cel/compile.ts';
import { PlanError } from '../../src/plan/plan-error.ts';
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
    'response.flags == 0',
    'xds.node == 1',
    `${'('.repeat(100)}1${')'.repeat(100)}`,
    `${'!'.repeat(100)}true`,
    `1${' + 1'.repeat(2_000)}`,
  ])
    test(expression.slice(0, 40) || 'nothing', () => assert.throws(() => compileCel(expression, 'expression'), PlanError));
});
