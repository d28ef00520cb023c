// What the server's machines of both protocol variants have in common: what a request was, and how a type stands.
import type { Node } from './gen/types.ts';

export type RequestKind = 'subscribe' | 'ack' | 'nack' | 'stale';
export interface RequestOutcome {
  readonly kind: RequestKind;
  readonly typeUrl: string;
  /** Present on the first request of a stream. */
  readonly node?: Node | undefined;
  readonly message?: string | undefined;
}

export interface TypeStatus {
  readonly state: 'SYNCED' | 'NOT SENT' | 'STALE' | 'NACK';
  readonly version: string;
  readonly ackedVersion: string;
  readonly nack?: { readonly message: string; readonly version: string } | undefined;
}

/** What a stream is subscribed to: everything, or names. */
export type Subscribed = '*' | ReadonlySet<string>;

/** What a name takes beside its characters. */
const NAME_BYTES = 64;

/** Of a name that is kept. */
export const bytesOfName = (name: string): number => NAME_BYTES + name.length;

export const bytesOfNames = (names: Iterable<string>): number => {
  let bytes = 0;
  for (const name of names) bytes += bytesOfName(name);
  return bytes;
};

/** The server's side of one stream, whichever variant of the protocol it speaks. */
export interface DiscoveryMachine {
  /** What a type is subscribed to; undefined when it is not. */
  subscribedNames(typeUrl: string): Subscribed | undefined;
  /** Names that were asked for one by one, the wildcard aside. Absent: the protocol cannot say so. */
  askedNames?(typeUrl: string): ReadonlySet<string>;
  /** Bytes, about, that the client's own words take: names that it asked for, and versions that it says it has. */
  readonly heldBytes: number;
  status(typeUrl: string): TypeStatus;
  /** The content may have changed: pushes every subscribed type that differs, in order. */
  refresh(): void;
}
