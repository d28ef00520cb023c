// payment's v2 dies: the caller's sidecar puts it aside and takes it back, and its counters of retries are what the other side counted.
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readStrictly, type Sample } from '../metrics/strict-text.ts';
import { failureText } from './load-result.ts';
import type { Mesh, WorkloadStatus } from './mesh.ts';
import { eventually, expect, type Named, type Suite } from './suite.ts';
import { proxiesInSync, VERSION_URL } from './traffic-checks.ts';

const CLUSTER = 'outbound|8080||payment-service.production.svc.cluster.local';
const RULES = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: payment-ejects, namespace: production}
spec:
  host: payment-service
  trafficPolicy:
    outlierDetection: {consecutive5xxErrors: 3, interval: 1s, baseEjectionTime: 2s, maxEjectionPercent: 100}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: payment-retried, namespace: production}
spec:
  hosts: [payment-service]
  http:
  - route: [{destination: {host: payment-service}}]
    retries: {attempts: 3, retryOn: 5xx}
`;

export const ejectionChecks = async (suite: Suite, mesh: Mesh, named: Named): Promise<void> => {
  await suite.check(named('payment v2 dies: its ejection shows 0, 1, 0, and retries are what payment counted'), () => v2Dies(mesh));
};

export const pageOf = async (mesh: Mesh, replica: string): Promise<readonly Sample[]> => {
  const { out } = await mesh.exec(replica, 'curl', '-sS', '--max-time', '5', 'http://127.0.0.1:15020/stats/prometheus');
  const { samples, problems } = readStrictly(out);
  expect(problems.length === 0, `the page of ${replica}: ${problems.slice(0, 5).join('; ')}`);
  return samples;
};

const sum = (samples: readonly Sample[], name: string, labels: Readonly<Record<string, string>>): number =>
  samples
    .filter((s) => s.name === name && Object.entries(labels).every(([label, value]) => s.labels[label] === value))
    .reduce((all, { value }) => all + value, 0);

interface Counted {
  readonly attempts: number;
  readonly retries: number;
  readonly ejected: number;
  readonly received: number;
}

const v2Dies = async (mesh: Mesh): Promise<string> => {
  const caller = (await mesh.workload('echo')).name;
  const v2 = (await mesh.workload('payment-service', 'v2')).name;
  const { workloads } = JSON.parse((await mesh.skein('status', '-o', 'json')).out) as { readonly workloads: readonly WorkloadStatus[] };
  const replicas = workloads.filter((w) => w.labels['app'] === 'payment-service').map((w) => w.name);
  const ofCaller = async (): Promise<Counted> => {
    const own = await pageOf(mesh, caller);
    const cluster = (name: string): number => sum(own, `envoy_cluster_${name}`, { envoy_cluster_name: CLUSTER });
    let received = 0;
    for (const replica of replicas)
      received += sum(await pageOf(mesh, replica), 'istio_requests_total', { reporter: 'destination', source_workload: 'echo' });
    return {
      attempts: cluster('upstream_rq_total'),
      retries: cluster('upstream_rq_retry'),
      ejected: cluster('outlier_detection_ejections_active'),
      received,
    };
  };
  const file = join(mesh.dir, 'mesh/payment-ejects.yaml');
  const supervisor = mesh.supervisor;
  writeFileSync(file, RULES);
  try {
    await eventually('the rules are taken', 20_000, async () =>
      (await mesh.skein('get', 'virtualservice', 'payment-retried', '-n', 'production')).code === 0 ? true : undefined,
    );
    await proxiesInSync(mesh);
    await mesh.load(caller, VERSION_URL, { count: 10 });
    const before = await ofCaller();
    expect(before.ejected === 0, `${before.ejected} hosts are put aside before anything happened`);
    process.kill(supervisor, 'SIGSTOP'); // nothing starts it again meanwhile
    let during: Counted;
    let sent = 0;
    try {
      process.kill(mesh.process('application', v2).pid, 'SIGKILL');
      const result = await mesh.load(caller, VERSION_URL, { count: 60 });
      expect(result.failures.length === 0, `with retries nobody notices: ${failureText(result)}`);
      sent = result.sent;
      during = await eventually('the dead one is put aside', 20_000, async () => {
        const now = await ofCaller();
        return now.ejected === 1 ? now : undefined;
      });
    } finally {
      process.kill(supervisor, 'SIGCONT');
    }
    const [attempts, retries, received] = [
      during.attempts - before.attempts,
      during.retries - before.retries,
      during.received - before.received,
    ];
    expect(retries >= 3, `${retries} retries although v2 was dead`);
    expect(attempts === sent + retries, `${attempts} attempts, but ${sent} requests and ${retries} retries`);
    expect(received === attempts, `${attempts} attempts, of which payment counted ${received}`);
    await eventually('it is taken back', 15_000, async () => ((await ofCaller()).ejected === 0 ? true : undefined));
    return `${sent} requests, ${retries} retries, ${received} counted by payment`;
  } finally {
    rmSync(file, { force: true });
    await proxiesInSync(mesh);
  }
};
