// Network namespaces of a run: one for the run itself (10.77.0.1 on a bridge), one a host in sidecar scenarios.
import { spawnSync } from 'node:child_process';
import { readlinkSync } from 'node:fs';

export const ADDRESS = '10.77.0.1';
const INSIDE = 'SKEIN_CONFORMANCE_INSIDE';

const sh = (program: string, ...args: string[]): void => {
  const done = spawnSync(program, args, { encoding: 'utf8' });
  if (done.status !== 0) throw new Error(`${program} ${args.join(' ')}: ${done.stderr.trim()}`);
};

/** Runs this program again in a network namespace of its own and exits with its code; returns only inside. */
export const enterOwnNamespace = (): void => {
  if (process.env[INSIDE]) {
    sh('ip', 'link', 'set', 'lo', 'up');
    sh('ip', 'link', 'add', 'br0', 'type', 'bridge');
    sh('ip', 'addr', 'add', `${ADDRESS}/16`, 'dev', 'br0');
    sh('ip', 'link', 'set', 'br0', 'up');
    return;
  }
  const how = process.getuid?.() === 0 ? ['--net', '--mount'] : ['--net', '--mount', '--user', '--map-root-user'];
  const done = spawnSync('unshare', [...how, process.execPath, ...process.argv.slice(1)], {
    stdio: 'inherit',
    env: { ...process.env, [INSIDE]: '1' },
  });
  process.exit(done.status ?? 1);
};

/** The command line that runs `command` in a fresh network namespace. */
export const inNewNamespace = (command: readonly string[]): string[] => ['unshare', '--net', ...command];
/** The command line that runs `command` beside the process `pid`. */
export const besideProcess = (pid: number, command: readonly string[]): string[] => [
  'nsenter',
  '--target',
  String(pid),
  '--net',
  ...command,
];

/** Gives the namespace of `pid` an interface on the bridge. Waits until the process has its own namespace. */
export const plugIn = async (pid: number, address: string): Promise<void> => {
  const own = readlinkSync('/proc/self/ns/net');
  for (let i = 0; readlinkSync(`/proc/${pid}/ns/net`) === own; i++) {
    if (i > 400) throw new Error(`process ${pid} did not get a network namespace`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const veth = `v${pid}`;
  sh('ip', 'link', 'add', veth, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(pid));
  sh('ip', 'link', 'set', veth, 'master', 'br0');
  sh('ip', 'link', 'set', veth, 'up');
  const inside = (...args: string[]): void => sh('nsenter', '--target', String(pid), '--net', 'ip', ...args);
  inside('link', 'set', 'lo', 'up');
  inside('addr', 'add', `${address}/16`, 'dev', 'eth0');
  inside('link', 'set', 'eth0', 'up');
  inside('route', 'add', 'default', 'via', ADDRESS);
};
