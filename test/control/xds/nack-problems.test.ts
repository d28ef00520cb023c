// Refusals of proxies, told of the objects that caused them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PIPELINE } from '../../../src/control/pipeline.ts';
import { nackProblems } from '../../../src/control/xds/nack-problems.ts';
import { encode } from '../../../src/xds/codec.ts';
import { type Content, contentOf } from '../../../src/xds/content.ts';

const rule = (name: string): string =>
  `apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata:\n  name: ${name}\n  namespace: shop\nspec: {host: ${name}}\n`;
const objects = PIPELINE.parseDocuments('rules.yaml', `${rule('pay')}---\n${rule('cart')}`, {}).resources;

const cluster = (name: string, from: string) => ({
  name,
  version: '1',
  bytes: encode('envoy.config.cluster.v3.Cluster', {
    name,
    metadata: { filter_metadata: { istio: { config: `/apis/networking.istio.io/v1/namespaces/shop/destination-rule/${from}` } } },
  }),
});
const clusters: Content = contentOf(
  new Map([cluster('outbound|80||pay', 'pay'), cluster('outbound|80||cart', 'cart')].map((c) => [c.name, c])),
);

test('a refusal that names a resource is told where its object is written, once for all proxies that say it', () => {
  const message = 'Error adding/updating cluster(s) outbound|80||cart: bad';
  const [problem, ...more] = nackProblems(
    ['a.shop', 'b.shop', 'c.shop'].map((proxy) => ({ proxy, type: 'CDS', message, content: clusters })),
    objects,
  );
  assert.deepEqual(more, []);
  assert.deepEqual([problem?.file, problem?.line, problem?.severity], ['rules.yaml', 11, 'error']);
  assert.equal(problem?.message, `a.shop and 2 more refused what was made of this: CDS: ${message}`);
});

test('a refusal of two resources is told at the object of each', () => {
  const both = 'Error adding/updating cluster(s) outbound|80||cart: bad, outbound|80||pay: bad';
  const problems = nackProblems([{ proxy: 'a.shop', type: 'CDS', message: both, content: clusters }], objects);
  assert.deepEqual(
    problems.map((p) => p.line),
    [11, 4],
  );
});

test('a refusal without a known cause blames no object', () => {
  for (const message of ['out of memory', '', 'Error adding/updating cluster(s) outbound|80||cart2: bad']) {
    const [problem, ...more] = nackProblems([{ proxy: 'a.shop', type: 'CDS', message, content: clusters }], objects);
    assert.deepEqual([problem?.file, problem?.code, more], ['', 'REFUSED_BY_PROXY', []]);
  }
});

const mesh = `
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: second-chain, namespace: shop}
spec:
  configPatches:
  - applyTo: CLUSTER
    patch: {operation: MERGE, value: {connect_timeout: 1s}}
  - applyTo: LISTENER
    match: {context: SIDECAR_INBOUND}
    patch: {operation: MERGE, value: {filter_chains: [{filters: []}]}}
  - applyTo: NETWORK_FILTER
    match: {context: GATEWAY, listener: {filterChain: {filter: {name: a.b}}}}
    patch: {operation: MERGE, value: {name: a.b}}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens, namespace: shop}
spec:
  jwtRules:
  - {issuer: a.test, jwksUri: "https://a.test/keys"}
  - {issuer: b.test, jwksUri: "https://b.test/keys"}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: only-get, namespace: shop}
spec: {action: DENY, rules: [{to: [{operation: {methods: [POST]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: elsewhere, namespace: other}
spec: {action: DENY, rules: [{to: [{operation: {methods: [POST]}}]}]}
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: logs, namespace: shop}
spec: {accessLogging: [{filter: {expression: "response.code >= 400"}}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: door, namespace: shop}
spec:
  selector: {app: gate}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}
  - {port: {number: 443, name: https, protocol: HTTPS}, tls: {mode: SIMPLE, credentialName: door-cert}, hosts: ["*"]}
  - {port: {number: 9443, name: tcp, protocol: TCP}, bind: 10.0.0.9, hosts: ["*"]}
`;

