// Workloads come and go with their streams. The first stream of a sidecar that names a WorkloadGroup makes its WorkloadEntry, only for the
// account and namespace that its token proves; the last one that ends leaves the entry for a grace, and a workload that is back within it
// finds its entry as it was. What a restarted control plane finds on disk waits for its workloads longer than a grace, and goes without them.
// Health comes over the same streams and changes the entry at most ten times a second.
import type { Resource } from '../../api/resource.ts';
import type { Log } from '../../base/log.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { parseLocality } from '../../mesh/service.ts';
import type { ProxyNode } from '../../translate/proxy-node.ts';
import {
  HEALTH_CHANGE_MS,
  HEALTH_TEXT_CHARS_MAX,
  REGISTRATIONS_MAX,
  REGISTRATIONS_PER_ACCOUNT_MAX,
  REGISTRATIONS_PER_WORKLOAD_MAX,
} from '../limits.ts';
import type { ControlMetrics } from '../metric-registry.ts';
import type { TokenHolder } from '../token-store.ts';
import type { StreamRefusal } from '../xds/ads-connection.ts';
import { annotationsOf, entryName, probedBy, type Registrant, type Registration, registrantOf, specOf } from './registration-entry.ts';
import type { RegistrationStore } from './registration-store.ts';

export interface RegistrationTimes {
  /** From the end of a workload's last stream to the end of its entry. */
  readonly graceMs: number;
  /** From the start of the control plane to the end of entries whose workloads have not come back. */
  readonly returnMs: number;
}

/** Istio's PILOT_WORKLOAD_ENTRY_GRACE_PERIOD; an agent comes back within seconds, a slow one within half a minute. */
export const REGISTRATION_TIMES: RegistrationTimes = { graceMs: 10_000, returnMs: 30_000 };

export interface RegistrationsOptions {
  readonly store: RegistrationStore;
  /** In force now; the same list as long as nothing has changed. */
  readonly resources: () => readonly Resource[];
  readonly times: RegistrationTimes;
  /** Of this control plane, in `istio.io/workloadController`. */
  readonly controller: string;
  readonly metrics: ControlMetrics;
  readonly log: Log;
  readonly now: () => number;
}

interface Report {
  readonly healthy: boolean;
  readonly message: string;
}

/** A workload with open streams. */
interface Session {
  readonly registrant: Registrant;
  readonly holder: TokenHolder;
  readonly name: string;
  readonly streams: Set<number>;
  /** What it said last; agents say only what changes. */
  last: Report | undefined;
  /** A report that waits for its turn. */
  next: Report | undefined;
  takenAtMs: number;
  timer: NodeJS.Timeout | undefined;
}

export class Registrations {
  readonly #options: RegistrationsOptions;
  readonly #sessions = new Map<string, Session>();
  readonly #byStream = new Map<number, Session>();
  /** Entries whose workloads are away. */
  readonly #ends = new Map<string, NodeJS.Timeout>();
  #resources: readonly Resource[] = [];
  #groups: ReadonlyMap<string, Resource<'WorkloadGroup'>> = new Map();
  #reconciled: ReadonlyMap<string, Resource<'WorkloadGroup'>> | undefined;
  #closed = false;

  constructor(options: RegistrationsOptions) {
    this.#options = options;
    for (const registration of options.store.all()) this.#endIn(registration, options.times.returnMs);
  }

