// One proxy put together: data plane, xDS subscriptions, telemetry and admin API from one bootstrap. It starts, says when it
// is live, drains and closes. Signals, flags and the agent are its caller's.
import type { Log } from '../../base/log.ts';
import { runtimeSampling } from '../../plan/tracing/sampling.ts';
import type { Bootstrap, CommandLineOptions, Node } from '../../xds/gen/types.ts';
import type { XdsTransport } from '../../xds/transport.ts';
import { answerAdmin } from '../admin/admin-answer.ts';
import type { AdminContext, AdminRequest, AdminResponse, DrainRequest, ServerState } from '../admin/admin-context.ts';
import { type AdminServer, startAdminServer } from '../admin/admin-server.ts';
import { type Clock, systemClock } from '../clock.ts';
import type { DataPlane } from '../data-plane.ts';
import type { ListeningSockets } from '../listener/listening-sockets.ts';
import type { OriginalDestination } from '../listener/original-destination.ts';
import type { OverloadConfig } from '../overload.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import type { TapDesk, TapDeskOptions } from '../tap/tap-desk.ts';
import type { MetricsSource } from '../telemetry/metrics-snapshot.ts';
import { peerOf } from '../telemetry/peer-metadata.ts';
import { CertificateLife } from '../telemetry/process-stats.ts';
import { compileBuckets } from '../telemetry/stats-config.ts';
import type { SummaryLink } from '../telemetry/summary-link.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { startWorkers } from '../workers/start-workers.ts';
import type { WorkersPlane } from '../workers/workers-plane.ts';
import { isDelta } from '../xds/config-source.ts';
import { Subscriptions } from '../xds/subscriptions.ts';
import { grpcTarget } from './grpc-target.ts';
import type { HotRestart } from './hot-restart.ts';
import { lazyTransport } from './lazy-transport.ts';
import { announcedNode, type NodeOverrides } from './node.ts';
import { connectionLimits, DEFAULT_OVERLOAD, runtimeValues } from './overload-config.ts';

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
  /** Istio's metrics that were not added to for so long are forgotten; 0 or absent: never. */
  readonly rotateMetricsMs?: number | undefined;
  /** How often the control plane is told, over this, what happens. */
  readonly summaries?: { readonly transport: XdsTransport; readonly everyMs: number } | undefined;
  readonly rejectUnknownFields?: boolean;
  readonly clock?: Clock;
  /** [0, 1) */
  readonly random?: () => number;
  readonly originalDestination?: OriginalDestination;
  /** Where listening sockets come from. */
  readonly sockets?: ListeningSockets;
  /** Absent: it cannot be asked for. */
  readonly hotRestart?: Pick<HotRestart, 'request' | 'status'>;
  /** `--drain-time-s` and `--drain-strategy`. */
  readonly overload?: OverloadConfig;
  /** Absent: 1. */
  readonly concurrency?: number;
  readonly drainTimeMs?: number;
  readonly drainGradually?: boolean;
  /** `POST /quitquitquit`. */
  readonly quit: () => void;
  /** A worker is gone, with what it served: the process must end. */
  readonly failed?: (reason: string) => void;
}

/** How often a drain looks whether connections are left. */
const DRAIN_POLL_MS = 50;
const DRAIN_TIME_MS = 600_000;

const LOG_CLOSE_MS = 2000;
/** What services that take logs are still told. */
const EXPORT_CLOSE_MS = 500;

export class ProxyServer {
  readonly dataPlane: DataPlane;
  readonly #options: ProxyServerOptions;
  readonly #clock: Clock;
  readonly #telemetry: Telemetry;
  readonly #workers: WorkersPlane | undefined;
  readonly #subscriptions: Subscriptions;
  readonly #context: AdminContext;
  #admin: AdminServer | undefined;
  readonly #certificateLife = new CertificateLife();
  #draining = false;
  #drainTimer: NodeJS.Timeout | undefined;
  #healthFailed = false;
  readonly #node: Node;
  #summaryLink: SummaryLink | undefined;
  #endSummaries: () => void = () => undefined;
  /** Made by the first tap. */
  #taps: Promise<TapDesk> | undefined;

