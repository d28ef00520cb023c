// Ten kinds of seeded denials, and what is near them: each answer names the object, the file and the line that decided.

import assert from 'node:assert/strict';
import { generateKeyPairSync, sign } from 'node:crypto';
import { test } from 'node:test';
import { checkAuthz } from '../../src/explain/authz-check.ts';
import { ask, NOW_S, shop } from './shop.ts';

const CHARGE = { from: 'order', to: 'payment:80', method: 'POST', path: '/charge' } as const;

const policy = (name: string, spec: string, namespace = 'production'): string => `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ${name}, namespace: ${namespace} }
spec:
${spec}
---
`;

const place = (answer: ReturnType<typeof ask>): string => {
  const { decidedBy: by } = answer;
  return by === undefined ? 'nobody' : `${by.kind} ${by.namespace}/${by.name} ${by.path} ${by.file}:${by.line}`;
};

test('a DENY rule is named with its line', () => {
  const mesh = shop(
    policy(
      'no-web',
      `  action: DENY
  rules:
    - to: [{ operation: { methods: [DELETE] } }]
    - from: [{ source: { principals: ["cluster.local/ns/production/sa/web"] } }]`,
    ),
  );
  const answer = ask(mesh, { ...CHARGE, from: 'web' });
  assert.equal(answer.verdict, 'denied');
  assert.equal(answer.decidedBy?.action, 'DENY');
  assert.equal(place(answer), 'AuthorizationPolicy production/no-web spec.rules[1] policies.yaml:8');
  assert.equal(answer.answer, 'HTTP 403 "RBAC: access denied"');
  assert.equal(ask(mesh, CHARGE).verdict, 'allowed');
});

const PAYMENT = policy(
  'payment-policy',
  `  selector: { matchLabels: { app: payment } }
  rules:
    - from: [{ source: { principals: ["cluster.local/ns/production/sa/order"] } }]
      to: [{ operation: { methods: [POST], paths: [/charge] } }]
    - from:
        - source:
            namespaces: [staging]
      to: [{ operation: { methods: [GET], paths: [/health] } }]`,
);

test('when no ALLOW rule matches, the nearest one is told with what it misses', () => {
  const mesh = shop(PAYMENT);
  const wrongMethod = ask(mesh, { ...CHARGE, method: 'PUT' });
  assert.equal(place(wrongMethod), 'AuthorizationPolicy production/payment-policy spec.rules[0] policies.yaml:7');
  assert.deepEqual(
    wrongMethod.nearest?.missed.map((m) => [m.path, m.line, m.wanted, m.got]),
    [['spec.rules[0].to[0].operation.methods', 8, ['POST'], 'PUT']],
  );
  const stranger = ask(mesh, { from: 'web', to: 'payment:80', path: '/health' });
  assert.equal(place(stranger), 'AuthorizationPolicy production/payment-policy spec.rules[1] policies.yaml:9');
  assert.deepEqual(
    stranger.nearest?.missed.map((m) => [m.path, m.line, m.wanted, m.got]),
    [['spec.rules[1].from[0].source.namespaces', 11, ['staging'], 'production']],
  );
  assert.equal(ask(mesh, CHARGE).verdict, 'allowed');
  assert.equal(place(ask(mesh, CHARGE)), 'AuthorizationPolicy production/payment-policy spec.rules[0] policies.yaml:7');
});

test('deny-all is a policy without rules', () => {
  const mesh = shop(policy('deny-all', '  {}'));
  const answer = ask(mesh, CHARGE);
  assert.equal(place(answer), 'AuthorizationPolicy production/deny-all  policies.yaml:1');
  assert.match(answer.reason, /allows nothing/);
});

test('a policy of the root namespace is named where it is written', () => {
  const answer = ask(
    shop(policy('mesh-wide', '  action: DENY\n  rules: [{ from: [{ source: { notNamespaces: [production] } }] }]', 'istio-system')),
    {
      ...CHARGE,
      from: 'tester',
    },
  );
  assert.equal(place(answer), 'AuthorizationPolicy istio-system/mesh-wide spec.rules[0] policies.yaml:6');
});

test('a policy by namespace says which namespace was seen', () => {
  const answer = ask(shop(policy('own', '  rules:\n    - from: [{ source: { namespaces: [production] } }]')), {
    ...CHARGE,
    from: 'tester',
  });
  assert.equal(place(answer), 'AuthorizationPolicy production/own spec.rules[0] policies.yaml:6');
  assert.equal(answer.nearest?.missed[0]?.got, 'staging');
});

