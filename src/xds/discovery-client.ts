// What the client's machines of both protocol variants have in common: what they are asked for, what they give to whoever applies it,
// and what is wrong with a response before anything of it is decoded.
import { CodecError, decodeNamed } from './codec.ts';
import type { RawResource } from './envelope.ts';
import type { Node } from './gen/types.ts';
import type { ResourceType } from './resource-types.ts';

/** A resource of a response. `decode` throws CodecError; unknown fields are counted by the machine. */
export interface ReceivedResource {
  readonly name: string;
  /** Of this resource alone, where the protocol tells it (delta). */
  readonly version?: string | undefined;
  /** Further names under which it was asked for (delta). */
  readonly aliases?: readonly string[] | undefined;
  readonly bytes: Uint8Array;
  decode(): Record<string, unknown>;
}

export interface ReceivedResponse {
  readonly type: ResourceType;
  readonly version: string;
  readonly resources: readonly ReceivedResource[];
  /** Delta: the response says nothing of resources that it does not name; these are gone, or were asked for and are not there. */
  readonly removed?: readonly string[] | undefined;
}

/** One reason for refusing a response: reported to the server as `name: problem`. */
export interface ResourceProblem {
  readonly name: string;
  readonly problem: string;
}

export interface DiscoveryClientOptions {
  /** Sent with the first request of every stream. */
  readonly node: () => Node;
  /** Takes what is good in the response and names every resource that is not. Any problem makes the answer a NACK. */
  readonly apply: (response: ReceivedResponse) => readonly ResourceProblem[];
  /** Refuses a resource with a field that is not known; by default such fields are only counted, as Envoy does. */
  readonly rejectUnknownFields?: boolean;
}

/** What was asked of one type: everything, or these names. */
export type Subscription = '*' | ReadonlySet<string>;

export interface TypeCounters {
  readonly updates: number;
  readonly accepted: number;
  readonly rejected: number;
  readonly unknownFields: number;
  readonly lastRejection: string | undefined;
}

/** One stream's client, whichever variant of the protocol it speaks. It outlives the connection. */
export interface DiscoveryClient {
  opened(send: (bytes: Uint8Array) => void): void;
  closed(): void;
  /** `beside`: further names of a type that is asked for whole; only delta knows them. */
  subscribe(type: ResourceType, subscription: Subscription, beside?: ReadonlySet<string>): void;
  subscription(type: ResourceType): Subscription | undefined;
  acceptedVersion(type: ResourceType): string;
  counters(type: ResourceType): TypeCounters;
  received(bytes: Uint8Array): void;
}

export type Counters = { -readonly [K in keyof TypeCounters]: TypeCounters[K] };
export const newCounters = (): Counters => ({ updates: 0, accepted: 0, rejected: 0, unknownFields: 0, lastRejection: undefined });

/** google.rpc.Code INTERNAL: what Envoy puts into a NACK. */
export const NACK_CODE = 13;
/** A NACK's text is cut here: gRPC peers and logs have limits. */
const NACK_MESSAGE_MAX = 8192;

/** Finds what is wrong before anything is decoded: foreign types, names given twice. */
export const sortResources = (
  type: ResourceType,
  raw: readonly RawResource[],
  counters: Counters,
  rejectUnknownFields: boolean,
): { resources: ReceivedResource[]; problems: ResourceProblem[] } => {
  const problems: ResourceProblem[] = [];
  const resources = new Map<string, ReceivedResource>();
  const onUnknownField = (path: string): void => {
    counters.unknownFields++;
    if (rejectUnknownFields) throw new CodecError(path, 'is not known');
  };
  for (const r of raw) {
    if (r.typeUrl !== type.url) problems.push({ name: r.name, problem: `type ${r.typeUrl} in a response of ${type.url}` });
    else if (type.nameField !== undefined && resources.has(r.name)) problems.push({ name: r.name, problem: 'is given twice' });
    else {
      const decodeOne = () => decodeNamed(type.type, r.bytes, { onUnknownField });
      resources.set(r.name, { name: r.name, version: r.version, aliases: r.aliases, bytes: r.bytes, decode: decodeOne });
    }
  }
  return { resources: [...resources.values()], problems };
};

export const rejectionText = (problems: readonly ResourceProblem[]): string => {
  const text = problems.map((p) => `${p.name === '' ? '(unnamed)' : p.name}: ${p.problem}`).join('\n');
  return text.length > NACK_MESSAGE_MAX ? `${text.slice(0, NACK_MESSAGE_MAX - 1)}…` : text;
};
