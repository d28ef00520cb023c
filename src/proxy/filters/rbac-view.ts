// An exchange, or a connection that carries none yet, as authorization sees it. One view serves one filter: it is pointed at whom it
// is about before policies are asked, and let go after.

import type { AuthzView } from '../../plan/authz/authz-view.ts';
import type { TlsFacts } from '../../plan/stream-info.ts';
import type { JsonObject } from '../../xds/gen/types.ts';
import type { DownstreamFacts } from '../connection-facts.ts';
import type { FilterExchange } from './http-filter.ts';

const NOTHING: JsonObject = {};

/** What is the same for both: the connection's facts. */
abstract class FactsView {
  protected abstract readonly facts: DownstreamFacts | undefined;

  get localIp(): string {
    return this.facts?.localIp ?? '';
  }
  get localPort(): number {
    return this.facts?.localPort ?? 0;
  }
  get sourceIp(): string {
    return this.facts?.remoteIp ?? '';
  }
  get directRemoteIp(): string {
    const facts = this.facts;
    return facts?.directRemote?.ip ?? facts?.remoteIp ?? '';
  }
  get sni(): string {
    return this.facts?.sni ?? '';
  }
  get tls(): TlsFacts | undefined {
    return this.facts?.tls;
  }
}

export class ExchangeView extends FactsView implements AuthzView {
  request: FilterExchange | undefined;

  protected get facts(): DownstreamFacts | undefined {
    return this.request?.facts;
  }
  get remoteIp(): string {
    return this.request?.sourceIp ?? '';
  }
  get dynamicMetadata(): JsonObject | undefined {
    return this.request?.info.dynamicMetadata;
  }
  get routeMetadata(): JsonObject | undefined {
    const route = this.request?.route?.route;
    return route === undefined ? undefined : (route.metadata?.filter_metadata ?? NOTHING);
  }
  get filterState(): { readonly [key: string]: unknown } | undefined {
    return this.request?.info.filterState;
  }
}

export class ConnectionView extends FactsView implements AuthzView {
  facts: DownstreamFacts | undefined;

  get request(): undefined {
    return undefined;
  }
  get remoteIp(): string {
    return this.sourceIp;
  }
  get dynamicMetadata(): JsonObject | undefined {
    return this.facts?.dynamicMetadata;
  }
  get routeMetadata(): undefined {
    return undefined;
  }
  get filterState(): { readonly [key: string]: unknown } | undefined {
    return this.facts?.filterState;
  }
}
