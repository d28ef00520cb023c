// The live views asked for what cannot be: refused once and at once, with what is wrong and exit code 2, and never by every sidecar for
// itself; what is lost for one reason is told in one line; a terminal of 40 columns.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { edgesText } from '../../src/cli/edges.ts';
import type { SignalRow, Summary } from '../../src/cli/signals.ts';
import { statText } from '../../src/cli/stat.ts';
import { connectionBlock, connectionLine, TapLines, type TappedConnection } from '../../src/cli/tap-lines.ts';
import { TapLosses } from '../../src/cli/tap-losses.ts';
import { topText } from '../../src/cli/top.ts';
import { waterfall } from '../../src/cli/trace-waterfall.ts';

const MAIN = new URL('../../src/cli/main.ts', import.meta.url).pathname;
const state = mkdtempSync(join(tmpdir(), 'skein-refused-'));
const proxies = ['a-0', 'b-0', 'c-0', 'd-0'].map((name) => ({
  name,
  namespace: 'shop',
  node: '',
  proxy: 'skein',
  connectedAt: '',
  types: {},
}));

const connection: TappedConnection = {
  proxy: 'sidecar~10.0.0.1~a-0.shop~shop.svc.cluster.local',
  at: '2026-01-02T03:04:05.678Z',
  event: 'close',
  side: 'inbound',
  source: { workload: 'order', namespace: 'shop', principal: 'spiffe://cluster.local/ns/shop/sa/order' },
  destination: { workload: 'stock', namespace: 'shop', principal: '' },
  mtls: true,
  flags: '',
  details: '',
  durationMs: 17_200,
  bytesIn: 4400,
  bytesOut: 9000,
  cluster: 'inbound|6379||',
  upstream: '10.0.0.1:6379',
  client: '10.0.0.2:40000',
  serverName: '',
};

/** What the sidecars answer to a tap. */
let tapped: readonly object[] = [];
const bodies: string[] = [];
let server: Server;

before(async () => {
  mkdirSync(join(state, 'logs'));
  server = createServer((incoming, response) => {
    let body = '';
    incoming.on('data', (c: Buffer) => {
      body += c.toString();
    });
    incoming.on('end', () => {
      bodies.push(`${incoming.url} ${body}`);
      if (incoming.url === '/v1/proxies') response.end(JSON.stringify(proxies));
      else response.end(tapped.map((line) => `${JSON.stringify(line)}\n`).join(''));
    });
  });
  server.listen(join(state, 'admin.sock'));
  await once(server, 'listening');
});
after(() => {
  server.close();
  rmSync(state, { recursive: true });
});

const start = (args: readonly string[]) => spawn(process.execPath, [MAIN, ...args], { env: { ...process.env, SKEIN_STATE: state } });

