// The control plane assembled: the only place where its parts are made and joined. `startControlPlane` returns when every door is
// open; `close` stops it and leaves the state folder as a start finds it.
import { statSync } from 'node:fs';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import type { Log } from '../base/log.ts';
import { adminRoutes } from './admin/api.ts';
import { EventHub } from './admin/event-hub.ts';
import { OperatorHub } from './admin/operator-hub.ts';
import { startAdminPort, startAdminServer } from './admin/server.ts';
import { AuditLog } from './audit/audit-log.ts';
import { auditFolder } from './audit/chain-files.ts';
import { decidingRule } from './audit/deciding-rule.ts';
import { RequestDenials } from './audit/request-denials.ts';
import { auditRoutes } from './audit/routes.ts';
import { AuditTrail } from './audit/trail.ts';
import { AccessTokens } from './auth/access-tokens.ts';
import { tokenDoor } from './auth/admin-access.ts';
import { Authenticator } from './auth/authenticator.ts';
import { adminPortProblem, DoorError, doorIdentity, hostPort, isSecured } from './auth/door-addresses.ts';
import { IssuerProof, type IssuerSettings } from './auth/issuer-proof.ts';
import { JoinTokens } from './auth/join-tokens.ts';
import { type ReviewSettings, TokenReviewer } from './auth/token-review.ts';
import { type AuthoritySettings, openAuthority } from './ca/open-authority.ts';
import { caMetrics, caRoutes } from './ca/routes.ts';
import { generationNumber } from './generation-number.ts';
import { ControlMetrics } from './metric-registry.ts';
import { Model } from './model.ts';
import { modelMetrics } from './model-metrics.ts';
import type { Pipeline } from './pipeline.ts';
import { processMetrics } from './process-metrics.ts';
import { InstanceRegistry } from './registration/instance-registry.ts';
import { RegistrationStore } from './registration/registration-store.ts';
import { REGISTRATION_TIMES, Registrations, type RegistrationTimes } from './registration/registrations.ts';
import { FolderSource } from './sources/folder-source.ts';
import { fetchKeySet } from './sources/key-set-fetch.ts';
import { KeySetStore, keyRefreshMs } from './sources/key-set-store.ts';
import { LastGoodTexts } from './sources/last-good.ts';
import { MeshSettingsFile } from './sources/mesh-settings-file.ts';
import { ObjectSource } from './sources/object-source.ts';
import { openStateFolder } from './state-folder.ts';
import { lockState } from './state-lock.ts';
import { ControlTelemetry } from './telemetry/control-telemetry.ts';
import { telemetryRoutes } from './telemetry/routes.ts';
import { TokenStore } from './token-store.ts';
import { AdsService } from './xds/ads-service.ts';
import { startXdsServer, type XdsServer } from './xds/server.ts';

export interface ControlPlaneConfig {
  /** Issuers whose tokens prove service accounts; none when absent. */
  readonly issuers?: readonly IssuerSettings[];
  /** A Kubernetes API server that reviews tokens. */
  readonly review?: ReviewSettings;
  /** Watched folders of configuration. */
  readonly folders: readonly string[];
  readonly meshConfigFile: string | undefined;
  readonly stateDir: string;
  /** `unix:PATH`, `tls:HOST:PORT`, or `HOST:PORT`, which needs `insecure`. */
  readonly xds: readonly string[];
  /** Serve any client on TCP ports, in plaintext and without a token. */
  readonly insecure: boolean;
  /** Names and addresses that the control plane is called by, for its certificate. */
  readonly serverNames?: readonly string[];
  /** A path; `<state>/admin.sock` when absent. */
  readonly adminSocket: string | undefined;
  /** `HOST:PORT` on loopback, or `tls:HOST:PORT`: the admin API for who brings a token. */
  readonly adminPorts?: readonly string[];
  /** A signing certificate in the layout of Istio's `cacerts`; an own root when absent. */
  readonly caDir: string | undefined;
  /** Lives, rotation and trust of the certificate authority; defaults when absent. */
  readonly authority?: AuthoritySettings;
  /** What proxies tell is not taken and not kept. */
  readonly withoutTelemetry?: boolean;
  /** URL of a Prometheus that scrapes the mesh: summaries are its. */
  readonly prometheus?: string;
  readonly version: string;
  readonly debounce: { readonly quietMs: number; readonly maxMs: number };
  /** How long the entries of workloads that are away stay; Istio's times when absent. */
  readonly registration?: RegistrationTimes;
  readonly pipeline: Pipeline;
  readonly log: Log;
  readonly now: () => number;
}

