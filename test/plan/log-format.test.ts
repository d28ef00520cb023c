// Access log lines as Envoy writes them.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { compileLogFormat, compileSubstitutionFormat } from '../../src/plan/log-format.ts';
import { PlanError } from '../../src/plan/plan-error.ts';
import { FLAG } from '../../src/plan/response-flag.ts';
import { StreamInfo } from '../../src/plan/stream-info.ts';
import { block, info } from './request.ts';

const exchange = (): StreamInfo =>
  info({
    method: 'GET',
    path: '/a?b=1&c=x%20y',
    authority: 'svc:80',
    scheme: 'http',
    protocol: 'HTTP/1.1',
    startTime: Date.UTC(2026, 0, 31, 12, 5, 9, 123),
    lastDownstreamRxByte: Date.UTC(2026, 0, 31, 12, 5, 9, 125),
    firstUpstreamRxByte: Date.UTC(2026, 0, 31, 12, 5, 9, 133),
    lastDownstreamTxByte: Date.UTC(2026, 0, 31, 12, 5, 9, 143),
    endTime: Date.UTC(2026, 0, 31, 12, 5, 9, 144),
    responseCode: 200,
    responseCodeDetails: 'via_upstream',
    bytesReceived: 5,
    bytesSent: 7,
    upstreamHost: '10.0.0.9:8080',
    upstreamCluster: 'outbound|80||svc',
    upstreamClusterRaw: 'outbound|80||svc',
    upstreamRequestAttemptCount: 1,
    downstreamRemoteAddress: '[::1]:4000',
    dynamicMetadata: { f: { k: { n: 1 }, s: 'x' } },
    downstreamTls: {
      version: 'TLSv1.3',
      cipher: 'TLS_AES_256_GCM_SHA384',
      sessionId: '',
      validated: true,
      local: undefined,
      peer: {
        subject: 'CN=x',
        issuer: 'O=ca',
        uriSans: ['spiffe://td/ns/a/sa/b', 'spiffe://td/2'],
        dnsSans: [],
        ipSans: [],
        emailSans: [],
        serial: 'ab',
        sha256Fingerprint: 'ff',
        sha1Fingerprint: 'ee',
        pem: 'PEM',
        notBefore: Date.UTC(2026, 0, 1),
        notAfter: Date.UTC(2027, 0, 1),
      },
    },
  });
const req = block({ 'user-agent': 'curl', 'x-request-id': '0123456789', 'x-utf8': Buffer.from('grün').toString('latin1') });
const resp = block({ 'x-envoy-upstream-service-time': '3' });
const text = (format: string, i = exchange(), omit = false): string => compileLogFormat({ text: format }, omit)(i, req, resp);

