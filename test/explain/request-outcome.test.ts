// Logged requests: lines of both formats are read alike, and each way of ending is told with the object, file and line behind it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type LoggedRequest, readAccessLine } from '../../src/explain/access-line.ts';
import { type Explanation, explainRequest } from '../../src/explain/request-outcome.ts';
import { flagMeaning, flagMeanings } from '../../src/explain/response-flags.ts';
import { NOW_S, shop } from './shop.ts';

const policy = (name: string, spec: string): string => `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ${name}, namespace: production }
spec: ${spec}
---
`;

const POLICIES = `${policy('no-delete', '{ action: DENY, rules: [{ to: [{ operation: { methods: [DELETE] } }] }] }')}${policy(
  'order-only',
  '{ selector: { matchLabels: { app: payment } }, rules: [{ from: [{ source: { principals: ["*/sa/order"] } }] }] }',
)}apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: payment, namespace: production }
spec:
  hosts: [payment]
  http:
    - name: pay
      match: [{ uri: { prefix: /pay } }]
      timeout: 1s
      retries: { attempts: 2 }
      fault: { abort: { httpStatus: 503, percentage: { value: 10 } } }
      route: [{ destination: { host: payment } }]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: payment, namespace: production }
spec:
  host: payment
  trafficPolicy:
    connectionPool: { http: { http1MaxPendingRequests: 1 } }
  subsets:
    - { name: v2, labels: { version: v2 } }
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: { name: tokens, namespace: production }
spec:
  jwtRules:
    - { issuer: "https://a", jwksUri: "https://a/keys" }
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: strict, namespace: production }
spec: { mtls: { mode: STRICT } }
`;

const MESH = shop(POLICIES);
const addressOf = (name: string): string => MESH.instances.find((i) => i.workload === name)?.address ?? '';

const base: LoggedRequest = {
  proxy: 'payment-0.production',
  time: '2027-01-15T08:00:00.000Z',
  method: 'POST',
  path: '/pay',
  authority: 'payment',
  code: 403,
  flags: [],
  details: '',
  termination: '',
  transportFailure: '',
  requestId: 'r',
  route: '',
  cluster: 'inbound|8080||',
  upstream: '',
  local: `${addressOf('payment')}:8080`,
  remote: `${addressOf('web')}:40000`,
  sni: 'outbound_.80_._.payment.production.svc.cluster.local',
  forwardedFor: '',
  userAgent: '',
  durationMs: 1,
};

const told = (fields: Partial<LoggedRequest>): Explanation => explainRequest(MESH, { ...base, ...fields }, NOW_S);
const place = ({ decidedBy: by }: Explanation): string =>
  by === undefined ? '' : `${by.kind} ${by.name} ${by.path} ${by.file}:${by.line}`;
const OUT = { proxy: 'web-0.production', cluster: 'outbound|80||payment.production.svc.cluster.local', sni: '' } as const;

test('a policy that is named in the details is found with its line', () => {
  const e = told({ details: 'rbac_access_denied_matched_policy[ns[production]-policy[no-delete]-rule[0]]' });
  assert.equal(place(e), 'AuthorizationPolicy no-delete spec.rules[0] policies.yaml:4');
  const gone = told({ details: 'rbac_access_denied_matched_policy[ns[production]-policy[deleted]-rule[1]]' });
  assert.match(gone.outcome, /rule 1 of AuthorizationPolicy production\/deleted, which is gone/);
});

test('when no policy matched, the nearest rule is found from what the log tells', () => {
  const e = told({ details: 'rbac_access_denied_matched_policy[none]' });
  assert.equal(place(e), 'AuthorizationPolicy order-only spec.rules[0] policies.yaml:9');
  assert.equal(e.nearest?.missed[0]?.got, 'cluster.local/ns/production/sa/web');
  assert.match(e.assumptions.join('\n'), /the caller at .* is web-0.production/);
  assert.match(e.assumptions.join('\n'), /headers and tokens are not in the log/);
  const stranger = told({ details: 'rbac_access_denied_matched_policy[none]', remote: '192.0.2.9:1', sni: '' });
  assert.match(stranger.assumptions.join('\n'), /nobody of the mesh has the address 192.0.2.9/);
  const changed = told({ details: 'rbac_access_denied_matched_policy[none]', remote: `${addressOf('order')}:1` });
  assert.match(changed.outcome, /the configuration of now lets the request in/);
});

test('refusals of connections, of tokens, and of authorizers', () => {
  const tcp = { method: '', path: '', authority: '', code: 0, cluster: '' } as const;
  const closed = told({ ...tcp, termination: 'rbac_access_denied_matched_policy[ns[production]-policy[no-delete]-rule[0]]' });
  assert.equal(closed.side, 'inbound');
  assert.equal(place(closed), 'AuthorizationPolicy no-delete spec.rules[0] policies.yaml:4');
  const token = told({ code: 401, details: 'jwt_authn_access_denied{Jwt_verification_fails}' });
  assert.equal(place(token), 'RequestAuthentication tokens spec.jwtRules[0] policies.yaml:39');
  assert.match(token.outcome, /Jwt verification fails/);
  assert.match(told({ details: 'ext_authz_denied', flags: ['UAEX'] }).outcome, /external authorizer refused/);
  const plain = told({ ...tcp, flags: ['NR'], details: 'filter_chain_not_found' });
  assert.equal(place(plain), 'PeerAuthentication strict spec.mtls.mode policies.yaml:44');
});

