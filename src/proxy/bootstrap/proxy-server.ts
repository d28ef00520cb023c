// One proxy put together: data plane, xDS subscriptions, telemetry and admin API from one bootstrap. It starts, says when it
// is live, drains and closes. Signals, flags and the agent are its caller's.
import type { Log } from '../../base/log.ts';
import type { Bootstrap, CommandLineOptions } from '../../xds/gen/types.ts';
import type { XdsTransport } from '../../xds/transport.ts';
import { handleAdmin } from '../admin/admin-api.ts';
import type { AdminContext, AdminRequest, AdminResponse, ServerState } from '../admin/admin-context.ts';
import { type AdminServer, startAdminServer } from '../admin/admin-server.ts';
import { type Clock, systemClock } from '../clock.ts';
import { createDataPlane, type DataPlane } from '../data-plane.ts';
import type { OriginalDestination } from '../original-destination.ts';
import { createPeerMetadata } from '../telemetry/peer-metadata.ts';
import { PEER_METADATA_TYPE_URL, peerMetadataFilter } from '../telemetry/peer-metadata-filter.ts';
import { Telemetry } from '../telemetry/telemetry.ts';
import { Subscriptions } from '../xds/subscriptions.ts';
import { grpcTarget } from './grpc-target.ts';
import { lazyTransport } from './lazy-transport.ts';
import { announcedNode, type NodeOverrides } from './node.ts';

export interface ProxyServerOptions {
  readonly bootstrap: Bootstrap;
  readonly log: Log;
  readonly version: string;
  /** In-process transports in the stead of clusters of the bootstrap, by cluster name. */
  readonly transports?: ReadonlyMap<string, XdsTransport>;
  readonly node?: NodeOverrides;
  readonly commandLine?: CommandLineOptions;
  /** How long an access log line may wait for others. */
  readonly logFlushMs?: number | undefined;
  readonly rejectUnknownFields?: boolean;
  readonly clock?: Clock;
  /** [0, 1) */
  readonly random?: () => number;
  readonly originalDestination?: OriginalDestination;
  /** `POST /quitquitquit`. */
  readonly quit: () => void;
}

/** How often a drain looks whether connections are left. */
const DRAIN_POLL_MS = 50;

export class ProxyServer {
  readonly dataPlane: DataPlane;
  readonly #options: ProxyServerOptions;
  readonly #clock: Clock;
  readonly #telemetry: Telemetry;
  readonly #subscriptions: Subscriptions;
  readonly #context: AdminContext;
  #admin: AdminServer | undefined;
  #draining = false;
  #healthFailed = false;

