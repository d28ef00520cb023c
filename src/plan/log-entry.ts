// What Envoy's access log service is told of one HTTP exchange or TCP connection (HTTPAccessLogEntry, TCPAccessLogEntry), written byte by
// byte into a buffer that many entries share. What is told beside the fixed fields is decided while compiling.
import type { HeaderBlock } from '../wire/header-block.ts';
import { H } from '../wire/header-name.ts';
import { encodeNamed } from '../xds/codec.ts';
import type { CustomTag, JsonObject } from '../xds/gen/types.ts';
import {
  headerReceived,
  headerSent,
  requestMapBytes,
  responseMapBytes,
  upstreamHeaderReceived,
  upstreamHeaderSent,
  upstreamWireReceived,
  upstreamWireSent,
  wireReceived,
  wireSent,
} from './message-sizes.ts';
import type { ProtoBuffer } from './proto-buffer.ts';
import { FLAG, type ResponseFlag } from './response-flag.ts';
import type { StreamInfo } from './stream-info.ts';
import { writeTlsProperties } from './tls-properties.ts';
import { compileCustomTags } from './tracing/custom-tags.ts';

/** Writes one entry, its number in `log_entry` and its length before it. */
export type EntryWriter = (
  out: ProtoBuffer,
  info: StreamInfo,
  request: HeaderBlock | undefined,
  response: HeaderBlock | undefined,
  trailers: HeaderBlock | undefined,
) => void;

export interface EntryOptions {
  readonly customTags: readonly CustomTag[];
  readonly filterState: readonly string[];
  readonly requestHeaders: readonly string[];
  readonly responseHeaders: readonly string[];
  readonly responseTrailers: readonly string[];
  /** For the path in errors. */
  readonly path: string;
  /** An object of the filter state as Envoy's own would be written; undefined: as it is. */
  readonly stateOf?: (key: string, info: StreamInfo) => JsonObject | string | undefined;
  /** Names a connection that has no name. */
  readonly unique: () => string;
}

const LOG_ENTRY = 1;

export const compileHttpEntry = (options: EntryOptions): EntryWriter => {
  const common = compileCommon(options);
  const requestHeaders = options.requestHeaders.map((name) => name.toLowerCase());
  const responseHeaders = options.responseHeaders.map((name) => name.toLowerCase());
  const trailerNames = options.responseTrailers.map((name) => name.toLowerCase());
  return (out, info, request, response, trailers) => {
    const entry = out.begin(LOG_ENTRY);
    common(out, info, request, response, trailers);
    out.uint(2, PROTOCOLS[info.protocol] ?? 0);
    const asked = out.begin(3);
    writeRequest(out, info, request);
    if (requestHeaders.length > 0) writeHeaders(out, 13, requestHeaders, request, info, true);
    out.uint(14, upstreamHeaderSent(info));
    out.uint(15, headerReceived(info, request));
    out.end(asked);
    const answered = out.begin(4);
    if (info.responseCode > 0) {
      const code = out.begin(1);
      out.uint(1, info.responseCode);
      out.end(code);
    }
    out.uint(2, responseMapBytes(info, response));
    out.uint(3, info.bytesSent);
    if (responseHeaders.length > 0) writeHeaders(out, 4, responseHeaders, response, info, false);
    if (trailerNames.length > 0) writeHeaders(out, 5, trailerNames, trailers, info, false);
    out.string(6, info.responseCodeDetails);
    out.uint(7, upstreamHeaderReceived(info));
    out.uint(8, headerSent(info));
    out.end(answered);
    out.end(entry);
  };
};

export const compileTcpEntry = (options: EntryOptions): EntryWriter => {
  const common = compileCommon(options);
  return (out, info, request, response, trailers) => {
    const entry = out.begin(LOG_ENTRY);
    common(out, info, request, response, trailers);
    const connection = out.begin(2);
    out.uint(1, info.bytesReceived);
    out.uint(2, info.bytesSent);
    out.end(connection);
    out.end(entry);
  };
};

const PROTOCOLS: Readonly<Record<string, number>> = { 'HTTP/1.0': 1, 'HTTP/1.1': 2, 'HTTP/2': 3, 'HTTP/3': 4 };
const METHODS: Readonly<Record<string, number>> = {
  GET: 1,
  HEAD: 2,
  POST: 3,
  PUT: 4,
  DELETE: 5,
  CONNECT: 6,
  OPTIONS: 7,
  TRACE: 8,
  PATCH: 9,
};
const LOG_TYPES: Readonly<Record<string, number>> = {
  TcpUpstreamConnected: 1,
  TcpPeriodic: 2,
  TcpConnectionEnd: 3,
  DownstreamStart: 4,
  DownstreamPeriodic: 5,
  DownstreamEnd: 6,
  UpstreamPoolReady: 7,
  UpstreamPeriodic: 8,
  UpstreamEnd: 9,
  DownstreamTunnelSuccessfullyEstablished: 10,
};

