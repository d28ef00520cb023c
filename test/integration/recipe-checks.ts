// The shop's recipes about traffic, one after another: each is applied, does what its name says to real requests, and is taken back.
// Of the others canary.yaml is in traffic-checks.ts, strict.yaml in security-checks.ts, and those about who may call in policy-checks.ts.
import { readFileSync } from 'node:fs';
import { failureText } from './load-result.ts';
import { type Mesh, type Ran, run } from './mesh.ts';
import { eventually, expect, type Named, type Suite } from './suite.ts';
import { recipe, VERSION_URL } from './traffic-checks.ts';

const RECOMMENDATION_URL = 'http://recommendation-service:8080/version';
const TAKES_EFFECT_MS = 20_000;

export const recipeChecks = async (suite: Suite, mesh: Mesh, named: Named): Promise<void> => {
  const order = (await mesh.workload('order-service')).name;
  const check = (file: string, what: string, look: () => Promise<string | undefined>): Promise<boolean> =>
    suite.check(named(`${file}: ${what}`), () => whileApplied(mesh, file, look));
  await check('retries.yaml', 'callers do not see the failures of one instance of three', () =>
    whileBroken(mesh, { status: 500 }, () => retried(mesh, order)),
  );
  await check('circuit-breaker.yaml', 'an instance that fails gets no more requests', () =>
    whileBroken(mesh, { status: 500 }, () => ejected(mesh, order)),
  );
  await check('load-balancing.yaml', 'a slow instance gets fewer requests', () =>
    whileBroken(mesh, { delayMs: 200 }, () => fewerToTheSlow(mesh, order)),
  );
  await check('faults.yaml', 'one request of ten is late, one of twenty fails', () => faults(mesh, order));
  await check('ab-test.yaml', 'the group of a user decides which model answers', () => abTest(mesh, order));
  await check('ingress-by-path.yaml', 'a path of its own at the door, the rest as before', async () => {
    await answeredBy(mesh, 'product-service', `http://${mesh.ingress}/cg`);
    await answeredBy(mesh, 'web', `http://${mesh.ingress}/version`);
    return undefined;
  });
  await check('ingress-by-port.yaml', 'each port of the gateway has its service', () => byPort(mesh));
  await check('protocol-by-port-name.yaml', 'the name of a port decides what its sidecar speaks', () => byPortName(mesh, order));
};

/** Applied while `look` runs. */
export const whileApplied = async <T>(mesh: Mesh, file: string, look: () => Promise<T>): Promise<T> => {
  await mesh.ok('apply', '-f', recipe(file));
  try {
    return await look();
  } finally {
    await mesh.ok('delete', '-f', recipe(file));
  }
};

/** One instance of payment-service answers badly while `look` is given to it. Told at its own loopback address, past its sidecar. */
const whileBroken = async <T>(mesh: Mesh, how: object, look: () => Promise<T>): Promise<T> => {
  const tell = async (...call: readonly string[]): Promise<void> => {
    const told = await mesh.exec('payment-v1-0', 'curl', '-sS', '--max-time', '5', '--fail', ...call, 'http://127.0.0.1:8080/broken');
    expect(told.code === 0, `payment-v1-0 was not told: ${told.err}`);
  };
  await tell('-X', 'PUT', '-d', JSON.stringify(how));
  try {
    return await look();
  } finally {
    await tell('-X', 'DELETE');
  }
};

const retried = async (mesh: Mesh, order: string): Promise<string> =>
  eventually('no caller sees a failure', TAKES_EFFECT_MS, async () => {
    const seen = await mesh.load(order, VERSION_URL, { count: 60 });
    if (seen.failures.length > 0) throw new Error(failureText(seen));
    const broken = await mesh.exec('payment-v1-0', 'curl', '-sS', '-o', '/dev/null', '-w', '%{http_code}', 'http://127.0.0.1:8080/version');
    expect(broken.out === '500', `the instance is not broken: ${broken.out}`);
    return `0 of ${seen.sent} failed`;
  });

const ejected = async (mesh: Mesh, order: string): Promise<string> => {
  const first = await mesh.load(order, VERSION_URL, { count: 60 });
  expect(first.failures.length > 0, 'the broken instance was never asked: there was nothing to eject');
  return eventually('the broken instance is left out', TAKES_EFFECT_MS, async () => {
    const seen = await mesh.load(order, VERSION_URL, { count: 60 });
    if (seen.failures.length > 0) throw new Error(failureText(seen));
    const instances = new Set(seen.answers.map(([, , instance]) => instance));
    expect(instances.size === 2, `answers of ${[...instances].join(', ')}`);
    return `${first.failures.length} of ${first.sent} failed, then 0 of ${seen.sent}`;
  });
};

