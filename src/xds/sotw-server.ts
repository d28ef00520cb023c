// The server side of one state-of-the-world xDS stream, without I/O or clock. It answers a subscription, pushes
// when the content of a subscription has changed, and keeps what was sent, acknowledged and refused.
// Rules: a response is sent only if it differs from what this stream was sent (or, on a new stream, from the
// version that the client says it has). Wildcard types are sent whole, named types only with the resources that
// changed (EDS, RDS, SDS keep what a response leaves out). Clusters are added before and removed after the
// listeners and routes that name them. A refused version is never sent again while its content stays.
import { decode } from './codec.ts';
import { type Content, type EncodedResource, hashVersions } from './content.ts';
import { bytesOfNames, type RequestKind, type RequestOutcome, type TypeStatus } from './discovery-machine.ts';
import { writeResponse } from './envelope.ts';
import type { DiscoveryRequest, Node } from './gen/types.ts';
import { CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, pushRank, ROUTE_TYPE, resourceType } from './resource-types.ts';

export interface SotwServerOptions {
  readonly send: (bytes: Uint8Array, typeUrl: string) => void;
  /** What this client is to have of a type now; undefined while that is not known: nothing is sent then. */
  readonly content: (typeUrl: string) => Content | undefined;
  /** Told to the client as `control_plane.identifier`. */
  readonly controlPlane?: string | undefined;
  /** False while the client does not take what it was sent: nothing is sent then, until a `refresh` when it does. */
  readonly writable?: () => boolean;
}

interface TypeState {
  names: '*' | ReadonlySet<string>;
  nameBytes: number;
  /** The version that the client said it has when it came, until it is known what it is to have. */
  claimed: string;
  /** Name → version of what this stream's client has been sent. */
  sent: Map<string, string>;
  sentVersion: string;
  nonce: string;
  ackedVersion: string;
  /** A response is out and not yet answered. */
  pending: boolean;
  nack: { readonly message: string; readonly version: string } | undefined;
}

/** Versions of ours are short; what a client says beyond is none of them. */
const VERSION_CHARS_MAX = 256;
/** The version of a cluster set that still holds clusters on their way out. */
const HELD_SUFFIX = '+held';

export class SotwServer {
  readonly #options: SotwServerOptions;
  readonly #types = new Map<string, TypeState>();
  #nonces = 0;
  #node: Node | undefined;
  /** Encoded clusters that are gone from the content but may still be named by the client's routes. */
  readonly #held = new Map<string, EncodedResource>();
  readonly #sentClusters = new Map<string, EncodedResource>();

  constructor(options: SotwServerOptions) {
    this.#options = options;
  }

  /** The node of the stream's first request. */
  get node(): Node | undefined {
    return this.#node;
  }

