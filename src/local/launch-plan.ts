// How the supervisor's processes are started: command lines of sidecars, the environment of everything, and what that means for isolation.
// Pure but for looking where the runtimes are.

import { runMark } from './leftovers.ts';
import { NOTIFY_FD } from './managed-process.ts';
import type { Command, Privilege } from './namespaces.ts';
import type { SidecarRequest } from './replica.ts';
import { applicationPath, launched, skeinCommand } from './runtime-paths.ts';
import type { StatePaths } from './state.ts';

export interface LaunchSettings {
  readonly paths: StatePaths;
  readonly directory: string;
  readonly proxy: 'skein' | 'envoy';
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Sidecars tell the control plane what happens, unless this says no. */
  readonly summaries?: boolean;
}

export const sidecarCommand = (
  { plan, name, address, runDir, logFile }: SidecarRequest,
  { paths, proxy, env, summaries }: LaunchSettings,
): Command => {
  const labels = Object.entries(plan.labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(',');
  const flags = [
    ...['--name', name, '--namespace', plan.namespace, '--service-account', plan.serviceAccount, '--workload', plan.name],
    ...['--ip', address.address, '--xds', `unix:${paths.xdsSocket}`, '--token-fd', '3', '--run-dir', runDir],
    ...(labels === '' ? [] : ['--labels', labels]),
    ...(summaries === false ? [] : ['--summaries']),
    ...(plan.kind === 'gateway' ? ['--gateway', '--no-dns'] : ['--bind-source', address.address]),
    ...plan.ports.flatMap(({ port }) => (plan.kind === 'gateway' ? [] : ['--app-port', String(port)])),
  ];
  const { concurrency, drainTimeS } = plan.proxy;
  const workers = concurrency === undefined ? [] : ['--concurrency', String(concurrency)];
  if (proxy === 'envoy') return [...skeinCommand(), 'agent', ...flags, '--', env['ENVOY'] ?? 'envoy', ...workers];
  const drain = drainTimeS === undefined ? [] : ['--drain-time-s', String(drainTimeS)];
  return [...launched('proxy'), ...flags, ...workers, ...drain, '--notify-fd', String(NOTIFY_FD), '--log-file', logFile];
};

/** What the user should know about isolation; the first says whether one workload can get at the identity of another. */
export const notesOf = (privilege: Privilege): string[] => {
  const { application: user, walls } = privilege;
  if (user === undefined) {
    return [
      'identities: not isolated: applications run as root (started by root without sudo) and can read every key; name a user with --user',
    ];
  }
  if (walls === undefined) {
    const why = privilege.kind === 'rootless' ? 'and the state folder, with its sockets, is open to them' : 'and see the state folder';
    return [`identities: not isolated: applications run as ${user.name}, ${why}: it cannot be hidden from them here`];
  }
  if (privilege.kind === 'root' && walls.processes === undefined) {
    return [
      `identities: not isolated: applications run as ${user.name} and can read each other's memory: they cannot have processes of their own here`,
      `sidecars run as root; the state folder is hidden from applications, the mesh folder is read-only to them`,
    ];
  }
  const [sidecars, apart] =
    privilege.kind === 'rootless'
      ? ['sidecars in a user namespace that they cannot enter', 'cannot read each other’s memory']
      : ['sidecars as root', 'see no process but their own'];
  return [
    `identities: isolated: applications run as ${user.name}, ${sidecars}, and ${apart}; the state folder is hidden from them`,
    `applications run as one user, not isolated from what ${user.name} owns; the mesh folder is read-only to them`,
  ];
};

/** What the workload's proxies find in their environment beside everybody's. */
export const proxyEnvironment = ({ proxy }: SidecarRequest['plan']): Readonly<Record<string, string>> => ({
  ...proxy.env,
  ...(proxy.terminationDrainS === undefined ? {} : { TERMINATION_DRAIN_DURATION_SECONDS: String(proxy.terminationDrainS) }),
});

export const environmentFor = ({ env, directory, paths }: LaunchSettings): Record<string, string> => {
  const kept = Object.entries(env).flatMap(([key, value]) =>
    value === undefined || /^(SUDO_|SKEIN_STATE$|SKEIN_RUN$)/.test(key) ? [] : [[key, value] as const],
  );
  const [name = '', ...mark] = runMark(paths.root).split('=');
  return { ...Object.fromEntries(kept), PATH: applicationPath(directory, env['PATH']), [name]: mark.join('=') };
};
