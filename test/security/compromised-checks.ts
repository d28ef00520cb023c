// What a compromised workload cannot do (line 4 of the table): by the protocols of the control plane, each in a test file, and from inside
// an application of a live shop whose applications run as another user than its sidecars.
import { spawnSync } from 'node:child_process';
import { chmodSync, lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Mesh, run } from '../integration/mesh.ts';
import { expect } from '../integration/suite.ts';
import type { Checks, ProxyKind, SecurityCheck, SecurityContext } from './check.ts';

const PORT = { skein: 18_195, envoy: 18_196 } as const;
const USER = 'nobody';

const FILES = [
  [
    'test/control/auth/doors.test.ts',
    'get another identity’s certificate, reuse a join token, come in without a proof or with a foreign one',
  ],
  ['test/control/auth/other-identities.test.ts', 'read another node’s secrets or configuration, or be asked in another’s place'],
  ['test/control/ca/hostile-requests.test.ts', 'have more certified than its identity, in whatever form it asks'],
  ['test/control/auth/gateway-claim.test.ts', 'say that it is a gateway and be given its keys'],
  ['test/control/state-folder.test.ts', 'get at keys and sockets in a state folder that was open to others'],
  ['test/control/socket-file.test.ts', 'have a file removed by a link where a socket is to be'],
  ['test/control/registration/registration.test.ts', 'register endpoints for another service account', 'account'],
  ['test/control/auth/admin-access.test.ts', 'write configuration by the admin API, or find a token in what is kept or shown'],
  ['test/local/walls.test.ts', 'reach keys, sockets or configuration on disk or in memory where isolation is reported'],
  ['test/agent/workload-api.test.ts', 'be given a key by the Workload API without asking as it says'],
] as const;

export const checks: Checks = (context) => {
  const meshes = new Map<ProxyKind, Promise<Mesh>>();
  const live = (proxy: ProxyKind): Promise<Mesh> => {
    const mesh = meshes.get(proxy) ?? start(context, proxy);
    meshes.set(proxy, mesh);
    return mesh;
  };
  /** It is not to run beside what comes after. */
  const last = async (proxy: ProxyKind, look: (mesh: Mesh) => Promise<string>): Promise<string> => {
    const mesh = await live(proxy);
    try {
      return await look(mesh);
    } finally {
      mesh.remove();
      meshes.delete(proxy);
    }
  };
  return [
    ...FILES.map(([path, cannot, only]) => ({
      line: 4,
      name: `a compromised workload cannot ${cannot}`,
      needs: [],
      run: () => context.testFile(path, only === undefined ? {} : { only }),
    })),
    ...context.proxies.map(
      (proxy): SecurityCheck => ({
        line: 4,
        name: 'from inside an application of the live shop: no key, no socket, no configuration of the mesh',
        needs: proxy === 'envoy' ? ['root', 'namespaces', 'envoy', 'time'] : ['root', 'namespaces'],
        proxy,
        ownMesh: true,
        run: () => (proxy === 'envoy' ? last(proxy, attack) : live(proxy).then(attack)),
      }),
    ),
    {
      line: 4,
      name: 'the shop’s own processes listen on this machine’s loopback only, and its files are its owner’s alone',
      needs: ['root', 'namespaces'],
      proxy: 'skein',
      ownMesh: true,
      run: async () => doorsOf(await live('skein')),
    },
    {
      line: 4,
      name: 'dumps, pages and logs of a live sidecar and of the control plane hold no key and no token',
      needs: ['root', 'namespaces'],
      proxy: 'skein',
      ownMesh: true,
      run: () => last('skein', secretsShown),
    },
  ];
};

const start = async (context: SecurityContext, proxy: ProxyKind): Promise<Mesh> => {
  const mesh = new Mesh({ port: PORT[proxy], env: { ENVOY: context.envoy ?? '' } });
  context.onEnd(() => mesh.remove());
  // The applications' user has to get to its own folder.
  chmodSync(dirname(mesh.dir), 0o755);
  await mesh.up('--user', USER, ...(proxy === 'envoy' ? ['--proxy', 'envoy'] : []));
  return mesh;
};

