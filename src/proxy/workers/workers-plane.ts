// The data plane of a sidecar with several workers: the main thread is one of them. A change is taken by the main thread's own
// first, which validates it (PlanError: nothing has happened anywhere), and then by all others. Counts and limits are the
// sidecar's; views are the main thread's, with the sums of all where there is something to add up.

import type { Log } from '../../base/log.ts';
import type { MetricRegistry } from '../../base/metrics.ts';
import { PlanError } from '../../plan/plan-error.ts';
import type {
  Cluster,
  ClusterLoadAssignment,
  ConfigSource,
  Core_TypedExtensionConfig,
  Listener,
  RouteConfiguration,
  Secret,
} from '../../xds/gen/types.ts';
import type { ClusterView, DataPlane, ListenerView } from '../data-plane.ts';
import type { HostOutcome, HostUpdate } from '../exchange/route-table.ts';
import type { Demanded, DemandKind } from '../on-demand/demand.ts';
import type { StatsStore } from '../stats-store.ts';
import type { Tapped } from '../tap/sampler.ts';
import { AbsentNames } from './absent-names.ts';
import type { Change, ToWorker } from './messages.ts';
import { type Summed, sumOf } from './totals.ts';
import type { WorkerHandle } from './worker-handle.ts';

export class WorkersPlane implements DataPlane {
  readonly #own: DataPlane;
  readonly #workers: readonly WorkerHandle[];
  readonly #log: Log;
  #changed: () => void = () => {};
  #tapped: Tapped | undefined;
  /** Of the last change. */
  #number = 0;
  /** Refused for an address that could not be had, and tried again by the main thread's data plane. */
  readonly #refused = new Map<string, Listener>();
  readonly #absent = new AbsentNames();

