// The stage of the smuggling table: a backend that reads as strictly as can be and keeps every byte, and a client that sends a row
// and then, on another connection, asks as an innocent victim whether it gets its own answer.
import { hcm, listener, RawClient, type RawResponse, startBackend, staticCluster, toCluster } from './harness.ts';
import type { HostileRow, ListenerKind } from './smuggling-row.ts';

export interface Played {
  /** Answers of the attacker's connection; 0: it ended or fell silent without one. */
  readonly statuses: readonly number[];
  /** What the backend read, as `METHOD host target body[trailers]`, the victim's request aside. */
  readonly arrived: readonly string[];
  /** The victim's answer, which must be its own. */
  readonly victim: string;
}

const HEAD_LINE = /^[!#$%&'*+\-.^_`|~0-9a-z]+: (?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?$/;
const REQUEST_LINE = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+) HTTP\/1\.1$/;

/** One request at the front of `text` in the one form that no two readers understand differently; undefined: not all here yet. */
const canonicalRequest = (text: string): { readonly seen: string; readonly rest: string; readonly target: string } | undefined => {
  const end = text.indexOf('\r\n\r\n');
  if (end < 0) return undefined;
  const [first = '', ...lines] = text.slice(0, end).split('\r\n');
  const start = REQUEST_LINE.exec(first);
  const unclear = (why: string) => ({ seen: `UNCLEAR ${why}: ${JSON.stringify(text.slice(0, 300))}`, rest: '', target: '' });
  if (start === null) return unclear('request line');
  const odd = lines.find((line) => !HEAD_LINE.test(`${line}${line.endsWith(':') ? ' ' : ''}`));
  if (odd !== undefined) return unclear(`line ${JSON.stringify(odd)}`);
  const values = (name: string) => lines.filter((line) => line.startsWith(`${name}:`)).map((line) => line.slice(name.length + 2));
  const [lengths, codings, hosts] = [values('content-length'), values('transfer-encoding'), values('host')];
  if (hosts.length !== 1 || lengths.length + codings.length > 1) return unclear('framing');
  if (codings.some((coding) => coding !== 'chunked') || lengths.some((n) => !/^(?:0|[1-9]\d{0,14})$/.test(n))) return unclear('framing');
  const body = codings.length === 1 ? canonicalChunks(text, end + 4) : plainBody(text, end + 4, Number(lengths[0] ?? 0));
  if (body === undefined) return undefined;
  if (body === 'unclear') return unclear('chunks');
  return { seen: `${start[1]} ${hosts[0]} ${start[2]} ${body.body}`, rest: text.slice(body.end), target: start[2] ?? '' };
};

type Body = { readonly body: string; readonly end: number } | undefined;

const plainBody = (text: string, at: number, length: number): Body =>
  text.length < at + length ? undefined : { body: text.slice(at, at + length), end: at + length };

const canonicalChunks = (text: string, start: number): Body | 'unclear' => {
  let body = '';
  for (let at = start; ; ) {
    const lineEnd = text.indexOf('\r\n', at);
    if (lineEnd < 0) return undefined;
    const line = text.slice(at, lineEnd);
    if (!/^(?:0|[1-9a-f][0-9a-f]{0,7})$/.test(line)) return 'unclear';
    const size = Number.parseInt(line, 16);
    at = lineEnd + 2;
    if (size > 0) {
      if (text.length < at + size + 2) return undefined;
      if (text.slice(at + size, at + size + 2) !== '\r\n') return 'unclear';
      body += text.slice(at, at + size);
      at += size + 2;
      continue;
    }
    for (;;) {
      const end = text.indexOf('\r\n', at);
      if (end < 0) return undefined;
      const trailer = text.slice(at, end);
      at = end + 2;
      if (trailer === '') return { body, end: at };
      if (!HEAD_LINE.test(trailer)) return 'unclear';
      body += `[${trailer}]`;
    }
  }
};