const compileCommon = (options: EntryOptions): EntryWriter => {
  const { filterState, stateOf, unique } = options;
  const tags = compileTags(options);
  return (out, info, request, response, trailers) => {
    const common = out.begin(1);
    writeAddress(out, 2, info.downstreamRemoteAddress);
    writeAddress(out, 3, info.downstreamLocalAddress);
    writeTlsProperties(out, 4, info);
    const { startTime, endTime } = info;
    writeTime(out, 5, startTime);
    writeTimes(out, info, startTime);
    if (info.upstreamHost !== '') {
      writeAddress(out, 13, info.upstreamHost);
      writeAddress(out, 14, info.upstreamLocalAddress);
      out.string(15, info.upstreamClusterRaw);
    }
    if (info.hasAnyFlag()) writeFlags(out, info);
    for (const _ in info.dynamicMetadata) {
      out.blob(17, encodeNamed('envoy.config.core.v3.Metadata', { filter_metadata: info.dynamicMetadata }));
      break;
    }
    out.string(18, info.upstreamTransportFailureReason);
    out.string(19, info.routeName);
    writeAddress(out, 20, info.downstreamDirectRemoteAddress || info.downstreamRemoteAddress);
    for (const key of filterState) writeState(out, key, stateOf?.(key, info) ?? info.filterState[key] ?? info.upstreamFilterState[key]);
    for (const { key, write } of tags) writeTag(out, key, write, info, request, response, trailers);
    if (endTime > 0) writeDuration(out, 23, endTime - startTime);
    out.uint(24, info.upstreamRequestAttemptCount);
    out.string(25, info.connectionTerminationDetails);
    out.received(26, info.streamId || unique());
    out.bool(27, endTime <= 0);
    out.string(28, info.downstreamTransportFailureReason);
    out.uint(29, wireSent(info));
    out.uint(30, wireReceived(info));
    out.uint(31, upstreamWireSent(info));
    out.uint(32, upstreamWireReceived(info));
    out.uint(33, LOG_TYPES[info.accessLogType] ?? 0);
    out.end(common);
  };
};

const writeTimes = (out: ProtoBuffer, info: StreamInfo, start: number): void => {
  if (info.lastDownstreamRxByte > 0) writeDuration(out, 6, info.lastDownstreamRxByte - start);
  if (info.firstUpstreamTxByte > 0) writeDuration(out, 7, info.firstUpstreamTxByte - start);
  if (info.lastUpstreamTxByte > 0) writeDuration(out, 8, info.lastUpstreamTxByte - start);
  if (info.firstUpstreamRxByte > 0) writeDuration(out, 9, info.firstUpstreamRxByte - start);
  if (info.lastUpstreamRxByte > 0) writeDuration(out, 10, info.lastUpstreamRxByte - start);
  if (info.firstDownstreamTxByte > 0) writeDuration(out, 11, info.firstDownstreamTxByte - start);
  if (info.lastDownstreamTxByte > 0) writeDuration(out, 12, info.lastDownstreamTxByte - start);
};

/** Seconds and nanoseconds of milliseconds since 1970, as exact as Envoy's clock: microseconds. */
const writeTime = (out: ProtoBuffer, field: number, ms: number): void => {
  const at = out.begin(field);
  const seconds = Math.floor(ms / 1000);
  out.uint(1, seconds);
  out.uint(2, Math.floor((ms - seconds * 1000) * 1000) * 1000);
  out.end(at);
};

const writeDuration = (out: ProtoBuffer, field: number, ms: number): void => {
  const at = out.begin(field);
  const whole = Math.max(0, ms);
  const seconds = Math.floor(whole / 1000);
  out.uint(1, seconds);
  out.uint(2, Math.floor((whole - seconds * 1000) * 1e6));
  out.end(at);
};

const COLON = 58;
const OPEN = 91;
const SLASH = 47;
const ZERO = 48;

/** `ip:port`, `[ip]:port` or a pipe's path. */
const writeAddress = (out: ProtoBuffer, field: number, address: string): void => {
  if (address === '') return;
  const at = out.begin(field);
  if (address.charCodeAt(0) === SLASH || address.charCodeAt(0) === 64) {
    const pipe = out.begin(2);
    out.string(1, address);
    out.end(pipe);
    out.end(at);
    return;
  }
  const socket = out.begin(1);
  const first = address.charCodeAt(0) === OPEN ? 1 : 0;
  let colon = address.length - 1;
  let port = 0;
  for (let scale = 1; colon > 0 && address.charCodeAt(colon) !== COLON; colon--, scale *= 10)
    port += (address.charCodeAt(colon) - ZERO) * scale;
  const last = colon - first;
  const ip = out.begin(2);
  out.reserve(last);
  for (let i = first; i < last; i++) out.bytes[out.length++] = address.charCodeAt(i);
  out.end(ip);
  out.uint(3, port);
  out.end(socket);
  out.end(at);
};

