// A sidecar that restarts while it is tapped: it is tapped again by itself, which is told, and nothing is lost without a word.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';

const MAIN = new URL('../../src/cli/main.ts', import.meta.url).pathname;
const state = mkdtempSync(join(tmpdir(), 'skein-return-'));
const PROXY = { name: 'web-0', namespace: 'shop', node: '', proxy: 'skein', connectedAt: '', types: {} };

interface Tap {
  readonly body: { readonly seconds: number; readonly maxPerSecond: number };
  say(...lines: readonly object[]): void;
  readonly response: ServerResponse;
}

let server: Server;
/** What is done with each tap in turn; the last one goes on. */
let taps: ((tap: Tap) => void)[] = [];
let asked: Tap['body'][] = [];
/** What those who ask for the list are told in turn; the last one goes on. */
let listed: (readonly object[])[] = [];

const inTurn = <T>(of: T[]): T | undefined => (of.length > 1 ? of.shift() : of[0]);

before(async () => {
  mkdirSync(join(state, 'logs'));
  server = createServer((incoming, response) => {
    let body = '';
    incoming.on('data', (c: Buffer) => {
      body += c.toString();
    });
    incoming.on('end', () => {
      if (incoming.url === '/v1/proxies') {
        response.end(JSON.stringify(inTurn(listed)));
        return;
      }
      const tap = {
        body: JSON.parse(body) as Tap['body'],
        response,
        say: (...lines: readonly object[]) => void response.write(lines.map((line) => `${JSON.stringify(line)}\n`).join('')),
      };
      asked.push(tap.body);
      inTurn(taps)?.(tap);
    });
  });
  server.listen(join(state, 'admin.sock'));
  await once(server, 'listening');
});
after(() => {
  server.close();
  rmSync(state, { recursive: true });
});
beforeEach(() => {
  asked = [];
});

const skein = async (...args: readonly string[]) => {
  const child = spawn(process.execPath, [MAIN, 'tap', ...args], { env: { ...process.env, SKEIN_STATE: state } });
  let out = '';
  let err = '';
  child.stdout.on('data', (b: Buffer) => {
    out += b.toString();
  });
  child.stderr.on('data', (b: Buffer) => {
    err += b.toString();
  });
  const [code] = (await once(child, 'close')) as [number | null];
  const paths = out.split('\n').flatMap((line) => (line === '' ? [] : [(JSON.parse(line) as { path: string }).path]));
  return { code, paths, err: err.trim().split('\n') };
};

const OPEN = { tap: { open: true } };
const request = (path: string): object => ({ request: { path } });

describe('a tapped sidecar', () => {
  test('that ends is tapped again when it is back, for the time that is left; what was skipped before and after adds up', async () => {
    listed = [[PROXY], [], [PROXY]];
    taps = [
      ({ say, response }) => {
        say(OPEN, request('/before'), { tap: { shown: 1, skipped: 3, dropped: 1, ended: 'the proxy ends' } });
        response.end();
      },
      ({ say, response }) => {
        say(OPEN, request('/after'), { tap: { shown: 1, skipped: 4, ended: 'time' } });
        response.end();
      },
    ];
    const { code, paths, err } = await skein('-o', 'json', '--for', '100s', '--max-rps', '7');
    assert.deepEqual([code, paths], [0, ['/before', '/after']]);
    assert.equal(err.length, 3, err.join('\n'));
    assert.equal(err[0], 'skein: web-0.shop: the proxy has ended; it is tapped again when it is back');
    assert.match(err[1] ?? '', /^skein: web-0\.shop: is tapped again; what passed it in \d+ s was not seen$/);
    assert.match(err[2] ?? '', /2 shown; 8 more matched/);
    assert.deepEqual(
      asked.map(({ maxPerSecond }) => maxPerSecond),
      [7, 7],
    );
    const [first = 0, second = 0] = asked.map(({ seconds }) => seconds);
    assert.ok(first <= 100 && second > 0 && second <= first, `${first} ${second}`);
  });

  test('that is cut off and refuses at first is asked on until it takes a tap, and counts on to what was asked for', async () => {
    listed = [[PROXY]];
    taps = [
      ({ say, response }) => {
        say(OPEN, request('/1'));
        setImmediate(() => response.destroy());
      },
      ({ response }) => {
        response.statusCode = 502;
        response.end(JSON.stringify({ error: { code: 'DISCONNECTED', message: 'the agent of web-0.shop went away before it answered' } }));
      },
      ({ say }) => say(OPEN, request('/2'), request('/3'), request('/4')),
    ];
    const { code, paths, err } = await skein('-o', 'json', '-n', '3');
    assert.deepEqual([code, paths, asked.length], [0, ['/1', '/2', '/3'], 3]);
    assert.match(err[0] ?? '', /cut off.*it is tapped again when it is back$/);
  });

  test('that does not come back, or comes back as another proxy, is given up, told, with 1', async () => {
    const end = ({ say, response }: Tap): void => {
      say(OPEN, { tap: { ended: 'the proxy ends' } });
      response.end();
    };
    taps = [end];
    listed = [[PROXY], []];
    const gone = await skein('--wait', '1s');
    assert.deepEqual([gone.code, gone.err.at(-1)], [1, 'skein: web-0.shop: has not come back: it is no longer tapped']);
    listed = [[PROXY], [{ ...PROXY, proxy: 'envoy' }]];
    const other = await skein();
    assert.deepEqual([other.code, other.err.at(-1)], [1, 'skein: web-0.shop: is back with another proxy, which cannot be tapped']);
  });

  test('that has as many taps as it takes says so, and is not asked again', async () => {
    listed = [[PROXY]];
    taps = [
      ({ say, response }) => {
        say({ tap: { ended: '8 taps are open already' } });
        response.end();
      },
    ];
    const { code, err } = await skein();
    assert.deepEqual([code, err, asked.length], [1, ['skein: web-0.shop: 8 taps are open already'], 1]);
  });
});
