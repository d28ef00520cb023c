// The network of a workload that registers: its own word, else its group's.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDocuments } from '../../../src/api/parse-documents.ts';
import { ofKind } from '../../../src/api/resource.ts';
import { type Registrant, specOf } from '../../../src/control/registration/registration-entry.ts';

const GROUP = `apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: vms, namespace: shop}
spec: {template: {serviceAccount: vm, network: west}}
`;
const registrant = (network: string): Registrant => ({
  namespace: 'shop',
  group: 'vms',
  address: '10.0.0.1',
  network,
  labels: {},
  locality: '',
  probes: 'none',
});

test('a workload that names no network is on that of its group', () => {
  const { resources, problems } = parseDocuments('a.yaml', GROUP);
  assert.deepEqual(problems, []);
  const [group] = ofKind(resources, 'WorkloadGroup');
  assert.ok(group);
  assert.equal(specOf(registrant(''), group).network, 'west');
  assert.equal(specOf(registrant('east'), group).network, 'east');
});
