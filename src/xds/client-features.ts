// Names in a node's `client_features` by which Skein's own proxy says what it can do beyond the extensions it lists.
// A control plane asks no more of it than these; for every other proxy they mean nothing.

/** HTTP/2 on both sides of the proxy. */
export const HTTP2_FEATURE = 'skein.http2';

/** Over incremental streams the proxy asks for virtual hosts, clusters and listeners of single addresses when it needs them. */
export const ON_DEMAND_FEATURE = 'skein.on_demand';

/** Choosing hosts by the peak-sensitive moving average of their response times. */
export const PEAK_EWMA_FEATURE = 'skein.peak_ewma';

/** Type of that policy's configuration, a TypedStruct in `load_balancing_policy`. */
export const PEAK_EWMA_TYPE = 'skein.load_balancing.peak_ewma.v1';

/** Retries of idempotent requests alone, once bytes were sent: a predicate in `retry_options_predicates`. */
export const IDEMPOTENT_RETRIES_FEATURE = 'skein.idempotent_retries';

/** Name of that predicate, and type of its configuration, a TypedStruct. */
export const IDEMPOTENT_RETRIES_TYPE = 'skein.retry.idempotent_only.v1';

/** Key of a node's metadata that wishes for configuration on demand, for proxies that can have it. */
export const WANTS_ON_DEMAND = 'SKEIN_ON_DEMAND';

/** Key of a listener's metadata: a connection that no listener is there for waits for the one named `<address>_<port>`. */
export const LISTENERS_ON_DEMAND = 'skein.on_demand';

/** Key of a node's metadata by which an agent says that it runs the probe of its WorkloadGroup, which it takes as Istio's ProxyConfig. */
export const TAKES_PROBES = 'SKEIN_PROBES';

/** In a node's metadata: it tells the control plane what happens, and its counters are differences. */
export const SENDS_SUMMARIES = 'SKEIN_SUMMARIES';

/** In a node's metadata: the path of its agent's socket, where spans for the control plane are taken by OTLP over gRPC. */
export const TAKES_SPANS = 'SKEIN_SPANS';
