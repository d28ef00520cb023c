// The frame with which both ends of a connection that negotiated `istio-peer-exchange` begin: magic, length, a serialized
// google.protobuf.Any. Pure; bounded; what does not begin with the magic is the stream itself.
import { PEER_FRAME_BYTES_MAX } from './limits.ts';

export type PeerFrame =
  | { readonly kind: 'need-more' }
  /** No frame: the bytes are the stream's. */
  | { readonly kind: 'none' }
  /** A frame that cannot be read; nothing behind it can be found. */
  | { readonly kind: 'bad' }
  | { readonly kind: 'frame'; readonly length: number; readonly typeUrl: string; readonly value: Uint8Array };

const MAGIC = 0x3d230467;
const HEAD_BYTES = 8;
const NEED_MORE = { kind: 'need-more' } as const;
const NONE = { kind: 'none' } as const;
const BAD = { kind: 'bad' } as const;

/** Any's fields as protobuf writes them: `1: string type_url`, `2: bytes value`. */
const TYPE_URL_TAG = 0x0a;
const VALUE_TAG = 0x12;

export const writePeerFrame = (typeUrl: string, value: Uint8Array): Buffer => {
  const url = Buffer.from(typeUrl);
  const any = [Buffer.from([TYPE_URL_TAG, ...varint(url.length)]), url, Buffer.from([VALUE_TAG, ...varint(value.length)]), value];
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt32BE(MAGIC, 0);
  head.writeUInt32BE(
    any.reduce((sum, part) => sum + part.length, 0),
    4,
  );
  return Buffer.concat([head, ...any]);
};

/** `buf`: all bytes of the stream so far. */
export const readPeerFrame = (buf: Buffer): PeerFrame => {
  for (let at = 0; at < Math.min(4, buf.length); at++) if (buf[at] !== ((MAGIC >>> (24 - 8 * at)) & 255)) return NONE;
  if (buf.length < HEAD_BYTES) return NEED_MORE;
  const size = buf.readUInt32BE(4);
  if (size > PEER_FRAME_BYTES_MAX) return BAD;
  const length = HEAD_BYTES + size;
  return buf.length < length ? NEED_MORE : readAny(buf, length);
};

const readAny = (buf: Buffer, end: number): PeerFrame => {
  let typeUrl = '';
  let value: Uint8Array = new Uint8Array(0);
  let at = HEAD_BYTES;
  while (at < end) {
    const tag = buf[at++];
    let size = 0;
    let shift = 0;
    for (;;) {
      if (at >= end || shift > 21) return BAD;
      const byte = buf[at++] as number;
      size |= (byte & 127) << shift;
      if (byte < 128) break;
      shift += 7;
    }
    if (at + size > end) return BAD;
    if (tag === TYPE_URL_TAG) typeUrl = buf.toString('utf8', at, at + size);
    else if (tag === VALUE_TAG) value = buf.subarray(at, at + size);
    else return BAD;
    at += size;
  }
  return { kind: 'frame', length: end, typeUrl, value };
};

const varint = (n: number): number[] => (n < 128 ? [n] : [(n & 127) | 128, ...varint(n >>> 7)]);
