// The client side of one incremental xDS stream (aggregated or of one type), without I/O or clock: what is subscribed, which version of
// each resource was accepted, what is answered. It outlives the connection: on a new stream every subscription is sent again with the
// versions of what is there, so that only what has changed comes. It never retries, and keeps no resources.
import { encode } from './codec.ts';
import {
  type Counters,
  type DiscoveryClient,
  type DiscoveryClientOptions,
  NACK_CODE,
  newCounters,
  type ReceivedResource,
  type ResourceProblem,
  rejectionText,
  type Subscription,
  sortResources,
  type TypeCounters,
} from './discovery-client.ts';
import { readDeltaResponse } from './envelope.ts';
import { pushRank, type ResourceType, resourceType } from './resource-types.ts';

interface TypeState {
  subscription: Subscription;
  /** Asked for by name although everything is asked for. */
  beside: ReadonlySet<string>;
  /** Names that this stream has been asked for, `*` among them; undefined: nothing of the type was asked on it. */
  asked: Set<string> | undefined;
  /** Name → version of what is there. */
  readonly versions: Map<string, string>;
  acceptedVersion: string;
}

const EVERYTHING = '*';
const NONE: ReadonlySet<string> = new Set();

export class DeltaClient implements DiscoveryClient {
  readonly #options: DiscoveryClientOptions;
  readonly #types = new Map<string, TypeState>();
  readonly #counters = new Map<string, Counters>();
  #send: ((bytes: Uint8Array) => void) | undefined;
  #nodeSent = false;
  /** Type whose response is being applied: what it asks for goes out with the answer. */
  #applying: string | undefined;

  constructor(options: DiscoveryClientOptions) {
    this.#options = options;
  }

  opened(send: (bytes: Uint8Array) => void): void {
    this.#send = send;
    this.#nodeSent = false;
    for (const state of this.#types.values()) state.asked = undefined;
    for (const url of [...this.#types.keys()].sort((a, b) => pushRank(a) - pushRank(b))) this.#ask(url);
  }

  closed(): void {
    this.#send = undefined;
  }

  subscribe(type: ResourceType, subscription: Subscription, beside: ReadonlySet<string> = NONE): void {
    const state = this.#types.get(type.url);
    if (state) {
      state.subscription = subscription;
      state.beside = beside;
    } else this.#types.set(type.url, { subscription, beside, asked: undefined, versions: new Map(), acceptedVersion: '' });
    if (this.#applying !== type.url) this.#ask(type.url);
  }

  subscription(type: ResourceType): Subscription | undefined {
    return this.#types.get(type.url)?.subscription;
  }

  acceptedVersion(type: ResourceType): string {
    return this.#types.get(type.url)?.acceptedVersion ?? '';
  }

  counters(type: ResourceType): TypeCounters {
    return this.#count(type.url);
  }

  /** It was dropped here: what comes later of it is new. */
  forget(type: ResourceType, name: string): void {
    this.#types.get(type.url)?.versions.delete(name);
  }

  /** Takes one response and answers it. Throws CodecError when it is no DeltaDiscoveryResponse: the stream must then be closed. */
  received(bytes: Uint8Array): void {
    const envelope = readDeltaResponse(bytes);
    const type = resourceType(envelope.typeUrl);
    const state = this.#types.get(envelope.typeUrl);
    if (!type || !state) return;
    const counters = this.#count(type.url);
    counters.updates++;
    const { resources, problems } = sortResources(type, envelope.resources, counters, this.#options.rejectUnknownFields ?? false);
    this.#applying = type.url;
    try {
      const removed = [...envelope.removed, ...envelope.unknown];
      problems.push(...this.#options.apply({ type, version: envelope.versionInfo, resources, removed }));
      for (const name of removed) state.versions.delete(name);
    } finally {
      this.#applying = undefined;
    }
    take(state, resources, problems);
    if (problems.length === 0) {
      counters.accepted++;
      counters.lastRejection = undefined;
      state.acceptedVersion = envelope.versionInfo;
      this.#request(type.url, state, { nonce: envelope.nonce });
    } else {
      counters.rejected++;
      counters.lastRejection = rejectionText(problems);
      this.#request(type.url, state, { nonce: envelope.nonce, rejection: counters.lastRejection });
    }
  }

  #ask(url: string): void {
    const state = this.#types.get(url);
    if (!state || !this.#send) return;
    const wanted = wantedOf(state);
    // An empty first request would ask for everything.
    if (state.asked === undefined ? wanted.size === 0 : same(state.asked, wanted)) return;
    this.#request(url, state, {});
  }

  #request(url: string, state: TypeState, answer: { readonly nonce?: string; readonly rejection?: string }): void {
    if (!this.#send) return;
    const wanted = wantedOf(state);
    const first = state.asked === undefined;
    const asked = state.asked ?? NONE;
    const added = [...wanted].filter((name) => !asked.has(name));
    const dropped = [...asked].filter((name) => !wanted.has(name));
    if (!wanted.has(EVERYTHING)) for (const name of dropped) state.versions.delete(name);
    state.asked = wanted;
    const node = this.#nodeSent ? undefined : this.#options.node();
    this.#nodeSent = true;
    this.#send(
      encode('envoy.service.discovery.v3.DeltaDiscoveryRequest', {
        node,
        type_url: url,
        resource_names_subscribe: added.sort(),
        resource_names_unsubscribe: dropped.sort(),
        initial_resource_versions: first ? Object.fromEntries(state.versions) : {},
        response_nonce: answer.nonce ?? '',
        error_detail: answer.rejection === undefined ? undefined : { code: NACK_CODE, message: answer.rejection },
      }),
    );
  }

  #count(url: string): Counters {
    let found = this.#counters.get(url);
    if (!found) {
      found = newCounters();
      this.#counters.set(url, found);
    }
    return found;
  }
}

/** A refused resource keeps the version that it had: on a new stream the server is told what is in force. */
const take = ({ versions }: TypeState, resources: readonly ReceivedResource[], problems: readonly ResourceProblem[]): void => {
  const bad = new Set(problems.map((p) => p.name));
  for (const { name, version } of resources) if (!bad.has(name)) versions.set(name, version ?? '');
};

const wantedOf = ({ subscription, beside }: TypeState): Set<string> =>
  subscription === EVERYTHING ? new Set([EVERYTHING, ...beside]) : new Set(subscription);

const same = (a: ReadonlySet<string>, b: ReadonlySet<string>): boolean => a.size === b.size && [...a].every((name) => b.has(name));
