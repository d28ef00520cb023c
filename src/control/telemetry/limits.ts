// Every bound of the embedded summaries, with its unit and its reason.

/** Different (source, destination, version, route, protocol) at one time. The shop has about 60; beyond, all are counted as one. */
export const SERIES_MAX = 20_000;
/** Of one proxy, so that none takes the room of all. */
export const SERIES_PER_PROXY_MAX = 2_000;
/** A name in a series: workloads, hosts and routes are shorter. */
export const NAME_CHARS_MAX = 256;
/** Memory of closed slices; the oldest go first. */
export const SLICE_BYTES_MAX = 48 * 1024 * 1024;
/** On disk, all pieces together. */
export const DISK_BYTES_MAX = 64 * 1024 * 1024;
/** A day. */
export const KEPT_MS = 24 * 3600 * 1000;

/** Requests kept one by one, and the text that they may hold together. */
export const REQUESTS_MAX = 20_000;
export const REQUEST_BYTES_MAX = 24 * 1024 * 1024;
/** Refused connections kept one by one. */
export const REFUSED_MAX = 1000;
/** Of a path, a user's header: what is longer is cut. */
export const TEXT_CHARS_MAX = 1024;

/** Spans that were told of, and the text that they may hold together; of one span, so many attributes. */
export const SPANS_MAX = 20_000;
export const SPAN_BYTES_MAX = 16 * 1024 * 1024;
export const SPAN_ATTRIBUTES_MAX = 64;

/** Of one proxy: what comes faster is not read. */
export const ENTRIES_PER_S = 5_000;
export const BYTES_PER_S = 4 * 1024 * 1024;
/** Of all proxies together: what a core can read and still serve xDS. */
export const ENTRIES_PER_S_ALL = 20_000;
/** A burst of so many seconds is taken. */
export const BURST_S = 4;
/** Series of one proxy that counts from its start on, whose last values are remembered. */
export const CUMULATIVE_MAX = 20_000;
/** Proxies that are remembered; those that were heard last. */
export const PROXIES_MAX = 5_000;
/** A batch over HTTP, also after it was unpacked; as much as one message over gRPC may have on an insecure port. */
export const OTLP_BODY_BYTES_MAX = 4 * 1024 * 1024;
/** Bodies that are being received, of all callers of a door together. */
export const OTLP_HELD_BYTES_MAX = 32 * 1024 * 1024;
