// A data plane without sockets for tests of what configures it: keeps what it was given, knows what that refers to.
import { PlanError } from '../../src/plan/plan-error.ts';
import { compileBreakers, LocalLimits } from '../../src/proxy/cluster/circuit-breaker.ts';
import { Host } from '../../src/proxy/cluster/host.ts';
import type { ClusterView, DataPlane, ListenerView } from '../../src/proxy/data-plane.ts';
import type { HostOutcome, HostUpdate } from '../../src/proxy/exchange/route-table.ts';
import type { Demanded, DemandKind } from '../../src/proxy/on-demand/demand.ts';
import { StatsStore } from '../../src/proxy/stats-store.ts';
import type {
  Cluster,
  ClusterLoadAssignment,
  ConfigSource,
  Core_TypedExtensionConfig,
  Listener,
  RouteConfiguration,
  Secret,
} from '../../src/xds/gen/types.ts';

export class FakeDataPlane implements DataPlane {
  readonly stats = new StatsStore();
  readonly calls: string[] = [];
  readonly clusterMap = new Map<string, Cluster>();
  readonly listenerMap = new Map<string, Listener>();
  readonly routeMap = new Map<string, RouteConfiguration>();
  readonly endpointMap = new Map<string, ClusterLoadAssignment>();
  readonly secretMap = new Map<string, Secret>();
  readonly secretSources = new Map<string, ConfigSource>();
  readonly extensionMap = new Map<string, Core_TypedExtensionConfig>();
  readonly extensionSources = new Map<string, ConfigSource>();
  drained = false;
  #changed: () => void = () => undefined;

  setCluster(c: Cluster): void {
    this.#refuseBad(c.alt_stat_name, 'alt_stat_name');
    this.#did(`+cluster ${c.name}`);
    this.clusterMap.set(c.name ?? '', c);
    this.#changed();
  }
  removeCluster(name: string): void {
    this.#did(`-cluster ${name}`);
    this.clusterMap.delete(name);
    this.#changed();
  }
  setEndpoints(cla: ClusterLoadAssignment): void {
    this.#did(`+endpoints ${cla.cluster_name}`);
    this.endpointMap.set(cla.cluster_name ?? '', cla);
    this.#changed();
  }
  setListener(l: Listener): void {
    this.#refuseBad(l.stat_prefix, 'stat_prefix');
    this.#did(`+listener ${l.name}`);
    this.listenerMap.set(l.name ?? '', l);
    this.#changed();
  }
  removeListener(name: string): void {
    this.#did(`-listener ${name}`);
    this.listenerMap.delete(name);
    this.#changed();
  }
  setRoutes(rc: RouteConfiguration): void {
    this.#did(`+routes ${rc.name}`);
    this.routeMap.set(rc.name ?? '', rc);
    this.#changed();
  }
  removeRoutes(name: string): void {
    this.#did(`-routes ${name}`);
    this.routeMap.delete(name);
    this.#changed();
  }
  setSecret(s: Secret): void {
    this.#did(`+secret ${s.name}`);
    this.secretMap.set(s.name ?? '', s);
    this.#changed();
  }
  removeSecret(name: string): void {
    this.#did(`-secret ${name}`);
    this.secretMap.delete(name);
    this.#changed();
  }

