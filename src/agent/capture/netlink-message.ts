// Netlink messages: headers, nested attributes, replies. Pure bytes in and out; host byte order where the kernel wants it (little endian
// on every machine that Skein runs on), network order where nf_tables does. Never opens a socket.

export const NLM_F_REQUEST = 1;
export const NLM_F_ACK = 4;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_APPEND = 0x800;
export const NLM_F_DUMP = 0x300;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLA_F_NESTED = 0x8000;
const HEADER_BYTES = 16;

/** One request, its sequence number given when it is sent. */
export interface NetlinkRequest {
  readonly type: number;
  readonly flags: number;
  readonly payload: Uint8Array;
  /** What the request does, for the message of a refusal. */
  readonly what: string;
}

export interface NetlinkReply {
  readonly type: number;
  readonly sequence: number;
  /** The payload after the netlink header; for an error the negative errno is in `error`. */
  readonly payload: Uint8Array;
  /** 0 = acknowledged, > 0 = errno; undefined for a message that is no acknowledgement. */
  readonly error: number | undefined;
  readonly done: boolean;
}

export const concat = (...parts: readonly Uint8Array[]): Uint8Array => {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
};

export const u8 = (...values: readonly number[]): Uint8Array => Uint8Array.from(values);

export const u16be = (value: number): Uint8Array => u8((value >> 8) & 0xff, value & 0xff);

export const u16le = (value: number): Uint8Array => u8(value & 0xff, (value >> 8) & 0xff);

export const u32be = (value: number): Uint8Array => {
  const out = new Uint8Array(4);
  new DataView(out.buffer).setUint32(0, value >>> 0);
  return out;
};

export const u32le = (value: number): Uint8Array => {
  const out = new Uint8Array(4);
  new DataView(out.buffer).setUint32(0, value >>> 0, true);
  return out;
};

/** A name with its closing zero. */
export const cstring = (text: string): Uint8Array => concat(new TextEncoder().encode(text), u8(0));

const pad4 = (bytes: Uint8Array): Uint8Array => (bytes.length % 4 === 0 ? bytes : concat(bytes, new Uint8Array(4 - (bytes.length % 4))));

export const attribute = (type: number, value: Uint8Array): Uint8Array => concat(u16le(value.length + 4), u16le(type), pad4(value));

export const nested = (type: number, ...children: readonly Uint8Array[]): Uint8Array => attribute(type | NLA_F_NESTED, concat(...children));

/** The bytes of several requests in one datagram, numbered from `firstSequence`. */
export const encodeRequests = (requests: readonly NetlinkRequest[], firstSequence: number): Uint8Array =>
  concat(
    ...requests.map(({ type, flags, payload }, i) =>
      pad4(
        concat(
          u32le(payload.length + HEADER_BYTES),
          u16le(type),
          u16le(flags | NLM_F_REQUEST),
          u32le(firstSequence + i),
          u32le(0),
          payload,
        ),
      ),
    ),
  );

export const decodeReplies = (bytes: Uint8Array): NetlinkReply[] => {
  const replies: NetlinkReply[] = [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  while (at + HEADER_BYTES <= bytes.length) {
    const length = view.getUint32(at, true);
    if (length < HEADER_BYTES || at + length > bytes.length) break;
    const type = view.getUint16(at + 4, true);
    const payload = bytes.slice(at + HEADER_BYTES, at + length);
    const error = type === NLMSG_ERROR && payload.length >= 4 ? -view.getInt32(at + HEADER_BYTES, true) : undefined;
    replies.push({ type, sequence: view.getUint32(at + 8, true), payload, error: error === 0 ? 0 : error, done: type === NLMSG_DONE });
    at += (length + 3) & ~3;
  }
  return replies;
};

/** Attributes of a payload from `from` on; of a repeated type the last. */
export const decodeAttributes = (payload: Uint8Array, from: number): ReadonlyMap<number, Uint8Array> => {
  const found = new Map<number, Uint8Array>();
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  let at = from;
  while (at + 4 <= payload.length) {
    const length = view.getUint16(at, true);
    if (length < 4 || at + length > payload.length) break;
    found.set(view.getUint16(at + 2, true) & 0x3fff, payload.subarray(at + 4, at + length));
    at += (length + 3) & ~3;
  }
  return found;
};
