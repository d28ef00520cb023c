// kill -9 of one part at a time, under load, with retries off: who notices, for how long, and when it serves again.
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { failureText, type LoadResult } from './load-result.ts';
import type { Mesh } from './mesh.ts';
import { eventually, expect, type Named, type Suite } from './suite.ts';
import { proxiesInSync, recipe, VERSION_URL } from './traffic-checks.ts';

const NOTICED_MS = 1000;
const BACK_MS = 3000;
/** Answer or failure: nobody waits longer. */
const HANGS_MS = 2000;
const BEFORE_KILL_MS = 1000;
const LOAD = { rate: 100, seconds: 6 };

const NO_RETRIES = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: payment-service, namespace: production}
spec:
  hosts: [payment-service]
  http:
  - route: [{destination: {host: payment-service}}]
    retries: {attempts: 0}
`;

const withoutRetries = async <T>(mesh: Mesh, body: () => Promise<T>): Promise<T> => {
  const file = join(mesh.dir, 'mesh/no-retries.yaml');
  const taken = async (): Promise<boolean> => (await mesh.skein('get', 'virtualservice', 'payment-service', '-n', 'production')).code === 0;
  writeFileSync(file, NO_RETRIES);
  try {
    await eventually('the rule without retries is taken', 20_000, async () => ((await taken()) ? true : undefined));
    await proxiesInSync(mesh);
    return await body();
  } finally {
    rmSync(file, { force: true });
    await eventually('the rule without retries is gone', 20_000, async () => ((await taken()) ? undefined : true));
  }
};

/** Kills `pid` while `load` runs; the moment of the kill. */
const killUnder = async (load: { readonly started: Promise<void> }, pid: number): Promise<number> => {
  await load.started;
  await new Promise((resolve) => setTimeout(resolve, BEFORE_KILL_MS)); // the load is in full swing
  process.kill(pid, 'SIGKILL');
  return Date.now();
};

const expectNoHang = (result: LoadResult, killedAt: number): void => {
  const slow = { ...result, failures: result.failures.filter(({ ms }) => ms > HANGS_MS) };
  expect(result.slowestMs < HANGS_MS, `a request took ${result.slowestMs} ms: ${failureText(slow, killedAt)}`);
};

const expectShortPain = (result: LoadResult, killedAt: number): string => {
  const lasting = result.failures.filter(({ at, ms }) => at + ms < killedAt || at > killedAt + NOTICED_MS);
  expect(lasting.length === 0, `failures before the kill or more than ${NOTICED_MS} ms after it: ${failureText(result, killedAt)}`);
  expectNoHang(result, killedAt);
  const last = Math.max(0, ...result.failures.map(({ at }) => at - killedAt));
  return `${result.failures.length} of ${result.sent} failed${result.failures.length > 0 ? `, the last after ${last} ms` : ''}`;
};

/** When `instance` answered for the first time after it was silent. */
const backAfter = (result: LoadResult, instance: string, killedAt: number): number => {
  // What had been answered before the kill may still be read a moment after it.
  const first = result.answers.find(([at, , by]) => by === instance && at > killedAt + 50);
  expect(first !== undefined, `${instance} did not answer again within the load`);
  const after = (first?.[0] ?? 0) - killedAt;
  expect(after <= BACK_MS, `${instance} answered again only after ${after} ms`);
  return after;
};

export const replicaKillChecks = async (suite: Suite, mesh: Mesh, named: Named): Promise<void> => {
  for (const kind of ['application', 'sidecar'] as const) {
    await suite.check(named(`kill -9 of a replica's ${kind}: callers notice for less than 1 s, it serves again within 3 s`), () =>
      withoutRetries(mesh, async () => {
        const order = (await mesh.workload('order-service')).name;
        const victim = (await mesh.workload('payment-service', 'v1')).name;
        const load = mesh.startLoad(order, VERSION_URL, LOAD);
        const killedAt = await killUnder(load, mesh.process(kind, victim).pid);
        const result = await load.done;
        const pain = expectShortPain(result, killedAt);
        return `${pain}; serves again after ${backAfter(result, victim, killedAt)} ms`;
      }),
    );
  }
};

