// Names in a node's `client_features` by which Skein's own proxy says what it can do beyond the extensions it lists.
// A control plane asks no more of it than these; for every other proxy they mean nothing.

/** HTTP/2 on both sides of the proxy. */
export const HTTP2_FEATURE = 'skein.http2';

/** Key of a node's metadata by which an agent says that it runs the probe of its WorkloadGroup, which it takes as Istio's ProxyConfig. */
export const TAKES_PROBES = 'SKEIN_PROBES';
