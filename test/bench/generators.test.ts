import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseH2load, parseWrk } from '../../bench/load/generator-output.ts';

const WRK = `Running 1s test @ http://127.0.0.1:1/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.20ms    2.00ms  35.99ms   99.50%
    Req/Sec     8.02k     1.10k    9.75k    60.00%
  Latency Distribution
     50%  420.00us
     75%    1.10ms
     90%    5.10ms
     99%    1.20s 
  8049 requests in 1.01s, 9.61MB read
  Socket errors: connect 1, read 2, write 3, timeout 4
  Non-2xx or 3xx responses: 5
Requests/sec:   7990.12
Transfer/sec:      9.54MB
`;

test('wrk: units of time are told apart, and every kind of error counts', () => {
  assert.deepEqual(parseWrk(WRK), { units: 8049, perSecond: 7990.12, errors: 15, p50Ms: 0.42, p90Ms: 5.1, p99Ms: 1200 });
});

test('h2load: percentiles come from its log, only from answers that succeeded', () => {
  const log = '1\t200\t1000\n2\t200\t3000\n3\t503\t9000\n4\t-1\t9000\n5\t204\t2000\n';
  const text = 'requests: 5 total, 6 started, 5 done, 3 succeeded, 2 failed, 1 errored, 0 timeout\n';
  assert.deepEqual(parseH2load(text, log, 2), { units: 3, perSecond: 1.5, errors: 2, p50Ms: 2, p90Ms: 3, p99Ms: 3 });
});

const CLIENT = fileURLToPath(new URL('../../bench/load/open-loop-client.ts', import.meta.url));

const output = (args: readonly string[]): Promise<string> =>
  new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [CLIENT, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    child.once('error', reject);
    child.once('close', () => resolve(text));
  });

test('open loop: who waits for a slow server is measured from the due time', async () => {
  const SERVICE_MS = 30;
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.on('data', () => setTimeout(() => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'), SERVICE_MS));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  // Thirty requests are due within 300 ms; one connection answers one each 30 ms.
  const result = JSON.parse(await output(['127.0.0.1', String(address.port), '100', '1', '0.3'])) as Record<string, number>;
  server.close();
  assert.equal(result['requests'], 30);
  assert.equal(result['errors'], 0);
  assert.ok((result['p99Ms'] ?? 0) > 400, `p99 is ${result['p99Ms']} ms: the waiting was left out`);
});