export interface ControlPlane {
  /** As bound. */
  readonly xds: readonly string[];
  readonly adminSocket: string;
  /** `http(s)://HOST:PORT`, as bound. */
  readonly adminPorts: readonly string[];
  readonly model: Model;
  /** Resolves when somebody asked for the end over the admin API; the caller then closes. */
  readonly shutdownAsked: Promise<void>;
  close(): Promise<void>;
}

/** Something in the configuration of the process itself; the message says what to do. */
export class ControlPlaneError extends Error {}

export const DEBOUNCE_DEFAULT = { quietMs: 10, maxMs: 100 } as const;

export const startControlPlane = async (config: ControlPlaneConfig): Promise<ControlPlane> => {
  checkConfig(config);
  const stateDir = resolve(config.stateDir);
  const folder = openStateFolder(stateDir, config.log);
  if (!folder.ok) throw new ControlPlaneError(folder.error);
  const lock = lockState(stateDir);
  if (!lock.ok) {
    throw new ControlPlaneError(
      `the state folder ${stateDir} is in use by the control plane with pid ${lock.error}: stop it, or give another --state`,
    );
  }
  const closers: (() => void | Promise<void>)[] = [() => lock.value.release()];
  const close = async (): Promise<void> => {
    for (const closer of closers.splice(0).reverse()) await closer();
  };
  try {
    return { ...(await assemble(config, stateDir, closers)), close };
  } catch (error) {
    await close();
    throw error instanceof DoorError ? new ControlPlaneError(error.message) : error;
  }
};

const checkConfig = (config: ControlPlaneConfig): void => {
  for (const folder of config.folders) {
    if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) throw new ControlPlaneError(`--config ${folder} is not a folder`);
  }
  for (const address of config.adminPorts ?? []) {
    const problem = adminPortProblem(address);
    if (problem !== undefined) throw new ControlPlaneError(problem);
  }
  const open = config.xds.find((address) => !address.startsWith('unix:') && !isSecured(address));
  if (open !== undefined && !config.insecure) {
    throw new ControlPlaneError(
      `--xds ${open} is a plaintext port that cannot tell who calls: serve a unix:PATH or tls:HOST:PORT, or add --insecure to serve any client`,
    );
  }
};