  subscribedTypes(): readonly string[] {
    return [...this.#types.keys()];
  }

  /** What a type is subscribed to; undefined when it is not. */
  subscribedNames(typeUrl: string): '*' | ReadonlySet<string> | undefined {
    return this.#types.get(typeUrl)?.names;
  }

  /** Takes one request; answers it at once when there is something new to say. Throws CodecError on malformed bytes. */
  received(bytes: Uint8Array): RequestOutcome {
    return this.request(decode('envoy.service.discovery.v3.DiscoveryRequest', bytes));
  }

  /** `received` in two steps, for a server that must look at the node before it answers. */
  request(request: DiscoveryRequest): RequestOutcome {
    const typeUrl = request.type_url ?? '';
    this.#node ??= request.node;
    const outcome = (kind: RequestKind, message?: string): RequestOutcome => ({ kind, typeUrl, node: request.node, message });
    const names = request.resource_names ?? [];
    const nonce = request.response_nonce ?? '';
    const known = this.#types.get(typeUrl);
    if (!known) {
      this.#types.set(typeUrl, this.#subscribe(typeUrl, names, request.version_info ?? ''));
      this.#push(typeUrl);
      return outcome('subscribe');
    }
    // A request written before our last response arrived: the answer to that response will carry the names.
    if (nonce !== known.nonce) return outcome('stale');
    const changed = this.#rename(known, names);
    const answers = known.pending;
    known.pending = false;
    let kind: RequestKind = 'subscribe';
    const message = request.error_detail?.message ?? '';
    if (request.error_detail) {
      kind = 'nack';
      known.nack = { message, version: known.sentVersion };
    } else if (answers) {
      kind = 'ack';
      known.ackedVersion = known.sentVersion;
      known.nack = undefined;
    }
    if (changed) this.#push(typeUrl);
    this.#releaseHeld();
    return outcome(kind, message === '' ? undefined : message);
  }

  /** The content may have changed: pushes every subscribed type that differs, in order. */
  refresh(): void {
    this.#holdClusters();
    for (const url of [...this.#types.keys()].sort((a, b) => pushRank(a) - pushRank(b))) this.#push(url);
    this.#releaseHeld();
  }

  get heldBytes(): number {
    let bytes = 0;
    for (const state of this.#types.values()) bytes += state.nameBytes;
    return bytes;
  }

  status(typeUrl: string): TypeStatus {
    const state = this.#types.get(typeUrl);
    if (!state || state.sentVersion === '') return { state: 'NOT SENT', version: '', ackedVersion: state?.ackedVersion ?? '' };
    const { sentVersion: version, ackedVersion, nack } = state;
    if (nack) return { state: 'NACK', version, ackedVersion, nack };
    return { state: state.pending ? 'STALE' : 'SYNCED', version, ackedVersion };
  }

  #subscribe(typeUrl: string, names: readonly string[], said: string): TypeState {
    const wildcard = names.length === 0 && (resourceType(typeUrl)?.wildcard ?? true);
    const version = said.length > VERSION_CHARS_MAX ? '' : said;
    const named = wildcard || names.includes('*') ? '*' : new Set(names);
    const state: TypeState = {
      names: named,
      nameBytes: named === '*' ? 0 : bytesOfNames(named),
      claimed: version,
      sent: new Map(),
      sentVersion: '',
      nonce: '',
      ackedVersion: version,
      pending: false,
      nack: undefined,
    };
    return state;
  }

  #rename(state: TypeState, names: readonly string[]): boolean {
    if (state.names === '*') {
      if (names.length === 0 || names.includes('*')) return false;
      state.names = new Set(names);
      state.nameBytes = bytesOfNames(state.names);
      return true;
    }
    const before = state.names;
    if (before.size === names.length && names.every((n) => before.has(n))) return false;
    const now = new Set(names);
    // What a client lets go of it must be sent again when it asks again.
    for (const name of state.sent.keys()) if (!now.has(name)) state.sent.delete(name);
    state.names = now;
    state.nameBytes = bytesOfNames(now);
    return true;
  }

  #push(typeUrl: string): void {
    const state = this.#types.get(typeUrl);
    const content = this.#options.content(typeUrl);
    if (!state || !content || this.#options.writable?.() === false) return;
    if (state.claimed !== '') this.#resume(typeUrl, state, content);
    if (state.names === '*') this.#pushAll(typeUrl, state, content);
    else this.#pushNamed(typeUrl, state, content);
  }

  /** A client that comes back with what it should have is in step already. */
  #resume(typeUrl: string, state: TypeState, content: Content): void {
    const { claimed } = state;
    state.claimed = '';
    // Clusters sent on this stream are made anew by the client: it waits for their endpoints, whatever it had before.
    const clustersSent = typeUrl === ENDPOINT_TYPE.url && (this.#types.get(CLUSTER_TYPE.url)?.nonce ?? '') !== '';
    if (clustersSent || claimed !== versionFor(content, state.names)) return;
    for (const r of selected(content, state.names)) state.sent.set(r.name, r.version);
    state.sentVersion = claimed;
    if (typeUrl === CLUSTER_TYPE.url) this.#rememberClusters(content.resources);
  }

  #pushAll(typeUrl: string, state: TypeState, content: Content): void {
    const holding = typeUrl === CLUSTER_TYPE.url && this.#held.size > 0;
    const resources = holding ? new Map([...this.#held, ...content.resources]) : content.resources;
    const same = resources.size === state.sent.size && [...resources.values()].every((r) => state.sent.get(r.name) === r.version);
    if (same && state.sentVersion !== '') return;
    if (typeUrl === CLUSTER_TYPE.url) this.#forgetEndpoints(state, resources);
    state.sent = new Map([...resources.values()].map((r) => [r.name, r.version]));
    if (typeUrl === CLUSTER_TYPE.url) this.#rememberClusters(resources);
    this.#respond(typeUrl, state, content.version + (holding ? HELD_SUFFIX : ''), [...resources.values()]);
  }

  #pushNamed(typeUrl: string, state: TypeState, content: Content): void {
    const wanted = selected(content, state.names);
    const changed = wanted.filter((r) => state.sent.get(r.name) !== r.version);
    // Of these types what an answer leaves out does not exist: each holds everything that was asked for.
    const whole = resourceType(typeUrl)?.absenceRemoves === true;
    const fewer = whole && [...state.sent.keys()].some((name) => !content.resources.has(name));
    if (changed.length === 0 && !fewer) return;
    if (whole) state.sent.clear();
    for (const r of whole ? wanted : changed) state.sent.set(r.name, r.version);
    this.#respond(typeUrl, state, versionFor(content, state.names), whole ? wanted : changed);
  }

  #respond(typeUrl: string, state: TypeState, version: string, resources: readonly EncodedResource[]): void {
    state.nonce = `${++this.#nonces}`;
    state.sentVersion = version;
    state.pending = true;
    state.nack = undefined;
    const { controlPlane } = this.#options;
    this.#options.send(
      writeResponse({ typeUrl, versionInfo: version, nonce: state.nonce, resources: resources.map((r) => r.bytes), controlPlane }),
      typeUrl,
    );
  }

