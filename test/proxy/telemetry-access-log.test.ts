// Access logs: which lines, into which file, when.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { parseProxyFlags } from '../../src/cli/proxy-flags.ts';
import { FLAG } from '../../src/plan/response-flag.ts';
import { StreamInfo } from '../../src/plan/stream-info.ts';
import type { ListenerContext } from '../../src/proxy/exchange/observer.ts';
import { LogSinks } from '../../src/proxy/telemetry/access-log.ts';
import { compileLogFilter } from '../../src/proxy/telemetry/log-filter.ts';
import { LogSink } from '../../src/proxy/telemetry/log-sink.ts';
import { UNKNOWN_PEER } from '../../src/proxy/telemetry/parties.ts';
import { Telemetry } from '../../src/proxy/telemetry/telemetry.ts';
import { HeaderBlock } from '../../src/wire/header-block.ts';
import type { AccessLog, AccessLogFilter } from '../../src/xds/gen/types.ts';
import { ManualClock } from './xds-fixture.ts';

const inFolder = async (use: (dir: string) => Promise<void> | void): Promise<void> => {
  const dir = mkdtempSync(join(tmpdir(), 'skein-log-'));
  try {
    await use(dir);
  } finally {
    rmSync(dir, { recursive: true });
  }
};

const fileLog = (path: string, text: string, filter?: AccessLogFilter): AccessLog => ({
  name: 'envoy.access_loggers.file',
  ...(filter ? { filter } : {}),
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog',
    path,
    log_format: { text_format_source: { inline_string: text } },
  },
});

const contextOf = (accessLog: readonly AccessLog[]): ListenerContext => ({
  kind: 'http',
  listenerName: 'l',
  direction: undefined,
  statPrefix: '',
  accessLog,
  filters: [],
  observed: undefined,
});

const telemetry = (clock = new ManualClock()): Telemetry => new Telemetry({ own: UNKNOWN_PEER, version: '', clock, random: () => 0.3 });

/** The file system answers when it does: waits for that, at most five seconds. */
const until = async (holds: () => boolean): Promise<void> => {
  const deadline = performance.now() + 20_000;
  while (!holds() && performance.now() < deadline) await new Promise((r) => setImmediate(r));
};

const put = (sink: LogSink, text: string): void => {
  const line = sink.line();
  if (line === undefined) return;
  line.raw(text);
  sink.lineWritten();
};

