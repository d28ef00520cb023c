// The live views against recorded answers of a control plane, as processes; and their text: widths, hostile characters, waterfalls.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { LogTail } from '../../src/cli/log-tail.ts';
import { TapLines } from '../../src/cli/tap-lines.ts';
import { bytes, milliseconds, painted, percent, rate, tableText, visible, wantsColours } from '../../src/cli/terminal-text.ts';
import { inOrder, type Span, waterfall } from '../../src/cli/trace-waterfall.ts';

const MAIN = new URL('../../src/cli/main.ts', import.meta.url).pathname;
const state = mkdtempSync(join(tmpdir(), 'skein-views-'));

const row = (over: object = {}): object => ({
  source: { workload: 'web-v1', namespace: 'production', principal: 'spiffe://cluster.local/ns/production/sa/web' },
  destination: {
    workload: 'payment-v1',
    namespace: 'production',
    service: 'payment-service.production.svc.cluster.local',
    version: 'v1',
    principal: 'spiffe://cluster.local/ns/production/sa/payment',
  },
  route: 'default',
  protocol: 'http',
  requests: 300,
  success: 297,
  errors: 3,
  rps: 10,
  successRate: 0.99,
  p50: 1.25,
  p95: 12,
  p99: 40,
  bytesIn: 1000,
  bytesOut: 123_456,
  tcp: null,
  mtls: 'mutual_tls',
  ...over,
});

const request = (over: object = {}): object => ({
  proxy: 'sidecar~10.0.0.1~payment-v1-0.production~production.svc.cluster.local',
  at: '2026-01-02T03:04:05.678Z',
  side: 'inbound',
  source: { workload: 'web-v1', namespace: 'production', principal: '' },
  destination: { workload: 'payment-v1', namespace: 'production', principal: '', service: '', version: 'v1' },
  mtls: true,
  protocol: 'HTTP/1.1',
  method: 'POST',
  authority: 'payment-service',
  path: '/api/v1/charge',
  status: 200,
  grpcStatus: null,
  flags: '',
  details: 'via_upstream',
  durationMs: 3.5,
  bytesIn: 1,
  bytesOut: 2,
  route: 'default',
  cluster: 'inbound|8080||',
  upstream: '10.0.0.1:8080',
  requestId: 'rid',
  traceId: '',
  ...over,
});

const proxies = [
  { name: 'payment-v1-0', namespace: 'production', node: '', proxy: 'skein', connectedAt: '', types: {} },
  { name: 'old-0', namespace: 'legacy', node: '', proxy: 'envoy', connectedAt: '', types: {} },
];

const summary = (rows: readonly object[], over: object = {}): object => ({
  from: '2026-01-02T03:00:00Z',
  to: '2026-01-02T03:04:05Z',
  source: 'embedded',
  complete: true,
  notes: [],
  rows,
  ...over,
});

/** What the control plane answers now, and what it was asked. */
const answers: {
  recent?: readonly object[] | undefined;
  rows: readonly object[];
  over: object;
  tap: (response: ServerResponse) => void;
  asked: string[];
  bodies: string[];
} = {
  rows: [],
  over: {},
  tap: (r) => r.end(),
  asked: [],
  bodies: [],
};

const SPANS: readonly Span[] = [
  span('a', '', 'client', 'web-v1', 'POST /order', 0, 10_000, 200),
  span('b', 'a', 'server', 'order-v1', 'POST /order', 1000, 8000, 200),
  span('c', 'b', 'client', 'order-v1', 'POST /charge\u001b[2J', 2000, 5000, 503, { response_flags: 'UF' }),
];

function span(
  spanId: string,
  parentSpanId: string,
  kind: string,
  service: string,
  name: string,
  startUs: number,
  durationUs: number,
  status: number,
  attributes: Record<string, string> = {},
): Span {
  return { spanId, parentSpanId, kind, service, name, startUs: 1_767_323_045_000_000 + startUs, durationUs, status, attributes };
}

