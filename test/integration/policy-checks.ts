// Who may call what: the shop's security policies, enforced where the sidecars can and refused by name where they cannot.

import type { Mesh } from './mesh.ts';
import { eventually, expect, type Named, type Suite } from './suite.ts';
import { recipe } from './traffic-checks.ts';

const POLICIES = ['payment-policy.yaml', 'deny-all.yaml', 'allow-specific.yaml', 'jwt.yaml'];
const PAYMENT = 'http://payment-service:8080';
const GATEWAY = 'http://api-gateway:8080';
/** Well formed, of the issuer that the recipe names, and signed by nobody. */
const TOKEN = [
  { alg: 'RS256', kid: 'a' },
  { iss: 'https://auth.example.com', sub: 'a', aud: 'api.example.com', exp: 4102444800 },
]
  .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
  .concat('AAAA')
  .join('.');

export const policyChecks = async (suite: Suite, mesh: Mesh, named: Named, { enforced }: { readonly enforced: boolean }): Promise<void> => {
  if (!enforced) {
    await suite.check(named('policies that a connected sidecar cannot enforce are refused by name'), () => refused(mesh));
    return;
  }
  const order = (await mesh.workload('order-service')).name;
  const user = (await mesh.workload('user-service')).name;
  await suite.check(named('a policy lets each caller do what it names, and answers 403 to the rest'), () =>
    applied(mesh, 'payment-policy.yaml', async () => {
      await answers(mesh, user, 403, ...charge);
      await answers(mesh, order, 200, ...charge);
      await answers(mesh, order, 403, ...post, `${PAYMENT}/api/v1/refund`);
      await answers(mesh, order, 403, `${PAYMENT}/version`);
    }),
  );
  await suite.check(named('an empty policy denies all'), () =>
    applied(mesh, 'deny-all.yaml', () => answers(mesh, order, 403, `${PAYMENT}/version`)),
  );
  await suite.check(named('a token that cannot be checked is refused, its lack is not, and status says why'), () =>
    applied(mesh, 'jwt.yaml', async () => {
      await answers(mesh, order, 401, '-H', `authorization: Bearer ${TOKEN}`, `${GATEWAY}/version`);
      await answers(mesh, order, 200, `${GATEWAY}/version`);
      await eventually('status names the missing keys', 10_000, async () => {
        const { out } = await mesh.skein('status');
        return out.includes('KEYS_MISSING') ? true : undefined;
      });
    }),
  );
};

const post = ['-X', 'POST', '-H', 'content-type: application/json', '-d', '{"amount":5}'];
const charge = [...post, `${PAYMENT}/api/v1/charge`];

const answers = async (mesh: Mesh, from: string, status: number, ...call: readonly string[]): Promise<void> => {
  await eventually(`${from}: ${call.at(-1)} answers ${status}`, 5000, async () => {
    const { out, err } = await mesh.exec(from, 'curl', '-sS', '--max-time', '5', '-o', '/dev/null', '-w', '%{http_code}', ...call);
    if (out.trim() !== String(status)) throw new Error(`it answers ${out} ${err}`);
    return true;
  });
};

const applied = async (mesh: Mesh, name: string, look: () => Promise<void>): Promise<undefined> => {
  await mesh.ok('apply', '-f', recipe(name));
  try {
    await look();
  } finally {
    await mesh.ok('delete', '-f', recipe(name));
  }
  return undefined;
};

const refused = async (mesh: Mesh): Promise<undefined> => {
  for (const name of POLICIES.filter((n) => n !== 'allow-specific.yaml')) {
    const done = await mesh.skein('apply', '-f', recipe(name));
    const told = /NOT_YET_ENFORCED.*(AuthorizationPolicy|RequestAuthentication)/.test(done.out + done.err);
    expect(done.code === 1 && told, `${name}: exit ${done.code} ${done.out}${done.err}`);
  }
  for (const name of POLICIES) {
    const done = await mesh.skein('validate', '-f', recipe(name));
    expect(done.code === 0, `${name} is valid: exit ${done.code} ${done.out}${done.err}`);
  }
  return undefined;
};
