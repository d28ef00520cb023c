// A small mesh in real namespaces: redirection, loops, DNS, relay, exec, crashes, and that nothing stays.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { test } from 'node:test';
import { sweepLeftovers } from '../../src/local/leftovers.ts';
import { readRun, statePaths } from '../../src/local/state.ts';
import { firstAnswer, hostNetwork, isRoot, liveRefusal, makePlace, type Place, processesOf, startScenario } from './fixture/live.ts';

interface Answer {
  readonly privilege: { readonly kind: string };
  readonly notes: readonly string[];
  readonly notReady: readonly string[];
  readonly swept: number;
  readonly addresses: { readonly echo: string; readonly caller: string; readonly plain: string };
  readonly traffic: Readonly<Record<string, string>> & { readonly plainByName: readonly string[] };
  readonly identity: string;
  readonly callerLog: string;
  readonly echoLog: string;
  readonly exec: {
    readonly plain: { readonly code: number; readonly out: string };
    readonly network: { readonly out: string };
    readonly runtime: { readonly out: string };
    readonly missing: { readonly code: number; readonly err: string };
    readonly proxy: number;
  };
  readonly logs: string;
  readonly crashes?: Readonly<Record<string, number>> & { readonly after: string };
  readonly killedAfterStop: number;
  readonly left: number;
}

const TIMEOUT = { timeout: 120_000 };
const peerOf = (text: string | undefined): unknown =>
  (JSON.parse((JSON.parse(text ?? '{}') as { body: string }).body) as { peer?: unknown }).peer;
const instanceOf = (text: string | undefined): unknown =>
  (JSON.parse((JSON.parse(text ?? '{}') as { body: string }).body) as { instance?: unknown }).instance;

const runScenario = async (place: Place, rootless: boolean, mode: 'all' | 'short'): Promise<Answer> => {
  const child = startScenario(place, rootless, mode);
  const closed = once(child, 'close');
  const answer = (await firstAnswer(child)) as unknown as Answer;
  await closed;
  return answer;
};

const checkTraffic = ({ traffic, addresses, callerLog, echoLog }: Answer): void => {
  const { echo, caller, plain } = addresses;
  const source = caller.replace('10.244.', '10.245.');
  // Outbound is redirected with its original destination, whatever the address; the other side sees the workload's address.
  assert.equal(instanceOf(traffic['meshed']), 'echo-0');
  assert.match(callerLog, new RegExp(`^outbound ${source} to ${echo}:8080$`, 'm'));
  assert.match(callerLog, new RegExp(`^outbound ${source} to 10\\.96\\.7\\.7:80$`, 'm'));
  assert.match(echoLog, new RegExp(`^inbound ${caller} to ${echo}:8080$`, 'm'));
  assert.equal(peerOf(traffic['meshed']), '127.0.0.6');
  // The sidecar's own connections are not redirected again: one line a call.
  assert.equal(callerLog.split('\n').filter((l) => l === `outbound ${source} to ${echo}:8080`).length, 1);
  // A service that leads back to the caller goes in through its own inbound port; calls to itself and to lo stay.
  assert.equal(instanceOf(traffic['selfVirtual']), 'echo-0');
  assert.match(echoLog, new RegExp(`^inbound ${echo} to ${echo}:8080$`, 'm'));
  assert.equal(instanceOf(traffic['self']), 'caller-0');
  assert.equal(peerOf(traffic['loopback']), '127.0.0.1');
  assert.doesNotMatch(callerLog, new RegExp(`to (${caller}|127\\.0\\.0\\.1):8080`));
  // Outside the mesh: in and out, and by the names and virtual addresses of Services, in turn.
  assert.match(echoLog, new RegExp(`^inbound ${plain} to ${echo}:8080$`, 'm'));
  assert.equal(peerOf(traffic['toPlain']), caller);
  assert.deepEqual(new Set(traffic.plainByName.map(instanceOf)), new Set(['echo-0', 'echo-1']));
  assert.match(traffic['unknownName'] ?? '', /ENOTFOUND/);
  // DNS of a meshed application goes to its sidecar's agent.
  assert.match(callerLog, new RegExp(`^dns from ${source}$`, 'm'));
};

const checkRelay = ({ traffic }: Answer): void => {
  assert.equal(traffic['ingress'], 'ready');
  if (traffic['out'] === '') return; // a host without a network
  assert.match(traffic['out'] ?? '', /hello from outside/);
  assert.match(traffic['outPlain'] ?? '', /hello from outside/);
  assert.match(traffic['outRefused'] ?? '', /ECONNRE/);
};