  constructor(options: ProxyServerOptions) {
    const { bootstrap, log, version } = options;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    const random = options.random ?? Math.random;
    const node = announcedNode(bootstrap.node, version, options.node);
    const metadata = createPeerMetadata(node);
    this.#telemetry = new Telemetry({ own: metadata.own, version, clock: this.#clock, random, logFlushMs: options.logFlushMs });
    const bindAddress = bootstrap.cluster_manager?.upstream_bind_config?.source_address?.address;
    this.dataPlane = createDataPlane({
      log: log.scope('proxy'),
      observer: this.#telemetry,
      clock: this.#clock,
      random,
      httpFilters: new Map([[PEER_METADATA_TYPE_URL, peerMetadataFilter(metadata)]]),
      ...(options.originalDestination ? { originalDestination: options.originalDestination } : {}),
      ...(bindAddress ? { upstreamBindAddress: bindAddress } : {}),
    });
    this.#subscriptions = new Subscriptions({
      bootstrap,
      node: () => node,
      dataPlane: this.dataPlane,
      transport: (cluster) => this.#transport(cluster),
      rejectUnknownFields: options.rejectUnknownFields ?? false,
      clock: this.#clock,
      random,
      log: log.scope('xds'),
    });
    this.#context = this.#adminContext({ ...bootstrap, node });
  }

  /** Applies the static resources, binds the admin API and opens the streams. Throws on a static resource that is refused. */
  async start(): Promise<void> {
    this.#subscriptions.start();
    const address = this.#options.bootstrap.admin?.address;
    if (address) this.#admin = await startAdminServer(this.#context, address);
  }

  /** The admin API's address as bound; undefined without one. */
  get adminAddress(): string | undefined {
    return this.#admin?.address;
  }

  /** Configured, warm and serving; false again only when it drains. */
  get ready(): boolean {
    return this.#state() === 'LIVE';
  }

  /** Resolves when the first configuration is in force. */
  whenLive(): Promise<void> {
    return this.#subscriptions.whenLive();
  }

  admin(request: AdminRequest): AdminResponse {
    return handleAdmin(this.#context, request);
  }

  activeConnections(): number {
    let n = 0;
    for (const listener of this.dataPlane.listeners()) n += listener.activeConnections;
    return n;
  }

  /** Accepts nothing new and waits until what runs has ended, at most `maxMs`. */
  async drain(maxMs: number): Promise<void> {
    this.#draining = true;
    this.dataPlane.drain();
    const deadline = this.#clock.monotonicMs() + maxMs;
    while (this.activeConnections() > 0 && this.#clock.monotonicMs() < deadline) {
      await new Promise<void>((resolve) => setTimeout(resolve, DRAIN_POLL_MS));
    }
  }

  /** Drops what is left and writes the logs. */
  async close(): Promise<void> {
    this.#subscriptions.close();
    await this.dataPlane.close();
    this.#telemetry.close();
    await this.#admin?.close();
  }

  #state(): ServerState {
    if (this.#draining || this.#healthFailed) return 'DRAINING';
    return this.#subscriptions.live ? 'LIVE' : 'PRE_INITIALIZING';
  }

  #transport(cluster: string): XdsTransport {
    const given = this.#options.transports?.get(cluster);
    if (given) return given;
    return lazyTransport(async () => {
      const { createGrpcClient } = await import('../xds/grpc-client.ts');
      return createGrpcClient(grpcTarget(this.#options.bootstrap, cluster));
    });
  }

  #adminContext(bootstrap: Bootstrap): AdminContext {
    const { log, version, quit, commandLine } = this.#options;
    return {
      bootstrap,
      dataPlane: this.dataPlane,
      store: this.#subscriptions.store,
      metrics: this.#telemetry.registry,
      log,
      clock: this.#clock,
      startedAtMs: this.#clock.wallMs(),
      version: `skein/${version}`,
      commandLine: commandLine ?? {},
      state: () => this.#state(),
      refreshStats: () => this.#refreshStats(),
      drainListeners: () => {
        this.#draining = true;
        this.dataPlane.drain();
      },
      setHealthFailed: (failed) => {
        this.#healthFailed = failed;
      },
      reopenLogs: () => this.#telemetry.sinks.reopen(),
      quit: () => setImmediate(quit),
    };
  }

  /** Envoy's server gauges; Istio's agents and dashboards read several of them. */
  #refreshStats(): void {
    const { stats } = this.dataPlane;
    const set = (name: string, value: number): void => {
      stats.gauge(name).value = value;
    };
    const state = this.#state();
    const live = this.#subscriptions.live;
    const memory = process.memoryUsage();
    const clusters = [...this.dataPlane.clusters()];
    const listeners = [...this.dataPlane.listeners()];
    set('server.state', ['LIVE', 'DRAINING', 'PRE_INITIALIZING', 'INITIALIZING'].indexOf(state));
    set('server.live', state === 'LIVE' ? 1 : 0);
    set('server.uptime', Math.floor((this.#clock.wallMs() - this.#context.startedAtMs) / 1000));
    set('server.concurrency', 1);
    set('server.memory_allocated', memory.heapUsed);
    set('server.memory_heap_size', memory.heapTotal);
    set('server.memory_physical_size', memory.rss);
    set('server.total_connections', this.activeConnections());
    set('cluster_manager.active_clusters', clusters.filter((c) => c.warm).length);
    set('cluster_manager.warming_clusters', clusters.filter((c) => !c.warm).length);
    set('listener_manager.total_listeners_active', listeners.filter((l) => l.warm).length);
    set('listener_manager.total_listeners_warming', listeners.filter((l) => !l.warm).length);
    set('listener_manager.workers_started', live ? 1 : 0);
    let dropped = 0;
    for (const [, sink] of this.#telemetry.sinks.all()) dropped += sink.dropped;
    stats.counter('access_logs.file.dropped').value = dropped;
  }
}
