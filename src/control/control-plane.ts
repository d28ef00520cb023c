// The control plane assembled: the only place where its parts are made and joined. `startControlPlane` returns when every door is
// open; `close` stops it and leaves the state folder as a start finds it.
import { mkdirSync, statSync } from 'node:fs';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import type { Log } from '../base/log.ts';
import { adminRoutes } from './admin-api.ts';
import { startAdminServer } from './admin-server.ts';
import { AdsService } from './ads-service.ts';
import { CertificateAuthority } from './ca.ts';
import { loadCaMaterial, ownCaMaterial } from './ca-material.ts';
import { EventHub } from './event-hub.ts';
import { FolderSource } from './folder-source.ts';
import { generationNumber } from './generation-number.ts';
import { InstanceRegistry } from './instance-registry.ts';
import { fetchKeySet } from './key-set-fetch.ts';
import { KeySetStore } from './key-set-store.ts';
import { LastGoodTexts } from './last-good.ts';
import { MeshSettingsFile } from './mesh-settings-file.ts';
import { ControlMetrics } from './metric-registry.ts';
import { Model } from './model.ts';
import { ObjectSource } from './object-source.ts';
import { OperatorHub } from './operator-hub.ts';
import type { Pipeline } from './pipeline.ts';
import { RegistrationStore } from './registration-store.ts';
import { REGISTRATION_TIMES, Registrations, type RegistrationTimes } from './registrations.ts';
import { lockState } from './state-lock.ts';
import { TokenStore } from './token-store.ts';
import { startXdsServer, type XdsServer } from './xds-server.ts';

export interface ControlPlaneConfig {
  /** Watched folders of configuration. */
  readonly folders: readonly string[];
  readonly meshConfigFile: string | undefined;
  readonly stateDir: string;
  /** `unix:PATH` or `HOST:PORT`; a port needs `insecure`. */
  readonly xds: readonly string[];
  /** Serve any client on TCP ports, in plaintext and without a token. */
  readonly insecure: boolean;
  /** A path; `<state>/admin.sock` when absent. */
  readonly adminSocket: string | undefined;
  /** A signing certificate in the layout of Istio's `cacerts`; an own root when absent. */
  readonly caDir: string | undefined;
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
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
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
    throw error;
  }
};

const checkConfig = (config: ControlPlaneConfig): void => {
  for (const folder of config.folders) {
    if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) throw new ControlPlaneError(`--config ${folder} is not a folder`);
  }
  const open = config.xds.find((address) => !address.startsWith('unix:'));
  if (open !== undefined && !config.insecure) {
    throw new ControlPlaneError(
      `--xds ${open} is a plaintext port that cannot tell who calls: serve a unix:PATH, or add --insecure to serve any client`,
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
  const trustDomain = (): string => settings.current.config.trustDomain;
  const material =
    config.caDir === undefined
      ? await ownCaMaterial(join(stateDir, 'ca'), trustDomain(), now())
      : await loadCaMaterial(config.caDir, trustDomain(), now());
  const ca = new CertificateAuthority(material, now);
  const keySets = new KeySetStore({
    folder: join(stateDir, 'key-sets'),
    fetch: fetchKeySet,
    log: log.scope('jwks'),
    changed: () => model.invalidate(),
  });
  closers.push(() => keySets.close());
  const model = new Model({
    pipeline,
    sources: [...folders, objects, entries],
    instances,
    settings: () => settings.current,
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
    registered: (h) => instances.get(h.namespace, h.name),
    registrations,
  });
  closers.push(() => ads.close());
  model.subscribe(() => registrations.reconcile());
  model.start();
  settings.start(() => model.invalidate());
  closers.push(() => settings.close());

  const operators = new OperatorHub();
  const servers: XdsServer[] = [];
  for (const address of config.xds) {
    const insecure = config.insecure && !address.startsWith('unix:');
    const server = await startXdsServer({ address, insecure, ads, ca, operators, tokens, trustDomain, metrics, log: log.scope('xds') });
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
  const routes = adminRoutes({
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
    operators,
    events,
    metrics,
    about,
    shutdown: asked.resolve,
  });
  const admin = await startAdminServer(config.adminSocket ?? join(stateDir, 'admin.sock'), routes, log.scope('admin'));
  closers.push(() => admin.close());
  return { xds, adminSocket: admin.path, model, shutdownAsked: asked.promise };
};