describe('access log', () => {
  test('lines of an exchange, filtered, written at the latest after a second and at close', () =>
    inFolder(async (dir) => {
      const clock = new ManualClock();
      const t = telemetry(clock);
      const path = join(dir, 'a.log');
      const c = contextOf([
        fileLog(path, 'all %RESPONSE_CODE%\n'),
        fileLog(path, 'error %RESPONSE_CODE% %RESPONSE_FLAGS%\n', {
          status_code_filter: { comparison: { op: 'GE', value: { default_value: 500 } } },
        }),
      ]);
      t.prepare(c);
      const info = new StreamInfo();
      info.responseCode = 200;
      t.httpDone(info, undefined, undefined, undefined, c);
      info.responseCode = 503;
      info.setFlag(FLAG.UH);
      t.httpDone(info, undefined, undefined, undefined, c);
      assert.equal(readFileSync(path, 'utf8'), '');
      await t.close();
      assert.equal(readFileSync(path, 'utf8'), 'all 200\nall 503\nerror 503 UH\n');
    }));

  test('the timer writes; a moved file is opened anew', () =>
    inFolder(async (dir) => {
      const clock = new ManualClock();
      const path = join(dir, 'a.log');
      const sink = new LogSink(path, clock);
      put(sink, 'one\n');
      clock.advance(1000);
      await until(() => readFileSync(path, 'utf8') !== '');
      assert.equal(readFileSync(path, 'utf8'), 'one\n');
      renameSync(path, `${path}.1`);
      await new Promise((r) => setImmediate(r));
      sink.reopen();
      put(sink, 'two\n');
      await sink.close();
      assert.equal(readFileSync(path, 'utf8'), 'two\n');
      put(sink, 'after\n');
      assert.equal(sink.dropped, 1);
    }));

  test('a file that cannot be opened anew goes on where it was, and that is told', () =>
    inFolder(async (dir) => {
      const folder = join(dir, 'logs');
      mkdirSync(folder);
      const path = join(folder, 'a.log');
      const sinks = new LogSinks(new ManualClock(), undefined);
      put(sinks.at(path), 'one\n');
      renameSync(folder, join(dir, 'moved'));
      assert.match(sinks.reopen().join(), /a\.log: .*ENOENT/);
      put(sinks.at(path), 'two\n');
      await sinks.close();
      assert.equal(readFileSync(join(dir, 'moved', 'a.log'), 'utf8'), 'one\ntwo\n');
    }));

  test('what is being written when it closes comes before the rest, and nothing is lost', () =>
    inFolder(async (dir) => {
      const path = join(dir, 'a.log');
      const sink = new LogSink(path, new ManualClock());
      put(sink, 'one\n');
      sink.flush();
      put(sink, 'two\n');
      await sink.close();
      assert.equal(readFileSync(path, 'utf8'), 'one\ntwo\n');
    }));

  test('a full disk costs lines, which are counted, and nothing else', async () => {
    const sink = new LogSink('/dev/full', new ManualClock());
    put(sink, 'one\n');
    put(sink, 'two\n');
    sink.flush();
    await until(() => sink.dropped > 0);
    assert.equal(sink.dropped, 2);
    const line = 'x'.repeat(1024 * 1024);
    for (let i = 0; i < 5; i++) put(sink, line);
    await until(() => sink.dropped >= 3);
    assert.ok(sink.dropped >= 3);
    await sink.close();
  });

  test('a line waits as long as the process was told', () =>
    inFolder(async (dir) => {
      const clock = new ManualClock();
      const path = join(dir, 'a.log');
      const sink = new LogSink(path, clock, 50);
      put(sink, 'one\n');
      clock.advance(50);
      await until(() => readFileSync(path, 'utf8') !== '');
      assert.equal(readFileSync(path, 'utf8'), 'one\n');
      await sink.close();
      assert.equal(parseProxyFlags(['-c', 'x', '--file-flush-interval-msec', '50']).logFlushMs, 50);
      assert.equal(parseProxyFlags(['-c', 'x']).logFlushMs, undefined);
    }));

  test('filters', () => {
    const info = new StreamInfo();
    info.responseCode = 404;
    info.startTime = 0;
    info.endTime = 50;
    info.setFlag(FLAG.NR);
    info.accessLogType = 'DownstreamEnd';
    const headers = new HeaderBlock();
    headers.set('x-debug', 'yes');
    const says = (f: AccessLogFilter): boolean => compileLogFilter(f, 'filter', () => 0.3)(info, headers, undefined, undefined);
    const code = (op: 'EQ' | 'GE' | 'LE', n: number): AccessLogFilter => ({
      status_code_filter: { comparison: { op, value: { default_value: n } } },
    });
    assert.ok(says(code('EQ', 404)) && says(code('GE', 404)) && says(code('LE', 404)));
    assert.ok(!says(code('GE', 405)) && !says(code('EQ', 200)));
    assert.ok(says({ duration_filter: { comparison: { op: 'GE', value: { default_value: 50 } } } }));
    assert.ok(says({ response_flag_filter: {} }) && says({ response_flag_filter: { flags: ['UH', 'NR'] } }));
    assert.ok(!says({ response_flag_filter: { flags: ['UH'] } }));
    assert.ok(says({ header_filter: { header: { name: 'X-Debug', string_match: { exact: 'yes' } } } }));
    assert.ok(!says({ header_filter: { header: { name: 'x-debug', present_match: true, invert_match: true } } }));
    assert.ok(says({ not_health_check_filter: {} }));
    assert.ok(says({ log_type_filter: { types: ['DownstreamEnd'] } }));
    assert.ok(
      says({ runtime_filter: { percent_sampled: { numerator: 31 } } }) && !says({ runtime_filter: { percent_sampled: { numerator: 30 } } }),
    );
    assert.ok(says({ and_filter: { filters: [code('EQ', 404), { response_flag_filter: {} }] } }));
    assert.ok(says({ or_filter: { filters: [code('EQ', 1), code('EQ', 404)] } }));
    assert.ok(!says({ and_filter: { filters: [code('EQ', 1), code('EQ', 404)] } }));
  });

  test('what it cannot do is refused by path', () => {
    const t = telemetry();
    const refuses = (log: AccessLog, message: RegExp): void => assert.throws(() => t.prepare(contextOf([log])), message);
    refuses(fileLog('/no/such/folder/x', 'a'), /access_log\[0\]\.typed_config\.path: cannot open/);
    refuses(
      { name: 'x', typed_config: { type_url: 'type.googleapis.com/a.b.C', value: new Uint8Array() } },
      /access_log\[0\]\.typed_config: .*not supported/,
    );
    refuses(
      fileLog('/dev/null', 'a', { extension_filter: { name: 'own' } }),
      /access_log\[0\]\.filter\.extension_filter\.typed_config: access log filter own /,
    );
    refuses(fileLog('/dev/null', 'a', { response_flag_filter: { flags: ['XX'] } }), /flags\[0\]: XX is no response flag/);
    refuses(fileLog('/dev/null', '%NO_SUCH_THING%'), /NO_SUCH_THING/);
    void t.close();
  });
});
