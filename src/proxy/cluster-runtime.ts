// One cluster at work: its endpoints, balancing, limits, outlier detection and connection pools. It lives until it is replaced or
// removed; endpoints come and go under it and keep their connections while their address stays.

import { isIP } from 'node:net';
import { PlanError } from '../plan/plan-error.ts';
import type { Http1Writer } from '../wire/http1-writer.ts';
import type { Cluster, ClusterLoadAssignment, JsonObject } from '../xds/gen/types.ts';
import { durationMs, parseDuration } from '../xds/well-known.ts';
import { type Balancer, compileBalancer } from './balancer.ts';
import { type Breakers, compileBreakers } from './circuit-breaker.ts';
import { type ClusterProtocol, compileClusterProtocol } from './cluster-protocol.ts';
import { type ClusterStats, createClusterStats } from './cluster-stats.ts';
import type { DnsLookup } from './dns-lookup.ts';
import { DnsResolution } from './dns-resolution.ts';
import { Host } from './host.ts';
import { HealthView, type HostGroup, type Membership } from './host-set.ts';
import type { HostState } from './host-state.ts';
import { CONNECT_TIMEOUT_MS, ORIGINAL_DST_HOSTS_MAX, POOLS_KEPT } from './limits.ts';
import { buildMembership } from './membership.ts';
import { compileOutlier, OutlierDetector } from './outlier.ts';
import { exchangesPeers } from './peer-exchange.ts';
import type { SecretStore } from './secrets.ts';
import type { Sharing } from './shared-counts.ts';
import type { StatsStore } from './stats-store.ts';
import type { TimerWheel } from './timer-wheel.ts';
import type { TurnOutput } from './turn-output.ts';
import { unsentLimit } from './unsent-limit.ts';
import { AutoPool } from './upstream-auto-pool.ts';
import { Http2Pool } from './upstream-http2-pool.ts';
import { Http1Pool, type PoolSettings } from './upstream-pool.ts';
import type { UpstreamPool } from './upstream-stream.ts';
import { compileUpstreamTransport, PLAIN_VARIANT, type TransportVariant, type UpstreamTransport } from './upstream-transport.ts';

export interface ClusterEnvironment {
  readonly wheel: TimerWheel;
  readonly turn: TurnOutput;
  readonly writer: Http1Writer;
  readonly secrets: SecretStore;
  readonly stats: StatsStore;
  readonly sharing: Sharing;
  readonly dns: DnsLookup;
  readonly random: () => number;
  readonly bindAddress: string | undefined;
  /** Warmth or membership changed. */
  readonly changed: () => void;
}

/** What a request knows that choosing a host may need. */
export interface PickRequest {
  readonly originalDestination: { readonly ip: string; readonly port: number } | undefined;
  readonly hash: bigint | undefined;
  /** How many hosts were turned down before. */
  readonly attempt?: number;
}

const REFUSED = ['load_balancing_policy', 'cluster_type', 'upstream_config'] as const;
const LB_SUBSET = 'lb_subset_config';

interface TransportMatch {
  readonly match: JsonObject;
  readonly transport: UpstreamTransport;
}

export class ClusterRuntime {
  readonly name: string;
  readonly config: Cluster;
  /** What logs print. */
  readonly statName: string;
  readonly protocol: ClusterProtocol;
  readonly breakers: Breakers;
  readonly stats: ClusterStats;
  readonly type: string;
  readonly #environment: ClusterEnvironment;
  /** What its counts are known by to all workers: a changed cluster counts anew. */
  readonly #key: string;
  readonly #settings: PoolSettings;
  readonly #balancer: Balancer;
  readonly #panicThreshold: number;
  readonly #byLocality: boolean;
  readonly #hashed: boolean;
  readonly #defaultTransport: UpstreamTransport;
  readonly #transportMatches: readonly TransportMatch[];
  readonly #outlier: OutlierDetector | undefined;
  readonly #dns: DnsResolution | undefined;
  readonly #hosts = new Map<string, Host>();
  #hostList: Host[] = [];
  #membership: Membership = { priorities: [], overprovisioning: 140 };
  #view: HealthView;
  #assignment: ClusterLoadAssignment | undefined;
  #retired = false;
  /** More than one variant is possible: pools are looked up by key. */
  readonly hasVariants: boolean;
  /** TCP connections tell each other who their ends are, where both agree to. */
  readonly exchangesPeers: boolean;
  /** A request's header that names where it goes (ORIGINAL_DST); '' when none does. */
  readonly destinationHeader: string;
  /** Connections tell for which client they are. */
  readonly tellsClient: boolean;