const checkExec = ({ exec, logs }: Answer, uid: number, directory: string): void => {
  assert.equal(exec.plain.code, 9);
  assert.equal(exec.plain.out, `input${uid}\n${directory}\ncaller-0\n`);
  assert.match(
    exec.network.out,
    /^nameserver 10\.244\.0\.1\nsearch shop\.svc\.cluster\.local svc\.cluster\.local cluster\.local\noptions ndots:5\n/,
  );
  if (existsSync('/etc/nsswitch.conf')) assert.match(exec.network.out, /^hosts: files dns$/m);
  assert.equal(exec.runtime.out, 'true\n');
  assert.equal(exec.missing.code, 1);
  assert.match(exec.missing.err, /there is no workload "nobody"/);
  assert.equal(exec.proxy, 2); // no command given
  assert.match(logs, /^inbound /);
};

const checkClean = (place: Place, answer: Answer, before: string): void => {
  assert.equal(answer.left, 0);
  assert.equal(answer.killedAfterStop, 0);
  assert.equal(hostNetwork(), before);
  assert.deepEqual(processesOf(place), []);
  assert.equal(existsSync(`${place.state}/run.json`), false);
  assert.equal(existsSync(`${place.state}/logs/echo-0.shop.log`), true);
};

const refusal = liveRefusal(false);
test('a mesh of the running user in namespaces', { ...TIMEOUT, skip: refusal ?? false }, async () => {
  const place = await makePlace(false);
  const before = hostNetwork();
  const answer = await runScenario(place, false, 'all');
  assert.deepEqual(answer.notReady, []);
  checkTraffic(answer);
  checkRelay(answer);
  checkExec(answer, process.getuid?.() ?? 0, place.directory);
  const { crashes } = answer;
  assert.ok(crashes !== undefined);
  // Not ready is told within 200 ms of a death; the killed one serves again within 3 s.
  for (const name of ['applicationGone', 'sidecarGone'])
    assert.ok((crashes[name] ?? -1) >= 0 && (crashes[name] ?? -1) < 200, `${name} ${crashes[name]}`);
  for (const name of ['applicationBack', 'sidecarBack', 'relayBack'])
    assert.ok((crashes[name] ?? -1) >= 0 && (crashes[name] ?? -1) < 3000, `${name} ${crashes[name]}`);
  assert.equal(instanceOf(crashes.after), 'echo-0');
  checkClean(place, answer, before);
  rmSync(dirname(place.state), { recursive: true, force: true });
});

const rootlessRefusal = isRoot ? liveRefusal(true) : 'the test above already ran as an unprivileged user';
test('a mesh of an unprivileged user', { ...TIMEOUT, skip: rootlessRefusal ?? false }, async () => {
  const place = await makePlace(true);
  const before = hostNetwork();
  const answer = await runScenario(place, true, 'short');
  assert.equal(answer.privilege.kind, 'rootless');
  assert.deepEqual(answer.notReady, []);
  assert.equal((JSON.parse(answer.identity) as { uid: number }).uid, 65534);
  assert.match(answer.notes.join(), /^identities: (not )?isolated/);
  checkTraffic(answer);
  checkRelay(answer);
  checkExec(answer, 65534, place.directory);
  checkClean(place, answer, before);
  rmSync(dirname(place.state), { recursive: true, force: true });
});

test('what a killed supervisor leaves is ended by the next run', { ...TIMEOUT, skip: refusal ?? false }, async () => {
  const place = await makePlace(false);
  const before = hostNetwork();
  const held = startScenario(place, false, 'hold');
  await firstAnswer(held);
  const paths = statePaths(place.state);
  const running = readRun(paths)?.processes ?? [];
  // hub, two relays, control plane, five holders, four sidecars and a gateway less the plain one, four applications
  assert.equal(running.length, 4 + 5 + 4 + 4);
  const closed = once(held, 'exit');
  held.kill('SIGKILL');
  await closed;
  assert.ok(processesOf(place).length >= running.length);
  const answer = await runScenario(place, false, 'short');
  assert.ok(answer.swept >= running.length, `${answer.swept} of ${running.length}`);
  checkTraffic(answer);
  checkClean(place, answer, before);
  assert.deepEqual(await sweepLeftovers(paths), { found: 0, left: [] });
  rmSync(dirname(place.state), { recursive: true, force: true });
});
