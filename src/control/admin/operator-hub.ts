// Reach into a running sidecar's admin API: requests travel over the stream that the workload's agent has opened, so no
// sidecar port is exposed and only an authenticated agent answers. JSON messages, as UTF-8 bytes:
// `{id, method, path, body?}` to the agent, `{id, status, headers, body}` back. One stream per replica; the newest wins.
// With `stream: true` the agent may answer in pieces: `more: true` in the first message, then `{id, body, more}` until `more` is false or
// `{id, cancel: true}` has been sent. `cut: true` in the last one: the sidecar has gone before it came to an end.
import { err, ok, type Result } from '../../base/result.ts';
import { OPERATOR_REPLY_BYTES_MAX, OPERATOR_REQUESTS_MAX, OPERATOR_SILENCE_MS, OPERATOR_TIMEOUT_MS } from '../limits.ts';

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

/** Who reads an answer in pieces. */
export interface PieceReader {
  piece(text: string): void;
  /** '' when the answer is whole. */
  end(failure: '' | OperatorFailure): void;
}

/** The head of an answer in pieces, or a whole one. */
export type StreamedReply = OperatorReply & { readonly cancel?: () => void };

interface Waiting {
  readonly reader?: PieceReader;
  readonly resolve: (result: Result<StreamedReply, OperatorFailure>) => void;
  readonly timer: NodeJS.Timeout;
}

/** The control plane's end of one agent's stream. */
export class OperatorSession {
  readonly #send: (bytes: Uint8Array) => void;
  readonly #waiting = new Map<number, Waiting>();
  readonly #streams = new Map<number, { readonly reader: PieceReader; timer: NodeJS.Timeout }>();
  #ids = 0;

  constructor(send: (bytes: Uint8Array) => void) {
    this.#send = send;
  }

  /** With `reader` the answer may come in pieces; it then has `cancel`. */
  request(request: OperatorRequest, reader?: PieceReader): Promise<Result<StreamedReply, OperatorFailure>> {
    if (this.#waiting.size + this.#streams.size >= OPERATOR_REQUESTS_MAX) return Promise.resolve(err('busy'));
    const id = ++this.#ids;
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#settle(id, err('timeout')), OPERATOR_TIMEOUT_MS);
      this.#waiting.set(id, { resolve, timer, ...(reader === undefined ? {} : { reader }) });
      this.#send(Buffer.from(JSON.stringify({ id, ...request, ...(reader === undefined ? {} : { stream: true }) })));
    });
  }

  /** False when the agent does not keep to the protocol: its stream is then ended. */
  received(bytes: Uint8Array): boolean {
    if (bytes.length > OPERATOR_REPLY_BYTES_MAX) return false;
    const value = parseObject(bytes);
    const streamed = typeof value?.['id'] === 'number' ? this.#streams.get(value['id']) : undefined;
    if (value !== undefined && streamed !== undefined) return this.#piece(value['id'] as number, streamed, value);
    // What came after it had been cancelled.
    if (typeof value?.['more'] === 'boolean' && value['status'] === undefined) return true;
    const reply = parseReply(value);
    if (!reply) return false;
    const reader = this.#waiting.get(reply.id)?.reader;
    if (value?.['more'] === true && reader !== undefined) this.#begin(reply, reader);
    else {
      this.#settle(reply.id, ok(reply));
      // It came when nobody waited for it any more: nobody else would ever stop it.
      if (value?.['more'] === true) this.#send(Buffer.from(JSON.stringify({ id: reply.id, cancel: true })));
    }
    return true;
  }

  close(): void {
    for (const id of [...this.#waiting.keys()]) this.#settle(id, err('disconnected'));
    for (const id of [...this.#streams.keys()]) this.#ended(id, 'disconnected');
  }

  #begin(reply: OperatorReply & { readonly id: number }, reader: PieceReader): void {
    const { id } = reply;
    this.#streams.set(id, { reader, timer: this.#silence(id) });
    const cancel = (): void => {
      const stream = this.#streams.get(id);
      if (stream === undefined) return;
      clearTimeout(stream.timer);
      this.#streams.delete(id);
      this.#send(Buffer.from(JSON.stringify({ id, cancel: true })));
    };
    this.#settle(id, ok({ ...reply, cancel }));
  }

  #piece(id: number, stream: { readonly reader: PieceReader; timer: NodeJS.Timeout }, value: Fields): boolean {
    if (typeof value['body'] !== 'string' || typeof value['more'] !== 'boolean') return false;
    clearTimeout(stream.timer);
    stream.timer = this.#silence(id);
    if (value['body'] !== '') stream.reader.piece(value['body']);
    if (!value['more']) this.#ended(id, value['cut'] === true ? 'disconnected' : '');
    return true;
  }

  #silence(id: number): NodeJS.Timeout {
    return setTimeout(() => {
      this.#send(Buffer.from(JSON.stringify({ id, cancel: true })));
      this.#ended(id, 'timeout');
    }, OPERATOR_SILENCE_MS);
  }

  #ended(id: number, failure: '' | OperatorFailure): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    clearTimeout(stream.timer);
    this.#streams.delete(id);
    stream.reader.end(failure);
  }

  #settle(id: number, result: Result<StreamedReply, OperatorFailure>): void {
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

  request(
    namespace: string,
    name: string,
    request: OperatorRequest,
    reader?: PieceReader,
  ): Promise<Result<StreamedReply, OperatorFailure>> {
    const session = this.#sessions.get(`${namespace}/${name}`);
    return session ? session.request(request, reader) : Promise.resolve(err('not-connected'));
  }
}

type Fields = Partial<Readonly<Record<'id' | 'status' | 'headers' | 'body' | 'more' | 'cut', unknown>>>;

const parseObject = (bytes: Uint8Array): Fields | undefined => {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'));
    return typeof value === 'object' && value !== null ? (value as Fields) : undefined;
  } catch {
    return undefined;
  }
};

const parseReply = (value: Fields | undefined): (OperatorReply & { readonly id: number }) | undefined => {
  if (value === undefined) return undefined;
  const { id, status, headers, body } = value;
  if (typeof id !== 'number' || typeof status !== 'number' || status < 200 || status > 599) return undefined;
  const text = typeof body === 'string' ? body : body === undefined ? '' : JSON.stringify(body);
  return { id, status, headers: stringFields(headers), body: text };
};

const stringFields = (value: unknown): Readonly<Record<string, string>> =>
  typeof value === 'object' && value !== null
    ? Object.fromEntries(Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === 'string'))
    : {};
