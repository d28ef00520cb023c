// What becomes of configuration that is wrong.
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Mesh } from './mesh.ts';
import { eventually, expect, type Named, type Suite } from './suite.ts';

const BROKEN = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: broken, namespace: production}
spec:
  hosts: [user-service]
  http:
  - rout: []
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: other, namespace: production}
spec: {hosts: x}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: good, namespace: production}
spec:
  hosts: [user-service]
  http:
  - fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
    route: [{destination: {host: user-service}}]
`;
export const configurationChecks = async (suite: Suite, mesh: Mesh, named: Named): Promise<void> => {
  await suite.check(named('a broken save changes nothing and is reported with file, line and column'), () => brokenSave(mesh));
};

const brokenSave = async (mesh: Mesh): Promise<undefined> => {
  const generation = async (): Promise<number> =>
    (JSON.parse((await mesh.skein('status', '-o', 'json')).out) as { generation: number }).generation;
  const before = await generation();
  const file = join(mesh.dir, 'mesh/broken.yaml');
  try {
    writeFileSync(file, BROKEN);
    const text = await eventually('status names the problems', 20_000, async () => {
      const { out } = await mesh.skein('status');
      return /broken\.yaml:7:\d+.*rout/.test(out) && /broken\.yaml:12:\d+.*hosts/.test(out) ? out : undefined;
    });
    expect((await generation()) === before, `the generation moved from ${before}\n${text}`);
    const order = (await mesh.workload('order-service')).name;
    const served = await mesh.exec(order, 'curl', '-sS', '--max-time', '5', 'http://user-service:8080/version');
    expect(served.out.includes('user-service'), `the good document of the refused save is in force: ${served.out}`);
    const refused = await mesh.skein('apply', '-f', file);
    const said = refused.out + refused.err;
    expect(
      refused.code === 1 && /broken\.yaml:7:\d+.*rout/.test(said) && /broken\.yaml:12:\d+.*hosts/.test(said),
      `apply: exit ${refused.code} ${said}`,
    );
  } finally {
    rmSync(file, { force: true });
  }
  await eventually('the problem is gone', 20_000, async () => (/broken\.yaml/.test((await mesh.skein('status')).out) ? undefined : true));
  return undefined;
};
