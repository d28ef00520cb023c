// Limits and retries, live: what a service holds up shows in the caller's gauges and leaves them again, and each retry that the caller's
// sidecar counts is one that reached the service.
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Sample } from '../metrics/strict-text.ts';
import { pageOf } from './ejection-checks.ts';
import type { LoadOptions, LoadResult } from './load-result.ts';
import type { Mesh } from './mesh.ts';
import { eventually, expect, type Named, type Suite } from './suite.ts';
import { proxiesInSync, VERSION_URL } from './traffic-checks.ts';

const HELD = 'refund-service';
const INBOUND = 'inbound|8080||';
const HELD_URL = `http://${HELD}:8080/version`;
const clusterOf = (service: string): string => `outbound|8080||${service}.production.svc.cluster.local`;

const rules = (service: string, pool: string, attempts: number): string => `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ${service}-limited, namespace: production}
spec:
  host: ${service}
  trafficPolicy: {connectionPool: ${pool}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ${service}-retried, namespace: production}
spec:
  hosts: [${service}]
  http:
  - route: [{destination: {host: ${service}}}]
    retries: {attempts: ${attempts}, retryOn: 5xx}
`;

export const breakerChecks = async (suite: Suite, mesh: Mesh, named: Named): Promise<void> => {
  const { pid } = mesh.process('application', (await mesh.workload('loadgen')).name);
  // Nobody else calls meanwhile.
  process.kill(pid, 'SIGSTOP');
  try {
    await checks(suite, mesh, named);
  } finally {
    process.kill(pid, 'SIGCONT');
  }
};

const checks = async (suite: Suite, mesh: Mesh, named: Named): Promise<void> => {
  await suite.check(named('a service that is slow: the gauges of its limits show 0, 1, 0'), () => gaugesMove(mesh));
  await suite.check(named('retries: done, without success and over the limit, as the service counted them'), () => retriesFail(mesh));
  await suite.check(named('each retry is an answer that failed, and succeeds or comes to its limit'), () => retriesSucceed(mesh));
};

/** What the application of a replica answers from now on; as it does of itself when nothing is said. */
const broken = async (mesh: Mesh, replica: string, how?: { readonly status?: number; readonly delayMs?: number }): Promise<void> => {
  const call = how === undefined ? ['-X', 'DELETE'] : ['-X', 'PUT', '-H', 'content-type: application/json', '-d', JSON.stringify(how)];
  const told = await mesh.exec(replica, 'curl', '-sS', '--max-time', '5', '--fail', ...call, 'http://127.0.0.1:8080/broken');
  expect(told.code === 0, told.err);
};

const under = async <T>(mesh: Mesh, service: string, pool: string, attempts: number, body: () => Promise<T>): Promise<T> => {
  const file = join(mesh.dir, `mesh/${service}-limited.yaml`);
  writeFileSync(file, rules(service, pool, attempts));
  try {
    await eventually('the rules are taken', 20_000, async () =>
      (await mesh.skein('get', 'virtualservice', `${service}-retried`, '-n', 'production', '-o', 'yaml')).out.includes(
        `attempts: ${attempts}`,
      )
        ? true
        : undefined,
    );
    await proxiesInSync(mesh);
    return await body();
  } finally {
    rmSync(file, { force: true });
    await proxiesInSync(mesh);
  }
};

const GAUGES = ['cx_open', 'rq_open', 'rq_pending_open', 'rq_retry_open'] as const;
type Gauge = (typeof GAUGES)[number];

/** Istio's bootstrap has Envoy call the labels otherwise than Envoy itself does. */
const ofCluster = (page: readonly Sample[], name: string, cluster: string): number =>
  page
    .filter(
      ({ name: own, labels }) => own === `envoy_cluster_${name}` && (labels['envoy_cluster_name'] ?? labels['cluster_name']) === cluster,
    )
    .reduce((all, { value }) => all + value, 0);

const gaugeOf = (page: readonly Sample[], gauge: Gauge): number => ofCluster(page, `circuit_breakers_default_${gauge}`, clusterOf(HELD));

/** HTTP/1 to its one connection: one request is served, one waits, and what else comes is refused. Idle connections close soon. */
const ONE_OF_EACH =
  '{tcp: {maxConnections: 1}, http: {h2UpgradePolicy: DO_NOT_UPGRADE, http1MaxPendingRequests: 1, http2MaxRequests: 1, maxRetries: 1, idleTimeout: 1s}}';

