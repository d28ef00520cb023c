// The operator's commands against a running control plane: what they print and how they exit, as processes.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

const MAIN = new URL('../../src/cli/main.ts', import.meta.url).pathname;
const root = mkdtempSync(join(tmpdir(), 'skein-cli-'));
const state = join(root, 'state');
const mesh = join(root, 'mesh');

interface Run {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

const skein = (args: readonly string[], stdin = '', stateDir = state): Promise<Run> =>
  new Promise((resolve) => {
    const env = { ...process.env, SKEIN_STATE: stateDir };
    const child = execFile(process.execPath, [MAIN, ...args], { env, timeout: 60_000 }, (error, out, err) => {
      resolve({ code: error ? Number(error.code ?? -1) : 0, out, err });
    });
    child.stdin?.end(stdin);
  });

const service = (name: string): string =>
  `apiVersion: v1\nkind: Service\nmetadata: {name: ${name}, namespace: production}\nspec:\n  selector: {app: ${name}}\n  ports: [{name: http, port: 8080}]\n`;
const virtualService = (host: string, weight = '100'): string =>
  `apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: ${host}, namespace: production}\nspec:\n  hosts: [${host}]\n  http:\n  - route:\n    - destination: {host: ${host}}\n      weight: ${weight}\n`;

describe('control-plane, status, apply, get, delete, proxy-status, version', () => {
  let child: ReturnType<typeof spawn>;

  before(async () => {
    mkdirSync(mesh);
    writeFileSync(join(mesh, 'services.yaml'), service('payment'));
    child = spawn(process.execPath, [MAIN, 'control-plane', '--config', mesh, '--state', state], { stdio: ['ignore', 'pipe', 'inherit'] });
    await new Promise<void>((resolve, reject) => {
      child.stdout?.on('data', (chunk: Buffer) => {
        if (chunk.toString().includes('control plane ready')) resolve();
      });
      child.on('exit', (code) => reject(new Error(`the control plane ended with ${code}`)));
      setTimeout(() => reject(new Error('the control plane is not ready after 15 s')), 15_000).unref();
    });
  });

  after(async () => {
    if (child.exitCode === null) {
      const ended = new Promise((resolve) => child.on('exit', resolve));
      child.kill('SIGTERM');
      assert.equal(await ended, 0, 'a signal ends it cleanly');
    }
    rmSync(root, { recursive: true, force: true });
  });

  test('apply prints each object and what became of it; get and delete find it by short names', async () => {
    const applied = await skein(['apply', '-f', '-'], virtualService('payment'));
    assert.deepEqual([applied.code, applied.out], [0, 'virtualservice/payment.production created\n'], applied.err);
    const got = await skein(['get', 'vs', 'payment', '-n', 'production', '-o', 'json']);
    assert.equal((JSON.parse(got.out) as { spec: { hosts: string[] } }).spec.hosts[0], 'payment');
    const several = (await skein(['get', 'dr,vs', '-n', 'production', '-o', 'json'])).out;
    assert.deepEqual(
      (JSON.parse(several) as { readonly items: readonly { readonly kind: string }[] }).items.map((o) => o.kind),
      ['VirtualService'],
    );
    assert.match((await skein(['get', 'all'])).out, /^KIND +NAMESPACE +NAME +AGE +ORIGIN\n/);
    const deleted = await skein(['delete', 'vs', 'payment', '-n', 'production']);
    assert.deepEqual([deleted.code, deleted.out], [0, 'virtualservice/payment.production deleted\n']);
    assert.equal((await skein(['delete', 'vs', 'payment', '-n', 'production'])).code, 1);
    for (const kinds of ['vs,xy', 'vs,all', 'vs,']) assert.equal((await skein(['get', kinds])).code, 2);
    assert.equal((await skein(['get', 'vs', 'payment'])).code, 1);
  });

  test('apply refuses with file, line and column, and names the file that owns an object', async () => {
    const file = join(root, 'bad.yaml');
    writeFileSync(file, virtualService('payment', 'many'));
    const refused = await skein(['apply', '-f', file]);
    assert.equal(refused.code, 1);
    assert.ok(refused.err.includes(`${file}:9:`), refused.err);
    const owned = await skein(['apply', '-f', '-'], service('payment'));
    assert.equal(owned.code, 1);
    assert.match(owned.err, /services\.yaml/);
  });

  test('apply tells a file that cannot be read along with the other problems; nothing at all is refused', async () => {
    const folder = join(root, 'links');
    mkdirSync(folder);
    symlinkSync('nowhere', join(folder, 'dangling.yaml'));
    writeFileSync(join(folder, 'good.yaml'), virtualService('payment'));
    const good = await skein(['apply', '-f', folder]);
    assert.deepEqual([good.code, good.out], [1, '']);
    assert.equal(good.err, `${join(folder, 'dangling.yaml')}:1:1: error FILE_UNREADABLE cannot be read: ENOENT\n`);
    assert.equal((await skein(['get', 'vs', 'payment', '-n', 'production'])).code, 1, 'nothing was applied');
    writeFileSync(join(folder, 'bad.yaml'), virtualService('order', 'many'));
    const both = await skein(['apply', '-f', folder]);
    assert.equal(both.code, 1);
    assert.match(both.err, /dangling\.yaml:1:1: error FILE_UNREADABLE[\s\S]*bad\.yaml:9:/);
    const empty = join(root, 'empty.yaml');
    writeFileSync(empty, '# nothing\n');
    for (const path of ['/dev/null', empty, '-']) {
      const none = await skein(['apply', '-f', path]);
      assert.deepEqual([none.code, none.err], [1, `skein: no objects in ${path === '-' ? '<stdin>' : path}\n`]);
    }
  });

  test('status is machine-readable and says whether all is well', async () => {
    const { code, out } = await skein(['status', '-o', 'json']);
    const status = JSON.parse(out) as { generation: number; workloads: unknown[]; problems: unknown[] };
    assert.ok(status.generation >= 1);
    assert.deepEqual([status.workloads, code], [[], 0]);
    assert.match((await skein(['status'])).out, /Generation \d+/);
    assert.match((await skein(['proxy-status'])).out, /^NAME +CDS +LDS +EDS +RDS +PROXY\n$/);
    assert.equal((await skein(['proxy-config', 'routes', 'nobody'])).code, 1);
  });

  test('without a control plane every command says so and exits with 3; wrong usage exits with 2', async () => {
    const nowhere = join(root, 'nowhere');
    for (const args of [['status'], ['proxy-status'], ['get', 'vs'], ['proxy-config', 'all', 'x']]) {
      const run = await skein(args, '', nowhere);
      assert.equal(run.code, 3, args.join(' '));
      assert.match(run.err, /no control plane is running.*skein up/);
    }
    assert.equal((await skein(['get', 'nonsense'])).code, 2);
    assert.equal((await skein(['apply'])).code, 2);
    assert.equal((await skein(['status', '--nonsense'])).code, 2);
    const help = await skein(['proxy-config', '--help']);
    assert.equal(help.code, 0);
    assert.match(help.out, /Examples:[\s\S]*Exit codes:/);
    assert.match((await skein(['version'], '', nowhere)).out, /^client: \d.*\ncontrol plane: not running\n$/);
  });
});
