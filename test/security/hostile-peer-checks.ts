// Hostile peers: the table of refusals with Skein's data plane and with stock Envoy, trust that ends, and a STRICT port of the live shop.
import type { Mesh } from '../integration/mesh.ts';
import { eventually, expect } from '../integration/suite.ts';
import { whileTextApplied } from './calls.ts';
import type { Checks, ProxyKind, SecurityCheck, SecurityContext } from './check.ts';

export const checks: Checks = (context) => [...tables(context), ...context.proxies.map((proxy) => strictPort(context, proxy))];

function* tables(context: SecurityContext): Iterable<SecurityCheck> {
  const file = (name: string, path: string, only?: string): SecurityCheck => ({
    line: 3,
    name,
    needs: only === undefined ? [] : ['envoy'],
    run: () => context.testFile(path, only === undefined ? {} : { only }),
  });
  yield file('19 hostile peers are refused, counted and logged, each in its own way', 'test/proxy/hostile-peers.test.ts');
  yield file('stock Envoy does the same with the same peers', 'test/proxy/hostile-peers.test.ts', 'stock Envoy');
  yield file(
    'certificates of the mesh for another use, another name, or of an authority that may not',
    'test/proxy/hostile-certificates.test.ts',
  );
  yield file('stock Envoy takes and refuses the same certificates', 'test/proxy/hostile-certificates.test.ts', 'stock Envoy');
  yield file('servers that are not who was called are sent nothing', 'test/proxy/hostile-servers.test.ts');
  yield file('stock Envoy sends the same servers nothing', 'test/proxy/hostile-servers.test.ts', 'stock Envoy');
  yield file('sessions and open connections do not outlive a root', 'test/proxy/hostile-peers-trust.test.ts');
  yield file('every PeerAuthentication mode and level meets every tls mode', 'test/proxy/mtls-combinations.test.ts');
  yield file('headers that outsiders may not write', 'test/proxy/header-hygiene.test.ts');
  yield file('paths that could be read in two ways', 'test/proxy/hostile-paths.test.ts');
}

const STRICT = `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: hostile-peers, namespace: production}
spec: {selector: {matchLabels: {app: payment-service}}, mtls: {mode: STRICT}}
`;

const strictPort = (context: SecurityContext, proxy: ProxyKind): SecurityCheck => ({
  line: 3,
  name: 'a STRICT port of the shop resets plain text and lets nobody in without a certificate of the mesh; skein mtls said who',
  proxy,
  needs: proxy === 'envoy' ? ['namespaces', 'envoy', 'openssl'] : ['namespaces', 'openssl'],
  run: async () => {
    const mesh = await context.shop(proxy);
    const [legacy, payment] = [(await mesh.workload('legacy')).name, await mesh.workload('payment-service', 'v1')];
    const url = `http://${payment.address}:8080/version`;
    const curl = () => mesh.exec(legacy, 'curl', '-sS', '--max-time', '5', url);
    expect((await curl()).code === 0, 'plain text passes before');
    await toldBefore(mesh, proxy);
    return await whileTextApplied(mesh, STRICT, async () => {
      await eventually('plain text is reset', 10_000, async () => ([52, 56].includes((await curl()).code) ? true : undefined));
      const before = await refusals(mesh, payment.name);
      const bare = await mesh.exec(
        legacy,
        'sh',
        '-c',
        `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | timeout 5 openssl s_client -quiet -connect ${payment.address}:8080`,
      );
      expect(!bare.out.includes('HTTP/'), `without a certificate: ${bare.out}`);
      const foreign = await mesh.exec(
        legacy,
        'sh',
        '-c',
        `d=$(mktemp -d) && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=x -addext subjectAltName=URI:spiffe://cluster.local/ns/production/sa/order-service -keyout $d/k -out $d/c 2>/dev/null; printf 'GET / HTTP/1.0\\r\\n\\r\\n' | timeout 5 openssl s_client -quiet -cert $d/c -key $d/k -connect ${payment.address}:8080; rm -rf $d`,
      );
      expect(!foreign.out.includes('HTTP/'), `with a certificate of its own making: ${foreign.out}`);
      const after = await eventually('both are counted', 10_000, async () => {
        const now = await refusals(mesh, payment.name);
        return now.none > before.none && now.chain > before.chain ? now : undefined;
      });
      return `${after.none - before.none} without a certificate, ${after.chain - before.chain} of another CA counted`;
    });
  },
});

interface EdgeSeen {
  readonly source: { readonly workload: string };
  readonly destination: { readonly service: string };
  readonly plaintext: number;
  readonly underStrict: string;
}

// Stock Envoy counts no callers, which is said.
const toldBefore = async (mesh: Mesh, proxy: ProxyKind): Promise<void> => {
  if (proxy === 'envoy') {
    const { code, err } = await mesh.skein('mtls', '-n', 'production', '--exit-code');
    expect(code === 1 && err.includes('no Istio metrics'), `skein mtls: exit ${code} ${err}`);
    return;
  }
  const edge = await eventually('skein mtls tells of the caller in plain text', 10_000, async () => plaintextTo(mesh));
  expect(edge.underStrict === 'refused', `skein mtls: ${JSON.stringify(edge)}`);
};

const plaintextTo = async (mesh: Mesh): Promise<EdgeSeen | undefined> => {
  const { edges } = JSON.parse(await mesh.ok('mtls', '-n', 'production', '-o', 'json')) as { readonly edges: readonly EdgeSeen[] };
  return edges.find((e) => e.plaintext > 0 && e.destination.service.startsWith('payment-service.'));
};

/** From the sidecar's own page of metrics. */
const refusals = async (mesh: Mesh, workload: string): Promise<{ readonly none: number; readonly chain: number }> => {
  const { out } = await mesh.exec(workload, 'curl', '-sS', '--max-time', '5', 'http://127.0.0.1:15000/stats?filter=ssl.fail_verify');
  const sum = (name: string): number =>
    out
      .split('\n')
      .filter((line) => line.startsWith('listener.') && line.includes(`ssl.${name}: `))
      .reduce((total, line) => total + Number(line.slice(line.lastIndexOf(' '))), 0);
  return { none: sum('fail_verify_no_cert'), chain: sum('fail_verify_error') };
};
