// Identity and encryption between workloads, and the doors for those without: what the peers see, not what the configuration says.

import { failureText } from './load-result.ts';
import type { Mesh, WorkloadStatus } from './mesh.ts';
import { eventually, expect, type Named, type Suite } from './suite.ts';
import { recipe, VERSION_URL } from './traffic-checks.ts';

const spiffe = (account: string): string => `spiffe://cluster.local/ns/production/sa/${account}`;
/** curl: nothing came back, or the connection was reset. */
const RESET = [52, 56];

export const securityChecks = async (
  suite: Suite,
  mesh: Mesh,
  named: Named,
  { istioMetrics }: { readonly istioMetrics: boolean },
): Promise<void> => {
  const payment = await mesh.workload('payment-service', 'v1');
  const legacy = (await mesh.workload('legacy')).name;
  const order = (await mesh.workload('order-service')).name;
  await suite.check(named('the wire is TLS 1.3 and the server shows its SPIFFE id'), () => serverCertificate(mesh, legacy, payment));
  await suite.check(named('the server sees the SPIFFE id of its client, and its own'), async () => {
    const { out } = await mesh.exec(order, 'curl', '-sS', '--max-time', '5', 'http://echo:8080/');
    const certificate = (JSON.parse(out) as Record<string, string>)['x-forwarded-client-cert'] ?? '';
    expect(
      certificate.includes(`By=${spiffe('echo')}`) && certificate.includes(`URI=${spiffe('order-service')}`),
      `x-forwarded-client-cert: ${certificate}`,
    );
    return certificate.replace(/Hash=([0-9a-f]{8})[0-9a-f]*/, 'Hash=$1…');
  });
  if (istioMetrics)
    await suite.check(named('metrics of both ends name both principals and mutual TLS'), () => principals(mesh, order, payment.name));
  await suite.check(named('PERMISSIVE takes plaintext, STRICT resets it, and meshed callers go on'), () =>
    strictAndBack(mesh, legacy, order, payment),
  );
  await suite.check(named('a workload outside the mesh calls and is called by name'), async () => {
    const out = await mesh.exec(legacy, 'curl', '-sS', '--max-time', '5', VERSION_URL);
    expect(out.out.includes('payment-service'), `from outside: ${out.out} ${out.err}`);
    const into = await mesh.exec(order, 'curl', '-sS', '--max-time', '5', 'http://legacy:8080/version');
    expect(into.out.includes('legacy'), `to outside: ${into.out} ${into.err}`);
    return undefined;
  });
};

// A peer without a certificate may look at the server's although it is refused afterwards.
const serverCertificate = async (mesh: Mesh, legacy: string, payment: WorkloadStatus): Promise<undefined> => {
  const shown = await mesh.exec(legacy, 'openssl', 's_client', '-connect', `${payment.address}:8080`, '-alpn', 'istio', '-showcerts');
  const text = shown.out + shown.err;
  expect(/TLSv1\.3/.test(text), `no TLS 1.3 in: ${text.slice(-1500)}`);
  expect(/Acceptable client certificate CA names|Requested Signature Algorithms/.test(text), `no certificate is asked for: ${text}`);
  const certificate = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/.exec(shown.out)?.[0] ?? '';
  const names = await mesh.skeinWith({ input: certificate }, 'exec', legacy, '--', 'openssl', 'x509', '-noout', '-ext', 'subjectAltName');
  expect(names.out.includes(`URI:${spiffe('payment-service')}`), `no SPIFFE id in: ${names.out} ${names.err} ${certificate}`);
  return undefined;
};

const principals = async (mesh: Mesh, order: string, payment: string): Promise<undefined> => {
  await mesh.load(order, VERSION_URL, { count: 30 });
  for (const [reporter, replica] of [
    ['source', order],
    ['destination', payment],
  ] as const) {
    const wanted = [
      `reporter="${reporter}"`,
      `source_principal="${spiffe('order-service')}"`,
      `destination_principal="${spiffe('payment-service')}"`,
      `connection_security_policy="${reporter === 'source' ? 'unknown' : 'mutual_tls'}"`,
    ];
    await eventually(`${replica} counts with principals`, 20_000, async () => {
      const { out } = await mesh.exec(replica, 'curl', '-sS', '--max-time', '5', 'http://127.0.0.1:15090/stats/prometheus');
      const lines = out.split('\n').filter((line) => line.startsWith('istio_requests_total{'));
      if (lines.some((line) => wanted.every((w) => line.includes(w)))) return true;
      throw new Error(`no series with ${wanted.join(' ')} in:\n${lines.filter((l) => l.includes(`"${reporter}"`)).join('\n')}`);
    });
  }
  return undefined;
};

const strictAndBack = async (mesh: Mesh, legacy: string, order: string, payment: WorkloadStatus): Promise<undefined> => {
  const plain = (): Promise<{ code: number; out: string }> =>
    mesh.exec(legacy, 'curl', '-sS', '--max-time', '5', `http://${payment.address}:8080/version`);
  const permissive = await plain();
  expect(permissive.code === 0 && permissive.out.includes('payment-service'), `PERMISSIVE: exit ${permissive.code} ${permissive.out}`);
  await mesh.ok('apply', '-f', recipe('strict.yaml'));
  try {
    await eventually('plaintext is reset', 20_000, async () => {
      const { code } = await plain();
      if (!RESET.includes(code)) throw new Error(`curl exits ${code}`);
      return true;
    });
    const meshed = await mesh.load(order, VERSION_URL, { count: 50, fresh: true });
    expect(meshed.failures.length === 0, `meshed caller under STRICT: ${failureText(meshed)}`);
  } finally {
    await mesh.ok('delete', '-f', recipe('strict.yaml'));
  }
  await eventually('plaintext works again', 20_000, async () => ((await plain()).code === 0 ? true : undefined));
  return undefined;
};
