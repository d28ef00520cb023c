// Numbers of RFC 9113: frame types, flags, settings and error codes, and this machine's defaults (Envoy's where it has one).

export const FRAME_HEAD_BYTES = 9;

export const T_DATA = 0;
export const T_HEADERS = 1;
export const T_PRIORITY = 2;
export const T_RST_STREAM = 3;
export const T_SETTINGS = 4;
export const T_PUSH_PROMISE = 5;
export const T_PING = 6;
export const T_GOAWAY = 7;
export const T_WINDOW_UPDATE = 8;
export const T_CONTINUATION = 9;

export const F_END_STREAM = 1;
export const F_ACK = 1;
export const F_END_HEADERS = 4;
export const F_PADDED = 8;
export const F_PRIORITY = 32;

export const S_HEADER_TABLE_SIZE = 1;
export const S_ENABLE_PUSH = 2;
export const S_MAX_CONCURRENT_STREAMS = 3;
export const S_INITIAL_WINDOW_SIZE = 4;
export const S_MAX_FRAME_SIZE = 5;
export const S_ENABLE_CONNECT_PROTOCOL = 8;

/** Error codes (RFC 9113 7). */
export const H2 = {
  NO_ERROR: 0,
  PROTOCOL_ERROR: 1,
  INTERNAL_ERROR: 2,
  FLOW_CONTROL_ERROR: 3,
  SETTINGS_TIMEOUT: 4,
  STREAM_CLOSED: 5,
  FRAME_SIZE_ERROR: 6,
  REFUSED_STREAM: 7,
  CANCEL: 8,
  COMPRESSION_ERROR: 9,
  CONNECT_ERROR: 10,
  ENHANCE_YOUR_CALM: 11,
} as const;

export const PREFACE: Buffer = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');

export const STREAM_ID_MAX = 0x7fffffff;
export const WINDOW_MAX = 0x7fffffff;
export const WINDOW_DEFAULT = 65_535;
export const FRAME_SIZE_DEFAULT = 16_384;
export const FRAME_SIZE_LIMIT = 0xffffff;
export const HEADER_TABLE_DEFAULT = 4096;
export const MAX_CONCURRENT_DEFAULT = 1024;
export const STREAM_WINDOW_DEFAULT = 16 * 1024 * 1024;
export const CONNECTION_WINDOW_DEFAULT = 24 * 1024 * 1024;
/** Bytes that wait in the outbox above which body writes answer false and queued bodies are not framed. */
export const OUTBOX_HIGH = 128 * 1024;
/** Above it 1xx heads are left out: only heads come so far, and whoever waits for them reads nothing. */
export const OUTBOX_HEADS_HIGH = 8 * OUTBOX_HIGH;
/** Body pieces below it are copied behind their frame head: one write, one TLS record. */
export const COPY_BELOW = 16 * 1024;
/** Streams this side reset and still knows as such: frames the peer sent before it heard of it are no error. */
export const RESET_MEMORY = MAX_CONCURRENT_DEFAULT;
