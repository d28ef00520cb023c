// OpenTelemetry: contexts in W3C's headers, spans by OTLP, over HTTP or gRPC.

import { PlanError } from '../../plan/plan-error.ts';
import type { SpanRecord } from '../../plan/tracing/span.ts';
import { readTraceparent, type TraceContext, writeTraceparent } from '../../plan/tracing/trace-context.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import type { OpenTelemetryConfig } from '../../xds/gen/types.ts';
import type { BatchQueue } from '../export/batch-queue.ts';
import { compileHttpTarget, type Exporter, grpcExporter, httpExporter } from '../export/exporters.ts';
import { rejectedItems } from '../export/partial-success.ts';
import { SPANS_QUEUED } from '../limits.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import { compileSampler, type Sampler } from './otel-sampler.ts';
import { resourceAttributes } from './otlp-resource.ts';
import { encodeSpan, exportRequest } from './otlp-spans.ts';
import { spanCounts, spanQueue } from './span-queue.ts';
import { randomId, type Tracer } from './tracer.ts';

const EXPORT = '/opentelemetry.proto.collector.trace.v1.TraceService/Export';

export class OpenTelemetryTracer implements Tracer {
  readonly splits = false;
  readonly #sampler: Sampler;
  readonly #queue: BatchQueue<Buffer>;

  /** Throws PlanError for what a sidecar cannot honour. */
  constructor(config: OpenTelemetryConfig, path: string, env: ProxyEnvironment) {
    this.#sampler = compileSampler(config.sampler, `${path}.sampler`);
    const resource = resourceAttributes(config, path);
    const max = config.max_cache_size ?? 0;
    const encode = exportRequest(resource);
    this.#queue = spanQueue(env, exporterOf(config, path, env), spanCounts(env, 'opentelemetry'), encode, max > 0 ? max : SPANS_QUEUED);
  }

  begin(headers: HeaderBlock, context: TraceContext, traced: boolean): boolean {
    const found = readTraceparent(headers, context);
    if (found === 'broken') return false;
    if (found === 'context') {
      context.remote = true;
      context.parentId = context.spanId;
    } else context.traceId = randomId(16);
    context.spanId = randomId(8);
    context.sampled = traced && this.#sampler(context.traceId, found === 'context' ? context.sampled : undefined);
    return true;
  }

  inject(headers: HeaderBlock, context: TraceContext, spanId: string): void {
    writeTraceparent(headers, context, spanId);
  }

  nameOf(egress: boolean, authority: string): string {
    return egress ? `egress ${authority}` : 'ingress';
  }

  report(span: SpanRecord): void {
    const bytes = encodeSpan(span);
    this.#queue.push(bytes, bytes.length);
  }

  close(withinMs: number): Promise<void> {
    return this.#queue.close(withinMs);
  }
}

const exporterOf = (config: OpenTelemetryConfig, path: string, env: ProxyEnvironment): Exporter => {
  if (config.grpc_service !== undefined) {
    if (config.http_service !== undefined) throw new PlanError(`${path}.http_service`, 'cannot stand beside grpc_service');
    return grpcExporter(env, config.grpc_service, EXPORT, `${path}.grpc_service`, rejectedItems);
  }
  if (config.http_service === undefined) throw new PlanError(path, 'grpc_service or http_service is required');
  return httpExporter(env, compileHttpTarget(config.http_service, `${path}.http_service`), 'application/x-protobuf', rejectedItems);
};
