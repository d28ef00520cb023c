// Runs inside a workload: requests to URL at a steady rate, how they ended and how long they took. Prints one JSON line (StormLoad).
// bun storm-load.ts URL '{"rate":100,"seconds":5}'
import { Agent, get } from 'node:http';

export interface StormLoad {
  readonly sent: number;
  readonly succeeded: number;
  /** Each kind of other end with how often it came. */
  readonly failures: readonly string[];
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** When each request ran: [from, to] in milliseconds since 1970. */
  readonly ran: readonly (readonly [number, number])[];
}

const GIVE_UP_MS = 12_000;

const [url = '', json = '{}'] = process.argv.slice(2);
const { rate, seconds } = JSON.parse(json) as { readonly rate: number; readonly seconds: number };
const agent = new Agent({ keepAlive: true, maxSockets: 512 });

const fetchText = (): Promise<{ readonly status: number; readonly text: string }> =>
  new Promise((resolve) => {
    const request = get(url, { timeout: GIVE_UP_MS, agent }, (response) => {
      const pieces: Buffer[] = [];
      response.on('data', (piece: Buffer) => pieces.push(piece));
      response.on('error', () => resolve({ status: 0, text: 'cut' }));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text: Buffer.concat(pieces).toString('utf8') }));
    });
    request.on('timeout', () => request.destroy());
    request.on('error', (error) => resolve({ status: 0, text: error.message }));
  });

const tookMs: number[] = [];
const ran: (readonly [number, number])[] = [];
const ends = new Map<string, number>();
let succeeded = 0;
const one = async (): Promise<void> => {
  const [began, from] = [performance.now(), Date.now()];
  const { status, text } = await fetchText();
  tookMs.push(performance.now() - began);
  ran.push([from, Date.now()]);
  const end = `${status} ${text.slice(0, 80)}`;
  if (status === 200) succeeded++;
  else ends.set(end, (ends.get(end) ?? 0) + 1);
};

const total = rate * seconds;
const running: Promise<void>[] = [];
const began = performance.now();
while (running.length < total) {
  const due = Math.min(total, Math.floor(((performance.now() - began) / 1000) * rate));
  while (running.length < due) running.push(one());
  await new Promise((resolve) => setTimeout(resolve, 2));
}
await Promise.all(running);
tookMs.sort((a, b) => a - b);
const quantile = (share: number): number => tookMs[Math.min(tookMs.length - 1, Math.floor(share * tookMs.length))] ?? 0;
const failures = [...ends].map(([end, times]) => `${times} x ${end}`);
const result: StormLoad = { sent: total, succeeded, failures, p50Ms: quantile(0.5), p99Ms: quantile(0.99), ran };
console.log(JSON.stringify(result));
