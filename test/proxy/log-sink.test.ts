// Files of access logs in trouble: a disk that is full and then is not, a pipe whose reader is slow, a file that was moved away. Lines
// are lost and counted; requests are not.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  constants,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { StatsStore } from '../../src/proxy/stats-store.ts';
import { LogSinks } from '../../src/proxy/telemetry/access-log.ts';
import { LogSink } from '../../src/proxy/telemetry/log-sink.ts';
import type { AccessLog } from '../../src/xds/gen/types.ts';
import { hcm, httpBackend, listener, staticCluster, toCluster } from './harness.ts';
import { request, startLogging } from './log-rig.ts';
import { ManualClock } from './xds-fixture.ts';

const folder = (): { readonly path: string } & Disposable => {
  const path = mkdtempSync(join(tmpdir(), 'skein-sink-'));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
};

/** A small disk of its own; undefined where none may be mounted. */
const smallDisk = (path: string): Disposable | undefined => {
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=16k', 'tmpfs', path]).status !== 0) return undefined;
  return { [Symbol.dispose]: () => void spawnSync('umount', [path]) };
};

const until = async (what: string, holds: () => boolean): Promise<void> => {
  for (const deadline = performance.now() + 20_000; !holds(); ) {
    if (performance.now() > deadline) throw new Error(`not within 5 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
};

const put = (sink: LogSink, text: string): void => {
  const line = sink.line();
  if (line === undefined) return;
  line.raw(text);
  sink.lineWritten();
};

const fileLog = (path: string): AccessLog => ({
  name: 'file',
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog',
    path,
    log_format: { text_format_source: { inline_string: '%REQ(:PATH)% %REQ(X-PAD)%\n' } },
  },
});

const PROBE = folder();
const probed = smallDisk(PROBE.path);
const NO_DISK = probed === undefined && 'no file system can be mounted here';
probed?.[Symbol.dispose]();
PROBE[Symbol.dispose]();

test('a full disk costs lines, never requests; whole lines are written again when there is room', { skip: NO_DISK }, async () => {
  using dir = folder();
  using disk = smallDisk(dir.path);
  assert.ok(disk);
  const path = join(dir.path, 'access.log');
  writeFileSync(join(dir.path, 'ballast'), Buffer.alloc(8192));
  await using web = await httpBackend(() => 'x');
  await using rig = await startLogging({
    clusters: [staticCluster('web', [web.port])],
    listeners: [listener('in', hcm([toCluster('web')], { access_log: [fileLog(path)] }))],
  });
  const sink = rig.telemetry.sinks.at(path);
  const ask = async (name: string): Promise<void> => {
    assert.equal(await request(rig.port('in'), name, { headers: { 'x-pad': '.'.repeat(1000) } }), 200);
  };
  for (let i = 0; i < 12; i++) await ask(`/full/${i}`);
  sink.flush();
  await until('lines are dropped', () => sink.dropped > 0);
  assert.equal(sink.writesFailed, 1);
  unlinkSync(join(dir.path, 'ballast'));
  await ask('/room');
  sink.flush();
  await until('lines are written', () => readFileSync(path, 'utf8').includes('/room'));
  const lines = readFileSync(path, 'utf8').split('\n').slice(0, -1);
  assert.match(lines.at(-1) ?? '', /^\/room \.+$/);
  const whole = lines.filter((line) => /^\/(full\/\d+|room) \.{1000}$/.test(line));
  assert.equal(whole.length + sink.dropped, 13, 'every line is there or counted');
  const stats = new StatsStore();
  rig.telemetry.sinks.countInto(stats);
  assert.equal(stats.find('access_logs.file.dropped')?.value, sink.dropped);
  assert.equal(stats.find('filesystem.write_failed')?.value, 1);
});

test('a pipe without a reader holds nothing up; a reader that is slow has whole lines, the others are counted', async () => {
  using dir = folder();
  const path = join(dir.path, 'pipe');
  assert.equal(spawnSync('mkfifo', [path]).status, 0);
  const sink = new LogSink(path, { monotonicMs: () => performance.now(), wallMs: () => Date.now(), after: timeout }, 1);
  const line = `${'x'.repeat(1023)}\n`;
  let made = 0;
  while (sink.dropped === 0 && made < 10_000) {
    put(sink, line);
    if (++made % 64 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  assert.ok(sink.dropped > 0, 'more than is held was dropped');
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const bytes = Buffer.alloc(16 * 1024);
  let text = '';
  const read = (): void => {
    try {
      text += bytes.toString('latin1', 0, readSync(fd, bytes));
    } catch {
      // nothing there now
    }
  };
  await until('everything that was kept has arrived', () => {
    for (let i = 0; i < 64; i++) read();
    return text.length === sink.written * line.length;
  });
  assert.ok(
    text
      .split('\n')
      .slice(0, -1)
      .every((l) => l.length === 1023),
  );
  assert.equal(sink.written + sink.dropped, made);
  await sink.close();
  closeSync(fd);
});

const timeout = (delayMs: number, fire: () => void): (() => void) => {
  const timer = setTimeout(fire, delayMs);
  return () => clearTimeout(timer);
};

test('a moved file is opened anew for all places at once; one that cannot be is counted', async () => {
  using dir = folder();
  const path = join(dir.path, 'a.log');
  const sinks = new LogSinks(new ManualClock(), 1000);
  put(sinks.at(path), 'one\n');
  sinks.at(path).flush();
  await until('it is written', () => readFileSync(path, 'utf8') === 'one\n');
  renameSync(path, `${path}.1`);
  assert.deepEqual(sinks.reopen(), []);
  put(sinks.at(path), 'two\n');
  await sinks.close();
  assert.deepEqual([readFileSync(`${path}.1`, 'utf8'), readFileSync(path, 'utf8')], ['one\n', 'two\n']);
});

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

test('SIGUSR1 and POST /reopen_logs open the logs of a running proxy anew', async () => {
  using dir = folder();
  const [log, config, admin] = ['access.log', 'config.json', 'admin'].map((name) => join(dir.path, name)) as [string, string, string];
  const port = { socket_address: { address: '127.0.0.1', port_value: 0 } };
  const answers = [{ match: { prefix: '/' }, direct_response: { status: 200 } }];
  writeFileSync(
    config,
    JSON.stringify({
      admin: { address: port },
      static_resources: { listeners: [{ ...listener('in', hcm(answers, { access_log: [fileLog(log)] })), address: port }] },
    }),
  );
  const child = spawn(process.execPath, [MAIN, 'proxy', '-c', config, '--admin-address-path', admin, '--file-flush-interval-msec', '10'], {
    stdio: 'ignore',
  });
  try {
    const read = (path: string): string => (existsSync(path) ? readFileSync(path, 'utf8') : '');
    await until('it says where its admin API is', () => read(admin) !== '');
    const base = `http://${read(admin).trim()}`;
    const { listener_statuses: found } = (await (await fetch(`${base}/listeners?format=json`)).json()) as {
      listener_statuses: { local_address: { socket_address: { port_value: number } } }[];
    };
    const at = found[0]?.local_address.socket_address.port_value ?? 0;
    assert.equal(await request(at, '/first'), 200);
    await until('it has logged', () => read(log).includes('/first'));
    renameSync(log, `${log}.1`);
    child.kill('SIGUSR1');
    await until('there is a new file', () => existsSync(log));
    await request(at, '/second');
    await until('it logs there', () => read(log).includes('/second'));
    renameSync(log, `${log}.2`);
    assert.equal((await fetch(`${base}/reopen_logs`, { method: 'POST' })).status, 200);
    await request(at, '/third');
    await until('it logs there', () => read(log).includes('/third'));
    assert.deepEqual(
      [read(`${log}.1`), read(`${log}.2`), read(log)].map((text) => text.split(' ')[0]),
      ['/first', '/second', '/third'],
    );
  } finally {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
});