/** Longer than anybody looks; ends when the service is told anew. */
const HELD_MS = 25_000;

/** What the service does, and what is full after each step: one call more, or the service told anew, so that who waits is answered. */
const HELD_UP: readonly {
  readonly how: { readonly status?: number; readonly delayMs: number };
  readonly steps: readonly { readonly does: 'call' | 'answer'; readonly full: readonly Gauge[] }[];
}[] = [
  {
    how: { delayMs: HELD_MS },
    steps: [
      { does: 'call', full: ['cx_open', 'rq_open'] },
      { does: 'call', full: ['rq_pending_open'] },
    ],
  },
  {
    how: { delayMs: HELD_MS, status: 503 },
    steps: [
      { does: 'call', full: ['rq_open'] },
      { does: 'answer', full: ['rq_retry_open'] },
    ],
  },
];

/** A call that the service keeps. One that ends all the same, as when the proxy's connection is just going, is made again, and told of. */
class HeldCall {
  load: Promise<LoadResult>;
  /** What became of those before. */
  ended = '';
  readonly #call: () => Promise<LoadResult>;
  #over = false;

  constructor(call: () => Promise<LoadResult>) {
    this.#call = call;
    this.load = this.#start();
  }

  again(): void {
    if (!this.#over) return;
    this.#over = false;
    this.load = this.#start();
  }

  #start(): Promise<LoadResult> {
    const load = this.#call();
    const over = (how: string): void => {
      this.#over = true;
      this.ended += `; a call ended: ${how}`;
    };
    load.then(
      ({ failures }) => over(failures[0]?.reason ?? 'answered'),
      (error: Error) => over(error.message),
    );
    return load;
  }
}

const gaugesMove = async (mesh: Mesh): Promise<string> => {
  const caller = (await mesh.workload('echo')).name;
  const replica = (await mesh.workload(HELD)).name;
  return under(mesh, HELD, ONE_OF_EACH, 1, async () => {
    const look = async (): Promise<readonly (readonly [Gauge, number])[]> => {
      const page = await pageOf(mesh, caller);
      return GAUGES.map((gauge) => [gauge, gaugeOf(page, gauge)] as const);
    };
    const noneFull = async (): Promise<true> => {
      const now = await look();
      if (now.some(([, value]) => value !== 0)) throw new Error(now.join(' '));
      return true;
    };
    await eventually('nothing is full at first', 20_000, noneFull);
    const seen: string[] = [];
    try {
      for (const { how, steps } of HELD_UP) {
        await broken(mesh, replica, how);
        const loads: Promise<LoadResult>[] = [];
        // One after the other: who waits for the first connection to stand counts as waiting, too.
        for (const { does, full } of steps) {
          const held = does === 'call' ? new HeldCall(() => mesh.load(caller, HELD_URL, { count: 1 })) : undefined;
          if (held === undefined) await broken(mesh, replica, how);
          const were = new Set<Gauge>();
          await eventually(`${full.join(', ')} 1 at some time`, HELD_MS, async () => {
            held?.again();
            const now = await look();
            for (const [gauge, value] of now) if (value === 1) were.add(gauge);
            if (!full.every((gauge) => were.has(gauge))) throw new Error(`${now.join(' ')}, 1 were ${[...were]}${held?.ended ?? ''}`);
            return true;
          });
          if (held !== undefined) loads.push(held.load);
          seen.push(...full);
        }
        await broken(mesh, replica);
        const failures = (await Promise.all(loads)).flatMap((load) => load.failures);
        const isMeant = 'status' in how;
        expect(isMeant === failures.length > 0, `${failures.length} failed: ${failures[0]?.reason}`);
        await eventually('nothing is full afterwards', 15_000, noneFull);
      }
    } finally {
      await broken(mesh, replica);
    }
    return [...new Set(seen)].join(', ');
  });
};

interface Retries {
  readonly attempts: number;
  readonly retries: number;
  readonly success: number;
  readonly limitExceeded: number;
  readonly overflow: number;
}

