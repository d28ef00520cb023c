// Sends requests to URL from inside a workload and prints one JSON line (LoadResult). Plain requests, no retries of its own.
// bun load.ts URL '{"count":1000}' or '{"rate":200,"seconds":5}', optional "header":"name: value", "fresh":true (a connection each).
// Writes `started` to standard error with the first answer.
import { Agent, request } from 'node:http';
import type { LoadOptions, LoadResult } from './load-result.ts';

const [url = '', json = '{}'] = process.argv.slice(2);
const options = JSON.parse(json) as LoadOptions;
const agent = new Agent({ keepAlive: options.fresh !== true, maxSockets: 64 });
const headers: Record<string, string> = options.fresh === true ? { connection: 'close' } : {};
if (options.header)
  headers[options.header.slice(0, options.header.indexOf(':'))] = options.header.slice(options.header.indexOf(':') + 1).trim();

const GIVE_UP_MS = 30_000;
const answers: LoadResult['answers'][number][] = [];
const failures: LoadResult['failures'][number][] = [];
let slowestMs = 0;

const one = (): Promise<void> =>
  new Promise((resolve) => {
    const startedAt = Date.now();
    let over = false;
    const done = (failure: string | undefined, body = ''): void => {
      if (over) return;
      over = true;
      const ms = Date.now() - startedAt;
      slowestMs = Math.max(slowestMs, ms);
      if (failure === undefined) {
        if (answers.length === 0) process.stderr.write('started\n');
        const { version = '', instance = '' } = documentOf(body);
        answers.push([startedAt + ms, version, instance]);
      } else {
        failures.push({ at: startedAt, ms, reason: failure });
      }
      resolve();
    };
    const r = request(url, { agent, headers, timeout: GIVE_UP_MS }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (b: Buffer) => chunks.push(b));
      response.on('error', (e) => done(e.message));
      response.on('aborted', () => done('aborted'));
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString('utf8');
        done(response.statusCode === 200 ? undefined : `status ${response.statusCode} ${text.slice(0, 100)}`, text);
      });
    });
    r.on('timeout', () => r.destroy(new Error(`no answer in ${GIVE_UP_MS} ms`)));
    r.on('error', (e) => done(e.message));
    r.end();
  });

const documentOf = (body: string): { version?: string; instance?: string } => {
  try {
    return JSON.parse(body) as { version?: string; instance?: string };
  } catch {
    return {};
  }
};

const atRate = async (rate: number, seconds: number): Promise<void> => {
  const total = rate * seconds;
  const began = performance.now();
  const running: Promise<void>[] = [];
  await new Promise<void>((resolve) => {
    const tick = (): void => {
      const due = Math.min(total, Math.floor(((performance.now() - began) / 1000) * rate));
      while (running.length < due) running.push(one());
      if (running.length >= total) resolve();
      else setTimeout(tick, 2);
    };
    tick();
  });
  await Promise.all(running);
};

const byCount = async (count: number): Promise<void> => {
  let left = count;
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      while (left-- > 0) await one();
    }),
  );
};

if (options.rate) await atRate(options.rate, options.seconds ?? 1);
else await byCount(options.count ?? 100);
const result: LoadResult = { sent: answers.length + failures.length, failures, answers, slowestMs };
process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
