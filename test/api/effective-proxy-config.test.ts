// What proxies are started with: whose word counts for a workload, and what an annotation may say.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { effectiveProxyConfig } from '../../src/api/mesh-config/effective-proxy-config.ts';
import { parseDocuments } from '../../src/api/parse-documents.ts';
import { ofKind } from '../../src/api/resource.ts';

const config = (name: string, namespace: string, spec: string, created = '2026-01-01T00:00:00Z'): string => `---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: ${name}, namespace: ${namespace}, creationTimestamp: "${created}"}
spec: ${spec}
`;

const workload = (annotation = ''): string => `---
apiVersion: skein.dev/v1
kind: Workload
metadata:
  name: w
  namespace: shop
  labels: {app: w}
${annotation === '' ? '' : `  annotations:\n    proxy.istio.io/config: |\n      ${annotation}\n`}spec: {command: [x]}
`;

const effective = (yaml: string, defaults = {}) => {
  const { resources, problems } = parseDocuments('f.yaml', yaml);
  assert.deepEqual(
    problems.filter((p) => p.severity === 'error'),
    [],
  );
  const [own] = ofKind(resources, 'Workload');
  assert.ok(own);
  return effectiveProxyConfig({ policies: ofKind(resources, 'ProxyConfig'), defaults, rootNamespace: 'istio-system' }, own);
};

const concurrency = (yaml: string): number | undefined => effective(yaml, { concurrency: 1 }).config.concurrency;

test('the mesh, the namespace, the annotation and the selecting object speak in this order', () => {
  const mesh = config('m', 'istio-system', '{concurrency: 2}');
  const namespace = config('n', 'shop', '{concurrency: 3}');
  const selecting = config('s', 'shop', '{selector: {matchLabels: {app: w}}, concurrency: 5}');
  assert.equal(concurrency(workload()), 1);
  assert.equal(concurrency(mesh + workload()), 2);
  assert.equal(concurrency(mesh + namespace + workload()), 3);
  assert.equal(concurrency(mesh + namespace + workload('concurrency: 4')), 4);
  assert.equal(concurrency(mesh + namespace + selecting + workload('concurrency: 4')), 5);
});

test('other namespaces and other labels are not spoken to, of two the older counts', () => {
  assert.equal(concurrency(config('n', 'other', '{concurrency: 3}') + workload()), 1);
  assert.equal(concurrency(config('s', 'shop', '{selector: {matchLabels: {app: x}}, concurrency: 3}') + workload()), 1);
  assert.equal(concurrency(config('r', 'istio-system', '{selector: {matchLabels: {app: w}}, concurrency: 3}') + workload()), 1);
  const young = config('a', 'shop', '{concurrency: 3}', '2026-02-01T00:00:00Z');
  assert.equal(concurrency(young + config('b', 'shop', '{concurrency: 4}') + workload()), 4);
});

test('variables are joined, other fields are taken whole', () => {
  const yaml = config('m', 'istio-system', '{environmentVariables: {A: mesh, B: mesh}}') + workload('proxyMetadata: {B: own, C: own}');
  assert.deepEqual(effective(yaml, { drainDuration: '9s', proxyMetadata: { A: 'default', D: 'default' } }).config, {
    drainDuration: '9s',
    proxyMetadata: { A: 'mesh', B: 'own', C: 'own', D: 'default' },
  });
});

test('an annotation that cannot be read is an error at the annotation, a field without effect a warning', () => {
  const at = (annotation: string) => effective(workload(annotation)).problems.map((p) => [p.severity, p.code, p.line, p.path]);
  const path = 'metadata.annotations["proxy.istio.io/config"]';
  assert.deepEqual(at('concurrency: 2'), []);
  assert.deepEqual(at('concurency: 2'), [['error', 'FIELD_UNKNOWN', 9, path]]);
  assert.deepEqual(at('concurrency: [2'), [['error', 'YAML_SYNTAX', 9, path]]);
  assert.deepEqual(at('proxyAdminPort: 15001'), [['warning', 'FIELD_NOT_YET_EFFECTIVE', 9, path]]);
});
