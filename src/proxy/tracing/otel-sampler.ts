// Samplers of OpenTelemetry: whether a request that is to be traced is reported. Without one a caller's word stands.

import { PlanError } from '../../plan/plan-error.ts';
import type { Core_TypedExtensionConfig, ParentBasedSamplerConfig, TraceIdRatioBasedSamplerConfig } from '../../xds/gen/types.ts';
import { configAs, typeNameOf } from '../extension-config.ts';

/** `parent`: what the caller says; undefined without one. */
export type Sampler = (traceId: string, parent: boolean | undefined) => boolean;

const SAMPLERS = 'envoy.extensions.tracers.opentelemetry.samplers.v3.';
const ALWAYS: Sampler = () => true;
const AS_CALLER: Sampler = (_, parent) => parent ?? true;

export const compileSampler = (config: Core_TypedExtensionConfig | undefined, path: string): Sampler => {
  if (config === undefined) return AS_CALLER;
  const type = typeNameOf(config.typed_config);
  const at = `${path}.typed_config`;
  switch (type) {
    case `${SAMPLERS}AlwaysOnSamplerConfig`:
      return ALWAYS;
    case `${SAMPLERS}ParentBasedSamplerConfig`: {
      const { wrapped_sampler } = configAs<ParentBasedSamplerConfig>(config.typed_config, at);
      if (wrapped_sampler === undefined) throw new PlanError(`${at}.wrapped_sampler`, 'is required');
      const root = compileSampler(wrapped_sampler, `${at}.wrapped_sampler`);
      return (traceId, parent) => parent ?? root(traceId, undefined);
    }
    case `${SAMPLERS}TraceIdRatioBasedSamplerConfig`: {
      const { sampling_percentage } = configAs<TraceIdRatioBasedSamplerConfig>(config.typed_config, at);
      const denominator = DENOMINATORS[sampling_percentage?.denominator ?? 'HUNDRED'];
      if (denominator === undefined) throw new PlanError(`${at}.sampling_percentage.denominator`, 'is not known');
      const numerator = sampling_percentage?.numerator ?? 0;
      return (traceId) => numberOf(traceId, denominator) < numerator;
    }
    default:
      throw new PlanError(path, `sampler ${type === '' ? (config.name ?? '') : type} is not supported`);
  }
};

const DENOMINATORS: Readonly<Record<string, number>> = { HUNDRED: 100, TEN_THOUSAND: 10_000, MILLION: 1_000_000 };

/** The first eight bytes of a trace's id, the least first, modulo `below`: the same wherever the trace is seen, as in Envoy. */
const numberOf = (traceId: string, below: number): number => {
  const bytes = Buffer.from(traceId.slice(0, 16), 'hex');
  return ((bytes.readUInt32LE(4) % below) * (2 ** 32 % below) + bytes.readUInt32LE(0)) % below;
};
