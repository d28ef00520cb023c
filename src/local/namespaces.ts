// Command lines that create and enter namespaces with util-linux's unshare and nsenter. A runtime with threads cannot move itself, a
// fresh process can. Decides between real root and a user namespace; says what to enable where the kernel allows neither.

import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { err, ok, type Result } from '../base/result.ts';

export interface User {
  readonly uid: number;
  readonly gid: number;
  readonly name: string;
  readonly home: string;
}

export type Privilege =
  /** Real root; applications run as `application`, or as root when there is no other user. */
  | { readonly kind: 'root'; readonly application: User | undefined; readonly walls?: Walls }
  /** A user namespace whose root is the user; applications see their real user again. */
  | { readonly kind: 'rootless'; readonly application: User; readonly walls?: Walls };

/** What applications have in a mount namespace of their own. Not against root, who takes such mounts away. */
export interface Walls {
  /** The state folder: sockets, certificates' keys, logs. There is nothing in it for them. */
  readonly hidden: string;
  /** The configuration. */
  readonly readOnly: string;
  /**
   * They also see no process but their own: of a mesh that is root's, where one user's applications could read each other's memory.
   * Elsewhere each has a user namespace, across which nobody can.
   */
  readonly processes?: true;
}

/**
 * Which of the two this machine and user allow, found by trying. `user`: a name or number that applications run as when root starts them,
 * instead of who called sudo.
 */
export const detectPrivilege = (env: Readonly<Record<string, string | undefined>>, user?: string): Result<Privilege, string> => {
  for (const program of ['unshare', 'nsenter', 'mount']) {
    if (spawnSync(program, ['--version']).error !== undefined) return err(`"${program}" is missing: install util-linux (and mount)`);
  }
  const uid = process.getuid?.() ?? 0;
  const own = userOf(uid, process.getgid?.() ?? uid, env);
  if (user !== undefined)
    return uid === 0 ? asUser(user) : err('--user is for root: applications of a mesh that is not root’s run as its user');
  if (uid === 0 && tryUnshare(['-n', '-m']) === undefined) {
    const sudo = Number(env['SUDO_UID'] ?? 0);
    return ok({ kind: 'root', application: sudo > 0 ? userOf(sudo, Number(env['SUDO_GID'] ?? sudo), {}) : undefined });
  }
  const refusal = tryUnshare(['-U', '-r', '-n', '-m']);
  return refusal === undefined ? ok({ kind: 'rootless', application: own }) : err(`${refusal}\n${whatToEnable().join('\n')}`);
};

const asUser = (user: string): Result<Privilege, string> => {
  const [name, , uid, gid, , home] = passwd().find((f) => f[0] === user || f[2] === user) ?? [];
  if (name === undefined) return err(`--user ${user}: there is no such user`);
  if (Number(uid) === 0) return err('--user root: without --user and sudo, applications are root’s already');
  const refusal = tryUnshare(['-n', '-m']);
  if (refusal !== undefined) return err(`${refusal}\n${whatToEnable().join('\n')}`);
  return ok({ kind: 'root', application: { uid: Number(uid), gid: Number(gid), name, home: home ?? '/' } });
};

/** With walls around its applications where that keeps something from them, found by trying; else as it was. */
export const withWalls = (privilege: Privilege, walls: Walls, directory: string): Privilege => {
  const inside = `${directory}/`.startsWith(`${walls.hidden}/`) || `${walls.readOnly}/`.startsWith(`${walls.hidden}/`);
  if (privilege.application === undefined || inside) return privilege;
  const flags = privilege.kind === 'rootless' ? ['-U', '-r', '-n', '-m'] : ['-n', '-m'];
  const holds = (tried: Walls): boolean =>
    spawnSync('unshare', [...flags, '--', ...behindWalls(tried), 'true'], { stdio: 'ignore' }).status === 0;
  const apart: Walls = { ...walls, processes: true };
  if (privilege.kind === 'root' && waitsForItsChild() && holds(apart)) return { ...privilege, walls: apart };
  return holds(walls) ? { ...privilege, walls } : privilege;
};

/** An older unshare ends at a SIGTERM before what it has started does. */
const waitsForItsChild = (): boolean => {
  const said = spawnSync('unshare', ['--version'], { encoding: 'utf8' }).stdout;
  const [, major = '0', minor = '0'] = /(\d+)\.(\d+)/.exec(said) ?? [];
  return Number(major) * 100 + Number(minor) >= 236;
};