test('what routing made of a request leads to its VirtualService, DestinationRule or Service', () => {
  const cases: readonly (readonly [Partial<LoggedRequest>, RegExp, string])[] = [
    [
      { ...OUT, code: 404, flags: ['NR'], details: 'route_not_found', cluster: '' },
      /no route for payment\/pay/,
      'VirtualService payment  policies.yaml:11',
    ],
    [
      { ...OUT, code: 503, flags: ['UO'], details: 'overflow' },
      /circuit breaker/,
      'DestinationRule payment spec.trafficPolicy.connectionPool policies.yaml:30',
    ],
    [
      { ...OUT, code: 504, flags: ['UT'], details: 'response_timeout', route: 'pay' },
      /did not answer in time/,
      'VirtualService payment spec.http[0].timeout policies.yaml:19',
    ],
    [
      { ...OUT, code: 503, flags: ['URX', 'UF'], route: 'pay' },
      /all attempts/,
      'VirtualService payment spec.http[0].retries policies.yaml:20',
    ],
    [
      { ...OUT, code: 503, flags: ['FI'], details: 'fault_filter_abort', route: 'pay' },
      /on purpose/,
      'VirtualService payment spec.http[0].fault policies.yaml:21',
    ],
    [
      { ...OUT, code: 503, flags: ['UH'], cluster: 'outbound|80|v2|payment.production.svc.cluster.local' },
      /no usable host in subset v2/,
      'DestinationRule payment spec.subsets[0] policies.yaml:32',
    ],
  ];
  for (const [fields, outcome, where] of cases) {
    const e = told(fields);
    assert.match(e.outcome, outcome);
    assert.equal(place(e), where);
    assert.equal(e.flags[0]?.flag, fields.flags?.[0]);
  }
  const passed = told({ ...OUT, details: 'via_upstream' });
  assert.deepEqual([passed.passedOn, passed.side], [true, 'outbound']);
});

const TEXT_LINE =
  '[2027-01-15T08:00:00.000Z] "POST /pay HTTP/1.1" 403 - rbac_access_denied_matched_policy[none] - "-" 0 19 3 - "-" "curl/8 \\"x\\"" "r" "payment" "-" inbound|8080|| - 10.0.0.2:8080 10.0.0.1:4000 outbound_.80_._.payment.production.svc.cluster.local default';
const JSON_LINE = JSON.stringify({
  start_time: '2027-01-15T08:00:00.000Z',
  method: 'POST',
  path: '/pay',
  response_code: 403,
  response_flags: '-',
  response_code_details: 'rbac_access_denied_matched_policy[none]',
  connection_termination_details: null,
  upstream_transport_failure_reason: null,
  duration: 3,
  x_forwarded_for: null,
  user_agent: 'curl/8 \\"x\\"',
  request_id: 'r',
  authority: 'payment',
  upstream_host: null,
  upstream_cluster: 'inbound|8080||',
  downstream_local_address: '10.0.0.2:8080',
  downstream_remote_address: '10.0.0.1:4000',
  requested_server_name: 'outbound_.80_._.payment.production.svc.cluster.local',
  route_name: 'default',
});

test('a line of either format is the same request', () => {
  const text = readAccessLine(TEXT_LINE, 'p.ns');
  assert.deepEqual(text, readAccessLine(JSON_LINE, 'p.ns'));
  assert.equal(text?.details, 'rbac_access_denied_matched_policy[none]');
  const connection = readAccessLine(
    '[2027-01-15T08:00:00.000Z] "- - -" 0 NR filter_chain_not_found - "-" 0 0 0 - "-" "-" "-" "-" "-" - - 10.0.0.2:8080 10.0.0.1:4000 - -',
    'p.ns',
  );
  assert.deepEqual([connection?.flags, connection?.details, connection?.method], [['NR'], 'filter_chain_not_found', '']);
  assert.equal(readAccessLine('2027-01-15T08:00:00.000Z info agent ready', 'p.ns'), undefined);
  assert.equal(readAccessLine('{"level":"info"}', 'p.ns'), undefined);
});

test('every flag has a meaning, a cause and a next step', () => {
  for (const { flag, meaning, cause, next } of flagMeanings) assert.ok(meaning !== '' && cause !== '' && next.startsWith('skein '), flag);
  assert.equal(flagMeaning('uf')?.flag, 'UF');
  assert.equal(flagMeaning('NoRouteFound')?.flag, 'NR');
  assert.equal(flagMeaning('7ab1f0e2'), undefined);
});
