// Which rule, of several that could have, made of a request what its log line says; each of these was once answered with another line.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LoggedRequest } from '../../src/explain/access-line.ts';
import { type Explanation, explainRequest } from '../../src/explain/request-outcome.ts';
import { NOW_S, shop } from './shop.ts';

const LINE: LoggedRequest = {
  proxy: 'web-0.production',
  time: '2027-01-15T08:00:00.000Z',
  method: 'GET',
  path: '/',
  authority: 'payment',
  code: 503,
  flags: [],
  details: '',
  termination: '',
  transportFailure: '',
  requestId: 'r',
  route: '',
  cluster: 'outbound|80||payment.production.svc.cluster.local',
  upstream: '',
  local: '10.96.0.9:80',
  remote: '10.0.0.1:40000',
  sni: '',
  forwardedFor: '',
  userAgent: '',
  durationMs: 1,
};

const told = (policies: string, fields: Partial<LoggedRequest>, meshConfig?: string): Explanation =>
  explainRequest(shop(policies, meshConfig), { ...LINE, ...fields }, NOW_S);
const place = ({ decidedBy: by }: Explanation): string => (by === undefined ? '' : `${by.kind} ${by.name} ${by.path} :${by.line}`);

const ABORTS = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: payment, namespace: production }
spec:
  hosts: [payment]
  http:
    - match: [{ uri: { prefix: /a } }]
      fault: { abort: { httpStatus: 500, percentage: { value: 100 } } }
      route: [{ destination: { host: payment } }]
    - match: [{ uri: { prefix: /b }, method: { exact: GET } }, { queryParams: { b: { exact: "1" } } }]
      fault: { abort: { httpStatus: 501, percentage: { value: 100 } } }
      route: [{ destination: { host: payment } }]
    - match: [{ uri: { prefix: /c }, headers: { x-tester: { exact: "1" } } }]
      fault: { abort: { httpStatus: 502, percentage: { value: 100 } } }
      route: [{ destination: { host: payment } }]
    - match: [{ uri: { prefix: /d } }]
      redirect: { uri: /e }
    - match: [{ uri: { prefix: /f } }]
      directResponse: { status: 418 }
    - name: last
      fault: { abort: { httpStatus: 503, percentage: { value: 100 } } }
      route: [{ destination: { host: payment } }]
`;

test('of rules without names, the one whose conditions take the request is named', () => {
  const abort = { flags: ['FI'], details: 'fault_filter_abort' } as const;
  for (const [fields, where] of [
    [{ path: '/a/1', ...abort }, 'spec.http[0].fault :8'],
    [{ path: '/b', ...abort }, 'spec.http[1].fault :11'],
    [{ path: '/x?b=1', ...abort }, 'spec.http[1].fault :11'],
    [{ path: '/b', method: 'PUT', ...abort }, 'spec.http[5].fault :21'],
    [{ path: '/other', ...abort }, 'spec.http[5].fault :21'],
    [{ path: '/a', route: 'last', ...abort }, 'spec.http[5].fault :21'],
    [{ path: '/d', code: 301, details: 'direct_response', cluster: '' }, 'spec.http[3].redirect :17'],
    [{ path: '/f', code: 418, details: 'direct_response', cluster: '' }, 'spec.http[4].directResponse :19'],
  ] as const)
    assert.equal(place(told(ABORTS, fields)), `VirtualService payment ${where}`, JSON.stringify(fields));
});

test('where headers decide, which the log does not hold, the other rules that may have are told', () => {
  const { decidedBy, related } = told(ABORTS, { path: '/c', flags: ['FI'], details: 'fault_filter_abort', code: 502 });
  assert.equal(decidedBy?.path, 'spec.http[2].fault');
  assert.deepEqual(
    related.map((r) => r.path),
    ['spec.http[5].fault'],
  );
  // Its status is that of the other one.
  assert.equal(told(ABORTS, { path: '/c', flags: ['FI'], details: 'fault_filter_abort', code: 503 }).decidedBy?.path, 'spec.http[5].fault');
});

const FAULT = 'fault: { abort: { httpStatus: 503, percentage: { value: 100 } } }';
const ROUTE = 'route: [{ destination: { host: payment } }]';

test('an exact host goes before a wildcard, and a rule of a gateway is not one of sidecars', () => {
  const text = (name: string, host: string, more = ''): string =>
    `apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: ${name}, namespace: production }\nspec:\n  hosts: ["${host}"]\n${more}  http: [{ ${FAULT}, ${ROUTE} }]\n---\n`;
  const policies = [
    text('a-gateway', 'payment', '  gateways: [edge]\n'),
    text('b-wild', '*.production.svc.cluster.local'),
    text('c-exact', 'payment'),
  ];
  const e = told(policies.join(''), { flags: ['FI'], details: 'fault_filter_abort' });
  assert.deepEqual([e.decidedBy?.name, e.related.length], ['c-exact', 0]);
});

test('at a gateway the rules of gateways count', () => {
  const policies = `apiVersion: skein.dev/v1
