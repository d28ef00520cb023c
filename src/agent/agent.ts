// The node agent: identity, SDS, ADS relay, DNS, health and the operator's stream of one workload, put together.
// What a proxy in this process gets as objects, an Envoy gets on `<run-dir>/xds.sock`. Never opens a proxied connection.
import { mkdirSync } from 'node:fs';
import { createLog, type Log } from '../base/log.ts';
import { JOIN_PREFIX } from '../identity/join-token.ts';
import type { Bootstrap } from '../xds/gen/types.ts';
import { SDS_METHOD } from '../xds/resource-types.ts';
import type { XdsTransport } from '../xds/transport.ts';
import { type AdminRequest, type AdminResponse, adminOverHttp } from './admin-client.ts';
import { adsRelay } from './ads-relay.ts';
import { type AgentConfig, identityOf } from './agent-config.ts';
import { agentMetrics } from './agent-metrics.ts';
import { makeBootstrap, makeNode, takesProbe, xdsSocketPath } from './bootstrap.ts';
import { DnsServer } from './dns-server.ts';
import { GrpcChannel } from './grpc-channel.ts';
import type { ServedTransport } from './grpc-served.ts';
import { type GrpcServer, serveGrpc } from './grpc-server.ts';
import { targetOf, tokenMayTravel } from './grpc-target.ts';
import { HealthServers } from './health-server.ts';
import { READY_POLL_MS } from './limits.ts';
import { MergedMetrics } from './merged-metrics.ts';
import { Operator } from './operator.ts';
import { SecretServer } from './sds.ts';
import type { SocketSource } from './socket-source.ts';
import { WorkloadApi } from './workload-api.ts';
import { WorkloadHealth } from './workload-health.ts';
import { CREATE_CERTIFICATE, WorkloadIdentity, type WorkloadSecret } from './workload-identity.ts';

export interface ProxyStatus {
  /** First configuration received, all warm, workers serving. */
  readonly ready: boolean;
  /** Why not, for `/healthz/ready`. */
  readonly reason?: string;
}

export interface Agent {
  /** For a proxy in this process. The same objects serve Envoy on `<run-dir>/xds.sock`. */
  readonly transports: { readonly ads: XdsTransport; readonly sds: XdsTransport; readonly telemetry: XdsTransport };
  readonly bootstrap: Bootstrap;
  /** Ports in use, where the configuration said 0. `status` is undefined when the proxy listens there itself. */
  readonly ports: { readonly stats: number; readonly status: number | undefined; readonly dns: number | undefined };
  /** How readiness asks the proxy; until called, it is asked over HTTP at its admin port. */
  setProxyStatus(status: () => ProxyStatus): void;
  /** How operator requests reach the proxy; until called, over HTTP at its admin port. */
  onAdminRequest(handler: (request: AdminRequest) => Promise<AdminResponse>): void;
  /** Called for `POST /quitquitquit` from loopback. */
  onQuit(handler: () => void): void;
  /** Why it is not ready; '' when it is. */
  notReady(): string;
  /** On standby: accepts on its ports from now on. Rejects when one cannot be had. */
  open(): Promise<void>;
  /** On standby: the one that the operator reaches from now on. */
  takeOver(): void;
  /** Another process takes over: nothing is accepted any more; certificates and configuration still come. */
  release(): void;
  /** The proxy is ready as last asked, and there is a certificate that has not expired. */
  ready(): boolean;
  stop(): Promise<void>;
}

export interface AgentLaunch {
  /** Absent: the agent binds its own. */
  readonly sockets?: SocketSource;
  /** Another process still speaks for this workload: certificate and configuration are fetched, nothing else until `open` and `takeOver`. */
  readonly standby?: boolean;
}

/** Resolves once every socket is bound; certificate and configuration follow in the background. Rejects when a port or the run folder is unusable. */
export const startAgent = async (config: AgentConfig, log: Log = standardErrorLog(), launch: AgentLaunch = {}): Promise<Agent> => {
  // A folder that was there before may be /run or /tmp: its mode is its owner's matter, and what lies in it is 0600 by itself.
  mkdirSync(config.runDir, { recursive: true, mode: 0o700 });
  const agent = new NodeAgent(config, log, launch);
  try {
    await agent.start();
  } catch (e) {
    await agent.stop();
    throw e;
  }
  return agent;
};

/** By which an Envoy tells what it does; under the workload's credentials, as its xDS. */
const TELEMETRY_METHODS: readonly string[] = [
  '/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs',
  '/envoy.service.metrics.v3.MetricsService/StreamMetrics',
];
/** Spans, one answered call a batch. */
const TRACE_METHOD = '/opentelemetry.proto.collector.trace.v1.TraceService/Export';

