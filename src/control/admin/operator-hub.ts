// Reach into a running sidecar's admin API: requests travel over the stream that the workload's agent has opened, so no
// sidecar port is exposed and only an authenticated agent answers. JSON messages, as UTF-8 bytes:
// `{id, method, path, body?}` to the agent, `{id, status, headers, body}` back. One stream per replica; the newest wins.
import { err, ok, type Result } from '../../base/result.ts';
import { OPERATOR_REPLY_BYTES_MAX, OPERATOR_REQUESTS_MAX, OPERATOR_TIMEOUT_MS } from '../limits.ts';

export interface OperatorRequest {
  readonly method: string;
  readonly path: string;
  readonly body?: string;
}

export interface OperatorReply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export type OperatorFailure = 'not-connected' | 'timeout' | 'busy' | 'disconnected';

interface Waiting {
  readonly resolve: (result: Result<OperatorReply, OperatorFailure>) => void;
  readonly timer: NodeJS.Timeout;
}

/** The control plane's end of one agent's stream. */
export class OperatorSession {
  readonly #send: (bytes: Uint8Array) => void;
  readonly #waiting = new Map<number, Waiting>();
  #ids = 0;

  constructor(send: (bytes: Uint8Array) => void) {
    this.#send = send;
  }

  request(request: OperatorRequest): Promise<Result<OperatorReply, OperatorFailure>> {
    if (this.#waiting.size >= OPERATOR_REQUESTS_MAX) return Promise.resolve(err('busy'));
    const id = ++this.#ids;
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#settle(id, err('timeout')), OPERATOR_TIMEOUT_MS);
      this.#waiting.set(id, { resolve, timer });
      this.#send(Buffer.from(JSON.stringify({ id, ...request })));
    });
  }

  /** False when the agent does not keep to the protocol: its stream is then ended. */
  received(bytes: Uint8Array): boolean {
    if (bytes.length > OPERATOR_REPLY_BYTES_MAX) return false;
    const reply = parseReply(bytes);
    if (!reply) return false;
    this.#settle(reply.id, ok(reply));
    return true;
  }

  close(): void {
    for (const id of [...this.#waiting.keys()]) this.#settle(id, err('disconnected'));
  }

  #settle(id: number, result: Result<OperatorReply, OperatorFailure>): void {
    const waiting = this.#waiting.get(id);
    if (!waiting) return;
    this.#waiting.delete(id);
    clearTimeout(waiting.timer);
    waiting.resolve(result);
  }
}

export class OperatorHub {
  readonly #sessions = new Map<string, OperatorSession>();

  attach(namespace: string, name: string, send: (bytes: Uint8Array) => void): OperatorSession {
    const key = `${namespace}/${name}`;
    this.#sessions.get(key)?.close();
    const session = new OperatorSession(send);
    this.#sessions.set(key, session);
    return session;
  }

  detach(namespace: string, name: string, session: OperatorSession): void {
    session.close();
    const key = `${namespace}/${name}`;
    if (this.#sessions.get(key) === session) this.#sessions.delete(key);
  }

  request(namespace: string, name: string, request: OperatorRequest): Promise<Result<OperatorReply, OperatorFailure>> {
    const session = this.#sessions.get(`${namespace}/${name}`);
    return session ? session.request(request) : Promise.resolve(err('not-connected'));
  }
}

const parseReply = (bytes: Uint8Array): (OperatorReply & { readonly id: number }) | undefined => {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { id, status, headers, body } = value as Partial<Record<'id' | 'status' | 'headers' | 'body', unknown>>;
  if (typeof id !== 'number' || typeof status !== 'number' || status < 200 || status > 599) return undefined;
  const text = typeof body === 'string' ? body : body === undefined ? '' : JSON.stringify(body);
  return { id, status, headers: stringFields(headers), body: text };
};

const stringFields = (value: unknown): Readonly<Record<string, string>> =>
  typeof value === 'object' && value !== null
    ? Object.fromEntries(Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === 'string'))
    : {};