kind: Workload
metadata: { name: gate, namespace: production, labels: { app: gate }, annotations: { inject.istio.io/templates: gateway } }
spec: { serviceAccount: gate, ports: [{ name: http, port: 8080 }] }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: inside, namespace: production }
spec:
  hosts: [shop.example.com]
  http: [{ ${FAULT}, ${ROUTE} }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: outside, namespace: production }
spec:
  hosts: ["*.example.com"]
  gateways: [edge]
  http:
    - match: [{ uri: { prefix: /a } }]
      ${FAULT}
      ${ROUTE}
    - match: [{ uri: { prefix: /b } }]
      ${FAULT}
      ${ROUTE}
`;
  const at = { proxy: 'gate-0.production', authority: 'shop.example.com:8443' } as const;
  const fault = told(policies, { ...at, path: '/b', flags: ['FI'], details: 'fault_filter_abort' });
  assert.deepEqual([fault.side, place(fault), fault.related.length], ['gateway', 'VirtualService outside spec.http[1].fault :24', 0]);
  const none = told(policies, { ...at, path: '/c', code: 404, flags: ['NR'], details: 'route_not_found', cluster: '' });
  assert.equal(place(none), 'VirtualService outside  :13');
});

test('a fault of a delegate is found in the delegate', () => {
  const policies = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: root, namespace: production }
spec:
  hosts: [payment]
  http:
    - match: [{ uri: { prefix: /pay } }]
      delegate: { name: part }
    - ${ROUTE}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: part, namespace: production }
spec:
  http:
    - match: [{ uri: { prefix: /pay/a } }]
      ${ROUTE}
    - match: [{ uri: { prefix: /pay/b } }]
      ${FAULT}
      ${ROUTE}
`;
  const e = told(policies, { path: '/pay/b', flags: ['FI'], details: 'fault_filter_abort' });
  assert.equal(place(e), 'VirtualService part spec.http[1].fault :19');
});

test('a timeout of one attempt is that of the retries', () => {
  const policies = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: payment, namespace: production }
spec:
  hosts: [payment]
  http:
    - timeout: 9s
      retries: { attempts: 1, perTryTimeout: 1s }
      ${ROUTE}
`;
  const e = told(policies, { code: 504, flags: ['UT'], details: 'upstream_per_try_timeout' });
  assert.equal(place(e), 'VirtualService payment spec.http[0].retries :8');
  assert.equal(
    place(told(policies, { code: 504, flags: ['UT'], details: 'response_timeout' })),
    'VirtualService payment spec.http[0].timeout :7',
  );
});

const BREAKERS = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: wide, namespace: production }
spec:
  host: "*.production.svc.cluster.local"
  trafficPolicy:
    connectionPool: { http: { http1MaxPendingRequests: 1 } }
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: payment, namespace: production }
spec:
  host: payment
  trafficPolicy:
    connectionPool: { http: { http1MaxPendingRequests: 1 } }
    outlierDetection: { consecutive5xxErrors: 1, maxEjectionPercent: 100 }
    portLevelSettings:
      - port: { number: 9000 }
        connectionPool: { http: { http1MaxPendingRequests: 2 } }
  subsets:
    - name: v2
      labels: { version: v2 }
    - name: all
      labels: { app: payment }
      trafficPolicy:
        connectionPool: { tcp: { maxConnections: 1 } }
`;

test('a circuit breaker is that of the subset, the port or the rule that the client uses', () => {
  for (const [cluster, where] of [
    ['outbound|80||payment.production.svc.cluster.local', 'payment spec.trafficPolicy.connectionPool :15'],
    ['outbound|9000||payment.production.svc.cluster.local', 'payment spec.trafficPolicy.portLevelSettings[0].connectionPool :19'],
    ['outbound|80|all|payment.production.svc.cluster.local', 'payment spec.subsets[1].trafficPolicy.connectionPool :26'],
    ['outbound|80|v2|payment.production.svc.cluster.local', 'payment spec.trafficPolicy.connectionPool :15'],
    ['outbound|80||order.production.svc.cluster.local', 'wide spec.trafficPolicy.connectionPool :7'],
  ] as const)
    assert.equal(place(told(BREAKERS, { flags: ['UO'], details: 'overflow', cluster })), `DestinationRule ${where}`, cluster);
});

test('no host is left: the labels of a subset, the outlier detection, or the Service', () => {
  const none = { flags: ['UH'], details: 'no_healthy_upstream' } as const;
  const of = (cluster: string, policies = BREAKERS) => place(told(policies, { ...none, cluster }));
  assert.equal(of('outbound|80|v2|payment.production.svc.cluster.local'), 'DestinationRule payment spec.subsets[0] :21');
  assert.equal(
    of('outbound|80|all|payment.production.svc.cluster.local'),
    'DestinationRule payment spec.trafficPolicy.outlierDetection :16',
  );
  assert.match(of('outbound|80||order.production.svc.cluster.local'), /^Service order {2}:\d+$/);
  assert.match(
    of('outbound|80||lonely.production.svc.cluster.local', `${BREAKERS}---\n${LONELY}`),
    /^Service lonely {2}:\d+$/,
    'without endpoints nothing was ejected',
  );
});

const LONELY = `apiVersion: v1
kind: Service
metadata: { name: lonely, namespace: production }
spec: { selector: { app: lonely }, ports: [{ name: http, port: 80 }] }
`;

const SIDECAR = `apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: web, namespace: production }
spec:
  workloadSelector: { labels: { app: web } }
  outboundTrafficPolicy: { mode: REGISTRY_ONLY }
  egress:
    - hosts: ["./order.production.svc.cluster.local"]
`;

test('what a Sidecar does not import is refused by it: over HTTP and over TCP', () => {
  const blocked = { code: 502, details: 'direct_response', route: 'block_all', cluster: '' } as const;
  const e = told(SIDECAR, blocked);
  assert.equal(place(e), 'Sidecar web spec.egress[0].hosts :8');
  assert.match(e.outcome, /payment is not among what web-0.production may call/);
  assert.deepEqual(
    e.related.map((r) => r.path),
    ['spec.outboundTrafficPolicy'],
  );
  const unknown = told(SIDECAR, { ...blocked, authority: 'example.com' });
  assert.equal(place(unknown), 'Sidecar web spec.outboundTrafficPolicy :6');
  assert.match(unknown.hint, /ServiceEntry/);
  const tcp = {
    method: '',
    path: '',
    authority: '',
    code: 0,
    flags: ['UH'],
    cluster: 'BlackHoleCluster',
    local: '192.0.2.1:6379',
  } as const;
  assert.equal(place(told(SIDECAR, tcp)), 'Sidecar web spec.outboundTrafficPolicy :6');
  const mesh = told('', { ...blocked, authority: 'example.com' }, 'outboundTrafficPolicy: { mode: REGISTRY_ONLY }');
  assert.equal(mesh.decidedBy, undefined);
  assert.match(mesh.outcome, /mesh settings.*REGISTRY_ONLY/);
});

const CUSTOM = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: first, namespace: production }
spec:
  selector: { matchLabels: { app: payment } }
  action: CUSTOM
  provider: { name: checker }
  rules: [{ to: [{ operation: { paths: [/never] } }] }]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: second, namespace: production }
