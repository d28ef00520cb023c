// The benchmark as a program: its command line, its table of scenarios, and one small round from the generator to the report.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { LineUp } from '../../bench/line-up.ts';
import { HELP, OptionError, parseOptions } from '../../bench/options.ts';
import { renderReport } from '../../bench/report.ts';
import { CONTENDERS, SCENARIOS, takesPart } from '../../bench/scenarios.ts';
import { Session } from '../../bench/session.ts';

test('without options all scenarios run five rounds of two seconds', () => {
  const { scenarios, rounds, seconds, only, dirty, quick, help } = parseOptions([]);
  assert.deepEqual(
    scenarios.map((s) => s.id),
    SCENARIOS.map((s) => s.id),
  );
  assert.deepEqual(
    { rounds, seconds, only, dirty, quick, help },
    { rounds: 5, seconds: 2, only: undefined, dirty: false, quick: false, help: false },
  );
});

test('scenarios are chosen by letter or name, contenders by name', () => {
  const ids = (argv: readonly string[]): string[] => parseOptions(argv).scenarios.map((s) => s.id);
  assert.deepEqual(ids(['--scenarios', 'b,a']), ['a', 'b']);
  assert.deepEqual(ids(['--scenarios', 'telemetry']), ['i']);
  assert.deepEqual(ids(['--scenarios', 'a,i']), ['a', 'i']);
  assert.deepEqual(parseOptions(['--only', 'skein,envoy-full']).only, ['skein', 'envoy-full']);
  assert.equal(parseOptions(['--quick']).rounds, 1);
});

test('what cannot be meant is refused by name', () => {
  for (const argv of [
    ['--scenarios', 'a,zz'],
    ['--scenarios', ''],
    ['--only', 'nobody'],
    ['--rounds', '0'],
    ['--seconds', 'x'],
  ])
    assert.throws(() => parseOptions(argv), OptionError, argv.join(' '));
  assert.throws(() => parseOptions(['--nonsense']), { code: 'ERR_PARSE_ARGS_UNKNOWN_OPTION' });
});

test('every scenario has a letter of its own, contenders that are known, and a line in the help', () => {
  assert.equal(new Set(SCENARIOS.map((s) => s.id)).size, SCENARIOS.length);
  assert.equal(new Set(CONTENDERS).size, CONTENDERS.length);
  for (const { id, title, contenders } of SCENARIOS) {
    assert.ok(HELP.includes(`  ${id}  ${title}`), id);
    for (const name of contenders) assert.ok(CONTENDERS.includes(name), `${id}: ${name}`);
  }
});

test('who stands for telemetry takes part in nothing else, and nobody else in that', () => {
  const own = SCENARIOS.filter((s) => s.own === true);
  const others = SCENARIOS.filter((s) => s.own !== true);
  for (const scenario of own) {
    const [none = '', row = ''] = scenario.contenders;
    assert.equal(takesPart(scenario, 'skein', ['skein']), false);
    assert.equal(takesPart(scenario, row, ['skein']), false);
    assert.equal(takesPart(scenario, row, [row]), true);
    // What the others are compared with comes along.
    assert.equal(takesPart(scenario, none, [row]), true);
    for (const other of others)
      for (const name of [none, row, 'direct']) assert.equal(takesPart(other, name, [row]), false, `${other.id} ${name}`);
  }
});

const MAIN = fileURLToPath(new URL('../../bench/main.ts', import.meta.url));
const run = (args: readonly string[]): Promise<{ readonly status: number | null; readonly output: string }> =>
  new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    child.once('error', reject);
    child.once('close', (status) => resolve({ status, output }));
  });

test('the program starts, and says with 2 what it was told wrongly', async () => {
  const [help, wrong] = await Promise.all([run(['--help']), run(['--scenarios', 'zz'])]);
  assert.equal(help.status, 0, help.output);
  assert.equal(help.output, HELP);
  assert.equal(wrong.status, 2, wrong.output);
  assert.match(wrong.output, /^bench: --scenarios takes some of a,b,.*; not "zz"$/m);
});

test('a round goes from the generator to the report, and a contender that answers nothing is told with the reason', async () => {
  const server = createServer((_, response) => response.end('x'.repeat(1024)));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const { signal } = new AbortController();
  const options = parseOptions(['--quick', '--scenarios', 'f', '--seconds', '0.2', '--only', 'direct,nginx']);
  const lineUp = new LineUp(undefined, signal);
  const lines: string[] = [];
  try {
    const route = { via: [], host: '127.0.0.1', port, hops: [() => [process.pid]] };
    lineUp.contenders.push({ name: 'direct', note: 'this process', route: () => route, roots: () => [] });
    lineUp.absent.set('nginx', 'nginx is not installed');
    const session = new Session(options, lineUp, signal, (line) => lines.push(line));
    for (const scenario of options.scenarios) await session.run(scenario);
    const [round] = session.record()['f']?.['direct'] ?? [];
    assert.ok(round !== undefined, lines.join('\n'));
    assert.equal(round.units + round.errors, 200);
    assert.ok(round.units > 0);
    const machine = { date: '', kernel: '', cpu: '', cores: 1, versions: {} };
    const text = renderReport({ ...options, machine, results: session.results(), notes: new Map(), notRun: session.notRun });
    assert.match(text, /^\| direct \|.*\| 1 of 1 \|$/m);
    assert.match(text, /^- nginx: nginx is not installed$/m);
  } finally {
    await lineUp.stop();
    server.closeAllConnections();
    server.close();
  }
});
