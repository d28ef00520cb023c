// The example of a guarded edge (examples/edge-login), as somebody sees it who comes from outside: login, tokens, client certificates, limits.
import { spawnSync } from 'node:child_process';
import { cpSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Mesh, ROOT, run } from '../integration/mesh.ts';
import { eventually, expect } from '../integration/suite.ts';
import type { Checks, ProxyKind, SecurityCheck, SecurityContext } from './check.ts';

const EXAMPLE = join(ROOT, 'examples/edge-login');
const PORTS: Readonly<Record<ProxyKind, number>> = { skein: 18240, envoy: 18241 };
/** Where the host listens for 443 and 9443 of the gateway. */
const HTTPS = 8443;
const PARTNERS = 9443;

/** Ports on the host are the same for both kinds of sidecar: one runs at a time. */
interface Running {
  mesh: Mesh | undefined;
}

export const checks: Checks = (context) => {
  const running: Running = { mesh: undefined };
  return context.proxies.flatMap((proxy) => [...edge(context, proxy, running)]);
};

interface Seen {
  readonly status: number;
  readonly text: string;
  readonly exit: number;
}

class Edge {
  readonly mesh: Mesh;

  constructor(mesh: Mesh) {
    this.mesh = mesh;
  }

  secret(name: string): string {
    return join(this.mesh.dir, 'secrets', name);
  }

  /** As a browser or a program outside, which trusts the shop's authority. */
  async get(host: string, path: string, ...more: readonly string[]): Promise<Seen> {
    const port = host.startsWith('partners') ? PARTNERS : HTTPS;
    const resolve = `${host}:${port}:127.0.0.1`;
    const words = ['-si', '--max-time', '10', '--cacert', this.secret('shop-ca.crt'), '--resolve', resolve, ...more];
    const { out, code } = await run('curl', [...words, `https://${host}:${port}${path}`]);
    return { status: Number(/^HTTP\/\S+ (\d+)/.exec(out)?.[1] ?? 0), text: out, exit: code };
  }

  shop(path: string, ...more: readonly string[]): Promise<Seen> {
    return this.get('shop.example.com', path, ...more);
  }

  partners(...more: readonly string[]): Promise<Seen> {
    return this.get('partners.example.com', '/version', ...more);
  }

  login(password: string): Promise<Seen> {
    return this.shop('/login', '-d', `user=alice&password=${password}`);
  }

  async token(): Promise<string> {
    const { text } = await this.login(readFileSync(this.secret('password'), 'utf8').trim());
    const token = /"token":"([^"]+)"/.exec(text)?.[1];
    if (token === undefined) throw new Error(`no token: ${text.slice(0, 300)}`);
    return token;
  }
}

const wanted = (seen: Seen, status: number, text?: RegExp): void =>
  expect(
    seen.status === status && (text === undefined || text.test(seen.text)),
    `wanted ${status} ${text ?? ''}, got ${seen.text.slice(0, 600)}`,
  );

