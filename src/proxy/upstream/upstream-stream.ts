// What an attempt needs of an upstream connection, whatever protocol it speaks: who uses it, the one request and response that pass
// through it, and the pool it comes from.

import type { TlsFacts } from '../../plan/stream-info.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import type { ResourceLimits } from '../cluster/circuit-breaker.ts';
import type { TransportVariant } from '../transport/upstream-transport.ts';

export interface OutgoingRequest {
  readonly method: string;
  readonly scheme: string;
  readonly path: string;
  readonly authority: string;
  readonly requestHeaders: HeaderBlock;
}

/** A response's head; an accepted upgrade reads as HTTP/1 writes it: 101. */
export interface ResponseHead {
  readonly statusCode: number;
  readonly reason: string;
  readonly headers: HeaderBlock;
  readonly headBytes: number;
  /** 'none': no body follows; 'chunked' and 'eof': its length is not told before. */
  readonly bodyKind: 'none' | 'length' | 'chunked' | 'eof';
}

/** Why a request was lost on a connection that stood: Envoy's reset reasons. */
export type ResetCause = 'termination' | 'protocol' | 'remote' | 'refused' | 'connect';

export interface UpstreamStream {
  readonly protocol: 'HTTP/1.1' | 'HTTP/2';
  /** Of the connection. */
  readonly id: number;
  readonly localAddress: string;
  readonly tls: TlsFacts | undefined;
  readonly connectStartMs: number;
  readonly connectedMs: number;
  /** The head's bytes. It waits for the first body bytes, the end or flush(). `ended`: neither body nor trailers follow. */
  writeRequest(request: OutgoingRequest, upgrade: string, chunked: boolean, ended: boolean): number;
  /** False: stop reading downstream until onDrain. */
  writeBody(buf: Buffer, start: number, end: number): boolean;
  endRequest(trailers: HeaderBlock | undefined): void;
  flush(): void;
  /** Bytes of the request that have not left. */
  readonly backlog: number;
  pause(): void;
  resume(): void;
  /** After a 101 (or CONNECT): bytes pass as they are. */
  beginTunnel(): void;
  tunnelWrite(bytes: Buffer): boolean;
  tunnelEnd(): void;
  /** What comes of the response is another client's from now on. */
  handOver(client: UpstreamClient): void;
  /** The client gives its request up. */
  abandon(): void;
  /** Request and response are over but for what nobody wants to see. */
  discard(): void;
}

/** Who uses the connection. Every call but onReady comes from the connection's socket events. */
export interface UpstreamClient {
  /** The stream is this client's: write the request now. */
  onReady(stream: UpstreamStream): void;
  /** No connection could be made; `reason` is the transport's word. */
  onConnectFailure(kind: 'remote' | 'timeout' | 'overflow', reason: string): void;
  /** The host left the cluster while this client waited for a connection to it: choose another. */
  onHostGone(): void;
  onInformational(head: ResponseHead): void;
  onHead(head: ResponseHead): void;
  onBody(buf: Buffer, start: number, end: number): void;
  onTrailers(trailers: HeaderBlock): void;
  onEnd(): void;
  /** The bytes of one read have all been handed on. After the response's end: look at its head now, the next request clears it. */
  onFlush(): void;
  /** The stream is no longer this client's; a next request may take it. */
  onSettled(): void;
  /** The stream went away under the request. */
  onReset(cause: ResetCause, reason: string): void;
  /** More is taken after a write returned false. */
  onDrain(): void;
  /** Bytes after an upgrade. */
  onTunnelData(buf: Buffer): void;
  onTunnelEnd(): void;
}

/** Reads a response to its end and forgets it. */
export const DISCARD: UpstreamClient = {
  onReady: () => {},
  onConnectFailure: () => {},
  onHostGone: () => {},
  onInformational: () => {},
  onHead: () => {},
  onBody: () => {},
  onTrailers: () => {},
  onEnd: () => {},
  onFlush: () => {},
  onSettled: () => {},
  onReset: () => {},
  onDrain: () => {},
  onTunnelData: () => {},
  onTunnelEnd: () => {},
};

/** The connections of one host that are alike: same protocol, same transport variant. */
export interface UpstreamPool {
  readonly variant: TransportVariant;
  readonly draining: boolean;
  /** Connections, those being made included. */
  readonly size: number;
  /** Gives `client` a stream at once (onReady before this returns), keeps it waiting, or refuses for a circuit limit. */
  acquire(client: UpstreamClient, limits: ResourceLimits): 'ready' | 'waiting' | 'overflow';
  /** A waiting client gives up. A connection being made for it stays. */
  cancel(client: UpstreamClient): void;
  /** Closes what is idle now and the rest when it falls idle. */
  drain(): void;
  closeIdle(): void;
  /** Its host left the cluster: who waits chooses anew, running requests may end as long as the peer's kernel answers. */
  leave(): void;
  /** Ends everything, requests included. */
  destroy(): void;
}

let connectionIds = 0;
export const nextConnectionId = (): number => ++connectionIds;
