// What a complete HTTP/1 head means for the bytes behind it (RFC 9112 6.3) and for the connection (9.3), and whom it
// addresses (3.2). Refuses whatever two readers could understand differently. Pure functions over a head.
import { AUTHORITY_BYTE } from './byte-tables.ts';
import type { HeaderBlock } from './header-block.ts';
import { H } from './header-name.ts';
import { codecError, type Http1Problem, problem } from './http1-problem.ts';
import { CONNECTION_OPTIONS_MAX, CONTENT_LENGTH_DIGITS_MAX } from './limits.ts';

export type BodyKind = 'none' | 'length' | 'chunked' | 'eof';

export interface Framing {
  bodyKind: BodyKind;
  contentLength: number;
  keepAlive: boolean;
  upgrade: boolean;
}

const BOTH = problem(400, 'http1.content_length_and_chunked_not_allowed', 'both Content-Length and Transfer-Encoding');
const BAD_TE = problem(501, 'http1.invalid_transfer_encoding', 'Transfer-Encoding other than chunked');
const TE_IN_HTTP10 = problem(400, 'http1.transfer_encoding_not_allowed', 'Transfer-Encoding in an HTTP/1.0 message');
const TE_NOT_ALLOWED = problem(400, 'http1.transfer_encoding_not_allowed', 'Transfer-Encoding in a response that has no body');
const CL_NOT_ALLOWED = problem(400, 'http1.content_length_not_allowed', 'Content-Length in a response that has no body');
const NO_PROTOCOL = codecError('101 that names no protocol');
const CONNECT_BODY = problem(400, 'http1.body_disallowed', 'CONNECT with a body');
const LOW_VERSION = problem(426, 'low_version', 'HTTP/1.0 is not accepted');
const NO_HOST = problem(400, 'missing_host_header', 'no Host header');
const NOMINATED = problem(400, 'http1.connection_header_rejected', 'Connection names headers it must not');
const FORWARDED: ReadonlySet<string> = new Set(['x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto']);
const NO_TARGET = codecError('request target has none of its forms');
const INVALID_URL = problem(400, 'http1.invalid_url', 'request target is not valid');
const INVALID_AUTHORITY = problem(400, 'http.invalid_authority', 'authority has bytes it must not have');

/**
 * Fills `out`; the problem when the request must be refused. A request with a body asks for no other protocol (a server may ignore that it
 * does, RFC 9110 7.8): a server that stays with HTTP would take what stands behind the head for a request.
 */
export const requestFraming = (
  method: string,
  versionMinor: number,
  headers: HeaderBlock,
  acceptHttp10: boolean,
  out: Framing,
): Http1Problem | undefined => {
  if (versionMinor === 0 && !acceptHttp10) return LOW_VERSION;
  const nominated = connectionFacts(headers, versionMinor, out);
  if (nominated !== undefined) return nominated;
  const te = headers.getById(H.TRANSFER_ENCODING);
  const cl = headers.getById(H.CONTENT_LENGTH);
  out.bodyKind = 'none';
  out.contentLength = 0;
  if (te === undefined && cl === undefined) return undefined;
  if (te !== undefined) {
    const fault = chunkedOnly(headers, te, cl !== undefined, versionMinor);
    if (fault !== undefined) return fault;
    if (method === 'CONNECT') return BAD_TE;
    out.bodyKind = 'chunked';
    out.upgrade = false;
    return undefined;
  }
  const length = contentLength(headers, cl as string);
  if (typeof length !== 'number') return length;
  if (method === 'CONNECT' && length > 0) return CONNECT_BODY;
  if (length > 0) {
    out.bodyKind = 'length';
    out.upgrade = false;
  }
  out.contentLength = length;
  return undefined;
};

