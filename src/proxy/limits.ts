// Every bound of the data plane that configuration does not set, with its unit and reason.

/** First bytes kept while listener filters look at a connection: the largest ClientHello wire/tls-hello joins. */
export const PEEK_BYTES_MAX = 64 * 1024;
/** Envoy's listener_filters_timeout when a listener names none. */
export const LISTENER_FILTERS_TIMEOUT_MS = 15_000;
/** Envoy's transport_socket_connect_timeout is off; a silent handshake must still end. */
export const TLS_HANDSHAKE_TIMEOUT_MS = 15_000;
/** From the moment a peer is no longer trusted until its connections are closed: for requests under way. */
export const DISTRUSTED_CLOSE_MS = 3_000;
/** Envoy's per_connection_buffer_limit_bytes: what a retry may hold of a request body, and what may wait unsent. */
export const BUFFER_BYTES = 1024 * 1024;
/** The largest of those that is honoured: one slow peer must not hold the process's memory. */
export const UNSENT_BYTES_MAX = 256 * 1024 * 1024;
/** A first body piece up to this size is copied behind the head: cheaper than a second write or TLS record. */
export const JOIN_BYTES = 16 * 1024;
/** Envoy's max_request_headers_kb. */
export const REQUEST_HEAD_KB = 60;
/** Envoy's common_http_protocol_options.max_response_headers_kb. */
export const RESPONSE_HEAD_KB = 80;
/** Envoy's common_http_protocol_options.max_headers_count. */
export const HEADERS_MAX = 100;
/** Envoy's idle_timeout of HTTP connections, both sides, and of tcp_proxy. */
export const IDLE_TIMEOUT_MS = 3_600_000;
/** Envoy's drain_timeout of an HTTP connection manager: between the two GOAWAYs. */
export const DRAIN_TIMEOUT_MS = 5_000;
/** How much longer the second GOAWAY waits for a client that has not answered since the first. */
export const GOAWAY_ROUND_TRIP_MS = 1_000;
/** Envoy's stream_idle_timeout. */
export const STREAM_IDLE_TIMEOUT_MS = 300_000;
/** Envoy's Cluster.dns_refresh_rate. */
export const DNS_REFRESH_MS = 5_000;
/** Envoy's Cluster.connect_timeout. */
export const CONNECT_TIMEOUT_MS = 5_000;
/** Circuit-breaker thresholds Envoy uses where a cluster names none. */
export const BREAKER_DEFAULT = 1024;
export const BREAKER_RETRIES_DEFAULT = 3;
/** Hosts an ORIGINAL_DST cluster keeps; beyond it the least recently made idle ones go. */
export const ORIGINAL_DST_HOSTS_MAX = 10_000;
/** TLS sessions kept per upstream context (one per endpoint is what helps). */
export const TLS_SESSIONS_MAX = 1_000;
/** tcpProgress period. */
export const TCP_PROGRESS_MS = 5_000;

/** A connection that another worker waits for serves this long before it is given up while requests wait here too. */
export const GIVE_CONNECTION_AFTER_MS = 20;

/** How long a host that left its cluster may acknowledge nothing before requests still running there fail. */
export const SILENT_PEER_MS = 2000;

/** How often a closing connection is looked at for whether its client has taken everything. */
export const FLUSH_CHECK_MS = 1000;
/** Exchanges a busy HTTP/2 connection keeps for its next streams: as many as run at one time by default. */
export const IDLE_EXCHANGES_MAX = 1024;
/** Pools of one host that are kept although they have no connection. */
export const POOLS_KEPT = 16;
/** A client that sends nothing for this long (and up to twice as long) may wait for its server to speak. */
export const SILENCE_MS = 1;
/** The same on ports whose clients have been seen to speak first. */
export const SILENCE_KNOWN_MS = 100;
/** Ports remembered by who speaks first. */
export const PORTS_LEARNED_MAX = 1024;
/** Peers remembered by what they told. */
export const PEERS_KNOWN_MAX = 1024;
/** Peer certificates whose facts are kept for further connections. */
export const CERTIFICATES_SEEN_MAX = 1024;
/** Admin requests carry options, not data. */
export const ADMIN_BODY_BYTES_MAX = 64 * 1024;
/** Operators and scrapers connected at once. */
export const ADMIN_CONNECTIONS_MAX = 256;
/** How long an admin connection may wait for a request, for the rest of one, for its answer, for a reader, for the client's end. */
export const ADMIN_PHASE_MS = { idle: 300_000, request: 10_000, answer: 60_000, write: 30_000, stream: 60_000, over: 1_000 } as const;
/** Who is being answered while another process takes over has this long. */
export const LAST_ANSWERS_MS = 500;

/** Of one sidecar, at a time. */
export const TAPS_MAX = 8;
/** Exchanges a second that a tap is shown. */
export const TAP_RATE_DEFAULT = 100;
export const TAP_RATE_MAX = 1000;
export const TAP_COUNT_MAX = 1_000_000;
export const TAP_SECONDS_DEFAULT = 600;
export const TAP_SECONDS_MAX = 3600;
/** Entries of a list in what a tap asks for. */
export const TAP_NAMES_MAX = 32;
/** Of what it shows: headers of each head, and characters of each value. */
export const TAP_HEADERS_MAX = 64;
export const TAP_VALUE_CHARS_MAX = 512;
/** What waits for a reader of an answer in pieces; more is dropped. */
export const ANSWER_BACKLOG_BYTES_MAX = 256 * 1024;

/** Spans that wait for a collector. */
export const SPANS_QUEUED = 4096;
export const SPAN_QUEUE_BYTES = 8 * 1024 * 1024;
export const SPAN_BATCH_BYTES = 512 * 1024;
/** How long a span may wait for others. */
export const SPAN_FLUSH_MS = 1000;
/** Collectors that listeners have named and that are remembered. */
export const TRACERS_MAX = 64;
