// Every bound of the agent, with its unit and reason.

/** One xDS message or certificate answer. The control plane of a large mesh sends tens of megabytes of endpoints. */
export const GRPC_MESSAGE_BYTES_MAX = 256 * 1024 * 1024;
/** Requests kept while the control plane is away: a proxy's first subscriptions fit, a runaway one does not. */
export const PENDING_BYTES_MAX = 4 * 1024 * 1024;
/** Bytes unread by one local subscriber before its stream is given up. */
export const STREAM_BACKLOG_BYTES_MAX = 512 * 1024 * 1024;
/** Streams of local proxies at once. */
export const LOCAL_STREAMS_MAX = 256;

export const RECONNECT_MS = { first: 50, max: 2_000 } as const;
export const CERTIFICATE_RETRY_MS = { first: 100, max: 10_000 } as const;
/** Certificates whose root is gone: all workloads ask within `spread`, ask `again` when the answer is of the old root still, and peers
 * with certificates of it are refused after `tell` at the latest. */
export const REPLACE_MS = { spread: 300, again: 500, tell: 1_500 } as const;
/** Roots that a workload trusts at once. */
export const ROOTS_MAX = 64;
/** Replaced roots whose connections are let be. */
export const RETIRED_ROOTS_MAX = 16;
export const PROXY_RESTART_MS = { first: 100, max: 5_000 } as const;
export const CONNECT_TIMEOUT_MS = 5_000;
/** A silent connection is asked after this time and given up when the answer stays out. */
export const KEEPALIVE_MS = 20_000;
export const KEEPALIVE_TIMEOUT_MS = 10_000;
export const CERTIFICATE_CALL_TIMEOUT_MS = 10_000;
/** Timers are cut into pieces so that a clock that jumps is noticed. */
export const TIMER_MS_MAX = 60_000;

/** A chain, a key or a trust store; Mozilla's roots are 230 KiB. */
export const SECRET_FILE_BYTES_MAX = 4 * 1024 * 1024;
/** Files are looked at this often: a renewed certificate has hours. */
export const SECRET_FILE_POLL_MS = 1_000;
/** Certificates in files that one proxy may ask for. */
export const SECRET_FILES_MAX = 1_000;

export const DNS_TTL_S = 30;
/** After the start, questions for names of the cluster wait this long for the first name table. */
export const DNS_FIRST_NAMES_MS = 5_000;
export const DNS_FORWARDS_MAX = 512;
export const DNS_UPSTREAM_TIMEOUT_MS = 2_000;
export const DNS_UDP_BYTES_MAX = 1_232;
export const DNS_UDP_BYTES_DEFAULT = 512;
export const DNS_TCP_CONNECTIONS_MAX = 128;
export const DNS_TCP_IDLE_MS = 10_000;

/** A metrics page or admin answer taken from the proxy. */
export const ADMIN_BODY_BYTES_MAX = 64 * 1024 * 1024;
export const ADMIN_TIMEOUT_MS = 10_000;
/** The application's own metrics: a page of them, and how long it may take. */
export const APPLICATION_METRICS_BYTES_MAX = 16 * 1024 * 1024;
export const APPLICATION_METRICS_MS = 5_000;
/** What may wait for who reads a page of metrics. */
export const PAGE_BACKLOG_BYTES_MAX = 256 * 1024;
/** Operator requests in flight towards one proxy. */
export const OPERATOR_REQUESTS_MAX = 32;
/** How often an Envoy is asked whether it is ready: often until it is, then seldom. */
export const READY_POLL_MS = { starting: 100, steady: 1_000 } as const;

/** Requests to the agent's own ports carry nothing. */
export const HTTP_BODY_BYTES_MAX = 4 * 1024;
/** Probes and scrapers at once. */
export const HTTP_CONNECTIONS_MAX = 128;
/** How long such a connection may wait for a request, for the rest of one, for its answer, for a reader, for the client's end. */
export const HTTP_PHASE_MS = { idle: 30_000, request: 10_000, answer: 60_000, write: 30_000, stream: 60_000, over: 1_000 } as const;
/** Who is being answered while the ports close has this long. */
export const LAST_ANSWERS_MS = 500;

/** A proxy that is to be ready before the first probe is looked at so often. */
export const PROBE_START_MS = 200;
/** Until the status line of a probe's answer. */
export const PROBE_ANSWER_BYTES_MAX = 4 * 1024;
/** The longest wait of a timer, 24 days: a probe with a longer period is run that often. */
export const PROBE_WAIT_MS_MAX = 2 ** 31 - 1;