  /** Envoy makes a changed cluster anew and waits for its endpoints: they must follow even if they are the same. */
  #forgetEndpoints(clusters: TypeState, resources: ReadonlyMap<string, EncodedResource>): void {
    const endpoints = this.#types.get(ENDPOINT_TYPE.url);
    if (!endpoints) return;
    for (const r of resources.values()) {
      if (clusters.sent.get(r.name) !== r.version) endpoints.sent.delete(r.endpointsName ?? r.name);
    }
  }

  #rememberClusters(resources: ReadonlyMap<string, EncodedResource>): void {
    this.#sentClusters.clear();
    for (const [name, r] of resources) this.#sentClusters.set(name, r);
  }

  /** Keeps clusters that the new content has no more while listeners or routes are about to change as well. */
  #holdClusters(): void {
    const content = this.#options.content(CLUSTER_TYPE.url);
    const clusters = this.#types.get(CLUSTER_TYPE.url);
    if (!content || clusters?.names !== '*') return;
    for (const name of [...this.#held.keys()]) if (content.resources.has(name)) this.#held.delete(name);
    if (!this.#unsettled() && !this.#differs(LISTENER_TYPE.url) && !this.#differs(ROUTE_TYPE.url)) return;
    for (const [name, r] of this.#sentClusters) if (!content.resources.has(name)) this.#held.set(name, r);
  }

  #unsettled(): boolean {
    return [LISTENER_TYPE.url, ROUTE_TYPE.url].some((url) => this.#types.get(url)?.pending);
  }

  #differs(typeUrl: string): boolean {
    const state = this.#types.get(typeUrl);
    const content = this.#options.content(typeUrl);
    if (!state || !content) return false;
    const wanted = selected(content, state.names);
    if (wanted.some((r) => state.sent.get(r.name) !== r.version)) return true;
    return state.names === '*' && wanted.length !== state.sent.size;
  }

  /** Once the client has answered for its listeners and routes, clusters on their way out may go. */
  #releaseHeld(): void {
    if (this.#held.size === 0 || this.#unsettled()) return;
    this.#held.clear();
    this.#push(CLUSTER_TYPE.url);
  }
}

const selected = (content: Content, names: '*' | ReadonlySet<string>): readonly EncodedResource[] => {
  if (names === '*') return [...content.resources.values()];
  const out: EncodedResource[] = [];
  // Who asks for more names than there are resources is told of what is there, and costs no more than that.
  if (names.size > content.resources.size) {
    for (const [name, r] of content.resources) if (names.has(name)) out.push(r);
    return out.sort((a, b) => (a.name < b.name ? -1 : 1));
  }
  for (const name of [...names].sort()) {
    const r = content.resources.get(name);
    if (r) out.push(r);
  }
  return out;
};

/** Of named subscriptions the version speaks of the named resources only, so that others' changes are no change. */
const versionFor = (content: Content, names: '*' | ReadonlySet<string>): string =>
  names === '*' ? content.version : hashVersions(selected(content, names));
