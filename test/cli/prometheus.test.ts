// `skein prometheus` as a process: configurations, the list, the way in, and what it says when it cannot.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { command } from '../../src/cli/prometheus.ts';
import { startRig, temporaryFolder } from '../control/rig.ts';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

/** The command in this process: what it prints is caught. */
const skein = async (...argv: string[]): Promise<{ readonly status: number; readonly stdout: string; readonly stderr: string }> => {
  const caught = { stdout: '', stderr: '' };
  const { stdout, stderr } = process;
  const [write, complain] = [stdout.write, stderr.write];
  // Bytes are Node's own: how a file under test reports to the runner.
  const into = (stream: keyof typeof caught) => (text: string | Uint8Array) => {
    if (typeof text !== 'string') return write.call(stdout, text);
    caught[stream] += text;
    return true;
  };
  stdout.write = into('stdout') as typeof stdout.write;
  stderr.write = into('stderr') as typeof stderr.write;
  try {
    await command.run(argv);
    return { ...caught, status: Number(process.exitCode ?? 0) };
  } finally {
    stdout.write = write;
    stderr.write = complain;
    process.exitCode = 0;
  }
};

describe('skein prometheus config', () => {
  test('is for the door, with rules by their whole path', async () => {
    const { status, stdout } = await skein('config', '--listen', '127.0.0.1:9000', '--interval', '2s', '--rules', 'rules.yaml');
    assert.equal(status, 0);
    const { global, rule_files, scrape_configs } = parse(stdout);
    assert.equal(global.scrape_interval, '2s');
    assert.match(rule_files[0], /^\/.*\/rules\.yaml$/);
    assert.equal(scrape_configs[0].proxy_url, 'http://127.0.0.1:9000');
    assert.equal(scrape_configs[1].static_configs[0].labels.app, 'istiod');
  });

  test('names no token, only the file that holds it', async () => {
    const { stdout } = await skein('config', '--admin', 'https://istiod:15014', '--token-file', '/t', '-o', 'json');
    const { scrape_configs } = JSON.parse(stdout);
    assert.deepEqual(scrape_configs[0].http_sd_configs[0].authorization, { type: 'Bearer', credentials_file: '/t' });
    assert.equal(scrape_configs[1].scheme, 'https');
  });

  for (const [what, args] of [
    ['an interval that is none', ['config', '--interval', '5']],
    ['an address without a port', ['serve', '--listen', 'localhost']],
    ['an admin API without a token', ['config', '--admin', 'https://istiod:15014']],
    ['a token without an admin API', ['config', '--token-file', '/t']],
    ['another word', ['scrape']],
  ] as const)
    test(`refuses ${what} as wrong usage`, async () => {
      const { status, stdout, stderr } = await skein(...args);
      assert.deepEqual([status, stdout], [2, ''], stderr);
      assert.match(stderr, /^skein: /);
    });
});

test('without a mesh there is nothing to serve', async () => {
  const { status, stderr } = await skein('serve', '--state', temporaryFolder(), '--listen', '127.0.0.1:0');
  assert.equal(status, 3);
  assert.match(stderr, /no control plane is running/);
});

test("serve passes on the control plane's metrics and ends when it is told to", { timeout: 120_000 }, async () => {
  const rig = await startRig({});
  try {
    const child = spawn(process.execPath, [MAIN, 'prometheus', 'serve', '--state', rig.state, '--listen', '127.0.0.1:0'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    const [, url = ''] = /on (http:\S+)/.exec(String(line)) ?? [];
    assert.match(await (await fetch(`${url}/control-plane/metrics`)).text(), /^pilot_xds 0$/m);
    assert.deepEqual(await (await fetch(`${url}/targets`)).json(), []);
    const exit = once(child, 'exit');
    child.kill('SIGTERM');
    assert.deepEqual(await exit, [0, null]);
  } finally {
    await rig.close();
  }
});

test('serve says so when its address is taken', { timeout: 120_000 }, async () => {
  const rig = await startRig({});
  const taken = createServer().listen(0, '127.0.0.1');
  try {
    await once(taken, 'listening');
    const address = taken.address();
    const port = typeof address === 'object' ? address?.port : 0;
    const child = spawn(process.execPath, [MAIN, 'prometheus', 'serve', '--state', rig.state, '--listen', `127.0.0.1:${port}`], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const [[text], [code]] = await Promise.all([once(child.stderr, 'data'), once(child, 'exit')]);
    assert.match(String(text), /cannot listen on 127\.0\.0\.1:\d+: EADDRINUSE/);
    assert.equal(code, 1);
  } finally {
    taken.close();
    await rig.close();
  }
});
