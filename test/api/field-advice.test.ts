// What has no effect, or is refused, says what to do instead.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseMeshConfig } from '../../src/api/mesh-config/mesh-config.ts';
import { parseDocuments } from '../../src/api/parse-documents.ts';
import { meshConfig } from '../../src/api/schema/mesh-config.ts';
import type { Schema } from '../../src/api/schema/schema.ts';
import { meshConfigSupport } from '../../src/api/support/mesh-config-support.ts';
import { expandBraces } from '../../src/api/support/support-path.ts';

const supported = meshConfigSupport.supported.flatMap(expandBraces);
const covered = (path: string): boolean =>
  supported.some((p) => p === path || (p.endsWith('.**') && `${path}.`.startsWith(p.slice(0, -2))));
const begun = (path: string): boolean => supported.some((p) => p.startsWith(`${path}.`));

const idle = (schema: Schema, path: string): readonly string[] => {
  let of = schema;
  while (of.kind === 'list' || of.kind === 'map') of = of.of;
  if (path !== '' && covered(path)) return [];
  if (path !== '' && !begun(path)) return [path];
  return of.kind === 'message'
    ? Object.entries(of.fields).flatMap(([name, field]) => idle(field, path === '' ? name : `${path}.${name}`))
    : [path];
};

test('every key of MeshConfig that has no effect says what takes its place', () => {
  const advised = new Set((meshConfigSupport.warned ?? []).map((n) => n.path));
  // A provider is not asked for curves: refused on reading.
  const silent = idle(meshConfig, '').filter((path) => !advised.has(path) && path !== 'meshMTLS.ecdhCurves');
  assert.deepEqual(silent, []);
  const read = parseMeshConfig('m.yaml', 'ingressClass: nginx\ndefaultConfig: {proxyStatsMatcher: {inclusionPrefixes: [a]}}');
  assert.ok(read.ok);
  assert.deepEqual(
    read.value.problems.map((p) => `${p.line} ${p.path}: ${p.message}`),
    [
      '1 ingressClass: field "ingressClass" of MeshConfig has no effect: Kubernetes Ingress is not read; write a Gateway and a VirtualService',
      "2 defaultConfig.proxyStatsMatcher: is for Envoy: Skein's own proxy does without it",
    ],
  );
});

const problemsOf = (kind: string, group: string, spec: string): readonly string[] =>
  parseDocuments('f.yaml', `apiVersion: ${group}\nkind: ${kind}\nmetadata: {name: x, namespace: n}\nspec: ${spec}`).problems.map(
    (p) => `${p.severity} ${p.message}`,
  );

test('fields of objects that do nothing in Istio either are taken with a warning', () => {
  const server = "{servers: [{port: {number: 80, protocol: HTTP, name: h}, hosts: ['*'], defaultEndpoint: '127.0.0.1:80'}]}";
  assert.deepEqual(problemsOf('Gateway', 'networking.istio.io/v1', server), [
    'warning 127.0.0.1:80: has no effect, as in Istio: route to the endpoint with a VirtualService',
  ]);
});

test('fields of a Service that nothing here can serve say what can', () => {
  const found = problemsOf('Service', 'v1', '{externalIPs: [1.2.3.4], loadBalancerSourceRanges: [10.0.0.0/8], ports: [{port: 80}]}');
  assert.ok(
    found.some((m) => m.includes('write a ServiceEntry')),
    found.join('\n'),
  );
  assert.ok(found.some((m) => m.includes('write an AuthorizationPolicy')));
});

test('a Service as a cluster shows it is taken; what does nothing here is told', () => {
  const spec =
    '{type: LoadBalancer, loadBalancerIP: 192.0.2.1, loadBalancerClass: a/b, externalIPs: [192.0.2.2], sessionAffinity: ClientIP, ' +
    'sessionAffinityConfig: {clientIP: {timeoutSeconds: 10800}}, internalTrafficPolicy: Cluster, externalTrafficPolicy: Local, ports: [{port: 80, name: http}]}';
  const found = problemsOf('Service', 'v1', spec);
  assert.equal(found.length, 5, found.join('\n'));
  for (const line of found) assert.match(line, /^warning /);
});