describe('text', () => {
  const cases: [string, string][] = [
    ['%START_TIME%', '2026-01-31T12:05:09.123Z'],
    ['%START_TIME(%Y/%m/%dT%H:%M:%S%z %s.%3f)%', '2026/01/31T12:05:09+0000 1769861109.123'],
    ['%START_TIME(%s%6f)%', '1769861109123000'],
    ['%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%', 'GET /a?b=1&c=x%20y HTTP/1.1'],
    ['%REQ(:AUTHORITY)%|%REQ(NONE)%|%REQ(none?user-agent)%', 'svc:80|-|curl'],
    ['%REQ(X-REQUEST-ID):4%', '0123'],
    ['%REQ(X-UTF8)%', 'grün'],
    ['%REQ_WITHOUT_QUERY(:PATH)%', '/a'],
    ['%QUERY_PARAM(c)%', 'x y'],
    ['%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%', '3'],
    ['%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%', '200 - via_upstream'],
    ['%DURATION% %REQUEST_DURATION% %RESPONSE_DURATION% %RESPONSE_TX_DURATION%', '21 2 10 10'],
    ['%COMMON_DURATION(DS_RX_BEG:DS_RX_END:us)%', '2000'],
    ['%COMMON_DURATION(DS_RX_BEG:US_CX_END)%', '-'],
    ['%UPSTREAM_HOST% %UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %UPSTREAM_REMOTE_PORT%', '10.0.0.9:8080 10.0.0.9 8080'],
    ['%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_REMOTE_PORT%', '[::1]:4000 ::1 4000'],
    ['%DOWNSTREAM_PEER_URI_SAN% %DOWNSTREAM_PEER_SUBJECT% %DOWNSTREAM_LOCAL_SUBJECT%', 'spiffe://td/ns/a/sa/b,spiffe://td/2 CN=x -'],
    ['%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_PEER_CERT_V_START%', 'TLSv1.3 2026-01-01T00:00:00.000Z'],
    ['%DYNAMIC_METADATA(f:k)% %DYNAMIC_METADATA(f:k:n)% %DYNAMIC_METADATA(g)%', '{"n":1} 1 -'],
    ['%METADATA(DYNAMIC:f:s)%', 'x'],
    ['100%% %BYTES_SENT%\n', '100% 7\n'],
    ['%CONNECTION_TERMINATION_DETAILS% %UPSTREAM_TRANSPORT_FAILURE_REASON%', '- -'],
  ];
  for (const [format, want] of cases) test(JSON.stringify(format), () => assert.equal(text(format), want));

  test('empty values may be left out', () => assert.equal(text('[%REQ(NONE)%]', exchange(), true), '[]'));

  test('flags stand in the order in which they were set', () => {
    const i = exchange();
    i.setFlag(FLAG.URX);
    i.setFlag(FLAG.UF);
    i.setFlag(FLAG.URX);
    assert.equal(text('%RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG%', i), 'URX,UF UpstreamRetryLimitExceeded,UpstreamConnectionFailure');
    i.reset();
    assert.equal(text('%RESPONSE_FLAGS% %RESPONSE_CODE% %UPSTREAM_HOST%', i), '- 0 -');
    assert.deepEqual({ ...i }, { ...new StreamInfo() });
  });

  test('the default format', () => {
    assert.equal(
      compileSubstitutionFormat(undefined)(exchange(), req, resp),
      '[2026-01-31T12:05:09.123Z] "GET /a?b=1&c=x%20y HTTP/1.1" 200 - 5 7 21 3 "-" "curl" "0123456789" "svc:80" "10.0.0.9:8080"\n',
    );
  });
});

describe('json', () => {
  const json = (format: object, omit = false): string => compileLogFormat({ json: format as never }, omit)(exchange(), req, resp);
  test('types, order, nesting', () => {
    assert.equal(
      json({
        z: '%DURATION%',
        a: '%REQ(NONE)%',
        m: { b: '%RESPONSE_CODE%', a: 'lit%%' },
        both: '%BYTES_SENT%/%REQ(NONE)%',
        o: '%DYNAMIC_METADATA(f:k)%',
        l: ['%PROTOCOL%', 1, true, null],
      }),
      '{"a":null,"both":"7/-","l":["HTTP/1.1",1,true,null],"m":{"a":"lit%","b":200},"o":{"n":1},"z":21}\n',
    );
  });
  test('strings are escaped', () => {
    const i = exchange();
    i.path = '/"\\\n';
    assert.deepEqual(JSON.parse(compileLogFormat({ json: { p: '%REQ(:PATH)%' } }, false)(i, req, resp)), { p: '/"\\\n' });
  });
  test('empty values may be left out', () => assert.equal(json({ a: '%REQ(NONE)%', b: '%PROTOCOL%' }, true), '{"b":"HTTP/1.1"}\n'));
});

test('unknown operators and arguments are refused by field', () => {
  for (const format of [
    '%NOPE%',
    '%REQ%',
    '%REQ(a?b?c)%',
    '%PROTOCOL(x)%',
    '%START_TIME(%Q)%',
    '%COMMON_DURATION(A)%',
    '%',
    '%req(a)%',
    '%DYNAMIC_METADATA()%',
    'a % b',
  ])
    assert.throws(() => text(format), PlanError, format);
  assert.throws(
    () => compileLogFormat({ json: { a: { b: '%NOPE%' } } }, false, 'x'),
    (e) => e instanceof PlanError && e.path === 'x.a.b',
  );
});

test('reset leaves nothing behind, in any field', () => {
  const dirty = new StreamInfo();
  for (const key of Object.keys(dirty)) {
    const value: unknown = Reflect.get(dirty, key);
    Reflect.set(dirty, key, Array.isArray(value) ? ['left'] : typeof value === 'object' && value !== null ? { left: 1 } : 'left');
  }
  dirty.setFlag(FLAG.UT);
  dirty.reset();
  assert.deepEqual({ ...dirty }, { ...new StreamInfo() });
  assert.deepEqual([dirty.hasAnyFlag(), dirty.flagsShort(), dirty.flagsLong()], [false, '', '']);
});
