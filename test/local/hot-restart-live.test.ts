// Every sidecar of a running mesh replaced three times under traffic of all kinds: nothing is lost, applications stay, and
// the supervisor knows whom it supervises.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type RunProcess, readRun, statePaths } from '../../src/local/state.ts';
import { isRoot, liveRefusal, makePlace } from './fixture/live.ts';

const rig = fileURLToPath(new URL('../proxy/hot-restart-rig.ts', import.meta.url));
const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

const MESH = `
apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { istio-injection: enabled } }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: app, namespace: shop }
---
apiVersion: v1
kind: Service
metadata: { name: echo, namespace: shop }
spec:
  selector: { app: echo }
  ports: [{ name: http, port: 8080 }, { name: tcp, port: 9090 }]
---
apiVersion: skein.dev/v1
kind: Workload
metadata: { name: echo, namespace: shop, labels: { app: echo } }
spec:
  serviceAccount: app
  command: [bun, echo.ts]
  ports: [{ name: http, port: 8080 }, { name: tcp, port: 9090 }]
---
apiVersion: skein.dev/v1
kind: Workload
metadata: { name: caller, namespace: shop, labels: { app: caller } }
spec:
  serviceAccount: app
  command: [sleep, "1000"]
`;

const ECHO = `
import { startEcho } from ${JSON.stringify(rig)};
await startEcho(8080, '0.0.0.0');
await startEcho(9090, '0.0.0.0');
`;

// Talks until its input ends, then says what went wrong.
const CLIENT = `
import { SteadyClient } from ${JSON.stringify(rig)};
const clients = [
  new SteadyClient(8080, 'http', 30, 'echo'), new SteadyClient(8080, 'http', 30, 'echo'), new SteadyClient(8080, 'http', 30, 'echo'),
  new SteadyClient(8080, 'websocket', 50, 'echo'), new SteadyClient(9090, 'tcp', 50, 'echo'),
];
process.stdin.resume();
process.stdin.on('end', async () => {
  await Promise.all(clients.map((c) => c.stop()));
  console.log(JSON.stringify(clients.map(({ failures, done, connections }) => ({ failures, done, connections }))));
  process.exit();
});
`;

interface Said {
  readonly failures: readonly string[];
  readonly done: number;
  readonly connections: number;
}

const refusal = isRoot ? liveRefusal(false) : 'only as root';

test('three restarts of every sidecar under traffic lose nothing', { timeout: 120_000, skip: refusal ?? false }, async () => {
  const place = await makePlace(false);
  const paths = statePaths(place.state);
  writeFileSync(join(place.directory, 'mesh', 'mesh.yaml'), MESH);
  writeFileSync(join(place.directory, 'echo.ts'), ECHO);
  writeFileSync(join(place.directory, 'client.ts'), CLIENT);
  const skein = (...args: readonly string[]) => {
    const done = spawnSync(process.execPath, [main, ...args, '--state', place.state], { encoding: 'utf8' });
    return { code: done.status, text: done.stdout + done.stderr };
  };
  const processes = (kind: RunProcess['kind']): readonly number[] =>
    (readRun(paths)?.processes ?? []).filter((p) => p.kind === kind).map((p) => p.pid);
  try {
    const up = skein('up', place.directory, '-d', '--ingress', `127.0.0.1:${place.port}`);
    assert.equal(up.code, 0, up.text);
    const applications = processes('application');
    const exec = [main, 'exec', '--state', place.state, 'caller', '--', 'bun', join(place.directory, 'client.ts')];
    const client = spawn(process.execPath, exec, { stdio: ['pipe', 'pipe', 'inherit'] });
    let answer = '';
    client.stdout.on('data', (bytes: Buffer) => {
      answer += bytes.toString();
    });
    const closed = new Promise((resolve) => client.once('close', resolve));
    const generations = [processes('sidecar').join()];
    for (let n = 0; n < 3; n++) {
      const restarted = skein('restart', '--all');
      assert.equal(restarted.code, 0, restarted.text);
      await new Promise((resolve) => setTimeout(resolve, 300)); // run.json is written a moment later
      generations.push(processes('sidecar').join());
    }
    client.stdin.end();
    await closed;
    const said = JSON.parse(answer) as readonly Said[];
    assert.deepEqual(
      said.flatMap((s) => s.failures),
      [],
    );
    for (const { done } of said) assert.ok(done > 20, answer);
    assert.deepEqual(
      said.slice(3).map((s) => s.connections),
      [1, 1],
    );
    assert.equal(new Set(generations).size, 4);
    assert.deepEqual(processes('application'), applications);
    assert.equal(readRun(paths)?.notReady.length, 0);
  } finally {
    const down = skein('down');
    rmSync(dirname(place.state), { recursive: true, force: true });
    assert.deepEqual(down, { code: 0, text: 'stopped\n' });
  }
});
