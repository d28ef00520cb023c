// A listener by name: its sockets (kept over updates) and its current compiled state (replaced whole). Connections hold the state
// they were accepted under.

import type { Socket } from 'node:net';
import { compileFilterChains, type FilterChainPlan } from '../../plan/filter-chain.ts';
import { PlanError } from '../../plan/plan-error.ts';
import { LISTENERS_ON_DEMAND } from '../../xds/client-features.ts';
import type { Listener } from '../../xds/gen/types.ts';
import { durationMs } from '../../xds/well-known.ts';
import { addressText } from '../connection-facts.ts';
import type { ListenerContext } from '../exchange/observer.ts';
import type { RouteTables } from '../exchange/route-table.ts';
import { typeNameOf } from '../extension-config.ts';
import { type ConnectionRate, listenerRate } from '../filters/local-rate-limit-network.ts';
import { LISTENER_FILTERS_TIMEOUT_MS } from '../limits.ts';
import type { Overload } from '../overload.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import type { Count, Sharing } from '../shared-counts.ts';
import { unsentLimit } from '../sockets/unsent-limit.ts';
import type { Stat, StatsStore } from '../stats-store.ts';
import { type ChainRuntime, compileChain } from './filter-chain-runtime.ts';
import { bindAddresses, bindsToPort, type ListenerAddress, ListenerSocket } from './listener-socket.ts';
import { listenerStatPrefix } from './listener-stats.ts';
import type { SocketSource } from './listening-sockets.ts';
import { ProxyProtocolFilter } from './proxy-protocol.ts';

/** One compiled version of a listener. */
export class ListenerState {
  readonly config: Listener;
  readonly plan: FilterChainPlan;
  readonly chains: readonly ChainRuntime[];
  readonly defaultChain: ChainRuntime | undefined;
  readonly context: ListenerContext;
  readonly usesOriginalDestination: boolean;
  /** How long a connection waits for the listener of its address; undefined: none is asked for. */
  readonly listenerWaitMs: number | undefined;
  readonly inspects: boolean;
  /** Some chain is the end of its client's TLS. */
  readonly endsTls: boolean;
  readonly filtersTimeoutMs: number;
  readonly continueOnTimeout: boolean;
  /** Bytes that may wait unsent for a client before its upstream is not read. */
  readonly unsentBytes: number;
  /** Connections begin with a PROXY protocol header. */
  readonly proxyProtocol: ProxyProtocolFilter | undefined;
  readonly rates: readonly ConnectionRate[];
  readonly #stats: StatsStore;
  #connections = 0;
  #replaced = false;

  constructor(config: Listener, env: ProxyEnvironment, tables: RouteTables, changed: () => void) {
    this.config = config;
    this.#stats = env.stats;
    if (config.api_listener !== undefined || config.udp_listener_config !== undefined || config.internal_listener !== undefined)
      throw new PlanError('api_listener', 'only TCP listeners are supported');
    refuseUnsupported(config);
    if (config.filter_chain_matcher !== undefined) throw new PlanError('filter_chain_matcher', 'not supported');
    const filters = (config.listener_filters ?? []).map((f, i) =>
      listenerFilter(f.name ?? '', typeNameOf(f.typed_config), `listener_filters[${i}]`),
    );
    this.listenerWaitMs = env.asksOnDemand ? listenerWait(config) : undefined;
    this.usesOriginalDestination = config.use_original_dst === true || filters.includes('original_dst');
    this.filtersTimeoutMs =
      config.listener_filters_timeout === undefined ? LISTENER_FILTERS_TIMEOUT_MS : durationMs(config.listener_filters_timeout);
    this.unsentBytes = unsentLimit(config.per_connection_buffer_limit_bytes);
    this.continueOnTimeout = config.continue_on_listener_filters_timeout ?? false;
    const proxied = filters.indexOf('proxy_protocol');
    if (proxied >= 0 && filters.slice(0, proxied).some((f) => f !== 'original_dst' && f !== 'local_ratelimit'))
      throw new PlanError(`listener_filters[${proxied}]`, 'must stand before filters that look at first bytes');
    this.proxyProtocol =
      proxied < 0
        ? undefined
        : new ProxyProtocolFilter(config.listener_filters?.[proxied]?.typed_config, env.stats, `listener_filters[${proxied}].typed_config`);
    this.rates = filters.flatMap((kind, i) => {
      const path = `listener_filters[${i}].typed_config`;
      if (kind !== 'local_ratelimit') return [];
      const version = env.sharing.version(config.name ?? '', config);
      return [listenerRate(config.listener_filters?.[i]?.typed_config, env, path, `${version}\n${path}`)];
    });
    this.plan = compileFilterChains(config);
    this.inspects = this.plan.readsFirstBytes || filters.includes('tls_inspector') || filters.includes('http_inspector');
    const chains: ChainRuntime[] = [];
    try {
      config.filter_chains?.forEach((chain, i) => {
        chains.push(compileChain(chain, config, env, tables, `filter_chains[${i}]`, changed));
      });
      this.chains = chains;
      this.endsTls = chains.some((chain) => chain.tls !== undefined);
      this.defaultChain =
        config.default_filter_chain === undefined
          ? undefined
          : compileChain(config.default_filter_chain, config, env, tables, 'default_filter_chain', changed);
    } catch (problem) {
      for (const chain of chains) chain.close();
      throw problem;
    }
    this.context = {
      kind: 'listener',
      listenerName: config.name ?? '',
      direction: config.traffic_direction,
      statPrefix: config.stat_prefix ?? '',
      accessLog: config.access_log ?? [],
      filters: [],
      observed: undefined,
    };
    env.observer.prepare(this.context, env);
  }

