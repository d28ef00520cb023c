// SETTINGS of both sides (RFC 9113 6.5): what this side announces, and reading the peer's.
import {
  CONNECTION_WINDOW_DEFAULT,
  FRAME_SIZE_DEFAULT,
  FRAME_SIZE_LIMIT,
  H2,
  HEADER_TABLE_DEFAULT,
  MAX_CONCURRENT_DEFAULT,
  S_ENABLE_CONNECT_PROTOCOL,
  S_ENABLE_PUSH,
  S_HEADER_TABLE_SIZE,
  S_INITIAL_WINDOW_SIZE,
  S_MAX_CONCURRENT_STREAMS,
  S_MAX_FRAME_SIZE,
  STREAM_WINDOW_DEFAULT,
  T_SETTINGS,
  T_WINDOW_UPDATE,
  WINDOW_DEFAULT,
  WINDOW_MAX,
} from './http2-frame.ts';
import type { Http2Outbox } from './http2-outbox.ts';

export interface LocalSettings {
  readonly initialStreamWindowSize?: number | undefined;
  readonly initialConnectionWindowSize?: number | undefined;
  readonly maxConcurrentStreams?: number | undefined;
  readonly allowConnect?: boolean | undefined;
  readonly headerTableSize?: number | undefined;
  readonly maxFrameSize?: number | undefined;
}

export const tableSize = (own: LocalSettings): number => own.headerTableSize ?? HEADER_TABLE_DEFAULT;
export const streamWindow = (own: LocalSettings): number => own.initialStreamWindowSize ?? STREAM_WINDOW_DEFAULT;
export const connectionWindow = (own: LocalSettings): number =>
  Math.max(WINDOW_DEFAULT, own.initialConnectionWindowSize ?? CONNECTION_WINDOW_DEFAULT);
export const frameMax = (own: LocalSettings): number =>
  Math.min(FRAME_SIZE_LIMIT, Math.max(FRAME_SIZE_DEFAULT, own.maxFrameSize ?? FRAME_SIZE_DEFAULT));

/** The first frames of this side: what differs from the RFC's defaults, and the connection's window. */
export const writeSettings = (own: LocalSettings, client: boolean, outbox: Http2Outbox): void => {
  outbox.beginFrame(T_SETTINGS, 0, 0);
  const put = (setting: number, value: number, normal: number): void => {
    if (value === normal) return;
    outbox.u16(setting);
    outbox.u32(value);
  };
  put(S_HEADER_TABLE_SIZE, tableSize(own), HEADER_TABLE_DEFAULT);
  if (client) put(S_ENABLE_PUSH, 0, 1);
  else {
    put(S_MAX_CONCURRENT_STREAMS, own.maxConcurrentStreams ?? MAX_CONCURRENT_DEFAULT, -1);
    put(S_ENABLE_CONNECT_PROTOCOL, own.allowConnect === true ? 1 : 0, 0);
  }
  put(S_INITIAL_WINDOW_SIZE, streamWindow(own), WINDOW_DEFAULT);
  put(S_MAX_FRAME_SIZE, frameMax(own), FRAME_SIZE_DEFAULT);
  outbox.endFrame();
  if (connectionWindow(own) > WINDOW_DEFAULT) outbox.word(T_WINDOW_UPDATE, 0, connectionWindow(own) - WINDOW_DEFAULT);
};

/** What the peer's SETTINGS said. */
export class PeerSettings {
  maxConcurrentStreams = 0xffffffff;
  allowsConnect = false;
  headerTableSize = HEADER_TABLE_DEFAULT;
  /** The smallest of the values one frame gave: the encoder has to pass through it. */
  headerTableLow = HEADER_TABLE_DEFAULT;
  initialWindow = WINDOW_DEFAULT;
  frameMax = FRAME_SIZE_DEFAULT;

  /** An error code, 0 when all is well. */
  read(buf: Buffer, start: number, end: number, fromServer: boolean): number {
    this.headerTableLow = this.headerTableSize;
    for (let at = start; at < end; at += 6) {
      const problem = this.#one(buf.readUInt16BE(at), buf.readUInt32BE(at + 2), fromServer);
      if (problem !== H2.NO_ERROR) return problem;
    }
    return H2.NO_ERROR;
  }

  #one(setting: number, value: number, fromServer: boolean): number {
    switch (setting) {
      case S_HEADER_TABLE_SIZE:
        this.headerTableSize = value;
        this.headerTableLow = Math.min(this.headerTableLow, value);
        return H2.NO_ERROR;
      case S_ENABLE_PUSH:
        return value > 1 || (fromServer && value === 1) ? H2.PROTOCOL_ERROR : H2.NO_ERROR;
      case S_MAX_CONCURRENT_STREAMS:
        this.maxConcurrentStreams = value;
        return H2.NO_ERROR;
      case S_INITIAL_WINDOW_SIZE:
        this.initialWindow = value;
        return value > WINDOW_MAX ? H2.FLOW_CONTROL_ERROR : H2.NO_ERROR;
      case S_MAX_FRAME_SIZE:
        this.frameMax = value;
        return value < FRAME_SIZE_DEFAULT || value > FRAME_SIZE_LIMIT ? H2.PROTOCOL_ERROR : H2.NO_ERROR;
      case S_ENABLE_CONNECT_PROTOCOL:
        if (value > 1 || (value === 0 && this.allowsConnect)) return H2.PROTOCOL_ERROR;
        this.allowsConnect = value === 1;
        return H2.NO_ERROR;
      default:
        return H2.NO_ERROR;
    }
  }
}
