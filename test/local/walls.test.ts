// What an application cannot reach of the mesh around it, tried from inside with everything its user may do: the state folder with the
// sockets, the configuration, the memory of a sidecar, the token that a sidecar was started with.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { notesOf } from '../../src/local/launch-plan.ts';
import {
  type Command,
  detectPrivilege,
  enterAsApplication,
  enterAsRoot,
  hubHolder,
  inDirectory,
  type Privilege,
  withWalls,
} from '../../src/local/namespaces.ts';

const isRoot = process.getuid?.() === 0;
/** Where the kernel forbids namespaces nothing is started, so there is nothing to keep apart. */
const forbidden = !detectPrivilege(process.env, isRoot ? 'nobody' : undefined).ok;
const SECRET = 'a-key-that-nobody-else-may-have';

const begin = async (command: Command, said: string): Promise<ChildProcess> => {
  const [program = '', ...args] = command;
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'], detached: true });
  await new Promise<void>((resolve, reject) => {
    child.stdout?.on('data', (b: Buffer) => b.includes(said) && resolve());
    child.once('exit', (code) => reject(new Error(`${program} ended with ${code}`)));
  });
  child.removeAllListeners('exit');
  return child;
};

/** Each line: what was tried, and whether it went. */
const ATTACK = `
try() { what=$1; shift; if "$@" >/dev/null 2>&1; then echo "$what: yes"; else echo "$what: no"; fi; }
try 'read the state folder' cat STATE/secret
try 'list what is in it' sh -c '[ -n "$(ls -A STATE)" ]'
try 'open the admin socket' sh -c '[ -S STATE/admin.sock ]'
try 'take the walls away' umount STATE
try 'take them away as root of a user namespace' unshare -U -r -m sh -c 'umount STATE; umount -l STATE; cat STATE/secret'
try 'write the configuration' touch MESH/x.yaml
try 'make it writable' mount -o remount,bind,rw MESH
try 'write it as root of a user namespace' unshare -U -r -m sh -c 'mount -o remount,bind,rw MESH; touch MESH/y.yaml'
try 'move it away' mv MESH MESH.old
try 'read the memory of the sidecar' sh -c 'head -c 1 /proc/SIDECAR/mem; cat /proc/SIDECAR/environ'
try 'see the sidecar’s files' sh -c 'ls /proc/SIDECAR/root/ && cat /proc/SIDECAR/root/STATE/secret'
try 'read what the sidecar has open' sh -c 'cat /proc/SIDECAR/fd/9 || readlink /proc/SIDECAR/fd/9'
try 'enter the sidecar’s namespaces' nsenter -t SIDECAR -m -n cat STATE/secret
try 'see another application' sh -c '[ -d /proc/OTHER ] && tr "\\0" "\\n" </proc/OTHER/environ | grep OTHER_KEY'
try 'read the memory of another application' head -c 1 /proc/OTHER/mem
try 'get at its files' ls /proc/OTHER/root/
try 'see what it has open' readlink /proc/OTHER/fd/0
try 'become root' sh -c '[ "$(sudo -n id -u)" = 0 ]'
try 'write in its own folder' touch DIR/own
`;

const withMesh = async (privilege: Privilege, uid: number | undefined, run: (lines: readonly string[], walled: Privilege) => void) => {
  const base = mkdtempSync(join(tmpdir(), 'skein-walls-'));
  const [state, dir] = [join(base, 'state'), join(base, 'shop')];
  const mesh = join(dir, 'mesh');
  for (const folder of [state, dir, mesh]) mkdirSync(folder);
  writeFileSync(join(state, 'secret'), SECRET, { mode: 0o600 });
  writeFileSync(join(mesh, 'a.yaml'), '');
  chmodSync(base, 0o755);
  chmodSync(state, 0o700);
  // The folder is the user's; of a mesh that is not root's the state folder is too.
  if (uid !== undefined) for (const path of [dir, mesh, join(mesh, 'a.yaml')]) chownSync(path, uid, uid);
  const children: ChildProcess[] = [];
  try {
    const walled = withWalls(privilege, { hidden: state, readOnly: mesh }, dir);
    const holder = await begin(hubHolder(privilege), 'ready');
    children.push(holder);
    const sidecar = await begin(
      [
        ...enterAsRoot(privilege, holder.pid ?? 0),
        'env',
        `KEY=${SECRET}`,
        'sh',
        '-c',
        `exec 9<${join(state, 'secret')}; echo up; exec sleep 60`,
      ],
      'up',
    );
    children.push(sidecar);
    const other = await begin(
      [
        ...enterAsApplication(walled, holder.pid ?? 0),
        ...inDirectory(dir, ['env', `OTHER_KEY=${SECRET}`, 'sh', '-c', 'echo up; exec sleep 61']),
      ],
      'up',
    );
    children.push(other);
    const script = ATTACK.replaceAll('STATE', state)
      .replaceAll('OTHER_KEY', SECRET)
      .replaceAll('OTHER', String(processWith('OTHER_KEY')))
      .replaceAll('MESH', mesh)
      .replaceAll('DIR', dir)
      .replaceAll('SIDECAR', String(sidecar.pid));
    const [program = '', ...args] = [...enterAsApplication(walled, holder.pid ?? 0), ...inDirectory(dir, ['sh', '-c', script])];
    const done = spawnSync(program, args, { encoding: 'utf8', timeout: 60_000 });
    assert.equal(done.status, 0, done.stderr);
    assert.ok(!done.stdout.includes(SECRET));
    run(done.stdout.trim().split('\n'), walled);
  } finally {
    for (const { pid } of children) if (pid !== undefined) process.kill(pid, 'SIGKILL');
    rmSync(base, { recursive: true, force: true });
  }
};

