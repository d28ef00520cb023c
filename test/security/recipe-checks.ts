// The security recipes on the live shop, as their callers see them; tokens of an issuer on this machine that fails in every way.
import { readFileSync } from 'node:fs';
import { parseDocument } from 'yaml';
import type { Mesh } from '../integration/mesh.ts';
import { whileApplied } from '../integration/recipe-checks.ts';
import { eventually, expect } from '../integration/suite.ts';
import { recipe } from '../integration/traffic-checks.ts';
import { answers, call, whileTextApplied } from './calls.ts';
import type { Checks, Need, ProxyKind, SecurityCheck, SecurityContext } from './check.ts';
import { Issuer, type Manner, strangersKey } from './issuer.ts';

const PAYMENT = 'http://payment-service.production:8080';
const GATEWAY = 'http://api-gateway:8080/version';
const CHARGE = ['-X', 'POST', '-H', 'content-type: application/json', '-d', '{"amount":5}', `${PAYMENT}/api/v1/charge`];
const DENIED = { status: 403, body: 'RBAC: access denied' };
const bearing = (token: string): readonly string[] => ['-H', `authorization: Bearer ${token}`, GATEWAY];

export const checks: Checks = (context) => context.proxies.flatMap((proxy) => [...recipes(context, proxy), ...tokens(context, proxy)]);

// The short form shows with Envoy what differs most.
const needsOf = (proxy: ProxyKind, name: string): readonly Need[] => {
  if (proxy === 'skein') return ['namespaces'];
  return /^(payment-policy|jwt)/.test(name) ? ['namespaces', 'envoy'] : ['namespaces', 'envoy', 'time'];
};

function* recipes(context: SecurityContext, proxy: ProxyKind): Iterable<SecurityCheck> {
  const check = (name: string, look: (mesh: Mesh) => Promise<string | undefined>): SecurityCheck => ({
    line: 1,
    name,
    proxy,
    needs: needsOf(proxy, name),
    run: async () => look(await context.shop(proxy)),
  });
  yield check('payment-policy.yaml: charge by order-service is allowed, by others 403 with the words of Istio', (mesh) =>
    whileApplied(mesh, 'payment-policy.yaml', async () => {
      const others = await callers(mesh, ['web', 'user-service', 'product-service', 'refund-service', 'visitor']);
      for (const caller of others) await answers(mesh, caller, DENIED, ...CHARGE);
      const [order = ''] = await callers(mesh, ['order-service']);
      await answers(mesh, order, { status: 200 }, ...CHARGE);
      await answers(mesh, order, DENIED, `${PAYMENT}/version`);
      return `${others.length} callers denied`;
    }),
  );
  yield check('deny-all.yaml: nobody may call anybody', (mesh) =>
    whileApplied(mesh, 'deny-all.yaml', async () => {
      const [order = '', web = ''] = await callers(mesh, ['order-service', 'web']);
      await answers(mesh, order, DENIED, `${PAYMENT}/version`);
      await answers(mesh, web, DENIED, GATEWAY);
      return undefined;
    }),
  );
  yield check('allow-specific.yaml: another namespace, another method and no identity are refused', (mesh) =>
    whileApplied(mesh, 'allow-specific.yaml', async () => {
      const url = 'http://api.production:8080/version';
      const [order = '', visitor = '', legacy = ''] = await callers(mesh, ['order-service', 'visitor', 'legacy']);
      await answers(mesh, visitor, DENIED, url);
      await answers(mesh, legacy, DENIED, url);
      await answers(mesh, order, { status: 200 }, url);
      await answers(mesh, order, DENIED, '-X', 'DELETE', url);
      return undefined;
    }),
  );
}

