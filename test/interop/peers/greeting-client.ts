// node greeting-client.ts HOST PORT: how long a connection that says nothing waits for the server's first bytes; then echoes. Prints JSON:
// `cold` is the median of the first connections, the rest is of those after two hundred, when what runs has been compiled.
import { connect } from 'node:net';
import { GREETING } from './greeter.ts';
import { patternBytes } from './pattern.ts';

const [, , host = '', port = ''] = process.argv;
const ROUNDS = 40;
const WARM_AFTER = 200;
const WITHIN_MS = 6000;

const one = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const started = performance.now();
    let greetedMs = 0;
    let seen = '';
    const message = patternBytes(7, 3000).toString('latin1');
    const socket = connect({ host, port: Number(port), noDelay: true });
    const timer = setTimeout(() => socket.destroy(new Error(`no greeting within ${WITHIN_MS} ms`)), WITHIN_MS);
    socket.on('data', (bytes: Buffer) => {
      seen += bytes.toString('latin1');
      if (greetedMs === 0 && seen.length >= GREETING.length) {
        greetedMs = performance.now() - started;
        clearTimeout(timer);
        socket.end(message, 'latin1');
      }
    });
    socket.on('error', reject);
    socket.on('end', () => {
      if (seen === GREETING + message) resolve(greetedMs);
      else reject(new Error(`${seen.length} bytes came, not ${GREETING.length + message.length}, or others`));
    });
  });

const main = async (): Promise<void> => {
  await one(); // addresses are looked up
  const all: number[] = [];
  for (let i = 0; i < WARM_AFTER + ROUNDS; i++) all.push(await one());
  const sorted = (times: number[]): number[] => times.sort((a, b) => a - b);
  const cold = sorted(all.slice(0, ROUNDS));
  const times = sorted(all.slice(WARM_AFTER));
  console.log(
    JSON.stringify({ cold: cold[ROUNDS / 2], median: times[ROUNDS / 2], p90: times[Math.floor(ROUNDS * 0.9)], max: times.at(-1) }),
  );
};

process.exitCode = 1; // also when nothing is left to wait for
main().then(
  () => process.exit(0),
  (e: Error) => {
    console.error(e.message);
    process.exit(1);
  },
);
