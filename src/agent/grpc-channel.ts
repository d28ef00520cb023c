// A gRPC client to one address: streams and unary calls, with metadata. One HTTP/2 connection (wire/grpc-client), made
// when a call needs it and made again with back-off as long as calls wait. A call that waits is not failed by a refused
// connection (gRPC's wait-for-ready); a call that was on a connection that broke ends with UNAVAILABLE and is never
// replayed. A call that `holds` waits for a certificate of ours. Never logs metadata.
import type { Log } from '../base/log.ts';
import { err, ok, type Result } from '../base/result.ts';
import type { GrpcCall } from '../wire/grpc-client.ts';
import { GRPC, type GrpcStatus } from '../wire/grpc-frames.ts';
import type { StreamEvents, XdsStream } from '../xds/transport.ts';
import { BackOff } from './back-off.ts';
import { GrpcDial } from './grpc-dial.ts';
import type { GrpcTarget } from './grpc-target.ts';
import { PENDING_BYTES_MAX, RECONNECT_MS } from './limits.ts';

export interface GrpcChannelOptions {
  readonly target: GrpcTarget;
  /** Read for each call. */
  readonly metadata: () => { readonly [name: string]: string };
  /** The call would be refused as long as there is no certificate to present: it waits for the first `renew`. */
  readonly holds?: (method: string) => boolean;
  readonly log: Log;
}