/** Each line: what was tried, and whether it went. */
const attackText = (mesh: Mesh, sidecar: number, other: string, application: number): string =>
  `
try() { what=$1; shift; if "$@" >/dev/null 2>&1; then echo "yes $what"; else echo "no $what"; fi; }
try 'run as root' sh -c '[ "$(id -u)" = 0 ]'
try 'see the state folder' sh -c '[ -n "$(ls -A ${mesh.state})" ]'
try 'ask the admin API' curl -sf --max-time 3 --unix-socket ${mesh.state}/admin.sock http://admin/v1/status
try 'reach xDS' curl -sf --max-time 3 --http2-prior-knowledge --unix-socket ${mesh.state}/xds.sock http://xds/
try 'read the root key' sh -c 'cat ${mesh.state}/ca/* ${mesh.state}/ca/*/*'
try 'write configuration' touch ${mesh.dir}/mesh/open.yaml
try 'take the walls away' unshare -U -r -m sh -c 'umount ${mesh.state} && ls ${mesh.state}/ca'
try 'read the memory of a sidecar' sh -c 'head -c 1 /proc/${sidecar}/environ || head -c 1 /proc/${sidecar}/mem'
try 'see what a sidecar has open' readlink /proc/${sidecar}/fd/0
try 'see the files of a sidecar' ls /proc/${sidecar}/root/
try 'end a sidecar' kill -9 ${sidecar}
try 'see another application' ls /proc/${application}
try 'read the environment of another application' grep -q SERVICE /proc/${application}/environ
try 'see the files of another application' ls /proc/${application}/root/
try 'end another application' kill -9 ${application}
try 'change the redirection' sh -c 'nft flush ruleset || iptables -t nat -F'
try 'ask the admin API of another sidecar' curl -sf --max-time 3 http://${other}:15000/config_dump
try 'make another sidecar quit' curl -sf --max-time 3 -X POST http://${other}:15020/quitquitquit
try 'find a key at its own sidecar' sh -c 'curl -s --max-time 5 "http://127.0.0.1:15000/config_dump?include_eds" | grep -q "PRIVATE KEY\\|LS0tLS1CRUdJTiB.*S0VZ"'
try 'do its work' curl -sf --max-time 5 http://127.0.0.1:15021/healthz/ready
`;

const attack = async (mesh: Mesh): Promise<string> => {
  const [own, other] = [await mesh.workload('order-service'), await mesh.workload('user-service')];
  const sidecar = mesh.process('sidecar', other.name);
  const first = (name: string): number => childOf(mesh.process('application', name).pid);
  const words = attackText(mesh, sidecar.pid, other.address, childOf(first(other.name)));
  // Not by `skein exec`, which is the operator's: where the application itself is, and as what it is.
  const inside = ['nsenter', '-t', String(first(own.name)), '-n', '-m', '-p', '--', 'setpriv', '--reuid', USER, '--regid', '65534'];
  const done = await run('env', [...inside, '--clear-groups', '--no-new-privs', '--', 'sh', '-c', words], { msMax: 100_000 });
  expect(done.code === 0, `exit ${done.code}: ${done.err}`);
  const lines = done.out.trim().split('\n');
  const went = lines.filter((line) => line.startsWith('yes '));
  expect(went.length === 1 && went[0] === 'yes do its work', `these went:\n${went.join('\n')}\n${done.err}`);
  const status = await mesh.skein('status');
  expect(/identities: isolated: applications run as nobody/.test(status.out), `status says:\n${status.out}`);
  return `${lines.length - 1} attempts, none went`;
};

/** The only one; as root, an application is the second below what was started for it. */
const childOf = (pid: number): number => {
  const [child = ''] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ');
  return Number(child);
};

/** Of the host's network: IPv4 and IPv6, `address:port` in hexadecimal, by inode. */
const listening = (): ReadonlyMap<string, string> => {
  const out = new Map<string, string>();
  for (const file of ['/proc/net/tcp', '/proc/net/tcp6', '/proc/net/udp', '/proc/net/udp6']) {
    for (const line of readFileSync(file, 'utf8').split('\n').slice(1)) {
      const [, local = '', , state, , , , , , inode = ''] = line.trim().split(/\s+/);
      if (state === '0A' || (file.includes('udp') && state === '07')) out.set(inode, local);
    }
  }
  return out;
};