/** Fills `out`; the problem when the response must not be believed. `method` is the request's. */
export const responseFraming = (
  method: string,
  status: number,
  versionMinor: number,
  headers: HeaderBlock,
  out: Framing,
): Http1Problem | undefined => {
  connectionFacts(headers, versionMinor, out);
  const te = headers.getById(H.TRANSFER_ENCODING);
  const cl = headers.getById(H.CONTENT_LENGTH);
  out.bodyKind = 'none';
  out.contentLength = 0;
  if (method === 'CONNECT' && status >= 200 && status < 300) {
    // RFC 9110 9.3.6: neither says anything here.
    if (te !== undefined) headers.removeById(H.TRANSFER_ENCODING);
    if (cl !== undefined) headers.removeById(H.CONTENT_LENGTH);
    out.upgrade = true;
    return undefined;
  }
  if (status === 101 && !out.upgrade) return NO_PROTOCOL;
  if (te !== undefined) {
    const fault = chunkedOnly(headers, te, cl !== undefined, versionMinor);
    if (fault !== undefined) return fault;
  }
  let length = 0;
  if (cl !== undefined) {
    const parsed = contentLength(headers, cl);
    if (typeof parsed !== 'number') return parsed;
    length = parsed;
  }
  if (status < 200 || status === 204) {
    if (te !== undefined) return TE_NOT_ALLOWED;
    if (length > 0) return CL_NOT_ALLOWED;
    return undefined;
  }
  out.contentLength = length;
  if (method === 'HEAD' || status === 304) return undefined;
  if (te !== undefined) out.bodyKind = 'chunked';
  else if (cl !== undefined) out.bodyKind = length > 0 ? 'length' : 'none';
  else {
    out.bodyKind = 'eof';
    out.keepAlive = false;
  }
  return undefined;
};

const chunkedOnly = (headers: HeaderBlock, te: string, hasLength: boolean, versionMinor: number): Http1Problem | undefined => {
  if (hasLength) return BOTH;
  if (versionMinor === 0) return TE_IN_HTTP10;
  if (te.length !== 7 || te.toLowerCase() !== 'chunked' || headers.countId(H.TRANSFER_ENCODING) > 1) return BAD_TE;
  return undefined;
};

const contentLength = (headers: HeaderBlock, text: string): number | Http1Problem => {
  if (headers.countId(H.CONTENT_LENGTH) > 1) return codecError('several Content-Length headers');
  if (text.length === 0 || text.length > CONTENT_LENGTH_DIGITS_MAX) return codecError('Content-Length is not a number');
  let n = 0;
  const canonical = text.length === 1 || text.charCodeAt(0) !== 48;
  for (let i = 0; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return codecError('Content-Length is not a number');
    n = n * 10 + digit;
  }
  // Some readers take a leading zero for octal.
  if (!canonical) headers.setById(H.CONTENT_LENGTH, String(n));
  return n;
};

/** The problem is a request's: what it may not nominate to be removed, for that would change what the next hop believes. */
const connectionFacts = (headers: HeaderBlock, versionMinor: number, out: Framing): Http1Problem | undefined => {
  out.upgrade = false;
  out.keepAlive = versionMinor === 1;
  let close = headers.hasId(H.PROXY_CONNECTION) && headers.getById(H.PROXY_CONNECTION)?.toLowerCase() === 'close';
  if (close) out.keepAlive = false;
  const first = headers.getById(H.CONNECTION);
  if (first === undefined) return undefined;
  if (first === 'keep-alive' && !close && headers.countId(H.CONNECTION) === 1) {
    out.keepAlive = true;
    return undefined;
  }
  let options = 0;
  let fault: Http1Problem | undefined;
  let keep = false;
  for (const line of headers.values('connection')) {
    for (const raw of line.split(',')) {
      const option = raw.trim().toLowerCase();
      if (option === 'close') close = true;
      else if (option === 'keep-alive') keep = true;
      else if (option === 'upgrade') out.upgrade = true;
      else if (option === 'host') fault ??= NO_HOST;
      else if (option.charCodeAt(0) === 58 || FORWARDED.has(option)) fault ??= NOMINATED;
      if (++options >= CONNECTION_OPTIONS_MAX) fault ??= NOMINATED;
    }
  }
  // HTTP/2 in the clear begins with its preface here; RFC 9113 3.1 has no upgrade, and the request is good without it.
  out.upgrade = out.upgrade && versionMinor === 1 && headers.hasId(H.UPGRADE) && headers.getById(H.UPGRADE)?.toLowerCase() !== 'h2c';
  out.keepAlive = !close && (versionMinor === 1 || keep);
  return fault;
};

