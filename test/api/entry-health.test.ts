// A WorkloadEntry in a file says whether it is healthy as a registered one does.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDocuments } from '../../src/api/parse-documents.ts';

const ready = (annotation: string, status: string): boolean | undefined => {
  const yaml = `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm, annotations: {${annotation}}}
spec: {address: 10.0.0.1}
${status}
`;
  const { resources, problems } = parseDocuments('vm.yaml', yaml);
  assert.deepEqual(problems, []);
  return resources[0]?.ready;
};
const CHECKED = "proxy.istio.io/health-checks-enabled: 'true'";

test('an entry that is checked serves once its status says that it is healthy', () => {
  assert.equal(ready(CHECKED, ''), false);
  assert.equal(ready(CHECKED, "status: {conditions: [{type: Healthy, status: 'False'}]}"), false);
  assert.equal(ready(CHECKED, "status: {conditions: [{type: Other, status: 'True'}]}"), false);
  assert.equal(ready(CHECKED, 'status: {conditions: null}'), false);
  for (const status of ["'True'", 'True', 'true']) {
    assert.equal(ready(CHECKED, `status: {conditions: [{type: Other, status: 'False'}, {type: Healthy, status: ${status}}]}`), undefined);
  }
});

test('an entry that nobody checks serves whatever its status says', () => {
  for (const annotation of ['', "proxy.istio.io/health-checks-enabled: 'false'", "proxy.istio.io/health-checks-enabled: 'yes'"]) {
    assert.equal(ready(annotation, "status: {conditions: [{type: Healthy, status: 'False'}]}"), undefined);
  }
});
