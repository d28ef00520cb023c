// What one stream may see of its target now: make before break across types. A new cluster is announced first; listeners and
// routes that may name it follow once its endpoints have been taken; a cluster that is gone stays until the
// listeners and routes that named it have been replaced and a moment has passed; names for DNS come last. A type whose last response is
// unanswered keeps its content, so a slow client gets the latest and never a backlog.
// Pure: `now` is given; `deadlineMs` says when to call `advance` again although nothing has been received.
import { assert } from '../../base/assert.ts';
import { type Content, contentOf, type EncodedResource, layered, layersOf } from '../../xds/content.ts';
import type { DiscoveryMachine } from '../../xds/discovery-machine.ts';
import { CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, NAME_TABLE_TYPE, ROUTE_TYPE, VIRTUAL_HOST_TYPE } from '../../xds/resource-types.ts';
import type { SharedWork } from '../../xds/shared-work.ts';
import { selectHosts } from '../registration/host-directory.ts';
import { emptyAssignment, type ProxyResources } from './proxy-resources.ts';

/** The protocol machine as far as the stages look at it. */
type StreamView = Pick<DiscoveryMachine, 'status' | 'subscribedNames' | 'askedNames'>;

/** A client that never asks for a new cluster's endpoints does not hold up its routes longer than this. */
const WARMING_WAIT_MS = 3000;
/** After the last answer for listeners and routes: workers and requests in flight let go of the old clusters. */
const REMOVAL_QUIET_MS = 1000;
const ROUTING = [LISTENER_TYPE.url, ROUTE_TYPE.url, VIRTUAL_HOST_TYPE.url] as const;
const NO_NAMES: ReadonlySet<string> = new Set();

export class PushStages {
  readonly #stream: StreamView;
  readonly #shared: SharedWork;
  readonly #visible = new Map<string, Content>();
  /** The names that had been asked for when it was shown. */
  readonly #shownFor = new Map<string, ReadonlySet<string>>();
  #target: ProxyResources | undefined;
  /** Of the target with what was asked for by name. */
  readonly #selected = new Map<
    string,
    { readonly target: ProxyResources; readonly names: ReadonlySet<string>; readonly content: Content }
  >();
  /** Endpoints that were asked for last and are not there: made once, for there may be very many. */
  #absent: { readonly names: readonly string[]; readonly kept: Content } | undefined;
  /** Endpoint names that new routes wait for. */
  #warming = new Set<string>();
  #warmingUntilMs = 0;
  #routingPending = false;
  #routingSettledAtMs = Number.NEGATIVE_INFINITY;
  #deadlineMs: number | undefined;

  constructor(stream: StreamView, shared: SharedWork) {
    this.#stream = stream;
    this.#shared = shared;
  }

  /** What the protocol machine is to compare with what it has sent. */
  content(typeUrl: string): Content | undefined {
    return this.#visible.get(typeUrl);
  }

  get deadlineMs(): number | undefined {
    return this.#deadlineMs;
  }

