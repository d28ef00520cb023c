// A snapshot that notes what is read of it, so that what was made from it can be known to be right for a later snapshot: it is if the
// same reads give the same there. Parts are noted as a whole, by identity; services and what a proxy may see of them are noted finer,
// because one service changes more often than a rule and concerns few.
import { same } from '../base/memo.ts';
import type { DestinationRuleIndex, MergedRule } from '../mesh/destination-rules.ts';
import { type Service, type ServiceShape, SHAPE_FIELDS } from '../mesh/service.ts';
import type { ServiceIndex } from '../mesh/service-index.ts';
import type { SidecarScope } from '../mesh/sidecar-scope.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import type { ProxyNode } from './proxy-node.ts';

/** A thing that was read, and how to read it of another snapshot. Lists that hold identical items are the same. */
export interface SnapshotRead {
  /** The part of the snapshot that it is read from: where that is the same, so is what was read. */
  readonly of: keyof Snapshot;
  readonly read: (snapshot: Snapshot, node: ProxyNode) => unknown;
  readonly value: unknown;
  /** Nothing of a scope but its services is read. */
  readonly ofServices: boolean;
}

/** Is what was read under the snapshot before read of the same objects now? The node is one that the reads were, or would be, made for. */
export const unchangedSince = (before: Snapshot, now: Snapshot, node: ProxyNode): ((read: SnapshotRead) => boolean) => {
  let known: boolean | undefined;
  const sameServices = (): boolean => {
    known ??= before.scopes.for(node).services === now.scopes.for(node).services;
    return known;
  };
  return ({ of, ofServices }) => before[of] === now[of] || (ofServices && sameServices());
};

export interface WatchedSnapshot {
  readonly snapshot: Snapshot;
  readonly reads: ReadonlyMap<string, SnapshotRead>;
  /** Reads again what was read of another snapshot, and says whether it is the same. */
  again(name: string, read: SnapshotRead): boolean;
  /** As if it had been read, and was the same. */
  note(name: string, read: SnapshotRead): void;
}

type Read<T> = (snapshot: Snapshot, node: ProxyNode) => T;
type Note = <T>(name: string, of: keyof Snapshot, read: Read<T>, ofServices?: boolean) => T;

// What is kept of a read must not hold the snapshot that it was first made on: these make reads from names alone.
const field =
  <K extends keyof Snapshot>(name: K): Read<Snapshot[K]> =>
  (s) =>
    s[name];
const servicesAt =
  (addresses: readonly string[], namespace: string): Read<readonly unknown[]> =>
  (s) =>
    s.services.at(addresses, namespace).flatMap((i) => [i.service, i.portIndex, i.endpoint]);
const visibleServices =
  (namespace: string): Read<readonly Service[]> =>
  (s) =>
    s.services.visibleTo(namespace);
const servicesWithHost =
  (host: string): Read<readonly Service[]> =>
  (s) =>
    s.services.withHost(host);
const foundService =
  (host: string, namespace: string): Read<Service | undefined> =>
  (s) =>
    s.services.find(host, namespace);
const allServices: Read<readonly Service[]> = (s) => s.services.all;
const scopeField =
  <K extends keyof SidecarScope>(name: K): Read<SidecarScope[K]> =>
  (s, node) =>
    s.scopes.for(node)[name];
const scopeService =
  (host: string): Read<Service | undefined> =>
  (s, node) =>
    s.scopes.for(node).service(host);
const shapeOf = (service: ServiceShape): readonly unknown[] => SHAPE_FIELDS.map((f) => service[f]);
const scopeShape =
  (host: string): Read<readonly unknown[]> =>
  (s, node) => {
    const service = s.scopes.for(node).shape(host);
    return service === undefined ? [] : shapeOf(service);
  };
const scopeCanonical =
  (host: string): Read<string> =>
  (s, node) =>
    s.scopes.for(node).canonical(host);
const ruleFor =
  (host: string, namespace: string): Read<MergedRule | undefined> =>
  (s, node) =>
    s.destinationRules.for(node, { host, namespace });
const inboundRule =
  (host: string, namespace: string, client: string): Read<MergedRule | undefined> =>
  (s) =>
    s.destinationRules.inbound(client, { host, namespace });
const scopeEgress: Read<readonly unknown[]> = (s, node) =>
  s.scopes.for(node).egress.flatMap((l) => [l.spec, l.services.length, ...l.services, l.virtualServices.length, ...l.virtualServices]);