const skein = async (...args: readonly string[]) => {
  const child = start(args);
  let out = '';
  let err = '';
  child.stdout.on('data', (b: Buffer) => {
    out += b.toString();
  });
  child.stderr.on('data', (b: Buffer) => {
    err += b.toString();
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, out, err };
};

describe('refused', () => {
  test('a tap of what no sidecar could match is refused before any is asked', async () => {
    bodies.length = 0;
    const cases = [
      [['--header', 'a b:x'], '--header a b:x'],
      [['--header', ':x'], '--header :x'],
      [['--path', ''], '--path:'],
      [['--path-prefix', 'api'], '--path-prefix api'],
      [['--path', '/a?b=1'], 'without its query'],
      [['--tcp', '--path', '/'], 'a TCP connection has no path'],
      [['--tcp', '--status', '5xx'], 'a TCP connection has no path'],
      [['--open'], '--tcp'],
    ] as const;
    const all = await Promise.all(cases.map(([args]) => skein('tap', ...args)));
    for (const [i, { code, err }] of all.entries())
      assert.deepEqual([code, err.includes(cases[i]?.[1] ?? '?')], [2, true], `${cases[i]?.[0].join(' ')}: ${err}`);
    assert.deepEqual(bodies, []);
  });

  test('a number after -n counts and a name is a namespace, also together', async () => {
    tapped = [{ connection }, { connection }, { connection }];
    const { code, out, err } = await skein('tap', '-n', 'shop', '-n', '1', '--tcp');
    assert.equal(code, 0, err);
    assert.equal(out, '03:04:05.678  ← in   order.shop → stock.shop  TCP  closed  4.4KB in, 9.0KB out  17.2s  mtls\n');
    const asked = JSON.parse(bodies.at(-1)?.split(' ').slice(1).join(' ') ?? '') as object;
    assert.deepEqual({ tcp: true, open: undefined, count: 1, ...asked }, { ...asked, tcp: true, open: undefined, count: 1 });
    const nobody = await skein('tap', '-n', 'nowhere');
    assert.deepEqual([nobody.code, nobody.err], [1, 'skein: no sidecar of namespace nowhere is connected\n']);
  });

  test('sidecars that all end are told of, and the tap has failed', async () => {
    tapped = [{ tap: { shown: 0, ended: 'the proxy ends' } }];
    const { code, err } = await skein('tap');
    assert.equal(code, 1);
    assert.match(err, /^(?:skein: .*: the proxy has ended\n)+$/);
  });

  test('a status that is none, and a level that is none, are refused by name', async () => {
    const trace = await skein('trace', '--status', 'abc');
    assert.deepEqual([trace.code, trace.err], [2, 'skein: --status abc: a code or a class, as 503 or 5xx\n']);
    const level = await skein('proxy', 'log-level', 'a-0', 'loud');
    assert.deepEqual([level.code, level.err.startsWith('skein: loud: LEVEL')], [2, true], level.err);
  });
});

test('log lines as JSON: whose they are, as they are, and read where they are JSON', async () => {
  writeFileSync(join(state, 'logs', 'a-0.shop.log'), 'plain\n{"code":7}\n{not\n');
  const { code, out, err } = await skein('logs', '-o', 'json', 'a');
  assert.equal(code, 0, err);
  assert.deepEqual(
    out
      .trim()
      .split('\n')
      .map((l) => JSON.parse(l) as unknown),
    [
      { replica: 'a-0.shop', container: 'app', line: 'plain' },
      { replica: 'a-0.shop', container: 'app', line: '{"code":7}', record: { code: 7 } },
      { replica: 'a-0.shop', container: 'app', line: '{not' },
    ],
  );
  assert.equal((await skein('logs', '-o', 'xml', 'a')).code, 2);
});

test('whoever follows a log hears that the mesh has stopped, and goes on', async () => {
  writeFileSync(join(state, 'logs', 'b-0.shop.log'), 'hello\n');
  writeFileSync(join(state, 'run.json'), '{}');
  const child = start(['logs', '-f', 'b']);
  let err = '';
  child.stderr.on('data', (b: Buffer) => {
    err += b.toString();
  });
  await once(child.stdout, 'data');
  rmSync(join(state, 'run.json'));
  while (!err.includes('\n')) await once(child.stderr, 'data');
  assert.match(err, /the mesh has stopped/);
  child.kill('SIGINT');
  assert.deepEqual(await once(child, 'close'), [0, null]);
});

describe('text', () => {
  const party = (workload: string) => ({
    workload,
    namespace: 'production',
    principal: `spiffe://cluster.local/ns/production/sa/${workload}`,
  });
  const row = {
    source: party('recommendation-service'),
    destination: { ...party('payment-service-v1'), service: 'payment-service.production.svc.cluster.local', version: 'v1' },
    route: 'default',
    protocol: 'http',
    requests: 123_456,
    success: 123_000,
    errors: 456,
    rps: 123.4,
    successRate: 1,
    p50: 12,
    p95: 345,
    p99: 6789,
    bytesIn: 123_456,
    bytesOut: 123_456,
    tcp: { opened: 3, closed: 1, sent: 123_456, received: 123_456 },
    mtls: 'unknown',
  } as unknown as SignalRow;
  const summary: Summary = {
    from: '2026-01-02T03:00:00Z',
    to: '2026-01-02T03:04:05Z',
    source: 'embedded',
    complete: true,
    notes: [],
    rows: [row],
  };

  test('every table fits 40 columns, with what it is about and the share of success or mutual TLS', () => {
    const look = { width: 40, height: 24, colours: false };
    for (const [text, holds] of [
      [topText(summary, 'route', 30, { ...look, height: undefined }), '100.00%'],
      [topText(summary, 'edge', 30, { ...look, height: undefined }), '100.00%'],
      [topText(summary, 'version', 30, { ...look, height: undefined }), '100.00%'],
      [statText(summary, 'workload', 60, look), '100.00%'],
      [statText(summary, 'edge', 60, look), '100.00%'],
      [edgesText(summary, 60, look), 'unknown'],
    ] as const) {
      const table = text.split('\n').filter((l) => l !== '' && !l.startsWith('note:'));
      assert.equal(table.length, 2, text);
      for (const line of table) assert.ok(line.length <= 40, `${line.length}: ${line}`);
      assert.ok(table[1]?.includes(holds) && table[1].includes('…'), text);
    }
  });

  test('what is unknown of mutual TLS is explained where it is shown, and nowhere else', () => {
    const look = { width: undefined, height: undefined, colours: false };
    assert.match(edgesText(summary, 60, look), /note: mtls is unknown where/);
    assert.doesNotMatch(edgesText({ ...summary, rows: [{ ...row, mtls: 'mutual_tls' }] }, 60, look), /note:/);
  });

  test('a waterfall of 40 columns is names and times without bars', () => {
    const span = { kind: 'server', name: 'GET /api/v1/recommendations', status: 200, attributes: {}, durationUs: 5000 };
    const spans = ['a', 'b', 'c'].map((id, i) => ({
      ...span,
      spanId: id,
      parentSpanId: i === 0 ? null : 'a',
      service: `${id}.production`,
      startUs: i,
    }));
    const text = waterfall({ traceId: 't', partial: false, notes: [], spans }, { width: 40, colours: false });
    const lines = text.trimEnd().split('\n').slice(1);
    assert.equal(lines.length, 3);
    for (const line of lines) assert.ok(line.length <= 40 && !line.includes('█'), line);
    assert.match(lines[1] ?? '', /^ b\.production ← GET .*… {2}5ms {2}200$/);
  });

  test('a connection as a line and as a block, opened, broken, in plain text', () => {
    const opened = { ...connection, event: 'open', mtls: null, side: 'outbound', serverName: 'db\u001b[2J' } as const;
    assert.equal(connectionLine(opened, false), '03:04:05.678  → out  order.shop → stock.shop  TCP db\\x1b[2J  opened  -\n');
    const broken = { ...connection, flags: 'UF,URX', mtls: false, durationMs: 0, bytesOut: 0 };
    assert.match(connectionLine(broken, false), /TCP {2}closed {2}4\.4KB in, 0B out {2}UF,URX {2}<1ms {2}plain\n$/);
    assert.match(connectionBlock(connection, false), /\n {4}proxy {7}a-0\.shop\n {4}client {6}10\.0\.0\.2:40000\n/);
  });

  test('lines that are JSON and no object are no lines of a tap', () => {
    const lines: unknown[] = [];
    const reader = new TapLines((line) => lines.push(line));
    reader.receive(`null\n7\n"x"\n{"connection":${JSON.stringify(connection)}}\n`);
    assert.deepEqual(lines, [{ connection }]);
  });

  test('losses for different reasons are told apart, and at once when asked', () => {
    const said: string[] = [];
    const losses = new TapLosses((text) => said.push(text));
    for (const who of ['a', 'b', 'c', 'd']) losses.add(who, 'gone');
    losses.add('e', 'refused');
    assert.deepEqual(said, []);
    losses.flush();
    losses.flush();
    assert.deepEqual(said, ['a, b, c and 1 more: gone', 'e: refused']);
  });
});
