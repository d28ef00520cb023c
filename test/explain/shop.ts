// A small mesh for questions: services, workloads and the policies of a test, read as the control plane reads files, so that lines count.

import assert from 'node:assert/strict';
import { defaultMeshConfig, parseMeshConfig } from '../../src/api/mesh-config/mesh-config.ts';
import { parseDocuments } from '../../src/api/parse-documents.ts';
import { hasErrors } from '../../src/api/problem.ts';
import type { AuthzQuery } from '../../src/explain/asked-request.ts';
import { type AuthzAnswer, checkAuthz } from '../../src/explain/authz-check.ts';
import { type KnownMesh, plannedMesh } from '../../src/explain/known-mesh.ts';

const workload = (name: string, namespace: string, ports: string): string => `
apiVersion: skein.dev/v1
kind: Workload
metadata: { name: ${name}, namespace: ${namespace}, labels: { app: ${name} } }
spec: { serviceAccount: ${name}, command: [run], ports: [${ports}] }
---`;

const service = (name: string, namespace: string, ports: string): string => `
apiVersion: v1
kind: Service
metadata: { name: ${name}, namespace: ${namespace} }
spec: { selector: { app: ${name} }, ports: [${ports}] }
---`;

const HTTP = '{ name: http, port: 8080 }';
const SERVED = '{ name: http, port: 80, targetPort: 8080 }';

const SHOP = `
apiVersion: v1
kind: Namespace
metadata: { name: production, labels: { istio-injection: enabled } }
---
apiVersion: v1
kind: Namespace
metadata: { name: staging, labels: { istio-injection: enabled } }
---
apiVersion: v1
kind: Namespace
metadata: { name: outside }
---${workload('order', 'production', HTTP)}${workload('web', 'production', HTTP)}${workload('payment', 'production', `${HTTP}, { name: admin, port: 9000 }`)}
${workload('redis', 'production', '{ name: redis, port: 6379 }')}${workload('tester', 'staging', HTTP)}${workload('stranger', 'outside', HTTP)}
${service('order', 'production', SERVED)}${service('payment', 'production', `${SERVED}, { name: http-admin, port: 9000 }`)}
${service('redis', 'production', '{ name: tcp-redis, port: 6379 }')}
`;

export const NOW_S = 1_800_000_000;

/** `policies` is the file policies.yaml. */
export const shop = (policies: string, meshConfig?: string): KnownMesh => {
  const read = [parseDocuments('shop.yaml', SHOP), parseDocuments('policies.yaml', policies)];
  const problems = read.flatMap((r) => r.problems);
  assert.ok(!hasErrors(problems), JSON.stringify(problems));
  const resources = read.flatMap((r) => r.resources);
  const settings = meshConfig === undefined ? undefined : parseMeshConfig('mesh-config.yaml', meshConfig);
  assert.ok(settings?.ok !== false, JSON.stringify(settings));
  return plannedMesh(resources, settings?.value.config ?? defaultMeshConfig());
};

export const ask = (mesh: KnownMesh, query: AuthzQuery): AuthzAnswer => {
  const answer = checkAuthz(mesh, query, NOW_S);
  assert.ok(answer.ok, answer.ok ? '' : answer.error);
  return answer.value;
};