/** The caller's own sidecar: only this caller may notice. */
export const callerKillCheck = async (suite: Suite, mesh: Mesh, named: Named): Promise<void> => {
  await suite.check(named('kill -9 of the caller’s own sidecar: it fails fast and calls again within 3 s, others notice nothing'), () =>
    withoutRetries(mesh, async () => {
      const order = (await mesh.workload('order-service')).name;
      const other = (await mesh.workload('api-gateway')).name;
      const load = mesh.startLoad(order, VERSION_URL, LOAD);
      const others = mesh.startLoad(other, VERSION_URL, { ...LOAD, rate: 50 });
      await others.started;
      const killedAt = await killUnder(load, mesh.process('sidecar', order).pid);
      const [result, untouched] = await Promise.all([load.done, others.done]);
      expect(untouched.failures.length === 0, `another caller: ${failureText(untouched, killedAt)}`);
      const late = result.failures.filter(({ at, ms }) => at + ms < killedAt || at > killedAt + BACK_MS);
      expect(late.length === 0, `failures more than ${BACK_MS} ms after the kill: ${failureText({ ...result, failures: late }, killedAt)}`);
      expectNoHang(result, killedAt);
      const last = Math.max(0, ...result.failures.map(({ at }) => at - killedAt));
      return `${result.failures.length} of ${result.sent} failed, the last after ${last} ms, the slowest took ${result.slowestMs} ms`;
    }),
  );
};

/** The supervisor is stopped meanwhile, so that nothing starts the control plane again. */
export const controlPlaneKillCheck = async (
  suite: Suite,
  mesh: Mesh,
  named: Named,
  pageIsWhole: (mesh: Mesh) => Promise<void>,
): Promise<void> => {
  await suite.check(named('with the control plane dead sidecars serve on and new connections work; it comes back'), async () => {
    const order = (await mesh.workload('order-service')).name;
    const { supervisor } = mesh;
    const load = mesh.startLoad(order, VERSION_URL, LOAD);
    await load.started;
    process.kill(supervisor, 'SIGSTOP');
    try {
      await killUnder(load, mesh.process('control-plane', 'control-plane').pid);
      expect((await mesh.skein('status')).code === 3, 'status answers although the control plane is dead');
      await pageIsWhole(mesh);
      const fresh = await mesh.load(order, VERSION_URL, { rate: 50, seconds: 2, fresh: true });
      expect(fresh.failures.length === 0, `new connections: ${failureText(fresh)}`);
      const result = await load.done;
      expect(result.failures.length === 0, `${result.failures.length} of ${result.sent} failed: ${failureText(result)}`);
    } finally {
      process.kill(supervisor, 'SIGCONT');
    }
    const continued = Date.now();
    await eventually('all is well again', 20_000, async () => {
      const { code, out, err } = await mesh.skein('status');
      if (code !== 0) throw new Error(`${code} ${out} ${err}`);
      return true;
    });
    const backMs = Date.now() - continued;
    await proxiesInSync(mesh);
    await mesh.ok('apply', '-f', recipe('canary.yaml'));
    await mesh.ok('delete', '-f', recipe('canary.yaml'));
    return `well again ${backMs} ms after its supervisor went on`;
  });
};

/**
 * An Envoy answers the next request of a connection by the filters that were in force when the connection began, and closes it then: one
 * that rests in a pool since before a policy was taken back is still refused once.
 */
const pastPolicies = async (mesh: Mesh, from: string): Promise<void> => {
  await eventually('connections from before have left', 20_000, async () => {
    const { failures } = await mesh.load(from, VERSION_URL, { count: 100, fresh: true });
    return failures.length === 0 ? true : undefined;
  });
};

/** Envoy must not outlive its agent: it would hold the ports of the one that follows. */
export const envoyAgentKillCheck = async (suite: Suite, mesh: Mesh, named: Named): Promise<void> => {
  await suite.check(named('kill -9 of an agent takes its Envoy along, and the replica serves again within 3 s'), () =>
    withoutRetries(mesh, async () => {
      const order = (await mesh.workload('order-service')).name;
      const victim = (await mesh.workload('payment-service', 'v1')).name;
      await pastPolicies(mesh, order);
      const load = mesh.startLoad(order, VERSION_URL, LOAD);
      const killedAt = await killUnder(load, mesh.process('sidecar', victim).pid);
      const result = await load.done;
      const pain = expectShortPain(result, killedAt);
      const back = backAfter(result, victim, killedAt);
      const { out } = await mesh.skein('exec', '-c', 'proxy', victim, '--', 'sh', '-c', COUNT_ENVOYS);
      expect(out.trim() === '1', `${out.trim()} Envoys run in the network of ${victim}`);
      return `${pain}; serves again after ${back} ms`;
    }),
  );
};

const COUNT_ENVOYS = `own=$(readlink /proc/self/ns/net); for p in /proc/[0-9]*; do
  [ "$(readlink $p/ns/net 2>/dev/null)" = "$own" ] && tr '\\0' ' ' < $p/cmdline 2>/dev/null | grep -E '^[^ ]*envoy[^ ]* -c ' ; done | wc -l`;
