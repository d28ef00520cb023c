// HttpConnectionManager.tracing compiled: which requests are traced, how their spans are named and tagged, who is told.

import { PlanError } from '../../plan/plan-error.ts';
import { type CompiledTag, compileCustomTags } from '../../plan/tracing/custom-tags.ts';
import { compileSampling, type SamplingPlan } from '../../plan/tracing/sampling.ts';
import type { HttpConnectionManager, TrafficDirection, UuidRequestIdConfig } from '../../xds/gen/types.ts';
import { configAs, typeNameOf } from '../extension-config.ts';
import { PROCESS_FACTS } from '../process-facts.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import type { Stat } from '../stats-store.ts';
import type { Tracer } from './tracer.ts';

export interface TracingPlan {
  /** Outbound: the span is its client's side. */
  readonly egress: boolean;
  readonly sampling: SamplingPlan;
  /** Stands over what a route says, as it does over the listener's. */
  readonly runtime: Partial<SamplingPlan> | undefined;
  /** undefined: every request is to be traced, its id says nothing. */
  readonly packs: boolean | undefined;
  /** By reason. */
  readonly counts: { readonly none: Stat; readonly sampled: Stat; readonly client: Stat; readonly forced: Stat };
  /** undefined: nobody is told, and no context is handed on; the ids of requests say what was decided. */
  readonly tracer: Tracer | undefined;
  readonly propagates: boolean;
  /** Every attempt has a span of its own, below the request's. */
  readonly spawns: boolean;
  readonly tags: readonly CompiledTag[];
  readonly pathMax: number;
  readonly verbose: boolean;
  readonly node: { readonly id: string; readonly zone: string };
}

const PATH_MAX = 256;
const UUID = 'envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig';

/** undefined: the listener traces nothing. Throws PlanError. */
export const compileTracing = (
  hcm: HttpConnectionManager,
  direction: TrafficDirection | undefined,
  startsChildren: boolean,
  env: ProxyEnvironment,
): TracingPlan | undefined => {
  const { tracing } = hcm;
  if (tracing === undefined) return undefined;
  const tracer = env.tracers.tracer(tracing.provider, 'tracing.provider', env);
  const counter = (name: string): Stat => env.stats.counter(`http.${hcm.stat_prefix ?? ''}.tracing.${name}`);
  counter('health_check');
  return {
    egress: direction === 'OUTBOUND',
    sampling: { ...compileSampling(tracing), ...env.tracers.sampling },
    runtime: env.tracers.sampling,
    packs: packsReason(hcm.request_id_extension?.typed_config),
    counts: {
      none: counter('not_traceable'),
      sampled: counter('random_sampling'),
      client: counter('client_enabled'),
      forced: counter('service_forced'),
    },
    tracer,
    propagates: tracing.no_context_propagation !== true,
    spawns: tracing.spawn_upstream_span ?? (startsChildren || tracer?.splits === true),
    tags: compileCustomTags(tracing.custom_tags ?? [], 'tracing.custom_tags', PROCESS_FACTS),
    pathMax: tracing.max_path_tag_length ?? PATH_MAX,
    verbose: tracing.verbose === true,
    node: env.tracedNode,
  };
};

const packsReason = (config: NonNullable<HttpConnectionManager['request_id_extension']>['typed_config']): boolean | undefined => {
  if (config === undefined) return true;
  if (typeNameOf(config) !== UUID) throw new PlanError('request_id_extension', 'only the UUID extension is supported');
  const uuid = configAs<UuidRequestIdConfig>(config, 'request_id_extension.typed_config');
  if (uuid.use_request_id_for_trace_sampling === false) return undefined;
  return uuid.pack_trace_reason ?? true;
};
