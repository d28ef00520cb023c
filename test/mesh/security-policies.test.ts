// Which policies govern a workload, where keys for tokens come from, and mutual TLS at all levels.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ofKind } from '../../src/api/resource.ts';
import { buildAuthorization, isDryRun } from '../../src/mesh/authorization.ts';
import { type KeySets, keySourceOf, keysOf } from '../../src/mesh/key-sets.ts';
import { buildPeerAuthentication, modeForPort } from '../../src/mesh/peer-authentication.ts';
import { buildRequestAuthentication, keySources } from '../../src/mesh/request-authentication.ts';
import { buildSnapshot } from '../../src/mesh/snapshot.ts';
import { meshConfigOf, resourcesOf } from '../translate/mesh-fixture.ts';

const ROOT = 'istio-system';

const policy = (namespace: string, name: string, spec: string, metadata = ''): string =>
  `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: ${name}, namespace: ${namespace}${metadata}}\nspec: ${spec}\n---\n`;

const allowing = (yaml: string, labels: Readonly<Record<string, string>> = { app: 'a' }, namespace = 'shop'): readonly string[] =>
  buildAuthorization(ofKind(resourcesOf(yaml), 'AuthorizationPolicy'), ROOT)
    .forWorkload({ namespace, labels })
    .allow.map((p) => `${p.namespace}/${p.name}`);

test('a workload is governed by the policies of the root namespace, then of its own, whose selectors all match', () => {
  const yaml =
    policy('shop', 'all', '{}') +
    policy('shop', 'mine', '{selector: {matchLabels: {app: a}}}') +
    policy('shop', 'half', '{selector: {matchLabels: {app: a, version: v1}}}') +
    policy('other', 'foreign', '{}') +
    policy(ROOT, 'mesh', '{}') +
    policy(ROOT, 'everywhere', '{selector: {matchLabels: {app: a}}}');
  assert.deepEqual(allowing(yaml), [`${ROOT}/everywhere`, `${ROOT}/mesh`, 'shop/all', 'shop/mine']);
  assert.deepEqual(allowing(yaml, { app: 'b' }), [`${ROOT}/mesh`, 'shop/all']);
});

test('in the root namespace a policy counts once', () => {
  assert.deepEqual(allowing(policy(ROOT, 'mesh', '{}'), {}, ROOT), [`${ROOT}/mesh`]);
});

test('a policy that names a gateway governs that gateway of its own namespace alone', () => {
  const target = (name: string, kind = 'Gateway', group = 'gateway.networking.k8s.io'): string =>
    `{group: ${group}, kind: ${kind}, name: ${name}}`;
  const yaml =
    policy('shop', 'one', `{targetRef: ${target('gw')}}`) +
    policy('shop', 'several', `{targetRefs: [${target('other')}, ${target('gw')}]}`) +
    policy('shop', 'another', `{targetRefs: [${target('other')}]}`) +
    policy('shop', 'service', `{targetRefs: [${target('gw', 'Service', "''")}]}`) +
    policy(ROOT, 'class', `{targetRefs: [${target('gw')}]}`);
  const gateway = { 'gateway.networking.k8s.io/gateway-name': 'gw' };
  assert.deepEqual(allowing(yaml, gateway), ['shop/one', 'shop/several']);
  assert.deepEqual(allowing(yaml, { app: 'a' }), [], 'workloads that are no gateway are not meant');
});

test('only the words for yes put a policy on trial', () => {
  const trial = (value: string): boolean =>
    ofKind(resourcesOf(policy('shop', 'p', '{}', `, annotations: {istio.io/dry-run: "${value}"}`)), 'AuthorizationPolicy').some(isDryRun);
  for (const yes of ['true', 'True', 'TRUE', 't', 'T', '1']) assert.equal(trial(yes), true, yes);
  for (const no of ['false', '0', 'yes', '', 'tRue', ' true']) assert.equal(trial(no), false, no);
});

const authentication = (namespace: string, name: string, rules: string, rest = ''): string =>
  `apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: ${name}, namespace: ${namespace}}\nspec: {${rest}jwtRules: [${rules}]}\n---\n`;

