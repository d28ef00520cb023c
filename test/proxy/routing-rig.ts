// Routing tables: the same configuration and the same requests for the data plane and, where there is one, a stock Envoy. A row is a
// request and what comes of it: status, body, attempts that reached the backend, response flags, details, and the headers a table asks for.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import type { Cluster, HttpConnectionManager, HttpFilter, Route, RouteConfiguration, VirtualHost } from '../../src/xds/gen/types.ts';
import { freePort } from '../free-port.ts';
import { eventually, hcm, listener, RawClient, type RawResponse, ROUTER, startPlane, staticCluster } from './harness.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';

export interface RoutingTable {
  readonly name: string;
  readonly routes: readonly Route[];
  readonly host?: Partial<VirtualHost>;
  readonly config?: Partial<RouteConfiguration>;
  readonly hcm?: Partial<HttpConnectionManager>;
  readonly filters?: readonly HttpFilter[];
  /** Over the usual `c` (the backend) and `dead` (nobody listens). */
  readonly cluster?: Partial<Cluster>;
  /** Response headers, and request headers at the backend, whose values belong to the answer. */
  readonly shows?: readonly string[];
  readonly seen?: readonly string[];
  /** `METHOD PATH`, lines of headers, an empty line and a body → the answer. */
  readonly rows: { readonly [request: string]: string };
}

interface Target {
  port(listener: string): number;
  outcome(nth: number): Promise<{ readonly flags: string; readonly details: string }>;
}

/** `x-plan: A|B` says what attempt after attempt gets: `503;name=value`, `reset`, `silent`, `slow200:200`. */
class SteeredBackend {
  readonly heads: string[] = [];
  #port = 0;
  readonly #server = createServer((socket) => this.#serve(socket));
  readonly #sockets: Socket[] = [];

  async start(): Promise<number> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    this.#port = (this.#server.address() as AddressInfo).port;
    return this.#port;
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #serve(socket: Socket): void {
    this.#sockets.push(socket);
    let all = '';
    socket.on('error', () => {});
    socket.on('data', (bytes) => {
      all += bytes.toString('latin1');
      for (let end = all.indexOf('\r\n\r\n'); end >= 0; end = all.indexOf('\r\n\r\n')) {
        const head = all.slice(0, end);
        const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
        if (all.length < end + 4 + length) return;
        all = all.slice(end + 4 + length);
        this.#answer(socket, head);
      }
    });
  }

  #answer(socket: Socket, head: string): void {
    const plan = (/^x-plan: (.*)$/im.exec(head)?.[1] ?? '200').trim().split('|');
    const nth = this.heads.push(head) - 1;
    const [, slow, what = ''] = /^(?:slow(\d+):)?(.*)$/.exec(plan[Math.min(nth, plan.length - 1)] ?? '') ?? [];
    if (what === 'silent') return;
    const send = (): void => {
      if (what === 'reset') {
        socket.resetAndDestroy();
        return;
      }
      const [status, ...headers] = what.split(';');
      const lines = headers.map((header) => `${header.replace('=', ': ')}\r\n`).join('');
      socket.write(`HTTP/1.1 ${status} X\r\ncontent-length: 2\r\n${lines}\r\nn${nth}`);
    };
    if (slow === undefined) send();
    else setTimeout(send, Number(slow));
  }
}

const ask = async (port: number, request: string): Promise<RawResponse> => {
  const [line = '', ...rest] = request.split('\n');
  const gap = rest.indexOf('');
  const headers = gap < 0 ? rest : rest.slice(0, gap);
  const body = gap < 0 ? '' : rest.slice(gap + 1).join('\n');
  const host = headers.some((header) => header.startsWith('host:')) ? [] : ['host: x.test'];
  const length = body === '' ? [] : [`content-length: ${body.length}`];
  const client = await RawClient.open(port);
  try {
    return await client
      .send(`${line} HTTP/1.1\r\n${[...host, ...headers, ...length].join('\r\n')}\r\n\r\n${body}`)
      .response(line.split(' ')[0]);
  } finally {
    client.close();
  }
};