const assemble = async (
  config: ControlPlaneConfig,
  stateDir: string,
  closers: (() => void | Promise<void>)[],
): Promise<Omit<ControlPlane, 'close'>> => {
  const { pipeline, log, now } = config;
  const events = new EventHub();
  const metrics = new ControlMetrics();
  const settings = new MeshSettingsFile(config.meshConfigFile, pipeline);
  const lastGood = new LastGoodTexts(join(stateDir, 'last-good'), log.scope('model'));
  const folders = config.folders.map(
    (folder) => new FolderSource({ folder, parse: (file, text) => pipeline.parseDocuments(file, text, {}), lastGood }),
  );
  const objects = new ObjectSource({
    folder: join(stateDir, 'objects'),
    parse: (file, text, defaultNamespace) => pipeline.parseDocuments(file, text, { defaultNamespace }),
  });
  const instances = new InstanceRegistry(join(stateDir, 'instances'), events);
  const entries = new RegistrationStore(join(stateDir, 'registrations'));
  const tokens = new TokenStore(join(stateDir, 'tokens'));
  const joinTokens = new JoinTokens(join(stateDir, 'join-tokens'), now);
  const accessTokens = new AccessTokens(join(stateDir, 'access-tokens'), now);
  const trustDomain = (): string => settings.current.config.trustDomain;
  const ca = await openAuthority({
    ...config.authority,
    stateDir,
    caDir: config.caDir,
    meshConfig: () => settings.current.config,
    now,
    log: log.scope('ca'),
    changed: () => model.invalidate(),
  });
  closers.push(() => ca.authority.close());
  caMetrics(ca, metrics, now);
  const keySets = new KeySetStore({
    folder: join(stateDir, 'key-sets'),
    fetch: fetchKeySet,
    refreshMs: keyRefreshMs(process.env),
    log: log.scope('jwks'),
    changed: () => model.invalidate(),
  });
  closers.push(() => keySets.close());
  const model = new Model({
    pipeline,
    sources: [...folders, objects, entries],
    instances,
    settings: () => settings.current,
    trustAnchors: () => ca.anchors,
    keySets,
    events,
    log: log.scope('model'),
    now,
    debounce: config.debounce,
    numbering: generationNumber(join(stateDir, 'generation'), log.scope('model')),
  });
  closers.push(() => model.close());
  const registrations = new Registrations({
    store: entries,
    resources: () => model.current?.resources ?? [],
    times: config.registration ?? REGISTRATION_TIMES,
    controller: hostname(),
    metrics,
    log: log.scope('registration'),
    now,
  });
  closers.push(() => registrations.close());
  const ads = new AdsService({
    pipeline,
    model,
    metrics,
    events,
    log: log.scope('xds'),
    now,
    replicas: { byName: (namespace, name) => instances.get(namespace, name), byAddress: (address) => instances.at(address) },
    registrations,
  });
  closers.push(() => ads.close());
  model.subscribe(() => registrations.reconcile());
  const auditLog = new AuditLog({ folder: auditFolder(stateDir), metrics, log: log.scope('audit'), now });
  const audit = new AuditTrail(auditLog, now);
  closers.push(() => {
    audit.stopped();
    auditLog.close();
  });
  audit.started({ pid: process.pid, version: config.version });
  model.subscribe((generation) =>
    audit.generation(generation, (r) => (entries.find(r) ? 'registered' : objects.holds(r) ? 'applied' : 'file')),
  );
  modelMetrics(model, metrics, now, config.version);
  processMetrics(metrics, now());
  model.start();
  settings.start(() => model.invalidate());
  closers.push(() => settings.close());

  const authenticator = new Authenticator({
    tokens,
    joinTokens,
    issuers: (config.issuers ?? []).map((settings) => new IssuerProof(settings, fetchKeySet, now)),
    reviewer: config.review && new TokenReviewer(config.review),
    trustDomain,
    metrics,
    log: log.scope('doors'),
    now,
    refused: (refusal) => audit.refused(refusal),
  });
  const operators = new OperatorHub();
  const telemetry =
    config.withoutTelemetry === true
      ? undefined
      : new ControlTelemetry({
          stateDir,
          prometheus: config.prometheus,
          instances,
          trustDomain,
          metrics,
          log: log.scope('telemetry'),
          now,
        });
  closers.push(() => telemetry?.close());
  const denials = new RequestDenials(
    (entry) => auditLog.add(entry),
    now,
    (name) => decidingRule(model.current?.snapshot, name),
  );
  if (telemetry) {
    telemetry.requests.onAdd = (request) => denials.seen(request);
    telemetry.refused.onAdd = (connection) => denials.refused(connection);
  }
  const own = await doorIdentity([...config.xds, ...(config.adminPorts ?? [])], config.serverNames ?? [], {
    ca,
    trustDomain,
    now,
    log: log.scope('doors'),
  });
  closers.push(() => own?.close());
  const servers: XdsServer[] = [];
  for (const address of config.xds) {
    const insecure = config.insecure && !address.startsWith('unix:') && !isSecured(address);
    const server = await startXdsServer({
      address,
      insecure,
      authenticator,
      tls: own?.door,
      ads,
      ca,
      operators,
      tokens,
      trustDomain,
      metrics,
      log: log.scope('xds'),
      refused: (refusal) => audit.refused(refusal),
      ...(telemetry ? { telemetry: telemetry.streams, takeSpans: telemetry.takeSpans } : {}),
    });
    servers.push(server);
    closers.push(() => server.close());
  }
  const xds = servers.map((server) => server.address);
  const startedAt = new Date(now()).toISOString();
  const about = () => ({
    pid: process.pid,
    version: config.version,
    startedAt,
    trustDomain: trustDomain(),
    xds,
    config: [...config.folders],
  });
  const asked = Promise.withResolvers<void>();
  const meshRoutes = adminRoutes({
    pipeline,
    model,
    folders,
    objects,
    entries,
    now,
    ads,
    keySets,
    instances,
    tokens,
    joinTokens,
    accessTokens,
    operators,
    events,
    metrics,
    about,
    shutdown: asked.resolve,
  });
  const routes = audit.routes([...meshRoutes, ...caRoutes(ca, now), ...auditRoutes(stateDir, auditLog), ...telemetryRoutes(telemetry)]);
  const admin = await startAdminServer(config.adminSocket ?? join(stateDir, 'admin.sock'), routes, log.scope('admin'));
  closers.push(() => admin.close());
  const door = audit.door(tokenDoor(accessTokens, metrics, now));
  const ports: string[] = [];
  for (const address of config.adminPorts ?? []) {
    const tls = isSecured(address) ? own?.current : undefined;
    const port = await startAdminPort({ ...hostPort(address), routes, door, tls, log: log.scope('admin') });
    own?.onRenewal((material) => port.renew(material));
    closers.push(() => port.close());
    ports.push(port.address);
  }
  return { xds, adminSocket: admin.path, adminPorts: ports, model, shutdownAsked: asked.promise };
};