test('token rules of all policies of a workload are taken together, by issuer', () => {
  const yaml =
    authentication('shop', 'a', '{issuer: z, jwks: k}, {issuer: b, jwks: k}') +
    authentication('shop', 'b', '{issuer: a, jwks: k}', 'selector: {matchLabels: {app: a}}, ') +
    authentication('shop', 'c', '{issuer: y, jwks: k}', 'selector: {matchLabels: {app: other}}, ') +
    authentication(ROOT, 'd', '{issuer: c, jwks: k}');
  const index = buildRequestAuthentication(ofKind(resourcesOf(yaml), 'RequestAuthentication'), ROOT);
  const issuers = (labels: Readonly<Record<string, string>>) => index.rulesFor({ namespace: 'shop', labels }).map((r) => r.issuer);
  assert.deepEqual(issuers({ app: 'a' }), ['a', 'b', 'c', 'z']);
  assert.deepEqual(issuers({ app: 'b' }), ['b', 'c', 'z']);
});

test('keys are given with the rule, fetched from its address, or found through its issuer', () => {
  const sets = { known: new Map([['keys https://a/k', 'fetched']]), failed: new Map(), refusing: 'nobody' };
  assert.equal(keySourceOf({ issuer: 'i', jwks: 'inline' }), undefined);
  assert.equal(keysOf({ issuer: 'i', jwks: 'inline' }, sets), 'inline');
  assert.equal(keysOf({ issuer: 'i', jwksUri: 'https://a/k' }, sets), 'fetched');
  assert.equal(keysOf({ issuer: 'i', jwksUri: 'https://b/k' }, sets), 'nobody', 'keys that are not known refuse every token');
  assert.deepEqual(keySourceOf({ issuer: 'https://i/' }), {
    id: 'issuer https://i',
    url: 'https://i/.well-known/openid-configuration',
    discovery: true,
    timeout: '5s',
  });
});

test('one address is fetched once, with the longest of its timeouts', () => {
  const yaml = authentication(
    'shop',
    'a',
    '{jwksUri: "http://k/1", timeout: 7s}, {jwksUri: "http://k/1"}, {jwksUri: "http://k/2"}, {issuer: x, jwks: k}',
  );
  const sources = keySources(ofKind(resourcesOf(yaml), 'RequestAuthentication'));
  assert.deepEqual(
    sources.map((s) => [s.url, s.timeout]),
    [
      ['http://k/1', '7s'],
      ['http://k/2', '5s'],
    ],
  );
});

const peers = (yaml: string) => buildPeerAuthentication(ofKind(resourcesOf(yaml), 'PeerAuthentication'), ROOT);
const peer = (namespace: string, name: string, spec: string, created = '2024-01-01T00:00:00Z'): string =>
  `apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: ${name}, namespace: ${namespace}, creationTimestamp: '${created}'}\nspec: ${spec}\n---\n`;

test('mutual TLS: the narrowest level that says something decides, and a port goes before its workload', () => {
  const mesh = peer(ROOT, 'mesh', '{mtls: {mode: STRICT}}');
  const unset = peer('shop', 'ns', '{mtls: {mode: UNSET}}');
  const workload = peer(
    'shop',
    'w',
    '{selector: {matchLabels: {app: a}}, mtls: {mode: PERMISSIVE}, portLevelMtls: {8080: {mode: DISABLE}, 9000: {mode: UNSET}}}',
  );
  const a = peers(mesh + unset + workload).forWorkload('shop', { app: 'a' });
  assert.deepEqual([modeForPort(a, 80), modeForPort(a, 8080), modeForPort(a, 9000)], ['PERMISSIVE', 'DISABLE', 'PERMISSIVE']);
  assert.equal(peers(mesh + unset + workload).forWorkload('shop', { app: 'b' }).mode, 'STRICT', 'UNSET inherits');
  assert.equal(peers('').forWorkload('shop', {}).mode, 'PERMISSIVE', 'nothing said');
  assert.equal(peers(workload).forNamespace('shop'), undefined, 'a client infers nothing from policies of workloads');
});

test('mutual TLS: of two policies at one level the older is in force', () => {
  const yaml = peer('shop', 'a', '{mtls: {mode: DISABLE}}', '2024-02-01T00:00:00Z') + peer('shop', 'b', '{mtls: {mode: STRICT}}');
  assert.equal(peers(yaml).forWorkload('shop', {}).mode, 'STRICT');
});

test('mutual TLS: a policy of the root namespace that selects workloads has no effect', () => {
  const yaml = peer(ROOT, 'w', '{selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}}');
  assert.equal(peers(yaml).forWorkload('shop', { app: 'a' }).mode, 'PERMISSIVE');
  assert.equal(peers(yaml).forWorkload(ROOT, { app: 'a' }).mode, 'PERMISSIVE');
});

const told = (yaml: string, mesh: Readonly<Record<string, unknown>> = {}, keySets?: KeySets): readonly string[] => {
  const input = { resources: resourcesOf(yaml), instances: [], meshConfig: meshConfigOf({ ...mesh }) };
  return buildSnapshot(keySets === undefined ? input : { ...input, keySets }).problems.map((p) => `${p.severity} ${p.code} ${p.path}`);
};

