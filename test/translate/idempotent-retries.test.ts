// Asking for retries of idempotent requests alone by an annotation: a proxy that knows them gets them, and it is told that Istio differs.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseMeshConfig } from '../../src/api/mesh-config/mesh-config.ts';
import { parseDocuments } from '../../src/api/parse-documents.ts';
import { buildSnapshot } from '../../src/mesh/snapshot.ts';
import { IDEMPOTENT_RETRIES_FEATURE, IDEMPOTENT_RETRIES_TYPE } from '../../src/xds/client-features.ts';
import { CLIENT, configure } from './configure.ts';

const mesh = (annotation: string): string => `
apiVersion: v1
kind: Service
metadata: {name: pay, namespace: shop}
spec: {clusterIP: 10.96.9.1, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: pay, namespace: shop, annotations: {skein.dev/retries: ${annotation}}}
spec: {hosts: [pay], http: [{route: [{destination: {host: pay}}]}]}
`;

const predicates = (yaml: string, client_features: readonly string[]): readonly (string | undefined)[] => {
  const config = configure(yaml, { node: { ...CLIENT, client_features } });
  const hosts = config.routes.find((routes) => routes.name === '80')?.virtual_hosts ?? [];
  const route = hosts.find((host) => host.name === 'pay.shop.svc.cluster.local:80')?.routes?.[0];
  return (route?.route?.retry_policy?.retry_options_predicates ?? []).map((predicate) => predicate.name);
};

test('the predicate goes to who knows it, and to nobody who is not asked for it', () => {
  assert.deepEqual(predicates(mesh('idempotent-only'), [IDEMPOTENT_RETRIES_FEATURE]), [IDEMPOTENT_RETRIES_TYPE]);
  assert.deepEqual(predicates(mesh('idempotent-only'), []), []);
  assert.deepEqual(predicates(mesh('always'), [IDEMPOTENT_RETRIES_FEATURE]), []);
});

test('it is told that retries differ from Istio, and what is not known', () => {
  const messages = (annotation: string): readonly string[] => {
    const { resources } = parseDocuments('mesh.yaml', mesh(annotation));
    const meshConfig = parseMeshConfig('mesh-config.yaml', '{}');
    assert.ok(meshConfig.ok);
    const { problems } = buildSnapshot({ resources, instances: [], meshConfig: meshConfig.value.config });
    return problems.filter((problem) => problem.code === 'RETRIES_DIFFER').map((problem) => `${problem.path}: ${problem.message}`);
  };
  const [differs] = messages('idempotent-only');
  assert.match(differs ?? '', /^metadata\.annotations\["skein\.dev\/retries"\]: unlike Istio/);
  assert.match(messages('always')[0] ?? '', /"always" is not known; the only value is idempotent-only$/);
});