  constructor(options: ProxyServerOptions) {
    const { bootstrap, log, version } = options;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    const random = options.random ?? Math.random;
    const node = announcedNode(bootstrap.node, version, options.node);
    this.#node = node;
    const ads = bootstrap.dynamic_resources?.ads_config;
    const bindAddress = bootstrap.cluster_manager?.upstream_bind_config?.source_address?.address;
    const traceSampling = runtimeSampling(runtimeValues(bootstrap.layered_runtime));
    const localName = bootstrap.cluster_manager?.local_cluster_name;
    const { dataPlane, telemetry, all } = startWorkers({
      concurrency: options.concurrency ?? 1,
      settings: {
        node,
        version,
        logFlushMs: options.logFlushMs,
        workers: Math.max(1, options.concurrency ?? 1),
        rotateMetricsMs: options.rotateMetricsMs,
        summariesMs: options.summaries?.everyMs,
        buckets: bootstrap.stats_config?.histogram_bucket_settings,
        plane: {
          overload: options.overload ?? DEFAULT_OVERLOAD,
          drainTimeMs: this.#drainTimeMs,
          drainGradually: options.drainGradually ?? false,
          ...(bindAddress ? { upstreamBindAddress: bindAddress } : {}),
          ...(bootstrap.tracing?.http === undefined ? {} : { tracer: bootstrap.tracing.http }),
          ...(traceSampling === undefined ? {} : { traceSampling }),
          ...(localName ? { localCluster: { name: localName, locality: bootstrap.node?.locality ?? {} } } : {}),
          ...(ads !== undefined && isDelta(ads) ? { asksOnDemand: true } : {}),
        },
      },
      parts: {
        log,
        clock: this.#clock,
        random,
        own: {
          connectionLimit: connectionLimits(bootstrap),
          ...(bootstrap.stats_sinks === undefined
            ? {}
            : {
                made: (environment) =>
                  void this.#tellSinks(environment, bootstrap).catch((e: unknown) =>
                    log.error('metrics are not sent', { problem: e instanceof Error ? e.message : String(e) }),
                  ),
              }),
          ...(options.originalDestination ? { originalDestination: options.originalDestination } : {}),
        },
      },
      limits: { layered_runtime: bootstrap.layered_runtime },
      sockets: options.sockets,
      summary: (report) => this.#summaryLink?.tell(report),
      died: (reason) => {
        log.error('a worker is gone: this process ends', { reason });
        options.failed?.(reason);
      },
    });
    this.dataPlane = dataPlane;
    this.#telemetry = telemetry;
    this.#workers = all;
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