  /** Everything wanted has been shown and answered. */
  get converged(): boolean {
    if (!this.#target) return false;
    for (const url of this.#target.contents.keys()) {
      if (this.#stream.subscribedNames(url) === undefined) continue;
      const content = this.#wanted(this.#target, url);
      if (!content) continue;
      if (url !== ENDPOINT_TYPE.url && this.#visible.get(url)?.version !== content.version) return false;
      if (this.#pending(url)) return false;
    }
    return true;
  }

  /** What to lead the client to from the next `advance` on. */
  aim(target: ProxyResources): void {
    this.#target = target;
  }

  /** After a target, a request or the deadline. The caller then refreshes the protocol machine. */
  advance(nowMs: number): void {
    const target = this.#target;
    if (!target) return;
    this.#deadlineMs = undefined;
    this.#noteRouting(nowMs);
    this.#advanceClusters(target, nowMs);
    this.#advanceEndpoints(target);
    const held = this.#clustersInTheWay(target, nowMs);
    for (const url of target.contents.keys()) {
      if (url === CLUSTER_TYPE.url || url === ENDPOINT_TYPE.url || url === NAME_TABLE_TYPE.url) continue;
      const content = this.#wanted(target, url);
      if (!content) continue;
      const routing = isRouting(url);
      const before = this.#visible.get(url);
      // Who asks for virtual hosts asks for their clusters too, and somebody waits for them.
      const waits = this.#pending(url) || (routing && held && url !== VIRTUAL_HOST_TYPE.url);
      if (before && waits && !this.#asksMore(url)) continue;
      if (routing && before && before.version !== content.version) this.#routingPending = true;
      this.#show(url, content);
    }
    this.#advanceNames(target);
  }

  /** A name that is answered before its listener is there leads its caller past the mesh: names follow what they lead to. */
  #advanceNames(target: ProxyResources): void {
    const wanted = target.contents.get(NAME_TABLE_TYPE.url);
    if (!wanted) return;
    const behind = this.#routingPending || ROUTING.some((url) => this.#visible.get(url)?.version !== this.#wanted(target, url)?.version);
    if (this.#visible.has(NAME_TABLE_TYPE.url) && (behind || this.#pending(NAME_TABLE_TYPE.url))) return;
    this.#visible.set(NAME_TABLE_TYPE.url, wanted);
  }

  #show(url: string, content: Content): void {
    this.#visible.set(url, content);
    this.#shownFor.set(url, this.#asked(url));
  }

  #asked(url: string): ReadonlySet<string> {
    return this.#stream.askedNames?.(url) ?? NO_NAMES;
  }

  /** Names that what is shown knows nothing of: they would be answered as not there. Who asks is owed an answer, pending or not. */
  #asksMore(url: string): boolean {
    const { lazy } = this.#target ?? {};
    const asks = lazy !== undefined && (lazy.contents.has(url) || url === VIRTUAL_HOST_TYPE.url);
    return asks && this.#shownFor.get(url) !== this.#asked(url);
  }

  /** What the target has for the client: of what is given on demand, what it has asked for. */
  #wanted(target: ProxyResources, url: string): Content | undefined {
    const content = target.contents.get(url);
    const { lazy } = target;
    if (!lazy || !content) return content;
    const more = lazy.contents.get(url);
    if (!more && url !== VIRTUAL_HOST_TYPE.url) return content;
    const names = this.#asked(url);
    const known = this.#selected.get(url);
    if (known?.target === target && known.names === names) return known.content;
    const made = more ? withNamed(content, more, names) : selectHosts(lazy.hosts, names, lazy.namesRoutes);
    // The same names under a new target mostly lead to the same.
    const next = known?.names === names && known.content.version === made.version ? known.content : made;
    this.#selected.set(url, { target, names, content: next });
    return next;
  }

  #pending(url: string): boolean {
    return this.#stream.status(url).state === 'STALE';
  }

