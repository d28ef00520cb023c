// Bounds of the machines in this room. Each with its unit and the reason for its value.

/** Head of one message, start line and all field lines. Envoy's `max_request_headers_kb` default: what it refuses, we refuse. */
export const HEAD_BYTES_MAX = 60 * 1024;
/** Field lines of one head or trailer section. Envoy's `max_headers_count` default. */
export const HEADER_COUNT_MAX = 100;
/** Empty lines tolerated before a request line (RFC 9112 2.2 asks for at least one): more is a stuck client. */
export const LEADING_EMPTY_LINES_MAX = 2;
/** Hex digits of a chunk size: 2^52 stays exact in a double, and no honest chunk is larger. */
export const CHUNK_SIZE_DIGITS_MAX = 13;
/** Extension bytes of one chunk line: nobody uses them, so a long one is an attack on whoever copies them. */
export const CHUNK_EXTENSION_BYTES_MAX = 256;
/** Extension bytes of one message: many chunks of one byte must not carry megabytes beside the body. */
export const CHUNK_EXTENSIONS_BYTES_MAX = 16 * 1024;
/** Options a Connection header may list, as Envoy. */
export const CONNECTION_OPTIONS_MAX = 10;
/** Decimal digits of a Content-Length: 10^15 bytes stays exact in a double. */
export const CONTENT_LENGTH_DIGITS_MAX = 15;
/** Bytes of TLS records joined while looking for a ClientHello (Envoy's tls_inspector: 64 KiB). */
export const CLIENT_HELLO_BYTES_MAX = 64 * 1024;
/** Bytes looked at for a request line before the connection is called not HTTP (Envoy's http_inspector: one head). */
export const SNIFF_BYTES_MAX = 60 * 1024;
/** Slab that heads are written into; several heads share one, none is ever overwritten. */
export const WRITER_SLAB_BYTES = 32 * 1024;
/** A PROXY protocol header, TLVs included: all that its 16-bit length can say. */
export const PROXY_V2_BYTES_MAX = 16 + 65535;
/** Peer metadata of one TCP connection: a few labels and names. */
export const PEER_FRAME_BYTES_MAX = 64 * 1024;
/** Head of a request for one of the process's own pages: scrapers and probes send a few hundred bytes. */
export const PAGE_HEAD_BYTES_MAX = 16 * 1024;
/** A page is given to the socket in such pieces, the next when the socket asks for more. */
export const PAGE_PIECE_BYTES = 64 * 1024;
/** Bytes kept that came before the answer to an earlier request was read. */
export const PAGE_REST_BYTES_MAX = 64 * 1024;
