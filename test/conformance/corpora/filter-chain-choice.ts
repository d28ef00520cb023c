// The filter chain that this proxy's compiled decision gives a connection.

import { compileFilterChains, DEFAULT_CHAIN, matchFilterChain, NO_CHAIN } from '../../../src/plan/filter-chain.ts';
import type { FilterChain, Listener } from '../../../src/xds/gen/types.ts';

/** What is known of a connection. */
interface Facts {
  readonly port: number;
  readonly address: string;
  readonly transport: 'tls' | 'raw_buffer';
  readonly alpn: string;
  readonly sni: string;
}

/** A client that is neither the server itself nor on loopback. */
const CLIENT = '192.0.2.1';

export const chooseChain = (listener: Listener, facts: Facts): FilterChain | string => {
  const chosen = matchFilterChain(compileFilterChains(listener), {
    destinationIp: facts.address,
    destinationPort: facts.port,
    sourceIp: CLIENT,
    sourcePort: 40_000,
    directSourceIp: CLIENT,
    transportProtocol: facts.transport,
    sni: facts.sni,
    alpn: facts.alpn === '' ? [] : [facts.alpn],
  });
  const chain =
    chosen === DEFAULT_CHAIN ? listener.default_filter_chain : chosen === NO_CHAIN ? undefined : listener.filter_chains?.[chosen];
  return chain ?? 'no filter chains matched';
};