  /** Every chain has its secrets and routes. */
  get warm(): boolean {
    return this.chains.every((c) => c.warm) && this.defaultChain?.warm !== false;
  }

  /** False: more connections than may have begun. */
  mayBegin(): boolean {
    return this.rates.every((admits) => admits());
  }

  /** One of Envoy's counters of connections that come to nothing. */
  count(stat: string): void {
    this.#stats.counter(listenerStatPrefix(this.config) + stat).value++;
  }

  opened(): void {
    this.#connections++;
  }

  closed(): void {
    this.#connections--;
    this.#releaseWhenUnused();
  }

  get connections(): number {
    return this.#connections;
  }

  replace(): void {
    this.#replaced = true;
    this.#releaseWhenUnused();
  }

  #releaseWhenUnused(): void {
    if (!this.#replaced || this.#connections > 0) return;
    this.#replaced = false;
    for (const chain of this.chains) chain.close();
    this.defaultChain?.close();
  }
}

const listenerWait = (config: Listener): number | undefined => {
  const asking = config.metadata?.filter_metadata?.[LISTENERS_ON_DEMAND];
  const timeout = asking?.['timeout'];
  return asking === undefined ? undefined : durationMs(typeof timeout === 'string' ? timeout : LISTENER_WAIT);
};
const LISTENER_WAIT = '5s';

const FILTERS: { readonly [key: string]: 'original_dst' | 'tls_inspector' | 'http_inspector' | 'proxy_protocol' | 'local_ratelimit' } = {
  'envoy.extensions.filters.listener.local_ratelimit.v3.LocalRateLimit': 'local_ratelimit',
  'envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol': 'proxy_protocol',
  'envoy.extensions.filters.listener.original_dst.v3.OriginalDst': 'original_dst',
  'envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector': 'tls_inspector',
  'envoy.extensions.filters.listener.http_inspector.v3.HttpInspector': 'http_inspector',
};
const listenerFilter = (name: string, type: string, path: string) => {
  const known = FILTERS[type];
  if (known === undefined) throw new PlanError(path, `listener filter ${name} (${type}) is not supported`);
  return known;
};

/** Fields that would change what a connection meets, and that are not honoured. */
const refuseUnsupported = (config: Listener): void => {
  if (config.connection_balance_config?.extend_balance !== undefined)
    throw new PlanError('connection_balance_config.extend_balance', 'not supported');
  if (config.transparent === true) throw new PlanError('transparent', 'not supported');
  if (config.enable_mptcp === true) throw new PlanError('enable_mptcp', 'not supported');
  const perEvent = config.max_connections_to_accept_per_socket_event;
  if (perEvent === 0) throw new PlanError('max_connections_to_accept_per_socket_event', 'value must be greater than 0');
};

export class ListenerRuntime {
  readonly name: string;
  /** In use; undefined while the first version is warming. */
  active: ListenerState | undefined;
  /** Waiting for its secrets or routes. */
  warming: ListenerState | undefined;
  readonly #source: SocketSource;
  /** By configured address: bound, and listening once the configuration is in force. */
  readonly #sockets = new Map<string, ListenerSocket>();
  /** Why an address is not served, while it is not. */
  bindFailure = '';
  /** Resolves when the pending bind is done; undefined when none is. */
  binding: Promise<void> | undefined;

  readonly #stats: StatsStore;
  readonly #most: number;
  /** Of all workers. */
  readonly #connections: Count;
  /** Of this one. */
  #open = 0;
  #prefix = '';
  #total: Stat | undefined;
  #active: Stat | undefined;
  #destroyed: Stat | undefined;

  /** `most`: connections that it may have at once. */
  constructor(name: string, source: SocketSource, stats: StatsStore, most: number, sharing: Sharing) {
    this.#connections = sharing.count(`listener\n${name}`);
    this.name = name;
    this.#source = source;
    this.#stats = stats;
    this.#most = most;
  }

  get config(): Listener {
    return (this.active ?? this.warming)?.config ?? {};
  }
  get warm(): boolean {
    return this.active !== undefined && this.warming === undefined;
  }
  /** It is to be bound and is not. */
  get wantsPort(): boolean {
    return !this.bound && (this.active === undefined || bindsToPort(this.active.config));
  }

  get bound(): boolean {
    return this.#sockets.size > 0 && [...this.#sockets.values()].every((s) => s.listening);
  }
  get localAddress(): string {
    return this.#sockets.get(this.key)?.localAddress ?? this.key;
  }
  get activeConnections(): number {
    return this.active?.connections ?? 0;
  }
  get key(): string {
    const address = this.config.address;
    return address?.pipe?.path ?? addressText(address?.socket_address?.address ?? '', address?.socket_address?.port_value ?? 0);
  }

