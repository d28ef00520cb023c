// Sends requests to URL from inside a workload and prints one JSON line. Plain fetches, no retries of its own.
// bun load.ts URL '{"count":1000}' or '{"rate":200,"seconds":5}', optional "header":"name: value".
import { Agent, request } from 'node:http';

const [url = '', json = '{}'] = process.argv.slice(2);
const options = JSON.parse(json) as { count?: number; rate?: number; seconds?: number; header?: string; concurrency?: number };
const agent = new Agent({ keepAlive: true, maxSockets: 32 });
const headers: Record<string, string> = {};
if (options.header)
  headers[options.header.slice(0, options.header.indexOf(':'))] = options.header.slice(options.header.indexOf(':') + 1).trim();

const result = {
  sent: 0,
  failed: 0,
  failures: [] as string[],
  versions: {} as Record<string, number>,
  timeline: [] as [number, string][],
  slowestMs: 0,
};
const began = performance.now();

const one = (): Promise<void> =>
  new Promise((resolve) => {
    const started = performance.now();
    result.sent++;
    const done = (version: string | undefined, failure: string | undefined): void => {
      result.slowestMs = Math.max(result.slowestMs, Math.round(performance.now() - started));
      if (failure !== undefined) {
        result.failed++;
        if (result.failures.length < 20) result.failures.push(`${Math.round(started - began)} ms: ${failure}`);
      } else if (version !== undefined) {
        result.versions[version] = (result.versions[version] ?? 0) + 1;
        if (result.timeline.length < 20_000) result.timeline.push([Math.round(started - began), version]);
      }
      resolve();
    };
    const r = request(url, { agent, headers, timeout: 5000 }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (b: Buffer) => chunks.push(b));
      response.on('error', (e) => done(undefined, e.message));
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString('utf8');
        if (response.statusCode !== 200) return done(undefined, `status ${response.statusCode} ${text.slice(0, 100)}`);
        try {
          done((JSON.parse(text) as { version?: string }).version ?? '', undefined);
        } catch {
          done('', undefined);
        }
      });
    });
    r.on('timeout', () => r.destroy(new Error('no answer in 5 s')));
    r.on('error', (e) => done(undefined, e.message));
    r.end();
  });

if (options.rate) {
  const total = options.rate * (options.seconds ?? 1);
  const running: Promise<void>[] = [];
  await new Promise<void>((resolve) => {
    const tick = (): void => {
      const due = Math.min(total, Math.floor(((performance.now() - began) / 1000) * (options.rate ?? 1)));
      while (running.length < due) running.push(one());
      if (running.length >= total) resolve();
      else setTimeout(tick, 2);
    };
    tick();
  });
  await Promise.all(running);
} else {
  let left = options.count ?? 100;
  await Promise.all(
    Array.from({ length: options.concurrency ?? 8 }, async () => {
      while (left-- > 0) await one();
    }),
  );
}
console.log(JSON.stringify(result));
process.exit(0);
