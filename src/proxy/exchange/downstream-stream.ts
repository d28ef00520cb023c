// What an exchange needs of the client's side, whatever protocol carries it: the head of the request as it was read, and the place
// the answer is written to. One object serves many requests, one after the other.

import type { BlockList } from 'node:net';
import type { HeaderBlock } from '../../wire/header-block.ts';

/** A request's head, valid while the exchange runs. An upgrade asked for over HTTP/2 reads as HTTP/1 writes it: GET with `upgrade`. */
export interface RequestHead {
  readonly method: string;
  readonly path: string;
  readonly authority: string;
  /** '' when the request does not say. */
  readonly scheme: string;
  readonly headers: HeaderBlock;
  /** 'none': the request ends with its head; 'chunked': its length is not told before. */
  readonly bodyKind: 'none' | 'length' | 'chunked' | 'eof';
  /** Bytes behind the head may belong to another protocol. */
  readonly upgrade: boolean;
  readonly headBytes: number;
}

export interface DownstreamStream {
  readonly protocol: 'HTTP/1.0' | 'HTTP/1.1' | 'HTTP/2';
  readonly internalRanges: BlockList | undefined;
  /** Bytes just read are being handed on: what goes upstream is flushed when they all have been. */
  readonly reading: boolean;
  /** Body bytes the request's head promised. */
  readonly requestLength: number;
  /** What may be kept of a request's body, to be sent again, where its route does not say. */
  readonly bufferBytes: number;
  /** True: the body is to be written in chunks. */
  writeHead(status: number, reason: string, headers: HeaderBlock, streamed: boolean, hasBody: boolean, requestDone: boolean): boolean;
  /** False: the client takes no more now. */
  writeInformational(status: number, reason: string, headers: HeaderBlock): boolean;
  /** False: the client takes no more until the exchange's onDownstreamDrain(). */
  writeBody(buf: Buffer, start: number, end: number, chunked: boolean): boolean;
  endBody(chunked: boolean, trailers: HeaderBlock | undefined): void;
  flush(): void;
  /** The two sides may not agree on where the request ends. */
  closeAfterResponse(): void;
  /** The exchange is over: the next request, or the end. */
  next(): void;
  /** The exchange is over and its response is not whole. */
  closeNow(): void;
  pauseReading(): void;
  resumeReading(): void;
  beginTunnel(): void;
  tunnelWrite(buf: Buffer): boolean;
  tunnelEnd(): void;
}
