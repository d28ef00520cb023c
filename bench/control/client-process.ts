// The process that plays all clients. It is told what to do by lines of JSON on its input and answers with lines on its output.
import { createInterface } from 'node:readline';
import { clockMs, DeltaClient, Known, type WatchedType } from './delta-client.ts';
import { clientNode } from './folder.ts';

/** What may be asked of it. */
export type Order =
  | { readonly do: 'connect'; readonly host: string; readonly port: number; readonly clients: number; readonly n: number }
  /** End so many connections and begin as many. Answered at once. */
  | { readonly do: 'replace'; readonly host: string; readonly port: number; readonly clients: number; readonly n: number }
  /** Forget what has come; answer when every client has been sent this type. */
  | { readonly do: 'await'; readonly type: WatchedType }
  /** Forget what has come; answer after a while with what has come then. */
  | { readonly do: 'listen'; readonly forMs: number };

export interface Answer {
  /** When each client had it: milliseconds of the clock. Without those that got nothing. */
  readonly at: readonly number[];
  readonly bytes: readonly number[];
  readonly responses: number;
  readonly problem?: string;
}

/** Connections begun at once: a listen queue is short. */
const DIAL_AT_ONCE = 100;

const known = new Known();
let replaced = 0;
const clients: DeltaClient[] = [];
let waitsFor: { readonly seen: Set<DeltaClient>; readonly when: (c: DeltaClient) => number } | undefined;

const say = (answer: Answer): void => {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
};

const failed = (problem: string): void => {
  say({ at: [], bytes: [], responses: 0, problem });
  process.exit(1);
};

const noted = (client: DeltaClient): void => {
  if (!waitsFor || waitsFor.when(client) === 0) return;
  waitsFor.seen.add(client);
  if (waitsFor.seen.size < clients.length) return;
  const { when } = waitsFor;
  waitsFor = undefined;
  summary(when);
};

const summary = (when: (c: DeltaClient) => number): void =>
  say({
    at: clients.map(when).filter((ms) => ms > 0),
    bytes: clients.map((c) => c.bytes),
    responses: clients.reduce((sum, c) => sum + c.responses, 0),
  });

const connect = (order: Extract<Order, { do: 'connect' }>): void => {
  const { host, port } = order;
  for (let i = 0; i < order.clients; i++) clients.length = Math.max(clients.length, i);
  waitsFor = { seen: new Set(), when: (c) => c.configuredAtMs };
  let next = 0;
  const more = (): void => {
    const until = Math.min(order.clients, next + DIAL_AT_ONCE);
    for (; next < until; next++) clients[next] = new DeltaClient({ host, port, node: clientNode(next, order.n), known, failed, noted });
    if (next < order.clients) setImmediate(more);
  };
  clients.length = order.clients;
  more();
};

const obey = (order: Order): void => {
  if (order.do === 'connect') {
    connect(order);
    return;
  }
  if (order.do === 'replace') {
    for (let i = 0; i < order.clients; i++, replaced++) {
      const at = replaced % clients.length;
      clients[at]?.close();
      clients[at] = new DeltaClient({ host: order.host, port: order.port, node: clientNode(at, order.n), known, failed, noted });
    }
    say({ at: [clockMs()], bytes: [], responses: 0 });
    return;
  }
  for (const c of clients) c.mark();
  if (order.do === 'await') {
    const { type } = order;
    waitsFor = { seen: new Set(), when: (c) => c.at.get(type) ?? 0 };
    say({ at: [clockMs()], bytes: [], responses: 0 });
    return;
  }
  setTimeout(() => summary((c) => Math.max(0, ...c.at.values())), order.forMs);
};

const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => obey(JSON.parse(line) as Order));
lines.on('close', () => process.exit(0));
