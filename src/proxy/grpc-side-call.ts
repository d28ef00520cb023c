// One unary gRPC call of the proxy's own to a cluster that speaks HTTP/2, and what a GrpcService says about such calls.
// `done` is called at most once: never before grpcUnary has returned, never after cancel(). Whatever goes wrong is a status.

import { PlanError } from '../plan/plan-error.ts';
import { frameMessage, GRPC, GrpcUnframer, grpcStatusOf, grpcStatusOfHttp } from '../wire/grpc-frames.ts';
import type { HeaderBlock } from '../wire/header-block.ts';
import type { GrpcService } from '../xds/gen/types.ts';
import { durationMs } from '../xds/well-known.ts';
import { upstreamProtocol } from './cluster/cluster-protocol.ts';
import type { FilterTask } from './filters/http-filter.ts';
import type { ProxyEnvironment } from './proxy-environment.ts';
import { type SideAnswer, type SideFailure, sideCall } from './side-call.ts';
import type { CallTrace } from './tracing/call-trace.ts';

export interface GrpcCall {
  readonly cluster: string;
  readonly authority: string;
  /** '/package.Service/Method'. */
  readonly path: string;
  readonly metadata: readonly (readonly [string, string])[];
  readonly message: Uint8Array;
  readonly timeoutMs: number;
  readonly bare?: boolean;
  readonly answerBytesMax: number;
  readonly trace?: CallTrace | undefined;
}

export type GrpcOutcome =
  | { readonly kind: 'message'; readonly bytes: Uint8Array }
  | { readonly kind: 'status'; readonly code: number; readonly message: string };

/** What a GrpcService says about every call. */
export interface GrpcServicePlan {
  readonly cluster: string;
  readonly authority: string;
  /** undefined: it names none. */
  readonly timeoutMs: number | undefined;
  readonly metadata: readonly (readonly [string, string])[];
  /** Calls do not say that a proxy makes them. */
  readonly bare: boolean;
}

const PREFIX_BYTES = 5;
const NOTHING = new Uint8Array(0);

export const grpcUnary = (env: ProxyEnvironment, call: GrpcCall, done: (outcome: GrpcOutcome) => void): FilterTask => {
  const cluster = env.cluster(call.cluster);
  if (cluster !== undefined && upstreamProtocol(cluster.protocol, true) === 'http1') return failed(done, call.cluster);
  const headers: (readonly [string, string])[] = [
    ['te', 'trailers'],
    ['content-type', 'application/grpc'],
  ];
  if (call.timeoutMs > 0) headers.push(['grpc-timeout', `${Math.ceil(call.timeoutMs)}m`]);
  const framed = frameMessage(call.message);
  return sideCall(
    env,
    {
      cluster: call.cluster,
      method: 'POST',
      authority: call.authority,
      path: call.path,
      headers: [...headers, ...call.metadata],
      body: Buffer.from(framed.buffer, framed.byteOffset, framed.byteLength),
      timeoutMs: call.timeoutMs,
      answerBytesMax: call.answerBytesMax + PREFIX_BYTES,
      http2: true,
      bare: call.bare === true,
      ...(call.trace === undefined ? {} : { trace: described(call, call.trace) }),
    },
    (outcome) => {
      const found: GrpcOutcome = outcome.kind === 'answer' ? read(outcome, call.answerBytesMax) : { kind: 'status', ...statusOf(outcome) };
      const { trace } = call;
      if (trace === undefined) {
        done(found);
        return;
      }
      const code = found.kind === 'message' ? GRPC.OK : found.code;
      trace.tag('grpc.status_code', String(code));
      if (code !== GRPC.OK) trace.tag('error', 'true');
      done(found);
      trace.report(0, code !== GRPC.OK);
    },
  );
};

const described = ({ cluster }: GrpcCall, trace: CallTrace): CallTrace => {
  trace.tag('upstream_cluster', cluster);
  trace.tag('upstream_address', cluster);
  return trace;
};

/** As a span is named. `path` as '/package.Service/Method'. */
export const grpcSpanName = (path: string): string => `async ${path.slice(1).replace('/', '.')} egress`;

/** Throws PlanError for what a sidecar cannot honour. */
export const compileGrpcService = (config: GrpcService | undefined, path: string): GrpcServicePlan => {
  if (config?.google_grpc !== undefined) throw new PlanError(`${path}.google_grpc`, 'is not supported: use envoy_grpc');
  const envoy = config?.envoy_grpc;
  const cluster = envoy?.cluster_name ?? '';
  if (cluster === '') throw new PlanError(`${path}.envoy_grpc.cluster_name`, 'is required');
  if (config?.retry_policy !== undefined) throw new PlanError(`${path}.retry_policy`, 'is not supported');
  if (envoy?.retry_policy !== undefined) throw new PlanError(`${path}.envoy_grpc.retry_policy`, 'is not supported');
  const metadata = (config?.initial_metadata ?? []).map((header): readonly [string, string] => {
    const value =
      header.raw_value === undefined || header.raw_value.length === 0 ? header.value : Buffer.from(header.raw_value).toString('latin1');
    return [(header.key ?? '').toLowerCase(), value ?? ''];
  });
  return {
    cluster,
    authority: envoy?.authority === undefined || envoy.authority === '' ? cluster : envoy.authority,
    timeoutMs: config?.timeout === undefined ? undefined : durationMs(config.timeout),
    metadata,
    bare: envoy?.skip_envoy_headers === true,
  };
};

const failed = (done: (outcome: GrpcOutcome) => void, cluster: string): FilterTask => {
  let heard = true;
  queueMicrotask(() => {
    if (heard) done({ kind: 'status', code: GRPC.UNAVAILABLE, message: `cluster ${cluster} does not speak HTTP/2` });
  });
  return {
    cancel: () => {
      heard = false;
    },
  };
};

const read = (answer: SideAnswer, bytesMax: number): GrpcOutcome => {
  if (answer.status !== 200) return { kind: 'status', ...grpcStatusOfHttp(answer.status) };
  const status = statusIn(answer.trailers) ?? statusIn(answer.headers);
  if (status === undefined) return { kind: 'status', code: GRPC.UNKNOWN, message: 'the answer has no grpc-status' };
  if (status.code !== GRPC.OK) return { kind: 'status', ...status };
  let bytes = NOTHING;
  let messages = 0;
  const unframer = new GrpcUnframer((message) => {
    bytes = message as Uint8Array<ArrayBuffer>;
    messages++;
  }, bytesMax);
  const problem = unframer.push(answer.body);
  if (problem !== undefined) return { kind: 'status', ...problem };
  if (messages !== 1 || !unframer.idle) return { kind: 'status', code: GRPC.INTERNAL, message: 'the answer is not one message' };
  return { kind: 'message', bytes };
};

const statusIn = (headers: HeaderBlock | undefined) =>
  headers === undefined
    ? undefined
    : grpcStatusOf({ 'grpc-status': headers.get('grpc-status'), 'grpc-message': headers.get('grpc-message') });

const statusOf = ({ reason, details }: SideFailure): { readonly code: number; readonly message: string } => {
  if (reason === 'timeout') return { code: GRPC.DEADLINE_EXCEEDED, message: details };
  return { code: reason === 'too-large' ? GRPC.RESOURCE_EXHAUSTED : GRPC.UNAVAILABLE, message: details };
};