test('a policy by port looks at the port of the application', () => {
  const mesh = shop(policy('ports', '  rules:\n    - to: [{ operation: { ports: ["8080"] } }]'));
  assert.equal(ask(mesh, CHARGE).verdict, 'allowed');
  const answer = ask(mesh, { ...CHARGE, to: 'payment:9000' });
  assert.equal(place(answer), 'AuthorizationPolicy production/ports spec.rules[0] policies.yaml:6');
  assert.deepEqual(
    answer.nearest?.missed.map((m) => [m.wanted, m.got]),
    [[['8080'], '9000']],
  );
});

test('path templates decide as in the proxy, on the path as it is normalised', () => {
  const mesh = shop(policy('templates', '  rules:\n    - to: [{ operation: { paths: ["/orders/{*}/items"] } }]'));
  assert.equal(ask(mesh, { ...CHARGE, path: '/orders/7/items?all' }).verdict, 'allowed');
  assert.equal(ask(mesh, { ...CHARGE, path: '/x/../orders/7/items' }).verdict, 'allowed');
  const answer = ask(mesh, { ...CHARGE, path: '/orders/7/8/items?secret=1' });
  assert.equal(place(answer), 'AuthorizationPolicy production/templates spec.rules[0] policies.yaml:6');
  assert.equal(answer.nearest?.missed[0]?.got, '/orders/7/8/items');
});

const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const JWKS = JSON.stringify({ keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'k', alg: 'RS256' }] });

const token = (claims: object, tampered = false): string => {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${part({ alg: 'RS256', kid: 'k' })}.${part(claims)}`;
  const signature = sign('sha256', Buffer.from(tampered ? `${text}x` : text), privateKey);
  return `${text}.${signature.toString('base64url')}`;
};

const JWT_RULES = `apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: { name: tokens, namespace: production }
spec:
  jwtRules:
    - issuer: https://other.example
      jwks: '${JWKS}'
    - issuer: https://issuer.example
      audiences: [api]
      jwks: '${JWKS}'
---
${policy('needs-token', '  rules:\n    - from: [{ source: { requestPrincipals: ["https://issuer.example/*"] } }]\n      when: [{ key: "request.auth.claims[group]", values: [admin] }]')}`;

const CLAIMS = { iss: 'https://issuer.example', sub: 'me', aud: 'api', group: 'admin', exp: NOW_S + 600 };

test('a missing token is told by the policy that asks for a request principal', () => {
  const answer = ask(shop(JWT_RULES), CHARGE);
  assert.equal(place(answer), 'AuthorizationPolicy production/needs-token spec.rules[0] policies.yaml:17');
  assert.deepEqual(
    answer.nearest?.missed.map((m) => [m.path, m.line, m.got]),
    [
      ['spec.rules[0].from[0].source.requestPrincipals', 17, undefined],
      ['spec.rules[0].when[0].values', 18, undefined],
    ],
  );
});

test('a token is verified, and its refusal names the rule of its issuer', () => {
  const mesh = shop(JWT_RULES);
  assert.equal(ask(mesh, { ...CHARGE, token: token(CLAIMS) }).verdict, 'allowed');
  const cases: readonly (readonly [string, string])[] = [
    [token(CLAIMS, true), 'HTTP 401 "Jwt verification fails"'],
    [token({ ...CLAIMS, exp: NOW_S - 600 }), 'HTTP 401 "Jwt is expired"'],
    [token({ ...CLAIMS, aud: 'web' }), 'HTTP 403 "Audiences in Jwt are not allowed"'],
  ];
  for (const [text, said] of cases) {
    const answer = ask(mesh, { ...CHARGE, token: text });
    assert.equal(answer.answer, said);
    assert.equal(place(answer), 'RequestAuthentication production/tokens spec.jwtRules[1] policies.yaml:8');
    assert.ok(!JSON.stringify(answer).includes(text), 'the token is not told');
  }
  const unknown = ask(mesh, { ...CHARGE, token: token({ ...CLAIMS, iss: 'https://nobody.example' }) });
  assert.equal(unknown.answer, 'HTTP 401 "Jwt issuer is not configured"');
  assert.equal(unknown.decidedBy?.kind, 'RequestAuthentication');
});

test('claims alone stand for a token that is valid', () => {
  const mesh = shop(JWT_RULES);
  assert.equal(ask(mesh, { ...CHARGE, claims: CLAIMS }).verdict, 'allowed');
  const answer = ask(mesh, { ...CHARGE, claims: { ...CLAIMS, group: 'guest' } });
  assert.deepEqual(
    answer.nearest?.missed.map((m) => [m.path, m.wanted, m.got]),
    [['spec.rules[0].when[0].values', ['admin'], 'guest']],
  );
  assert.match(answer.assumptions.join('\n'), /signed by a key of its issuer/);
});

const CUSTOM = policy(
  'ask-login',
  '  action: CUSTOM\n  provider: { name: login }\n  rules:\n    - to: [{ operation: { paths: ["/admin*"] } }]',
);
const LOGIN = 'extensionProviders: [{ name: login, envoyExtAuthzHttp: { service: order.production.svc.cluster.local, port: 80 } }]\n';

test('a CUSTOM rule says which authorizer is asked, and denies where it cannot be', () => {
  const asked = ask(shop(CUSTOM, LOGIN), { ...CHARGE, path: '/admin/x' });
  assert.equal(asked.verdict, 'external');
  assert.match(asked.reason, /external authorizer login/);
  assert.equal(place(asked), 'AuthorizationPolicy production/ask-login spec.rules[0] policies.yaml:8');
  assert.equal(ask(shop(CUSTOM, LOGIN), CHARGE).verdict, 'allowed');
  const broken = ask(shop(CUSTOM), { ...CHARGE, path: '/admin/x' });
  assert.equal(broken.verdict, 'denied');
  assert.match(broken.reason, /cannot be asked/);
  assert.equal(place(broken), 'AuthorizationPolicy production/ask-login spec.rules[0] policies.yaml:8');
});

test('a connection is decided without what only requests have', () => {
  const mesh = shop(
    policy(
      'redis-policy',
      '  selector: { matchLabels: { app: redis } }\n  rules:\n    - from: [{ source: { principals: ["*/sa/order"] } }]',
    ) + policy('http-only', '  selector: { matchLabels: { app: redis } }\n  rules:\n    - to: [{ operation: { methods: [GET] } }]'),
  );
  assert.equal(ask(mesh, { from: 'order', to: 'redis' }).verdict, 'allowed');
  const answer = ask(mesh, { from: 'web', to: 'redis' });
  assert.equal(answer.answer, 'the connection is closed');
  assert.equal(answer.destination.reads, 'tcp');
  assert.equal(place(answer), 'AuthorizationPolicy production/redis-policy spec.rules[0] policies.yaml:7');
  assert.match(answer.assumptions.join('\n'), /not read as HTTP/);
});

test('a STRICT port resets a source without mutual TLS, and the PeerAuthentication is named', () => {
  const strict = `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: production }
