// discoverySelectors: which namespaces the mesh is about.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDocuments } from '../../src/api/parse-documents.ts';
import { buildSnapshot } from '../../src/mesh/snapshot.ts';
import { meshConfigOf } from '../translate/mesh-fixture.ts';

const YAML = ['shop', 'other', 'istio-system', 'unlabelled']
  .map(
    (name) => `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: ${name}}
spec: {ports: [{port: 80}]}
---`,
  )
  .join('')
  .concat(`
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {mesh: "on"}}
---
apiVersion: v1
kind: Namespace
metadata: {name: other, labels: {mesh: "off"}}
`);

const namespaces = (discoverySelectors: readonly unknown[]): readonly string[] => {
  const { resources } = parseDocuments('mesh.yaml', YAML);
  const { snapshot } = buildSnapshot({ resources, instances: [], meshConfig: meshConfigOf({ discoverySelectors }) });
  return snapshot.services.all.map((s) => s.namespace).sort();
};

test('without selectors every namespace counts', () => {
  assert.deepEqual(namespaces([]), ['istio-system', 'other', 'shop', 'unlabelled']);
});

test('one selector that fits is enough, and the root namespace always counts', () => {
  assert.deepEqual(namespaces([{ matchLabels: { mesh: 'on' } }]), ['istio-system', 'shop']);
  const either = [{ matchLabels: { mesh: 'on' } }, { matchExpressions: [{ key: 'mesh', operator: 'DoesNotExist' }] }];
  assert.deepEqual(namespaces(either), ['istio-system', 'shop', 'unlabelled']);
  assert.deepEqual(namespaces([{ matchLabels: { 'kubernetes.io/metadata.name': 'other' } }]), ['istio-system', 'other']);
});
