// `skein ratelimit` as a process: it answers, takes new limits, keeps the last good ones, and ends when it is told to.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const limits = (requests: number): string =>
  `domain: shop\ndescriptors:\n  - key: user\n    rate_limit: { unit: hour, requests_per_unit: ${requests} }\n`;

const said = async (child: ChildProcess, stream: 'stdout' | 'stderr', wanted: RegExp): Promise<RegExpExecArray> => {
  let text = '';
  for await (const piece of child[stream] ?? []) {
    text += String(piece);
    const found = wanted.exec(text);
    if (found !== null) return found;
  }
  throw new Error(`it never said ${wanted}: ${text}`);
};

test('it answers over HTTP, refuses what is over, takes a new configuration and keeps it over a broken one', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'skein-ratelimit-'));
  const file = join(dir, 'shop.yaml');
  writeFileSync(file, limits(1));
  const args = ['--config', dir, '--redis', 'memory', '--listen', '127.0.0.1:0', '--metrics', '127.0.0.1:0'];
  const child = spawn(process.execPath, [MAIN, 'ratelimit', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  try {
    const [, grpc, port] = await said(child, 'stdout', /ready: grpc 127\.0\.0\.1:(\d+) metrics 127\.0\.0\.1:(\d+)/);
    assert.ok(Number(grpc) > 0);
    const page = (path: string, init?: RequestInit): Promise<Response> => fetch(`http://127.0.0.1:${port}${path}`, init);
    const ask = async (user: string): Promise<number> => {
      const descriptors = [{ entries: [{ key: 'user', value: user }] }];
      const response = await page('/json', { method: 'POST', body: JSON.stringify({ domain: 'shop', descriptors }) });
      await response.text();
      return response.status;
    };
    assert.deepEqual([await ask('ann'), await ask('ann'), await ask('bob')], [200, 429, 200]);
    assert.equal((await page('/json', { method: 'POST', body: '{"domain":"shop"}' })).status, 400);
    assert.equal((await page('/json', { method: 'POST', body: '{' })).status, 400);
    assert.equal((await page('/healthcheck')).status, 200);
    assert.match(await (await page('/rlconfig')).text(), /shop\.user: unit=HOUR requests_per_unit=1, shadow_mode: false/);
    assert.match(await (await page('/metrics')).text(), /ratelimit_service_rate_limit_over_limit\{key="shop.user"\} 1/);
    const refused = said(child, 'stderr', /shop\.yaml:4:\d+: unit "never" is none of/);
    writeFileSync(file, limits(5).replace('hour', 'never'));
    await refused;
    assert.match(await (await page('/rlconfig')).text(), /requests_per_unit=1,/, 'the last good one');
    child.kill('SIGTERM');
    assert.deepEqual(await once(child, 'exit'), [0, null]);
  } finally {
    child.kill('SIGKILL');
    rmSync(dir, { recursive: true });
  }
});

test('wrong usage is told in a line, with exit code 2', () => {
  const rows: [string[], RegExp][] = [
    [[], /--config DIR is needed/],
    [['--config', '/none'], /--redis URL is needed/],
    [['--config', '/none', '--redis', 'memory', '--listen', 'here'], /--listen here: give HOST:PORT/],
    [['--config', '/none', '--redis', 'memory', '--near-limit', '2'], /--near-limit 2: give a number up to 1/],
  ];
  for (const [args, wanted] of rows) {
    const env = { ...process.env, REDIS_URL: undefined, SKEIN_RATELIMIT_CONFIG: undefined };
    const { status, stderr } = spawnSync(process.execPath, [MAIN, 'ratelimit', ...args], { encoding: 'utf8', timeout: 60_000, env });
    assert.deepEqual([status, wanted.test(stderr)], [2, true], stderr);
  }
});