spec:
  mtls:
    mode: STRICT
`;
  const mesh = shop(strict);
  const answer = ask(mesh, { ...CHARGE, from: 'stranger' });
  assert.equal(place(answer), 'PeerAuthentication production/default spec.mtls.mode policies.yaml:6');
  assert.match(answer.answer, /reset/);
  assert.equal(ask(mesh, CHARGE).verdict, 'allowed');
  assert.equal(ask(mesh, { ...CHARGE, plaintext: true }).verdict, 'denied');
});

test('policies on trial decide nothing', () => {
  const tried = policy('tried', '  action: DENY\n  rules: [{}]').replace(
    'namespace: production }',
    'namespace: production, annotations: { istio.io/dry-run: "true" } }',
  );
  assert.equal(ask(shop(tried), CHARGE).verdict, 'allowed');
});

test('several trust domains and a principal that is said, not looked up', () => {
  const mesh = shop(PAYMENT, 'trustDomainAliases: [old.example]\n');
  assert.equal(
    ask(mesh, { to: 'payment:80', method: 'POST', path: '/charge', principal: 'old.example/ns/production/sa/order' }).verdict,
    'allowed',
  );
  assert.equal(
    ask(mesh, { to: 'payment:80', method: 'POST', path: '/charge', namespace: 'production', serviceAccount: 'order' }).verdict,
    'allowed',
  );
  assert.equal(
    ask(mesh, { to: 'payment:80', method: 'POST', path: '/charge', principal: 'new.example/ns/production/sa/order' }).verdict,
    'denied',
  );
});

test('what cannot be found is said', () => {
  const mesh = shop('');
  const problem = (query: Parameters<typeof ask>[1]): string => {
    const answer = checkAuthz(mesh, query, NOW_S);
    return answer.ok ? 'answered' : answer.error;
  };
  assert.match(problem({ to: 'nowhere' }), /no service "nowhere"/);
  assert.match(problem({ to: 'payment' }), /has the ports 80, 9000/);
  assert.match(problem({ to: 'payment:1' }), /has no port 1/);
  assert.match(problem({ to: 'order', from: 'nobody' }), /no workload "nobody"/);
  assert.match(problem({ to: 'order', from: 'web', principal: 'a/ns/b/sa/c' }), /not both/);
});
