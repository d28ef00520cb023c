// What `apply` says beyond a document's own faults: how it fares beside what is there already.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PIPELINE } from '../../src/control/pipeline.ts';
import { startRig } from './rig.ts';

const rule = (name: string): string => `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ${name}, namespace: default}
spec: {hosts: [pay], http: [{route: [{destination: {host: pay}}]}]}
`;
const SERVICE = 'apiVersion: v1\nkind: Service\nmetadata: {name: pay, namespace: default}\nspec: {ports: [{name: http, port: 80}]}\n---\n';

test('an applied rule is younger than a watched one, whatever their names, and apply says which wins', async () => {
  const rig = await startRig({ 'z.yaml': SERVICE + rule('z') }, { pipeline: PIPELINE });
  try {
    for (const dryRun of [true, false]) {
      const applied = await rig.admin('POST', '/v1/apply', { documents: [{ file: 'a.yaml', text: rule('a') }], dryRun });
      const { warnings } = applied.body as { readonly warnings: readonly { readonly code: string; readonly message: string }[] };
      assert.equal(applied.status, 200);
      assert.deepEqual(
        warnings.map((w) => [w.code, w.message]),
        [['ROUTE_SHADOWED', 'VirtualService default/z is older and owns pay.default.svc.cluster.local in the mesh']],
      );
    }
  } finally {
    await rig.close();
  }
});
