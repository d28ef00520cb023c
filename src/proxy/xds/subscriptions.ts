// Drives a data plane from a bootstrap: static resources first, then clusters, then (once they are warm) listeners, and
// whatever those name: endpoints, routes, secrets. Keeps the last good configuration through every failure.
// It decides only what is asked for and when; what a resource means is the data plane's business.
import type { Log } from '../../base/log.ts';
import type { DiscoveryClient, ReceivedResponse, ResourceProblem } from '../../xds/discovery-client.ts';
import type { Bootstrap, ConfigSource, Node } from '../../xds/gen/types.ts';
import {
  ADS_METHOD,
  CLUSTER_TYPE,
  DELTA_ADS_METHOD,
  deltaMethod,
  ENDPOINT_TYPE,
  EXTENSION_TYPE,
  LISTENER_TYPE,
  type ResourceType,
  ROUTE_TYPE,
  SECRET_TYPE,
  streamMethod,
  VIRTUAL_HOST_TYPE,
} from '../../xds/resource-types.ts';
import type { XdsTransport } from '../../xds/transport.ts';
import type { Clock } from '../clock.ts';
import type { DataPlane } from '../data-plane.ts';
import { applyResponse, removeOne, setResource } from './apply.ts';
import { Channel } from './channel.ts';
import {
  type ApiSource,
  endpointSources,
  grpcClusters,
  initialFetchTimeoutMs,
  isDelta,
  parseApiSource,
  parseSource,
  reconnectBackoff,
  routeSources,
  SourceError,
  sourceKey,
} from './config-source.ts';
import { FileSource } from './file-source.ts';
import { ResourceStore } from './resource-store.ts';

export interface SubscriptionsOptions {
  readonly bootstrap: Bootstrap;
  readonly node: () => Node;
  readonly dataPlane: DataPlane;
  /** The transport to a cluster of the bootstrap (or an in-process one in its stead). Throws when there is none. */
  readonly transport: (clusterName: string) => XdsTransport;
  /** `--reject-unknown-dynamic-fields`: a field that is not known makes its resource refused. */
  readonly rejectUnknownFields: boolean;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
}

/** `clusters`: until CDS has come and is warm. `listeners`: until LDS has come. `running`: all asked for. */
type Phase = 'clusters' | 'listeners' | 'running';

const STAT_PREFIX = {
  CDS: 'cluster_manager.cds',
  LDS: 'listener_manager.lds',
  EDS: 'cluster_manager.eds',
  RDS: 'http.rds',
  SDS: 'sds',
  ECDS: 'extension_config_discovery.http_filter',
  VHDS: 'vhds',
  NDS: 'nds',
} as const;

export class Subscriptions {
  readonly store = new ResourceStore();
  readonly #options: SubscriptionsOptions;
  readonly #channels = new Map<string, Channel>();
  readonly #files = new Map<string, FileSource>();
  /** Type URL → name → source key: what is asked for now. */
  readonly #wanted = new Map<string, Map<string, string>>();
  readonly #answered = new Set<string>();
  /** Virtual hosts that are asked for now. */
  #hosts: ReadonlySet<string> = new Set();
  readonly #timers = new Set<() => void>();
  #phase: Phase = 'clusters';
  #clustersGivenUp = false;
  #applying = false;
  #reconciling = false;
  #again = false;
  #closed = false;
  #live = false;
  readonly #whenLive = Promise.withResolvers<void>();
  readonly #controlPlanes: ReadonlySet<string>;

  constructor(options: SubscriptionsOptions) {
    this.#options = options;
    this.#controlPlanes = grpcClusters(options.bootstrap);
  }

