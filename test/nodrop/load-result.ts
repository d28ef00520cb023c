// What the load is asked for and what it saw.

export type Protocol = 'http1' | 'http2' | 'websocket' | 'tcp';

export interface Target {
  readonly protocol: Protocol;
  readonly host: string;
  readonly port: number;
  /** Requests or messages a second. */
  readonly rate: number;
  /** Connections (of HTTP/1.1: at the start; more when all are busy). */
  readonly connections: number;
  /** WebSocket and TCP: how long a stream lives before it is ended in order and opened again; 0: to the end. */
  readonly streamMs: number;
  /** All streams end so, not every second one; for runs that last longer than a drain. */
  readonly noneLasts?: boolean;
  /** Names this load in results. */
  readonly name: string;
}

export interface Failure {
  /** Milliseconds since 1970, when it was seen. */
  readonly at: number;
  readonly reason: string;
}

export interface LoadResult {
  readonly name: string;
  readonly sent: number;
  readonly succeeded: number;
  readonly failures: readonly Failure[];
  /** All of them, of which `failures` has the first. */
  readonly failed: number;
  /** Answered 503 for want of hosts: failures, unless the test took the hosts away itself at that time. */
  readonly withoutHosts: readonly number[];
  /** New connections where the protocol gave leave: `connection: close`, GOAWAY, an end between messages of our own making. */
  readonly reconnects: number;
  /** Requests sent again because GOAWAY or REFUSED_STREAM said that they were not processed. */
  readonly refused: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly longestMs: number;
}
