// What checks of security share: the live shop, one kind of sidecar at a time, a folder, and test files run as checks.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Mesh, type Ran, ROOT, run } from '../integration/mesh.ts';
import { createAuthority } from '../proxy/certificates.ts';
import type { ProxyKind, SecurityContext } from './check.ts';

const PORTS: Readonly<Record<ProxyKind, number>> = { skein: 18180, envoy: 18181 };

// A caller from another namespace.
const VISITOR = `apiVersion: v1
kind: Namespace
metadata: { name: visitors, labels: { istio-injection: enabled } }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: visitor, namespace: visitors }
---
apiVersion: skein.dev/v1
kind: Workload
metadata: { name: visitor, namespace: visitors, labels: { app: visitor, version: v1 } }
spec:
  serviceAccount: visitor
  command: [bun, services/user.ts]
  env: { SERVICE: visitor, VERSION: v1 }
  ports: [{ name: http, port: 8080 }]
  readiness: { httpGet: { path: /healthz, port: 8080 } }
`;

export class Stage implements SecurityContext {
  readonly short: boolean;
  readonly loadSeconds?: number;
  readonly proxies: readonly ProxyKind[];
  readonly envoy: string | undefined;
  readonly scratch = mkdtempSync(join(tmpdir(), 'skein-security-'));
  readonly issuers = createAuthority('issuers');
  readonly #ends: (() => void | Promise<void>)[] = [];
  #shop: { readonly proxy: ProxyKind; readonly mesh: Mesh; readonly up: Promise<Mesh> } | undefined;

  constructor({ short, proxies, envoy, loadSeconds }: Pick<SecurityContext, 'short' | 'proxies' | 'envoy' | 'loadSeconds'>) {
    this.short = short;
    if (loadSeconds !== undefined) this.loadSeconds = loadSeconds;
    this.proxies = proxies;
    this.envoy = envoy;
  }

  shop(proxy: ProxyKind): Promise<Mesh> {
    if (this.#shop?.proxy === proxy) return this.#shop.up;
    this.stopShop();
    const roots = join(this.scratch, 'issuers.pem');
    writeFileSync(roots, this.issuers.pem);
    const env = { ENVOY: this.envoy ?? '', NODE_EXTRA_CA_CERTS: roots, PILOT_JWT_PUB_KEY_REFRESH_INTERVAL: '1s' };
    const mesh = new Mesh({ port: PORTS[proxy], env });
    writeFileSync(join(mesh.dir, 'mesh/visitor.yaml'), VISITOR);
    const up = mesh.up(...(proxy === 'envoy' ? ['--proxy', 'envoy'] : [])).then(() => mesh);
    this.#shop = { proxy, mesh, up };
    return up;
  }

  stopShop(): void {
    this.#shop?.mesh.remove();
    this.#shop = undefined;
  }

  async testFile(path: string, options: { readonly runtime?: 'bun' | 'node'; readonly only?: string } = {}): Promise<string> {
    const { runtime = 'bun', only } = options;
    const words =
      runtime === 'bun'
        ? ['scripts/bun', 'test', '--timeout', '60000', ...(only === undefined ? [] : ['-t', only]), `./${path}`]
        : ['scripts/node', '--test', '--test-reporter=tap', ...(only === undefined ? [] : [`--test-name-pattern=${only}`]), path];
    const env = this.envoy === undefined ? {} : { ENVOY: this.envoy };
    const ran = await run('sh', [join(ROOT, words[0] ?? ''), ...words.slice(1)], { env, cwd: ROOT, msMax: 170_000 });
    const { passed, skipped } = counts(ran);
    if (ran.code !== 0 || passed === 0) throw new Error(`${path}: exit ${ran.code}\n${`${ran.out}${ran.err}`.slice(-3000)}`);
    return `${passed} passed${skipped === 0 ? '' : `, ${skipped} skipped`}`;
  }

  onEnd(clean: () => void | Promise<void>): void {
    this.#ends.push(clean);
  }

  async end(): Promise<void> {
    for (const clean of this.#ends.reverse()) await clean();
    this.stopShop();
    rmSync(this.scratch, { recursive: true, force: true });
  }
}

const counts = ({ out, err }: Ran): { readonly passed: number; readonly skipped: number } => {
  const text = `${out}\n${err}`;
  const of = (...patterns: RegExp[]): number => Number(patterns.map((p) => p.exec(text)?.[1]).find((n) => n !== undefined) ?? 0);
  return { passed: of(/^# pass (\d+)$/m, /^\s*(\d+) pass$/m), skipped: of(/^# skipped (\d+)$/m, /^\s*(\d+) skip$/m) };
};
