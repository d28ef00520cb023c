// The tracers of a data plane: one for each configuration of a provider, shared by all listeners that name it, so that their spans leave
// in the same batches. What nobody has named yet costs nothing.

import { PlanError } from '../../plan/plan-error.ts';
import type { SamplingPlan } from '../../plan/tracing/sampling.ts';
import type { OpenTelemetryConfig, Tracing_Http, ZipkinConfig } from '../../xds/gen/types.ts';
import { configAs, typeNameOf, unwrapConfig } from '../extension-config.ts';
import { TRACERS_MAX } from '../limits.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import { stable } from '../stable-text.ts';
import { OpenTelemetryTracer } from './opentelemetry.ts';
import type { Tracer } from './tracer.ts';
import { ZipkinTracer } from './zipkin.ts';

const CONFIGS = 'envoy.config.trace.v3.';

export class Tracers {
  /** Of listeners that name none. */
  readonly #own: Tracing_Http | undefined;
  /** Of the runtime: stands over what listeners and routes say. */
  readonly sampling: Partial<SamplingPlan> | undefined;
  readonly #made = new Map<string, Tracer>();

  /** `own` is the bootstrap's. */
  constructor(own: Tracing_Http | undefined, sampling?: Partial<SamplingPlan>) {
    this.#own = own;
    this.sampling = sampling;
  }

  /** undefined: there is nobody to report to. Throws PlanError for a tracer that is not to be had. */
  tracer(named: Tracing_Http | undefined, path: string, env: ProxyEnvironment): Tracer | undefined {
    const provider = named ?? this.#own;
    if (provider === undefined) return undefined;
    const config = unwrapConfig(provider.typed_config);
    const key = stable({ config });
    const before = this.#made.get(key);
    if (before !== undefined) return before;
    const at = `${path}.typed_config`;
    const type = typeNameOf(config);
    let made: Tracer;
    if (type === `${CONFIGS}ZipkinConfig`) made = new ZipkinTracer(configAs<ZipkinConfig>(config, at), at, env);
    else if (type === `${CONFIGS}OpenTelemetryConfig`) made = new OpenTelemetryTracer(configAs<OpenTelemetryConfig>(config, at), at, env);
    else throw new PlanError(path, `tracer ${type === '' ? (provider.name ?? '') : type} is not supported`);
    const [oldest] = this.#made.keys();
    // Whoever was given it goes on with it.
    if (this.#made.size >= TRACERS_MAX && oldest !== undefined) this.#made.delete(oldest);
    this.#made.set(key, made);
    return made;
  }

  /** Sends what waits, at most for so long; at once when nothing does. */
  async close(withinMs: number): Promise<void> {
    if (this.#made.size > 0) await Promise.all([...this.#made.values()].map((tracer) => tracer.close(withinMs)));
  }
}
