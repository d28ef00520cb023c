// The operator's way into a sidecar: one stream that the agent opens to the control plane, on which the control plane asks
// the proxy's admin API. JSON in gRPC messages: `{id, method, path, body?}` in, `{id, status, headers, body}` out.
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
    this.#stream?.close();
  }

  async #serve(bytes: Uint8Array, stream: XdsStream): Promise<void> {
    const request = parseRequest(bytes);
    if (!request) {
      this.#options.log.warning('operator request cannot be read');
      return;
    }
    const { id, ...asked } = request;
    const reply = (r: AdminResponse): void => stream.send(Buffer.from(JSON.stringify({ id, ...r })));
    if (this.#inFlight >= OPERATOR_REQUESTS_MAX) return reply(problem(429, 'too many requests in flight'));
    this.#inFlight++;
    try {
      reply(await this.#options.admin(asked));
    } catch (e) {
      reply(problem(502, `the proxy's admin API does not answer: ${e instanceof Error ? e.message : String(e)}`));
    } finally {
      this.#inFlight--;
    }
  }
}

const problem = (status: number, text: string): AdminResponse => ({ status, headers: { 'content-type': 'text/plain' }, body: `${text}\n` });

const parseRequest = (bytes: Uint8Array): (AdminRequest & { readonly id: string | number }) | undefined => {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { id, method, path, body } = value as { readonly [key: string]: unknown };
  if ((typeof id !== 'string' && typeof id !== 'number') || typeof path !== 'string' || !/^\/[\x21-\x7e]*$/.test(path)) return undefined;
  const verb = method ?? 'GET';
  if (typeof verb !== 'string' || !/^[A-Z]+$/.test(verb)) return undefined;
  return { id, method: verb, path, body: typeof body === 'string' ? body : '' };
};
