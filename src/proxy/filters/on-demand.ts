// envoy.filters.http.on_demand: a request whose virtual host or cluster is not there waits until it has been asked for. What does not come
// in time, or is not there at all, is answered as without this filter: 404 without a route, 503 without a cluster.

import { PlanError } from '../../plan/plan-error.ts';
import type { AnyMessage, OnDemand, OnDemandCds } from '../../xds/gen/types.ts';
import { durationMs } from '../../xds/well-known.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import type { FilterExchange, FilterTask, FilterVerdict, HttpFilter, HttpFilterFactory } from './http-filter.ts';

/** As Envoy's. */
const CLUSTER_WAIT_MS = 5_000;
/** Of weighted clusters another one may be chosen when the first has come. */
const CLUSTERS_MAX = 8;

/** How long to wait for a cluster, 0 without end; undefined: it is not asked for. */
interface Asking {
  readonly clusterMs: number | undefined;
}

class Wait implements FilterTask {
  readonly #env: ProxyEnvironment;
  readonly #exchange: FilterExchange;
  readonly #own: Asking;
  #asked: FilterTask | undefined;
  #clusters = 0;

  constructor(env: ProxyEnvironment, exchange: FilterExchange, own: Asking) {
    this.#env = env;
    this.#exchange = exchange;
    this.#own = own;
  }

  cancel(): void {
    this.#asked?.cancel();
  }

  forHost(name: string, ms: number): this {
    this.#asked = this.#env.demand.ask('host', name, ms, (isThere) => {
      if (isThere) this.#again();
      else this.#exchange.proceed(this, undefined);
    });
    return this;
  }

  forCluster(name: string, ms: number): this {
    this.#clusters++;
    this.#asked = this.#env.demand.ask('cluster', name, ms, (isThere) => {
      if (isThere) this.#again();
      else this.#exchange.proceed(this, undefined);
    });
    return this;
  }

  #again(): void {
    this.#exchange.reroute();
    const missing = missingCluster(this.#env, this.#exchange, this.#own);
    if (missing === undefined) this.#exchange.proceed(this, AGAIN);
    else if (this.#clusters < CLUSTERS_MAX) this.forCluster(missing, this.#own.clusterMs ?? 0);
    else this.#exchange.proceed(this, undefined);
  }
}

/** As Envoy, which begins the request anew: filters before this one had no route, or another one, and its overrides of them. */
const AGAIN: FilterVerdict = { kind: 'again' };

const missingCluster = (env: ProxyEnvironment, { route }: FilterExchange, own: Asking): string | undefined => {
  const name = route?.clusterName ?? '';
  if (name === '' || own.clusterMs === undefined) return undefined;
  if (env.cluster(name) === undefined) return name;
  env.demand.use('cluster', name);
  return undefined;
};

class OnDemandFilter implements HttpFilter {
  readonly #env: ProxyEnvironment;
  readonly #own: Asking;

  constructor(env: ProxyEnvironment, own: Asking) {
    this.#env = env;
    this.#own = own;
  }

  onRequest(exchange: FilterExchange, perRoute: unknown): FilterVerdict {
    const own = (perRoute as Asking | undefined) ?? this.#own;
    const { route, routes } = exchange;
    if (route === undefined) {
      if (routes.discovery === undefined || exchange.authority === '') return undefined;
      const name = `${routes.name}/${exchange.authority.toLowerCase()}`;
      // One that is there has no route for this path, or leads nowhere: to ask again would change nothing.
      if (this.#env.demand.isAnswered('host', name)) return undefined;
      return { kind: 'wait', task: new Wait(this.#env, exchange, own).forHost(name, routes.discovery) };
    }
    routes.use(route.virtualHost);
    for (const mirror of route.route.mirrors) askAhead(this.#env, mirror.clusterName, own);
    const missing = missingCluster(this.#env, exchange, own);
    if (missing === undefined) return undefined;
    return { kind: 'wait', task: new Wait(this.#env, exchange, own).forCluster(missing, own.clusterMs ?? 0) };
  }
}

/** Nobody waits for the answer of a mirror: its cluster is there for later requests. */
const askAhead = (env: ProxyEnvironment, name: string, own: Asking): void => {
  if (own.clusterMs === undefined || name === '') return;
  if (env.cluster(name) === undefined) env.demand.ask('cluster', name, 0, () => {}).cancel();
  else env.demand.use('cluster', name);
};

const compileAsking = (odcds: OnDemandCds | undefined, env: ProxyEnvironment): Asking => {
  if (odcds === undefined) return { clusterMs: undefined };
  if (odcds.source?.ads === undefined) throw new PlanError('odcds.source', 'only ads is supported');
  if ((odcds.resources_locator ?? '') !== '') throw new PlanError('odcds.resources_locator', 'not supported');
  if (!env.asksOnDemand) throw new PlanError('odcds.source', 'needs an incremental ADS stream (DELTA_GRPC)');
  return { clusterMs: odcds.timeout === undefined ? CLUSTER_WAIT_MS : durationMs(odcds.timeout) };
};

const odcdsOf = (typed: AnyMessage | undefined): OnDemandCds | undefined => (typed as unknown as OnDemand | undefined)?.odcds;

export const onDemandFilter: HttpFilterFactory = {
  compile: (typed, _context, { env }) => new OnDemandFilter(env, compileAsking(odcdsOf(typed), env)),
  compilePerRoute: (typed, env) => compileAsking(odcdsOf(typed), env),
};
