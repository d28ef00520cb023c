// The border between an xDS (or any gRPC) stream machine and what carries its bytes: an HTTP/2 connection, a
// pipe inside the process, a test. Contract: `message` and `end` are never called before `open` has returned;
// after `end` nothing is called; `send` after `end` or `close` is ignored; `close` gives no `end`.

/** A gRPC status; `code` 0 is OK, 14 UNAVAILABLE, 16 UNAUTHENTICATED. */
export interface StreamStatus {
  readonly code: number;
  readonly message: string;
}

export interface StreamEvents {
  /** One whole gRPC message, without its frame prefix. The receiver may keep the bytes. */
  message(bytes: Uint8Array): void;
  /** The stream is over, from the far side or because the connection was lost or could not be made. */
  end(status: StreamStatus): void;
}

export interface XdsStream {
  send(bytes: Uint8Array): void;
  close(): void;
}

export interface XdsTransport {
  /** `method` is the full gRPC method, as `/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources`. */
  open(method: string, events: StreamEvents): XdsStream;
}
