// A small JSON-over-HTTP server: every service of the shop is a table of routes on top of it.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { setTimeout } from 'node:timers/promises';

export interface Call {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  /** The parsed JSON body, undefined when there is none. */
  readonly body: unknown;
  /** Request headers that belong to the user's request as a whole and travel with every call made for it. */
  readonly context: Record<string, string>;
}
export interface Reply {
  readonly status?: number;
  readonly json?: unknown;
  readonly html?: string;
}
export type Routes = { readonly [methodAndPath: string]: (call: Call) => Promise<Reply> | Reply };

export const identity = {
  service: process.env['SERVICE'] ?? 'unknown',
  version: process.env['VERSION'] ?? 'v1',
  instance: process.env['INSTANCE'] ?? `${process.env['SERVICE'] ?? 'unknown'}-${process.pid}`,
};

/** Headers passed on so that one user request can be followed through all services. */
const CONTEXT = [
  'x-request-id',
  'traceparent',
  'tracestate',
  'baggage',
  'x-b3-traceid',
  'x-b3-spanid',
  'x-b3-parentspanid',
  'x-b3-sampled',
  'x-b3-flags',
  'b3',
  'x-user-group',
  'x-canary',
  'authorization',
];
const BODY_BYTES_MAX = 1024 * 1024;

/** What every answer but the probe's is made to be, for exercises: late, or a failure. Set and ended by `/broken`. */
interface Broken {
  readonly status?: number;
  readonly delayMs?: number;
}
let broken: Broken = {};
/** Whoever waits goes on at once when `/broken` is told anew, to the end that stood when the request came. */
let changed = new AbortController();
const tell = (how: Broken): Reply => {
  broken = how;
  changed.abort();
  changed = new AbortController();
  return { json: { broken, ...identity } };
};
const WORKS = ['/healthz', '/broken'];

class Refusal extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export const serve = (routes: Routes): void => {
  const all: Routes = {
    'GET /version': () => ({ json: identity }),
    'GET /healthz': () => ({ json: { status: 'ok' } }),
    'PUT /broken': ({ body }) => tell((body ?? {}) as Broken),
    'DELETE /broken': () => tell({}),
    ...routes,
  };
  const server = createServer((request, response) => {
    answer(all, request)
      .catch((error: unknown): Reply => {
        if (error instanceof Refusal) return { status: error.status, json: { error: error.message, ...identity } };
        return { status: 502, json: { error: error instanceof Error ? error.message : String(error), ...identity } };
      })
      .then((reply) => send(response, reply));
  });
  server.keepAliveTimeout = 65_000;
  const port = Number(process.env['PORT'] ?? 8080);
  server.listen(port, () => console.log(JSON.stringify({ listening: port, ...identity })));
  const stop = (): void => {
    server.close(() => process.exit(0));
    server.closeIdleConnections();
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
};

const answer = async (routes: Routes, request: IncomingMessage): Promise<Reply> => {
  const url = new URL(request.url ?? '/', 'http://localhost');
  const method = request.method ?? 'GET';
  if (!WORKS.includes(url.pathname)) {
    const { status, delayMs = 0 } = broken;
    if (delayMs > 0) await setTimeout(delayMs, undefined, { signal: changed.signal }).catch(() => {});
    if (status !== undefined) throw new Refusal(status, 'broken');
  }
  const handler = routes[`${method} ${url.pathname}`];
  if (!handler) {
    const other = Object.keys(routes).some((key) => key.endsWith(` ${url.pathname}`));
    throw other ? new Refusal(405, `${method} is not offered on ${url.pathname}`) : new Refusal(404, `no ${url.pathname} here`);
  }
  const context: Record<string, string> = {};
  for (const name of CONTEXT) {
    const value = request.headers[name];
    if (typeof value === 'string') context[name] = value;
  }
  return handler({ method, path: url.pathname, query: url.searchParams, body: await readJson(request), context });
};

const readJson = async (request: IncomingMessage): Promise<unknown> => {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > BODY_BYTES_MAX) throw new Refusal(413, `a body may have ${BODY_BYTES_MAX} bytes`);
    chunks.push(chunk);
  }
  if (size === 0) return undefined;
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch {
    throw new Refusal(400, 'the body is not JSON');
  }
};

const send = (response: ServerResponse, reply: Reply): void => {
  const html = reply.html;
  const text = html ?? `${JSON.stringify(reply.json ?? {})}\n`;
  response.writeHead(reply.status ?? 200, {
    'content-type': html === undefined ? 'application/json' : 'text/html; charset=utf-8',
    'content-length': Buffer.byteLength(text),
  });
  response.end(text);
};

export const refuse = (status: number, message: string): never => {
  throw new Refusal(status, message);
};
