// The trace of one exchange after another: decides whether a request is traced, continues its caller's context, hands it to the next hop,
// and tells the tracer when the exchange is over. Also the operation that proxies tell each other in x-envoy-decorator-operation, which
// names spans. An exchange has one where its listener traces. A request that is not reported costs its decision and the ids it hands on.

import type { RouteMatch } from '../../plan/route.ts';
import type { StreamInfo } from '../../plan/stream-info.ts';
import { type CompiledTag, mergeTags } from '../../plan/tracing/custom-tags.ts';
import { withReason } from '../../plan/tracing/request-id.ts';
import { type TraceWish, traceReason } from '../../plan/tracing/sampling.ts';
import { type AttemptEnd, attemptTags, grpcFailed, momentsOf, requestTags, type SpanHeaders } from '../../plan/tracing/span.ts';
import { TraceContext } from '../../plan/tracing/trace-context.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import { H } from '../../wire/header-name.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import { CallTrace } from './call-trace.ts';
import { randomId, type Tracer } from './tracer.ts';
import type { TracingPlan } from './tracing-plan.ts';
import { preciseUs } from './wall-clock.ts';

export class RequestTrace {
  readonly #env: ProxyEnvironment;
  readonly #plan: TracingPlan;
  readonly #context = new TraceContext();
  readonly #wish: { -readonly [K in keyof TraceWish]: boolean } = { client: false, forced: false };
  #decided = false;
  /** It has a span, reported or not. */
  #spanned = false;
  /** The caller, or the server, has named the operation. */
  #named = false;
  #name = '';
  #tags: readonly CompiledTag[] = [];
  #startUs = 0;
  #startedAt = 0;
  // The attempt that has a span now.
  #attemptId = '';
  #attemptStartUs = 0;
  #attemptStartedAt = 0;
  #retries = 0;
  #injected = false;

  constructor(env: ProxyEnvironment, plan: TracingPlan) {
    this.#env = env;
    this.#plan = plan;
  }

  /** Before the next request. */
  reset(): void {
    this.#decided = false;
    this.#spanned = false;
    this.#named = false;
    this.#injected = false;
    this.#attemptId = '';
  }

  /** The route is known, or known anew; undefined: none takes the request. */
  routed(match: RouteMatch | undefined, headers: HeaderBlock, info: StreamInfo): void {
    if (!this.#decided) {
      this.#decided = true;
      this.#begin(match, headers, info);
    }
    const route = match?.route;
    if (this.#plan.egress) {
      if (route?.decorator !== undefined && route.decorator !== '') headers.setById(H.X_ENVOY_DECORATOR_OPERATION, route.decorator);
      if (route !== undefined && route.operation !== '') this.#name = route.operation;
      return;
    }
    const told = headers.getById(H.X_ENVOY_DECORATOR_OPERATION);
    if (told !== undefined) {
      headers.removeById(H.X_ENVOY_DECORATOR_OPERATION);
      if (told !== '') {
        this.#named = true;
        this.#name = told;
      }
    }
    if (!this.#named && route !== undefined && route.operation !== '') this.#name = route.operation;
  }

  #begin(match: RouteMatch | undefined, headers: HeaderBlock, info: StreamInfo): void {
    const plan = this.#plan;
    const own = match?.route.tracing;
    const sampling = own === undefined ? plan.sampling : plan.runtime === undefined ? own.sampling : { ...own.sampling, ...plan.runtime };
    const traced = this.#decide(sampling, headers, info);
    const { tracer } = plan;
    if (tracer === undefined) return;
    const context = this.#context;
    context.reset();
    if (!tracer.begin(headers, context, traced)) return;
    this.#spanned = true;
    info.traceId = context.traceId;
    info.spanId = context.spanId;
    info.parentSpanId = context.parentId;
    this.#name = '';
    if (!context.sampled) return;
    this.#tags = own === undefined ? plan.tags : mergeTags(plan.tags, own.tags);
    this.#startUs = preciseUs(this.#env.clock);
    this.#startedAt = this.#env.clock.monotonicMs();
    this.#name = tracer.nameOf(plan.egress, info.authority);
  }

  #decide(sampling: TracingPlan['sampling'], headers: HeaderBlock, info: StreamInfo): boolean {
    const { counts, packs } = this.#plan;
    if (packs === undefined) {
      counts.sampled.value++;
      return true;
    }
    const id = info.streamId;
    const wish = this.#wish;
    wish.client = headers.hasId(H.X_CLIENT_TRACE_ID);
    wish.forced = headers.hasId(H.X_ENVOY_FORCE_TRACE);
    const reason = traceReason(sampling, id, wish, this.#env.random);
    counts[reason].value++;
    if (packs) {
      const packed = withReason(id, reason);
      if (packed !== id) {
        headers.setById(H.X_REQUEST_ID, packed);
        info.streamId = packed;
      }
    }
    return reason !== 'none';
  }

