// The HTTP filters this sidecar has, by type; a chain compiled from configuration. An unknown filter is refused unless optional.

import { PlanError } from '../../plan/plan-error.ts';
import type { AnyMessage, HttpFilter as HttpFilterConfig, RouteConfiguration, Router } from '../../xds/gen/types.ts';
import type { ListenerContext } from '../exchange/observer.ts';
import { checkRouteClusters } from '../exchange/route-clusters.ts';
import { typeNameOf, unwrapConfig } from '../extension-config.ts';
import { discoverySettings } from '../extension-configs.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import { alpnFilter } from './alpn.ts';
import { bufferFilter } from './buffer.ts';
import { compressorFilter } from './compressor.ts';
import { corsFilter } from './cors.ts';
import { csrfFilter } from './csrf.ts';
import { DiscoveredFilter, HttpFilterChain } from './discovered-filter.ts';
import { extAuthzFilter } from './ext-authz.ts';
import { faultFilter } from './fault.ts';
import { grpcWebFilter } from './grpc-web.ts';
import { headerMutationFilter } from './header-mutation.ts';
import { headerToMetadataFilter } from './header-to-metadata.ts';
import { healthCheckFilter } from './health-check.ts';
import type { FilterSetting, HttpFilter, HttpFilterFactory } from './http-filter.ts';
import { jwtFilter } from './jwt.ts';
import { localRateLimitFilter } from './local-rate-limit.ts';
import { onDemandFilter } from './on-demand.ts';
import { rateLimitFilter } from './rate-limit.ts';
import { rbacFilter } from './rbac.ts';
import { setMetadataFilter } from './set-metadata.ts';

export interface CompiledHttpFilter {
  readonly name: string;
  readonly filter: HttpFilter;
  readonly factory: HttpFilterFactory | undefined;
  /** Present on the router, the last of every chain. */
  readonly router: Router | undefined;
  readonly disabled: boolean;
}

const INERT: HttpFilterFactory = { compile: () => ({}), compilePerRoute: () => undefined };
const ROUTER = 'envoy.extensions.filters.http.router.v3.Router';
const BUILT_IN: ReadonlyMap<string, HttpFilterFactory> = new Map([
  ['envoy.extensions.filters.http.buffer.v3.Buffer', bufferFilter],
  ['envoy.extensions.filters.http.compressor.v3.Compressor', compressorFilter],
  ['envoy.extensions.filters.http.cors.v3.Cors', corsFilter],
  ['envoy.extensions.filters.http.csrf.v3.CsrfPolicy', csrfFilter],
  ['envoy.extensions.filters.http.ext_authz.v3.ExtAuthz', extAuthzFilter],
  ['envoy.extensions.filters.http.fault.v3.HTTPFault', faultFilter],
  ['envoy.extensions.filters.http.grpc_web.v3.GrpcWeb', grpcWebFilter],
  ['envoy.extensions.filters.http.header_mutation.v3.HeaderMutation', headerMutationFilter],
  ['envoy.extensions.filters.http.header_to_metadata.v3.Config', headerToMetadataFilter],
  ['envoy.extensions.filters.http.health_check.v3.HealthCheck', healthCheckFilter],
  ['envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication', jwtFilter],
  ['envoy.extensions.filters.http.rbac.v3.RBAC', rbacFilter],
  ['envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit', localRateLimitFilter],
  ['envoy.extensions.filters.http.ratelimit.v3.RateLimit', rateLimitFilter],
  ['envoy.extensions.filters.http.grpc_stats.v3.FilterConfig', INERT],
  ['envoy.extensions.filters.http.on_demand.v3.OnDemand', onDemandFilter],
  ['envoy.extensions.filters.http.set_metadata.v3.Config', setMetadataFilter],
  ['istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig', alpnFilter],
  ['stats.PluginConfig', INERT],
  ['io.istio.http.peer_metadata.Config', INERT],
]);
/** Which filter reads a typed_per_filter_config of a type. */
const PER_ROUTE: ReadonlyMap<string, HttpFilterFactory> = new Map([
  ['envoy.extensions.filters.http.buffer.v3.BufferPerRoute', bufferFilter],
  ['envoy.extensions.filters.http.compressor.v3.CompressorPerRoute', compressorFilter],
  ['envoy.extensions.filters.http.cors.v3.CorsPolicy', corsFilter],
  ['envoy.extensions.filters.http.csrf.v3.CsrfPolicy', csrfFilter],
  ['envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute', extAuthzFilter],
  ['envoy.extensions.filters.http.fault.v3.HTTPFault', faultFilter],
  ['envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute', headerMutationFilter],
  ['envoy.extensions.filters.http.header_to_metadata.v3.Config', headerToMetadataFilter],
  ['envoy.extensions.filters.http.on_demand.v3.PerRouteConfig', onDemandFilter],
  ['envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit', localRateLimitFilter],
  ['envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute', rateLimitFilter],
  ['envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig', jwtFilter],
  ['envoy.extensions.filters.http.rbac.v3.RBACPerRoute', rbacFilter],
]);
const FILTER_CONFIG = 'envoy.config.route.v3.FilterConfig';
/** Types that cannot come by name. */
const READ_ELSEWHERE: ReadonlyMap<string, string> = new Map([
  [ROUTER, 'the router must stand in the listener'],
  ['stats.PluginConfig', 'metrics are made from the listener'],
  ['envoy.extensions.filters.http.grpc_stats.v3.FilterConfig', 'metrics are made from the listener'],
]);

