// Every version in which a kind is served names the same object.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { kinds } from '../../src/api/kinds.ts';
import { parseDocuments } from '../../src/api/parse-documents.ts';
import { missing, sharedFile } from './shared-data.ts';

test("kinds of Istio's are read in the versions that their CRDs serve", { skip: missing('corpora/api-inventory.json') }, () => {
  const text = sharedFile('corpora/api-inventory.json') ?? '';
  const served = new Map<string, string[]>();
  for (const [, kind = '', versions = ''] of text.matchAll(/\+cue-gen:(\w+):versions:([\w,]+)/g))
    served.set(kind, versions.split(',').sort());
  const own = kinds.filter((k) => k.group.endsWith('.istio.io'));
  assert.deepEqual(
    Object.fromEntries(own.map((k) => [k.kind, [...k.versions].sort()])),
    Object.fromEntries([...served].sort().filter(([k]) => own.some((o) => o.kind === k))),
  );
  assert.equal(own.length, served.size);
});

test('one object in two versions is written twice', () => {
  const sidecar = (version: string): string =>
    `apiVersion: networking.istio.io/${version}\nkind: Sidecar\nmetadata: {name: a}\nspec: {egress: [{hosts: ['./*']}]}\n`;
  const { problems } = parseDocuments('a.yaml', [sidecar('v1'), sidecar('v1alpha3'), sidecar('v1beta1')].join('---\n'));
  assert.deepEqual(
    problems.filter((p) => p.code === 'DUPLICATE_OBJECT').map((p) => p.line),
    [8, 13],
  );
});

test('a version that is not served is answered with those that are', () => {
  for (const [apiVersion, kind, hint] of [
    ['networking.istio.io/v1', 'EnvoyFilter', 'networking.istio.io/v1alpha3'],
    ['networking.istio.io/v1', 'ProxyConfig', 'networking.istio.io/v1beta1'],
    ['telemetry.istio.io/v1beta1', 'Telemetry', 'telemetry.istio.io/v1 or telemetry.istio.io/v1alpha1'],
    ['discovery.k8s.io/v1beta1', 'EndpointSlice', 'discovery.k8s.io/v1'],
  ] as const) {
    const { problems } = parseDocuments('a.yaml', `apiVersion: ${apiVersion}\nkind: ${kind}\nmetadata: {name: a}\n`);
    assert.deepEqual([problems[0]?.code, problems[0]?.hint], ['VERSION_UNKNOWN', `write ${hint}`]);
  }
});