spec:
  selector: { matchLabels: { app: payment } }
  action: CUSTOM
  provider: { name: checker }
  rules:
    - to: [{ operation: { paths: [/nothing] } }]
    - to: [{ operation: { paths: [/pay] } }]
`;
const CHECKER = 'extensionProviders: [{ name: checker, envoyExtAuthzHttp: { service: order.production.svc.cluster.local, port: 80 } }]';

test('of several CUSTOM policies the rule that had the authorizer asked is named', () => {
  const address = shop(CUSTOM, CHECKER).instances.find((i) => i.workload === 'payment')?.address ?? '';
  const inbound = { proxy: 'payment-0.production', cluster: 'inbound|8080||', path: '/pay', code: 403, flags: ['UAEX'] } as const;
  const e = told(CUSTOM, { ...inbound, details: 'ext_authz_denied', local: `${address}:8080` }, CHECKER);
  assert.equal(place(e), 'AuthorizationPolicy second spec.rules[1] :19');
});

const TOKENS = `apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: { name: tokens, namespace: production }
spec:
  jwtRules:
    - { issuer: "https://a", jwksUri: "https://a/keys" }
    - { issuer: "https://b", audiences: [shop], jwksUri: "https://b/keys" }
`;

test('a wrong audience is that of a rule that asks for one', () => {
  const inbound = { proxy: 'payment-0.production', cluster: 'inbound|8080||', code: 403 } as const;
  const e = told(TOKENS, { ...inbound, details: 'jwt_authn_access_denied{Audiences_in_Jwt_are_not_allowed}' });
  assert.equal(place(e), 'RequestAuthentication tokens spec.jwtRules[1] :7');
  assert.equal(e.related.length, 0);
});

test('a caller that speaks plain text to a STRICT port is told by its own rule', () => {
  const policies = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: plain, namespace: production }
spec:
  host: payment
  trafficPolicy:
    tls: { mode: DISABLE }
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: strict, namespace: production }
spec: { mtls: { mode: STRICT } }
`;
  for (const flags of [['UC'], ['UF'], ['URX', 'UF']] as const) {
    const e = told(policies, { flags });
    assert.equal(place(e), 'DestinationRule plain spec.trafficPolicy.tls :7', flags.join());
    assert.deepEqual(
      e.related.map((r) => `${r.kind} ${r.name} ${r.path}`),
      ['PeerAuthentication strict spec.mtls.mode'],
    );
  }
});
