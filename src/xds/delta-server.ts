// The server side of one incremental xDS stream, without I/O or clock. Each response carries what the client lacks and names what is gone.
// Rules: a resource is sent when its bytes differ from what this stream was sent or, at its first request for a type, from what the
// client says it has; a name that is asked for is always answered, with the resource or as removed. A stream keeps no list of what it
// sent: it keeps the content that it brought its client to, which it shares with others, and the few names that differ from it.
import type { Content, EncodedResource } from './content.ts';
import {
  bytesOfName,
  bytesOfNames,
  type DiscoveryMachine,
  type RequestKind,
  type RequestOutcome,
  type Subscribed,
  type TypeStatus,
} from './discovery-machine.ts';
import { deltaTail } from './envelope.ts';
import type { DeltaDiscoveryRequest } from './gen/types.ts';
import { CLUSTER_TYPE, ENDPOINT_TYPE, pushRank, resourceType, VIRTUAL_HOST_TYPE } from './resource-types.ts';
import type { SharedWork } from './shared-work.ts';

export interface DeltaServerOptions {
  /** The pieces of one message, shared with other streams. */
  readonly send: (pieces: readonly Uint8Array[], typeUrl: string) => void;
  /** What this client is to have of a type now; undefined while that is not known: nothing is sent then. */
  readonly content: (typeUrl: string) => Content | undefined;
  readonly shared: SharedWork;
  /** False while the client does not take what it was sent: nothing is sent then, until a `refresh` when it does. */
  readonly writable?: () => boolean;
  /** Told to the client as `control_plane.identifier`. */
  readonly controlPlane?: string | undefined;
}

interface TypeState {
  wildcard: boolean;
  /** Asked for by name, beside or without the wildcard. */
  names: ReadonlySet<string>;
  /** What the client has been brought to; undefined: to nothing yet. */
  base: Content | undefined;
  /** Name → version that the client has ('' none), where `base` does not tell. */
  readonly differs: Map<string, string>;
  /** Names to be answered even if there is no such resource. */
  unanswered: ReadonlySet<string>;
  /** Of `names`, and of what is kept until the next response only. */
  nameBytes: number;
  owedBytes: number;
  /** Nothing was said yet on a stream whose client starts empty: even "nothing" is an answer. */
  owesFirst: boolean;
  nonce: string;
  sentVersion: string;
  ackedVersion: string;
  pending: boolean;
  nack: { readonly message: string; readonly version: string } | undefined;
}

/** Of a client that never asks for endpoints. */
const EARLY_LISTS_MAX = 64;
const NO_NAMES: ReadonlySet<string> = new Set();

export class DeltaServer implements DiscoveryMachine {
  readonly #options: DeltaServerOptions;
  readonly #types = new Map<string, TypeState>();
  #nonces = 0;
  /** Clusters sent while endpoints were not asked for yet. */
  #early: (readonly EncodedResource[])[] = [];

  constructor(options: DeltaServerOptions) {
    this.#options = options;
  }

  subscribedNames(typeUrl: string): Subscribed | undefined {
    const state = this.#types.get(typeUrl);
    return state && scopeOf(state);
  }

  askedNames(typeUrl: string): ReadonlySet<string> {
    return this.#types.get(typeUrl)?.names ?? NO_NAMES;
  }