  /** Of a call that is made for the request, as a child of its span. Undefined: the request has none. */
  call(name: string): CallTrace | undefined {
    const { tracer, propagates } = this.#plan;
    return this.#spanned && tracer !== undefined ? new CallTrace(this.#env.clock, tracer, this.#context, name, propagates) : undefined;
  }

  /** The request goes upstream, for the first time or again. */
  attempt(headers: HeaderBlock, info: StreamInfo): void {
    const { tracer, propagates, spawns } = this.#plan;
    if (!this.#spanned || tracer === undefined) return;
    const context = this.#context;
    if (!spawns) {
      if (propagates && !this.#injected) tracer.inject(headers, context, context.spanId, context.parentId);
      this.#injected = true;
      return;
    }
    this.attemptOver(headers, info);
    this.#retries = this.#injected ? this.#retries + 1 : 0;
    this.#injected = true;
    this.#attemptId = randomId(8);
    if (context.sampled) {
      this.#attemptStartUs = preciseUs(this.#env.clock);
      this.#attemptStartedAt = this.#env.clock.monotonicMs();
    }
    if (propagates) tracer.inject(headers, context, this.#attemptId, context.spanId);
  }

  /** Another attempt takes its place. `status`: of the answer that is not taken, 0 without one. */
  attemptOver(headers: HeaderBlock, info: StreamInfo, status = 0): void {
    if (this.#attemptId !== '') this.#endAttempt(headers, info, { status, given: true, flag: '', reason: '' });
  }

  /** It came to nothing. `flag` and `reason` say how. */
  attemptLost(headers: HeaderBlock, info: StreamInfo, flag: string, reason: string): void {
    if (this.#attemptId !== '') this.#endAttempt(headers, info, { status: 0, given: false, flag, reason });
  }

  #endAttempt(headers: HeaderBlock, info: StreamInfo, end: AttemptEnd): void {
    const { tracer } = this.#plan;
    if (tracer !== undefined && this.#context.sampled)
      this.#reportAttempt(tracer, info, { request: headers, response: undefined, trailers: undefined }, end);
    this.#attemptId = '';
  }

  /** The answer's head goes to the client. */
  respond(headers: HeaderBlock, match: RouteMatch | undefined): void {
    if (this.#plan.egress) {
      const told = headers.getById(H.X_ENVOY_DECORATOR_OPERATION);
      if (told === undefined) return;
      headers.removeById(H.X_ENVOY_DECORATOR_OPERATION);
      if (told !== '') this.#name = told;
      return;
    }
    const operation = match?.route.decorator;
    if (!this.#named && operation !== undefined && operation !== '') headers.setById(H.X_ENVOY_DECORATOR_OPERATION, operation);
  }

  /** The exchange is over. */
  done(info: StreamInfo, request: HeaderBlock, response: HeaderBlock | undefined, trailers: HeaderBlock | undefined): void {
    const { tracer } = this.#plan;
    if (!this.#spanned || tracer === undefined || !this.#context.sampled) return;
    const headers = { request, response, trailers };
    if (this.#attemptId !== '') {
      const flag = info
        .flagsShort()
        .split(',')
        .filter((name) => !OF_REQUEST.has(name))
        .join(',');
      this.#reportAttempt(tracer, info, headers, { status: info.responseCode, given: false, flag, reason: '' });
    }
    const plan = this.#plan;
    const { traceId, spanId, parentId, state, remote } = this.#context;
    tracer.report({
      traceId,
      spanId,
      parentId,
      state,
      remoteParent: remote,
      kind: plan.egress && !plan.spawns ? 'client' : 'server',
      name: this.#name,
      startUs: this.#startUs,
      durationUs: this.#sinceUs(this.#startedAt),
      tags: requestTags(info, headers, plan.node, plan.pathMax, this.#tags),
      events: plan.verbose ? momentsOf(info, false) : NO_EVENTS,
      status: info.responseCode,
      failed: grpcFailed(headers),
    });
  }

  #sinceUs(startedAt: number): number {
    return Math.round((this.#env.clock.monotonicMs() - startedAt) * 1000);
  }

  #reportAttempt(tracer: Tracer, info: StreamInfo, headers: SpanHeaders, end: AttemptEnd): void {
    const { traceId, spanId, state } = this.#context;
    tracer.report({
      traceId,
      spanId: this.#attemptId,
      parentId: spanId,
      state,
      remoteParent: false,
      kind: 'client',
      name: `router ${info.upstreamCluster} egress`,
      startUs: this.#attemptStartUs,
      durationUs: this.#sinceUs(this.#attemptStartedAt),
      tags: attemptTags(info, headers, this.#retries, end, this.#tags),
      events: this.#plan.verbose ? momentsOf(info, true) : NO_EVENTS,
      status: end.status,
      failed: !end.given && grpcFailed(headers),
    });
  }
}

const NO_EVENTS: readonly never[] = [];
/** Flags that no single attempt has. */
const OF_REQUEST: ReadonlySet<string> = new Set(['URX']);