type Level = { readonly [name: string]: AnyMessage } | undefined;

export interface PerRoute {
  readonly disabled: boolean;
  readonly value: unknown;
  /** Whose filters can read the value. */
  readonly factory: HttpFilterFactory | undefined;
}
const NOTHING: PerRoute = { disabled: false, value: undefined, factory: undefined };

export class HttpFilterRegistry {
  readonly #outside: ReadonlyMap<string, HttpFilterFactory>;
  readonly #perRoute = new WeakMap<AnyMessage, PerRoute>();
  readonly #env: () => ProxyEnvironment;

  /** `outside` is keyed by type URL or full message name; `env` is what the filters live in, asked when a first one is compiled. */
  constructor(outside: ReadonlyMap<string, HttpFilterFactory> | undefined, env: () => ProxyEnvironment) {
    this.#env = env;
    this.#outside = new Map([...(outside ?? [])].map(([url, factory]) => [url.slice(url.lastIndexOf('/') + 1), factory]));
  }

  /** `place`: the chain in this version of its listener, the same for all workers. `releases` gets what is to be called when it is gone. */
  compileChain(
    configs: readonly HttpFilterConfig[] | undefined,
    context: ListenerContext,
    path: string,
    place: string,
    releases: (() => void)[],
  ): HttpFilterChain {
    const chain = new HttpFilterChain();
    configs?.forEach((config, i) => {
      const setting = { env: this.#env(), place: `${place}\n${path}[${i}]` };
      if (config.config_discovery !== undefined) {
        this.#discover(config, context, setting, `${path}[${i}]`, chain, releases);
        return;
      }
      const compiled = this.#compile(config, context, setting, `${path}[${i}]`);
      if (compiled === undefined) return;
      chain.add(compiled);
      const { filter } = compiled;
      if (filter.close !== undefined) releases.push(() => filter.close?.());
    });
    const last = chain.filters[chain.filters.length - 1];
    if (last?.router === undefined) throw new PlanError(path, 'the last HTTP filter must be the router');
    if (chain.filters.some((f) => f.router !== undefined && f !== last))
      throw new PlanError(path, 'the router must be the last HTTP filter');
    return chain;
  }

  /** A filter whose configuration comes by its name (ECDS). */
  #discover(
    config: HttpFilterConfig,
    context: ListenerContext,
    { env, place }: FilterSetting,
    path: string,
    chain: HttpFilterChain,
    releases: (() => void)[],
  ): void {
    const { name = '', disabled = false, config_discovery: discovery = {} } = config;
    if (name === '') throw new PlanError(`${path}.name`, 'is required');
    const settings = discoverySettings(discovery, `${path}.config_discovery`);
    for (const type of settings.types) {
      const why = READ_ELSEWHERE.get(type);
      if (why !== undefined) throw new PlanError(`${path}.config_discovery.type_urls`, `${type}: ${why}`);
    }
    const compile = (typed: AnyMessage): CompiledHttpFilter => {
      const own = { env, place: `${place}\n${env.sharing.version(`extension ${name}`, typed)}` };
      const compiled = this.#compile({ name, disabled, typed_config: typed }, context, own, '');
      if (compiled === undefined) throw new PlanError('', `HTTP filter ${name} (${typeNameOf(typed)}) is not supported`);
      return compiled;
    };
    const filter = new DiscoveredFilter(settings, name, compile, () => chain.renew());
    chain.add(filter);
    releases.push(env.extensions.use(name, settings.source, filter), () => filter.close());
  }

