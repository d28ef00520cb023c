// istio.alpn: tells the far sidecar, by ALPN, which HTTP version rides inside mTLS.

import type { AnyMessage } from '../../xds/gen/types.ts';
import type { HttpFilterFactory } from './http-filter.ts';

interface AlpnConfig {
  readonly alpn_override?: readonly { readonly upstream_protocol?: string; readonly alpn_override?: readonly string[] }[];
}

export const alpnFilter: HttpFilterFactory = {
  compile: (typed: AnyMessage | undefined) => {
    const config = (typed ?? {}) as unknown as AlpnConfig;
    const of = (protocol: string): readonly string[] | undefined => {
      const found = config.alpn_override?.find((o) => (o.upstream_protocol ?? 'HTTP10') === protocol)?.alpn_override;
      return found === undefined || found.length === 0 ? undefined : found;
    };
    const http11 = of('HTTP11');
    const http2 = of('HTTP2');
    return {
      onRequest: (exchange) => {
        const override = exchange.upstreamHttp2 ? http2 : http11;
        if (override !== undefined) exchange.upstreamAlpn = override;
        return undefined;
      },
    };
  },
};
