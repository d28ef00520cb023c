// Does exactly what it is told from inside a workload and prints what it saw as one JSON line (CountedResult): HTTP requests one kind after
// the other, and PINGs over TCP connections. bun counted-load.ts '[{"name":"ok","url":"http://…","count":10}]'
import { Agent, request } from 'node:http';
import { connect } from 'node:net';

/** HTTP, or with `pings` Redis' PING over `count` connections to `url` (tcp://HOST:PORT). */
export interface CountedStep {
  readonly name: string;
  readonly url: string;
  readonly count: number;
  readonly header?: readonly [string, string];
  /** POSTs a JSON body of exactly so many bytes. */
  readonly bodyBytes?: number;
  readonly pings?: number;
  /** Begins then, milliseconds since 1970; at once when absent or past. */
  readonly at?: number;
}

export interface CountedResult {
  readonly [step: string]: {
    readonly statuses: Readonly<Record<string, number>>;
    readonly versions: Readonly<Record<string, number>>;
    /** By `STATUS INSTANCE`: who answered with what. */
    readonly answers: Readonly<Record<string, number>>;
    /** Milliseconds since 1970. */
    readonly began: number;
    readonly ended: number;
    readonly durationsMs: readonly number[];
    /** Of bodies, or of TCP connections. */
    readonly sentBytes: number;
    readonly receivedBytes: number;
  };
}

const PARALLEL = 8;
const GIVE_UP_MS = 10_000;
const PING = '*1\r\n$4\r\nPING\r\n';
const agent = new Agent({ keepAlive: true, maxSockets: PARALLEL });

interface Seen {
  statuses: Record<string, number>;
  versions: Record<string, number>;
  answers: Record<string, number>;
  began: number;
  ended: number;
  durationsMs: number[];
  sentBytes: number;
  receivedBytes: number;
}

const bodyOf = (bytes: number): string => {
  const empty = JSON.stringify({ amount: 1, pad: '' });
  return JSON.stringify({ amount: 1, pad: 'x'.repeat(bytes - empty.length) });
};

const count = (into: Record<string, number>, key: string): void => {
  into[key] = (into[key] ?? 0) + 1;
};

const http = ({ url, header, bodyBytes }: CountedStep, seen: Seen): Promise<void> =>
  new Promise((resolve, reject) => {
    const body = bodyBytes === undefined ? '' : bodyOf(bodyBytes);
    const headers = {
      ...(header && { [header[0]]: header[1] }),
      ...(body === '' ? {} : { 'content-type': 'application/json', 'content-length': body.length }),
    };
    const started = performance.now();
    const sent = request(url, { agent, method: body === '' ? 'GET' : 'POST', headers, timeout: GIVE_UP_MS }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString('utf8');
        seen.durationsMs.push(performance.now() - started);
        seen.sentBytes += body.length;
        seen.receivedBytes += text.length;
        count(seen.statuses, String(response.statusCode));
        count(seen.versions, /"version":"(\w+)"/.exec(text)?.[1] ?? '');
        count(seen.answers, `${response.statusCode} ${/"instance":"([\w-]+)"/.exec(text)?.[1] ?? ''}`);
        resolve();
      });
    });
    sent.on('timeout', () => sent.destroy(new Error(`no answer from ${url}`)));
    sent.on('error', reject);
    sent.end(body);
  });

const tcp = ({ url, pings = 0 }: CountedStep, seen: Seen): Promise<void> =>
  new Promise((resolve, reject) => {
    const { hostname, port } = new URL(url);
    const socket = connect({ host: hostname, port: Number(port) });
    let left = pings;
    let held = '';
    const next = (): void => {
      if (left-- === 0) {
        socket.end();
        return;
      }
      seen.sentBytes += PING.length;
      socket.write(PING);
    };
    socket.setTimeout(GIVE_UP_MS, () => socket.destroy(new Error(`no answer from ${url}`)));
    socket.on('connect', next);
    socket.on('data', (chunk: Buffer) => {
      seen.receivedBytes += chunk.length;
      held += chunk.toString('latin1');
      if (!held.endsWith('PONG\r\n')) return;
      held = '';
      next();
    });
    socket.on('error', reject);
    socket.on('close', () => resolve());
  });

const until = (at: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, Math.max(0, at - Date.now())));

const result: Record<string, Seen> = {};
for (const step of JSON.parse(process.argv[2] ?? '[]') as readonly CountedStep[]) {
  await until(step.at ?? 0);
  const seen: Seen = {
    statuses: {},
    versions: {},
    answers: {},
    began: Date.now(),
    ended: 0,
    durationsMs: [],
    sentBytes: 0,
    receivedBytes: 0,
  };
  let left = step.count;
  const one = step.pings === undefined ? http : tcp;
  await Promise.all(
    Array.from({ length: PARALLEL }, async () => {
      while (left-- > 0) await one(step, seen);
    }),
  );
  seen.ended = Date.now();
  result[step.name] = seen;
}
process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
