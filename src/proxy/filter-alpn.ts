// istio.alpn: tells the far sidecar, by ALPN, which HTTP version rides inside mTLS. Upstreams are spoken to in HTTP/1.1.

import type { AnyMessage } from '../xds/gen/types.ts';
import type { HttpFilterFactory } from './http-filter.ts';

interface AlpnConfig {
  readonly alpn_override?: readonly { readonly upstream_protocol?: string; readonly alpn_override?: readonly string[] }[];
}

export const alpnFilter: HttpFilterFactory = {
  compile: (typed: AnyMessage | undefined) => {
    const config = (typed ?? {}) as unknown as AlpnConfig;
    const http11 = config.alpn_override?.find((o) => o.upstream_protocol === 'HTTP11')?.alpn_override;
    return {
      onRequest: (exchange) => {
        if (http11 !== undefined && http11.length > 0) exchange.upstreamAlpn = http11;
        return undefined;
      },
    };
  },
};
