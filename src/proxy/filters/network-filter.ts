// What stands before the last filter of a chain and decides about whole connections: limits, facts, L4 authorization.
// Asked once per connection when its chain is known, before anything is dialled or read for it.

import type { Socket } from 'node:net';
import type { ResponseFlag } from '../../plan/response-flag.ts';
import type { AnyMessage } from '../../xds/gen/types.ts';
import type { DownstreamFacts } from '../connection-facts.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import type { FilterTask } from './http-filter.ts';

/** Why a connection is closed without being served. */
export interface Refusal {
  /** What the log calls the close (downstream local close reason). */
  readonly reason: string;
  /** Connection termination details; '' none. */
  readonly details: string;
  /** How long the client is kept waiting for the close. */
  readonly delayMs: number;
  readonly flag?: ResponseFlag;
  readonly responseDetails?: string;
}

export interface NetworkFilter {
  /** undefined: let it in. May leave facts in `facts.filterState` and `facts.dynamicMetadata`. */
  admit(facts: DownstreamFacts): Refusal | undefined;
  /** True: it must ask somebody else first, so `ask` is called in place of `admit`. */
  waits?(facts: DownstreamFacts): boolean;
  /** `decided` is called once, never before this has returned, never after cancel(). Nothing is read or dialled meanwhile. */
  ask?(facts: DownstreamFacts, decided: (refusal: Refusal | undefined) => void): FilterTask;
  /** A connection that it let in is over, or is served by another chain after all. */
  released?(facts: DownstreamFacts): void;
  /** Its chain is gone. */
  close?(): void;
}

/** Throws PlanError for configuration it must refuse. `place`: this filter in this version of its listener, for all workers. */
export type NetworkFilterFactory = (config: AnyMessage | undefined, env: ProxyEnvironment, path: string, place: string) => NetworkFilter;

/** Asks all of them, beginning with the one at `from`. The first that refuses ends it, and what was counted before it is given back; a number is the place of one that waits. */
export const admit = (filters: readonly NetworkFilter[], facts: DownstreamFacts, from = 0): Refusal | number | undefined => {
  for (let i = from; i < filters.length; i++) {
    const filter = filters[i];
    if (filter?.waits?.(facts) === true) return i;
    const refusal = filter?.admit(facts);
    if (refusal === undefined) continue;
    release(filters, facts, i);
    return refusal;
  }
  return undefined;
};

/** What `admit` began and stopped at: the filter at `at` decides. A client that goes away meanwhile takes its question back. */
export const decideLater = (
  filters: readonly NetworkFilter[],
  at: number,
  facts: DownstreamFacts,
  socket: Socket,
  decided: (refusal: Refusal | undefined) => void,
): void => {
  const end = (decision: Refusal | undefined): void => {
    socket.off('close', gone);
    const refusal = decision ?? (socket.destroyed ? LEFT : undefined);
    if (refusal !== undefined) release(filters, facts, at);
    decided(refusal);
  };
  const gone = (): void => {
    task?.cancel();
    end(LEFT);
  };
  const task = filters[at]?.ask?.(facts, end);
  socket.on('close', gone);
};

const LEFT: Refusal = { reason: '', details: '', delayMs: 0 };

/** The first `count` of them, or all. */
export const release = (filters: readonly NetworkFilter[], facts: DownstreamFacts, count = filters.length): void => {
  for (let i = 0; i < count; i++) filters[i]?.released?.(facts);
};
