// One cluster at work: its endpoints, balancing, limits, outlier detection and connection pools. It lives until it is replaced or
// removed; endpoints come and go under it and keep their connections while their address stays.

import { isIP } from 'node:net';
import { PlanError } from '../../plan/plan-error.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import type { Http1Writer } from '../../wire/http1-writer.ts';
import type { Cluster, ClusterLoadAssignment } from '../../xds/gen/types.ts';
import { durationMs, parseDuration } from '../../xds/well-known.ts';
import { HostPicker, type HostWish } from '../balance/host-picker.ts';
import type { Membership } from '../balance/host-set.ts';
import { compileLbPlan, type LbPlan } from '../balance/lb-plan.ts';
import { PeakEwma } from '../balance/peak-ewma.ts';
import type { LocalCluster } from '../balance/zone-aware.ts';
import { compileHealth } from '../health/health-plan.ts';
import { CONNECT_TIMEOUT_MS, ORIGINAL_DST_HOSTS_MAX, POOLS_KEPT } from '../limits.ts';
import type { Sharing } from '../shared-counts.ts';
import type { TurnOutput } from '../sockets/turn-output.ts';
import { unsentLimit } from '../sockets/unsent-limit.ts';
import type { StatsStore } from '../stats-store.ts';
import { callbackTimer, type TimerWheel, type WheelTimer } from '../timer-wheel.ts';
import { ClusterTransports } from '../transport/cluster-transports.ts';
import { clusterExchangesPeers } from '../transport/peer-exchange.ts';
import type { SecretStore } from '../transport/secrets.ts';
import { PLAIN_VARIANT, type TransportVariant, type UpstreamTransport } from '../transport/upstream-transport.ts';
import { AutoPool } from '../upstream/upstream-auto-pool.ts';
import { Http2Pool } from '../upstream/upstream-http2-pool.ts';
import { Http1Pool, type PoolSettings } from '../upstream/upstream-pool.ts';
import type { UpstreamPool } from '../upstream/upstream-stream.ts';
import { type Breakers, compileBreakers } from './circuit-breaker.ts';
import { ClusterHealth, type HealthRules } from './cluster-health.ts';
import { type ClusterProtocol, compileClusterProtocol } from './cluster-protocol.ts';
import { type ClusterStats, countAnswer, createClusterStats, pickerStats, tellBreakers } from './cluster-stats.ts';
import type { DnsLookup } from './dns-lookup.ts';
import { DnsResolution } from './dns-resolution.ts';
import { Host } from './host.ts';
import type { HostState } from './host-state.ts';
import { buildMembership } from './membership.ts';
import { compileOutlier } from './outlier.ts';
import { compileErrorAnswers } from './outlier-answers.ts';
import { compileWantedDestination, type WantedDestination } from './wanted-destination.ts';

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
  /** The cluster this proxy belongs to, where the bootstrap names it. */
  readonly localCluster?: () => LocalCluster | undefined;
  /** Warmth or membership changed. */
  readonly changed: () => void;
}

/** What a request knows that choosing a host may need. */
export interface PickRequest extends HostWish {
  readonly originalDestination: { readonly ip: string; readonly port: number } | undefined;
}

