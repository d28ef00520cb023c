// The parts of the local runtime that decide without processes: addresses, tables, plans, names, texts.

import assert from 'node:assert/strict';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { AddressPool, type WorkloadAddress } from '../../src/local/addresses.ts';
import type { InstanceDocument } from '../../src/local/admin-client.ts';
import { findReplica } from '../../src/local/find-replica.ts';
import { HubDns } from '../../src/local/hub-dns.ts';
import { proxyEnvironment, sidecarCommand } from '../../src/local/launch-plan.ts';
import { sweepLeftovers } from '../../src/local/leftovers.ts';
import { lastLine, openLog, rotateLog } from '../../src/local/log-file.ts';
import { folderMark, isMeshed, readMeshFolder } from '../../src/local/mesh-folder.ts';
import { enterAsApplication, hubHolder, nsswitchText, type Privilege, resolvConfText, workloadHolder } from '../../src/local/namespaces.ts';
import { identify, isAlive } from '../../src/local/process-identity.ts';
import { hubTable, type ServiceDocument, servicesOf } from '../../src/local/service-table.ts';
import {
  createState,
  lockHolder,
  type RunRecord,
  releaseLock,
  type StatePaths,
  stateFolder,
  statePaths,
  takeLock,
} from '../../src/local/state.ts';

const temporary = (): string => mkdtempSync(join(tmpdir(), 'skein-'));

test('addresses are unique, of the right range, and reused last', () => {
  const pool = new AddressPool();
  const first = pool.take(true, true);
  assert.deepEqual(first, { address: '10.244.0.10', applicationSource: '10.245.0.10', link: 'sk10' });
  assert.deepEqual(pool.take(true, false).applicationSource, undefined);
  assert.equal(pool.take(false, true).address, '10.244.128.10');
  pool.free(first);
  const seen = new Set<string>();
  for (let i = 0; i < 1000; i++) seen.add(pool.take(true, true).address);
  assert.equal(seen.size, 1000);
  assert.equal(seen.has('10.244.0.10'), false);
  assert.equal(
    [...seen].some((a) => /\.(0|255)$/.test(a)),
    false,
  );
});

const instance = (name: string, more: Partial<InstanceDocument> = {}): InstanceDocument => ({
  name,
  namespace: 'shop',
  workload: 'echo',
  address: '10.244.0.10',
  labels: { app: 'echo' },
  serviceAccount: 'echo',
  ports: [{ name: 'http', port: 8080 }],
  ready: true,
  meshed: true,
  ...more,
});
const service = (more: Partial<ServiceDocument> = {}): ServiceDocument => ({
  name: 'echo',
  namespace: 'shop',
  clusterIP: undefined,
  selector: { app: 'echo' },
  ports: [{ name: 'http', port: 80, targetPort: 'http', protocol: 'tcp' }],
  ...more,
});

test('virtual ports lead to ready endpoints only', () => {
  const table = hubTable(
    [service(), service({ name: 'none', clusterIP: 'None' }), service({ name: 'fixed', clusterIP: '10.96.1.1', selector: undefined })],
    [
      instance('echo-0'),
      instance('echo-1', { address: '10.244.0.11', ready: false }),
      instance('x-0', { labels: { app: 'x' } }),
      instance('y-0', { namespace: 'other' }),
    ],
  );
  const [port] = table.ports;
  assert.match(port?.address ?? '', /^10\.96\.\d+\.\d+$/);
  assert.deepEqual(port?.endpoints, [{ address: '10.244.0.10', port: 8080 }]);
  assert.deepEqual(table.names['echo.shop.svc.cluster.local'], [port?.address]);
  assert.deepEqual(table.names['none.shop.svc.cluster.local'], ['10.244.0.10']);
  assert.deepEqual(table.names['echo-0.none.shop.svc.cluster.local'], ['10.244.0.10']);
  assert.deepEqual(table.ports[1]?.endpoints, []);
  assert.equal(hubTable([service()], []).ports[0]?.address, port?.address);
});

test('services as the admin API lists them', () => {
  const object = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'a', namespace: 'n' },
    spec: { ports: [{ port: 53, protocol: 'UDP' }] },
  };
  assert.deepEqual(servicesOf({ resources: [{ object, origin: {} }, { object: { kind: 'Pod', metadata: { name: 'b' } } }] }), [
    {
      name: 'a',
      namespace: 'n',
      clusterIP: undefined,
      selector: undefined,
      ports: [{ name: '', port: 53, targetPort: 53, protocol: 'udp' }],
    },
  ]);
  assert.deepEqual(servicesOf(undefined), []);
});

