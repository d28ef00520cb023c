// The client side of one state-of-the-world xDS stream (aggregated or of one type), without I/O or clock: what is
// subscribed, what was accepted, what is answered. It outlives the connection: `opened` begins a new stream, on
// which every subscription is sent again with the version last accepted. It never retries and never decides when
// to reconnect; it keeps no resources.
import { encode } from './codec.ts';
import {
  type Counters,
  type DiscoveryClient,
  type DiscoveryClientOptions,
  NACK_CODE,
  newCounters,
  rejectionText,
  type Subscription,
  sortResources,
  type TypeCounters,
} from './discovery-client.ts';
import { readResponse } from './envelope.ts';
import { pushRank, type ResourceType, resourceType } from './resource-types.ts';

interface TypeState {
  subscription: Subscription;
  acceptedVersion: string;
  /** Nonce of the last response of this stream, '' before the first. */
  nonce: string;
  /** Key of what this stream's last request asked; undefined when nothing was asked on this stream. */
  asked: string | undefined;
}

export class SotwClient implements DiscoveryClient {
  readonly #options: DiscoveryClientOptions;
  readonly #types = new Map<string, TypeState>();
  readonly #counters = new Map<string, Counters>();
  #send: ((bytes: Uint8Array) => void) | undefined;
  #nodeSent = false;
  /** Type whose response is being applied: its request waits for the answer that goes out anyway. */
  #applying: string | undefined;

  constructor(options: DiscoveryClientOptions) {
    this.#options = options;
  }

  /** A new stream is there. All subscriptions go out in push order. */
  opened(send: (bytes: Uint8Array) => void): void {
    this.#send = send;
    this.#nodeSent = false;
    for (const [, state] of this.#types) {
      state.nonce = '';
      state.asked = undefined;
    }
    for (const url of [...this.#types.keys()].sort((a, b) => pushRank(a) - pushRank(b))) this.#ask(url);
  }

  /** The stream is gone; what was accepted stays accepted. */
  closed(): void {
    this.#send = undefined;
  }

  get isOpen(): boolean {
    return this.#send !== undefined;
  }

  /** Replaces what is asked of a type. Sends nothing when it is what was asked already. */
  subscribe(type: ResourceType, subscription: Subscription): void {
    const state = this.#types.get(type.url);
    if (state) state.subscription = subscription;
    else this.#types.set(type.url, { subscription, acceptedVersion: '', nonce: '', asked: undefined });
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

  /** Takes one response and answers it. Throws CodecError when it is no DiscoveryResponse: the stream must then be closed. */
  received(bytes: Uint8Array): void {
    const envelope = readResponse(bytes);
    const type = resourceType(envelope.typeUrl);
    const state = this.#types.get(envelope.typeUrl);
    if (!type || !state) return; // a type nobody asked for; Envoy ignores it as well
    state.nonce = envelope.nonce;
    const counters = this.#count(type.url);
    counters.updates++;
    const { resources, problems } = sortResources(type, envelope.resources, counters, this.#options.rejectUnknownFields ?? false);
    this.#applying = type.url;
    try {
      problems.push(...this.#options.apply({ type, version: envelope.versionInfo, resources }));
    } finally {
      this.#applying = undefined;
    }
    if (problems.length === 0) {
      counters.accepted++;
      counters.lastRejection = undefined;
      state.acceptedVersion = envelope.versionInfo;
      this.#request(type.url, state, undefined);
    } else {
      counters.rejected++;
      counters.lastRejection = rejectionText(problems);
      this.#request(type.url, state, counters.lastRejection);
    }
  }

  #ask(url: string): void {
    const state = this.#types.get(url);
    if (!state || !this.#send) return;
    const key = subscriptionKey(state.subscription);
    if (state.asked === key) return;
    // An empty first request would ask for everything.
    if (state.asked === undefined && state.subscription !== '*' && state.subscription.size === 0) return;
    this.#request(url, state, undefined);
  }

  #request(url: string, state: TypeState, rejection: string | undefined): void {
    if (!this.#send) return;
    state.asked = subscriptionKey(state.subscription);
    const node = this.#nodeSent ? undefined : this.#options.node();
    this.#nodeSent = true;
    this.#send(
      encode('envoy.service.discovery.v3.DiscoveryRequest', {
        type_url: url,
        version_info: state.acceptedVersion,
        response_nonce: state.nonce,
        resource_names: state.subscription === '*' ? [] : [...state.subscription].sort(),
        node,
        error_detail: rejection === undefined ? undefined : { code: NACK_CODE, message: rejection },
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

const subscriptionKey = (s: Subscription): string => (s === '*' ? '*' : JSON.stringify([...s].sort()));
