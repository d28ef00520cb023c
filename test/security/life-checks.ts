// What remains of the lives of leaf, intermediate and root, on the live shop: told by `skein check`, `skein status` and the metrics of control
// plane and agents; and a root of an operator's folder that ends soon.
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Mesh, run } from '../integration/mesh.ts';
import { eventually, expect } from '../integration/suite.ts';
import type { Checks, ProxyKind, SecurityCheck, SecurityContext } from './check.ts';

const DAY_S = 86_400;

export const checks: Checks = (context) => context.proxies.map((proxy) => toldOnTheShop(context, proxy));

const toldOnTheShop = (context: SecurityContext, proxy: ProxyKind): SecurityCheck => ({
  line: 6,
  name: 'remaining life of leaf, intermediate and root is told by check, status and metrics; a root that ends soon is not well',
  proxy,
  needs: proxy === 'envoy' ? ['namespaces', 'envoy', 'openssl', 'time'] : ['namespaces', 'openssl'],
  run: async () => {
    const mesh = await context.shop(proxy);
    const control = await run('curl', ['-sS', '--max-time', '5', '--unix-socket', join(mesh.state, 'admin.sock'), 'http://admin/metrics']);
    const root = sample(control.out, 'citadel_server_root_cert_expiry_seconds');
    const chain = sample(control.out, 'citadel_server_cert_chain_expiry_seconds');
    expect(root > 300 * DAY_S && chain > 0 && chain < root, `root ${root} s, intermediate ${chain} s`);
    const { name } = await mesh.workload('payment-service', 'v1');
    const leaf = await eventually('the agent tells of its certificate', 15_000, async () => {
      const { out } = await mesh.exec(name, 'curl', '-sS', '--max-time', '5', 'http://127.0.0.1:15020/stats/prometheus');
      const left = sample(out, 'istio_agent_cert_expiry_seconds{resource_name="default"}');
      return left > 0 && sample(out, 'istio_agent_cert_expiry_seconds{resource_name="ROOTCA"}') > left ? left : undefined;
    });
    expect(leaf > DAY_S / 3 && leaf <= DAY_S, `the leaf has ${leaf} s`);
    const levels = await findings(mesh);
    expect(/^root ok /m.test(levels) && /^intermediate ok /m.test(levels), `skein check says:\n${levels}`);
    await endsSoon(context);
    return `root ${Math.round(root / DAY_S)} d, intermediate ${Math.round(chain / DAY_S)} d, leaf ${Math.round(leaf / 3600)} h`;
  },
});

/** The first of a name, with its labels; NaN when it is not there. */
const sample = (page: string, name: string): number => {
  const line = page.split('\n').find((l) => l.startsWith(`${name} `) || l.startsWith(`${name}{`));
  return line === undefined ? Number.NaN : Number(line.slice(line.lastIndexOf(' ')));
};

const findings = async (mesh: Mesh): Promise<string> => {
  const { out } = await mesh.skein('check', '-o', 'json');
  const said = JSON.parse(out) as { readonly findings: readonly Readonly<Record<string, string>>[] };
  return said.findings.map((f) => Object.values(f).join(' ')).join('\n');
};

/** A root of 29 days in Istio's layout, and a control plane with it. */
const endsSoon = async (context: SecurityContext): Promise<void> => {
  const folder = join(context.scratch, `soon-${crypto.randomUUID()}`);
  const ca = join(folder, 'ca');
  const state = join(folder, 's');
  for (const path of [ca, join(folder, 'mesh')]) mkdirSync(path, { recursive: true });
  const words = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/O=soon', '-days', '29'];
  const made = spawnSync('openssl', [...words, '-keyout', join(ca, 'ca-key.pem'), '-out', join(ca, 'ca-cert.pem')], { encoding: 'utf8' });
  expect(made.status === 0, made.stderr);
  spawnSync('cp', [join(ca, 'ca-cert.pem'), join(ca, 'root-cert.pem')]);
  const skein = join(import.meta.dirname, '../../bin/skein');
  const script = `"$1" control-plane --config "$2/mesh" --state "$3" --ca-dir "$2/ca" >/dev/null 2>&1 & pid=$!
for i in $(seq 200); do [ -S "$3/admin.sock" ] && break; sleep 0.1; done
"$1" check --state "$3"; code=$?; kill $pid; wait $pid; exit $code`;
  const done = await run('sh', ['-c', script, 'sh', skein, folder, state], { msMax: 60_000 });
  expect(done.code === 1 && /^warning +root .* ends /m.test(done.out), `check: exit ${done.code}\n${done.out}${done.err}`);
};