  constructor(config: Cluster, environment: ClusterEnvironment) {
    this.config = config;
    this.name = config.name ?? '';
    this.statName = (config.alt_stat_name ?? '') !== '' ? (config.alt_stat_name ?? '') : this.name;
    this.type = typeof config.type === 'string' ? config.type : 'STATIC';
    this.#environment = environment;
    refuse(config);
    this.protocol = compileClusterProtocol(config);
    this.#key = environment.sharing.version(this.name, config);
    this.breakers = compileBreakers(config.circuit_breakers, (priority, bounds) =>
      environment.sharing.limits(`${priority}\n${this.#key}`, bounds, () => this.#giveConnections()),
    );
    this.#balancer = compileBalancer(config, () => environment.wheel.now());
    this.#panicThreshold =
      config.common_lb_config?.healthy_panic_threshold?.value ?? (config.common_lb_config?.healthy_panic_threshold ? 0 : 50);
    this.#byLocality = config.common_lb_config?.locality_weighted_lb_config !== undefined;
    this.#hashed = config.lb_policy === 'RING_HASH' || config.lb_policy === 'MAGLEV';
    const source = bindAddress(config) ?? environment.bindAddress;
    const outlier = config.outlier_detection === undefined ? undefined : compileOutlier(config.outlier_detection);
    // Nothing before this line holds anything; what fails behind it gives back what it holds.
    this.stats = createClusterStats(environment.stats, this.statName);
    const { byDefault, matches } = compileTransports(config, environment);
    this.#defaultTransport = byDefault;
    this.#transportMatches = matches;
    if (this.protocol.kind === 'auto' && (byDefault.kind !== 'tls' || matches.some((m) => m.transport.kind !== 'tls'))) {
      this.#closeTransports();
      throw new PlanError('auto_config', 'needs TLS: only its handshake can choose the protocol');
    }
    this.exchangesPeers = exchangesPeers(config.filters);
    const original = config.original_dst_lb_config;
    this.destinationHeader = original?.use_http_header === true ? (original.http_header_name || ORIGINAL_DST_HEADER).toLowerCase() : '';
    this.tellsClient = this.#defaultTransport.tellsClient || this.#transportMatches.some((m) => m.transport.tellsClient);
    this.hasVariants = this.#defaultTransport.kind === 'tls' || this.#transportMatches.some((m) => m.transport.kind === 'tls');
    this.#settings = {
      wheel: environment.wheel,
      writer: environment.writer,
      stats: this.stats,
      connectTimeoutMs: config.connect_timeout === undefined ? CONNECT_TIMEOUT_MS : durationMs(config.connect_timeout),
      idleTimeoutMs: this.protocol.idleTimeoutMs,
      requestsPerConnection: this.protocol.requestsPerConnection,
      maxConnectionDurationMs: this.protocol.maxConnectionDurationMs,
      bindAddress: source,
      unsentBytes: unsentLimit(config.per_connection_buffer_limit_bytes),
      turn: environment.turn,
      random: environment.random,
      preconnectRatio: preconnectRatio(config),
      http2: this.protocol.http2,
      keepalive: this.protocol.keepalive,
      enableTrailers: this.protocol.enableTrailers,
      responseLimits: this.protocol.responseLimits,
      properCaseRequests: this.protocol.properCaseRequests,
    };
    this.#view = new HealthView(this.#membership, this.#panicThreshold, this.#byLocality, environment.random, this.#hashed);
    this.#outlier =
      outlier === undefined
        ? undefined
        : new OutlierDetector(
            outlier,
            environment.wheel,
            environment.random,
            () => this.#hostList,
            () => this.#healthChanged(),
            environment.sharing.ejections(this.#key, () => this.#healthChanged()),
          );
    try {
      if (this.type === 'STATIC' || this.type === 'CLUSTER_PROVIDED') this.setAssignment(config.load_assignment ?? {});
      else if (this.type === 'STRICT_DNS' || this.type === 'LOGICAL_DNS')
        this.#dns = new DnsResolution(config, environment, (assignment) => this.setAssignment(assignment));
    } catch (problem) {
      this.retire();
      throw problem;
    }
    this.#dns?.start();
  }

  /** The name its endpoints come under; undefined when they do not come by EDS. */
  get endpointsName(): string | undefined {
    if (this.type !== 'EDS') return undefined;
    const service = this.config.eds_cluster_config?.service_name ?? '';
    return service !== '' ? service : this.name;
  }

  get assignment(): ClusterLoadAssignment | undefined {
    return this.#assignment;
  }

  get warm(): boolean {
    if (this.type !== 'ORIGINAL_DST' && this.#assignment === undefined) return false;
    return this.#defaultTransport.warm && this.#transportMatches.every((m) => m.transport.warm);
  }

  get bindAddress(): string | undefined {
    return this.#settings.bindAddress;
  }
  get unsentBytes(): number {
    return this.#settings.unsentBytes;
  }
  get connectTimeoutMs(): number {
    return this.#settings.connectTimeoutMs;
  }

  get maxConnections(): number {
    return this.breakers.default.bounds.connectionsMax;
  }
  get maxPendingRequests(): number {
    return this.breakers.default.bounds.pendingMax;
  }
  get maxRequests(): number {
    return this.breakers.default.bounds.requestsMax;
  }
  get maxRetries(): number {
    return this.breakers.default.bounds.retriesMax;
  }

  hosts(): Iterable<Host> {
    return this.#hostList;
  }

  /** Refuses an assignment it cannot use (PlanError); what was there stays. */
  setAssignment(assignment: ClusterLoadAssignment): void {
    const { membership, hosts } = buildMembership(assignment, this.#hosts, this.type === 'LOGICAL_DNS');
    this.#assignment = assignment;
    const seen = new Set(hosts);
    const gone: Host[] = [];
    for (const [key, host] of this.#hosts)
      if (!seen.has(host)) {
        this.#hosts.delete(key);
        host.removed = true;
        host.state.close();
        gone.push(host);
      }
    const now = this.#environment.wheel.now();
    for (const host of hosts) {
      if (!this.#hosts.has(host.key)) {
        host.addedAtMs = now;
        host.state = this.#stateOf(host.key);
      }
      this.#hosts.set(host.key, host);
      const transport = this.#transportFor(host.metadata);
      if (host.transport !== transport) {
        for (const pool of host.pools) pool.drain();
        host.pools = [];
        host.transport = transport;
      }
    }
    this.#hostList = hosts;
    this.#membership = membership;
    this.stats.updateSuccess.value++;
    this.#healthChanged();
    this.#environment.changed();
    // Last: who waited for them chooses from what is there now.
    for (const host of gone) for (const pool of host.pools) pool.leave();
  }

  /** A host for a request, or undefined when none may be used. */
  pick(request: PickRequest): Host | undefined {
    if (this.type === 'ORIGINAL_DST') return this.#originalDestination(request.originalDestination);
    const hash = this.#hashed ? request.hash : undefined;
    const group: HostGroup | undefined = this.#view.group(this.#environment.random, hash);
    const host = group === undefined ? undefined : this.#balancer(group, this.#environment.random, hash, request.attempt ?? 0);
    if (host === undefined) this.stats.noneHealthy.value++;
    return host;
  }

  pool(host: Host, variant: TransportVariant = PLAIN_VARIANT): UpstreamPool {
    for (const pool of host.pools) if (pool.variant.key === variant.key && !pool.draining) return pool;
    // Variants may come from what clients send (auto_sni): neither empty pools nor idle connections pile up for names nobody asks for again.
    const limits = this.breakers.default;
    if (limits.connectionsFull) for (const other of host.pools) other.closeIdle();
    if (host.pools.length >= POOLS_KEPT) host.pools = host.pools.filter((other) => other.size > 0);
    const Pool = variant.protocol === 'http2' ? Http2Pool : variant.protocol === 'auto' ? AutoPool : Http1Pool;
    const named = host.hostname === '' ? variant : { ...variant, hostname: host.hostname };
    const pool = new Pool(host, this.transportOf(host), named, this.#settings, limits);
    // A request of a replaced cluster that tries again: its connection ends with it.
    if (this.#retired) pool.drain();
    host.pools.push(pool);
    return pool;
  }

  transportOf(host: Host): UpstreamTransport {
    return host.transport ?? this.#defaultTransport;
  }

  /** `meant`: the status outlier detection judges, where the response says more than its own. */
  responded(host: Host, status: number, meant: number): void {
    if (status >= 500) host.stats.rqError++;
    else host.stats.rqSuccess++;
    this.stats.rqCompleted.value++;
    const byClass = this.stats.rqByClass[Math.floor(status / 100)];
    if (byClass !== undefined) byClass.value++;
    this.#outlier?.response(host, meant);
  }

  failed(host: Host, kind: 'connect' | 'timeout' | 'reset'): void {
    host.stats.rqError++;
    if (kind === 'timeout') host.stats.rqTimeout++;
    this.#outlier?.localFailure(host, kind);
  }

  /** Connections close as they fall idle; running requests go on. */
  retire(): void {
    if (this.#retired) return;
    this.#retired = true;
    this.#outlier?.close();
    this.#dns?.close();
    this.breakers.default.retire();
    this.breakers.high.retire();
    for (const host of this.#hosts.values()) {
      host.removed = true;
      host.state.close();
      for (const pool of host.pools) pool.drain();
    }
    this.#closeTransports();
  }

  #closeTransports(): void {
    this.#defaultTransport.close();
    for (const match of this.#transportMatches) match.transport.close();
  }

  destroy(): void {
    this.retire();
    for (const host of this.#hosts.values()) for (const pool of host.pools) pool.destroy();
  }

  #transportFor(metadata: unknown): UpstreamTransport {
    if (this.#transportMatches.length === 0) return this.#defaultTransport;
    const facts = (metadata as { filter_metadata?: { [key: string]: JsonObject } } | undefined)?.filter_metadata?.[
      'envoy.transport_socket_match'
    ];
    for (const { match, transport } of this.#transportMatches) {
      const wanted = Object.entries(match);
      if (wanted.every(([key, value]) => facts !== undefined && JSON.stringify(facts[key]) === JSON.stringify(value))) return transport;
    }
    return this.#defaultTransport;
  }

  #originalDestination(destination: { readonly ip: string; readonly port: number } | undefined): Host | undefined {
    if (destination === undefined) return undefined;
    const port = this.config.original_dst_lb_config?.upstream_port_override ?? destination.port;
    const key = `|${destination.ip}:${port}`;
    let host = this.#hosts.get(key);
    if (host !== undefined) return host;
    if (this.#hosts.size >= ORIGINAL_DST_HOSTS_MAX) this.#dropIdleHosts();
    host = new Host(destination.ip, port);
    host.state = this.#stateOf(key);
    host.transport = this.#transportFor(undefined);
    this.#hosts.set(key, host);
    this.#hostList.push(host);
    return host;
  }

  #dropIdleHosts(): void {
    for (const [key, host] of this.#hosts)
      if (host.stats.rqActive === 0 && host.stats.cxActive === 0) {
        this.#hosts.delete(key);
        host.state.close();
      }
    this.#hostList = [...this.#hosts.values()];
  }

  #stateOf(hostKey: string): HostState {
    return this.#environment.sharing.host(`${hostKey}\n${this.#key}`);
  }

  /** Another worker waits for a connection: those that nobody uses are given up for it. */
  #giveConnections(): void {
    for (const host of this.#hosts.values()) for (const pool of host.pools) if (this.breakers.default.connectionsWanted) pool.closeIdle();
  }

  #healthChanged(): void {
    this.#view = new HealthView(this.#membership, this.#panicThreshold, this.#byLocality, this.#environment.random, this.#hashed);
    this.stats.membershipTotal.value = this.#hostList.length;
    this.stats.membershipHealthy.value = this.#hostList.reduce((n, h) => n + (h.healthy ? 1 : 0), 0);
    this.stats.ejectionsActive.value = this.#hostList.reduce((n, h) => n + (h.ejected ? 1 : 0), 0);
  }
}

const compileTransports = (config: Cluster, environment: ClusterEnvironment) => {
  const made: UpstreamTransport[] = [];
  const compile = (socket: Cluster['transport_socket'], path: string): UpstreamTransport => {
    const transport = compileUpstreamTransport(socket, environment.secrets, path, () => environment.changed());
    made.push(transport);
    return transport;
  };
  try {
    const byDefault = compile(config.transport_socket, 'transport_socket');
    const matches: TransportMatch[] = (config.transport_socket_matches ?? []).map((m, i) => ({
      match: m.match ?? {},
      transport: compile(m.transport_socket, `transport_socket_matches[${i}].transport_socket`),
    }));
    return { byDefault, matches };
  } catch (problem) {
    for (const transport of made) transport.close();
    throw problem;
  }
};

const refuse = (config: Cluster): void => {
  const [seconds, nanos] = parseDuration(config.connect_timeout ?? '1s') ?? [0, 0];
  if (seconds <= 0 && nanos <= 0) throw new PlanError('connect_timeout', `"${config.connect_timeout}" is not a duration above 0s`);
  for (const field of REFUSED) if (config[field] !== undefined) throw new PlanError(field, 'not supported');
  if ((config.health_checks?.length ?? 0) > 0) throw new PlanError('health_checks', 'active health checks are not supported yet');
  if (config.lb_subset_config !== undefined && (config.lb_subset_config.subset_selectors?.length ?? 0) > 0)
    throw new PlanError(LB_SUBSET, 'subsets are not supported');
  const header = config.original_dst_lb_config;
  if (header?.metadata_key !== undefined) throw new PlanError('original_dst_lb_config.metadata_key', 'not supported');
};

/** Envoy's, where a cluster names no other. */
const ORIGINAL_DST_HEADER = 'x-envoy-original-dst-host';

const preconnectRatio = (config: Cluster): number => {
  const policy = config.preconnect_policy;
  if (policy?.predictive_preconnect_ratio !== undefined)
    throw new PlanError('preconnect_policy.predictive_preconnect_ratio', 'not supported');
  return policy?.per_upstream_preconnect_ratio ?? 1;
};

const bindAddress = (config: Cluster): string | undefined => {
  const address = config.upstream_bind_config?.source_address?.address ?? '';
  if (address === '' || address === '0.0.0.0' || address === '::') return undefined;
  if (isIP(address) === 0) throw new PlanError('upstream_bind_config.source_address.address', `${address} is not an IP address`);
  return address;
};