const retriesOf = async (mesh: Mesh, caller: string, service: string): Promise<Retries> => {
  const page = await pageOf(mesh, caller);
  const of = (name: string): number => ofCluster(page, `upstream_rq_${name}`, clusterOf(service));
  return {
    attempts: of('total'),
    retries: of('retry'),
    success: of('retry_success'),
    limitExceeded: of('retry_limit_exceeded'),
    overflow: of('retry_overflow'),
  };
};

/** What the sidecars of a service have passed on to it. */
const receivedBy = async (mesh: Mesh, replicas: readonly string[]): Promise<number> => {
  let all = 0;
  for (const replica of replicas) all += ofCluster(await pageOf(mesh, replica), 'upstream_rq_total', INBOUND);
  return all;
};

interface Change {
  readonly caller: Retries;
  readonly received: number;
  readonly refused: number;
  readonly sent: number;
}

const change = async (mesh: Mesh, service: string, replicas: readonly string[], options: LoadOptions, url: string): Promise<Change> => {
  const caller = (await mesh.workload('echo')).name;
  const [own, there] = [await retriesOf(mesh, caller, service), await receivedBy(mesh, replicas)];
  const result = await mesh.load(caller, url, options);
  const [ownLater, thereLater] = [await retriesOf(mesh, caller, service), await receivedBy(mesh, replicas)];
  const less = <T extends object>(a: T, b: T): T =>
    Object.fromEntries(Object.entries(a).map(([name, n]) => [name, (n as number) - (b[name as keyof T] as number)])) as T;
  return { caller: less(ownLater, own), received: thereLater - there, refused: result.failures.length, sent: result.sent };
};

/** All at once and late, so that the first retry is under way when the others are due. */
const PARALLEL = 6;

const retriesFail = async (mesh: Mesh): Promise<string> => {
  const replica = (await mesh.workload(HELD)).name;
  return under(mesh, HELD, '{http: {maxRetries: 1}}', 1, async () => {
    await broken(mesh, replica, { status: 503, delayMs: 400 });
    try {
      const { caller, received, refused, sent } = await change(mesh, HELD, [replica], { count: PARALLEL }, HELD_URL);
      const text = JSON.stringify({ caller, received, refused });
      expect(sent === PARALLEL && refused === PARALLEL, `not all failed: ${text}`);
      expect(caller.retries >= 1 && caller.overflow >= 1, `no retry, or none over the limit: ${text}`);
      expect(received === PARALLEL + caller.retries, `attempts that reached the service: ${text}`);
      expect(caller.attempts === received, `attempts: ${text}`);
      expect(caller.limitExceeded === caller.retries, `each retry fails and may not be repeated: ${text}`);
      expect(caller.overflow + caller.retries === PARALLEL, `each request is retried or over the limit: ${text}`);
      expect(caller.success === 0, `none succeeds: ${text}`);
      return `${sent} requests, ${caller.retries} retried, ${caller.overflow} over the limit, ${received} received`;
    } finally {
      await broken(mesh, replica);
    }
  });
};

const retriesSucceed = async (mesh: Mesh): Promise<string> => {
  const service = 'payment-service';
  const { workloads } = JSON.parse((await mesh.skein('status', '-o', 'json')).out) as {
    readonly workloads: readonly { readonly name: string; readonly labels: Readonly<Record<string, string>> }[];
  };
  const replicas = workloads.filter((w) => w.labels['app'] === service).map((w) => w.name);
  const [ill = ''] = replicas;
  return under(mesh, service, '{http: {maxRetries: 100}}', 1, async () => {
    await broken(mesh, ill, { status: 503 });
    try {
      const { caller, received, refused, sent } = await change(mesh, service, [ill], { count: 60 }, VERSION_URL);
      const text = JSON.stringify({ caller, received, refused });
      expect(caller.success > 0 && caller.success + caller.limitExceeded === caller.retries, `what became of retries: ${text}`);
      expect(caller.attempts === sent + caller.retries, `attempts: ${text}`);
      // The replica of before is left out as far as chance lets it be.
      expect(caller.limitExceeded === refused, `who was refused: ${text}`);
      expect(received === caller.retries + caller.limitExceeded, `what came there: ${text}`);
      expect(caller.overflow === 0, `nothing is over the limit: ${text}`);
      return `${sent} requests, ${caller.retries} retried, ${caller.success} with success`;
    } finally {
      await broken(mesh, ill);
    }
  });
};
