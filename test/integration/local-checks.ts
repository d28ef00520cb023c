// The commands around a running mesh: exec, logs, status, what `up` refuses, ports that Gateways open later, recovery after a crash.
import { once } from 'node:events';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { type Mesh, run } from './mesh.ts';
import { eventually, expect, type Named, type Suite } from './suite.ts';

export const commandChecks = async (suite: Suite, mesh: Mesh, named: Named): Promise<void> => {
  await suite.check(named('exec passes exit codes, standard input and signals'), () => execLikeKubectl(mesh));
  await suite.check(named('logs -f shows what is added'), async () => {
    const path = `/healthz?mark=${process.pid}`;
    const follower = mesh.spawn('logs', '-f', '-c', 'proxy', 'echo');
    try {
      const seen = new Promise<void>((resolve) => {
        let text = '';
        follower.stdout?.on('data', (b: Buffer) => {
          text += b.toString('utf8');
          if (text.includes(path)) resolve();
        });
      });
      const order = (await mesh.workload('order-service')).name;
      await mesh.exec(order, 'curl', '-sS', `http://echo:8080${path}`);
      await within(5000, 'the access log line', seen);
    } finally {
      follower.kill('SIGTERM');
    }
    const tail = await mesh.ok('logs', '--tail', '2', '-c', 'proxy', 'echo');
    expect(tail.trim().split('\n').length === 2, `--tail 2 printed ${tail}`);
    return undefined;
  });
  await suite.check(named('status tells how applications run and where to open the page'), async () => {
    const text = (await mesh.skein('status')).out;
    expect(text.includes(`http://${mesh.ingress}`), `no address in:\n${text}`);
    expect(/Note: .*not isolated/.test(text), `no note in:\n${text}`);
    return undefined;
  });
};

const execLikeKubectl = async (mesh: Mesh): Promise<undefined> => {
  const order = (await mesh.workload('order-service')).name;
  expect((await mesh.exec(order, 'sh', '-c', 'exit 7')).code === 7, 'the exit code is lost');
  expect((await mesh.exec(order, 'no-such-program')).code === 127, 'a program that does not exist is not 127');
  const input = 'über\n'.repeat(20_000);
  const echoed = await mesh.skeinWith({ input }, 'exec', '-i', order, '--', 'cat');
  expect(echoed.out === input, `standard input came back with ${echoed.out.length} of ${input.length} characters`);
  const unknown = await mesh.exec('nobody', 'true');
  expect(unknown.code === 1 && unknown.err.includes('order-service-0.production'), `unknown workload: ${unknown.code} ${unknown.err}`);
  for (const [signal, code] of [
    ['SIGTERM', 143],
    ['SIGINT', 130],
  ] as const) {
    const script = `sleep 60 & child=$!; trap "kill $child; exit ${code}" TERM INT; echo up; wait $child`;
    const child = mesh.spawn('exec', order, '--', 'sh', '-c', script);
    await within(5000, 'the command is up', once(child.stdout ?? child, 'data'));
    const ended = once(child, 'exit');
    child.kill(signal);
    await within(5000, `the command ends with ${signal}`, ended);
    expect(child.exitCode === code, `${signal}: exit ${child.exitCode} ${child.signalCode}`);
  }
  return undefined;
};