const meshObjects = PIPELINE.parseDocuments('mesh.yaml', mesh, {}).resources;
const config = PIPELINE.parseMeshConfig('mesh', '');
assert.ok(config.ok);
const { snapshot } = PIPELINE.buildSnapshot({ resources: [...meshObjects], instances: [], meshConfig: config.value.config });

const refusedBy = (kind: string, name: string, message: string, labels: Readonly<Record<string, string>> = {}, type = 'LDS') => {
  const node = PIPELINE.parseNode({ id: `${kind}~10.0.0.1~a.shop~shop.svc.cluster.local`, metadata: { LABELS: labels } });
  assert.ok(node);
  const bytes = encode('envoy.config.listener.v3.Listener', { name });
  const content = contentOf(new Map(['other', name].map((n) => [n, { name: n, version: '1', bytes }])));
  return nackProblems([{ proxy: 'a.shop', type, message, content, by: { node, snapshot, applied: undefined } }], meshObjects);
};

const lineOf = (text: string): number => mesh.slice(0, mesh.indexOf(text)).split('\n').length;

const INBOUND = 'Error adding/updating listener(s) virtualInbound: ';
const CASES: readonly (readonly [string, string, string, string, string])[] = [
  [
    'a patch',
    'sidecar',
    'virtualInbound',
    `${INBOUND}error adding listener '0.0.0.0:15006': multiple filter chains with overlapping matching rules are defined`,
    '- applyTo: LISTENER',
  ],
  ['a patch of which no word is said', 'sidecar', 'virtualInbound', `${INBOUND}it will not do`, '- applyTo: LISTENER'],
  [
    'a token rule',
    'sidecar',
    'virtualInbound',
    `${INBOUND}Provider 'origins-1' in jwt_authn config has invalid local jwks: Jwks RSA [n] or [e] field is missing or has a parse error`,
    '- {issuer: b.test',
  ],
  [
    'an authorization policy',
    'sidecar',
    'virtualInbound',
    `${INBOUND}rbac: bad matcher in ns[shop]-policy[only-get]-rule[0]`,
    'metadata: {name: only-get',
  ],
  [
    'telemetry',
    'sidecar',
    '0.0.0.0_80',
    'Error adding/updating listener(s) 0.0.0.0_80: access log filter: CEL failed',
    'metadata: {name: logs',
  ],
  [
    'a server of a gateway',
    'router',
    '0.0.0.0_443',
    'Error adding/updating listener(s) 0.0.0.0_443: Failed to load incomplete private key',
    '- {port: {number: 443',
  ],
  [
    'an address that a gateway binds',
    'router',
    '10.0.0.9_9443',
    "Error adding/updating listener(s) 10.0.0.9_9443: cannot bind '10.0.0.9:9443': Cannot assign requested address",
    '- {port: {number: 9443',
  ],
];

for (const [what, kind, name, message, at] of CASES) {
  test(`a refusal that comes of ${what} is told there, with who else took part`, () => {
    const [problem, ...more] = refusedBy(kind, name, message, { app: 'gate' });
    assert.deepEqual(more, []);
    assert.deepEqual([problem?.file, problem?.line], ['mesh.yaml', lineOf(at)]);
    assert.match(
      problem?.hint ?? '',
      what === 'telemetry' ? /^the proxy runs on with what it had$/ : /it may also come of .* \(mesh\.yaml:\d+\)/,
    );
    assert.doesNotMatch(problem?.hint ?? '', /elsewhere/);
  });
}

test('a patch that changed nothing in the proxy is not blamed', () => {
  const node = PIPELINE.parseNode({ id: 'sidecar~10.0.0.1~a.shop~shop.svc.cluster.local' });
  assert.ok(node);
  const bytes = encode('envoy.config.listener.v3.Listener', { name: 'virtualInbound' });
  const content = contentOf(new Map([['virtualInbound', { name: 'virtualInbound', version: '1', bytes }]]));
  const by = { node, snapshot, applied: new Set<never>() };
  const [problem] = nackProblems([{ proxy: 'a.shop', type: 'LDS', message: `${INBOUND}bad`, content, by }], meshObjects);
  assert.doesNotMatch(`${problem?.path} ${problem?.hint}`, /configPatches|second-chain/);
});
