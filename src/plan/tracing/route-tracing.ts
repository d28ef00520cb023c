// What a route says of its requests' traces: which share is traced, and tags of its own.

import type { Route_Tracing } from '../../xds/gen/types.ts';
import { type CompiledTag, compileCustomTags } from './custom-tags.ts';
import { compileRouteSampling, type SamplingPlan } from './sampling.ts';

export interface RouteTracing {
  readonly sampling: SamplingPlan;
  readonly tags: readonly CompiledTag[];
}

export const compileRouteTracing = (tracing: Route_Tracing | undefined, path: string): RouteTracing | undefined =>
  tracing === undefined
    ? undefined
    : { sampling: compileRouteSampling(tracing, path), tags: compileCustomTags(tracing.custom_tags ?? [], `${path}.custom_tags`) };