function* edge(context: SecurityContext, proxy: ProxyKind, running: Running): Iterable<SecurityCheck> {
  let up: Promise<Edge> | undefined;
  const started = (): Promise<Edge> => {
    up ??= start(context, proxy, running);
    return up;
  };
  const check = (name: string, look: (edge: Edge) => Promise<string | undefined>): SecurityCheck => ({
    line: 1,
    name: `edge login: ${name}`,
    proxy,
    ownMesh: true,
    needs: proxy === 'envoy' ? ['namespaces', 'openssl', 'envoy', 'time'] : ['namespaces', 'openssl'],
    run: async () => look(await started()),
  });
  yield check('without a session the login page, with one the shop', async (at) => {
    await eventually('the gateway serves HTTPS', 15_000, async () => ((await at.shop('/login')).status === 200 ? true : undefined));
    wanted(await at.shop('/'), 302, /^location: \/login\r$/im);
    wanted(await at.login('wrong'), 401, /wrong user or password/);
    const session = await at.token();
    wanted(await at.shop('/', '-H', `cookie: session=${session}`), 200, /<td>payment-service<\/td>/);
    wanted(await at.shop('/', '-H', `cookie: session=${session.slice(0, -8)}AAAAAAAA`), 302);
    return undefined;
  });
  yield check('below /api/ a token is asked for and checked', async (at) => {
    wanted(await at.shop('/api/version'), 403, /RBAC: access denied/);
    const token = await at.token();
    wanted(await at.shop('/api/version', '-H', `authorization: Bearer ${token}`), 200, /"service":"api-gateway"/);
    wanted(await at.shop('/api/version', '-H', `authorization: Bearer ${token.slice(0, -8)}AAAAAAAA`), 401, /Jwt verification fails/);
    wanted(await at.shop('/api/../', '--path-as-is'), 302, /^location: \/login\r$/im);
    wanted(await at.shop('//api/version', '--path-as-is'), 302, /^location: \/login\r$/im);
    return undefined;
  });
  yield check('partners need a certificate of their authority', async (at) => {
    const own = ['--cert', at.secret('partner.crt'), '--key', at.secret('partner.key')];
    wanted(await at.partners(...own), 200, /"service":"api-gateway"/);
    const strange = ['--cert', at.secret('shop.example.com.crt'), '--key', at.secret('shop.example.com.key')];
    for (const refused of [await at.partners(), await at.partners(...strange)])
      expect(refused.exit !== 0 && refused.status === 0, `let in: exit ${refused.exit} ${refused.text.slice(0, 300)}`);
    const old = await at.partners(...own, '--tls-max', '1.1');
    expect(old.exit === 35, `TLS 1.1: exit ${old.exit}`);
    return undefined;
  });
  yield check('connections and requests above the limits are refused, others go on', async (at) => {
    const cookie = ['-H', `cookie: session=${await at.token()}`];
    const slow = await at.mesh.exec('web-0', 'curl', '-sS', '-X', 'PUT', '-d', '{"delayMs":400}', 'http://127.0.0.1:8080/broken');
    expect(slow.code === 0, `web was not told: ${slow.err}`);
    await at.mesh.ok('apply', '-f', join(EXAMPLE, 'limits.yaml'));
    const many = (): Promise<Seen[]> => Promise.all(Array.from({ length: 16 }, () => at.shop('/version', ...cookie)));
    const counts = await eventually('some overflow and some pass', 15_000, async () => {
      const all = await many();
      const of = (status: number): number => all.filter((s) => s.status === status).length;
      if (of(503) > 0 && of(200) > 0) return `${of(200)} of 16 at once answered, ${of(503)} overflow`;
      throw new Error(all.map((s) => s.status).join(' '));
    });
    const limited = await eventually('the rate is limited', 20_000, async () => {
      const all = await many();
      return all.find((s) => s.status === 429)?.text;
    });
    expect(/local_rate_limited/.test(limited), limited);
    // The last of them: others run meshes of their own.
    at.mesh.remove();
    return counts;
  });
}

const start = async (context: SecurityContext, proxy: ProxyKind, running: Running): Promise<Edge> => {
  running.mesh?.remove();
  const mesh = new Mesh({ port: PORTS[proxy], env: { ENVOY: context.envoy ?? '' } });
  running.mesh = mesh;
  context.onEnd(() => mesh.remove());
  for (const part of ['mesh', 'services', 'mesh-config.yaml']) cpSync(join(EXAMPLE, part), join(mesh.dir, part), { recursive: true });
  const made = spawnSync('sh', [join(EXAMPLE, 'secrets.sh'), mesh.dir]);
  expect(made.status === 0, `secrets.sh: ${made.stderr}`);
  await mesh.up(...(proxy === 'envoy' ? ['--proxy', 'envoy'] : []));
  return new Edge(mesh);
};
