// The span of one call that is made for a request beside forwarding it: what a filter asks, a copy to a mirror. A child of the request's
// span; its context is handed on whether it is reported or not. Made where a listener traces, and reported once.

import type { SpanRecord } from '../../plan/tracing/span.ts';
import type { TraceContext } from '../../plan/tracing/trace-context.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import type { Clock } from '../clock.ts';
import type { ClusterRuntime } from '../cluster/cluster-runtime.ts';
import { randomId, type Tracer } from './tracer.ts';
import { preciseUs } from './wall-clock.ts';

export class CallTrace {
  readonly #clock: Clock;
  readonly #tracer: Tracer;
  /** The request's, which another request uses later: read only while this is made and `inject` is called. */
  readonly #context: TraceContext;
  readonly #propagates: boolean;
  readonly #spanId = randomId(8);
  /** Undefined: not reported. */
  readonly #span: Pick<SpanRecord, 'traceId' | 'parentId' | 'state' | 'name' | 'startUs'> | undefined;
  readonly #startedMs: number;
  #stoppedMs: number | undefined;
  readonly #tags = new Map<string, string>([['component', 'proxy']]);
  #isOver = false;

  constructor(clock: Clock, tracer: Tracer, context: TraceContext, name: string, propagates: boolean) {
    this.#clock = clock;
    this.#tracer = tracer;
    this.#context = context;
    this.#propagates = propagates;
    this.#startedMs = clock.monotonicMs();
    const { traceId, spanId, state, sampled } = context;
    this.#span = sampled ? { traceId, parentId: spanId, state, name, startUs: preciseUs(clock) } : undefined;
  }

  /** For whom it calls. At once, before the request goes on. */
  inject(headers: HeaderBlock): void {
    if (this.#propagates) this.#tracer.inject(headers, this.#context, this.#spanId, this.#context.spanId);
  }

  tag(name: string, value: string): void {
    if (this.#span !== undefined) this.#tags.set(name, value);
  }

  /** It has ended now, whatever is still found out about it. */
  stop(): void {
    this.#stoppedMs ??= this.#clock.monotonicMs();
  }

  /** Of an exchange over HTTP; `status` 0: nobody answered. */
  answered(cluster: ClusterRuntime | undefined, address: string, protocol: string, status: number): void {
    this.tag('http.protocol', protocol === '' ? '-' : protocol);
    if (address !== '') {
      this.tag('upstream_address', address);
      this.tag('peer.address', address);
    }
    if (cluster !== undefined) {
      this.tag('upstream_cluster', cluster.name);
      this.tag('upstream_cluster.name', cluster.statName);
    }
    this.tag('http.status_code', String(status));
    this.tag('response_flags', '-');
    if (status === 0 || status >= 500) this.tag('error', 'true');
    this.report(status);
  }

  /** Nobody waits for it any more. */
  canceled(): void {
    this.tag('status', 'canceled');
    this.report(0);
  }

  report(status: number, failed = false): void {
    if (this.#span === undefined || this.#isOver) return;
    this.#isOver = true;
    this.stop();
    this.#tracer.report({
      ...this.#span,
      spanId: this.#spanId,
      remoteParent: false,
      kind: 'client',
      durationUs: Math.round(((this.#stoppedMs ?? this.#startedMs) - this.#startedMs) * 1000),
      tags: this.#tags,
      events: NO_EVENTS,
      status,
      failed,
    });
  }
}

const NO_EVENTS: readonly never[] = [];