  readonly hostUpdates: HostUpdate[] = [];
  readonly absent: string[] = [];
  wanted: Demanded = { host: new Set(), cluster: new Set(), listener: new Set() };
  demanded(): Demanded {
    return this.wanted;
  }
  updateHosts(update: HostUpdate): HostOutcome {
    this.hostUpdates.push(update);
    return { problems: [], gone: [] };
  }
  notThere(kind: DemandKind, name: string): void {
    this.absent.push(`${kind} ${name}`);
  }
  /** Somebody needs other things now. */
  want(wanted: Partial<Demanded>): void {
    this.wanted = { ...this.wanted, ...wanted };
    this.#changed();
  }
  setExtension(e: Core_TypedExtensionConfig): void {
    this.#refuseBad(e.typed_config === undefined ? 'bad' : undefined, 'typed_config');
    this.#did(`+extension ${e.name}`);
    this.extensionMap.set(e.name ?? '', e);
    this.#changed();
  }
  removeExtension(name: string): void {
    this.#did(`-extension ${name}`);
    this.extensionMap.delete(name);
    this.#changed();
  }
  giveUpExtension(name: string): void {
    this.#did(`?extension ${name}`);
    this.#changed();
  }
  referencedExtensions(): ReadonlyMap<string, ConfigSource> {
    return this.extensionSources;
  }
  extensions(): Iterable<Core_TypedExtensionConfig> {
    return this.extensionMap.values();
  }
  referencedSecrets(): ReadonlyMap<string, ConfigSource> {
    return this.secretSources;
  }
  referencedRoutes(): ReadonlySet<string> {
    return new Set([...this.listenerMap.values()].flatMap(routeNames));
  }
  referencedEndpoints(): ReadonlySet<string> {
    return new Set([...this.clusterMap.values()].filter((c) => c.type === 'EDS').map(endpointsName));
  }

  *clusters(): Iterable<ClusterView> {
    for (const [name, config] of this.clusterMap) {
      const assignment = config.type === 'EDS' ? this.endpointMap.get(endpointsName(config)) : config.load_assignment;
      yield {
        name,
        config,
        warm: config.type !== 'EDS' || assignment !== undefined,
        assignment,
        hosts: () => hostsOf(assignment),
        breakers: compileBreakers(config.circuit_breakers, (_priority, bounds) => new LocalLimits(bounds)),
      };
    }
  }
  *listeners(): Iterable<ListenerView> {
    for (const [name, config] of this.listenerMap) {
      const warm = routeNames(config).every((n) => this.routeMap.has(n));
      yield { name, config, warm, localAddress: '127.0.0.1:15001', bound: warm, activeConnections: 0 };
    }
  }
  routes(): Iterable<RouteConfiguration> {
    return this.routeMap.values();
  }
  secrets(): Iterable<Secret> {
    return this.secretMap.values();
  }
  onChange(changed: () => void): void {
    this.#changed = changed;
  }
  get ready(): boolean {
    return [...this.clusters()].every((c) => c.warm) && [...this.listeners()].every((l) => l.warm);
  }
  bindFailures(): ReadonlyMap<string, string> {
    return new Map();
  }
  readonly connections = 0;
  drainGracefully(): void {}
  stopListening(): void {}
  failHealth(): void {}
  async settled(): Promise<void> {}
  drain(): void {
    this.drained = true;
  }
  async close(): Promise<void> {}

  #did(what: string): void {
    this.calls.push(what);
  }
  #refuseBad(value: string | undefined, path: string): void {
    if (value?.startsWith('bad')) throw new PlanError(path, 'is bad');
  }
}

const endpointsName = (c: Cluster): string => c.eds_cluster_config?.service_name || (c.name ?? '');

const routeNames = (l: Listener): string[] =>
  (l.filter_chains ?? []).flatMap((chain) =>
    (chain.filters ?? []).flatMap((f) => {
      const rds = (f.typed_config as { rds?: { route_config_name?: string } } | undefined)?.rds;
      return rds?.route_config_name ? [rds.route_config_name] : [];
    }),
  );

const hostsOf = (assignment: ClusterLoadAssignment | undefined): ReturnType<ClusterView['hosts']> =>
  (assignment?.endpoints ?? []).flatMap((locality) =>
    (locality.lb_endpoints ?? []).map((e) => {
      const at = e.endpoint?.address?.socket_address;
      return {
        address: `${at?.address}:${at?.port_value}`,
        hostname: '',
        locality: locality.locality,
        priority: locality.priority ?? 0,
        weight: e.load_balancing_weight ?? 1,
        edsHealth: e.health_status === undefined ? undefined : String(e.health_status),
        ejected: false,
        checks: new Host('127.0.0.1', 1).checks,
        metadata: e.metadata,
        stats: { cxActive: 0, cxTotal: 2, cxConnectFail: 0, rqActive: 1, rqTotal: 5, rqSuccess: 4, rqError: 1, rqTimeout: 0 },
      };
    }),
  );
