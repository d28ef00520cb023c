// How batches reach a server of telemetry: by POST over one of the proxy's own clusters, or as one unary gRPC call. Either answers for
// the batch: taken, to be sent again, or never to be sent again. A batch too slow is given up in time.

import { compileUri } from '../../plan/tracing/collector-uri.ts';
import { GRPC } from '../../wire/grpc-frames.ts';
import type { Core_HttpService, GrpcService } from '../../xds/gen/types.ts';
import { durationMs } from '../../xds/well-known.ts';
import { compileGrpcService, grpcUnary } from '../grpc-side-call.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import { sideCall } from '../side-call.ts';
import type { BatchDone } from './batch-queue.ts';

export interface Exporter {
  /** Calls `done` once, later; what it returns gives the call up. */
  readonly send: (body: Buffer, done: BatchDone) => () => void;
  /** There is such a cluster now. */
  readonly reachable: () => boolean;
}

/** Of an answer: how many items of the batch the server says it did not take. */
export type Rejected = (answer: Uint8Array) => number;

export interface HttpTarget {
  readonly cluster: string;
  readonly authority: string;
  readonly path: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly timeoutMs: number;
}

const TIMEOUT_MS = 5000;
/** Of an answer nothing is wanted but that it is one. */
const ANSWER_BYTES_MAX = 64 * 1024;
/** As OTLP has it: these may be sent again, other refusals may not. */
const AGAIN: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504]);
const GRPC_AGAIN: ReadonlySet<number> = new Set([
  GRPC.CANCELLED,
  GRPC.DEADLINE_EXCEEDED,
  GRPC.RESOURCE_EXHAUSTED,
  10,
  11,
  GRPC.UNAVAILABLE,
  15,
]);

/** Throws PlanError for what a sidecar cannot honour. */
export const compileHttpTarget = (service: Core_HttpService | undefined, path: string): HttpTarget => {
  const headers = (service?.request_headers_to_add ?? []).map(({ header }): readonly [string, string] => [
    (header?.key ?? '').toLowerCase(),
    header?.raw_value === undefined || header.raw_value.length === 0
      ? (header?.value ?? '')
      : Buffer.from(header.raw_value).toString('latin1'),
  ]);
  const uri = service?.http_uri;
  return {
    ...compileUri(uri?.uri ?? '', uri?.cluster ?? '', `${path}.http_uri`),
    headers,
    timeoutMs: uri?.timeout === undefined ? TIMEOUT_MS : durationMs(uri.timeout),
  };
};

export const httpExporter = (env: ProxyEnvironment, target: HttpTarget, contentType: string, rejected?: Rejected): Exporter => ({
  reachable: () => env.cluster(target.cluster) !== undefined,
  send: (body, done) => {
    const task = sideCall(
      env,
      {
        ...target,
        method: 'POST',
        headers: [['content-type', contentType], ...target.headers],
        body,
        answerBytesMax: ANSWER_BYTES_MAX,
      },
      (outcome) => {
        if (outcome.kind === 'failure') done(false);
        else if (outcome.status >= 200 && outcome.status < 300) done(true, false, rejected?.(outcome.body));
        else done(false, AGAIN.has(outcome.status));
      },
    );
    return () => task.cancel();
  },
});

/** `method`: '/package.Service/Method'. */
export const grpcExporter = (
  env: ProxyEnvironment,
  service: GrpcService | undefined,
  method: string,
  path: string,
  rejected?: Rejected,
): Exporter => {
  const plan = compileGrpcService(service, path);
  return {
    reachable: () => env.cluster(plan.cluster) !== undefined,
    send: (body, done) => {
      const call = { ...plan, path: method, message: body, timeoutMs: plan.timeoutMs ?? TIMEOUT_MS, answerBytesMax: ANSWER_BYTES_MAX };
      const task = grpcUnary(env, call, (outcome) => {
        if (outcome.kind === 'message') done(true, false, rejected?.(outcome.bytes));
        else done(false, GRPC_AGAIN.has(outcome.code));
      });
      return () => task.cancel();
    },
  };
};
