// Says from a connection's first bytes whether they are HTTP, as Envoy's http_inspector: by the HTTP/2 preface or a
// complete request line with a known method. Looks at all bytes received so far each time; keeps nothing.
import { CR, LF, SP, TARGET_BYTE } from './byte-tables.ts';
import { SNIFF_BYTES_MAX } from './limits.ts';

export type SniffedProtocol = 'need-more' | 'http/1.0' | 'http/1.1' | 'h2c' | 'none';

const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
/** What Envoy's HTTP/1 parser accepts as a method without `allow_custom_methods`. */
const METHODS: readonly string[] = (
  'ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL MOVE M-SEARCH NOTIFY OPTIONS PATCH POST ' +
  'PROPFIND PROPPATCH PURGE PUT REBIND REPORT SEARCH SOURCE SUBSCRIBE TRACE UNBIND UNLINK UNLOCK UNSUBSCRIBE'
).split(' ');
const METHOD_BYTES_MAX = 11;

export const sniffHttp = (buf: Uint8Array): SniffedProtocol => {
  if (buf.length === 0) return 'need-more';
  if (startsLike(buf, 0, PREFACE)) return buf.length >= PREFACE.length ? 'h2c' : 'need-more';
  let at = 0;
  while (at < buf.length && at <= METHOD_BYTES_MAX && buf[at] !== SP) at++;
  if (at > METHOD_BYTES_MAX) return 'none';
  const whole = at < buf.length;
  if (!METHODS.some((m) => startsLike(buf, 0, m) && (whole ? m.length === at : m.length >= at))) return 'none';
  if (!whole) return 'need-more';
  const target = ++at;
  while (at < buf.length && TARGET_BYTE[buf[at] as number] === 1) at++;
  if (at > SNIFF_BYTES_MAX) return 'none';
  if (at >= buf.length) return 'need-more';
  if (buf[at] !== SP || at === target) return 'none';
  at++;
  if (!startsLike(buf, at, 'HTTP/1.')) return 'none';
  if (buf.length < at + 8) return 'need-more';
  const minor = (buf[at + 7] as number) - 48;
  if (minor !== 0 && minor !== 1) return 'none';
  if (buf.length < at + 9) return 'need-more';
  if (buf[at + 8] !== CR) return 'none';
  if (buf.length < at + 10) return 'need-more';
  if (buf[at + 9] !== LF) return 'none';
  return minor === 1 ? 'http/1.1' : 'http/1.0';
};

/** Whether the bytes from `at` agree with `text` as far as both go. */
const startsLike = (buf: Uint8Array, at: number, text: string): boolean => {
  const n = Math.min(text.length, buf.length - at);
  for (let i = 0; i < n; i++) if (buf[at + i] !== text.charCodeAt(i)) return false;
  return true;
};

/** What a server that speaks before its client has heard anything shows: a protocol of its own, or HTTP all the same. */
export type ServerGreeting = 'need-more' | 'http' | 'other';

const FRAME_HEAD_BYTES = 9;
const SETTINGS_TYPE = 4;
const SETTINGS_BYTES_MAX = 6 * 1024;

/**
 * The first bytes of a server whose client is silent. HTTP/2 servers may send SETTINGS at once, HTTP/1 servers a 408 to a slow
 * client: neither makes the connection anything but HTTP.
 */
export const sniffGreeting = (buf: Uint8Array): ServerGreeting => {
  const whole = 'HTTP/1.';
  if (startsLike(buf, 0, whole)) return buf.length >= whole.length ? 'http' : 'need-more';
  const n = Math.min(buf.length, FRAME_HEAD_BYTES);
  for (let at = 0; at < n; at++) {
    const byte = buf[at] as number;
    if (at === 1 || at === 2) continue; // the rest of the length
    if (byte !== (at === 3 ? SETTINGS_TYPE : 0)) return 'other';
  }
  if (n >= 3) {
    const length = ((buf[1] as number) << 8) | (buf[2] as number);
    if (length % 6 !== 0 || length > SETTINGS_BYTES_MAX) return 'other';
  }
  return n < FRAME_HEAD_BYTES ? 'need-more' : 'http';
};

/** Whether the bytes begin with HTTP/2's connection preface; told as soon as a byte differs. */
export const startsWithPreface = (buf: Uint8Array): 'yes' | 'no' | 'need-more' =>
  !startsLike(buf, 0, PREFACE) ? 'no' : buf.length >= PREFACE.length ? 'yes' : 'need-more';