  /** A stream of a node opens. The node as it is known from then on; unchanged when it does not register. */
  connect(stream: number, node: ProxyNode, holder: TokenHolder | undefined): Result<ProxyNode, StreamRefusal> {
    const registrant = registrantOf(node);
    if (registrant === undefined) return ok(node);
    const refuse = (code: StreamRefusal['code'], why: string): Result<ProxyNode, StreamRefusal> => {
      this.#options.metrics.count('auto_registration_errors_total');
      return err({ code, message: `${node.name}.${node.namespace} cannot register: ${why}` });
    };
    if (!registrant.ok) return refuse(3, registrant.error);
    if (!holder) return refuse(16, 'that takes a workload token, which proves who it is');
    const known = this.#register(registrant.value, holder);
    if (!known.ok) return refuse(known.error.code, known.error.message);
    const { name, spec } = known.value;
    const key = `${registrant.value.namespace}/${name}`;
    const session = this.#sessions.get(key) ?? {
      registrant: registrant.value,
      holder,
      name,
      streams: new Set(),
      last: undefined,
      next: undefined,
      takenAtMs: Number.NEGATIVE_INFINITY,
      timer: undefined,
    };
    this.#sessions.set(key, session);
    this.#byStream.set(stream, session);
    session.streams.add(stream);
    return ok({ ...node, labels: spec.labels ?? node.labels, locality: parseLocality(spec.locality) });
  }

  /** A stream has ended. Of a stream that registered nothing, nothing follows. */
  disconnect(stream: number): void {
    const session = this.#byStream.get(stream);
    if (!session) return;
    this.#byStream.delete(stream);
    session.streams.delete(stream);
    if (session.streams.size > 0) return;
    this.#takeReport(session);
    clearTimeout(session.timer);
    const { registrant, name } = session;
    this.#sessions.delete(`${registrant.namespace}/${name}`);
    const registration = this.#options.store.get(registrant.namespace, name);
    if (!registration || this.#closed) return;
    this.#options.metrics.count('auto_registration_unregister_total');
    this.#options.store.put({ ...registration, connectedAt: undefined, disconnectedAt: this.#time() });
    this.#endIn(registration, this.#options.times.graceMs);
  }

  /** What an agent says of its workload; of a stream that registered nothing it is not heard. */
  health(stream: number, healthy: boolean, message: string): void {
    const session = this.#byStream.get(stream);
    if (!session) {
      this.#options.metrics.count('skein_health_reports_ignored');
      return;
    }
    session.last = { healthy, message: healthy ? '' : message.slice(0, HEALTH_TEXT_CHARS_MAX) };
    session.next = session.last;
    const waitMs = session.takenAtMs + HEALTH_CHANGE_MS - this.#options.now();
    if (waitMs <= 0) this.#takeReport(session);
    else {
      session.timer ??= setTimeout(() => this.#takeReport(session), waitMs);
      session.timer.unref();
    }
  }

  /** The resources in force have changed: entries go with their group, and come with it for workloads that are there. */
  reconcile(): void {
    this.#readGroups();
    if (this.#closed || this.#reconciled === this.#groups) return;
    this.#reconciled = this.#groups;
    const { store, log } = this.#options;
    for (const registration of store.all()) {
      const group = this.#groups.get(`${registration.namespace}/${registration.group}`);
      if (group) {
        const session = this.#sessions.get(`${registration.namespace}/${registration.name}`);
        const now = session === undefined ? registration.probedBy : probedBy(session.registrant.probes, group);
        if (now !== registration.probedBy) store.put({ ...registration, probedBy: now });
        continue;
      }
      this.#end(registration);
      log.info('an entry went with its WorkloadGroup', { entry: `${registration.namespace}/${registration.name}` });
    }
    for (const session of this.#sessions.values()) {
      const { registrant, holder, name } = session;
      if (store.get(registrant.namespace, name) || !this.#groups.has(`${registrant.namespace}/${registrant.group}`)) continue;
      const made = this.#register(registrant, holder);
      if (!made.ok) log.warning('a workload could not be registered again', { problem: made.error.message });
      session.next = session.last;
      this.#takeReport(session);
    }
  }

  close(): void {
    this.#closed = true;
    for (const timer of this.#ends.values()) clearTimeout(timer);
    for (const { timer } of this.#sessions.values()) clearTimeout(timer);
    this.#options.store.close();
  }

  #register(registrant: Registrant, holder: TokenHolder): Result<Registration, StreamRefusal> {
    const { store, metrics, controller, log } = this.#options;
    const { namespace, group: groupName } = registrant;
    const { serviceAccount } = holder;
    const name = entryName(registrant);
    const before = store.get(namespace, name);
    // An entry of another account stays whose it is, whatever became of the group.
    if (before && before.serviceAccount !== serviceAccount) {
      return err({
        code: 7,
        message: `WorkloadEntry ${namespace}/${name} is service account ${before.serviceAccount}'s, not ${serviceAccount}'s`,
      });
    }
    if (before) {
      clearTimeout(this.#ends.get(`${namespace}/${name}`));
      this.#ends.delete(`${namespace}/${name}`);
      const here: Registration = {
        ...before,
        workload: holder.name === '' ? name : holder.name,
        controller,
        connectedAt: this.#time(),
        disconnectedAt: undefined,
      };
      if (before.disconnectedAt !== undefined || !this.#sessions.has(`${namespace}/${name}`)) {
        metrics.count('auto_registration_updates_total');
        store.put(here);
      }
      return ok(here);
    }
    this.#readGroups();
    const group = this.#groups.get(`${namespace}/${groupName}`);
    if (!group) return err({ code: 9, message: `there is no WorkloadGroup ${namespace}/${groupName.slice(0, 253)}` });
    const wanted = group.spec.template?.serviceAccount ?? '';
    if (wanted !== '' && wanted !== serviceAccount) {
      const message = `WorkloadGroup ${namespace}/${groupName} is for service account ${wanted}, and its token is ${serviceAccount}'s`;
      return err({ code: 7, message });
    }
    if (store.size >= REGISTRATIONS_MAX) return err({ code: 8, message: `there are ${REGISTRATIONS_MAX} registered workloads` });
    // A proof that names no replica is of an account, which may have many machines.
    const workload = holder.name === '' ? name : holder.name;
    const own = store
      .all()
      .filter((r) => r.namespace === namespace && (holder.name === '' ? r.serviceAccount === serviceAccount : r.workload === workload));
    if (holder.name === '' && own.length >= REGISTRATIONS_PER_ACCOUNT_MAX) {
      return err({ code: 8, message: `service account ${serviceAccount} has ${own.length} entries already` });
    }
    if (holder.name !== '' && own.length >= REGISTRATIONS_PER_WORKLOAD_MAX) {
      return err({ code: 8, message: `it has ${own.length} entries already: ${own.map((r) => r.name).join(', ')}` });
    }
    const made: Registration = {
      name,
      namespace,
      group: groupName,
      serviceAccount,
      workload,
      createdAt: this.#time(),
      annotations: annotationsOf(group),
      spec: specOf(registrant, group),
      probedBy: probedBy(registrant.probes, group),
      controller,
      connectedAt: this.#time(),
    };
    store.put(made);
    metrics.count('auto_registration_success_total');
    log.info('a workload has registered', { entry: `${namespace}/${name}`, group: groupName, health: made.probedBy });
    return ok(made);
  }

  #takeReport(session: Session): void {
    clearTimeout(session.timer);
    session.timer = undefined;
    const { next, registrant, name } = session;
    session.next = undefined;
    const { store, now, log } = this.#options;
    const registration = store.get(registrant.namespace, name);
    if (!next || !registration || this.#closed) return;
    const before = registration.health;
    if (before?.healthy === next.healthy && before.message === next.message) return;
    session.takenAtMs = now();
    const at = this.#time();
    const changedAt = before?.healthy === next.healthy ? before.changedAt : at;
    store.put({ ...registration, health: { ...next, probedAt: at, changedAt } });
    log.info(next.healthy ? 'a workload is healthy' : 'a workload is not healthy', {
      entry: `${registrant.namespace}/${name}`,
      ...(next.healthy ? {} : { problem: next.message }),
    });
  }

  #endIn(registration: Registration, waitMs: number): void {
    const key = `${registration.namespace}/${registration.name}`;
    clearTimeout(this.#ends.get(key));
    const timer = setTimeout(() => {
      this.#end(registration);
      this.#options.metrics.count('auto_registration_deletes_total');
      this.#options.log.info('the entry of a workload that is away was removed', { entry: key });
    }, waitMs);
    timer.unref();
    this.#ends.set(key, timer);
  }

  #end(registration: Registration): void {
    const key = `${registration.namespace}/${registration.name}`;
    clearTimeout(this.#ends.get(key));
    this.#ends.delete(key);
    this.#options.store.remove(registration);
  }

  #readGroups(): void {
    const resources = this.#options.resources();
    if (resources === this.#resources) return;
    this.#resources = resources;
    const groups = resources.filter((r): r is Resource<'WorkloadGroup'> => r.kind === 'WorkloadGroup');
    const same = groups.length === this.#groups.size && groups.every((g) => this.#groups.get(`${g.namespace}/${g.name}`) === g);
    if (!same) this.#groups = new Map(groups.map((g) => [`${g.namespace}/${g.name}`, g]));
  }

  #time(): string {
    return new Date(this.#options.now()).toISOString();
  }
}