  get heldBytes(): number {
    let bytes = 0;
    for (const state of this.#types.values()) bytes += state.nameBytes + state.owedBytes;
    return bytes;
  }

  status(typeUrl: string): TypeStatus {
    const state = this.#types.get(typeUrl);
    if (!state || state.sentVersion === '') return { state: 'NOT SENT', version: '', ackedVersion: '' };
    const { sentVersion: version, ackedVersion, nack } = state;
    if (nack) return { state: 'NACK', version, ackedVersion, nack };
    return { state: state.pending ? 'STALE' : 'SYNCED', version, ackedVersion };
  }

  /** Takes one request; what it asks for is sent by the next `refresh`. */
  request(request: DeltaDiscoveryRequest): RequestOutcome {
    const typeUrl = request.type_url ?? '';
    const known = this.#types.get(typeUrl);
    const state = known ?? this.#opened(typeUrl, request);
    if (known) this.#resubscribe(known, request, isSelected(typeUrl));
    const nonce = request.response_nonce ?? '';
    const outcome = (kind: RequestKind, message?: string): RequestOutcome => ({ kind, typeUrl, node: request.node, message });
    if (!known || nonce === '') return outcome('subscribe');
    // Of several responses that are out the last one speaks for all.
    if (nonce !== state.nonce) return outcome('stale');
    const answers = state.pending;
    state.pending = false;
    if (request.error_detail) {
      const message = request.error_detail.message ?? '';
      state.nack = { message, version: state.sentVersion };
      return outcome('nack', message);
    }
    if (!answers) return outcome('subscribe');
    state.ackedVersion = state.sentVersion;
    state.nack = undefined;
    return outcome('ack');
  }

  refresh(): void {
    for (const url of [...this.#types.keys()].sort((a, b) => pushRank(a) - pushRank(b))) this.#push(url);
  }

  #opened(typeUrl: string, request: DeltaDiscoveryRequest): TypeState {
    const asked = request.resource_names_subscribe ?? [];
    const versions = Object.entries(request.initial_resource_versions ?? {});
    const wildcard = asked.includes('*') || isSelected(typeUrl) || (asked.length === 0 && (resourceType(typeUrl)?.wildcard ?? true));
    const names = asked.includes('*') ? asked.filter((name) => name !== '*') : asked;
    // The set that is kept is the one that others keep too: a client's own strings go with its request.
    const asNamed = names.length === 0 ? NO_NAMES : wildcard ? new Set(names) : this.#options.shared.names(names);
    const state: TypeState = {
      wildcard,
      names: asNamed,
      base: undefined,
      differs: new Map(versions),
      unanswered: asNamed,
      nameBytes: bytesOfNames(asNamed),
      owedBytes: versions.reduce((sum, [name, version]) => sum + bytesOfName(name) + version.length, 0),
      owesFirst: versions.length === 0 && wildcard,
      nonce: '',
      sentVersion: '',
      ackedVersion: '',
      pending: false,
      nack: undefined,
    };
    this.#types.set(typeUrl, state);
    if (typeUrl === ENDPOINT_TYPE.url) {
      // Clusters sent on this stream are made anew by the client: it waits for their endpoints, whatever it had before.
      if (versions.length > 0) for (const list of this.#early) for (const r of list) state.differs.delete(r.endpointsName ?? r.name);
      this.#early = [];
    }
    return state;
  }

  #resubscribe(state: TypeState, request: DeltaDiscoveryRequest, selected: boolean): void {
    const added = request.resource_names_subscribe ?? [];
    const dropped = request.resource_names_unsubscribe ?? [];
    if (added.length === 0 && dropped.length === 0) return;
    const names = new Set(state.names);
    const answer: string[] = [];
    let wildcard = state.wildcard;
    for (const name of dropped) {
      if (name === '*') wildcard = selected;
      else if (names.delete(name)) {
        state.nameBytes -= bytesOfName(name);
        state.differs.delete(name);
        // Everything is still subscribed to: whether it belongs to everything is to be said.
        if (wildcard && !selected) answer.push(name);
      }
    }
    for (const name of added) {
      if (name === '*') wildcard = true;
      else {
        if (!names.has(name)) state.nameBytes += bytesOfName(name);
        names.add(name);
        answer.push(name);
      }
    }
    // Beside everything each client has names of its own: there is nothing to share.
    const next = names.size === 0 ? NO_NAMES : wildcard ? names : this.#options.shared.names(names);
    if (wildcard !== state.wildcard) rescope(state, wildcard, next);
    state.names = next;
    for (const name of answer) state.differs.set(name, '');
    this.#owe(state, answer, dropped);
  }

  /** Who lets go of a name before it was answered waits for no answer, unless everything is asked for. */
  #owe(state: TypeState, answer: readonly string[], dropped: readonly string[]): void {
    if (answer.length === 0 && (state.unanswered.size === 0 || dropped.length === 0)) return;
    const owed = new Set(state.unanswered);
    for (const name of dropped) owed.delete(name);
    for (const name of answer) owed.add(name);
    state.unanswered = owed;
    // A name that is owed twice over counts twice until it is answered.
    state.owedBytes += bytesOfNames(answer);
  }

  #push(typeUrl: string): void {
    const state = this.#types.get(typeUrl);
    const content = this.#options.content(typeUrl);
    if (!state || !content || this.#options.writable?.() === false) return;
    if (state.base === content && state.differs.size === 0 && state.unanswered.size === 0 && !state.owesFirst) return;
    const parts = this.#lacking(state, content);
    const removed = gone(state, content, this.#options.shared);
    const first = state.owesFirst;
    state.base = content;
    state.differs.clear();
    state.unanswered = NO_NAMES;
    state.owedBytes = 0;
    state.owesFirst = false;
    if (parts.length === 0 && removed.length === 0 && !first) {
      if (state.sentVersion === '')
        state.sentVersion = state.ackedVersion = content.version; // it came back with all of it
      else if (!state.pending && !state.nack) state.sentVersion = state.ackedVersion = content.version;
      return;
    }
    this.#respond(typeUrl, state, content.version, parts, removed);
    if (typeUrl === CLUSTER_TYPE.url) this.#clustersSent(parts);
  }

  /** Lists of resources, the shared ones as they are shared. */
  #lacking(state: TypeState, content: Content): readonly (readonly EncodedResource[])[] {
    const { shared } = this.#options;
    const scope = scopeOf(state);
    const { base, differs } = state;
    const lists: (readonly EncodedResource[])[] = [];
    if (!base) {
      for (const list of shared.selected(content, scope)) {
        lists.push(differs.size === 0 ? list : list.filter((r) => differs.get(r.name) !== r.version));
      }
      return lists.filter((list) => list.length > 0);
    }
    const concerns = (r: EncodedResource): boolean => (scope === '*' || scope.has(r.name)) && !differs.has(r.name);
    for (const { changed } of shared.changes(base, content)) {
      lists.push(scope === '*' && differs.size === 0 ? changed : changed.every(concerns) ? changed : changed.filter(concerns));
    }
    const single: EncodedResource[] = [];
    for (const [name, has] of differs) {
      const r = content.resources.get(name);
      if (r && r.version !== has && (scope === '*' || scope.has(name))) {
        // What is asked for under other names than its own may be on its way already.
        if (r.name === name || !lists.some((l) => l.includes(r))) single.push(r);
      }
    }
    lists.push([...new Set(single)]);
    return lists.filter((list) => list.length > 0);
  }

  #respond(
    typeUrl: string,
    state: TypeState,
    version: string,
    parts: readonly (readonly EncodedResource[])[],
    removed: readonly string[],
  ): void {
    state.nonce = `${++this.#nonces}`;
    state.sentVersion = version;
    state.pending = true;
    state.nack = undefined;
    const { shared, controlPlane } = this.#options;
    const tail = deltaTail({ typeUrl, version, nonce: state.nonce, removed, controlPlane });
    this.#options.send([...parts.map((list) => shared.block(list, typeUrl)), tail], typeUrl);
  }