const fewerToTheSlow = async (mesh: Mesh, order: string): Promise<string> => {
  const seen = await mesh.load(order, VERSION_URL, { count: 300 });
  expect(seen.failures.length === 0, failureText(seen));
  const slow = seen.answers.filter(([, , instance]) => instance === 'payment-v1-0').length;
  expect(slow > 0 && slow < 60, `the slow one of three took ${slow} of 300`);
  return `the slow one of three took ${slow} of 300`;
};

const faults = async (mesh: Mesh, order: string): Promise<string> => {
  await eventually('the rule has reached the sidecar', TAKES_EFFECT_MS, async () =>
    /fixed_?delay/i.test((await mesh.skein('proxy-config', 'routes', order, '-o', 'json')).out) ? true : undefined,
  );
  const seen = await mesh.load(order, VERSION_URL, { rate: 300, seconds: 1 });
  const began = Math.min(...seen.answers.map(([at]) => at), ...seen.failures.map((f) => f.at));
  const late = seen.answers.filter(([at]) => at - began > 4500).length;
  const failed = seen.failures.filter((f) => f.reason.startsWith('status 503')).length;
  expect(failed === seen.failures.length, failureText(seen));
  expect(failed >= 2 && failed <= 40, `${failed} of 300 failed, not about 15`);
  expect(late >= 8 && late <= 60, `${late} of 300 were late, not about 30`);
  return `${late} of 300 late, ${failed} failed`;
};

const abTest = async (mesh: Mesh, order: string): Promise<undefined> => {
  for (const [header, version] of [
    ['x-user-group: beta', 'ml-v2'],
    ['x-user-group: all', 'ml-v1'],
  ] as const)
    await eventually(`${header} gets ${version}`, TAKES_EFFECT_MS, async () => {
      const seen = await mesh.load(order, RECOMMENDATION_URL, { count: 30, header });
      const versions = new Set(seen.answers.map(([, v]) => v));
      if (seen.failures.length > 0 || versions.size !== 1 || !versions.has(version))
        throw new Error(`${[...versions].join(', ')} ${failureText(seen)}`);
      return true;
    });
  return undefined;
};

const curl = ['-sS', '--max-time', '2'];

/** What the shop's services say of themselves is in every answer of theirs, a refusal too. */
const answeredBy = async (mesh: Mesh, service: string, url: string, from?: string): Promise<void> => {
  await eventually(`${service} answers at ${url}`, TAKES_EFFECT_MS, async () => {
    const done: Ran = from === undefined ? await run('curl', [...curl, url]) : await mesh.exec(from, 'curl', ...curl, url);
    if (!done.out.includes(`"service":"${service}"`)) throw new Error(`${done.out} ${done.err}`);
    return true;
  });
};

// The recipe's ports may be taken on this machine: the gateway is asked at its own address, by a workload without a sidecar.
const byPort = async (mesh: Mesh): Promise<undefined> => {
  const { address } = await mesh.workload('istio-ingressgateway');
  const outside = (await mesh.workload('legacy')).name;
  await answeredBy(mesh, 'product-service', `http://${address}:30012/version`, outside);
  await answeredBy(mesh, 'user-service', `http://${address}:30013/version`, outside);
  return undefined;
};

// Nothing stands behind the recipe's Service. A sidecar that speaks HTTP says so; one that passes bytes can only hang up.
const byPortName = async (mesh: Mesh, order: string): Promise<undefined> => {
  const ask = (): Promise<Ran> => mesh.exec(order, 'curl', ...curl, '-o', '/dev/null', '-w', '%{http_code}', 'http://my-service:8080/');
  await eventually('port name http: the sidecar answers 503', TAKES_EFFECT_MS, async () => {
    const { code, out, err } = await ask();
    if (code !== 0 || out !== '503') throw new Error(`curl exits ${code}: ${out} ${err}`);
    return true;
  });
  const named = readFileSync(recipe('protocol-by-port-name.yaml'), 'utf8').replace('name: http,', 'name: tcp,');
  const applied = await mesh.skeinWith({ input: named }, 'apply', '-f', '-');
  expect(applied.code === 0, `apply: exit ${applied.code} ${applied.err}`);
  await eventually('port name tcp: the connection ends without an answer', TAKES_EFFECT_MS, async () => {
    const { code, out } = await ask();
    if (code === 0) throw new Error(`it answers ${out}`);
    expect([52, 56].includes(code), `curl exits ${code}`);
    return true;
  });
  return undefined;
};
