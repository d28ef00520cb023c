// An HTTP filter: pure and synchronous on the request path unless it says `wait`. Compiled once per listener (and once per
// distinct route override); one compiled filter serves every exchange, so it keeps nothing per request but in `info` and in the
// task of a `wait`.

import type { RequestView } from '../../plan/request-view.ts';
import type { ResponseFlag } from '../../plan/response-flag.ts';
import type { RouteMatch } from '../../plan/route.ts';
import type { StreamInfo } from '../../plan/stream-info.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import type { AnyMessage } from '../../xds/gen/types.ts';
import type { DownstreamFacts } from '../connection-facts.ts';
import type { ListenerContext } from '../exchange/observer.ts';
import type { BodyPath } from '../exchange/response-pace.ts';
import type { RouteTable } from '../exchange/route-table.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import type { RequestTrace } from '../tracing/request-trace.ts';

/** What a filter may see and change of one exchange. The same object for every exchange of a connection. */
export interface FilterExchange extends RequestView {
  readonly info: StreamInfo;
  method: string;
  path: string;
  authority: string;
  readonly requestHeaders: HeaderBlock;
  readonly scheme: string;
  /** What the client wants to speak behind this request's head, lower case; '': it is none of those. */
  readonly upgrade: string;
  /** The request ends with what has come. */
  readonly requestEnded: boolean;
  /** The request's length is not told before. A filter that has seen the whole body may set it and say so. */
  requestChunked: boolean;
  /** undefined when no route matched. */
  readonly route: RouteMatch | undefined;
  /** Where routes are chosen from. */
  readonly routes: RouteTable;
  readonly context: ListenerContext;
  random(): number;
  /** What the cluster of the route will be spoken to. */
  readonly upstreamHttp2: boolean;
  /** Overrides the ALPN offered on the upstream connection (istio.alpn). */
  upstreamAlpn: readonly string[] | undefined;
  /** What a server answers goes to the client through it. */
  responsePace: BodyPath | undefined;
  /** Those that came; a filter that has them sent otherwise takes them away. */
  responseTrailers: HeaderBlock | undefined;
  /** What goes upstream is gRPC. */
  isGrpc: boolean;
  /** Changes an answer of the proxy's own before the response filters see it; answers its body. */
  ownAnswer: ((headers: HeaderBlock, status: number, body: Buffer) => Buffer) | undefined;
  /** Behind `body`: this goes upstream instead. */
  replaceBody(bytes: Buffer): void;
  /** The client's connection. */
  readonly facts: DownstreamFacts;
  /** undefined: the listener traces nothing. */
  readonly trace: RequestTrace | undefined;
  /** The end of a `wait`, told with the verdict it came to. Unheard unless `task` is what the exchange waits for. */
  proceed(task: FilterTask, verdict: FilterVerdict): void;
  /** What a filter changed may lead elsewhere: the route is chosen again before anybody else looks at it. */
  clearRoute(): void;
  /** The same at once. */
  reroute(): void;
  /** What a filter wants to know again of this request, in its onResponse for instance. */
  note(filter: HttpFilter, value: unknown): void;
  noteOf(filter: HttpFilter): unknown;
}

/** What a filter waits for. */
export interface FilterTask {
  /** The request is over without it: whatever runs for it ends, nobody listens any more. */
  cancel(): void;
}

/** What has come of a request's body. Its pieces may be read until the verdict is given. */
export interface RequestBody {
  readonly pieces: readonly Buffer[];
  readonly bytes: number;
  /** The request has ended; false: more than was asked for has come. */
  readonly whole: boolean;
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
      /** Not an error: neither the route's response headers nor local_reply_config change it. */
      readonly asItIs?: boolean;
    }
  | { readonly kind: 'delay'; readonly delayMs: number; readonly flag?: ResponseFlag }
  // The filter calls exchange.proceed(task, …) later, never before it has returned this.
  | { readonly kind: 'wait'; readonly task: FilterTask }
  // onBody follows once the request has ended or more than `most` bytes of its body have come; of an upgrade at once, without a body.
  // The body is kept for whoever sends it.
  | { readonly kind: 'body'; readonly most: number }
  // Told to proceed() only: all filters are asked anew, from the first; those before have decided of a route that is not the route now.
  | { readonly kind: 'again' };

export interface HttpFilter {
  /** After the route is known. `perRoute` is the compiled override of the most specific level (route, virtual host), if any. */
  onRequest?(exchange: FilterExchange, perRoute: unknown): FilterVerdict;
  /** After a `delay` has passed. */
  afterDelay?(exchange: FilterExchange, perRoute: unknown): FilterVerdict;
  /** After `body`. */
  onBody?(exchange: FilterExchange, body: RequestBody, perRoute: unknown): FilterVerdict;
  /** Response head, upstream's or a local reply's, before it is written. `hasBody`: something follows it. */
  onResponse?(exchange: FilterExchange, responseHeaders: HeaderBlock, perRoute: unknown, hasBody?: boolean): void;
  /** The request is over of which it noted something. */
  done?(noted: unknown): void;
  /** Its chain is gone: timers, counts and calls of its own end. Exchanges that run keep it until they are over. */
  close?(): void;
}

/** Where a filter is compiled. */
export interface FilterSetting {
  readonly env: ProxyEnvironment;
  /** This filter in this version of its listener, the same for all workers (env.sharing keys). */
  readonly place: string;
}

export interface HttpFilterFactory {
  /** Throws PlanError naming the field it must refuse. `typedConfig` of a TypedStruct is given unwrapped as {'@type', ...value}. */
  compile(typedConfig: AnyMessage | undefined, context: ListenerContext, setting: FilterSetting): HttpFilter;
  /**
   * The compiled form of a typed_per_filter_config entry. `place`: where it stands, the same for all workers. `above`: the
   * compiled form of what the next less specific level says to a filter of this name.
   */
  compilePerRoute?(typedConfig: AnyMessage, env: ProxyEnvironment, place: string, above: unknown): unknown;
}
