// The descriptors of a request: by the rules of its route and of its virtual host, or by a filter's own where it has some.

import type { Descriptor, LimitedRequest } from '../../plan/rate-limit/descriptor.ts';
import { describeRequest, type RateLimitPolicy } from '../../plan/rate-limit/policy.ts';
import type { RouteMatch } from '../../plan/route.ts';
import type { VhRateLimitsOptions } from '../../xds/gen/types.ts';
import type { FilterExchange } from './http-filter.ts';

/** When a virtual host's rules apply: where its route has none (override), besides the route's (include), never (ignore). */
export type VirtualHostRule = 'override' | 'include' | 'ignore';

export const compileVirtualHostRule = (option: VhRateLimitsOptions | undefined): VirtualHostRule =>
  option === 'INCLUDE' ? 'include' : option === 'IGNORE' ? 'ignore' : 'override';

/** Whether the route forwards: others have no rules, and Envoy asks nobody about them. */
export const forwards = (match: RouteMatch | undefined): match is RouteMatch =>
  match !== undefined && (match.route.action === 'cluster' || match.route.action === 'weighted');

const limitedRequest = (exchange: FilterExchange, ownCluster: string): LimitedRequest => ({
  request: exchange,
  info: exchange.info,
  clusterName: exchange.route?.clusterName ?? '',
  ownCluster,
});

/** Envoy's two filters read the rules of routes differently. */
export interface RuleReader {
  /** Rules with a disable_key are passed over: there is no runtime to say that they are in force. */
  readonly skipsDisabled: boolean;
  /** What counts when the response is over is not counted before. */
  readonly waitsForEnd: boolean;
}

/** `own`: used in place of the route's when there are any. */
export const describeByRoute = (
  exchange: FilterExchange,
  ownCluster: string,
  own: RateLimitPolicy,
  stage: number,
  virtualHost: VirtualHostRule,
  reader: RuleReader,
): readonly Descriptor[] => {
  const match = exchange.route;
  const descriptors: Descriptor[] = [];
  const from = limitedRequest(exchange, ownCluster);
  if (own.length > 0) {
    for (const rule of own) if (!rule.onStreamDone) push(describeRequest(rule, from), descriptors);
  } else if (forwards(match)) {
    for (const rules of policiesOf(match, virtualHost)) {
      for (const rule of rules) {
        if (rule.stage !== stage || (reader.skipsDisabled && rule.disableKey !== '') || (reader.waitsForEnd && rule.onStreamDone)) continue;
        push(describeRequest(rule, from), descriptors);
      }
    }
  }
  return descriptors;
};

const policiesOf = (match: RouteMatch, virtualHost: VirtualHostRule): readonly RateLimitPolicy[] => {
  const { rateLimits, includeVirtualHostRateLimits } = match.route;
  const rule = includeVirtualHostRateLimits ? 'include' : virtualHost;
  const both = rule === 'include' || (rule === 'override' && rateLimits.length === 0);
  return both ? [rateLimits, match.virtualHost.rateLimits] : [rateLimits];
};

/** The rules that apply once the response is over; undefined: there are none. A filter's own go in place of the route's. */
export const describeAtEnd = (
  exchange: FilterExchange,
  ownCluster: string,
  own: RateLimitPolicy,
  stage: number,
  virtualHost: VirtualHostRule,
): (() => readonly Descriptor[]) | undefined => {
  const match = exchange.route;
  if (!forwards(match)) return undefined;
  const rules: RateLimitPolicy =
    own.length > 0
      ? own
      : policiesOf(match, virtualHost)
          .flat()
          .filter((rule) => rule.stage === stage);
  if (!rules.some((rule) => rule.onStreamDone)) return undefined;
  return () => {
    const descriptors: Descriptor[] = [];
    const from = limitedRequest(exchange, ownCluster);
    for (const rule of rules) if (rule.onStreamDone) push(describeRequest(rule, from), descriptors);
    return descriptors;
  };
};

const push = (descriptor: Descriptor | undefined, to: Descriptor[]): void => {
  if (descriptor !== undefined) to.push(descriptor);
};