test('the hub answers names it knows and says so of those it does not', async () => {
  const dns = new HubDns('/nonexistent.sock');
  dns.names = { 'echo.shop.svc.cluster.local': ['10.96.0.9'] };
  const query = (name: string, type: number): Buffer =>
    Buffer.concat([
      Buffer.from([0, 42, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
      ...name.split('.').flatMap((label) => [Buffer.from([label.length]), Buffer.from(label)]),
      Buffer.from([0, 0, type, 0, 1]),
    ]);
  const answered = await dns.answer(query('Echo.shop.svc.cluster.local', 1));
  assert.equal(answered?.readUInt16BE(0), 42);
  assert.equal((answered?.[3] ?? 0) & 15, 0);
  assert.equal(answered?.readUInt16BE(6), 1);
  assert.deepEqual([...(answered?.subarray(-4) ?? [])], [10, 96, 0, 9]);
  assert.equal((await dns.answer(query('echo.shop.svc.cluster.local', 28)))?.readUInt16BE(6), 0);
  assert.equal(((await dns.answer(query('no.shop.svc.cluster.local', 1)))?.[3] ?? 0) & 15, 3);
  assert.equal(((await dns.answer(query('example.org', 1)))?.[3] ?? 0) & 15, 2); // the relay is not there
  assert.equal(await dns.answer(Buffer.from('rubbish')), undefined);
});

test('who is in the mesh', () => {
  assert.equal(isMeshed(undefined, undefined), false);
  assert.equal(isMeshed(undefined, 'enabled'), true);
  assert.equal(isMeshed('false', 'enabled'), false);
  assert.equal(isMeshed('true', undefined), true);
  assert.equal(isMeshed('true', 'disabled'), false);
});

const MESH = `
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: enabled}}
---
apiVersion: skein.dev/v1
kind: Workload
metadata:
  name: echo
  namespace: shop
  labels: {app: echo}
  annotations: {traffic.sidecar.istio.io/excludeOutboundPorts: '25,465'}
spec:
  serviceAccount: echo
  replicas: 2
  command: [bun, echo.ts]
  env: {A: b}
  ports: [{name: http, port: 8080}]
  readiness: {httpGet: {path: /healthz, port: http}, period: 2s}
---
apiVersion: skein.dev/v1
kind: Workload
metadata:
  name: plain
  namespace: shop
  labels: {sidecar.istio.io/inject: 'false'}
  annotations: {sidecar.istio.io/statsHistogramBuckets: '{"istiocustom": [1, 5]}'}
spec: {command: ['true']}
`;

test('workloads of a folder', () => {
  const folder = temporary();
  mkdirSync(join(folder, 'sub'));
  writeFileSync(join(folder, 'sub', 'mesh.yaml'), MESH);
  writeFileSync(join(folder, '.hidden.yaml'), 'not: [read');
  const { workloads, problems } = readMeshFolder(folder);
  assert.deepEqual(
    problems.filter((p) => p.severity === 'error'),
    [],
  );
  const [echo, plain] = workloads;
  assert.equal(echo?.meshed, true);
  assert.equal(echo?.replicas, 2);
  assert.deepEqual(echo?.readiness, {
    probe: { kind: 'http', path: '/healthz', port: 8080 },
    periodMs: 2000,
    timeoutMs: 1000,
    failures: 3,
  });
  assert.deepEqual(echo?.capture, { excludeOutboundPorts: [25, 465] });
  assert.deepEqual(JSON.parse(plain?.proxy.env['ISTIO_METAJSON_ANNOTATIONS'] ?? ''), {
    'sidecar.istio.io/statsHistogramBuckets': '{"istiocustom": [1, 5]}',
  });
  assert.equal(echo?.proxy.env['ISTIO_METAJSON_ANNOTATIONS'], undefined);
  assert.equal(plain?.meshed, false);
  assert.equal(plain?.kind, 'application');
  const mark = folderMark(folder);
  assert.equal(folderMark(folder), mark);
  appendFileSync(join(folder, 'sub', 'mesh.yaml'), '---\nkind: Broken\n');
  assert.notEqual(folderMark(folder), mark);
  const broken = readMeshFolder(folder);
  assert.deepEqual(broken.workloads, []);
  assert.ok(broken.problems.some((p) => p.severity === 'error'));
  writeFileSync(join(folder, 'sub', 'mesh.yaml'), Buffer.concat([Buffer.from('# one\n# '), Buffer.of(0xff), Buffer.from('\n')]));
  const [unreadable] = readMeshFolder(folder).problems;
  assert.deepEqual([unreadable?.code, unreadable?.line], ['YAML_SYNTAX', 2], 'bytes that are not UTF-8 are refused, not replaced');
  rmSync(folder, { recursive: true });
});

test('what ProxyConfig says of a workload reaches the command line and the environment of its proxy', () => {
  const directory = temporary();
  const folder = join(directory, 'mesh');
  mkdirSync(folder);
  const proxyConfig = `---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: p, namespace: shop}
spec: {concurrency: 3, environmentVariables: {A: b}}
`;
  writeFileSync(join(folder, 'mesh.yaml'), MESH + proxyConfig);
  writeFileSync(join(directory, 'mesh-config.yaml'), 'defaultConfig: {drainDuration: 7s, terminationDrainDuration: 2s}\n');
  const [plan] = readMeshFolder(folder).workloads;
  assert.ok(plan);
  assert.deepEqual(plan.proxy, { concurrency: 3, drainTimeS: 7, terminationDrainS: 2, env: { A: 'b' } });
  const request = { plan, name: 'echo-1', address: { address: '10.0.0.1' } as WorkloadAddress, runDir: '/r', logFile: '/l' };
  const settings = { paths: { xdsSocket: '/x' } as StatePaths, directory, env: {} };
  const line = (proxy: 'skein' | 'envoy'): string => sidecarCommand(request, { ...settings, proxy }).join(' ');
  assert.match(line('skein'), / --concurrency 3 --drain-time-s 7 /);
  assert.match(line('envoy'), / -- envoy --concurrency 3$/);
  assert.deepEqual(proxyEnvironment(plan), { A: 'b', TERMINATION_DRAIN_DURATION_SECONDS: '2' });
  const start = 'proxyStatsMatcher: {inclusionPrefixes: [x]}, tracing: {zipkin: {address: "z:9411"}, sampling: 5}';
  writeFileSync(join(directory, 'mesh-config.yaml'), `defaultConfig: {${start}, proxyHeaders: {requestId: {disabled: true}}}\n`);
  // What the control plane can say at any time is not frozen into the start.
  assert.deepEqual(JSON.parse(readMeshFolder(folder).workloads[0]?.proxy.env['PROXY_CONFIG'] ?? ''), {
    proxyStatsMatcher: { inclusionPrefixes: ['x'] },
    tracing: { zipkin: { address: 'z:9411' }, sampling: 5 },
  });
  rmSync(directory, { recursive: true });
});

test('command lines of namespaces', () => {
  const user = { uid: 1000, gid: 100, name: 'ann', home: '/home/ann' };
  const rootless: Privilege = { kind: 'rootless', application: user };
  const root: Privilege = { kind: 'root', application: user };
  assert.deepEqual(hubHolder(rootless).slice(0, 5), ['unshare', '-U', '-r', '-n', '-m']);
  assert.deepEqual(hubHolder(root).slice(0, 3), ['unshare', '-n', '-m']);
  const script = workloadHolder(root, 1, { resolvConf: "/a'b/resolv.conf", nsswitchConf: undefined }).at(-1) ?? '';
  assert.match(script, /mount --bind '\/a'\\''b\/resolv\.conf' \/etc\/resolv\.conf/);
  assert.doesNotMatch(script, /nsswitch\.conf \/etc/);
  assert.deepEqual(enterAsApplication(root, 7).slice(6), ['setpriv', '--reuid', '1000', '--regid', '100', '--init-groups', '--']);
  assert.deepEqual(enterAsApplication(rootless, 7), [
    'nsenter',
    '-t',
    '7',
    '-U',
    '--preserve-credentials',
    '-n',
    '-m',
    '--',
    'unshare',
    '-U',
    '--map-user=1000',
    '--map-group=100',
    '--',
  ]);
  assert.deepEqual(enterAsApplication({ kind: 'root', application: undefined }, 7), ['nsenter', '-t', '7', '-n', '-m', '--']);
});

test('resolver files', () => {
  assert.equal(
    resolvConfText('10.244.0.1', 'shop'),
    'nameserver 10.244.0.1\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n',
  );
  assert.equal(nsswitchText('passwd: files\nhosts: mymachines resolve\n'), 'passwd: files\nhosts: files dns\n');
  assert.equal(nsswitchText(undefined), undefined);
});

test('one supervisor a state folder, the lock of a dead one is taken over', () => {
  const paths = statePaths(join(temporary(), 's'));
  createState(paths);
  takeLock(paths);
  assert.throws(() => takeLock(paths), /already runs/);
  releaseLock(paths);
  writeFileSync(paths.lockFile, JSON.stringify({ pid: process.pid, startTime: 1 })); // the number lives on, the process does not
  takeLock(paths);
  assert.throws(() => createState(statePaths(`/tmp/${'x'.repeat(80)}`)), /too long/);
  assert.equal(stateFolder(undefined, { HOME: '/h' }), '/h/.local/state/skein');
  assert.equal(stateFolder(undefined, { HOME: '/h', XDG_STATE_HOME: '/x' }), '/x/skein');
  assert.equal(stateFolder('/f', { SKEIN_STATE: '/e' }), '/f');
  rmSync(paths.root, { recursive: true });
});

test('a lock says who holds it before there is a record, and a dead holder is nobody', () => {
  const paths = statePaths(join(temporary(), 's'));
  createState(paths);
  assert.equal(lockHolder(paths), undefined);
  takeLock(paths);
  assert.equal(lockHolder(paths)?.pid, process.pid);
  assert.deepEqual(
    readdirSync(paths.root).filter((name) => name.startsWith('lock')),
    ['lock'],
  );
  writeFileSync(paths.lockFile, JSON.stringify({ pid: process.pid, startTime: 1 }));
  assert.equal(lockHolder(paths), undefined);
  rmSync(paths.root, { recursive: true });
});

test("a folder with other people's things is no state folder, and keeps its mode", () => {
  const folder = temporary();
  chmodSync(folder, 0o755);
  writeFileSync(join(folder, 'letter.txt'), '');
  assert.throws(() => createState(statePaths(folder)), /holds other things/);
  assert.equal(statSync(folder).mode & 0o777, 0o755);
  rmSync(folder, { recursive: true });
});

test('a control plane that runs by itself keeps its sockets when leftovers are removed', async () => {
  const paths = statePaths(join(temporary(), 's'));
  createState(paths);
  const self = identify(process.pid);
  writeFileSync(paths.adminSocket, '');
  writeFileSync(join(paths.root, 'control-plane.lock'), `${self?.pid} ${self?.startTime}\n`);
  await sweepLeftovers(paths);
  assert.ok(existsSync(paths.adminSocket));
  writeFileSync(join(paths.root, 'control-plane.lock'), `${self?.pid} 1\n`);
  await sweepLeftovers(paths);
  assert.ok(!existsSync(paths.adminSocket));
  rmSync(paths.root, { recursive: true });
});

test('a process is its pid and its start', () => {
  const self = identify(process.pid);
  assert.ok(self !== undefined && isAlive(self));
  assert.equal(isAlive({ ...self, startTime: self.startTime + 1 }), false);
  assert.equal(identify(0x3fffffff), undefined);
});

test('names that people give to replicas', () => {
  const entry = (name: string, workload: string, namespace: string) => ({
    name,
    workload,
    namespace,
    kind: 'application' as const,
    pid: 1,
    startTime: 1,
  });
  const record: RunRecord = {
    version: 1,
    supervisor: { pid: 1, startTime: 1 },
    directory: '/d',
    state: 'ready',
    proxy: 'skein',
    privilege: {},
    notes: [],
    addresses: [],
    notReady: [],
    processes: [
      entry('echo-1', 'echo', 'shop'),
      entry('echo-0', 'echo', 'shop'),
      entry('web-0', 'web', 'shop'),
      entry('web-0', 'web', 'other'),
    ],
  };
  const found = (text: string): string => {
    const result = findReplica(record, text);
    return result.ok ? `${result.value.name}.${result.value.namespace}` : result.error;
  };
  assert.equal(found('echo'), 'echo-0.shop');
  assert.equal(found('echo-1'), 'echo-1.shop');
  assert.equal(found('web.other'), 'web-0.other');
  assert.match(found('web'), /several namespaces/);
  assert.match(found('ech'), /there is no workload "ech"; running: echo-0\.shop/);
});

test('logs are kept below their size and their writer goes on', () => {
  const folder = temporary();
  const fd = openLog(folder, 'a');
  appendFileSync(fd, `${'x'.repeat(100)}\n`);
  assert.equal(rotateLog(folder, 'a', 1000), false);
  assert.equal(rotateLog(folder, 'a', 50), true);
  appendFileSync(fd, 'after\nlast\n');
  assert.equal(readFileSync(join(folder, 'a.log'), 'utf8'), 'after\nlast\n');
  assert.equal(readFileSync(join(folder, 'a.log.1'), 'utf8').length, 101);
  assert.equal(lastLine(folder, 'a'), 'last');
  assert.equal(lastLine(folder, 'none'), '');
  rmSync(folder, { recursive: true });
});

test('a mesh folder that is gone gives a problem and no plan; links are followed once', () => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-folder-'));
  const gone = readMeshFolder(join(folder, 'not-there'));
  assert.deepEqual(gone.workloads, []);
  assert.equal(gone.problems[0]?.code, 'FOLDER_UNREADABLE');
  assert.equal(gone.problems[0]?.severity, 'error');
  const text = 'apiVersion: skein.dev/v1\nkind: Workload\nmetadata: {name: w, namespace: n}\nspec: {command: [sleep, "9"]}\n';
  writeFileSync(join(folder, 'w.yaml'), text);
  symlinkSync('.', join(folder, 'again'));
  assert.deepEqual(
    readMeshFolder(folder).workloads.map((w) => w.name),
    ['w'],
  );
  rmSync(folder, { recursive: true });
});
