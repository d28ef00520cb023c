// What authorization sees of a request, or of a connection that carries no requests yet. Asked field by field, so that what no
// policy mentions costs nothing.
import type { JsonObject } from '../../xds/gen/types.ts';
import type { RequestView } from '../request-view.ts';
import type { TlsFacts } from '../stream-info.ts';

export interface AuthzView {
  /** undefined: a connection, which has no headers and no path. */
  readonly request: RequestView | undefined;
  /** The address the client meant. */
  readonly localIp: string;
  readonly localPort: number;
  /** Whom the connection comes from: the TCP peer, or whom a PROXY protocol header names. */
  readonly sourceIp: string;
  /** The TCP peer. */
  readonly directRemoteIp: string;
  /** Whom the request comes from: `sourceIp`, or what x-forwarded-for says of it. */
  readonly remoteIp: string;
  readonly sni: string;
  /** undefined on plain text. */
  readonly tls: TlsFacts | undefined;
  readonly dynamicMetadata: JsonObject | undefined;
  /** Of the route; undefined when there is none. */
  readonly routeMetadata: JsonObject | undefined;
  readonly filterState: { readonly [key: string]: unknown } | undefined;
}

export type AuthzMatch = (view: AuthzView) => boolean;