export interface RecordingBackend extends AsyncDisposable {
  readonly port: number;
  /** Whole requests since the last call, then bytes that are none. */
  take(): string[];
}

/** Answers each request with its own target. */
export const recordingBackend = async (): Promise<RecordingBackend> => {
  let seen: string[] = [];
  const pending: string[] = [];
  const backend = await startBackend((socket, text, n) => {
    let left = (pending[n] ?? '') + text;
    for (let request = canonicalRequest(left); request !== undefined; request = canonicalRequest(left)) {
      left = request.rest;
      seen.push(request.seen);
      const body = `for ${request.target}`;
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${request.seen.startsWith('HEAD ') ? '' : body}`);
    }
    pending[n] = left;
  });
  return {
    port: backend.port,
    take: () => {
      const all = [...seen, ...pending.filter((text) => text !== '').map((text) => `PARTIAL ${text}`)];
      seen = [];
      pending.fill('');
      return all;
    },
    [Symbol.asyncDispose]: () => backend[Symbol.asyncDispose](),
  };
};

const OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
const WITH_TRAILERS = {
  '@type': `type.googleapis.com/${OPTIONS}`,
  explicit_http_config: { http_protocol_options: { enable_trailers: true } },
};

/** The same resources for whatever data plane plays the table. */
export const stage = (backendPort: number) => {
  const route = toCluster('backend');
  const connect = { match: { connect_matcher: {} }, route: { cluster: 'backend' } };
  return {
    clusters: [staticCluster('backend', [backendPort], { type: 'STATIC', typed_extension_protocol_options: { [OPTIONS]: WITH_TRAILERS } })],
    listeners: [
      listener('plain', hcm([route], { codec_type: 'HTTP1' })),
      listener('http10', hcm([route], { http_protocol_options: { accept_http_10: true, default_host_for_http_10: 'default' } })),
      listener('upgrade', hcm([connect, route], { upgrade_configs: [{ upgrade_type: 'websocket' }, { upgrade_type: 'CONNECT' }] })),
      listener('trailers', hcm([route], { http_protocol_options: { enable_trailers: true } })),
    ],
  };
};

const within = async <T>(ms: number, work: Promise<T>): Promise<T | undefined> => {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), ms);
  });
  try {
    return await Promise.race([work.catch(() => undefined), late]);
  } finally {
    clearTimeout(timer);
  }
};

/**
 * Sends the row, whole or cut in the middle, and reads answers until the connection ends or `patienceMs` pass; stops as soon as as many
 * came as the row says.
 */
export const play = async (
  row: HostileRow,
  port: (on: ListenerKind) => number,
  backend: RecordingBackend,
  patienceMs: number,
  cut: 'whole' | 'halves',
): Promise<Played> => {
  const client = await RawClient.open(port(row.on));
  const bytes = Buffer.from(row.bytes, 'latin1');
  const middle = cut === 'whole' ? bytes.length : bytes.length >> 1;
  client.send(bytes.subarray(0, middle));
  if (cut === 'halves') {
    await new Promise((resolve) => setImmediate(resolve));
    client.send(bytes.subarray(middle));
  }
  const statuses: number[] = [];
  const wanted = row.arrives.length + (row.status === undefined ? 0 : 1);
  const methods = row.arrives.map((line) => line.split(' ')[0]);
  while (statuses.length < wanted) {
    const answer: RawResponse | undefined = await within(patienceMs, client.response(methods[statuses.length]));
    if (answer === undefined) {
      statuses.push(0);
      break;
    }
    if (answer.status !== 100) statuses.push(answer.status);
    if (client.ended) break;
  }
  const victim = await RawClient.open(port('plain'));
  const answer = await within(2000, victim.get('/victim'));
  client.close();
  victim.close();
  const mine = 'GET a.test /victim ';
  return { statuses, arrived: backend.take().filter((line) => line !== mine), victim: answer?.body ?? 'none' };
};
