// node load.ts '[Target, …]': sends at a fixed rate until SIGTERM or its standard input ends, then prints one JSON line (LoadResult[]).
// Prints `started` to standard error when every target has answered.
import { Http1Load } from './http1-load.ts';
import { Http2Load } from './http2-load.ts';
import type { LoadResult, Target } from './load-result.ts';
import { StreamLoad } from './stream-load.ts';
import { Tally } from './tally.ts';

const TICK_MS = 2;
const LAST_ANSWERS_MS = 11_000;

interface Running {
  readonly target: Target;
  readonly tally: Tally;
  readonly load: { send(dueAt: number): void; close(): void };
  sent: number;
}

const begin = (target: Target): Running => {
  const tally = new Tally(target.name);
  const load =
    target.protocol === 'http1'
      ? new Http1Load(target, tally)
      : target.protocol === 'http2'
        ? new Http2Load(target, tally)
        : new StreamLoad(target, tally);
  return { target, tally, load, sent: 0 };
};

const all = (JSON.parse(process.argv[2] ?? '[]') as Target[]).map(begin);
const began = performance.now();
let announced = false;
const ticker = setInterval(() => {
  for (const one of all) {
    const interval = 1000 / one.target.rate;
    for (let due = began + one.sent * interval; due <= performance.now(); due = began + ++one.sent * interval) one.load.send(due);
  }
  if (!announced && all.every(({ tally }) => tally.succeeded > 0)) {
    announced = true;
    process.stderr.write('started\n');
  }
}, TICK_MS);

const stop = async (): Promise<void> => {
  clearInterval(ticker);
  const until = performance.now() + LAST_ANSWERS_MS;
  while (all.some(({ tally }) => tally.open > 0) && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 20));
  const results: LoadResult[] = all.map(({ tally }) => tally.result());
  for (const { load } of all) load.close();
  process.stdout.write(`${JSON.stringify(results)}\n`, () => process.exit(0));
};
let stopping = false;
const stopOnce = (): void => {
  if (stopping) return;
  stopping = true;
  void stop();
};
process.on('SIGTERM', stopOnce);
process.stdin.on('end', stopOnce);
process.stdin.on('error', stopOnce);
process.stdin.resume();