  /** Envoy makes a changed cluster anew and waits for its endpoints: they must follow even if they are the same. */
  #clustersSent(parts: readonly (readonly EncodedResource[])[]): void {
    const endpoints = this.#types.get(ENDPOINT_TYPE.url);
    if (!endpoints) {
      this.#early.push(...parts);
      if (this.#early.length > EARLY_LISTS_MAX) this.#early = [[...new Map(this.#early.flat().map((r) => [r.name, r])).values()]];
      return;
    }
    const scope = scopeOf(endpoints);
    for (const list of parts) {
      for (const r of list) {
        const name = r.endpointsName ?? r.name;
        if (scope === '*' || scope.has(name)) endpoints.differs.set(name, '');
      }
    }
  }
}

/** Of these the content is what the names asked for have led to, under names of its own: all of it is for the client. */
const isSelected = (typeUrl: string): boolean => typeUrl === VIRTUAL_HOST_TYPE.url;

const scopeOf = (state: TypeState): Subscribed => (state.wildcard ? '*' : state.names);

/** What the client has stays known when it takes to everything, or lets go of it. */
const rescope = (state: TypeState, wildcard: boolean, next: ReadonlySet<string>): void => {
  const { base } = state;
  if (base) {
    const held = new Map<string, string>();
    const kept = state.wildcard ? next : state.names;
    for (const name of kept) {
      const version = state.differs.get(name) ?? base.resources.get(name)?.version;
      if (version !== undefined) held.set(name, version);
    }
    state.differs.clear();
    for (const [name, version] of held) state.differs.set(name, version);
    state.base = undefined;
  }
  state.wildcard = wildcard;
};

/** Names that the client has, or has asked for, and that are not there. */
const gone = (state: TypeState, content: Content, shared: SharedWork): readonly string[] => {
  const scope = scopeOf(state);
  const names = new Set<string>();
  if (state.base) {
    for (const { removed } of shared.changes(state.base, content)) {
      for (const name of removed) if ((scope === '*' || scope.has(name)) && state.differs.get(name) !== '') names.add(name);
    }
  }
  for (const [name, has] of state.differs) {
    if (has !== '' && !content.resources.has(name) && (scope === '*' || scope.has(name))) names.add(name);
  }
  for (const name of shared.missing(content, state.unanswered)) names.add(name);
  return [...names];
};
