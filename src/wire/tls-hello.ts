// Reads server name and ALPN from a TLS ClientHello before anything is answered: the whole hello, which may be split
// over several records (RFC 8446 5.1) and over any number of reads. Every length is checked; bounded; keeps nothing.
import { CLIENT_HELLO_BYTES_MAX } from './limits.ts';

export type ClientHello =
  | { readonly kind: 'need-more' }
  | { readonly kind: 'not-tls' }
  | { readonly kind: 'tls'; readonly sni?: string; readonly alpn: readonly string[] };

const NEED_MORE = { kind: 'need-more' } as const;
const NOT_TLS = { kind: 'not-tls' } as const;
const RECORD_BYTES_MAX = 16384 + 256;

const RECORD_HEAD_BYTES = 5;

/** `buf`: all bytes received so far. As Envoy's inspector it rules TLS out only with a whole record header before it. */
export const inspectClientHello = (buf: Uint8Array): ClientHello => {
  if (buf.length < RECORD_HEAD_BYTES) return NEED_MORE;
  const joined = joinHandshake(buf);
  if (joined.kind !== 'hello') return joined;
  return readHello(joined.bytes) ?? NOT_TLS;
};

type Joined = typeof NEED_MORE | typeof NOT_TLS | { readonly kind: 'hello'; readonly bytes: Uint8Array };

/** The handshake message's body out of its records. */
const joinHandshake = (buf: Uint8Array): Joined => {
  const parts: Uint8Array[] = [];
  let have = 0;
  let want = -1;
  let at = 0;
  while (want < 0 || have < want) {
    // Handshake record, version 3.x; a later one is checked byte by byte so that nonsense is known early.
    if (at < buf.length && buf[at] !== 22) return NOT_TLS;
    if (at + 1 < buf.length && buf[at + 1] !== 3) return NOT_TLS;
    if (at + 5 > buf.length) return buf.length > CLIENT_HELLO_BYTES_MAX ? NOT_TLS : NEED_MORE;
    const length = ((buf[at + 3] as number) << 8) | (buf[at + 4] as number);
    if (length === 0 || length > RECORD_BYTES_MAX) return NOT_TLS;
    const part = buf.subarray(at + 5, Math.min(buf.length, at + 5 + length));
    parts.push(part);
    have += part.length;
    if (want < 0) {
      const head = have >= 4 ? firstBytes(parts, 4) : undefined;
      if (part.length > 0 && parts[0]?.[0] !== undefined && parts[0][0] !== 1) return NOT_TLS;
      if (head !== undefined) {
        want = 4 + (((head[1] as number) << 16) | ((head[2] as number) << 8) | (head[3] as number));
        if (want > CLIENT_HELLO_BYTES_MAX) return NOT_TLS;
      }
    }
    if (part.length < length && (want < 0 || have < want)) return NEED_MORE;
    at += 5 + length;
    if (at > CLIENT_HELLO_BYTES_MAX * 2) return NOT_TLS;
  }
  return { kind: 'hello', bytes: firstBytes(parts, want).subarray(4) };
};

const firstBytes = (parts: readonly Uint8Array[], n: number): Uint8Array => {
  const first = parts[0];
  if (first !== undefined && first.length >= n) return first.subarray(0, n);
  return Buffer.concat(parts).subarray(0, n);
};

/** undefined: not a well-formed ClientHello. */
const readHello = (b: Uint8Array): ClientHello | undefined => {
  let at = 34; // legacy_version, random
  at = skipVector(b, at, 1, 32); // legacy_session_id
  at = skipVector(b, at, 2); // cipher_suites
  at = skipVector(b, at, 1); // legacy_compression_methods
  if (at < 0 || b[0] !== 3) return undefined;
  if (at === b.length) return { kind: 'tls', alpn: [] };
  const end = skipVector(b, at, 2);
  if (end !== b.length) return undefined;
  let sni: string | undefined;
  let alpn: readonly string[] = [];
  at += 2;
  while (at < end) {
    if (at + 4 > end) return undefined;
    const type = uint16(b, at);
    const body = at + 4;
    const next = skipVector(b, at + 2, 2);
    if (next < 0 || next > end) return undefined;
    if (type === 0) {
      const name = readServerName(b, body, next);
      if (name === undefined) return undefined;
      sni = name;
    } else if (type === 16) {
      const list = readAlpn(b, body, next);
      if (list === undefined) return undefined;
      alpn = list;
    }
    at = next;
  }
  return sni === undefined || sni === '' ? { kind: 'tls', alpn } : { kind: 'tls', sni, alpn };
};

/** RFC 6066 3. '' when the list has no host name. Lower case, as names compare. */
const readServerName = (b: Uint8Array, start: number, end: number): string | undefined => {
  if (start + 2 > end || start + 2 + uint16(b, start) !== end) return undefined;
  let at = start + 2;
  while (at < end) {
    const next = skipVector(b, at + 1, 2);
    if (next < 0 || next > end) return undefined;
    if (b[at] === 0) {
      const name = text(b, at + 3, next);
      return next - at - 3 > 255 || !/^[\x21-\x7e]+$/.test(name) ? undefined : name.toLowerCase();
    }
    at = next;
  }
  return '';
};

/** RFC 7301 3.1. */
const readAlpn = (b: Uint8Array, start: number, end: number): string[] | undefined => {
  if (start + 2 > end || start + 2 + uint16(b, start) !== end) return undefined;
  const list: string[] = [];
  let at = start + 2;
  while (at < end) {
    const next = skipVector(b, at, 1);
    if (next <= at + 1 || next > end) return undefined;
    list.push(text(b, at + 1, next));
    at = next;
  }
  return list.length === 0 ? undefined : list;
};

/** Offset behind a vector with a length of `width` bytes, -1 when it does not fit. Passes -1 on. */
const skipVector = (b: Uint8Array, at: number, width: 1 | 2, max = 65535): number => {
  if (at < 0 || at + width > b.length) return -1;
  const length = width === 1 ? (b[at] as number) : uint16(b, at);
  const next = at + width + length;
  return length > max || next > b.length ? -1 : next;
};

const uint16 = (b: Uint8Array, at: number): number => ((b[at] as number) << 8) | (b[at + 1] as number);
const text = (b: Uint8Array, start: number, end: number): string =>
  Buffer.from(b.buffer, b.byteOffset, b.byteLength).toString('latin1', start, end);