class NodeAgent implements Agent {
  readonly transports: Agent['transports'];
  readonly bootstrap: Bootstrap;
  readonly #config: AgentConfig;
  #standby: boolean;
  readonly #channel: GrpcChannel;
  readonly #secrets: SecretServer;
  readonly #identity: WorkloadIdentity;
  readonly #dns: DnsServer | undefined;
  readonly #health: HealthServers;
  readonly #operator: Operator;
  readonly #probe: WorkloadHealth;
  #server: GrpcServer | undefined;
  #workloadServer: GrpcServer | undefined;
  readonly #workloadApi: WorkloadApi | undefined;
  #admin: (request: AdminRequest) => Promise<AdminResponse>;
  #proxyStatus: (() => ProxyStatus) | undefined;
  #polled: ProxyStatus = { ready: false, reason: 'the proxy has not answered yet' };
  #pollTimer: NodeJS.Timeout | undefined;
  #quit: () => void = () => {};
  #stopped = false;

  constructor(config: AgentConfig, log: Log, { sockets, standby = false }: AgentLaunch) {
    this.#config = config;
    this.#standby = standby;
    this.bootstrap = makeBootstrap(config);
    this.#admin = adminOverHttp(config.adminPort);
    this.#channel = makeChannel(config, () => this.#identity.secret, log.scope('xds'));
    const sdsLog = log.scope('sds');
    this.#secrets = new SecretServer({
      onRejected: (names, problem) => sdsLog.warning('the proxy refused a secret', { names: names.join(), problem }),
      onFileProblem: (name, problem) => sdsLog.warning('a certificate in a file is not served', { name, problem }),
    });
    this.#workloadApi = config.workloadApi === undefined ? undefined : new WorkloadApi(identityOf(config));
    this.#identity = new WorkloadIdentity({
      identity: identityOf(config),
      ttlS: config.certificateTtlS,
      call: (method, request, timeoutMs) => this.#channel.unary(method, request, timeoutMs),
      onSecret: (secret) => {
        this.#secrets.publish(secret);
        this.#workloadApi?.publish(secret);
        this.#channel.renew(secret.certificate.notAfterMs);
      },
      log: log.scope('identity'),
    });
    const { namespace, domain, bindSource } = config;
    this.#dns = config.dns && new DnsServer({ dns: config.dns, namespace, domain, bindSource, sockets, log: log.scope('dns') });
    this.#probe = new WorkloadHealth(config, () => this.#notReady(), log.scope('probe'));
    const ads = adsRelay({
      upstream: this.#channel,
      node: makeNode(config),
      onNameTable: this.#dns && ((table) => this.#dns?.setNames(table)),
      onProxyConfig: (sent) => {
        this.#identity.trust(sent?.ca_certificates_pem ?? []);
        if (takesProbe(config)) this.#probe.sent(sent?.readiness_probe);
      },
      health: this.#probe.report,
      log: log.scope('ads'),
    });
    this.transports = { ads, sds: this.#secrets, telemetry: this.#channel };
    const admin = (request: AdminRequest): Promise<AdminResponse> => this.#admin(request);
    const metrics = new MergedMetrics({
      admin,
      own: () => agentMetrics(this.#identity.ends, Date.now()),
      application: config.applicationMetrics,
      log: (problem) => log.scope('metrics').warning("the application's metrics cannot be read", { problem }),
    });
    this.#health = new HealthServers({
      statusPort: config.statusListener === 'agent' ? config.statusPort : undefined,
      statsPort: config.statsPort,
      notReady: () => this.#notReady(),
      metrics: () => metrics.page(),
      onQuit: () => this.#quit(),
      sockets,
    });
    this.#operator = new Operator({ upstream: this.#channel, admin, log: log.scope('operator') });
  }

  get ports(): Agent['ports'] {
    const [stats = 0, status] = this.#health.ports;
    return { stats, status, dns: this.#dns?.port };
  }

  async start(): Promise<void> {
    // First, because the answer travels while the sockets are bound.
    this.#identity.start();
    if (!this.#standby) {
      this.#operator.start();
      await this.open();
    }
    // A moment later: a proxy in this process tells by itself.
    this.#pollTimer = setTimeout(() => this.#poll(), READY_POLL_MS.starting);
  }

  async open(): Promise<void> {
    const { ads, sds, telemetry } = this.transports;
    const told = this.#config.summaries === true ? [...TELEMETRY_METHODS, TRACE_METHOD] : [];
    const of = (method: string): XdsTransport => (method === SDS_METHOD ? sds : told.includes(method) ? telemetry : ads);
    const all: ServedTransport = {
      staysOpen: (method) => method === TRACE_METHOD,
      open: (method, events) => of(method).open(method, events),
    };
    const serving = serveGrpc(xdsSocketPath(this.#config.runDir), all);
    const { workloadApi } = this.#config;
    const workload = this.#workloadApi && workloadApi !== undefined ? serveGrpc(workloadApi, this.#workloadApi) : undefined;
    const outcome = await Promise.allSettled([serving, workload, this.#dns?.start(), this.#health.start()]);
    if (outcome[0].status === 'fulfilled') this.#server = outcome[0].value;
    if (outcome[1].status === 'fulfilled') this.#workloadServer = outcome[1].value;
    const failed = outcome.find((o) => o.status === 'rejected');
    if (failed) throw failed.reason;
  }

  setProxyStatus(status: () => ProxyStatus): void {
    this.#proxyStatus = status;
    clearTimeout(this.#pollTimer);
  }

  onAdminRequest(handler: (request: AdminRequest) => Promise<AdminResponse>): void {
    this.#admin = handler;
  }

  onQuit(handler: () => void): void {
    this.#quit = handler;
  }

  ready(): boolean {
    return this.#notReady() === '';
  }

  notReady(): string {
    return this.#notReady();
  }

  takeOver(): void {
    if (!this.#standby) return;
    this.#standby = false;
    this.#operator.start();
  }

  release(): void {
    this.#operator.stop();
    this.#dns?.release();
    this.#health.release();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#pollTimer);
    this.#identity.stop();
    this.#operator.stop();
    this.#probe.stop();
    this.#secrets.close();
    this.#channel.close();
    this.#workloadApi?.close();
    await Promise.all([this.#server?.close(), this.#workloadServer?.close(), this.#dns?.stop(), this.#health.stop()]);
  }

  #notReady(): string {
    if (this.#stopped) return 'the agent stops';
    if (!this.#identity.valid) return 'there is no valid certificate';
    const status = this.#proxyStatus?.() ?? this.#polled;
    return status.ready ? '' : (status.reason ?? 'the proxy is not ready');
  }

  /** Envoy's `/ready`: 200 once the first listeners and clusters are in place. */
  #poll(): void {
    if (this.#stopped || this.#proxyStatus) return;
    void this.#admin({ method: 'GET', path: '/ready', body: '' })
      .then(
        (answer): ProxyStatus =>
          answer.status === 200 ? { ready: true } : { ready: false, reason: `the proxy says ${answer.body.trim() || answer.status}` },
        (e: unknown): ProxyStatus => ({ ready: false, reason: `the proxy does not answer: ${e instanceof Error ? e.message : String(e)}` }),
      )
      .then((status) => {
        this.#polled = status;
        if (this.#stopped || this.#proxyStatus) return;
        this.#pollTimer = setTimeout(() => this.#poll(), status.ready ? READY_POLL_MS.steady : READY_POLL_MS.starting);
      });
  }
}

const standardErrorLog = (): Log =>
  createLog(
    'agent',
    (line) => process.stderr.write(line),
    () => new Date(),
  );

const makeChannel = (config: AgentConfig, own: () => WorkloadSecret | undefined, log: Log): GrpcChannel => {
  const given = targetOf(config);
  // Where the way is TLS, the certificate proves who we are as well as a token, and the roots of now are trusted beside those given.
  const target = given.kind === 'tcp' && given.caPem !== undefined ? { ...given, own } : given;
  const withToken = tokenMayTravel(target);
  if (!withToken) log.info('no token is sent: the way to the control plane is neither TLS nor of this machine');
  const nodeId = makeNode(config).id ?? '';
  const joins = (): boolean => {
    if (target.kind !== 'tcp' || target.own === undefined || target.own() !== undefined) return false;
    try {
      return config.token()?.startsWith(JOIN_PREFIX) === true;
    } catch {
      return false; // a file that is not there is the call's to tell
    }
  };
  return new GrpcChannel({
    target,
    log,
    // Sooner than its certificate it would be a caller whose proof does not hold, and after some of those it would not be heard at all.
    holds: (method) => method !== CREATE_CERTIFICATE && withToken && joins(),
    metadata: () => {
      const token = withToken ? config.token() : undefined;
      return { 'x-skein-node': nodeId, ...(token ? { authorization: `Bearer ${token}` } : {}) };
    },
  });
};
