// One metrics service that a bootstrap names: told of everything that the process counts, every so often, over the proxy's own cluster. A
// service that is not there, or does not keep up, is told less often: counts go on adding up, and nothing waits in memory but one time's
// messages. Loaded only where a bootstrap has such a sink.

import type { GrpcStatus } from '../../wire/grpc-frames.ts';
import type { Node } from '../../xds/gen/types.ts';
import { GrpcStream, type GrpcStreamOwner } from '../export/grpc-stream.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import type { Stat } from '../stats-store.ts';
import { WheelTimer } from '../timer-wheel.ts';
import { metricsIdentifier } from './metrics-message.ts';
import { MetricsSnapshot, type MetricsSource } from './metrics-snapshot.ts';
import type { BucketsOf } from './stats-config.ts';
import type { MetricsSinkPlan } from './stats-sinks.ts';

export const METRICS_METHOD = '/envoy.service.metrics.v3.MetricsService/StreamMetrics';
/** A service that stays away is told of so often. */
const WARN_EVERY_MS = 60_000;
const TIMER = 0;

export interface MetricsSinkOptions {
  readonly plan: MetricsSinkPlan;
  readonly node: Node;
  readonly buckets: BucketsOf;
  /** Everything, of all workers. */
  readonly read: () => Promise<MetricsSource>;
}

export class MetricsSink implements GrpcStreamOwner {
  readonly #env: ProxyEnvironment;
  readonly #options: MetricsSinkOptions;
  readonly #stream: GrpcStream;
  readonly #snapshot: MetricsSnapshot;
  readonly #timer = new WheelTimer(this, TIMER);
  readonly #flushed: Stat;
  readonly #lost: Stat;
  readonly #identifier: Uint8Array;
  #identified = false;
  #waiting: Uint8Array[] = [];
  #reading = false;
  #silentUntil = 0;
  #closed = false;

  constructor(env: ProxyEnvironment, options: MetricsSinkOptions) {
    this.#env = env;
    this.#options = options;
    this.#snapshot = new MetricsSnapshot(options.plan, options.buckets);
    this.#stream = new GrpcStream(env, options.plan.service, METRICS_METHOD, this);
    this.#flushed = env.stats.counter('metrics_service.messages_sent');
    this.#lost = env.stats.counter('metrics_service.messages_lost');
    this.#identifier = metricsIdentifier(options.node);
    env.wheel.arm(this.#timer, options.plan.everyMs);
  }

  onTimer(): void {
    this.#env.wheel.arm(this.#timer, this.#options.plan.everyMs);
    void this.#flush();
  }

  /** Tells once more, then calls back. */
  close(done: () => void): void {
    if (this.#closed) {
      done();
      return;
    }
    this.#env.wheel.drop(this.#timer);
    void this.#flush().then(() => {
      this.#closed = true;
      this.#waiting = [];
      this.#stream.close(done);
    });
  }

  /** Only what can leave is read: else it goes on adding up. */
  async #flush(): Promise<void> {
    if (this.#closed || this.#reading || this.#waiting.length > 0) return;
    if (!this.#stream.writable) {
      this.#stream.want();
      return;
    }
    this.#reading = true;
    try {
      this.#waiting = this.#snapshot.messages(await this.#options.read(), this.#env.clock.wallMs());
    } catch (e) {
      // A worker that is busy, or ends: what it has counted is told the next time.
      this.#env.log.debug('metrics could not be read', { problem: e instanceof Error ? e.message : String(e) });
    } finally {
      this.#reading = false;
    }
    this.#send();
  }

  #send(): void {
    while (this.#waiting.length > 0 && this.#stream.writable) {
      const [message] = this.#waiting;
      if (message === undefined) return;
      this.#waiting.shift();
      if (this.#identified) this.#stream.send(message);
      else this.#stream.send(this.#identifier, message);
      this.#identified = true;
      this.#flushed.value++;
    }
  }

  // --- GrpcStreamOwner ---

  streamOpened(): void {
    this.#identified = false;
    if (this.#waiting.length > 0) this.#send();
    else void this.#flush();
  }

  streamDrained(): void {
    this.#send();
  }

  streamEnded(status: GrpcStatus, lost: boolean): void {
    this.#identified = false;
    this.#lost.value += this.#waiting.length + (lost ? 1 : 0);
    this.#waiting = [];
    const now = this.#env.wheel.now();
    if (status.code === 0 || now < this.#silentUntil) return;
    this.#silentUntil = now + WARN_EVERY_MS;
    const { cluster } = this.#options.plan.service;
    this.#env.log.warning('metrics are not taken', { cluster, code: status.code, reason: status.message });
  }
}
