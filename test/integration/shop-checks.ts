// What a user of the example shop sees, in order, for one kind of sidecar.
import { spawnSync } from 'node:child_process';
import { chownSync, copyFileSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Mesh, ROOT, run } from './mesh.ts';
import { eventually, expect, type Suite } from './suite.ts';

export interface Kind {
  readonly title: string;
  readonly port: number;
  readonly up: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly uid?: number;
  /** Also kill parts under load. */
  readonly kills: boolean;
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
const VERSION_URL = 'http://payment-service:8080/version';
const recipe = (name: string): string => join(ROOT, 'examples/shop/recipes', name);

export const shopChecks = async (suite: Suite, kind: Kind): Promise<void> => {
  const before = hostNetwork();
  const mesh = new Mesh(kind.port, kind.uid);
  Object.assign(mesh.env, kind.env);
  if (kind.uid !== undefined) give(dirname(mesh.dir), kind.uid);
  const named = (name: string): string => `${kind.title}: ${name}`;
  const up = await suite.check(named('up is ready in time and the page has data from every service'), async () => {
    const started = performance.now();
    await mesh.up(...kind.up);
    const readyMs = performance.now() - started;
    const page = await run('curl', ['-sS', '--max-time', '10', `http://${mesh.ingress}/`]);
    for (const service of SERVICES)
      expect(page.out.includes(`<td>${service}</td>`), `the page lacks ${service}:\n${page.out.slice(0, 3000)}${page.err}`);
    expect(readyMs < READY_MS, `ready after ${Math.round(readyMs)} ms`);
    return `ready in ${(readyMs / 1000).toFixed(1)} s`;
  });
  if (up) {
    await trafficChecks(suite, mesh, named);
    await securityChecks(suite, mesh, named);
    await configurationChecks(suite, mesh, named);
    if (kind.kills) await killChecks(suite, mesh, named);
  } else {
    process.stdout.write(`${(await mesh.skein('status')).out.slice(-3000)}\n`);
  }
  await suite.check(named('down leaves nothing behind'), async () => {
    await mesh.ok('down');
    await eventually('processes of the mesh are gone', 5000, async () =>
      mesh.leftovers().length === 0 ? true : Promise.reject(new Error(`still running: ${mesh.leftovers().join(' ')}`)),
    );
    expect(hostNetwork() === before, `the host's network changed:\n${hostNetwork()}\nbefore:\n${before}`);
    return undefined;
  });
  mesh.remove();
};

/** Links, routes and named namespaces of the host. */
const hostNetwork = (): string =>
  ['link', 'route', 'netns']
    .map((what) => spawnSync('ip', ['-o', what], { encoding: 'utf8' }).stdout)
    .join('--\n')
    .replace(/ (mtu|qdisc|state|group|qlen) \S+/g, '');

const give = (path: string, uid: number): void => {
  chownSync(path, uid, uid);
  spawnSync('chown', ['-R', `${uid}:${uid}`, path]);
};

const trafficChecks = async (suite: Suite, mesh: Mesh, named: (n: string) => string): Promise<void> => {
  const order = (await mesh.workload('order-service')).name;
  await suite.check(named('canary: about a tenth to v2, all with the header'), async () => {
    await mesh.ok('apply', '-f', recipe('canary.yaml'));
    await eventually('the rule is in force', 2000, async () =>
      (await mesh.load(order, VERSION_URL, { count: 20, header: 'x-canary: true' })).versions['v2'] === 20 ? true : undefined,
    );
    const seen: number[] = [];
    for (let i = 0; i < 3; i++) {
      const { versions, failed, failures } = await mesh.load(order, VERSION_URL, { count: 1000 });
      expect(failed === 0, `${failed} failed: ${failures.join('; ')}`);
      seen.push(versions['v2'] ?? 0);
    }
    for (const n of seen) expect(n >= 63 && n <= 137, `v2 took ${seen.join(', ')} of 1,000`);
    const always = await mesh.load(order, VERSION_URL, { count: 200, header: 'x-canary: true' });
    expect(always.versions['v2'] === 200, `with the header: ${JSON.stringify(always.versions)}`);
    return `v2 took ${seen.join(', ')} of 1,000`;
  });
  await suite.check(named('a weight edited in the folder acts within 1 s and drops nothing at 200 requests/s'), async () => {
    await mesh.ok('delete', '-f', recipe('canary.yaml'));
    const file = join(mesh.dir, 'mesh/canary.yaml');
    const text = readFileSync(recipe('canary.yaml'), 'utf8').replace(
      '  - route:\n    - {destination: {host: payment-service, subset: v1}',
      '  - retries: {attempts: 0}\n    route:\n    - {destination: {host: payment-service, subset: v1}',
    );
    expect(text.includes('attempts: 0'), 'the recipe changed its shape');
    writeFileSync(file, text);
    await eventually('the folder is taken', 3000, async () =>
      (await mesh.load(order, VERSION_URL, { count: 20, header: 'x-canary: true' })).versions['v2'] === 20 ? true : undefined,
    );
    const loading = mesh.load(order, VERSION_URL, { rate: 200, seconds: 6 });
    await new Promise((resolve) => setTimeout(resolve, 2500)); // the load's first part, before the edit
    const before = readFileSync(file, 'utf8');
    writeFileSync(file, before.replace('weight: 90', 'weight: 50').replace('weight: 10', 'weight: 50'));
    const { versions, failed, failures, timeline } = await loading;
    expect(failed === 0, `${failed} failed: ${failures.join('; ')}`);
    const late = timeline.filter(([ms]) => ms >= 4500);
    const share = late.filter(([, v]) => v === 'v2').length / late.length;
    expect(share > 0.35 && share < 0.65, `v2's share at the end: ${share} ${JSON.stringify(versions)}`);
    unlinkSync(file);
    return `v2's share at the end ${(share * 100).toFixed(0)} %, 0 of ${timeline.length} failed`;
  });
  await suite.check(named('no proxy refused its configuration'), async () => {
    const proxies = await eventually('every proxy is in sync', 3000, async () => {
      const list = JSON.parse(await mesh.ok('proxy-status', '-o', 'json')) as {
        name: string;
        types: Record<string, { state: string; nack?: { message: string } }>;
      }[];
      const bad = list.flatMap((p) =>
        Object.entries(p.types)
          .filter(([, t]) => t.state !== 'SYNCED' && t.state !== 'NOT SENT')
          .map(([type, t]) => `${p.name} ${type} ${t.state} ${t.nack?.message ?? ''}`),
      );
      if (bad.length > 0) throw new Error(bad.join('\n'));
      return list;
    });
    expect(proxies.length >= 15, `only ${proxies.length} proxies`);
    return `${proxies.length} proxies`;
  });
};

const securityChecks = async (suite: Suite, mesh: Mesh, named: (n: string) => string): Promise<void> => {
  const payment = await mesh.workload('payment-service', 'v1');
  const legacy = (await mesh.workload('legacy')).name;
  await suite.check(named('the wire is TLS 1.3 and the server shows its SPIFFE id'), async () => {
    // An unmeshed peer may look at the server's certificate although it has none of its own.
    const looked = await mesh.exec(
      legacy,
      'sh',
      '-c',
      `openssl s_client -connect ${payment.address}:8080 -alpn istio -showcerts </dev/null 2>&1 | tee /dev/stderr | openssl x509 -noout -ext subjectAltName`,
    );
    expect(
      looked.out.includes('URI:spiffe://cluster.local/ns/production/sa/payment-service'),
      `no SPIFFE id in: ${looked.out} ${looked.err.slice(-1500)}`,
    );
    expect(/TLSv1\.3/.test(looked.err), `no TLS 1.3 in: ${looked.err.slice(-1500)}`);
    return undefined;
  });
  await suite.check(named('PERMISSIVE takes plaintext, STRICT resets it, and meshed callers go on'), async () => {
    const url = `http://${payment.address}:8080/version`;
    const curl = (): Promise<{ code: number; out: string }> => mesh.exec(legacy, 'curl', '-sS', '--max-time', '3', url);
    const permissive = await curl();
    expect(
      permissive.code === 0 && permissive.out.includes('payment-service'),
      `under PERMISSIVE: exit ${permissive.code} ${permissive.out}`,
    );
    await mesh.ok('apply', '-f', recipe('strict.yaml'));
    await eventually('plaintext is reset', 2000, async () => ([52, 56].includes((await curl()).code) ? true : undefined));
    const order = (await mesh.workload('order-service')).name;
    const meshed = await mesh.load(order, VERSION_URL, { count: 50 });
    expect(meshed.failed === 0, `meshed caller under STRICT: ${meshed.failures.join('; ')}`);
    await mesh.ok('delete', '-f', recipe('strict.yaml'));
    await eventually('plaintext works again', 2000, async () => ((await curl()).code === 0 ? true : undefined));
    return undefined;
  });
  await suite.check(named('a workload outside the mesh calls and is called by name'), async () => {
    const out = await mesh.exec(legacy, 'curl', '-sS', '--max-time', '3', VERSION_URL);
    expect(out.out.includes('payment-service'), `from outside: ${out.out} ${out.err}`);
    const order = (await mesh.workload('order-service')).name;
    const into = await mesh.exec(order, 'curl', '-sS', '--max-time', '3', 'http://legacy:8080/version');
    expect(into.out.includes('legacy'), `to outside: ${into.out} ${into.err}`);
    return undefined;
  });
};

const configurationChecks = async (suite: Suite, mesh: Mesh, named: (n: string) => string): Promise<void> => {
  await suite.check(named('a broken save changes nothing and is reported with file, line and column'), async () => {
    const generation = async (): Promise<number> =>
      (JSON.parse((await mesh.skein('status', '-o', 'json')).out) as { generation: number }).generation;
    const before = await generation();
    const file = join(mesh.dir, 'mesh/broken.yaml');
    writeFileSync(
      file,
      'apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: broken, namespace: production}\nspec:\n  hosts: [user-service]\n  http:\n  - rout: []\n---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: other, namespace: production}\nspec: {hosts: x}\n',
    );
    const text = await eventually('status names the problems', 2000, async () => {
      const { out } = await mesh.skein('status');
      return /broken\.yaml:7:\d+/.test(out) && /broken\.yaml:1[0-9]:\d+/.test(out) ? out : undefined;
    });
    expect((await generation()) === before, `the generation moved\n${text}`);
    const refused = await mesh.skein('apply', '-f', file);
    expect(
      refused.code === 1 && /broken\.yaml:7:\d+.*rout/.test(refused.out + refused.err),
      `apply: exit ${refused.code} ${refused.out}${refused.err}`,
    );
    unlinkSync(file);
    await eventually('the problem is gone', 2000, async () => (/broken\.yaml/.test((await mesh.skein('status')).out) ? undefined : true));
    return undefined;
  });
  await suite.check(named('recipes of later versions are refused by name'), async () => {
    for (const name of ['payment-policy.yaml', 'deny-all.yaml', 'jwt.yaml', 'rate-limit.yaml']) {
      const done = await mesh.skein('apply', '-f', recipe(name));
      expect(
        done.code === 1 && /AuthorizationPolicy|RequestAuthentication|EnvoyFilter/.test(done.out + done.err),
        `${name}: exit ${done.code} ${done.out}${done.err}`,
      );
    }
    for (const name of [
      'retries.yaml',
      'faults.yaml',
      'ab-test.yaml',
      'circuit-breaker.yaml',
      'load-balancing.yaml',
      'ingress-by-path.yaml',
      'ingress-by-port.yaml',
      'protocol-by-port-name.yaml',
    ]) {
      const done = await mesh.skein('apply', '-f', recipe(name), '--dry-run');
      expect(done.code === 0, `${name}: exit ${done.code} ${done.out}${done.err}`);
    }
    return undefined;
  });
  copyFileSync(recipe('canary.yaml'), join(dirname(mesh.dir), 'canary.yaml'));
};

const killChecks = async (suite: Suite, mesh: Mesh, named: (n: string) => string): Promise<void> => {
  const order = (await mesh.workload('order-service')).name;
  const processes = (): { name: string; kind: string; pid: number; workload?: string; replica?: string }[] =>
    (JSON.parse(readFileSync(join(mesh.state, 'run.json'), 'utf8')) as { processes: { name: string; kind: string; pid: number }[] })
      .processes;
  const noRetries =
    'apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: payment-service, namespace: production}\nspec:\n  hosts: [payment-service]\n  http:\n  - route: [{destination: {host: payment-service}}]\n    retries: {attempts: 0}\n';
  const file = join(mesh.dir, 'mesh/no-retries.yaml');
  writeFileSync(file, noRetries);
  for (const [what, pick] of [
    ['application', 'app'],
    ['sidecar', 'proxy'],
  ] as const) {
    await suite.check(named(`kill -9 of one ${what}: no failure after 1 s, back within 3 s`), async () => {
      const victim = (await mesh.workload('payment-service', 'v1')).name;
      const loading = mesh.load(order, VERSION_URL, { rate: 100, seconds: 7 });
      await new Promise((resolve) => setTimeout(resolve, 2000)); // load under way before the kill
      const target = processes().find((p) => p.kind === pick && p.name.includes(victim));
      if (!target) throw new Error(`run.json has no ${pick} of ${victim}: ${JSON.stringify(processes().slice(0, 6))}`);
      process.kill(target.pid, 'SIGKILL');
      const killedAt = performance.now();
      await eventually('the killed one is ready again', 3000, async () => {
        const now = processes().find((p) => p.kind === pick && p.name === target.name);
        const w = (await mesh.workloads()).find((x) => x.name === victim);
        return now && now.pid !== target.pid && w?.ready ? true : undefined;
      });
      const back = performance.now() - killedAt;
      const { failures, failed, slowestMs, sent } = await loading;
      const spread = failures.map((f) => Number.parseInt(f, 10));
      const span = spread.length === 0 ? 0 : Math.max(...spread) - Math.min(...spread);
      expect(span <= 1000, `failures over ${span} ms: ${failures.join('; ')}`);
      expect(slowestMs < 3000, `a request hung for ${slowestMs} ms`);
      return `${failed} of ${sent} failed in ${span} ms, ready again after ${(back / 1000).toFixed(1)} s`;
    });
  }
  await suite.check(named('kill -9 of the control plane: sidecars serve on, new connections work, it comes back'), async () => {
    const target = processes().find((p) => p.kind === 'control-plane');
    if (!target) throw new Error('run.json has no control-plane');
    const loading = mesh.load(order, VERSION_URL, { rate: 100, seconds: 4 });
    await new Promise((resolve) => setTimeout(resolve, 1500)); // load under way before the kill
    process.kill(target.pid, 'SIGKILL');
    const page = await run('curl', ['-sS', '--max-time', '5', `http://${mesh.ingress}/`]);
    expect(page.out.includes('<td>payment-service</td>'), `the page during the outage: ${page.out.slice(0, 500)}`);
    const { failed, failures } = await loading;
    expect(failed === 0, `${failed} failed: ${failures.join('; ')}`);
    await eventually('status answers again and all is in sync', 8000, async () =>
      (await mesh.skein('status')).code === 0 ? true : undefined,
    );
    return undefined;
  });
  unlinkSync(file);
};