const tryUnshare = (flags: readonly string[]): string | undefined => {
  const done = spawnSync('unshare', [...flags, 'true'], { encoding: 'utf8' });
  return done.status === 0 ? undefined : `this kernel does not allow network namespaces here: ${done.stderr.trim()}`;
};

const whatToEnable = (): string[] => {
  const value = (name: string): string | undefined => {
    const path = `/proc/sys/${name.replaceAll('.', '/')}`;
    return existsSync(path) ? readFileSync(path, 'utf8').trim() : undefined;
  };
  const advice: string[] = [];
  if (value('kernel.unprivileged_userns_clone') === '0') advice.push('  enable: sudo sysctl -w kernel.unprivileged_userns_clone=1');
  if (value('kernel.apparmor_restrict_unprivileged_userns') === '1') {
    advice.push('  enable: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 (or an AppArmor profile that allows userns)');
  }
  if (value('user.max_user_namespaces') === '0') advice.push('  enable: sudo sysctl -w user.max_user_namespaces=15000');
  if (value('user.max_net_namespaces') === '0') advice.push('  enable: sudo sysctl -w user.max_net_namespaces=15000');
  if (advice.length === 0)
    advice.push('  in a container: allow user namespaces (seccomp) or run it with CAP_SYS_ADMIN and CAP_NET_ADMIN; or run skein as root');
  return advice;
};

const userOf = (uid: number, gid: number, env: Readonly<Record<string, string | undefined>>): User => {
  const line = passwd().find((f) => Number(f[2]) === uid && f[2] !== '');
  return { uid, gid, name: line?.[0] ?? String(uid), home: env['HOME'] ?? line?.[5] ?? '/' };
};

const passwd = (): string[][] =>
  existsSync('/etc/passwd')
    ? readFileSync('/etc/passwd', 'utf8')
        .split('\n')
        .map((l) => l.split(':'))
    : [];

export type Command = readonly string[];

/** The process that holds the hub's namespaces; rootless it also holds the user namespace that owns everything else. */
export const hubHolder = (privilege: Privilege): Command => [
  'unshare',
  ...(privilege.kind === 'rootless' ? ['-U', '-r'] : []),
  '-n',
  '-m',
  '--',
  'sh',
  '-c',
  HOLD,
];

/** The process that holds one workload's namespaces. `hub`: pid of the hub's holder. */
export const workloadHolder = (privilege: Privilege, hub: number, files: ResolverFiles): Command => [
  ...(privilege.kind === 'rootless' ? ['nsenter', '-t', String(hub), '-U', '--preserve-credentials', '--'] : []),
  'unshare',
  '-n',
  '-m',
  '--',
  'sh',
  '-c',
  `${mountScript(files)}\n${HOLD}`,
];

// Ports below 1024 are free to every user inside, as in containers. The line tells that all is set.
const HOLD = [
  'echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start 2>/dev/null || :',
  'echo ready',
  'exec sleep 2147483647 >/dev/null 2>&1',
].join('\n');

/** Enters as the namespaces' root: for sidecars, the relay and `exec -c proxy`. */
export const enterAsRoot = (privilege: Privilege, holder: number): Command => [
  'nsenter',
  '-t',
  String(holder),
  ...(privilege.kind === 'rootless' ? ['-U', '--preserve-credentials'] : []),
  '-n',
  '-m',
  '--',
];

// The option of a mount that a user namespace may not take away must be said again.
const WALLS = `set -e
mount -t tmpfs -o ro,mode=555,size=4k skein "$1"
mount --bind "$2" "$2"
for o in '' ,nosuid ,nodev ,nosuid,nodev ,nosuid,nodev,noexec last; do
  [ "$o" != last ] || exit 1
  if mount -o "remount,bind,ro$o" "$2" 2>/dev/null; then break; fi
done
set +e
shift 2
exec "$@"`;

// The first of its process namespace: it stays, for one that is gone takes all others along, and takes up what others leave behind. The
// kernel gives it no signal but SIGKILL, so that what it runs, in the same group, decides what a SIGTERM means.
const ALONE = `mount -t proc -o nosuid,nodev,noexec proc /proc || exit 1
"$@"
exit $?`;

const behindWalls = ({ hidden, readOnly, processes }: Walls): Command => [
  ...['unshare', '-m', ...(processes ? ['-p', '--fork', '--kill-child'] : []), '--', 'sh', '-c', WALLS, 'skein', hidden, readOnly],
  ...(processes ? ['sh', '-c', ALONE, 'skein'] : []),
];

