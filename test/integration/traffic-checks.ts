// Routing under load: the canary by `apply`, the same from the folder with its weight edited, and what the proxies say of it all.
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { failureText, ofVersion } from './load-result.ts';
import { type Mesh, ROOT } from './mesh.ts';
import { eventually, expect, type Named, type Suite } from './suite.ts';

export const VERSION_URL = 'http://payment-service:8080/version';
export const recipe = (name: string): string => join(ROOT, 'examples/shop/recipes', name);

export const trafficChecks = async (suite: Suite, mesh: Mesh, named: Named): Promise<void> => {
  await suite.check(named('canary: about a tenth to v2, all with the header'), () => canaryApplied(mesh));
  await suite.check(named('a weight edited in the folder acts within 1 s and drops nothing at 200 requests/s'), () => weightEdited(mesh));
  await suite.check(named('no proxy refused its configuration'), () => proxiesInSync(mesh));
};

const inForce = async (mesh: Mesh, order: string): Promise<void> => {
  await eventually('the rule is in force', 20_000, async () =>
    ofVersion(await mesh.load(order, VERSION_URL, { count: 20, header: 'x-canary: true' }), 'v2') === 20 ? true : undefined,
  );
};

const canaryApplied = async (mesh: Mesh): Promise<string> => {
  const order = (await mesh.workload('order-service')).name;
  await mesh.ok('apply', '-f', recipe('canary.yaml'));
  try {
    await inForce(mesh, order);
    const seen: number[] = [];
    for (let i = 0; i < 3; i++) {
      const result = await mesh.load(order, VERSION_URL, { count: 1000 });
      expect(result.failures.length === 0, `${result.failures.length} failed: ${failureText(result)}`);
      expect(result.answers.length === 1000, `${result.answers.length} answers`);
      seen.push(ofVersion(result, 'v2'));
    }
    for (const n of seen) expect(n >= 63 && n <= 137, `v2 took ${seen.join(', ')} of 1,000`);
    const always = await mesh.load(order, VERSION_URL, { count: 200, header: 'x-canary: true' });
    expect(ofVersion(always, 'v2') === 200, `with the header v2 took ${ofVersion(always, 'v2')} of 200`);
    return `v2 took ${seen.join(', ')} of 1,000`;
  } finally {
    await mesh.ok('delete', '-f', recipe('canary.yaml'));
  }
};

/** The canary with retries off and a given weight of v2. */
const canaryText = (v2: number): string => {
  const documents = parseAllDocuments(readFileSync(recipe('canary.yaml'), 'utf8'));
  for (const document of documents) {
    if (document.get('kind') !== 'VirtualService') continue;
    for (const i of [0, 1]) document.setIn(['spec', 'http', i, 'retries'], { attempts: 0 });
    document.setIn(['spec', 'http', 1, 'route', 0, 'weight'], 100 - v2);
    document.setIn(['spec', 'http', 1, 'route', 1, 'weight'], v2);
  }
  return documents.map((d) => d.toString({ directives: false })).join('---\n');
};

const TAKES_EFFECT_MS = 1000;

const weightEdited = async (mesh: Mesh): Promise<string> => {
  const order = (await mesh.workload('order-service')).name;
  const file = join(mesh.dir, 'mesh/canary.yaml');
  try {
    writeFileSync(file, canaryText(10));
    await inForce(mesh, order);
    const load = mesh.startLoad(order, VERSION_URL, { rate: 200, seconds: 6 });
    await load.started;
    await new Promise((resolve) => setTimeout(resolve, 2000)); // what comes before the edit is measured too
    writeFileSync(`${file}.new`, canaryText(50)); // as editors save
    renameSync(`${file}.new`, file);
    const savedAt = Date.now();
    const result = await load.done;
    expect(result.sent === 1200 && result.failures.length === 0, `${result.failures.length} failed: ${failureText(result, savedAt)}`);
    const share = (from: number, to: number): number => {
      const part = result.answers.filter(([at]) => at >= from && at < to);
      expect(part.length > 200, `only ${part.length} answers in a part of the load`);
      return part.filter(([, version]) => version === 'v2').length / part.length;
    };
    const before = share(0, savedAt);
    const after = share(savedAt + TAKES_EFFECT_MS, Number.POSITIVE_INFINITY);
    expect(before > 0.03 && before < 0.2, `v2's share before the edit: ${before}`);
    expect(after > 0.4 && after < 0.6, `v2's share from ${TAKES_EFFECT_MS} ms after the edit on: ${after}`);
    const percent = (n: number): string => `${(n * 100).toFixed(0)} %`;
    return `v2's share ${percent(before)}, then ${percent(after)}; 0 of ${result.sent} failed`;
  } finally {
    rmSync(file, { force: true });
  }
};

/** All types of all proxies acknowledged, none refused. */
export const proxiesInSync = async (mesh: Mesh): Promise<string> => {
  const proxies = await eventually('every proxy is in sync', 20_000, async () => {
    const { out } = await mesh.skein('proxy-status', '-o', 'json');
    const list = JSON.parse(out) as {
      name: string;
      types: Record<string, { state: string; nack?: { message: string } }>;
    }[];
    const bad = list.flatMap((p) =>
      Object.entries(p.types)
        .filter(([, t]) => t.state !== 'SYNCED' && t.state !== 'NOT SENT')
        .map(([type, t]) => `${p.name} ${type} ${t.state} ${t.nack?.message ?? ''}`),
    );
    if (bad.length > 0) throw new Error(bad.join('\n'));
    if (list.length < 15) throw new Error(`only ${list.length} proxies`);
    return list;
  });
  return `${proxies.length} proxies`;
};
