// Listener filters that look at the first bytes of a connection, and on which ports they must not. What a proxy that does not
// speak HTTP/2 finds to be HTTP/2 passes as bytes.

import { isHttp2, type ListenerProtocol, listenerProtocol, type Protocol } from '../mesh/protocol.ts';
import type { ListenerFilter, ListenerFilterChainMatchPredicate } from '../xds/gen/types.ts';
import type { ProxyNode } from './proxy-node.ts';

const PREFIX = 'type.googleapis.com/envoy.extensions.filters.listener';

export const TLS_INSPECTOR: ListenerFilter = {
  name: 'envoy.filters.listener.tls_inspector',
  typed_config: { '@type': `${PREFIX}.tls_inspector.v3.TlsInspector`, initial_read_buffer_size: 512 },
};

export const HTTP_INSPECTOR: ListenerFilter = {
  name: 'envoy.filters.listener.http_inspector',
  typed_config: { '@type': `${PREFIX}.http_inspector.v3.HttpInspector` },
};

export const ORIGINAL_DESTINATION: ListenerFilter = {
  name: 'envoy.filters.listener.original_dst',
  typed_config: { '@type': `${PREFIX}.original_dst.v3.OriginalDst` },
};

/** Takes the client's address from the header that a load balancer writes before the first byte. */
export const PROXY_PROTOCOL: ListenerFilter = {
  name: 'envoy.filters.listener.proxy_protocol',
  typed_config: { '@type': `${PREFIX}.proxy_protocol.v3.ProxyProtocol` },
};

/** What the HTTP inspector may find that an HTTP chain then reads. */
export const sniffedHttp = ({ http2, http10 }: ProxyNode): readonly string[] => [
  ...(http10 ? ['http/1.0'] : []),
  'http/1.1',
  ...(http2 ? ['h2c'] : []),
];

/** How a port's connections are read: as declared, but looked at where the proxy could not read all that was declared. */
export const readAs = (protocol: Protocol, http2: boolean): ListenerProtocol =>
  isHttp2(protocol) && !http2 ? 'auto' : listenerProtocol(protocol);

const anyOf = (ports: readonly number[]): ListenerFilterChainMatchPredicate | undefined => {
  const rules = [...ports]
    .sort((a, b) => a - b)
    .map((p): ListenerFilterChainMatchPredicate => ({ destination_port_range: { start: p, end: p + 1 } }));
  return rules.length > 1 ? { or_match: { rules } } : rules[0];
};

/** The filter runs on all ports but these. */
export const exceptPorts = (filter: ListenerFilter, ports: readonly number[]): ListenerFilter => {
  const excluded = anyOf(ports);
  return excluded === undefined ? filter : { ...filter, filter_disabled: excluded };
};

/** The filter runs on these ports alone. */
export const onlyPorts = (filter: ListenerFilter, ports: readonly number[]): ListenerFilter => {
  const included = anyOf(ports);
  return included === undefined ? filter : { ...filter, filter_disabled: { not_match: included } };
};