  /** Applies the static resources and opens the streams. Throws on a static resource that is refused. */
  start(): void {
    this.#subscriptions.start();
    if (this.#options.summaries) void this.#tellSummaries(this.#options.summaries);
  }

  /** Rejects when the admin API's address cannot be had. */
  async openAdmin(): Promise<void> {
    const address = this.#options.bootstrap.admin?.address;
    if (address) this.#admin = await startAdminServer(this.#context, address, this.#options.sockets);
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

  /** Moves whenever a request, a tunnel or a connection ends. */
  served(): number {
    return this.#telemetry.records + (this.#workers?.records ?? 0);
  }

  admin(request: AdminRequest): Promise<AdminResponse> {
    return answerAdmin(this.#context, request);
  }

  activeConnections(): number {
    return this.dataPlane.connections;
  }

  /** Accepts nothing new, neither traffic nor, with `adminToo`, questions about it. */
  stopAccepting(adminToo: boolean): void {
    this.#draining = true;
    this.dataPlane.drain();
    if (adminToo) this.#admin?.release();
  }

  /** Accepts nothing new and waits until what runs has ended, at most `maxMs`, and no longer than until `cut` says so. */
  async drain(maxMs: number, cut: Promise<unknown> = new Promise(() => undefined)): Promise<void> {
    this.stopAccepting(false);
    const deadline = this.#clock.monotonicMs() + maxMs;
    let isCut = false;
    void cut.then(() => {
      isCut = true;
    });
    while (!isCut && this.activeConnections() > 0 && this.#clock.monotonicMs() < deadline) {
      await new Promise<void>((resolve) => setTimeout(resolve, DRAIN_POLL_MS));
    }
  }

  /** Drops what is left and writes the logs. */
  async close(): Promise<void> {
    clearTimeout(this.#drainTimer);
    this.#subscriptions.close();
    (await this.#taps)?.close();
    await this.#telemetry.closeExports(EXPORT_CLOSE_MS);
    await this.dataPlane.close();
    this.#endSummaries();
    this.#summaryLink?.close();
    // A disk that hangs does not hold the end up.
    await Promise.race([this.#telemetry.close(), new Promise<void>((resolve) => this.#clock.after(LOG_CLOSE_MS, resolve))]);
    await this.#admin?.close();
  }

  #tapDeskOptions(bootstrap: Bootstrap): TapDeskOptions {
    const all = this.#workers;
    all?.onTapped((id, record, skipped) => void this.#taps?.then((desk) => desk.tapped(id, record, skipped)));
    return {
      own: peerOf(bootstrap.node?.metadata ?? {}),
      proxy: bootstrap.node?.id ?? '',
      clock: this.#clock,
      log: this.#options.log,
      attach: (sampler) => {
        this.#telemetry.tap = sampler;
      },
      tell: (taps) => all?.tell({ kind: 'taps', taps }),
    };
  }

  /** Metrics services that the bootstrap names; which it may name was looked at when it was read. */
  async #tellSinks(environment: ProxyEnvironment, bootstrap: Bootstrap): Promise<void> {
    const { compileStatsSinks } = await import('../telemetry/stats-sinks.ts');
    const { MetricsSink } = await import('../telemetry/metrics-sink.ts');
    const read = async (): Promise<MetricsSource> => {
      this.#refreshStats();
      if (this.#workers !== undefined) return await this.#workers.sum(this.#telemetry.registry);
      return { stats: this.dataPlane.stats, metrics: this.#telemetry.registry };
    };
    const buckets = compileBuckets(bootstrap.stats_config?.histogram_bucket_settings);
    for (const [i, plan] of compileStatsSinks(bootstrap).entries())
      this.#telemetry.exports.at(`stats_sinks[${i}]`, () => new MetricsSink(environment, { plan, node: this.#node, buckets, read }));
  }

  /** Its modules come beside the first configuration. */
  async #tellSummaries({ transport, everyMs }: NonNullable<ProxyServerOptions['summaries']>): Promise<void> {
    const { recordSummaries } = await import('../telemetry/summaries.ts');
    const { SummaryLink } = await import('../telemetry/summary-link.ts');
    const link = new SummaryLink(transport, this.#node, this.#clock);
    this.#summaryLink = link;
    const deliver = link.tell.bind(link);
    this.#endSummaries = recordSummaries({ telemetry: this.#telemetry, node: this.#node, clock: this.#clock, everyMs, deliver });
  }

  #drainListeners({ graceful, inboundOnly, skipExit }: DrainRequest): void {
    if (!graceful) {
      this.dataPlane.stopListening(inboundOnly);
      return;
    }
    this.dataPlane.drainGracefully(inboundOnly);
    clearTimeout(this.#drainTimer);
    if (skipExit) return;
    this.#drainTimer = setTimeout(() => this.dataPlane.stopListening(inboundOnly), this.#drainTimeMs);
    this.#drainTimer.unref();
  }

  get #drainTimeMs(): number {
    return this.#options.drainTimeMs ?? DRAIN_TIME_MS;
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
    const all = this.#workers;
    const workers = all && { sum: () => all.sum(this.#telemetry.registry), tell: all.tell.bind(all) };
    return {
      bootstrap,
      dataPlane: this.dataPlane,
      store: this.#subscriptions.store,
      metrics: this.#telemetry.registry,
      workers,
      log,
      clock: this.#clock,
      startedAtMs: this.#clock.wallMs(),
      version: `skein/${version}`,
      commandLine: commandLine ?? {},
      state: () => this.#state(),
      refreshStats: () => this.#refreshStats(),
      drainListeners: (how) => this.#drainListeners(how),
      hotRestart: () => this.#options.hotRestart?.request() ?? 'hot restart is not possible here',
      hotRestartStatus: () => this.#options.hotRestart?.status ?? { state: 'idle' },
      setHealthFailed: (failed) => {
        this.#healthFailed = failed;
        this.dataPlane.failHealth(failed);
      },
      tap: async (request) => {
        this.#taps ??= import('../tap/tap-desk.ts').then(({ TapDesk }) => new TapDesk(this.#tapDeskOptions(bootstrap)));
        return (await this.#taps).answer(request);
      },
      reopenLogs: () => {
        this.#workers?.tell({ kind: 'reopenLogs' });
        for (const problem of this.#telemetry.sinks.reopen()) log.error('an access log cannot be opened anew', { problem });
      },
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
    set('server.hot_restart_epoch', this.#options.hotRestart?.status.epoch ?? 0);
    set('server.concurrency', Math.max(1, this.#options.concurrency ?? 1));
    set('server.memory_allocated', memory.heapUsed);
    set('server.memory_heap_size', memory.heapTotal);
    set('server.memory_physical_size', memory.rss);
    set('server.total_connections', this.activeConnections());
    set('server.days_until_first_cert_expiring', this.#certificateLife.daysLeft(this.dataPlane.secrets(), this.#clock.wallMs()));
    set('cluster_manager.active_clusters', clusters.filter((c) => c.warm).length);
    set('cluster_manager.warming_clusters', clusters.filter((c) => !c.warm).length);
    set('listener_manager.total_listeners_active', listeners.filter((l) => l.warm).length);
    set('listener_manager.total_listeners_warming', listeners.filter((l) => !l.warm).length);
    set('listener_manager.workers_started', live ? 1 : 0);
    this.#telemetry.sinks.countInto(stats);
  }
}
