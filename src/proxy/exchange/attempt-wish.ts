// Where a request's attempts want to go: what its route, its client and what filters found say to the balancer.

import type { RouteMatch } from '../../plan/route.ts';
import type { JsonObject } from '../../xds/gen/types.ts';
import type { ClusterRuntime, PickRequest } from '../cluster/cluster-runtime.ts';
import { connectionKey, type DownstreamFacts } from '../connection-facts.ts';
import type { Exchange } from './exchange.ts';
import { lbMetadata } from './host-choice.ts';
import { requestHash } from './request-hash.ts';

export class AttemptWish implements PickRequest {
  readonly #facts: DownstreamFacts;
  originalDestination: DownstreamFacts['originalDestination'];
  hash: bigint | undefined;
  metadata: JsonObject | undefined;
  /** What the response must set, for the next request to find its host again. */
  cookies: string[] = [];

  constructor(facts: DownstreamFacts) {
    this.#facts = facts;
    this.originalDestination = facts.originalDestination;
  }

  reset(): void {
    this.hash = undefined;
    if (this.cookies.length > 0) this.cookies = [];
  }

  /** Reads the request as it came: before the route changes it. */
  begin(match: RouteMatch, cluster: ClusterRuntime, exchange: Exchange): void {
    this.metadata = lbMetadata(match, exchange.info);
    const own = this.#facts.originalDestination;
    const wanted = cluster.wantedDestination;
    this.originalDestination = wanted === undefined ? own : (wanted(exchange.requestHeaders, exchange.info.dynamicMetadata) ?? own);
    const policies = match.route.hashPolicy;
    if (policies.length > 0) this.hash = requestHash(policies, exchange, connectionKey(this.#facts), (line) => this.cookies.push(line));
  }
}