const FLAGS_MAX = FLAG.DF;

const writeFlags = (out: ProtoBuffer, info: StreamInfo): void => {
  const at = out.begin(16);
  for (let flag = 0; flag <= FLAGS_MAX; flag++) {
    if (!info.hasFlag(flag as ResponseFlag)) continue;
    if (flag === FLAG.UAEX) {
      const why = out.begin(13);
      out.uint(1, 1); // EXTERNAL_SERVICE
      out.end(why);
    } else out.uint(flag + 1, 1);
  }
  if (info.hasFlag(FLAG.DR)) out.uint(28, 1);
  out.end(at);
};

const writeRequest = (out: ProtoBuffer, info: StreamInfo, request: HeaderBlock | undefined): void => {
  out.uint(1, METHODS[info.method] ?? 0);
  out.string(2, info.scheme);
  out.received(3, info.authority);
  out.received(5, info.path);
  if (request !== undefined) {
    writeKnown(out, 6, request, H.USER_AGENT);
    writeKnown(out, 7, request, H.REFERER);
    writeKnown(out, 8, request, H.X_FORWARDED_FOR);
    writeKnown(out, 9, request, H.X_REQUEST_ID);
    writeKnown(out, 10, request, H.X_ENVOY_ORIGINAL_PATH);
  }
  out.uint(11, requestMapBytes(info, request));
  out.uint(12, info.bytesReceived);
};

/** A header's bytes, without making text of them. */
const writeKnown = (out: ProtoBuffer, field: number, block: HeaderBlock, id: number): void => {
  if (!block.hasId(id)) return;
  const at = out.begin(field);
  out.quoted = false;
  block.visitValue(id, out);
  out.endText(at);
};

const writeHeaders = (
  out: ProtoBuffer,
  field: number,
  names: readonly string[],
  block: HeaderBlock | undefined,
  info: StreamInfo,
  ofRequest: boolean,
): void => {
  for (const name of names) {
    const value = name.startsWith(':') ? pseudo(name, info, ofRequest) : joined(block, name);
    if (value === undefined) continue;
    const at = out.begin(field);
    out.string(1, name);
    out.received(2, value);
    out.end(at);
  }
};

const pseudo = (name: string, info: StreamInfo, ofRequest: boolean): string | undefined => {
  if (!ofRequest) return name === ':status' && info.responseCode > 0 ? String(info.responseCode) : undefined;
  const value =
    name === ':path'
      ? info.path
      : name === ':method'
        ? info.method
        : name === ':authority'
          ? info.authority
          : name === ':scheme'
            ? info.scheme
            : '';
  return value || undefined;
};

/** Repeated values with commas between them. */
const joined = (block: HeaderBlock | undefined, name: string): string | undefined => {
  const first = block?.get(name);
  if (first === undefined || block === undefined) return undefined;
  const all = block.values(name);
  return all.length > 1 ? all.join(',') : first;
};

interface WrittenTag {
  readonly key: string;
  readonly write: { readonly value: ReturnType<typeof compileCustomTags>[number]['value']; readonly received: boolean };
}

const compileTags = ({ customTags, path }: EntryOptions): readonly WrittenTag[] =>
  compileCustomTags(customTags, `${path}.custom_tags`).map(({ tag, value }, i) => ({
    key: tag,
    write: { value, received: customTags[i]?.request_header !== undefined },
  }));

const writeTag = (
  out: ProtoBuffer,
  key: string,
  { value, received }: WrittenTag['write'],
  info: StreamInfo,
  request: HeaderBlock | undefined,
  response: HeaderBlock | undefined,
  trailers: HeaderBlock | undefined,
): void => {
  const text = value(info, request, response, trailers);
  if (text === undefined || text === '') return;
  const at = out.begin(22);
  out.string(1, key);
  if (received) out.received(2, text);
  else out.string(2, text);
  out.end(at);
};

const STRUCT = 'google.protobuf.Struct';
const STRING_VALUE = 'google.protobuf.StringValue';

/** Objects of the state live as long as what they describe and are the same for many entries: each is encoded once. */
const encoded = new WeakMap<object, Uint8Array>();

const writeState = (out: ProtoBuffer, key: string, state: JsonObject | string | undefined): void => {
  if (state === undefined) return;
  const at = out.begin(21);
  out.string(1, key);
  const any = out.begin(2);
  if (typeof state === 'string') {
    out.string(1, `type.googleapis.com/${STRING_VALUE}`);
    const value = out.begin(2);
    out.received(1, state);
    out.end(value);
  } else {
    let bytes = encoded.get(state);
    if (bytes === undefined) {
      bytes = encodeNamed(STRUCT, state);
      encoded.set(state, bytes);
    }
    out.string(1, `type.googleapis.com/${STRUCT}`);
    out.blob(2, bytes);
  }
  out.end(any);
  out.end(at);
};
