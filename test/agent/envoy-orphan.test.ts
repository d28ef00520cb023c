// An agent that is killed takes its Envoy along: nobody would give it new certificates.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

const ENVOY_PROCESS = new URL('../../src/agent/envoy-process.ts', import.meta.url).href;
const CAN = spawnSync('setpriv', ['--pdeathsig', 'TERM', '--', 'true'], { stdio: 'ignore' }).status === 0;

/** Starts a stand-in for Envoy as the agent does, says its pid, and stays. */
const PARENT = `const { EnvoyProcess } = await import(process.argv[2]);
const nothing = () => {};
const log = { info: nothing, warning: nothing, error: nothing, debug: nothing };
const admin = () => Promise.reject(new Error('none'));
const options = { command: [process.argv[3]], bootstrap: {}, runDir: process.argv[4], drainTimeS: 1, drainWaitMs: 1, ownPorts: [], admin, log };
const envoy = new EnvoyProcess(options);
await envoy.start();
process.stdout.write(String(envoy.pid) + '\\n');
setInterval(nothing, 1000);
`;

const started = (pid: number): string | undefined => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return undefined;
  }
};

test('Envoy ends with an agent that was killed', { skip: !CAN && 'setpriv of util-linux is not here' }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-orphan-'));
  const [envoy, parent, ready] = [join(folder, 'envoy'), join(folder, 'parent.mjs'), join(folder, 'ready')];
  writeFileSync(envoy, `#!/bin/sh\n: > ${ready}\nexec sleep 600\n`, { mode: 0o755 });
  writeFileSync(parent, PARENT);
  const agent = spawn(process.execPath, [parent, ENVOY_PROCESS, envoy, folder], { stdio: ['ignore', 'pipe', 'inherit'] });
  let pid = 0;
  try {
    const [said] = (await once(agent.stdout, 'data')) as [Buffer];
    pid = Number(said.toString());
    const before = started(pid);
    assert.notEqual(before, undefined, 'it runs');
    while (!existsSync(ready)) await new Promise((resolve) => setTimeout(resolve, 10));
    agent.kill('SIGKILL');
    await once(agent, 'exit');
    for (let asked = 0; started(pid) === before && asked < 200; asked++) await new Promise((resolve) => setTimeout(resolve, 20));
    assert.notEqual(started(pid), before, 'it still runs');
  } finally {
    agent.kill('SIGKILL');
    if (pid > 0 && started(pid) !== undefined) process.kill(pid, 'SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
});