const hasProcess = (value: string): boolean => findProcess(`OTHER_KEY=${value}`) !== undefined;

/** As this process sees it. */
const processWith = (name: string): number => findProcess(`${name}=`) ?? assert.fail('the other application is not there');

const findProcess = (entry: string): number | undefined => {
  for (const pid of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    try {
      if (readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`\0${entry}`)) return Number(pid);
    } catch {
      // Gone, or not ours to look at.
    }
  }
  return undefined;
};

const went = (lines: readonly string[]): readonly string[] => lines.filter((l) => l.endsWith(': yes'));

test('an application of another user reaches neither state nor configuration nor sidecar', { skip: !isRoot || forbidden }, async () => {
  const privilege = detectPrivilege({}, 'nobody');
  assert.ok(privilege.ok, privilege.ok ? '' : privilege.error);
  await withMesh(privilege.value, privilege.value.application?.uid, (lines, walled) => {
    assert.deepEqual(went(lines), ['write in its own folder: yes']);
    assert.equal(lines.length, 19);
    assert.match(notesOf(walled)[0] ?? '', /^identities: isolated: applications run as nobody/);
  });
});

test('without root, an application of the same user reaches them as little', { skip: isRoot || forbidden }, async () => {
  const privilege = detectPrivilege(process.env);
  assert.ok(privilege.ok, privilege.ok ? '' : privilege.error);
  await withMesh(privilege.value, undefined, (lines, walled) => {
    assert.deepEqual(went(lines), ['write in its own folder: yes']);
    assert.match(notesOf(walled)[0] ?? '', /^identities: isolated/);
  });
});

test('where applications are root, or cannot be kept out, it is said that identities are not isolated', () => {
  const [first = ''] = notesOf({ kind: 'root', application: undefined });
  assert.match(first, /^identities: not isolated: applications run as root/);
  const user = { uid: 1000, gid: 1000, name: 'u', home: '/' };
  assert.match(notesOf({ kind: 'rootless', application: user })[0] ?? '', /^identities: not isolated/);
  // The folder that would be hidden holds the application itself.
  const inside = withWalls({ kind: 'rootless', application: user }, { hidden: '/a', readOnly: '/a/shop/mesh' }, '/a/shop');
  assert.equal(inside.walls, undefined);
  assert.match(notesOf(inside)[0] ?? '', /^identities: not isolated/);
});

const ended = (child: ChildProcess): Promise<readonly [number | null, NodeJS.Signals | null]> =>
  new Promise((resolve) => child.once('exit', (code, killer) => resolve([code, killer])));

test('with processes of its own, an application hears signals, says how it ended, leaves nothing behind', {
  skip: !isRoot || forbidden,
}, async () => {
  const base = mkdtempSync(join(tmpdir(), 'skein-apart-'));
  const [state, mesh] = [join(base, 'state'), join(base, 'mesh')];
  for (const folder of [state, mesh]) mkdirSync(folder);
  chmodSync(base, 0o755);
  const detected = detectPrivilege({}, 'nobody');
  assert.ok(detected.ok);
  const walled = withWalls(detected.value, { hidden: state, readOnly: mesh }, base);
  const holder = await begin(hubHolder(walled), 'ready');
  const children = [holder];
  const start = async (script: string): Promise<ChildProcess> => {
    const child = await begin([...enterAsApplication(walled, holder.pid ?? 0), ...inDirectory(base, ['sh', '-c', script])], 'up');
    children.push(child);
    return child;
  };
  try {
    const orderly = await start('trap "exit 7" TERM; echo up; while :; do sleep 0.05; done');
    process.kill(-(orderly.pid ?? 0), 'SIGTERM');
    assert.deepEqual(await ended(orderly), [7, null]);
    // As the first of its process namespace it would not hear of it.
    const deaf = await start('echo up; exec sleep 62');
    process.kill(-(deaf.pid ?? 0), 'SIGTERM');
    const [code, killer] = await ended(deaf);
    assert.ok(code === 128 + 15 || killer === 'SIGTERM', `${code} ${killer}`);
    const left = await start('echo up; OTHER_KEY=left sleep 63 & exec sleep 63');
    await new Promise((resolve) => setTimeout(resolve, 50));
    process.kill(left.pid ?? 0, 'SIGKILL');
    await ended(left);
    if (walled.walls?.processes !== true) return;
    for (let asked = 0; hasProcess('left') && asked < 500; asked++) await new Promise((resolve) => setTimeout(resolve, 10));
    assert.ok(!hasProcess('left'), 'what it had started still runs');
    const orphan = 'sh -c "sh -c \'exit 0\' & exit 0"; sleep 0.2; grep -l "^State:.Z" /proc/[0-9]*/status';
    const [program = '', ...args] = [...enterAsApplication(walled, holder.pid ?? 0), ...inDirectory(base, ['sh', '-c', orphan])];
    const done = spawnSync(program, args, { encoding: 'utf8', timeout: 60_000 });
    assert.deepEqual([done.status, done.stdout], [1, ''], done.stderr);
  } finally {
    for (const { pid, exitCode, signalCode } of children)
      if (pid !== undefined && exitCode === null && signalCode === null) process.kill(pid, 'SIGKILL');
    rmSync(base, { recursive: true, force: true });
  }
});

test('only root names another user', { skip: !isRoot }, () => {
  assert.ok(!detectPrivilege({}, 'no-such-user-here').ok);
  assert.ok(!detectPrivilege({}, 'root').ok);
});
