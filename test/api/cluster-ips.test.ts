// A Service's list of addresses says nothing that its clusterIP does not say.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDocuments } from '../../src/api/parse-documents.ts';

const read = (spec: string): readonly (readonly [string, string, number])[] =>
  parseDocuments(
    'a.yaml',
    `apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: n}\nspec:\n${spec}  ports: [{port: 80, name: http}]\n`,
    {},
  ).problems.map((p) => [p.severity, p.path, p.line] as const);

test('clusterIPs alone, or another than clusterIP, is refused', () => {
  assert.deepEqual(read("  clusterIPs: ['10.96.0.7']\n"), [['error', 'spec.clusterIPs', 5]]);
  assert.deepEqual(read("  clusterIP: 10.96.0.7\n  clusterIPs: ['10.96.0.8']\n"), [['error', 'spec.clusterIPs', 6]]);
  assert.deepEqual(read("  clusterIP: 10.96.0.7\n  clusterIPs: ['10.96.0.7']\n"), []);
  assert.deepEqual(read(''), []);
});
