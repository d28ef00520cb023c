// What stands before the last filter of a chain and decides about whole connections: limits, facts, L4 authorization.
// Asked once per connection when its chain is known, before anything is dialled or read for it.

import type { AnyMessage } from '../../xds/gen/types.ts';
import type { DownstreamFacts } from '../connection-facts.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';

/** Why a connection is closed without being served. */
export interface Refusal {
  /** What the log calls the close (downstream local close reason). */
  readonly reason: string;
  /** Connection termination details; '' none. */
  readonly details: string;
  /** How long the client is kept waiting for the close. */
  readonly delayMs: number;
}

export interface NetworkFilter {
  /** undefined: let it in. May leave facts in `facts.filterState` and `facts.dynamicMetadata`. */
  admit(facts: DownstreamFacts): Refusal | undefined;
  /** A connection that it let in is over, or is served by another chain after all. */
  released?(facts: DownstreamFacts): void;
  /** Its chain is gone. */
  close?(): void;
}

/** Throws PlanError for configuration it must refuse. `place`: this filter in this version of its listener, for all workers. */
export type NetworkFilterFactory = (config: AnyMessage | undefined, env: ProxyEnvironment, path: string, place: string) => NetworkFilter;

/** Asks all of them; the first that refuses ends it, and what was counted before it is given back. */
export const admit = (filters: readonly NetworkFilter[], facts: DownstreamFacts): Refusal | undefined => {
  for (let i = 0; i < filters.length; i++) {
    const refusal = filters[i]?.admit(facts);
    if (refusal === undefined) continue;
    for (let j = 0; j < i; j++) filters[j]?.released?.(facts);
    return refusal;
  }
  return undefined;
};

export const release = (filters: readonly NetworkFilter[], facts: DownstreamFacts): void => {
  for (const filter of filters) filter.released?.(facts);
};
