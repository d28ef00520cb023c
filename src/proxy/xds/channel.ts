// One xDS stream kept alive: a client machine over a transport, opened again after it ended, with back-off. What was
// accepted before stays in force meanwhile. It never gives up and never throws at its owner.
import type { Log } from '../../base/log.ts';
import { CodecError } from '../../xds/codec.ts';
import { DeltaClient } from '../../xds/delta-client.ts';
import type { DiscoveryClient, ReceivedResponse, ResourceProblem } from '../../xds/discovery-client.ts';
import type { Node } from '../../xds/gen/types.ts';
import { SotwClient } from '../../xds/sotw-client.ts';
import type { XdsStream, XdsTransport } from '../../xds/transport.ts';
import type { Clock } from '../clock.ts';
import { Backoff } from './backoff.ts';

export interface ChannelOptions {
  /** For the log, as `ads` or `sds-grpc`. */
  readonly name: string;
  readonly method: string;
  /** Incremental, or the state of the world. */
  readonly delta?: boolean;
  readonly transport: XdsTransport;
  readonly node: () => Node;
  readonly apply: (response: ReceivedResponse) => readonly ResourceProblem[];
  readonly connected?: (isConnected: boolean) => void;
  readonly rejectUnknownFields?: boolean;
  readonly clock: Clock;
  readonly random: () => number;
  readonly backoff?: { readonly baseMs: number; readonly maxMs: number } | undefined;
  readonly log: Log;
}

export class Channel {
  readonly client: DiscoveryClient;
  readonly #options: ChannelOptions;
  readonly #backoff: Backoff;
  #stream: XdsStream | undefined;
  #cancelRetry: (() => void) | undefined;
  #closed = false;
  #generation = 0;

  constructor(options: ChannelOptions) {
    this.#options = options;
    this.#backoff = new Backoff(options.random, options.backoff?.baseMs, options.backoff?.maxMs);
    const Client = options.delta === true ? DeltaClient : SotwClient;
    this.client = new Client({
      node: options.node,
      apply: options.apply,
      rejectUnknownFields: options.rejectUnknownFields ?? false,
    });
  }

  /** Opens the stream; a second call does nothing. */
  start(): void {
    if (this.#closed || this.#stream || this.#cancelRetry) return;
    const generation = ++this.#generation;
    let heard = false;
    const stream = this.#options.transport.open(this.#options.method, {
      message: (bytes) => {
        if (generation !== this.#generation) return;
        if (!heard) {
          heard = true;
          this.#backoff.reset();
          this.#options.connected?.(true);
        }
        this.#receive(bytes);
      },
      end: (status) => {
        if (generation === this.#generation) this.#lost(`${status.code} ${status.message}`);
      },
    });
    this.#stream = stream;
    this.client.opened((bytes) => stream.send(bytes));
  }

  close(): void {
    this.#closed = true;
    this.#generation++;
    this.#cancelRetry?.();
    this.#cancelRetry = undefined;
    this.client.closed();
    this.#stream?.close();
    this.#stream = undefined;
  }

  #receive(bytes: Uint8Array): void {
    try {
      this.client.received(bytes);
    } catch (e) {
      if (!(e instanceof CodecError)) throw e;
      this.#stream?.close();
      this.#lost(`malformed response: ${e.message}`);
    }
  }

  #lost(reason: string): void {
    this.#generation++;
    this.#stream = undefined;
    this.client.closed();
    this.#options.connected?.(false);
    const delayMs = this.#backoff.nextMs();
    this.#options.log.warning('xDS stream ended, serving on with the last configuration', {
      stream: this.#options.name,
      reason,
      retry_ms: delayMs,
    });
    this.#cancelRetry = this.#options.clock.after(delayMs, () => {
      this.#cancelRetry = undefined;
      this.start();
    });
  }
}
