// What a user of the example shop sees, in order, for one kind of sidecar. Whatever happens, the mesh is gone afterwards.

import { breakerChecks } from './breaker-checks.ts';
import { configurationChecks } from './configuration-checks.ts';
import { ejectionChecks } from './ejection-checks.ts';
import { hostNetwork, nftTables, processesIn } from './host-network.ts';
import { callerKillCheck, controlPlaneKillCheck, envoyAgentKillCheck, replicaKillChecks } from './kill-checks.ts';
import { liveViewChecks } from './live-view-checks.ts';
import { commandChecks, recoveryCheck, refusalChecks, runtimeGatewayCheck } from './local-checks.ts';
import { Mesh, type MeshSettings } from './mesh.ts';
import { policyChecks } from './policy-checks.ts';
import { prometheusChecks } from './prometheus-checks.ts';
import { recipeChecks } from './recipe-checks.ts';
import { securityChecks } from './security-checks.ts';
import { eventually, expect, type Named, type Suite } from './suite.ts';
import { summaryChecks } from './summary-checks.ts';
import { proxiesInSync, trafficChecks } from './traffic-checks.ts';

export interface Kind extends MeshSettings {
  readonly title: string;
  readonly up: readonly string[];
  /** Beyond what every kind shows: everything, or what is particular to Envoy. */
  readonly parts: 'base' | 'envoy' | 'all';
}

const SERVICES = [
  'web',
  'api-gateway',
  'user-service',
  'order-service',
  'inventory-service',
  'payment-service',
  'refund-service',
  'product-service',
  'recommendation-service',
];
const READY_MS = 20_000;

export const shopChecks = async (suite: Suite, kind: Kind): Promise<void> => {
  const before = hostNetwork();
  const mesh = new Mesh(kind);
  const named: Named = (name) => `${kind.title}: ${name}`;
  try {
    let readyMs = 0;
    const up = await suite.check(
      named('up brings a page with data from every service'),
      async () => {
        const started = performance.now();
        await mesh.up(...kind.up);
        readyMs = performance.now() - started;
        await pageIsWhole(mesh);
        return `ready in ${(readyMs / 1000).toFixed(1)} s`;
      },
      'always',
    );
    // A slow start says nothing about the rest, which is looked at all the same.
    if (up)
      await suite.check(named('up is ready in time'), async () => {
        expect(readyMs < READY_MS, `ready after ${Math.round(readyMs)} ms`);
        return undefined;
      });
    if (up) await runningChecks(suite, mesh, kind, named);
    else process.stdout.write(`${(await mesh.skein('status')).out.slice(-3000)}\n`);
    await suite.check(named('down leaves nothing behind'), () => downLeavesNothing(mesh, before), 'always');
  } finally {
    mesh.remove();
  }
};

const runningChecks = async (suite: Suite, mesh: Mesh, kind: Kind, named: Named): Promise<void> => {
  await trafficChecks(suite, mesh, named);
  await securityChecks(suite, mesh, named, { istioMetrics: kind.parts !== 'envoy' });
  await policyChecks(suite, mesh, named);
  if (kind.parts !== 'base') await recipeChecks(suite, mesh, named);
  if (kind.parts === 'all') await prometheusChecks(suite, mesh, named);
  if (kind.parts === 'all') await ejectionChecks(suite, mesh, named);
  if (kind.parts !== 'base') await breakerChecks(suite, mesh, named);
  if (kind.parts !== 'base') await summaryChecks(suite, mesh, named, kind.parts === 'envoy');
  if (kind.parts !== 'base') await liveViewChecks(suite, mesh, named, kind.parts === 'envoy');
  await configurationChecks(suite, mesh, named);
  if (kind.parts === 'envoy') await envoyAgentKillCheck(suite, mesh, named);
  if (kind.parts === 'all') {
    await commandChecks(suite, mesh, named);
    await refusalChecks(suite, mesh, named);
    await runtimeGatewayCheck(suite, mesh, named, kind.port + 1000);
    await replicaKillChecks(suite, mesh, named);
    await callerKillCheck(suite, mesh, named);
    await controlPlaneKillCheck(suite, mesh, named, pageIsWhole);
  }
  await suite.check(named('no proxy has refused anything in the end'), () => proxiesInSync(mesh));
  if (kind.parts === 'all')
    await recoveryCheck(suite, mesh, named, async () => {
      await mesh.up(...kind.up);
      await pageIsWhole(mesh);
    });
};

const pageIsWhole = async (mesh: Mesh): Promise<void> => {
  const page = await mesh.page();
  for (const service of SERVICES)
    expect(page.out.includes(`<td>${service}</td>`), `the page lacks ${service}:\n${page.out.slice(0, 3000)}${page.err}`);
};

const downLeavesNothing = async (mesh: Mesh, before: string): Promise<undefined> => {
  const namespaces = mesh.namespaces();
  const [holder] = processesIn(namespaces);
  // Root is told of tables, so the look afterwards would have found one.
  if (holder !== undefined && process.getuid?.() === 0)
    expect(nftTables(`/proc/${holder}/ns/net`).length > 0, 'no nft table while the mesh runs: this check sees nothing');
  await mesh.ok('down');
  await eventually('processes of the mesh are gone', 20_000, async () => {
    const left = [...mesh.leftovers(), ...processesIn(namespaces)];
    if (left.length > 0) throw new Error(`still running:\n${left.join('\n')}`);
    return true;
  });
  const after = hostNetwork();
  expect(after === before, `the host's network changed:\n${after}\nbefore:\n${before}`);
  return undefined;
};
