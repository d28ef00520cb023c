// What the measuring needs to know of a contender.
import type { Path } from '../scenarios.ts';

/** One process tree that stands in the way of the traffic; its figures count. */
export type Hop = () => readonly number[];

export interface Route {
  /** Runs a command where the load starts; empty on the host. */
  readonly via: readonly string[];
  readonly host: string;
  readonly port: number;
  readonly hops: readonly Hop[];
  /** What is asked for; `/` without headers when absent. For wrk alone. */
  readonly request?: { readonly path: string; readonly headers: readonly string[] };
  /** For `inbound-tls`: the client's certificate and what it asks for. */
  readonly tls?: { readonly cert: string; readonly key: string; readonly alpn: string; readonly sni: string };
}

export interface Contender {
  readonly name: string;
  /** What it is and how it is configured, for the report; facts are added as they are found. */
  note: string;
  /** A reason instead of a route: this contender cannot do it. */
  route(path: Path): Route | string;
  /** Answers why a path is not what it says, after a first request: bytes passed on unread, for example. */
  refuses?(path: Path, signal: AbortSignal): Promise<string | undefined>;
  /** The end of its logs, for the report of a failure; without access log. */
  lastWords?(): string;
  /** After each turn: what would grow without end is made short. */
  tidy?(): void;
  /** Roots of process trees that are ours although we did not start them ourselves. */
  roots(): readonly number[];
}
