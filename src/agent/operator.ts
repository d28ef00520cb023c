// The operator's way into a sidecar: one stream that the agent opens to the control plane, on which the control plane asks
// the proxy's admin API. JSON in gRPC messages: `{id, method, path, body?}` in, `{id, status, headers, body}` out. An answer in pieces
// (asked for with `stream: true`) has `more: true` in its first message, then `{id, body, more}` each, until `{id, cancel: true}` comes in;
// a last one with `cut: true` says that the proxy has gone before it came to an end.
// Comes back by itself with back-off. Nothing else of the machine can be reached over it.
import type { Log } from '../base/log.ts';
import { GRPC } from '../wire/grpc-frames.ts';
import type { XdsStream, XdsTransport } from '../xds/transport.ts';
import type { AdminRequest, AdminResponse } from './admin-client.ts';
import { BackOff } from './back-off.ts';
import { OPERATOR_REQUESTS_MAX, RECONNECT_MS } from './limits.ts';

export const OPERATOR_ATTACH = '/skein.v1.Operator/Attach';

export interface OperatorOptions {
  readonly upstream: XdsTransport;
  readonly admin: (request: AdminRequest) => Promise<AdminResponse>;
  readonly log: Log;
}

export class Operator {
  readonly #options: OperatorOptions;
  readonly #backOff = new BackOff(RECONNECT_MS, Math.random);
  #stream: XdsStream | undefined;
  #timer: NodeJS.Timeout | undefined;
  #inFlight = 0;
  /** Answers in pieces, by the request's id: how to stop them. */
  readonly #streams = new Map<string | number, () => void>();
  #stopped = false;

  constructor(options: OperatorOptions) {
    this.#options = options;
  }

  start(): void {
    const stream = this.#options.upstream.open(OPERATOR_ATTACH, {
      message: (bytes) => {
        this.#backOff.reset();
        void this.#serve(bytes, stream); // settles by itself: every failure becomes an answer
      },
      end: ({ code, message }) => {
        this.#stream = undefined;
        this.#stopStreams();
        if (this.#stopped) return;
        if (code === GRPC.UNIMPLEMENTED) {
          this.#options.log.info('the control plane has no operator service', { reason: message });
          return; // another mesh's control plane: not going to change
        }
        this.#timer = setTimeout(() => this.start(), this.#backOff.nextMs());
      },
    });
    this.#stream = stream;
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#stopStreams();
    this.#stream?.close();
  }

  async #serve(bytes: Uint8Array, stream: XdsStream): Promise<void> {
    const request = parseRequest(bytes);
    if (!request) {
      this.#options.log.warning('operator request cannot be read');
      return;
    }
    const { id, cancel, pieces, ...asked } = request;
    if (cancel) {
      this.#streams.get(id)?.();
      this.#streams.delete(id);
      return;
    }
    const reply = (r: AdminResponse): void => stream.send(Buffer.from(JSON.stringify({ id, ...r })));
    if (this.#inFlight >= OPERATOR_REQUESTS_MAX) return reply(problem(429, 'too many requests in flight'));
    this.#inFlight++;
    try {
      const answer = await this.#options.admin(pieces ? { ...asked, live: true } : asked);
      if (answer.stream === undefined) reply(answer);
      else if (!pieces) reply(problem(406, 'this answer comes in pieces, which nobody asked for'));
      else if (this.#stream !== stream) answer.stream({ send: () => false, end: () => undefined })();
      else this.#begin(id, answer, answer.stream, stream);
    } catch (e) {
      reply(problem(502, `the proxy's admin API does not answer: ${e instanceof Error ? e.message : String(e)}`));
    } finally {
      this.#inFlight--;
    }
  }

  #begin(id: string | number, { status, headers }: AdminResponse, begin: NonNullable<AdminResponse['stream']>, to: XdsStream): void {
    const send = (message: object): void => to.send(Buffer.from(JSON.stringify({ id, ...message })));
    let over = false;
    send({ status, headers, body: '', more: true });
    const stop = begin({
      send: (body) => {
        if (!over) send({ body, more: true });
        return !over;
      },
      end: (cut = false) => {
        if (over) return;
        over = true;
        this.#streams.delete(id);
        send({ body: '', more: false, ...(cut ? { cut } : {}) });
      },
    });
    if (over) return;
    this.#streams.set(id, () => {
      over = true;
      stop();
    });
  }

  #stopStreams(): void {
    for (const stop of this.#streams.values()) stop();
    this.#streams.clear();
  }
}

const problem = (status: number, text: string): AdminResponse => ({ status, headers: { 'content-type': 'text/plain' }, body: `${text}\n` });

interface Asked extends AdminRequest {
  readonly id: string | number;
  /** It takes an answer in pieces. */
  readonly pieces: boolean;
  /** It wants no more of one. */
  readonly cancel: boolean;
}

const parseRequest = (bytes: Uint8Array): Asked | undefined => {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { id, method, path, body, stream, cancel } = value as { readonly [key: string]: unknown };
  if (typeof id !== 'string' && typeof id !== 'number') return undefined;
  if (cancel === true) return { id, cancel, pieces: false, method: '', path: '', body: '' };
  if (typeof path !== 'string' || !/^\/[\x21-\x7e]*$/.test(path)) return undefined;
  const verb = method ?? 'GET';
  if (typeof verb !== 'string' || !/^[A-Z]+$/.test(verb)) return undefined;
  return { id, cancel: false, pieces: stream === true, method: verb, path, body: typeof body === 'string' ? body : '' };
};
