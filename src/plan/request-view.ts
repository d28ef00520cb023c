// What the decisions of this room see of a request, whatever protocol carried it.
import type { HeaderBlock } from '../wire/header-block.ts';
import type { JsonObject } from '../xds/gen/types.ts';
import type { HashPolicyPlan } from './route-plan.ts';

export interface RequestView {
  readonly method: string;
  /** Path with query, as it is now (after normalisation, before a route's rewrite). */
  readonly path: string;
  /** Host with port when the client sent one. */
  readonly authority: string;
  readonly scheme: string;
  readonly headers: HeaderBlock;
  /** Facts of the downstream TLS connection; absent on plain text. */
  readonly tls?: { readonly presented: boolean; readonly validated: boolean } | undefined;
  /** Dynamic metadata by filter name, as the filters before the router left it. */
  readonly dynamicMetadata?: JsonObject | undefined;
  /** Client address without port (hash policy, XFF decisions). */
  readonly sourceIp?: string | undefined;
  /** What a hash policy makes of the request; undefined: it finds nothing to hash. */
  hash?(policies: readonly HashPolicyPlan[]): bigint | undefined;
  /** True when Envoy would call the request internal (x-envoy-internal). */
  readonly internal?: boolean | undefined;
}
