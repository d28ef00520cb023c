// Who may call what: the shop's security policies, enforced by the sidecars.

import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { parseDocument } from 'yaml';
import type { Mesh } from './mesh.ts';
import { whileApplied } from './recipe-checks.ts';
import { eventually, expect, type Named, type Suite } from './suite.ts';
import { recipe } from './traffic-checks.ts';

const PAYMENT = 'http://payment-service:8080';
const GATEWAY = 'http://api-gateway:8080';
const AUDIENCE = 'api.example.com';

/** Of the issuer that the recipe names; without a key signed by nobody. */
const token = (audience: string, key?: KeyObject): string => {
  const text = [
    { alg: 'RS256', kid: 'a' },
    { iss: 'https://auth.example.com', sub: 'a', aud: audience, exp: 4102444800 },
  ]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.');
  return `${text}.${key === undefined ? 'AAAA' : sign('sha256', Buffer.from(text), key).toString('base64url')}`;
};
const bearing = (value: string): readonly string[] => ['-H', `authorization: Bearer ${value}`, `${GATEWAY}/version`];

export const policyChecks = async (suite: Suite, mesh: Mesh, named: Named): Promise<void> => {
  const order = (await mesh.workload('order-service')).name;
  const check = (file: string, what: string, look: () => Promise<undefined>): Promise<boolean> =>
    suite.check(named(`${file}: ${what}`), () => whileApplied(mesh, file, look));
  await check('rate-limit.yaml', 'as it is it limits nothing and is told so; switched on it limits', () => rateLimit(mesh, order));
  const user = (await mesh.workload('user-service')).name;
  const legacy = (await mesh.workload('legacy')).name;
  await check('payment-policy.yaml', 'each caller may do what the policy names, the rest is answered 403', async () => {
    await answers(mesh, user, 403, ...charge);
    await answers(mesh, order, 200, ...charge);
    await answers(mesh, order, 403, ...post, `${PAYMENT}/api/v1/refund`);
    return answers(mesh, order, 403, `${PAYMENT}/version`);
  });
  await check('deny-all.yaml', 'an empty policy denies all', () => answers(mesh, order, 403, `${PAYMENT}/version`));
  await check('allow-specific.yaml', 'one namespace and two methods are let in', async () => {
    await answers(mesh, legacy, 403, 'http://api:8080/version');
    await answers(mesh, order, 200, 'http://api:8080/version');
    return answers(mesh, order, 403, '-X', 'DELETE', 'http://api:8080/version');
  });
  await check('jwt.yaml', 'a token that cannot be checked is refused, its lack is not, and status says why', async () => {
    await answers(mesh, order, 401, ...bearing(token(AUDIENCE)));
    await answers(mesh, order, 200, `${GATEWAY}/version`);
    await eventually('status names the missing keys', 20_000, async () => {
      const { out } = await mesh.skein('status');
      return out.includes('KEYS_MISSING') ? true : undefined;
    });
    return undefined;
  });
  await check('jwt.yaml', 'with keys at hand a token of the audience is let in, others are not', () => tokens(mesh, order));
};

const tokens = async (mesh: Mesh, order: string): Promise<undefined> => {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const document = parseDocument(readFileSync(recipe('jwt.yaml'), 'utf8'));
  document.deleteIn(['spec', 'jwtRules', 0, 'jwksUri']);
  document.setIn(['spec', 'jwtRules', 0, 'jwks'], JSON.stringify({ keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'a' }] }));
  await applyText(mesh, document.toString());
  await answers(mesh, order, 200, ...bearing(token(AUDIENCE, privateKey)));
  await answers(mesh, order, 403, ...bearing(token('other.example.com', privateKey)));
  return answers(mesh, order, 401, ...bearing(token(AUDIENCE)));
};

const rateLimit = async (mesh: Mesh, order: string): Promise<undefined> => {
  const { out } = await mesh.skein('status');
  expect(out.includes('RATE_LIMIT_OFF'), `status does not say that nothing is limited:\n${out.slice(-2000)}`);
  const free = await mesh.load(order, `${GATEWAY}/version`, { count: 150 });
  expect(free.failures.length === 0, `limited although nothing switches it on: ${free.failures[0]?.reason}`);
  const document = parseDocument(readFileSync(recipe('rate-limit.yaml'), 'utf8'));
  const limit = ['spec', 'configPatches', 0, 'patch', 'value', 'typed_config'];
  document.setIn([...limit, 'token_bucket'], { max_tokens: 10, tokens_per_fill: 10, fill_interval: '600s' });
  for (const field of ['filter_enabled', 'filter_enforced']) document.setIn([...limit, field], { default_value: { numerator: 100 } });
  await applyText(mesh, document.toString());
  await eventually('a limit of ten is reached', 20_000, async () => {
    const seen = await mesh.load(order, `${GATEWAY}/version`, { count: 30 });
    const limited = seen.failures.filter((f) => f.reason.startsWith('status 429')).length;
    if (limited === 0) throw new Error(`${limited} of 30 were limited`);
    return true;
  });
  return undefined;
};

const applyText = async (mesh: Mesh, input: string): Promise<void> => {
  const done = await mesh.skeinWith({ input }, 'apply', '-f', '-');
  expect(done.code === 0, `apply: exit ${done.code} ${done.out}${done.err}`);
};

const post = ['-X', 'POST', '-H', 'content-type: application/json', '-d', '{"amount":5}'];
const charge = [...post, `${PAYMENT}/api/v1/charge`];

const answers = async (mesh: Mesh, from: string, status: number, ...call: readonly string[]): Promise<undefined> => {
  await eventually(`${from}: ${call.at(-1)} answers ${status}`, 20_000, async () => {
    const { out, err } = await mesh.exec(from, 'curl', '-sS', '--max-time', '5', '-o', '/dev/null', '-w', '%{http_code}', ...call);
    if (out.trim() !== String(status)) throw new Error(`it answers ${out} ${err}`);
    return true;
  });
  return undefined;
};