  constructor(own: DataPlane, workers: readonly WorkerHandle[], log: Log) {
    this.#own = own;
    this.#workers = workers;
    this.#log = log;
    own.onChange(() => this.#ownChanged());
  }

  /** To be called when a worker has said something about itself. */
  workerChanged(): void {
    this.#tellAbsent();
    this.#changed();
  }

  setCluster(resource: Cluster): void {
    this.#own.setCluster(resource);
    this.#absent.delete('cluster', resource.name ?? '');
    this.#share({ set: 'cluster', resource });
  }
  removeCluster(name: string): void {
    this.#own.removeCluster(name);
    this.#share({ remove: 'cluster', name });
  }
  setEndpoints(resource: ClusterLoadAssignment): void {
    this.#own.setEndpoints(resource);
    this.#share({ set: 'endpoints', resource });
  }
  setListener(resource: Listener): void {
    const name = resource.name ?? '';
    this.#refused.delete(name);
    this.#absent.delete('listener', name);
    try {
      this.#own.setListener(resource);
    } catch (problem) {
      if (problem instanceof PlanError && this.#own.bindFailures().has(name)) this.#refused.set(name, resource);
      throw problem;
    }
    this.#share({ set: 'listener', resource });
  }
  removeListener(name: string): void {
    this.#refused.delete(name);
    this.#own.removeListener(name);
    this.#share({ remove: 'listener', name });
  }
  setRoutes(resource: RouteConfiguration): void {
    this.#own.setRoutes(resource);
    this.#share({ set: 'routes', resource });
  }
  removeRoutes(name: string): void {
    this.#own.removeRoutes(name);
    this.#share({ remove: 'routes', name });
  }
  setSecret(resource: Secret): void {
    this.#own.setSecret(resource);
    this.#share({ set: 'secret', resource });
  }
  removeSecret(name: string): void {
    this.#own.removeSecret(name);
    this.#share({ remove: 'secret', name });
  }

  setExtension(resource: Core_TypedExtensionConfig): void {
    this.#own.setExtension(resource);
    this.#share({ set: 'extension', resource });
  }
  removeExtension(name: string): void {
    this.#own.removeExtension(name);
    this.#share({ remove: 'extension', name });
  }
  giveUpExtension(name: string): void {
    this.#own.giveUpExtension(name);
    this.#share({ remove: 'waiting for extension', name });
  }

  /** By any worker. */
  demanded(): Demanded {
    const { host, cluster, listener } = this.#own.demanded();
    const all = { host: new Set(host), cluster: new Set(cluster), listener: new Set(listener) };
    for (const { state } of this.#workers)
      for (const kind of ['host', 'cluster', 'listener'] as const) for (const name of state.demanded[kind]) all[kind].add(name);
    this.#absent.trim(all);
    return all;
  }
  #tellAbsent(): void {
    this.#absent.heard(this.#own, this.#own.demanded(), (kind, name) => this.#own.notThere(kind, name));
    for (const worker of this.#workers) {
      const { host, cluster, listener } = worker.state.demanded;
      const demanded = { host: new Set(host), cluster: new Set(cluster), listener: new Set(listener) };
      // No change of what is served: it has no number of its own.
      this.#absent.heard(worker, demanded, (absent, name) =>
        worker.send({ kind: 'change', number: this.#number, change: { absent, name } }),
      );
    }
  }
  updateHosts(update: HostUpdate): HostOutcome {
    const outcome = this.#own.updateHosts(update);
    const bad = new Set(outcome.problems.map(([name]) => name));
    for (const name of [...outcome.gone, ...update.removed]) this.#absent.add('host', name);
    for (const { name, aliases } of update.set) for (const n of [name, ...aliases]) this.#absent.delete('host', n);
    this.#share({ hosts: { removed: update.removed, set: update.set.filter(({ name }) => !bad.has(name)) } });
    return outcome;
  }
  notThere(kind: DemandKind, name: string): void {
    this.#own.notThere(kind, name);
    this.#absent.add(kind, name);
    this.#share({ absent: kind, name });
  }

  referencedExtensions(): ReadonlyMap<string, ConfigSource> {
    return this.#own.referencedExtensions();
  }
  referencedSecrets(): ReadonlyMap<string, ConfigSource> {
    return this.#own.referencedSecrets();
  }
  referencedRoutes(): ReadonlySet<string> {
    return this.#own.referencedRoutes();
  }
  referencedEndpoints(): ReadonlySet<string> {
    return this.#own.referencedEndpoints();
  }
  clusters(): Iterable<ClusterView> {
    return this.#own.clusters();
  }
  listeners(): Iterable<ListenerView> {
    return this.#own.listeners();
  }
  routes(): Iterable<RouteConfiguration> {
    return this.#own.routes();
  }
  secrets(): Iterable<Secret> {
    return this.#own.secrets();
  }
  extensions(): Iterable<Core_TypedExtensionConfig> {
    return this.#own.extensions();
  }
  onChange(changed: () => void): void {
    this.#changed = changed;
  }

  /** All workers are, with the last change. */
  get ready(): boolean {
    return this.#own.ready && this.#workers.every(({ state }) => state.ready && state.applied === this.#number);
  }

  bindFailures(): ReadonlyMap<string, string> {
    const failures = new Map(this.#own.bindFailures());
    for (const { state } of this.#workers)
      for (const [name, reason] of state.bindFailures) if (!failures.has(name)) failures.set(name, reason);
    return failures;
  }

  async settled(): Promise<void> {
    await this.#own.settled();
    while (this.#workers.some(({ state }) => state.applied !== this.#number || (!state.ready && this.#own.ready)))
      await new Promise<void>((resolve) => setTimeout(resolve, SETTLE_POLL_MS));
  }

  drain(): void {
    this.#own.drain();
    this.#share({ act: 'drain', inboundOnly: false });
  }
  drainGracefully(inboundOnly: boolean): void {
    this.#own.drainGracefully(inboundOnly);
    this.#share({ act: 'drainGracefully', inboundOnly });
  }
  failHealth(failed: boolean): void {
    this.#own.failHealth(failed);
    this.#share({ act: failed ? 'failHealth' : 'passHealth', inboundOnly: false });
  }
  stopListening(inboundOnly: boolean): void {
    this.#own.stopListening(inboundOnly);
    this.#share({ act: 'stopListening', inboundOnly });
  }

  /** Counted by all workers together. */
  get connections(): number {
    return this.#own.connections;
  }
  /** The main thread's own: `sum` has everybody's. */
  get stats(): StatsStore {
    return this.#own.stats;
  }

  /** What the further workers have served, as they said last. */
  get records(): number {
    return this.#workers.reduce((n, worker) => n + worker.records, 0);
  }

  async close(): Promise<void> {
    await Promise.all([this.#own.close(), ...this.#workers.map((worker) => worker.close())]);
  }

  /** Rejects when a worker does not answer. */
  async sum(metrics: MetricRegistry): Promise<Summed> {
    const totals = await Promise.all(this.#workers.map((worker) => worker.count()));
    return sumOf(this.#own, metrics, totals);
  }

  /** Who reads what further workers' samplers show. */
  onTapped(tapped: Tapped): void {
    this.#tapped = tapped;
  }
  tapped(...seen: Parameters<Tapped>): void {
    this.#tapped?.(...seen);
  }

  /** Something that is no change of what is served. */
  tell(message: ToWorker): void {
    for (const worker of this.#workers) worker.send(message);
  }

  #share(change: Change): void {
    const number = ++this.#number;
    for (const worker of this.#workers) worker.send({ kind: 'change', number, change });
    this.#changed();
  }

  #ownChanged(): void {
    this.#tellAbsent();
    for (const [name, resource] of this.#refused) {
      if (this.#own.bindFailures().has(name)) continue;
      this.#refused.delete(name);
      this.#share({ set: 'listener', resource });
      this.#log.info('a listener that was refused for its address is given to all workers', { listener: name });
    }
    this.#changed();
  }
}

const SETTLE_POLL_MS = 2;
