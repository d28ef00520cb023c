// Zipkin: contexts in B3 headers, W3C's beside them where that is asked for; spans as Zipkin's JSON v2, by POST.

import { PlanError } from '../../plan/plan-error.ts';
import { compileUri } from '../../plan/tracing/collector-uri.ts';
import type { SpanRecord } from '../../plan/tracing/span.ts';
import { readB3, readTraceparent, type TraceContext, writeB3, writeTraceparent } from '../../plan/tracing/trace-context.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import type { ZipkinConfig } from '../../xds/gen/types.ts';
import type { BatchQueue } from '../export/batch-queue.ts';
import { compileHttpTarget, type HttpTarget, httpExporter } from '../export/exporters.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import { spanCounts, spanQueue } from './span-queue.ts';
import { randomId, type Tracer } from './tracer.ts';

const TIMEOUT_MS = 5000;
const WITH_W3C = 1;

export class ZipkinTracer implements Tracer {
  readonly splits: boolean;
  readonly #wide: boolean;
  readonly #shared: boolean;
  readonly #w3c: boolean;
  readonly #endpoint: { readonly serviceName: string; readonly ipv4?: string; readonly ipv6?: string; readonly port: number };
  readonly #queue: BatchQueue<Buffer>;

  /** Throws PlanError for what a sidecar cannot honour. */
  constructor(config: ZipkinConfig, path: string, env: ProxyEnvironment) {
    if (config.collector_endpoint_version !== 'HTTP_JSON')
      throw new PlanError(
        `${path}.collector_endpoint_version`,
        `${config.collector_endpoint_version ?? 0} is not supported: use HTTP_JSON`,
      );
    this.#wide = config.trace_id_128bit === true;
    this.#shared = config.shared_span_context ?? true;
    this.#w3c = config.trace_context_option === WITH_W3C;
    this.splits = config.split_spans_for_request === true;
    const ip = env.ownAddress;
    this.#endpoint = { serviceName: env.nodeCluster, [ip.includes(':') ? 'ipv6' : 'ipv4']: ip, port: 0 };
    this.#queue = spanQueue(env, httpExporter(env, targetOf(config, path), 'application/json'), spanCounts(env, 'zipkin'), asJson);
  }

  begin(headers: HeaderBlock, context: TraceContext, traced: boolean): boolean {
    let found = readB3(headers, context, traced);
    if (found === 'broken') return false;
    if (found === 'nothing' && this.#w3c) {
      const { sampled } = context;
      found = readTraceparent(headers, context);
      if (found === 'broken') return false;
      if (found === 'nothing') context.sampled = sampled;
    }
    if (found === 'nothing') {
      context.traceId = randomId(this.#wide ? 16 : 8);
      context.spanId = context.traceId.slice(-16);
      return true;
    }
    context.remote = true;
    if (this.#shared) return true;
    context.parentId = context.spanId;
    context.spanId = randomId(8);
    return true;
  }

  inject(headers: HeaderBlock, context: TraceContext, spanId: string, parentId: string): void {
    writeB3(headers, context, spanId, parentId);
    if (this.#w3c) writeTraceparent(headers, context, spanId);
  }

  nameOf(_egress: boolean, authority: string): string {
    return authority;
  }

  report(span: SpanRecord): void {
    const { parentId, kind } = span;
    const ended = { timestamp: span.startUs + span.durationUs, value: kind === 'server' ? 'ss' : 'cr' };
    const text = JSON.stringify({
      traceId: span.traceId,
      ...(parentId === '' ? {} : { parentId }),
      id: span.spanId,
      kind: kind.toUpperCase(),
      name: span.name,
      timestamp: span.startUs,
      duration: Math.max(1, span.durationUs),
      localEndpoint: this.#endpoint,
      annotations: [...span.events.map(({ name, atUs }) => ({ timestamp: atUs, value: name })), ended],
      ...(this.#shared && kind === 'server' ? { shared: true } : {}),
      tags: Object.fromEntries(span.tags),
    });
    const bytes = Buffer.from(text);
    this.#queue.push(bytes, bytes.length);
  }

  close(withinMs: number): Promise<void> {
    return this.#queue.close(withinMs);
  }
}

const targetOf = (config: ZipkinConfig, path: string): HttpTarget => {
  if (config.collector_service !== undefined) return compileHttpTarget(config.collector_service, `${path}.collector_service`);
  const cluster = config.collector_cluster ?? '';
  if (cluster === '') throw new PlanError(`${path}.collector_cluster`, 'is required');
  const endpoint = config.collector_endpoint ?? '';
  if (endpoint === '') throw new PlanError(`${path}.collector_endpoint`, 'is required');
  const host = config.collector_hostname ?? '';
  const { authority } = compileUri(host === '' ? cluster : host, cluster, path);
  return { cluster, authority, path: endpoint, headers: [], timeoutMs: TIMEOUT_MS };
};

const OPEN = Buffer.from('[');
const CLOSE = Buffer.from(']');
const COMMA = Buffer.from(',');

const asJson = (spans: readonly Buffer[]): Buffer =>
  Buffer.concat([OPEN, ...spans.flatMap((span, i) => (i === 0 ? [span] : [COMMA, span])), CLOSE]);