/** Times and addresses differ from run to run. */
const steady = (name: string, value: string): string => {
  const step = Number(value) > 1000 ? 1000 : 100;
  return name.endsWith('timeout-ms') ? String(Math.ceil(Number(value) / step) * step) : value;
};
const valueIn = (head: string, name: string): string =>
  steady(name, [...head.matchAll(new RegExp(`^${name}: ?(.*?)\\r?$`, 'gim'))].map((m) => m[1] ?? '').join(','));

const play = async (table: RoutingTable, backend: SteeredBackend, target: Target): Promise<{ [request: string]: string }> => {
  const got: { [request: string]: string } = {};
  let nth = 0;
  for (const request of Object.keys(table.rows)) {
    backend.heads.length = 0;
    const response = await ask(target.port('l'), request);
    let { flags, details } = await target.outcome(nth++);
    // One that was led elsewhere inside is told of before the one that is answered.
    while (details.endsWith('internal_redirect')) {
      const next = await target.outcome(nth++);
      flags = next.flags;
      details += ` ${next.details}`;
    }
    const shown = (table.shows ?? []).filter((name) => response.headers.has(name)).map((name) => `${name}=${response.headers.get(name)}`);
    const seen = backend.heads.map((head) =>
      (table.seen ?? []).map((name) => (name === 'path' ? (head.split(' ')[1] ?? '') : valueIn(head, name))).join(' '),
    );
    const facts = [response.status, response.body.trim(), `x${backend.heads.length}`, flags, details, ...shown];
    got[request] = [...facts, ...((table.seen ?? []).length > 0 ? seen.map((text) => `[${text}]`) : [])].filter((f) => f !== '').join(' ');
  }
  return got;
};

const resourcesOf = (table: RoutingTable, port: number, deadPort: number) => ({
  clusters: [staticCluster('c', [port], table.cluster), staticCluster('dead', [deadPort])],
  listeners: [
    listener(
      'l',
      hcm([], {
        route_config: {
          name: 'test',
          virtual_hosts: [{ name: 'all', domains: ['*'], routes: table.routes, ...table.host }],
          ...table.config,
        },
        http_filters: [...(table.filters ?? []), ROUTER],
        ...table.hcm,
      }),
    ),
  ],
});

const withBackend = async (run: (backend: SteeredBackend, port: number, deadPort: number) => Promise<void>): Promise<void> => {
  const backend = new SteeredBackend();
  const port = await backend.start();
  try {
    await run(backend, port, await freePort());
  } finally {
    await backend.stop();
  }
};

const againstPlane = (table: RoutingTable): Promise<void> =>
  withBackend(async (backend, port, deadPort) => {
    await using plane = await startPlane(resourcesOf(table, port, deadPort));
    const got = await play(table, backend, {
      port: plane.port,
      outcome: async (nth) => {
        await eventually(() => plane.http.length > nth, 'logged');
        return { flags: plane.http[nth]?.flags ?? '', details: plane.http[nth]?.details ?? '' };
      },
    });
    assert.deepEqual(got, table.rows);
  });

const againstEnvoy = (table: RoutingTable): Promise<void> =>
  withBackend(async (backend, port, deadPort) => {
    await using envoy = await startEnvoy(resourcesOf(table, port, deadPort));
    const got = await play(table, backend, {
      port: envoy.port,
      outcome: async (nth) => {
        await eventually(() => envoy.log().length > nth, 'logged');
        return envoy.log()[nth] ?? { flags: '', details: '' };
      },
    });
    if (process.env['SKEIN_RECORD'] !== undefined) process.stderr.write(`${JSON.stringify({ [table.name]: got })}\n`);
    assert.deepEqual(got, table.rows);
  });

export const routingTables = (tables: readonly RoutingTable[]): void => {
  for (const table of tables) {
    test(table.name, () => againstPlane(table));
    test(`${table.name}: a stock Envoy does the same`, { skip: NO_ENVOY }, () => againstEnvoy(table));
  }
};