const answer = (incoming: IncomingMessage, response: ServerResponse): void => {
  const url = new URL(incoming.url ?? '', 'http://x');
  answers.asked.push(`${incoming.method} ${url.pathname}${url.search}`);
  const json = (value: unknown, status = 200): void => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(value));
  };
  let body = '';
  incoming.on('data', (c: Buffer) => {
    body += c.toString();
  });
  incoming.on('end', () => {
    answers.bodies.push(body);
    if (url.pathname === '/v1/proxies') json(proxies);
    else if (url.pathname === '/v1/telemetry/summary') json(summary(answers.rows, answers.over));
    else if (url.pathname === '/v1/telemetry/traces/t1') json({ traceId: 't1', partial: true, notes: ['no headers'], spans: SPANS });
    else if (url.pathname === '/v1/telemetry/requests')
      json({ requests: answers.recent ?? [{ ...request(), at: '2026-01-02T03:04:05.678Z', reporter: 'source', traceId: 't1' }] });
    else if (url.pathname.endsWith('/admin/tap')) {
      response.writeHead(200, { 'content-type': 'application/x-ndjson' });
      answers.tap(response);
    } else if (url.pathname.endsWith('/admin/logging')) {
      response.end(url.search.includes('nope') ? '' : 'active loggers:\n  admin: info\n  http: debug\n');
    } else json({ error: { code: 'NOT_FOUND', message: `there is no ${url.pathname}` } }, 404);
  });
};

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

const start = (args: readonly string[]) => spawn(process.execPath, [MAIN, ...args], { env: { ...process.env, SKEIN_STATE: state } });