/** As the application does, for who is to see its processes, and may. */
export const enterBeside = (privilege: Privilege, holder: number): Command => {
  const { walls } = privilege;
  if (walls?.processes === undefined) return enterAsApplication(privilege, holder);
  const { hidden, readOnly } = walls;
  return enterAsApplication({ ...privilege, walls: { hidden, readOnly } }, holder);
};

/** Enters as the application's user, without power over the workload's network. */
export const enterAsApplication = (privilege: Privilege, holder: number): Command => {
  const { application: user, walls } = privilege;
  const root = [...enterAsRoot(privilege, holder), ...(user === undefined || walls === undefined ? [] : behindWalls(walls))];
  if (user === undefined) return root;
  if (privilege.kind === 'root')
    return [
      ...root,
      'setpriv',
      '--reuid',
      String(user.uid),
      '--regid',
      String(user.gid),
      user.name === String(user.uid) ? '--clear-groups' : '--init-groups',
      // Who may call sudo without a password would else be root behind the walls.
      ...(walls === undefined ? [] : ['--no-new-privs']),
      '--',
    ];
  return [...root, 'unshare', '-U', `--map-user=${user.uid}`, `--map-group=${user.gid}`, '--'];
};

/** Entering a mount namespace forgets the working directory. */
export const inDirectory = (directory: string, command: Command): Command => ['sh', '-c', ENTER_AND_RUN, 'skein', directory, ...command];

// Looks before it runs: what a shell says of a program that is not there is different in every shell. The subshell keeps the
// loop's variable and IFS out of the program's environment.
const ENTER_AND_RUN = `cd "$1" || exit 126
shift
no() { printf 'skein: exec: %s: %s\\n' "$1" "$2" >&2; exit "$3"; }
case $1 in
*/*)
  [ -e "$1" ] || no "$1" 'not found' 127
  [ -f "$1" ] && [ -x "$1" ] || no "$1" 'cannot be run' 126 ;;
*) (set -f; IFS=:; for d in $PATH; do [ -f "\${d:-.}/$1" ] && [ -x "\${d:-.}/$1" ] && exit 0; done; exit 1) || no "$1" 'not found' 127 ;;
esac
exec "$@"`;

export interface ResolverFiles {
  readonly resolvConf: string;
  /** Absent when the host has none. */
  readonly nsswitchConf: string | undefined;
}

const mountScript = ({ resolvConf, nsswitchConf }: ResolverFiles): string => {
  const mounts = [
    [resolvConf, '/etc/resolv.conf'] as const,
    ...(nsswitchConf === undefined ? [] : [[nsswitchConf, '/etc/nsswitch.conf'] as const]),
  ];
  const quote = (path: string): string => `'${path.replaceAll("'", "'\\''")}'`;
  // A file that is not there (or a link to nowhere) cannot be mounted over: /etc is then laid out anew, with links to the old one.
  const copyUp = mounts.some(([, target]) => !reachable(target)) ? [COPY_UP_ETC] : [];
  return ['set -e', ...copyUp, ...mounts.map(([from, target]) => `mount --bind ${quote(from)} ${target}`), 'set +e'].join('\n');
};

// Laid out over /tmp, which every machine has, then moved: nothing is needed outside and nothing stays there.
const COPY_UP_ETC = [
  'mount -t tmpfs -o mode=755 tmpfs /tmp',
  'mkdir /tmp/.host',
  'mount --rbind /etc /tmp/.host',
  'for f in /tmp/.host/* /tmp/.host/.[!.]*; do [ ! -e "$f" ] || ln -s "/etc/.host/$(basename "$f")" "/tmp/$(basename "$f")"; done',
  'rm -f /tmp/resolv.conf; : > /tmp/resolv.conf',
  '[ -e /tmp/nsswitch.conf ] || : > /tmp/nsswitch.conf',
  'mount --move /tmp /etc',
].join('\n');

const reachable = (path: string): boolean => {
  try {
    realpathSync(path);
    return true;
  } catch {
    return false;
  }
};

export const resolvConfText = (nameserver: string, namespace: string): string =>
  `nameserver ${nameserver}\nsearch ${namespace}.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n`;

/** The host's nsswitch.conf with names looked up in files and DNS only; undefined when there is none. */
export const nsswitchText = (host: string | undefined): string | undefined => {
  if (host === undefined) return undefined;
  const lines = host.split('\n').filter((line) => !/^\s*hosts\s*:/.test(line));
  return [...lines.filter((l) => l !== ''), 'hosts: files dns', ''].join('\n');
};