export interface RequestTarget {
  /** Path with query; '*' for OPTIONS *, '' for CONNECT. */
  path: string;
  authority: string;
  /** From an absolute-form target, lower case; '' otherwise. */
  scheme: string;
}

/** Reads origin, absolute, authority and asterisk form; fills `out`. The URI's authority wins over Host (RFC 9112 3.2.2). */
export const requestTarget = (
  method: string,
  target: string,
  versionMinor: number,
  headers: HeaderBlock,
  out: RequestTarget,
  allowAbsolute = true,
): Http1Problem | undefined => {
  const host = headers.getById(H.HOST);
  if (host === undefined) {
    if (versionMinor === 1) return NO_HOST;
  } else {
    if (headers.countId(H.HOST) > 1) return codecError('several Host headers');
    if (!validAuthority(host)) return INVALID_AUTHORITY;
  }
  out.scheme = '';
  out.authority = host ?? '';
  out.path = target;
  if (method === 'CONNECT') {
    out.authority = target;
    out.path = '';
    return /:\d+$/.test(target) && hostAndPort(target) ? undefined : INVALID_URL;
  }
  if (target.charCodeAt(0) === 47) return undefined;
  if (target === '*') return method === 'OPTIONS' ? undefined : INVALID_URL;
  return allowAbsolute ? absoluteForm(target, out) : undefined;
};

const absoluteForm = (target: string, out: RequestTarget): Http1Problem | undefined => {
  const parts = /^([A-Za-z][A-Za-z0-9+.-]*):\/\/([^/?#]+)([/?].*)?$/.exec(target);
  if (parts === null) return /^[A-Za-z][A-Za-z0-9+.-]*:\/\/[^#]*$/.test(target) ? INVALID_URL : NO_TARGET;
  const scheme = (parts[1] as string).toLowerCase();
  const authority = parts[2] as string;
  if (scheme !== 'http' && scheme !== 'https') return problem(400, 'http1.invalid_scheme', 'scheme is neither http nor https');
  if (!validAuthority(authority)) return INVALID_AUTHORITY;
  if (!hostAndPort(authority)) return INVALID_URL;
  const rest = parts[3] ?? '/';
  out.scheme = scheme;
  out.authority = authority;
  // `?query` alone stays and finds no route, as in Envoy.
  out.path = rest;
  return undefined;
};

/** A name or address, perhaps a port; as Envoy, names in a target have letters, digits, dots and hyphens alone. */
const hostAndPort = (text: string): boolean => {
  const parts = /^(?:[A-Za-z0-9.-]+|\[([0-9a-fA-F:.]+)\])(?::(\d+))?$/.exec(text);
  return parts !== null && Number(parts[2] ?? 0) <= 65_535 && (parts[1] === undefined || ipv6(parts[1]));
};

const ipv6 = (text: string): boolean => {
  const sides = text.replace(/(?<=:)\d{1,3}(?:\.\d{1,3}){3}$/, '0:0').split('::');
  let groups = 0;
  for (const side of sides) {
    if (side === '') continue;
    if (!/^[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{1,4})*$/.test(side)) return false;
    groups += side.split(':').length;
  }
  return sides.length === 1 ? groups === 8 : sides.length === 2 && groups < 8;
};

const validAuthority = (text: string): boolean => {
  for (let i = 0; i < text.length; i++) if (AUTHORITY_BYTE[text.charCodeAt(i)] !== 1) return false;
  return true;
};