export const refusalChecks = async (suite: Suite, mesh: Mesh, named: Named): Promise<void> => {
  const refuse = async (args: readonly string[], env: Readonly<Record<string, string>>, what: RegExp): Promise<void> => {
    const done = await mesh.skeinWith({ env }, 'up', ...args);
    const said = done.out + done.err;
    expect(done.code === 1 && what.test(said), `up ${args.join(' ')}: exit ${done.code}, not ${what}:\n${said}`);
  };
  const other = { SKEIN_STATE: join(dirname(mesh.dir), 'other') };
  await suite.check(named('a second up on the same state is refused and harms nothing'), async () => {
    await refuse(['-d', mesh.dir, '--ingress', '127.0.0.1:1'], {}, /already runs from .*supervisor \d+/);
    expect((await mesh.skein('status')).code === 0, 'the running mesh is not well any more');
    return undefined;
  });
  await suite.check(named('up names what is missing, broken or taken before it starts anything'), async () => {
    const bad = join(dirname(mesh.dir), 'bad');
    mkdirSync(bad);
    try {
      await refuse([bad], other, /bad\/mesh does not exist/);
      mkdirSync(join(bad, 'mesh'));
      await refuse([bad], other, /has no Workload/);
      writeFileSync(join(bad, 'mesh/a.yaml'), 'apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {prots: []}\n');
      await refuse([bad], other, /bad\/mesh\/a\.yaml:4:8: error .*prots/);
      await refuse([mesh.dir, '--ingress', mesh.ingress], other, new RegExp(`cannot listen on ${mesh.ingress} .*EADDRINUSE`));
    } finally {
      rmSync(bad, { recursive: true, force: true });
      await mesh.skeinWith({ env: other }, 'down');
    }
    return undefined;
  });
};

/** A Gateway applied while the mesh runs opens its ports at the ingress address. */
export const runtimeGatewayCheck = async (suite: Suite, mesh: Mesh, named: Named, firstPort: number): Promise<void> => {
  await suite.check(named('a Gateway applied later opens its ports on the host, and closes them again'), async () => {
    const ports = [await freePort(firstPort), await freePort(firstPort + 1)] as const;
    const file = join(dirname(mesh.dir), 'by-port.yaml');
    const host = mesh.ingress.split(':')[0] ?? '';
    writeFileSync(file, byPort(ports));
    const version = (port: number): Promise<{ code: number; out: string }> =>
      run('curl', ['-sS', '--max-time', '5', `http://${host}:${port}/version`]);
    await mesh.ok('apply', '-f', file);
    try {
      for (const [port, service] of [
        [ports[0], 'payment-service'],
        [ports[1], 'user-service'],
      ] as const)
        await eventually(`${service} answers at port ${port}`, 20_000, async () => {
          const { code, out } = await version(port);
          if (code !== 0 || !out.includes(`"${service}"`)) throw new Error(`curl exits ${code}: ${out}`);
          return true;
        });
      const text = (await mesh.skein('status')).out;
      for (const port of ports) expect(text.includes(`http://${host}:${port}`), `status does not name port ${port}:\n${text}`);
    } finally {
      await mesh.ok('delete', '-f', file);
    }
    await eventually('the ports are closed', 20_000, async () => ((await version(ports[0])).code === 7 ? true : undefined));
    return undefined;
  });
};

const byPort = ([one, two]: readonly [number, number]): string => `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: by-port, namespace: production}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {hosts: ["*"], port: {number: ${one}, name: one, protocol: HTTP}}
  - {hosts: ["*"], port: {number: ${two}, name: two, protocol: HTTP}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: by-port, namespace: production}
spec:
  hosts: ["*"]
  gateways: [by-port]
  http:
  - match: [{port: ${one}}]
    route: [{destination: {host: payment-service, port: {number: 8080}}}]
  - match: [{port: ${two}}]
    route: [{destination: {host: user-service, port: {number: 8080}}}]
`;

/** `wanted` or the next that nobody holds. */
const freePort = async (wanted: number): Promise<number> => {
  for (let port = wanted; ; port += 10) {
    const server = createServer();
    const free = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
    });
    if (free) return port;
  }
};

export const recoveryCheck = async (suite: Suite, mesh: Mesh, named: Named, upAgain: () => Promise<void>): Promise<void> => {
  await suite.check(named('after kill -9 of the supervisor, up recovers the leftovers by itself'), async () => {
    process.kill(mesh.supervisor, 'SIGKILL');
    const left = mesh.leftovers().length;
    expect(left > 10, `only ${left} processes outlive their supervisor: there is nothing to recover`);
    await upAgain();
    return `${left} processes were left`;
  });
};

const within = async <T>(ms: number, what: string, event: Promise<T>): Promise<T> => {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${ms} ms`)), ms);
  });
  return await Promise.race([event, late]).finally(() => clearTimeout(timer));
};