/** Node's own bound. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export class GrpcChannel {
  readonly #options: GrpcChannelOptions;
  readonly #backOff = new BackOff(RECONNECT_MS, Math.random);
  readonly #waiting = new Set<ChannelCall>();
  readonly #calls = new Set<ChannelCall>();
  #dial: GrpcDial | undefined; // the one new calls go to
  readonly #dials = new Set<GrpcDial>(); // with those that only finish what was begun before a GOAWAY
  #retryTimer: NodeJS.Timeout | undefined;
  #presentedUntilMs = Number.POSITIVE_INFINITY;
  #closed = false;
  #reported = false;

  constructor(options: GrpcChannelOptions) {
    this.#options = options;
  }

  /** `method` as `/package.Service/Method`. */
  open(method: string, events: StreamEvents): ChannelCall {
    const call = new ChannelCall(events, () => {
      this.#waiting.delete(call);
      this.#calls.delete(call);
      if (this.#waiting.size > 0) queueMicrotask(() => this.#startWaiting()); // there is room for one more
    });
    call.method = method;
    this.#calls.add(call);
    if (this.#closed) {
      queueMicrotask(() => call.finish({ code: GRPC.CANCELLED, message: 'the channel is closed' }));
      return call;
    }
    if (this.#dial?.connected) queueMicrotask(() => this.#start(call));
    else this.#wait(call);
    return call;
  }

  /** One request, one answer. The error is the call's status, or DEADLINE_EXCEEDED. */
  unary(method: string, request: Uint8Array, timeoutMs: number): Promise<Result<Uint8Array, GrpcStatus>> {
    return new Promise((resolve) => {
      let answer: Uint8Array | undefined;
      const timer = setTimeout(() => {
        call.close();
        resolve(err({ code: GRPC.DEADLINE_EXCEEDED, message: `no answer within ${timeoutMs} ms` }));
      }, timeoutMs);
      const call = this.open(method, {
        message: (bytes) => {
          answer ??= bytes;
        },
        end: (status) => {
          clearTimeout(timer);
          if (status.code !== GRPC.OK) resolve(err(status));
          else resolve(answer ? ok(answer) : err({ code: GRPC.INTERNAL, message: 'answer without a message' }));
        },
      });
      call.send(request);
      call.halfClose();
    });
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#retryTimer);
    for (const call of [...this.#calls]) call.finish({ code: GRPC.CANCELLED, message: 'the channel is closed' });
    for (const dial of this.#dials) dial.destroy('the channel is closed');
    this.#dial = undefined;
  }

  /** There is another certificate to present: new calls get a new connection, those that are open stay until the old one ends. */
  renew(endsMs: number): void {
    const { target } = this.#options;
    if (target.kind !== 'tcp' || target.own === undefined || this.#closed) return;
    const dial = this.#dial;
    if (!dial && this.#isWanted) this.#retry();
    const leftMs = Math.min(LONGEST_TIMER_MS, Math.max(0, this.#presentedUntilMs - Date.now()));
    this.#presentedUntilMs = endsMs;
    if (!dial) return;
    this.#dial = undefined;
    // Who proved itself by the old certificate is sent away at its end: to go a moment before or after is the same.
    setTimeout(() => dial.destroy('the certificate of this connection has ended'), leftMs).unref();
    if (this.#isWanted) this.#retry();
  }

  /** Somebody waits for a connection. */
  get #isWanted(): boolean {
    for (const call of this.#waiting) if (!this.#isHeld(call)) return true;
    return false;
  }

  #isHeld({ method }: ChannelCall): boolean {
    return this.#options.holds?.(method) === true;
  }

  #wait(call: ChannelCall): void {
    this.#waiting.add(call);
    if (this.#isHeld(call)) return;
    if (!this.#dial && !this.#retryTimer && !this.#closed) this.#connect();
  }

  #start(call: ChannelCall): void {
    if (call.over) return;
    const dial = this.#dial;
    if (!dial?.connected || !dial.grpc.canOpen || this.#isHeld(call)) {
      this.#wait(call);
      return;
    }
    this.#waiting.delete(call);
    call.start((events) => dial.grpc.open(call.method, { 'user-agent': 'skein-agent', ...this.#options.metadata() }, events));
  }

  #connect(): void {
    this.#retryTimer = undefined;
    const dial = new GrpcDial(this.#options.target, {
      ready: () => this.#reached(),
      closing: () => this.#lose(dial, ''),
      gone: (problem) => {
        this.#dials.delete(dial);
        this.#lose(dial, problem);
      },
    });
    this.#dial = dial;
    this.#dials.add(dial);
  }

  #reached(): void {
    this.#backOff.reset();
    if (this.#reported) this.#options.log.info('control plane reached again');
    this.#reported = false;
    this.#startWaiting();
  }

  #startWaiting(): void {
    if (this.#dial?.connected) for (const call of [...this.#waiting]) this.#start(call);
  }

  /** Calls of a lost connection ended with it; those that wait get a new connection. */
  #lose(dial: GrpcDial, problem: string): void {
    if (this.#dial !== dial) return;
    this.#dial = undefined;
    if (this.#closed) return;
    if (!this.#reported) {
      this.#reported = true;
      this.#options.log.warning(dial.connected ? 'control plane connection lost' : 'control plane not reached', {
        problem: problem || undefined,
      });
    }
    if (this.#isWanted) this.#retry();
  }

  #retry(): void {
    if (this.#retryTimer) return;
    this.#retryTimer = setTimeout(() => {
      this.#retryTimer = undefined;
      if (this.#isWanted && !this.#dial && !this.#closed) this.#connect();
    }, this.#backOff.nextMs());
  }
}

/** One call. Messages sent before there is a connection wait, bounded. */
class ChannelCall implements XdsStream {
  method = '';
  readonly #events: StreamEvents;
  readonly #onOver: () => void;
  #call: GrpcCall | undefined;
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #halfClosed = false;
  #over = false;

  constructor(events: StreamEvents, onOver: () => void) {
    this.#events = events;
    this.#onOver = onOver;
  }

  get over(): boolean {
    return this.#over;
  }

  send(message: Uint8Array): void {
    if (this.#over) return;
    if (this.#call) {
      this.#call.send(message);
      return;
    }
    this.#pending.push(message);
    this.#pendingBytes += message.length;
    if (this.#pendingBytes > PENDING_BYTES_MAX) {
      queueMicrotask(() => this.finish({ code: GRPC.RESOURCE_EXHAUSTED, message: 'too many requests while the control plane is away' }));
    }
  }

  halfClose(): void {
    this.#halfClosed = true;
    this.#call?.halfClose();
  }

  close(): void {
    if (this.#over) return;
    this.#over = true;
    this.#onOver();
    this.#call?.close();
  }

  start(open: (events: StreamEvents) => GrpcCall): void {
    this.#call = open({
      message: (bytes) => !this.#over && this.#events.message(bytes),
      end: (status) => this.finish(status),
    });
    for (const message of this.#pending) this.#call.send(message);
    this.#pending = [];
    if (this.#halfClosed) this.#call.halfClose();
  }

  finish(status: GrpcStatus): void {
    if (this.#over) return;
    this.close();
    this.#events.end(status);
  }
}
