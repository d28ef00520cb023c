// A listener by name: its socket (kept over updates) and its current compiled state (replaced whole). Connections hold the state
// they were accepted under.

import { createServer, type Server, type Socket } from 'node:net';
import { compileFilterChains, type FilterChainPlan } from '../plan/filter-chain.ts';
import { PlanError } from '../plan/plan-error.ts';
import type { Listener } from '../xds/gen/types.ts';
import { durationMs } from '../xds/well-known.ts';
import { addressText } from './connection-facts.ts';
import { typeNameOf } from './extension-config.ts';
import { type ChainRuntime, compileChain } from './filter-chain-runtime.ts';
import { LISTENER_FILTERS_TIMEOUT_MS } from './limits.ts';
import type { ListenerContext } from './observer.ts';
import type { ProxyEnvironment } from './proxy-environment.ts';
import type { RouteTables } from './route-table.ts';

/** One compiled version of a listener. */
export class ListenerState {
  readonly config: Listener;
  readonly plan: FilterChainPlan;
  readonly chains: readonly ChainRuntime[];
  readonly defaultChain: ChainRuntime | undefined;
  readonly context: ListenerContext;
  readonly usesOriginalDestination: boolean;
  readonly inspects: boolean;
  readonly filtersTimeoutMs: number;
  readonly continueOnTimeout: boolean;
  #connections = 0;
  #replaced = false;

  constructor(config: Listener, env: ProxyEnvironment, tables: RouteTables, changed: () => void) {
    this.config = config;
    if (config.api_listener !== undefined || config.udp_listener_config !== undefined || config.internal_listener !== undefined)
      throw new PlanError('api_listener', 'only TCP listeners are supported');
    for (const field of ['transparent', 'freebind'] as const) if (config[field] === true) throw new PlanError(field, 'not supported');
    if (config.filter_chain_matcher !== undefined) throw new PlanError('filter_chain_matcher', 'not supported');
    const filters = (config.listener_filters ?? []).map((f, i) =>
      listenerFilter(f.name ?? '', typeNameOf(f.typed_config), `listener_filters[${i}]`),
    );
    this.usesOriginalDestination = config.use_original_dst === true || filters.includes('original_dst');
    this.filtersTimeoutMs =
      config.listener_filters_timeout === undefined ? LISTENER_FILTERS_TIMEOUT_MS : durationMs(config.listener_filters_timeout);
    this.continueOnTimeout = config.continue_on_listener_filters_timeout ?? false;
    this.plan = compileFilterChains(config);
    this.inspects = this.plan.readsFirstBytes || filters.includes('tls_inspector') || filters.includes('http_inspector');
    const chains: ChainRuntime[] = [];
    try {
      config.filter_chains?.forEach((chain, i) => {
        chains.push(compileChain(chain, config, env, tables, `filter_chains[${i}]`, changed));
      });
      this.chains = chains;
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
    env.observer.prepare(this.context);
  }

  /** Every chain has its secrets and routes. */
  get warm(): boolean {
    return this.chains.every((c) => c.warm) && this.defaultChain?.warm !== false;
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

const FILTERS: { readonly [key: string]: 'original_dst' | 'tls_inspector' | 'http_inspector' } = {
  'envoy.extensions.filters.listener.original_dst.v3.OriginalDst': 'original_dst',
  'envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector': 'tls_inspector',
  'envoy.extensions.filters.listener.http_inspector.v3.HttpInspector': 'http_inspector',
};
const listenerFilter = (name: string, type: string, path: string) => {
  const known = FILTERS[type];
  if (known === undefined) throw new PlanError(path, `listener filter ${name} (${type}) is not supported`);
  return known;
};

export class ListenerRuntime {
  readonly name: string;
  /** In use; undefined while the first version is warming. */
  active: ListenerState | undefined;
  /** Waiting for its secrets or routes. */
  warming: ListenerState | undefined;
  #server: Server | undefined;
  #bound = '';
  #wanted = '';
  #address = '';
  bindFailure = '';
  /** Resolves when the pending bind is done; undefined when none is. */
  binding: Promise<void> | undefined;

  constructor(name: string) {
    this.name = name;
  }

  get config(): Listener {
    return (this.active ?? this.warming)?.config ?? {};
  }
  get warm(): boolean {
    return this.active !== undefined && this.warming === undefined;
  }
  get bound(): boolean {
    return this.#server?.listening === true;
  }
  get localAddress(): string {
    if (this.#address !== '') return this.#address;
    const address = this.config.address?.socket_address;
    return addressText(address?.address ?? '', address?.port_value ?? 0);
  }
  get activeConnections(): number {
    return this.active?.connections ?? 0;
  }
  get key(): string {
    const address = this.config.address?.socket_address;
    return addressText(address?.address ?? '', address?.port_value ?? 0);
  }

  /** Binds what the active state asks for; an unchanged address keeps its socket. */
  bind(accept: (listener: ListenerRuntime, socket: Socket) => void, done: () => void): void {
    const config = this.active?.config;
    if (config === undefined) return;
    if (config.bind_to_port === false) {
      this.unbind();
      return;
    }
    const socket = config.address?.socket_address;
    const pipe = config.address?.pipe?.path;
    const wanted = pipe ?? addressText(socket?.address ?? '', socket?.port_value ?? 0);
    if (this.#server !== undefined && this.#wanted === wanted) return;
    this.unbind();
    this.#wanted = wanted;
    const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: false });
    this.#server = server;
    server.on('connection', (connection) => accept(this, connection));
    this.binding = new Promise((resolve) => {
      const finish = (failure: string): void => {
        this.binding = undefined;
        this.bindFailure = failure;
        resolve();
        done();
      };
      server.once('error', (error) => {
        if (this.#server === server) {
          this.#server = undefined;
          this.#wanted = '';
        }
        finish(error.message);
      });
      server.once('listening', () => {
        server.on('error', () => {});
        const address = server.address();
        this.#bound = typeof address === 'string' ? address : address === null ? '' : addressText(address.address, address.port);
        this.#address = this.#bound;
        finish('');
      });
      if (pipe !== undefined) server.listen(pipe);
      else
        server.listen({
          host: socket?.address ?? '0.0.0.0',
          port: socket?.port_value ?? 0,
          backlog: config.tcp_backlog_size ?? 1024,
          ...(socket?.address === '::' && socket.ipv4_compat !== true ? { ipv6Only: true } : {}),
        });
    });
  }

  /** Stops accepting; connections live on. */
  unbind(): void {
    const server = this.#server;
    this.#server = undefined;
    this.#wanted = '';
    this.#address = '';
    server?.close();
  }
}