function* tokens(context: SecurityContext, proxy: ProxyKind): Iterable<SecurityCheck> {
  const check = (name: string, look: (mesh: Mesh, order: string, issuer: Issuer) => Promise<string | undefined>): SecurityCheck => ({
    line: 1,
    name,
    proxy,
    needs: needsOf(proxy, name),
    run: async () => {
      const mesh = await context.shop(proxy);
      const [order = ''] = await callers(mesh, ['order-service']);
      await using issuer = await new Issuer(context.issuers).start();
      return await whileTextApplied(mesh, rule(issuer.jwksUri), async () => {
        // The rule is in force, and its keys are there: without a rule every token is let in.
        await answers(mesh, order, { status: 401 }, ...bearing(issuer.token({}, strangersKey)));
        await answers(mesh, order, { status: 200 }, ...bearing(issuer.token()));
        return look(mesh, order, issuer);
      });
    },
  });
  yield check('jwt.yaml: missing per policy, bad signature and expired 401, wrong audience 403, valid 200', async (mesh, order, issuer) => {
    const expired = Math.floor(Date.now() / 1000) - 3600;
    const table = [
      [401, 'Jwt verification fails', issuer.token({}, strangersKey)],
      [401, 'Jwt is expired', issuer.token({ exp: expired })],
      [401, 'Jwt issuer is not configured', issuer.token({ iss: 'https://evil.example.com' })],
      [403, 'Audiences in Jwt are not allowed', issuer.token({ aud: 'other.example.com' })],
    ] as const;
    for (const [status, body, token] of table) {
      const got = await call(mesh, order, ...bearing(token));
      expect(got.status === status && got.body === body, `wanted ${status} ${body}, got ${got.status} ${got.body}`);
    }
    await answers(mesh, order, { status: 200 }, GATEWAY);
    await whileTextApplied(mesh, REQUIRED, async () => {
      await answers(mesh, order, DENIED, GATEWAY);
      await answers(mesh, order, { status: 200 }, ...bearing(issuer.token()));
    });
    return undefined;
  });
  yield check('other keys at the issuer are picked up', async (mesh, order, issuer) => {
    const before = issuer.token();
    await answers(mesh, order, { status: 200 }, ...bearing(before));
    issuer.rotate();
    const startedAt = performance.now();
    await answers(mesh, order, { status: 200 }, ...bearing(issuer.token()));
    const tookMs = performance.now() - startedAt;
    await answers(mesh, order, { status: 401 }, ...bearing(before));
    return `after ${(tookMs / 1000).toFixed(1)} s, asked each second`;
  });
  yield check('an issuer that fails: keys once had hold, nothing hangs, and it is asked again', async (mesh, order, issuer) => {
    const all: readonly Manner[] = ['fails', 'silent', 'sends without end', 'redirects in a circle', 'sends no JSON'];
    const manners = context.short ? all.slice(0, 2) : all;
    for (const manner of manners) {
      issuer.manner = manner;
      const asked = issuer.asked;
      await eventually(`asked while it ${manner}`, 15_000, async () => (issuer.asked > asked ? true : undefined));
      const { status } = await call(mesh, order, ...bearing(issuer.token()));
      expect(status === 200, `${manner}: a good token gets ${status}`);
      issuer.manner = 'answers';
      issuer.rotate();
      // By every replica: the next fault finds each with these keys.
      const token = issuer.token();
      await eventually('the other keys are everywhere', 15_000, async () => {
        for (let i = 0; i < 6; i++) if ((await call(mesh, order, ...bearing(token))).status !== 200) return undefined;
        return true;
      });
    }
    return manners.join(', ');
  });
  yield check('an issuer that never answered: every token is 401 at once, and status says so', async (mesh, order, issuer) => {
    const silent = await new Issuer(context.issuers).start();
    silent.manner = 'fails';
    try {
      const text = rule(silent.jwksUri);
      await whileTextApplied(mesh, text, async () => {
        await answers(mesh, order, { status: 401 }, ...bearing(issuer.token()));
        await eventually('status names the missing keys', 10_000, async () =>
          (await mesh.skein('status')).out.includes('KEYS_MISSING') ? true : undefined,
        );
      });
    } finally {
      await silent[Symbol.asyncDispose]();
    }
    return undefined;
  });
}

/** jwt.yaml with the keys of this issuer. */
const rule = (jwksUri: string): string => {
  const document = parseDocument(readFileSync(recipe('jwt.yaml'), 'utf8'));
  document.setIn(['spec', 'jwtRules', 0, 'jwksUri'], jwksUri);
  document.setIn(['spec', 'jwtRules', 0, 'timeout'], '1s');
  return document.toString();
};

const REQUIRED = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: token-required, namespace: production }
spec:
  selector: { matchLabels: { app: api-gateway } }
  rules: [{ from: [{ source: { requestPrincipals: ["https://auth.example.com/*"] } }] }]
`;

const callers = (mesh: Mesh, apps: readonly string[]): Promise<string[]> =>
  Promise.all(apps.map(async (app) => (await mesh.workload(app)).name));
