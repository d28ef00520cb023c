// The way of a Prometheus on the host into the mesh: an HTTP proxy on the host's loopback that carries GETs of sidecars' metrics through the
// hub, lists them (`/targets`, HTTP service discovery) and passes on the control plane's own (`/control-plane/metrics`).
// Carries nothing else: a target that is not in the list, or another path of it, is refused. Every head and time is bounded.
import { createServer, type Server, type Socket } from 'node:net';

export interface MetricsTarget {
  readonly targets: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
}

export interface MetricsDoorOptions {
  /** What Prometheus may ask for. */
  targets(): Promise<readonly MetricsTarget[]>;
  controlPlaneMetrics(): Promise<string>;
  /** A connection to a workload's address. */
  connect(host: string, port: number): Promise<Socket>;
  log(message: string): void;
}

export interface MetricsDoor {
  readonly port: number;
  close(): Promise<void>;
}

const HEAD_BYTES_MAX = 8 * 1024;
const CONNECTIONS_MAX = 1024;
/** Prometheus gives up after 10 s unless told otherwise. */
const EXCHANGE_MS_MAX = 30_000;
/** So long an answer of the control plane is good for who scrapes: a scrape of every sidecar asks for the list. */
const LIST_FRESH_MS = 2_000;

/** Rejects when the address cannot be bound. */
export const startMetricsDoor = async (options: MetricsDoorOptions, host: string, port: number): Promise<MetricsDoor> => {
  const list = freshList(options);
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => undefined);
    // Not an idle time: however slowly it comes, an exchange ends.
    const timer = setTimeout(() => socket.destroy(), EXCHANGE_MS_MAX);
    socket.on('close', () => clearTimeout(timer));
    readHead(socket, (head) => {
      serve(socket, head, options, list).catch((error: unknown) => {
        answer(socket, 502, `${error instanceof Error ? error.message : String(error)}\n`);
      });
    });
  });
  server.maxConnections = CONNECTIONS_MAX;
  await listening(server, host, port);
  const bound = server.address();
  return {
    port: typeof bound === 'object' && bound !== null ? bound.port : port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
};

const listening = (server: Server, host: string, port: number): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port }, () => {
      server.off('error', reject);
      resolve();
    });
  });

type List = () => Promise<readonly MetricsTarget[]>;

const freshList = ({ targets }: MetricsDoorOptions): List => {
  let held: Promise<readonly MetricsTarget[]> | undefined;
  let askedAt = 0;
  return () => {
    if (held !== undefined && Date.now() - askedAt < LIST_FRESH_MS) return held;
    askedAt = Date.now();
    const asked = targets();
    held = asked;
    asked.catch(() => {
      if (held === asked) held = undefined;
    });
    return asked;
  };
};

interface Head {
  readonly method: string;
  readonly target: string;
  /** Name and value, as they came. */
  readonly fields: readonly (readonly [string, string])[];
}

/** Requests have no body here: what follows the head is not read. */
const readHead = (socket: Socket, done: (head: Head) => void): void => {
  let held: Buffer = Buffer.alloc(0);
  const data = (chunk: Buffer): void => {
    held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    const end = held.indexOf('\r\n\r\n');
    if (end < 0 && held.length <= HEAD_BYTES_MAX) return;
    socket.off('data', data);
    const head = end < 0 ? undefined : parseHead(held.toString('latin1', 0, end));
    if (head === undefined) answer(socket, 400, 'this is no request\n');
    else done(head);
  };
  socket.on('data', data);
};

const parseHead = (text: string): Head | undefined => {
  const [first = '', ...lines] = text.split('\r\n');
  const [, method, target] = /^([A-Z]+) (\S+) HTTP\/1\.[01]$/.exec(first) ?? [];
  if (method === undefined || target === undefined) return undefined;
  const fields: (readonly [string, string])[] = [];
  for (const line of lines) {
    const [, name, value] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n]*)$/.exec(line) ?? [];
    if (name === undefined || value === undefined) return undefined;
    fields.push([name, value]);
  }
  return { method, target, fields };
};

const serve = async (socket: Socket, head: Head, options: MetricsDoorOptions, list: List): Promise<void> => {
  if (head.method !== 'GET') return answer(socket, 405, 'GET only\n');
  if (/^http:\/\//i.test(head.target)) return await carry(socket, head, options, list);
  switch (head.target.split('?')[0]) {
    case '/targets':
      return answer(socket, 200, JSON.stringify(await list()), 'application/json');
    case '/control-plane/metrics':
      return answer(socket, 200, await options.controlPlaneMetrics(), 'text/plain; version=0.0.4');
    case '/healthz':
      return answer(socket, 200, 'ok\n');
    default:
      return answer(socket, 404, 'there are /targets, /control-plane/metrics and, as an HTTP proxy, the targets themselves\n');
  }
};

const carry = async (socket: Socket, head: Head, options: MetricsDoorOptions, list: List): Promise<void> => {
  const url = URL.parse(head.target);
  const known =
    url && (await list()).some(({ targets, labels }) => targets.includes(url.host) && labels['__metrics_path__'] === url.pathname);
  if (!url || !known) return answer(socket, 403, 'no sidecar serves its metrics there\n');
  const inner = await options.connect(url.hostname.replace(/^\[|\]$/g, ''), Number(url.port || 80)).catch((error: unknown) => {
    options.log(`${url.host}: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  });
  if (inner === undefined) return answer(socket, 502, `${url.host} does not answer\n`);
  inner.on('error', () => socket.destroy());
  inner.on('close', () => socket.end());
  socket.on('close', () => inner.destroy());
  if (socket.destroyed) {
    inner.destroy();
    return;
  }
  const fields = head.fields.filter(([name]) => !HOP_FIELDS.has(name.toLowerCase())).map(([name, value]) => `${name}: ${value}\r\n`);
  inner.write(`GET ${url.pathname}${url.search} HTTP/1.1\r\nHost: ${url.host}\r\n${fields.join('')}Connection: close\r\n\r\n`, 'latin1');
  inner.pipe(socket);
};

const HOP_FIELDS: ReadonlySet<string> = new Set([
  ...['host', 'connection', 'proxy-connection', 'keep-alive', 'proxy-authorization', 'authorization', 'cookie'],
  ...['te', 'trailer', 'transfer-encoding', 'content-length', 'upgrade', 'expect'],
]);

const REASONS: Readonly<Record<number, string>> = {
  200: 'OK',
  400: 'Bad Request',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  502: 'Bad Gateway',
};

const answer = (socket: Socket, status: number, body: string, type = 'text/plain; charset=utf-8'): void => {
  if (socket.destroyed) return;
  const bytes = Buffer.from(body, 'utf8');
  socket.write(
    `HTTP/1.1 ${status} ${REASONS[status] ?? ''}\r\nContent-Type: ${type}\r\nContent-Length: ${bytes.length}\r\nConnection: close\r\n\r\n`,
  );
  socket.end(bytes);
};