  holds(key: string): boolean {
    return this.#sockets.has(key);
  }

  /**
   * Takes the addresses that a new version asks for, before it is in force: one that cannot be had refuses the version. What
   * `elsewhere` holds is left for later: its owner may be on the way out. Throws PlanError.
   */
  reserve(config: Listener, elsewhere: (key: string) => boolean): void {
    const taken: string[] = [];
    try {
      for (const address of bindAddresses(config)) {
        if (this.#sockets.has(address.key) || elsewhere(address.key)) continue;
        this.#sockets.set(address.key, new ListenerSocket(address, this.#source));
        taken.push(address.key);
      }
    } catch (problem) {
      for (const key of taken) this.#drop(key);
      throw new PlanError('address', problem instanceof Error ? problem.message : String(problem));
    }
  }

  /** Listens on what the active state asks for; an unchanged address keeps its socket. */
  bind(accept: (listener: ListenerRuntime, socket: Socket) => void, done: () => void): void {
    const config = this.active?.config;
    if (config === undefined) return;
    const wanted = bindAddresses(config);
    this.#dropAllBut(wanted);
    this.bindFailure = '';
    const pending: Promise<string>[] = [];
    for (const address of wanted) {
      try {
        const socket = this.#sockets.get(address.key) ?? new ListenerSocket(address, this.#source);
        this.#sockets.set(address.key, socket);
        const listening = socket.listen(config.tcp_backlog_size ?? 1024, (connection) => accept(this, connection));
        if (listening !== undefined) pending.push(listening);
      } catch (problem) {
        this.bindFailure = problem instanceof Error ? problem.message : String(problem);
      }
    }
    if (pending.length === 0) {
      done();
      return;
    }
    const binding = Promise.all(pending).then((failures) => {
      if (this.binding === binding) this.binding = undefined;
      this.bindFailure = failures.find((f) => f !== '') ?? this.bindFailure;
      for (const [key, socket] of this.#sockets) if (socket.failed) this.#drop(key);
      done();
    });
    this.binding = binding;
  }

  /** Whether one more connection may be served, and counts it, here and in `total`; counts one that may not. */
  admits(overload: Overload, total: Count): boolean {
    const { ignore_global_conn_limit: ignoresTotal, bypass_overload_manager: bypasses } = this.config;
    if (bypasses !== true && overload.refusesConnection) return this.#refused('downstream_cx_overload_reject');
    if (!this.#connections.tryTake(this.#most)) return this.#refused('downstream_cx_overflow');
    if (total.tryTake(ignoresTotal === true ? Infinity : overload.maxConnections)) return true;
    this.#connections.release();
    return this.#refused('downstream_global_cx_overflow');
  }

  accepted(): void {
    if (this.#total === undefined) {
      this.#total = this.#stat('downstream_cx_total');
      this.#destroyed = this.#stat('downstream_cx_destroy');
      this.#active = this.#stats.gauge(`${this.#statPrefix}downstream_cx_active`);
    }
    this.#open++;
    this.#total.value++;
    if (this.#active !== undefined) this.#active.value = this.#open;
  }

  over(): void {
    this.#open--;
    this.#connections.release();
    if (this.#destroyed !== undefined) this.#destroyed.value++;
    if (this.#active !== undefined) this.#active.value = this.#open;
  }

  /** Accepts nothing for now; its addresses stay. */
  pause(): void {
    for (const socket of this.#sockets.values()) socket.pause();
  }

  /** It is removed: its statistics are to be forgotten. */
  dropStats(): void {
    this.#connections.close();
    if (this.#prefix !== '') this.#stats.drop(this.#prefix);
  }

  #refused(stat: string): false {
    this.#stat(stat).value++;
    return false;
  }

  #stat(name: string): Stat {
    return this.#stats.counter(this.#statPrefix + name);
  }

  get #statPrefix(): string {
    if (this.#prefix === '') this.#prefix = `listener.${this.config.stat_prefix || this.localAddress.replaceAll(':', '_')}.`;
    return this.#prefix;
  }

  /** Stops accepting; connections live on. What is `wanted` by another listener is left to it. */
  unbind(wanted: (key: string) => boolean = () => false): void {
    for (const key of [...this.#sockets.keys()]) this.#drop(key, wanted(key));
  }

  // A version in force says what is wanted; one that is warming keeps what it has reserved.
  #dropAllBut(wanted: readonly ListenerAddress[]): void {
    const keep = new Set(wanted.map((a) => a.key));
    const warming = this.warming === undefined ? [] : bindAddresses(this.warming.config);
    for (const { key } of warming) keep.add(key);
    for (const key of [...this.#sockets.keys()]) if (!keep.has(key)) this.#drop(key);
  }

  #drop(key: string, leave = false): void {
    const socket = this.#sockets.get(key);
    this.#sockets.delete(key);
    socket?.close(leave);
  }
}