  /** Refuses what a route configuration says to filters and could not be honoured, and clusters that must be there. `within`: where it stands, unless it is known by its name. */
  checkRoutes(routes: RouteConfiguration, within = ''): void {
    const env = this.#env();
    checkRouteClusters(routes, (name) => env.knowsCluster(name), within !== '');
    // `above`: the less specific levels, the nearest first.
    const check = (level: Level, path: string, above: readonly Level[]): void => {
      for (const [name, config] of Object.entries(level ?? {})) {
        const next = above.map((other) => other?.[name]).find((other) => other !== undefined);
        const place = `${within}\nroutes ${routes.name}\n${path}`;
        this.#compilePerRoute(name, config, `${path}.typed_per_filter_config.${name}`, place, this.perRoute(next).value);
      }
    };
    const root = routes.typed_per_filter_config;
    check(root, '', []);
    routes.virtual_hosts?.forEach((host, h) => {
      const hostLevel = host.typed_per_filter_config;
      check(hostLevel, `virtual_hosts[${h}]`, [root]);
      host.routes?.forEach((route, r) => {
        const path = `virtual_hosts[${h}].routes[${r}]`;
        const own = route.typed_per_filter_config;
        check(own, path, [hostLevel, root]);
        route.route?.weighted_clusters?.clusters?.forEach((c, i) => {
          check(c.typed_per_filter_config, `${path}.route.weighted_clusters.clusters[${i}]`, [own, hostLevel, root]);
        });
      });
    });
  }

  perRoute(config: AnyMessage | undefined): PerRoute {
    return config === undefined ? NOTHING : (this.#perRoute.get(config) ?? NOTHING);
  }

  #compile(config: HttpFilterConfig, context: ListenerContext, setting: FilterSetting, path: string): CompiledHttpFilter | undefined {
    const name = config.name ?? '';
    const typed = unwrapConfig(config.typed_config);
    const type = typeNameOf(typed);
    const disabled = config.disabled ?? false;
    if (type === ROUTER || (type === '' && name === 'envoy.filters.http.router')) {
      const router = (typed ?? {}) as unknown as Router;
      if ((router.upstream_log?.length ?? 0) > 0) throw new PlanError(`${path}.typed_config.upstream_log`, 'not supported');
      if ((router.upstream_http_filters?.length ?? 0) > 0)
        throw new PlanError(`${path}.typed_config.upstream_http_filters`, 'not supported');
      return { name, filter: {}, factory: undefined, router, disabled };
    }
    const factory = this.#outside.get(type) ?? BUILT_IN.get(type) ?? byName(name, type);
    if (factory === undefined) {
      if (config.is_optional === true) return undefined;
      throw new PlanError(path, `HTTP filter ${name} (${type}) is not supported`);
    }
    return {
      name,
      filter: under(`${path}.typed_config`, () => factory.compile(typed, context, setting)),
      factory,
      router: undefined,
      disabled,
    };
  }

  #compilePerRoute(name: string, config: AnyMessage, path: string, place: string, above: unknown): void {
    if (this.#perRoute.has(config)) return;
    let inner = unwrapConfig(config);
    let disabled = false;
    let optional = false;
    if (typeNameOf(inner) === FILTER_CONFIG) {
      const wrapped = inner as unknown as { config?: AnyMessage; is_optional?: boolean; disabled?: boolean };
      disabled = wrapped.disabled ?? false;
      optional = wrapped.is_optional ?? false;
      inner = unwrapConfig(wrapped.config);
    }
    const type = typeNameOf(inner);
    const factory = PER_ROUTE.get(type) ?? this.#outside.get(type);
    if (inner !== undefined && !disabled && factory?.compilePerRoute === undefined) {
      if (optional) return;
      throw new PlanError(path, `configuration of filter ${name} (${type}) is not supported`);
    }
    this.#perRoute.set(config, {
      disabled,
      factory,
      value: inner === undefined || disabled ? undefined : under(path, () => factory?.compilePerRoute?.(inner, this.#env(), place, above)),
    });
  }
}

const under = <T>(path: string, compile: () => T): T => {
  try {
    return compile();
  } catch (problem) {
    throw problem instanceof PlanError ? new PlanError(`${path}.${problem.path}`, problem.problem) : problem;
  }
};

// Filters sent without a configuration are known by name.
const byName = (name: string, type: string): HttpFilterFactory | undefined => {
  if (type !== '') return undefined;
  if (name === 'envoy.filters.http.cors') return corsFilter;
  if (name === 'envoy.filters.http.fault') return faultFilter;
  return name === 'istio.stats' || name === 'envoy.filters.http.grpc_stats' ? INERT : undefined;
};