const REFUSED = ['cluster_type', 'upstream_config'] as const;

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
  readonly #plan: LbPlan;
  readonly #picker: HostPicker;
  readonly #transports: ClusterTransports;
  readonly #health: ClusterHealth | undefined;
  /** Answers' headers say something about their host. */
  readonly #watchesHeaders: boolean;
  /** In which a host's answers are forgotten; 0: they are not remembered. */
  readonly #ewmaDecayMs: number;
  readonly #dns: DnsResolution | undefined;
  readonly #hosts = new Map<string, Host>();
  #hostList: Host[] = [];
  #membership: Membership = { priorities: [], overprovisioning: 140 };
  #assignment: ClusterLoadAssignment | undefined;
  #retired = false;
  #wasWarm = false;
  readonly #boundsPools: boolean;
  #stale: WheelTimer | undefined;
  /** More than one variant is possible: pools are looked up by key. */
  readonly hasVariants: boolean;
  /** TCP connections tell each other who their ends are, where both agree to. */
  readonly exchangesPeers: boolean;
  /** Where a request says it goes (ORIGINAL_DST); undefined: nothing that it says is listened to. */
  readonly wantedDestination: WantedDestination | undefined;
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
    this.breakers = compileBreakers(
      config.circuit_breakers,
      (priority, bounds) => environment.sharing.limits(`${priority}\n${this.#key}`, bounds, () => this.#giveConnections()),
      () => environment.wheel.now(),
    );
    this.#boundsPools = config.circuit_breakers?.thresholds?.some((t) => t.max_connection_pools !== undefined) === true;
    this.#plan = compileLbPlan(config);
    this.#ewmaDecayMs = this.#plan.policy.kind === 'peak-ewma' ? this.#plan.policy.decayMs : 0;
    const rules: HealthRules = {
      outlier: config.outlier_detection === undefined ? undefined : compileOutlier(config.outlier_detection),
      checks: compileHealth(config, this.protocol.kind === 'http2' || this.protocol.kind === 'downstream'),
      errorAnswers: compileErrorAnswers(config),
    };
    this.#watchesHeaders = rules.checks !== undefined || rules.errorAnswers !== undefined || rules.outlier?.degrades === true;
    const source = bindAddress(config) ?? environment.bindAddress;
    // Nothing before this line holds anything; what fails behind it gives back what it holds.
    this.stats = createClusterStats(environment.stats, this.statName);
    tellBreakers(environment.stats, this.statName, this.breakers, () => this.#poolsInUse());
    this.#transports = new ClusterTransports(config, environment, this.statName, () => this.#drainPools());
    if (this.protocol.kind === 'auto' && !this.#transports.allTls) {
      this.#transports.close();
      throw new PlanError('auto_config', 'needs TLS: only its handshake can choose the protocol');
    }
    this.exchangesPeers = clusterExchangesPeers(config.filters);
    this.wantedDestination = compileWantedDestination(config.original_dst_lb_config);
    this.tellsClient = this.#transports.tellsClient;
    this.hasVariants = this.#transports.anyTls;
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
    this.#picker = new HostPicker(
      this.#plan,
      {
        random: environment.random,
        now: () => environment.wheel.now(),
        active: () => this.stats.rqActive.value,
        local: () => environment.localCluster?.(),
      },
      pickerStats(environment.stats, this.statName),
    );
    this.#health = this.#makeHealth(rules);
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
    return this.#transports.warm && this.#health?.warm !== false;
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

  hosts(): Iterable<Host> {
    return this.#hostList;
  }

  get membership(): Membership {
    return this.#membership;
  }
  get panicThreshold(): number {
    return this.#plan.panicThreshold;
  }

  /** Refuses an assignment it cannot use (PlanError); what was there stays. */
  setAssignment(assignment: ClusterLoadAssignment): void {
    const { membership, hosts } = buildMembership(assignment, this.#hosts, this.type === 'LOGICAL_DNS', (host) => this.#staysFor(host));
    this.#assignment = assignment;
    this.#staleAfter(assignment);
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
    let added = 0;
    for (const host of hosts) {
      if (!this.#hosts.has(host.key)) {
        host.addedAtMs = now;
        host.state = this.#stateOf(host.key);
        added++;
      }
      this.#health?.admit(host);
      this.#hosts.set(host.key, host);
      const transport = this.#transports.forMetadata(host.metadata);
      if (host.transport !== transport) {
        for (const pool of host.pools) pool.drain();
        host.pools = [];
        host.transport = transport;
      }
    }
    this.#hostList = hosts;
    this.#membership = membership;
    this.stats.updateSuccess.value++;
    this.#picker.setMembership(membership);
    this.#healthChanged();
    if (this.config.common_lb_config?.close_connections_on_host_set_change === true && added + gone.length > 0)
      for (const host of hosts) for (const pool of host.pools) pool.drain();
    this.#environment.changed();
    if (!this.#retired) this.#health?.setHosts(hosts);
    // Last: who waited for them chooses from what is there now.
    for (const host of gone) for (const pool of host.pools) pool.leave();
  }

  /** Endpoints that nobody renews in their time are gone. */
  #staleAfter(assignment: ClusterLoadAssignment): void {
    const { wheel } = this.#environment;
    const ms = this.type === 'EDS' ? durationMs(assignment.policy?.endpoint_stale_after ?? '0s') : 0;
    if (this.#stale !== undefined) wheel.drop(this.#stale);
    this.#stale = ms > 0 ? callbackTimer(() => this.setAssignment({ cluster_name: assignment.cluster_name })) : undefined;
    if (this.#stale !== undefined) wheel.arm(this.#stale, ms);
  }

  /** What all clusters choose by has changed: where this proxy's own cluster is. */
  localClusterChanged(): void {
    if (this.#plan.zones !== undefined) this.#picker.healthChanged();
  }

  /** A host for a request, or undefined when none may be used. */
  pick(request: PickRequest): Host | undefined {
    if (this.type === 'ORIGINAL_DST') return this.#originalDestination(request.originalDestination);
    const host = this.#picker.pick(request);
    if (host === undefined) this.stats.noneHealthy.value++;
    else if (this.#boundsPools && this.#lacksPool(host)) return undefined;
    return host;
  }

  pool(host: Host, variant: TransportVariant = PLAIN_VARIANT): UpstreamPool {
    this.#health?.used(host);
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

  /** It would need one pool more than there may be. */
  #lacksPool(host: Host): boolean {
    if (host.pools.some((pool) => pool.size > 0) || this.#poolsInUse() < this.breakers.default.bounds.poolsMax) return false;
    this.stats.cxPoolOverflow.value++;
    return true;
  }

  #poolsInUse(): number {
    let pools = 0;
    for (const host of this.#hosts.values()) for (const pool of host.pools) if (pool.size > 0) pools++;
    return pools;
  }

  #drainPools(): void {
    for (const host of this.#hosts.values()) for (const pool of host.pools) pool.drain();
  }

  transportOf(host: Host): UpstreamTransport {
    return host.transport ?? this.#transports.byDefault;
  }

  /**
   * `meant`: the status outlier detection judges, where the response says more than its own. `headers`: of the response, which is
   * looked at only where that is asked for. `sentMs`: when the attempt began.
   */
  responded(host: Host, status: number, meant: number, headers?: HeaderBlock, sentMs?: number): void {
    if (status >= 500) host.stats.rqError++;
    else host.stats.rqSuccess++;
    countAnswer(this.stats, status);
    this.#health?.answered(host, meant, this.#watchesHeaders ? headers : undefined);
    if (this.#ewmaDecayMs > 0 && sentMs !== undefined) this.#remember(host, sentMs);
  }

  failed(host: Host, kind: 'connect' | 'timeout' | 'reset'): void {
    host.stats.rqError++;
    if (kind === 'timeout') host.stats.rqTimeout++;
    this.#health?.failed(host, kind);
  }

  /** Connections close as they fall idle; running requests go on. */
  retire(): void {
    if (this.#retired) return;
    this.#retired = true;
    this.#health?.close();
    this.#dns?.close();
    if (this.#stale !== undefined) this.#environment.wheel.drop(this.#stale);
    this.breakers.default.retire();
    this.breakers.high.retire();
    for (const host of this.#hosts.values()) {
      host.removed = true;
      host.state.close();
      for (const pool of host.pools) pool.drain();
    }
    this.#transports.close();
  }

  destroy(): void {
    this.retire();
    for (const host of this.#hosts.values()) for (const pool of host.pools) pool.destroy();
  }

  #makeHealth(rules: HealthRules): ClusterHealth | undefined {
    if (rules.outlier === undefined && rules.checks === undefined) return undefined;
    const { stats, wheel, random, sharing } = this.#environment;
    const changed = (): void => {
      this.#healthChanged();
      if (rules.checks !== undefined) this.#checked();
    };
    return new ClusterHealth(rules, {
      config: this.config,
      statName: this.statName,
      stats,
      wheel,
      random,
      transports: this.#transports,
      settings: this.#settings,
      ejections: sharing.ejections(this.#key, changed),
      hosts: () => this.#hostList,
      changed,
    });
  }

  /** After checks: hosts that only stayed while they were well leave, and the cluster may be warm. */
  #checked(): void {
    if (this.#retired) return;
    if (this.#assignment !== undefined && this.#hostList.some((h) => h.leaving && !this.#staysFor(h))) this.setAssignment(this.#assignment);
    else if (!this.#wasWarm && this.warm) {
      this.#wasWarm = true;
      this.#environment.changed();
    }
  }

  /** As Envoy: who is no longer among the endpoints and still answers checks well keeps its requests. */
  #staysFor(host: Host): boolean {
    return (
      host.checked && host.edsHealthy && !host.failed && host.health !== 'unhealthy' && this.config.ignore_health_on_host_removal !== true
    );
  }

  #remember(host: Host, sentMs: number): void {
    const now = this.#environment.wheel.now();
    host.ewma ??= new PeakEwma();
    host.ewma.observe(now - sentMs, now, this.#ewmaDecayMs);
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
    host.transport = this.#transports.byDefault;
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
    this.#picker.healthChanged();
    let [healthy, degraded, excluded, ejected] = [0, 0, 0, 0];
    const now = this.#environment.wheel.now();
    for (const host of this.#hostList) {
      const { health, failed } = host;
      if (health === 'healthy') healthy++;
      else if (health === 'degraded') degraded++;
      if (host.excluded) excluded++;
      if (host.ejected) ejected++;
      // Slow start counts from the check that was passed; connections to a host that failed are not kept.
      if (host.checked && health !== 'unhealthy' && !host.seenHealthy) host.addedAtMs = now;
      if (failed && !host.seenFailed) {
        for (const pool of host.pools) pool.drain();
        for (const socket of host.tied ?? []) socket.destroy();
      }
      host.seenHealthy = health !== 'unhealthy';
      host.seenFailed = failed;
    }
    const { stats } = this;
    stats.membershipTotal.value = this.#hostList.length;
    stats.membershipHealthy.value = healthy;
    stats.membershipDegraded.value = degraded;
    stats.membershipExcluded.value = excluded;
    stats.ejectionsActive.value = ejected;
  }
}

const refuse = (config: Cluster): void => {
  const original = config.type === 'ORIGINAL_DST';
  const own = config.load_balancing_policy === undefined && config.lb_policy === 'CLUSTER_PROVIDED';
  if (own && !original && config.cluster_type === undefined)
    throw new PlanError('lb_policy', 'CLUSTER_PROVIDED is for clusters that find their hosts by themselves');
  const [seconds, nanos] = parseDuration(config.connect_timeout ?? '1s') ?? [0, 0];
  if (seconds <= 0 && nanos <= 0) throw new PlanError('connect_timeout', `"${config.connect_timeout}" is not a duration above 0s`);
  for (const field of REFUSED) if (config[field] !== undefined) throw new PlanError(field, 'not supported');
};

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
