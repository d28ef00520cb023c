// What a compiled route configuration says: plain data and compiled functions, made once, shared by all requests.

import type { HeaderBlock } from '../wire/header-block.ts';
import type { AnyMessage, JsonObject, Metadata } from '../xds/gen/types.ts';
import type { HeaderOps } from './header-ops.ts';
import type { InternalRedirectPlan } from './internal-redirect.ts';
import type { RateLimitPolicy } from './rate-limit/policy.ts';
import type { RequestView } from './request-view.ts';
import type { RetryPlan } from './retry.ts';
import type { StreamInfo } from './stream-info.ts';
import type { RouteTracing } from './tracing/route-tracing.ts';

export interface VirtualHostPlan {
  readonly name: string;
  readonly requireTls: 'none' | 'external-only' | 'all';
  readonly includeRequestAttemptCount: boolean;
  readonly includeAttemptCountInResponse: boolean;
  readonly includeTimeoutRetryHeader: boolean;
  readonly rateLimits: RateLimitPolicy;
  readonly metadata: Metadata | undefined;
  /** Name of the virtual cluster a forwarded request falls into; undefined without virtual clusters. */
  readonly virtualClusterOf: ((req: RequestView) => string) | undefined;
}

export interface MirrorPlan {
  readonly clusterName: string;
  /** Takes the cluster's name from this request header when not ''. */
  readonly clusterHeader: string;
  /** In [0,1]. */
  readonly probability: number;
  readonly traceSampled: boolean | undefined;
  /** `-shadow` goes behind the host. */
  readonly appendShadowSuffix: boolean;
  /** '': the request's. */
  readonly host: string;
  readonly headerOps: readonly HeaderOps[];
}

export type HashPolicyPlan = { readonly terminal: boolean } & (
  | { readonly kind: 'header'; readonly name: string; readonly rewrite: ((value: string) => string) | undefined }
  | {
      readonly kind: 'cookie';
      readonly name: string;
      /** undefined: no cookie is generated; 0: session cookie. */
      readonly ttlMs: number | undefined;
      readonly path: string;
      readonly attributes: readonly { readonly name: string; readonly value: string }[];
    }
  | { readonly kind: 'source-ip' }
  | { readonly kind: 'query'; readonly name: string }
  | { readonly kind: 'filter-state'; readonly key: string }
);

export interface RedirectPlan {
  readonly status: 301 | 302 | 303 | 307 | 308;
  readonly scheme: string | undefined;
  /** '' keeps the request's. */
  readonly host: string;
  /** 0 keeps the request's. */
  readonly port: number;
  /** '' keeps the request's path (or what the rewrite makes of it). */
  readonly path: string;
  readonly stripQuery: boolean;
  /** For require_tls: the host as it came, port included. */
  readonly keepHost: boolean;
}

export interface DirectResponsePlan {
  readonly status: number;
  readonly body: Uint8Array;
  /** Writes the body instead. */
  readonly format: ((info: StreamInfo, req?: HeaderBlock) => string) | undefined;
  readonly contentType: string;
}

export type HostRewrite =
  | { readonly kind: 'literal'; readonly host: string }
  | { readonly kind: 'header'; readonly name: string }
  | { readonly kind: 'path'; readonly rewrite: (path: string) => string }
  | { readonly kind: 'auto' };

/** What a route does, known without looking at weights. */
export interface CompiledRoute {
  readonly name: string;
  readonly action: 'cluster' | 'weighted' | 'redirect' | 'direct' | 'non-forwarding';
  readonly redirect: RedirectPlan | undefined;
  readonly direct: DirectResponsePlan | undefined;
  /** Whole request; 0: none. Envoy's default of 15 s is filled in. */
  readonly timeoutMs: number;
  /** Stream idle; undefined: the connection manager's; 0: off. */
  readonly idleTimeoutMs: number | undefined;
  /** undefined: the connection manager's; 0: off. */
  readonly maxStreamDurationMs: number | undefined;
  /** `max_stream_duration` is there: it stands for the route's timeout, which is off. */
  readonly streamTimes: boolean;
  /** Of `max_stream_duration`. undefined: grpc-timeout does not bound the stream; 0: it does, whatever it says. */
  readonly grpcHeaderMaxMs: number | undefined;
  readonly grpcHeaderOffsetMs: number;
  /** Of the route's timeout. undefined: grpc-timeout is ignored; 0: honoured without bound; else the bound. */
  readonly maxGrpcTimeoutMs: number | undefined;
  readonly grpcTimeoutOffsetMs: number;
  /** hedge_policy.hedge_on_per_try_timeout. */
  readonly hedges: boolean;
  readonly retry: RetryPlan | undefined;
  /** Redirects that the upstream answers are followed here; undefined: none. */
  readonly internalRedirect: InternalRedirectPlan | undefined;
  readonly hashPolicy: readonly HashPolicyPlan[];
  readonly priority: 'default' | 'high';
  /** Upgrade name in lower case → enabled. `connect` for CONNECT. */
  readonly upgrades: ReadonlyMap<string, boolean>;
  /** CONNECT ends here: what it carries goes on over TCP. */
  readonly connect: ConnectPlan | undefined;
  readonly mirrors: readonly MirrorPlan[];
  readonly clusterNotFoundStatus: 503 | 404 | 500;
  readonly autoHostRewrite: boolean;
  readonly hostRewrite: HostRewrite | undefined;
  /** Path with query → path with query; undefined: none. */
  readonly pathRewrite: ((path: string) => string) | undefined;
  readonly appendXForwardedHost: boolean;
  readonly includeVirtualHostRateLimits: boolean;
  readonly rateLimits: RateLimitPolicy;
  readonly metadata: Metadata | undefined;
  /** Told to the next hop; undefined: nothing is. */
  readonly decorator: string | undefined;
  /** What it is called in traces; told to the next hop or not. */
  readonly operation: string;
  /** undefined: as the listener says. */
  readonly tracing: RouteTracing | undefined;
  readonly bufferLimitBytes: number | undefined;
  readonly statPrefix: string;
}

export interface ConnectPlan {
  /** A POST may stand for a CONNECT. */
  readonly allowPost: boolean;
  /** What the connection begins with. */
  readonly proxyProtocol: '' | 'V1' | 'V2';
}

/** A decision: made at configuration time for every (route, weight), so that matching allocates nothing. */
export interface RouteMatch {
  readonly kind: 'route';
  readonly virtualHost: VirtualHostPlan;
  readonly route: CompiledRoute;
  /** '' when the action does not forward, or when cluster_header names no cluster. */
  readonly clusterName: string;
  /** Levels in order of application. */
  readonly requestHeaderOps: readonly HeaderOps[];
  readonly responseHeaderOps: readonly HeaderOps[];
  /** Of the weight; the route's own rewrite comes behind it. */
  readonly hostRewriteLiteral: string | undefined;
  /** `envoy.lb` of metadata_match, the weight's keys over the route's; undefined: none. */
  readonly metadataMatch: JsonObject | undefined;
  /** Most specific configuration per filter name: weight, route, virtual host, route configuration. */
  readonly typedPerFilterConfig: ReadonlyMap<string, AnyMessage>;
}

export interface NoMatch {
  readonly kind: 'no-vhost' | 'no-route';
}

/** Values by runtime key, when the bootstrap has a runtime layer. */
export type Runtime = { readonly [key: string]: number } | undefined;
