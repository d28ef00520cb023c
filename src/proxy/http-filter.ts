// An HTTP filter: pure and synchronous on the request path unless it says `wait`. Compiled once per listener (and once per
// distinct route override); one compiled filter serves every exchange, so it keeps nothing per request but in `info`.

import type { ResponseFlag } from '../plan/response-flag.ts';
import type { RouteMatch } from '../plan/route.ts';
import type { StreamInfo } from '../plan/stream-info.ts';
import type { HeaderBlock } from '../wire/header-block.ts';
import type { AnyMessage } from '../xds/gen/types.ts';
import type { ListenerContext } from './observer.ts';

/** What a filter may see and change of one exchange. The same object for every exchange of a connection. */
export interface FilterExchange {
  readonly info: StreamInfo;
  readonly method: string;
  path: string;
  authority: string;
  readonly requestHeaders: HeaderBlock;
  /** undefined when no route matched. */
  readonly route: RouteMatch | undefined;
  readonly context: ListenerContext;
  random(): number;
  /** What the cluster of the route will be spoken to. */
  readonly upstreamHttp2: boolean;
  /** Overrides the ALPN offered on the upstream connection (istio.alpn). */
  upstreamAlpn: readonly string[] | undefined;
}

export type FilterVerdict =
  | undefined // go on
  | {
      readonly kind: 'reply';
      readonly status: number;
      readonly body: string;
      readonly details: string;
      readonly headers: readonly (readonly [string, string])[];
      readonly flag?: ResponseFlag;
      readonly grpcStatus?: number;
    }
  | { readonly kind: 'delay'; readonly delayMs: number; readonly flag?: ResponseFlag };

export interface HttpFilter {
  /** After the route is known. `perRoute` is the compiled override of the most specific level (route, virtual host), if any. */
  onRequest?(exchange: FilterExchange, perRoute: unknown): FilterVerdict;
  /** After a `delay` has passed. */
  afterDelay?(exchange: FilterExchange, perRoute: unknown): FilterVerdict;
  /** Response head, upstream's or a local reply's, before it is written. */
  onResponse?(exchange: FilterExchange, responseHeaders: HeaderBlock, perRoute: unknown): void;
}

export interface HttpFilterFactory {
  /** Throws PlanError naming the field it must refuse. `typedConfig` of a TypedStruct is given unwrapped as {'@type', ...value}. */
  compile(typedConfig: AnyMessage | undefined, context: ListenerContext): HttpFilter;
  /** The compiled form of a typed_per_filter_config entry. */
  compilePerRoute?(typedConfig: AnyMessage): unknown;
}