  #noteRouting(nowMs: number): void {
    const pending = ROUTING.some((url) => this.#pending(url));
    if (this.#routingPending && !pending) this.#routingSettledAtMs = nowMs;
    this.#routingPending = pending;
  }

  /** New or changed clusters of the target that the client has not yet taken with their endpoints. */
  #clustersInTheWay(target: ProxyResources, nowMs: number): boolean {
    const wanted = this.#wanted(target, CLUSTER_TYPE.url);
    const visible = this.#visible.get(CLUSTER_TYPE.url);
    if (!wanted || !visible || this.#stream.subscribedNames(CLUSTER_TYPE.url) === undefined) return false;
    if (this.#pending(CLUSTER_TYPE.url)) return true;
    if (this.#shared.changes(visible, wanted).some((c) => c.changed.length > 0)) return true;
    if (this.#warming.size === 0) return false;
    if (nowMs >= this.#warmingUntilMs) {
      this.#warming.clear();
      return false;
    }
    const subscribed = this.#stream.subscribedNames(ENDPOINT_TYPE.url);
    const taken = subscribed !== undefined && !this.#pending(ENDPOINT_TYPE.url) && this.#endpointsShown();
    for (const name of this.#warming) if (taken && (subscribed === '*' || subscribed.has(name))) this.#warming.delete(name);
    if (this.#warming.size > 0) this.#wake(this.#warmingUntilMs);
    return this.#warming.size > 0;
  }

  /** The endpoints that the client has asked for are in what it was shown, so an answered response has carried them. */
  #endpointsShown(): boolean {
    const names = this.#stream.subscribedNames(ENDPOINT_TYPE.url);
    const shown = this.#visible.get(ENDPOINT_TYPE.url);
    if (names === undefined || !shown) return false;
    return this.#shared.missing(shown, names).length === 0;
  }

  #advanceClusters(target: ProxyResources, nowMs: number): void {
    const wanted = this.#wanted(target, CLUSTER_TYPE.url);
    assert(wanted, 'a target has clusters');
    const visible = this.#visible.get(CLUSTER_TYPE.url);
    if (!visible || this.#stream.subscribedNames(CLUSTER_TYPE.url) === undefined) {
      this.#show(CLUSTER_TYPE.url, wanted);
      return;
    }
    if (this.#pending(CLUSTER_TYPE.url) && !this.#asksMore(CLUSTER_TYPE.url)) return;
    if (visible === wanted) return;
    const leaving = this.#leaving(visible, wanted);
    const next = leaving.length > 0 && !this.#mayRemove(target, nowMs) ? withMore(wanted, leaving) : wanted;
    if (next.version === visible.version && !this.#asksMore(CLUSTER_TYPE.url)) return;
    this.#beginWarming(wanted, visible, nowMs);
    this.#show(CLUSTER_TYPE.url, next);
  }

  #leaving(visible: Content, wanted: Content): readonly EncodedResource[] {
    const names = this.#shared.changes(visible, wanted).flatMap((c) => c.removed);
    return names.map((name) => visible.resources.get(name)).filter((r) => r !== undefined);
  }

  #mayRemove(target: ProxyResources, nowMs: number): boolean {
    if (this.#routingPending) return false;
    for (const url of ROUTING) {
      if (this.#stream.subscribedNames(url) === undefined) continue;
      // A client that refused its new routes still runs the old ones and needs their clusters.
      if (this.#stream.status(url).state === 'NACK') return false;
      if (this.#visible.get(url)?.version !== this.#wanted(target, url)?.version) return false;
    }
    const at = this.#routingSettledAtMs + REMOVAL_QUIET_MS;
    if (nowMs >= at) return true;
    this.#wake(at);
    return false;
  }

  #beginWarming(wanted: Content, visible: Content, nowMs: number): void {
    const names = this.#stream.subscribedNames(CLUSTER_TYPE.url);
    const asked = this.#asked(CLUSTER_TYPE.url);
    for (const { changed } of this.#shared.changes(visible, wanted)) {
      for (const { name, endpointsName } of changed) {
        if (endpointsName === undefined || (names !== '*' && !names?.has(name))) continue;
        if (visible.resources.has(name)) continue; // a changed cluster serves on while its successor warms
        if (asked.has(name)) continue; // no route that is to come waits for it
        this.#warming.add(endpointsName);
        this.#warmingUntilMs = nowMs + WARMING_WAIT_MS;
      }
    }
    if (this.#warming.size > 0) this.#wake(this.#warmingUntilMs);
  }

  #advanceEndpoints(target: ProxyResources): void {
    const wanted = target.contents.get(ENDPOINT_TYPE.url);
    assert(wanted, 'a target has endpoints');
    if (this.#visible.has(ENDPOINT_TYPE.url) && this.#pending(ENDPOINT_TYPE.url)) return;
    const names = this.#stream.subscribedNames(ENDPOINT_TYPE.url);
    const missing = names === undefined ? [] : this.#shared.missing(wanted, names);
    if (missing.length === 0) {
      this.#visible.set(ENDPOINT_TYPE.url, wanted);
      return;
    }
    const shown = this.#visible.get(ENDPOINT_TYPE.url);
    // Endpoints that were sent once stay as they are: their cluster is about to be removed.
    const known = this.#absent && sameNames(this.#absent.names, missing) ? this.#absent.kept : undefined;
    const kept = known ?? contentOf(new Map(missing.map((name) => [name, shown?.resources.get(name) ?? emptyAssignment(name)])));
    this.#absent = { names: missing, kept };
    this.#visible.set(ENDPOINT_TYPE.url, layered([wanted, kept]));
  }

  #wake(atMs: number): void {
    this.#deadlineMs = Math.min(this.#deadlineMs ?? Number.POSITIVE_INFINITY, atMs);
  }
}

const isRouting = (url: string): boolean => ROUTING.some((routing) => routing === url);

const withNamed = (content: Content, more: Content, names: ReadonlySet<string>): Content => {
  const found = [...names].flatMap((name) => (content.resources.has(name) ? [] : (more.resources.get(name) ?? [])));
  return found.length === 0 ? content : layered([...layersOf(content), contentOf(new Map(found.map((r) => [r.name, r])))]);
};

const sameNames = (a: readonly string[], b: readonly string[]): boolean =>
  a === b || (a.length === b.length && a.every((name, i) => name === b[i]));

const withMore = (wanted: Content, more: readonly EncodedResource[]): Content =>
  layered([...layersOf(wanted), contentOf(new Map(more.map((r) => [r.name, r])))]);