  /** Applies the static resources (throws with the resource and field on a bad one) and opens the streams. */
  start(): void {
    const { bootstrap, dataPlane, clock } = this.#options;
    const now = clock.wallMs();
    this.#applying = true;
    const statics = bootstrap.static_resources ?? {};
    for (const [type, list] of [
      [SECRET_TYPE, statics.secrets],
      [CLUSTER_TYPE, statics.clusters],
      [LISTENER_TYPE, statics.listeners],
    ] as const) {
      for (const resource of list ?? []) this.#addStatic(type, resource, now);
    }
    this.#applying = false;
    dataPlane.onChange(() => this.#reconcile());
    const { cds_config: cds } = bootstrap.dynamic_resources ?? {};
    if (cds) {
      this.#follow(CLUSTER_TYPE, cds, 'dynamic_resources.cds_config');
      this.#after(initialFetchTimeoutMs(cds), () => this.#giveUpOnClusters());
    } else this.#answered.add(CLUSTER_TYPE.url);
    this.#reconcile();
  }

  /** First configuration is complete and warm; never false again. */
  get live(): boolean {
    return this.#live;
  }

  whenLive(): Promise<void> {
    return this.#whenLive.promise;
  }

  close(): void {
    this.#closed = true;
    for (const cancel of this.#timers) cancel();
    for (const channel of this.#channels.values()) channel.close();
    for (const file of this.#files.values()) file.close();
  }

  #addStatic(type: ResourceType, resource: object, now: number): void {
    const name = (resource as { readonly name?: string }).name ?? '';
    try {
      setResource(type, resource, this.#options.dataPlane);
    } catch (e) {
      // A control plane's cluster is dialled by the gRPC client, which may know more of transports than the data plane.
      const dialled = type === CLUSTER_TYPE && this.#controlPlanes.has(name);
      if (!dialled)
        throw new Error(
          `static_resources: ${type.shortName} ${name === '' ? '(unnamed)' : name}: ${e instanceof Error ? e.message : String(e)}`,
        );
    }
    this.store.accept(type.url, name, '', '', now, true);
  }

  // --- what is asked for

  /** Brings what is asked for in line with what the data plane names. Calls itself again while that changes something. */
  #reconcile(): void {
    this.#again = true;
    if (this.#applying || this.#reconciling || this.#closed) return;
    this.#reconciling = true;
    try {
      while (this.#again) {
        this.#again = false;
        this.#askForNamed();
        this.#advance();
      }
    } finally {
      this.#reconciling = false;
    }
  }

  #askForNamed(): void {
    const { dataPlane } = this.#options;
    const endpoints = endpointSources(dataPlane.clusters());
    this.#askFor(ENDPOINT_TYPE, new Map([...dataPlane.referencedEndpoints()].map((n) => [n, endpoints.get(n)])));
    const routes = routeSources(dataPlane.listeners());
    this.#askFor(ROUTE_TYPE, new Map([...dataPlane.referencedRoutes()].map((n) => [n, routes.get(n)])));
    const secrets = new Map<string, ConfigSource | undefined>();
    for (const [name, source] of dataPlane.referencedSecrets()) {
      if (!this.store.record(SECRET_TYPE.url, name)?.isStatic) secrets.set(name, source);
    }
    this.#askFor(SECRET_TYPE, secrets);
    this.#askFor(EXTENSION_TYPE, dataPlane.referencedExtensions());
    this.#askOnDemand();
  }

  #askFor(type: ResourceType, names: ReadonlyMap<string, ConfigSource | undefined>): void {
    const before = this.#wanted.get(type.url) ?? new Map<string, string>();
    const now = new Map<string, string>();
    const fresh = new Map<number, string[]>();
    for (const [name, config] of names) {
      const kept = before.get(name);
      const key = kept ?? this.#channelFor(type, config);
      now.set(name, key);
      if (kept === undefined) {
        const ms = initialFetchTimeoutMs(config);
        fresh.set(ms, [...(fresh.get(ms) ?? []), name]);
      }
    }
    this.#wanted.set(type.url, now);
    for (const name of before.keys()) if (!now.has(name)) removeOne(type, name, { dataPlane: this.#options.dataPlane, store: this.store });
    for (const key of new Set([...before.values(), ...now.values()])) {
      const client = this.#channels.get(key)?.client;
      client?.subscribe(type, new Set([...now].filter(([, k]) => k === key).map(([n]) => n)));
    }
    for (const [ms, list] of fresh) this.#after(ms, () => this.#giveUpOnNames(type, list));
  }

  /** What somebody needs: virtual hosts, and clusters and listeners beside those that come unasked. All on the aggregated stream. */
  #askOnDemand(): void {
    const client = this.#channels.get('ads')?.client;
    if (client === undefined || !this.#adsIsDelta) return;
    const { host, cluster, listener } = this.#options.dataPlane.demanded();
    if (host.size > 0 || client.subscription(VIRTUAL_HOST_TYPE) !== undefined) client.subscribe(VIRTUAL_HOST_TYPE, host);
    for (const [type, names] of [
      [CLUSTER_TYPE, cluster],
      [LISTENER_TYPE, listener],
    ] as const) {
      if (client.subscription(type) === '*') client.subscribe(type, '*', names);
    }
    const dropped = [...this.#hosts].filter((name) => !host.has(name));
    this.#hosts = host;
    if (dropped.length > 0) this.#options.dataPlane.updateHosts({ set: [], removed: dropped });
  }

  /** Opens (once) the stream or file that a source names. Answers its key, '' when it cannot be followed. */
  #channelFor(type: ResourceType, config: ConfigSource | undefined): string {
    try {
      return this.#follow(type, config ?? { ads: {} }, `${type.shortName} config_source`, false);
    } catch (e) {
      this.#options.log.error('a configuration source cannot be followed', { type: type.shortName, reason: String(e) });
      return '';
    }
  }

  #follow(type: ResourceType, config: ConfigSource, path: string, everything = true): string {
    const source = parseSource(config, path);
    if (source.kind === 'file') {
      const key = `${type.shortName} ${sourceKey(source)}`;
      if (!this.#files.has(key)) {
        const file = new FileSource({ ...source, type, log: this.#options.log, apply: (r) => this.#apply(r, undefined) });
        this.#files.set(key, file);
        file.start();
      }
      return key;
    }
    const onAds = source.kind === 'ads';
    const from = onAds ? this.#ads() : source;
    const method = methodOf(onAds, from.delta, type);
    if (method === undefined) throw new SourceError(`${path}: ${type.shortName} has no service of its own`);
    const key = onAds ? 'ads' : `${type.shortName} ${sourceKey(source)}`;
    let channel = this.#channels.get(key);
    if (!channel) {
      channel = this.#openChannel(key, method, from);
      this.#channels.set(key, channel);
    }
    if (everything) channel.client.subscribe(type, '*');
    channel.start();
    return key;
  }

  #ads(): ApiSource {
    const ads = this.#options.bootstrap.dynamic_resources?.ads_config;
    if (!ads) throw new SourceError('dynamic_resources.ads_config: is missing, and a source says ads');
    return parseApiSource(ads, 'dynamic_resources.ads_config');
  }

  get #adsIsDelta(): boolean {
    const ads = this.#options.bootstrap.dynamic_resources?.ads_config;
    return ads !== undefined && isDelta(ads);
  }

  #openChannel(key: string, method: string, from: ApiSource): Channel {
    const { node, clock, random, log, dataPlane } = this.#options;
    const connected = dataPlane.stats.gauge('control_plane.connected_state');
    const channel: Channel = new Channel({
      name: key,
      method,
      delta: from.delta,
      transport: this.#options.transport(from.cluster),
      node,
      apply: (response) => this.#apply(response, channel.client),
      connected: (is) => {
        if (key === 'ads') connected.value = is ? 1 : 0;
      },
      rejectUnknownFields: this.#options.rejectUnknownFields,
      clock,
      random,
      backoff: reconnectBackoff(from.service),
      log,
    });
    return channel;
  }

  // --- what comes

  #apply(response: ReceivedResponse, client: DiscoveryClient | undefined): readonly ResourceProblem[] {
    const { dataPlane, clock, log } = this.#options;
    if (this.#closed) return [];
    const { type } = response;
    const asked = client?.subscription(type);
    this.#applying = true;
    let problems: readonly ResourceProblem[];
    try {
      problems = applyResponse(response, {
        dataPlane,
        store: this.store,
        nowMs: clock.wallMs(),
        wants: (_, name) => asked === undefined || asked === '*' || asked.has(name),
      });
    } finally {
      this.#applying = false;
    }
    this.#answered.add(type.url);
    this.#count(response, problems, client);
    for (const p of problems) {
      log.warning('a resource is refused', { type: type.shortName, name: p.name, version: response.version, problem: p.problem });
    }
    this.#reconcile();
    return problems;
  }

  #count({ type }: ReceivedResponse, problems: readonly ResourceProblem[], client: DiscoveryClient | undefined): void {
    const { stats } = this.#options.dataPlane;
    const prefix = STAT_PREFIX[type.shortName];
    stats.counter(`${prefix}.update_attempt`).value++;
    // Both are there from the first answer on: a counter that begins with its first refusal has no increase to see.
    stats.counter(`${prefix}.update_success`).value += problems.length === 0 ? 1 : 0;
    stats.counter(`${prefix}.update_rejected`).value += problems.length === 0 ? 0 : 1;
    if (problems.length === 0) stats.gauge(`${prefix}.update_time`).value = Math.floor(this.#options.clock.wallMs());
    if (client) stats.counter('server.dynamic_unknown_fields').value = unknownFields(client);
  }

  // --- first configuration

  #advance(): void {
    const { dataPlane, bootstrap } = this.#options;
    if (this.#phase === 'clusters' && this.#answered.has(CLUSTER_TYPE.url)) {
      const warm = [...dataPlane.clusters()].every((c) => c.warm);
      if (!warm && !this.#clustersGivenUp) return;
      this.#phase = 'listeners';
      const lds = bootstrap.dynamic_resources?.lds_config;
      if (lds) {
        this.#follow(LISTENER_TYPE, lds, 'dynamic_resources.lds_config');
        this.#after(initialFetchTimeoutMs(lds), () => {
          this.#answered.add(LISTENER_TYPE.url);
          this.#reconcile();
        });
      } else this.#answered.add(LISTENER_TYPE.url);
    }
    if (this.#phase === 'listeners' && this.#answered.has(LISTENER_TYPE.url)) this.#phase = 'running';
    if (this.#phase === 'running' && !this.#live && dataPlane.ready) {
      this.#live = true;
      this.#whenLive.resolve();
    }
  }

  #giveUpOnClusters(): void {
    this.#answered.add(CLUSTER_TYPE.url);
    this.#clustersGivenUp = true;
    this.#reconcile();
  }