const LOOPBACK = /^([0-9A-F]{6}7F|0{24}01000000|0{16}FFFF0000[0-9A-F]{6}7F):/;

const doorsOf = async (mesh: Mesh): Promise<string> => {
  const sockets = listening();
  const record = JSON.parse(readFileSync(join(mesh.state, 'run.json'), 'utf8')) as {
    readonly supervisor: { readonly pid: number };
    readonly processes: readonly { readonly pid: number; readonly kind: string }[];
  };
  const host = readlinkSync('/proc/self/ns/net');
  const pids = [record.supervisor.pid, ...record.processes.map((p) => p.pid)].filter((pid) => netOf(pid) === host);
  expect(pids.length >= 2, 'the control plane and the supervisor run in the host’s network');
  const found = pids.flatMap((pid) => inodesOf(pid).flatMap((inode) => sockets.get(inode) ?? []));
  const beyond = found.filter((local) => !LOOPBACK.test(local));
  expect(beyond.length === 0, `beyond loopback: ${beyond.join(' ')}`);
  const loose = spawnSync('find', [mesh.state, '-mindepth', '1', '(', '-type', 'f', '-o', '-type', 's', ')', '-perm', '/077'], {
    encoding: 'utf8',
  });
  const open = loose.stdout
    .trim()
    .split('\n')
    .filter((path) => path !== '' && !/\/(resolv|nsswitch)\.conf$/.test(path));
  expect((lstatSync(mesh.state).mode & 0o077) === 0, 'the state folder is open to others');
  const secret = open.filter((path) => /\/(ca|tokens|join-tokens|access-tokens)\/|\.sock$/.test(path));
  expect(secret.length === 0, `open to others: ${secret.join(' ')}`);
  return `${found.length} sockets in the host’s network`;
};

const netOf = (pid: number): string => {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return '';
  }
};

const inodesOf = (pid: number): readonly string[] =>
  readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      const [, inode] = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`)) ?? [];
      return inode === undefined ? [] : [inode];
    } catch {
      return [];
    }
  });

/** A key in PEM, or its beginning in base64, or a token of ours. */
const SECRET = /PRIVATE KEY|LS0tLS1CRUdJTiBQUklWQVRF|LS0tLS1CRUdJTiBFQyBQUklWQVRF|skein_(join_|admin_)?[A-Za-z0-9_-]{43}/;

const secretsShown = async (mesh: Mesh): Promise<string> => {
  const { name } = await mesh.workload('order-service');
  const made = (await mesh.ok('token', 'create', '--service-account', 'production/vm')).trim();
  expect(SECRET.test(made), `token create printed ${made}`);
  const shown: (readonly [string, string])[] = [];
  for (const path of [
    '/config_dump?include_eds',
    '/certs',
    '/server_info',
    '/stats',
    '/clusters',
    '/listeners',
    '/runtime',
    '/help',
    '/init_dump',
  ]) {
    const page = await mesh.skein('exec', '-c', 'proxy', name, '--', 'curl', '-s', '--max-time', '10', `http://127.0.0.1:15000${path}`);
    shown.push([path, page.out]);
  }
  for (const words of [
    ['status', '-o', 'json'],
    ['get', 'all', '-o', 'yaml'],
    ['token', 'list'],
    ['proxy-config', 'secret', name, '-o', 'json'],
  ])
    shown.push([words.join(' '), Object.values(await mesh.skein(...words)).join('\n')]);
  for (const file of readdirSync(join(mesh.state, 'logs')))
    shown.push([`log ${file}`, readFileSync(join(mesh.state, 'logs', file), 'utf8')]);
  for (const file of readdirSync(join(mesh.state, 'join-tokens')))
    shown.push([file, readFileSync(join(mesh.state, 'join-tokens', file), 'utf8')]);
  shown.push(['run.json', readFileSync(join(mesh.state, 'run.json'), 'utf8')]);
  const leaks = shown.filter(([, text]) => SECRET.test(text)).map(([what, text]) => `${what}: ${SECRET.exec(text)?.[0].slice(0, 24)}…`);
  expect(leaks.length === 0, leaks.join('\n'));
  return `${shown.length} texts, ${Math.round(shown.reduce((sum, [, text]) => sum + text.length, 0) / 1024)} KiB`;
};