const skein = async (...args: readonly string[]): Promise<Ran> => {
  const child = start(args);
  child.stdin.end();
  let out = '';
  let err = '';
  child.stdout.on('data', (b: Buffer) => {
    out += b.toString();
  });
  child.stderr.on('data', (b: Buffer) => {
    err += b.toString();
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
  const [code] = (await once(child, 'close')) as [number | null];
  clearTimeout(timer);
  return { code: code ?? -1, out, err };
};

describe('commands', () => {
  let server: Server;
  before(async () => {
    server = createServer(answer).listen(join(state, 'admin.sock'));
    await once(server, 'listening');
  });
  after(() => {
    server.closeAllConnections();
    server.close();
    rmSync(state, { recursive: true, force: true });
  });

  test('top prints once where the output is piped, sorted as asked, without colours', async () => {
    answers.over = {};
    answers.rows = [row(), row({ route: 'canary', rps: 20, successRate: 0.5, p99: 1 })];
    const { code, out, err } = await skein('top');
    assert.equal(code, 0, err);
    const lines = out.split('\n');
    assert.match(lines[0] ?? '', /^SERVICE +ROUTE +RPS +SUCCESS +P50 +P95 +P99 +REQUESTS$/);
    assert.match(lines[1] ?? '', /canary +20\.0 +50\.00%/);
    assert.ok(!out.includes('\u001b'));
    assert.ok(answers.asked.includes('GET /v1/telemetry/summary?window=30&by=route'));
    const slow = await skein('top', '--sort', 'p99', '--by', 'edge', '-o', 'json', '-n', 'production');
    assert.equal((JSON.parse(slow.out) as { rows: { p99: number }[] }).rows[0]?.p99, 40);
    assert.ok(answers.asked.at(-1)?.endsWith('by=edge&namespace=production'));
    const wrong = await Promise.all([skein('top', '--by', 'moon'), skein('top', '--window', '9d'), skein('stat', 'planet')]);
    assert.deepEqual(
      wrong.map((r) => r.code),
      [2, 2, 2],
    );
  });

  test('what the numbers do not say is said; nothing is nothing', async () => {
    answers.rows = [row({ tcp: { opened: 2, closed: 1, sent: 5000, received: 10 } })];
    answers.over = { source: 'prometheus', complete: false, notes: ['since 03:00 only'] };
    const { out } = await skein('stat', 'service');
    assert.match(out, /TCP OPENED/);
    assert.match(out, /note: counted by Prometheus.*\nnote: since 03:00 only\n/);
    answers.rows = [];
    answers.over = {};
    assert.match((await skein('stat')).out, /^No requests in the last 60 s\.\n/);
    assert.equal((await skein('stat', 'service', 'nobody')).code, 1);
  });

  test('stat between two, and edges with identities and what is in plain text', async () => {
    const other = { workload: 'legacy', namespace: 'old', principal: '' };
    answers.rows = [row(), row({ source: other, mtls: 'none' })];
    const between = await skein('stat', '--to', 'payment-service');
    assert.match(between.out, /^SOURCE +DESTINATION/);
    assert.ok(answers.asked.at(-1)?.includes('by=edge'));
    assert.equal(between.out.split('\n').length, 4);
    const edges = await skein('edges', '--exit-code');
    assert.equal(edges.code, 1);
    assert.match(edges.out, /web-v1\.production +payment-v1\.production .* yes .* cluster\.local.*sa\/web +cluster\.local.*sa\/payment/);
    assert.match(edges.out, /legacy\.old .* NO /);
    assert.equal((await skein('edges', '--exit-code', '--from', 'web-v1')).code, 0);
  });

  test('trace: a waterfall that says it is partial, a list, and an id nobody knows', async () => {
    const { code, out } = await skein('trace', 't1');
    assert.equal(code, 0);
    assert.match(out, /PARTIAL/);
    assert.match(out, /note: no headers/);
    assert.match(out, / {4}order-v1 → POST \/charge\\x1b\[2J +│ +█+ +│ +5ms {2}503 UF/);
    assert.match(
      (await skein('trace')).out,
      /^AT +TRACE OR REQUEST .*\n03:04:05\.678 +t1 +web-v1\.production +payment-v1\.production +POST/,
    );
    const unknown = await skein('trace', 'nobody');
    assert.deepEqual([unknown.code, unknown.out], [1, '']);
  });

  test('tap: what is asked for reaches the sidecar; lines are printed, what is over the rate is told, an Envoy is named', async () => {
    answers.tap = (response) => {
      response.write(`${JSON.stringify({ tap: { open: true } })}\n${JSON.stringify({ request: request() }).slice(0, 20)}`);
      response.write(`${JSON.stringify({ request: request() }).slice(20)}\n`);
      response.write(`${JSON.stringify({ request: request({ path: '/\u001b]0;x\u0007', status: 503, flags: 'UF' }) })}\n`);
      response.end(`${JSON.stringify({ tap: { shown: 2, skipped: 7, ended: 'time' } })}\n`);
    };
    const flags = [
      '--path-prefix',
      '/api',
      '--status',
      '5xx,404',
      '--header',
      'x-a: b',
      '--max-rps',
      '5',
      '--proxy-side',
      'in',
      '--from',
      'web',
    ];
    const { code, out, err } = await skein('tap', ...flags);
    assert.equal(code, 0, err);
    assert.match(out, /← in {3}web-v1\.production → payment-v1\.production {2}POST \/api\/v1\/charge {2}200 {2}3\.5ms {2}mtls\n/);
    assert.match(out, /\/\\x1b\]0;x\\x07 {2}503 UF/);
    assert.match(err, /old-0\.legacy cannot be tapped \(envoy\)/);
    assert.match(err, /2 shown; 7 more matched/);
    const asked = JSON.parse(answers.bodies.findLast((b) => b.includes('maxPerSecond')) ?? '') as { match: object; maxPerSecond: number };
    assert.deepEqual(asked.match, {
      from: 'web',
      pathPrefix: '/api',
      direction: 'inbound',
      status: ['5xx', '404'],
      headers: [{ name: 'x-a', value: 'b' }],
    });
    assert.equal(asked.maxPerSecond, 5);
  });

  test('tap: ends after its number and by Ctrl-C with 0, with 1 when the sidecar is lost, and refuses what it cannot do', async () => {
    answers.tap = (response) => {
      for (let i = 0; i < 5; i++) response.write(`${JSON.stringify({ request: request({ path: `/${i}` }) })}\n`);
    };
    const counted = await skein('tap', 'payment-v1', '-n', '2', '-o', 'json');
    assert.equal(counted.code, 0, counted.err);
    assert.deepEqual(
      counted.out
        .trim()
        .split('\n')
        .map((l) => (JSON.parse(l) as { path: string }).path),
      ['/0', '/1'],
    );
    const child = start(['tap', '-o', 'wide']);
    await once(child.stdout, 'data');
    child.kill('SIGINT');
    assert.deepEqual(await once(child, 'close'), [0, null]);
    answers.tap = (response) => {
      response.write('{"tap":{"open":true}}\n', () => response.destroy());
    };
    const lost = await skein('tap', 'payment-v1-0', '--wait', '0s');
    assert.deepEqual([lost.code, /was cut off/.test(lost.err)], [1, true]);
    for (const bad of [
      ['--status', 'bad'],
      ['--max-rps', '0'],
      ['--proxy-side', 'up'],
      ['-o', 'yaml'],
      ['--for', '2h'],
    ])
      assert.equal((await skein('tap', ...bad)).code, 2, bad.join(' '));
    const headers = await skein('tap', '-n', 'legacy', '--header', 'x-a');
    assert.deepEqual([headers.code, /no headers to match/.test(headers.err)], [1, true]);
  });

  test('tap: of an Envoy what its access log told is shown once, with what matches', async () => {
    const at = (ms: number): string => new Date(Date.now() + ms).toISOString();
    const logged = { ...request(), proxy: 'old-0.legacy', reporter: 'source', at: at(5000), requestId: 'r1' };
    answers.recent = [
      { ...logged, requestId: 'r2', path: '/other' },
      logged,
      { ...logged, requestId: 'r3', reporter: 'destination', at: at(6000) },
      { ...logged, requestId: 'r4', proxy: 'else-0.legacy' },
      { ...logged, requestId: 'r5', at: at(-60_000) },
    ];
    const { code, out, err } = await skein('tap', 'old-0', '--path-prefix', '/api', '--status', '2xx', '--for', '2s', '-o', 'json');
    answers.recent = undefined;
    assert.equal(code, 0, err);
    const shown = out
      .trim()
      .split('\n')
      .map((l) => JSON.parse(l) as { side: string; requestId: string });
    assert.deepEqual(
      shown.map((r) => [r.requestId, r.side]),
      [
        ['r1', 'outbound'],
        ['r3', 'inbound'],
      ],
    );
  });

  test('proxy log-level sets all or components of one proxy, and refuses half of each', async () => {
    const set = await skein('proxy', 'log-level', 'old-0', 'http:debug', 'router:trace');
    assert.equal(set.code, 0, set.err);
    assert.equal(answers.asked.at(-1), 'POST /v1/proxies/legacy/old-0/admin/logging?paths=http:debug,router:trace');
    assert.match(set.out, /^COMPONENT +LEVEL\nadmin +info\nhttp +debug\n/);
    await skein('proxy', 'log-level', 'payment-v1', 'debug');
    assert.equal(answers.asked.at(-1), 'POST /v1/proxies/production/payment-v1-0/admin/logging?level=debug');
    const wrong = [['loud'], ['debug', 'http:info'], ['a:b:debug']];
    assert.deepEqual(
      (await Promise.all(wrong.map((bad) => skein('proxy', 'log-level', 'old-0', ...bad)))).map((r) => r.code),
      [2, 2, 2],
    );
  });

  test('logs: filters keep requests, several logs are marked, and Ctrl-C ends following with 0', async () => {
    const folder = join(state, 'logs');
    mkdirSync(folder, { recursive: true });
    const line = (path: string, code: number): string =>
      `${JSON.stringify({ start_time: '2026-01-02T03:04:05Z', method: 'GET', path, response_code: code, response_flags: '-', duration: 1 })}\n`;
    const file = join(folder, 'a-0.default.proxy.log');
    writeFileSync(file, `started\n${line('/api/a', 200)}${line('/api/b', 503)}${line('/c', 503)}`);
    writeFileSync(join(folder, 'a-0.default.log'), 'hello\n');
    const failed = await skein('logs', '-c', 'proxy', '--status', '5xx', '--path-prefix', '/api', 'a');
    assert.equal(failed.out, line('/api/b', 503), failed.err);
    const all = await skein('logs', '-c', 'all', '--tail', '1', 'a');
    assert.deepEqual(all.out.split('\n')[0], 'a-0.default app  hello');
    assert.match(all.out, /\na-0\.default proxy {2}\{.*"\/c"/);
    assert.equal((await skein('logs', '--status', 'x', 'a')).code, 2);
    const child = start(['logs', '-f', '--tail', '0', '-c', 'proxy', '--method', 'get', 'a']);
    let out = '';
    child.stdout.on('data', (b: Buffer) => {
      out += b.toString();
    });
    const timer = setInterval(() => appendFileSync(file, line('/new', 200)), 50);
    while (!out.includes('/new')) await once(child.stdout, 'data');
    clearInterval(timer);
    child.kill('SIGINT');
    assert.deepEqual(await once(child, 'close'), [0, null]);
  });
});

describe('text', () => {
  test('a narrow terminal cuts names, never numbers, and says so', () => {
    const columns = [
      { head: 'NAME', cell: (r: readonly [string, string]) => r[0], least: 6 },
      { head: 'RPS', cell: (r: readonly [string, string]) => r[1], right: true },
    ];
    const rows = [['recommendation-service.production', '1234.5'] as const];
    const wide = tableText(columns, rows, { width: undefined, colours: false });
    assert.equal(wide, 'NAME                                  RPS\nrecommendation-service.production  1234.5\n');
    const narrow = tableText(columns, rows, { width: 20, colours: false });
    assert.deepEqual(
      narrow
        .trimEnd()
        .split('\n')
        .map((l) => l.length),
      [20, 20],
    );
    assert.match(narrow, /… {2}1234\.5/);
    assert.ok(tableText(columns, rows, { width: 5, colours: false }).includes('1234.5'));
    const end = [{ head: 'ID', cell: (r: readonly [string, string]) => r[0], least: 6, keepEnd: true }];
    assert.equal(tableText(end, rows, { width: 12, colours: false }), 'ID\n….production\n');
    const spare = [...columns, { head: 'REQUESTS', cell: () => '1', spare: 1 }];
    assert.match(tableText(spare, rows, { width: 24, colours: false }), /^NAME {6,} RPS {2}REQUESTS\n/);
    assert.match(tableText(spare, rows, { width: 23, colours: false }), /RPS\n/);
  });

  test('colours are for terminals that want them', () => {
    assert.deepEqual(
      [
        wantsColours(true, {}),
        wantsColours(false, {}),
        wantsColours(true, { NO_COLOR: '1' }),
        wantsColours(true, { NO_COLOR: '' }),
        wantsColours(true, { TERM: 'dumb' }),
      ],
      [true, false, false, true, false],
    );
    assert.equal(painted('x', 'red', false), 'x');
  });

  test('characters that drive a terminal are shown', () => {
    assert.equal(visible('a\u001b[31m\r\n\u009b\u202eb é'), 'a\\x1b[31m\\x0d\\x0a\\x9b\\u202eb é');
  });

  test('numbers are short and never better than they are', () => {
    assert.deepEqual([percent(0.99999), percent(1), percent(null)], ['99.99%', '100.00%', '-']);
    assert.deepEqual([milliseconds(1.25), milliseconds(999), milliseconds(12_345), milliseconds(null)], ['1.3ms', '999ms', '12.3s', '-']);
    assert.deepEqual([rate(0), rate(0.5), rate(55.55), rate(1234.5)], ['0', '0.50', '55.5', '1235']);
    assert.deepEqual([bytes(0), bytes(999), bytes(1500), bytes(2_000_000)], ['0B', '999B', '1.5KB', '2.0MB']);
  });

  test('a trace is in order though it is deeper than the stack', () => {
    const deep = Array.from({ length: 20_000 }, (_, i) => span(`s${i}`, i === 0 ? '' : `s${i - 1}`, 'client', 's', 'n', i, 10, 200));
    assert.deepEqual(
      inOrder(deep).map((line) => line.depth),
      deep.map((_, i) => i),
    );
  });

  test('a waterfall fits, keeps every span, and survives circles and spans without a parent', () => {
    const circle = [span('x', 'y', 'client', 's', 'n', 0, 10, 200), span('y', 'x', 'server', 's', 'n', 5, 10, 200)];
    const orphan = span('o', 'gone', 'server', 's', 'n', 7, 1, 200);
    assert.equal(inOrder([...circle, orphan, orphan]).length, 3);
    for (const width of [60, 200]) {
      const text = waterfall({ traceId: 't', partial: false, notes: [], spans: SPANS }, { width, colours: false });
      for (const line of text.split('\n').slice(1)) assert.ok(line.length <= width, `${width}: ${line.length} ${line}`);
    }
  });

  test('a tap is read in pieces of any size, and what is no line of it is left out', () => {
    const seen: unknown[] = [];
    const lines = new TapLines((line) => seen.push(line));
    for (const c of '{"tap":{"shown":1}}\nnonsense\n{"other":1}\n{"request":{"path":"/"}}\n{"tap"') lines.receive(c);
    assert.deepEqual(seen, [{ tap: { shown: 1 } }, { request: { path: '/' } }]);
  });

  test('a log is followed through a rotation, and cut letters are put together', () => {
    const folder = mkdtempSync(join(tmpdir(), 'skein-tail-'));
    const path = join(folder, 'a.log');
    const seen: string[] = [];
    writeFileSync(path, 'one\ntwo\nthree\n');
    const tail = new LogTail(path, 2, (line) => seen.push(line));
    tail.read();
    const letter = Buffer.from('é\n');
    appendFileSync(path, letter.subarray(0, 1));
    tail.read();
    appendFileSync(path, letter.subarray(1));
    tail.read();
    renameSync(path, `${path}.1`);
    tail.read();
    writeFileSync(path, 'new\n');
    tail.read();
    rmSync(folder, { recursive: true });
    assert.deepEqual(seen, ['two', 'three', 'é', 'new']);
  });
});