test('policies that do not take effect as they read are told', () => {
  assert.deepEqual(told(peer(ROOT, 'w', '{selector: {matchLabels: {app: a}}}')), ['warning PEER_AUTHENTICATION_NO_EFFECT spec.selector']);
  const same = (name: string): string => peer('shop', name, '{selector: {matchLabels: {a: b, c: d}}}');
  assert.deepEqual(told(same('x') + same('y')), ['warning PEER_AUTHENTICATION_SHADOWED spec']);
  assert.deepEqual(told(same('x') + peer('shop', 'y', '{}') + peer('other', 'z', '{}')), []);
});

test('a certificate for a port whose mutual TLS is on is told', () => {
  const sidecar = `apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: s, namespace: shop}
spec:
  workloadSelector: {labels: {app: a}}
  ingress:
    - port: {number: 9080, protocol: HTTPS, name: https}
      defaultEndpoint: 127.0.0.1:8080
      tls: {mode: SIMPLE, serverCertificate: /c, privateKey: /k}
---
`;
  const unused = ['warning SERVER_TLS_UNUSED spec.ingress[0].tls'];
  assert.deepEqual(told(sidecar), unused);
  assert.deepEqual(told(sidecar + peer('shop', 'p', '{mtls: {mode: STRICT}}')), unused);
  assert.deepEqual(told(sidecar + peer('shop', 'p', '{mtls: {mode: DISABLE}}')), []);
  const ofPort = '{selector: {matchLabels: {app: a, version: v1}}, portLevelMtls: {9080: {mode: DISABLE}}}';
  assert.deepEqual(told(sidecar + peer('shop', 'p', ofPort)), [], 'for some of its workloads it is off');
  assert.deepEqual(told(sidecar + peer('other', 'p', ofPort)), unused);
});

const ask = (provider: string, name: string, labels = '{}', rest = ''): string =>
  policy('shop', name, `{selector: {matchLabels: ${labels}}, action: CUSTOM, provider: {name: ${provider}}, rules: [{}]}`, rest);

test('authorizers that cannot be asked are told with what follows', () => {
  const mesh = {
    extensionProviders: ['a', 'b'].map((name) => ({ name, envoyExtAuthzHttp: { service: 'shop/x.shop.svc.cluster.local', port: 80 } })),
  };
  const service = 'apiVersion: v1\nkind: Service\nmetadata: {name: x, namespace: shop}\nspec: {ports: [{port: 80}]}\n---\n';
  assert.deepEqual(told(service + ask('a', 'p'), mesh), []);
  assert.deepEqual(told(ask('a', 'p'), mesh), ['warning AUTHORIZER_UNUSABLE spec.provider.name'], 'no such service');
  assert.deepEqual(told(service + ask('c', 'p'), mesh), ['warning AUTHORIZER_UNUSABLE spec.provider.name'], 'no such provider');
  assert.deepEqual(
    told(service + ask('a', 'p') + ask('b', 'q', '{app: a}'), mesh),
    Array(2).fill('warning AUTHORIZERS_SEVERAL spec.provider.name'),
  );
  assert.deepEqual(told(service + ask('a', 'p', '{app: b}') + ask('b', 'q', '{app: a}'), mesh), [], 'no workload has both');
  assert.deepEqual(told(service + ask('a', 'p', '{}', ', annotations: {istio.io/dry-run: "true"}'), mesh), [
    'warning DRY_RUN_DENIES metadata.annotations',
  ]);
});

test('keys that cannot be had are told at the rule', () => {
  const yaml = authentication('shop', 'a', '{issuer: i, jwks: k}, {issuer: "http://i"}, {jwksUri: "http://k"}');
  const keySets = {
    known: new Map(),
    failed: new Map([
      ['issuer http://i', 'down'],
      ['keys http://k', 'down'],
    ]),
    refusing: '{}',
  };
  assert.deepEqual(told(yaml, {}, keySets), [
    'warning KEYS_MISSING spec.jwtRules[1].issuer',
    'warning KEYS_MISSING spec.jwtRules[2].jwksUri',
  ]);
  const leftOut = new Map([['keys http://k', 'key #0: kty is missing']]);
  const partly = { known: new Map([['keys http://k', '{}']]), failed: new Map(), leftOut, refusing: '{}' };
  assert.deepEqual(told(yaml, {}, partly), ['warning KEYS_UNREADABLE spec.jwtRules[2].jwksUri']);
  assert.deepEqual(told(yaml), [], 'nobody has tried yet');
});