  /** As Envoy after initial_fetch_timeout: a cluster without hosts, a listener that answers 404. Secrets are waited for. */
  #giveUpOnNames(type: ResourceType, names: readonly string[]): void {
    const wanted = this.#wanted.get(type.url);
    const missing = names.filter((n) => wanted?.has(n) && !this.store.record(type.url, n)?.accepted);
    if (missing.length === 0) return;
    const { dataPlane, log } = this.#options;
    log.warning('no answer within initial_fetch_timeout', { type: type.shortName, names: missing.join(' ') });
    this.#applying = true;
    for (const name of missing) {
      if (type === ENDPOINT_TYPE) dataPlane.setEndpoints({ cluster_name: name });
      else if (type === ROUTE_TYPE) dataPlane.setRoutes({ name });
      else if (type === EXTENSION_TYPE) dataPlane.giveUpExtension(name);
    }
    this.#applying = false;
    this.#reconcile();
  }

  #after(ms: number, fire: () => void): void {
    if (ms === 0) return;
    const cancel = this.#options.clock.after(ms, () => {
      this.#timers.delete(cancel);
      if (!this.#closed) fire();
    });
    this.#timers.add(cancel);
  }
}

const methodOf = (onAds: boolean, delta: boolean, type: ResourceType): string | undefined => {
  if (onAds) return delta ? DELTA_ADS_METHOD : ADS_METHOD;
  return delta ? deltaMethod(type) : streamMethod(type);
};

const unknownFields = (client: DiscoveryClient): number =>
  [CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE, SECRET_TYPE, EXTENSION_TYPE].reduce(
    (sum, t) => sum + client.counters(t).unknownFields,
    0,
  );
