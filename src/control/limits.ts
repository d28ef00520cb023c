// Every bound of the control plane, with its unit and its reason.

/** A document folder, request body or stored object beyond this is a mistake; the shop's whole configuration is 40 KiB. */
export const REQUEST_BODY_BYTES_MAX = 1024 * 1024;
/** Files in one watched folder; beyond it the folder is surely not a configuration folder. */
export const CONFIG_FILES_MAX = 10_000;
/** Folders below the watched one, against symbolic-link rings. */
export const CONFIG_DEPTH_MAX = 16;
/** A PKCS#10 request with a 4096-bit RSA key is 1.7 KiB. */
export const CSR_BYTES_MAX = 16 * 1024;
/** The authority looks at the clock so often: a machine that slept is noticed. */
export const AUTHORITY_TURN_MS_MAX = 30_000;
/** Certificates that are known to be in use, for `skein ca status`; the oldest are forgotten. */
export const LEAVES_KNOWN_MAX = 50_000;
/** A folder with a signing certificate is looked at so often. */
export const CA_FOLDER_POLL_MS = 2_000;
/** An external signer: calls at once, time for one, and what it may print. */
export const SIGNER_CALLS_MAX = 8;
export const SIGNER_TIMEOUT_MS = 10_000;
export const SIGNER_OUTPUT_BYTES_MAX = 256 * 1024;
/** Envoy's node with 516 extensions is about 40 KiB, and names of 10,000 subscribed clusters a megabyte. */
export const XDS_REQUEST_BYTES_MAX = 4 * 1024 * 1024;
/** Of it the node: it is kept as long as the stream, and read again for every generation. */
export const NODE_BYTES_MAX = 512 * 1024;
/** Names that one stream may subscribe to, per type. */
export const SUBSCRIPTIONS_MAX = 100_000;
/** Of one stream's names and versions together, about; the most names of a usual length take 13 MB. */
export const STREAM_HELD_BYTES_MAX = 16 * 1024 * 1024;
/** Bytes of requests that are kept as read; what they are read to takes a few times as much. */
export const REQUEST_CACHE_BYTES_MAX = 2 * 1024 * 1024;
/** Resource types that one stream may name; Envoy knows a dozen, and unknown ones are ignored. */
export const STREAM_TYPES_MAX = 64;
/** NACK texts come from the peer and are kept per proxy. */
export const NACK_TEXT_CHARS_MAX = 4096;
/** Names without endpoints that somebody asked for; the names are the peers'. */
export const EMPTY_ASSIGNMENTS_MAX = 2000;
/** A config_dump of a large sidecar. */
export const OPERATOR_REPLY_BYTES_MAX = 64 * 1024 * 1024;
/** A request to a sidecar's admin API through its agent. */
export const OPERATOR_TIMEOUT_MS = 10_000;
/** An answer in pieces from which nothing comes for so long is over. */
export const OPERATOR_SILENCE_MS = 30_000;
export const OPERATOR_REQUESTS_MAX = 64;
/** Listeners of the event stream; a dashboard and a few CLIs. */
export const EVENT_CLIENTS_MAX = 64;
/** Bytes waiting for one slow reader of events before it is cut off. */
export const EVENT_BACKLOG_BYTES_MAX = 1024 * 1024;
/** Of one part of the configuration, as many variants are kept as there are proxies, and as many again for those that come back. */
export const PIECES_KEPT_PER_NODE = 2;
export const PIECES_KEPT_MIN = 100;
/** Streams that end before what was made for them is looked through. */
export const CLOSES_PER_TRIM = 50;
/** Work for the requests of one stream in a window of time; a stream that takes more of it waits as long as it took, and longer with others. */
export const REQUEST_SLICE_MS = 10;
export const REQUEST_WINDOW_MS = 50;
export const REQUEST_HOLD_MS_MAX = 1000;
/** Work between two turns of the event loop while proxies are being pushed to. */
export const PUSH_SLICE_MS = 10;
/** A stopped control plane waits this long for streams to end by themselves. */
export const SHUTDOWN_GRACE_MS = 500;
/** A folder of configuration applied in one request. */
export const APPLY_BODY_BYTES_MAX = 16 * 1024 * 1024;
/** A client that has not taken a byte of what waits for it for so long is ended; it comes back when it is well. */
export const GRPC_STALL_MS = 60_000;

/** Addresses that keys for tokens are fetched from. */
export const KEY_SOURCES_MAX = 1000;
export const KEY_SET_BYTES_MAX = 1024 * 1024;
export const KEYS_PER_SET_MAX = 256;

/** Entries of workloads that register themselves. */
export const REGISTRATIONS_MAX = 10_000;
/** Of one workload, whose address may change faster than its old entries go. */
export const REGISTRATIONS_PER_WORKLOAD_MAX = 4;
/** Of one service account, whose machines prove the account and no name. */
export const REGISTRATIONS_PER_ACCOUNT_MAX = 1000;
/** As Kubernetes has it. */
export const REGISTRATION_NAME_CHARS_MAX = 253;
export const REGISTRATION_TEXT_CHARS_MAX = 2048;
/** What changes of an entry is on disk so soon, a slice of the work at a time. */
export const REGISTRATION_WRITE_MS = 100;
/** A workload whose health changes faster than this is told of in its last state. */
export const HEALTH_CHANGE_MS = 100;
/** What a probe says of a failure comes from the workload and is shown to people. */
export const HEALTH_TEXT_CHARS_MAX = 1024;