const scopeRouting: Read<readonly unknown[]> = (s, node) =>
  s.scopes
    .for(node)
    .routing.flatMap((l) => [l.spec, l.services.length, ...l.services.flatMap(shapeOf), l.virtualServices.length, ...l.virtualServices]);

/** `node` is the one that everything read is read for. */
export const watchSnapshot = (whole: Snapshot, node: ProxyNode): WatchedSnapshot => {
  // The node's own scope is looked for once. Whole may be watched itself: nothing else of it is read here.
  let scope: SidecarScope | undefined;
  const scopes = { for: (): SidecarScope => (scope ??= whole.scopes.for(node)) };
  const snapshot: Snapshot = Object.create(whole, { scopes: { value: scopes } });
  const reads = new Map<string, SnapshotRead>();
  const note: Note = (name, of, read, ofServices = false) => {
    const known = reads.get(name);
    if (known) return known.value as ReturnType<typeof read>;
    const value = read(snapshot, node);
    reads.set(name, { of, read, value, ofServices });
    return value;
  };
  const again = (name: string, { of, read, value, ofServices }: SnapshotRead): boolean => same(note(name, of, read, ofServices), value);
  const noteAsRead = (name: string, read: SnapshotRead): void => {
    if (!reads.has(name)) reads.set(name, read);
  };
  const watched: Record<string, unknown> = {};
  for (const name of Object.keys(whole) as (keyof Snapshot)[]) {
    const get = (): unknown => {
      if (name === 'services') return watchServices(snapshot, note);
      if (name === 'scopes') return { for: () => watchScope(snapshot, node, note) };
      if (name === 'destinationRules') return watchRules(snapshot, note);
      return note(name, name, field(name));
    };
    Object.defineProperty(watched, name, { enumerable: true, get });
  }
  return { snapshot: watched as unknown as Snapshot, reads, again, note: noteAsRead };
};

const watchServices = (snapshot: Snapshot, note: Note): ServiceIndex => ({
  get all() {
    return note('services.all', 'services', allServices);
  },
  visibleTo: (namespace) => note(`services.visibleTo ${namespace}`, 'services', visibleServices(namespace)),
  withHost: (host) => note(`services.withHost ${host}`, 'services', servicesWithHost(host)),
  find: (host, namespace) => note(`services.find ${host} ${namespace}`, 'services', foundService(host, namespace)),
  isVisible: (service, namespace) => note('services', 'services', field('services')).isVisible(service, namespace),
  at: (addresses, namespace) => {
    note(`services.at ${addresses.join()} ${namespace}`, 'services', servicesAt([...addresses], namespace));
    return snapshot.services.at(addresses, namespace);
  },
});

/** The rules as the node sees them: the only client that a translation asks for. */
const watchRules = (snapshot: Snapshot, note: Note): DestinationRuleIndex => ({
  get all() {
    return note('destinationRules', 'destinationRules', field('destinationRules')).all;
  },
  get shadowed() {
    return note('destinationRules', 'destinationRules', field('destinationRules')).shadowed;
  },
  get selective() {
    return snapshot.destinationRules.selective;
  },
  for: (_, { host, namespace }) => note(`destinationRules.for ${host} ${namespace}`, 'destinationRules', ruleFor(host, namespace)),
  inbound: (client, { host, namespace }) =>
    note(`destinationRules.inbound ${client} ${host} ${namespace}`, 'destinationRules', inboundRule(host, namespace, client)),
});

/** The node's own: the only one that a translation asks for. */
const watchScope = (snapshot: Snapshot, node: ProxyNode, note: Note): SidecarScope => {
  const scope = snapshot.scopes.for(node);
  return new Proxy(scope, {
    get: (_, key) => {
      if (key === 'service') return (host: string) => note(`scope.service ${host}`, 'scopes', scopeService(host), true);
      if (key === 'shape') {
        return (host: string) => {
          note(`scope.shape ${host}`, 'scopes', scopeShape(host), true);
          return scope.shape(host);
        };
      }
      if (key === 'canonical') return (host: string) => note(`scope.canonical ${host}`, 'scopes', scopeCanonical(host), true);
      if (key === 'egress') note('scope.egress', 'scopes', scopeEgress);
      else if (key === 'routing') note('scope.routing', 'scopes', scopeRouting);
      else if (key === 'services') note('scope.services', 'scopes', scopeField(key), true);
      else note(`scope.${String(key)}`, 'scopes', scopeField(key as keyof SidecarScope));
      return Reflect.get(scope, key);
    },
  });
};
