// What a request is limited by: descriptors, each a list of keys and values. Only plain data; made per request, and only where
// rate limits are configured.

import type { RequestView } from '../request-view.ts';
import type { StreamInfo } from '../stream-info.ts';

export interface DescriptorEntry {
  readonly key: string;
  readonly value: string;
}

export interface Descriptor {
  readonly entries: readonly DescriptorEntry[];
  /** What the rate limit service is to use in place of its own limit. */
  readonly limit: LimitOverride | undefined;
  /** undefined: one. Below zero: so many are given back. */
  readonly hits: number | undefined;
  /** Whether this descriptor's limit is told in x-ratelimit headers; undefined: as the filter says. */
  readonly headers: boolean | undefined;
}

export interface LimitOverride {
  readonly requests: number;
  /** RateLimitUnit by name. */
  readonly unit: string;
}

/** What descriptors are made from. */
export interface LimitedRequest {
  readonly request: RequestView;
  readonly info: StreamInfo;
  /** Where the route leads. */
  readonly clusterName: string;
  /** Of the bootstrap's node. */
  readonly ownCluster: string;
}

/** The same text for descriptors of the same entries, and for no others. */
export const descriptorKey = (entries: readonly DescriptorEntry[]): string => {
  let out = '';
  for (const { key, value } of entries) out += `${key.length}:${key}${value.length}:${value}`;
  return out;
};
