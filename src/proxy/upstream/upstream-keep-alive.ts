// A transport whose connections are probed by the kernel while nothing travels on them (upstream_connection_options.tcp_keepalive).
// The kernel's own number and distance of probes hold. Only made for clusters that ask for it.

import type { Socket } from 'node:net';
import type { TlsFacts } from '../../plan/stream-info.ts';
import type { TcpKeepalive } from '../../xds/gen/types.ts';
import type { TransportVariant, UpstreamTransport } from '../transport/upstream-transport.ts';

/** What Linux waits when nothing is said. */
const PROBE_AFTER_SECONDS = 7200;

class ProbedTransport implements UpstreamTransport {
  readonly #inner: UpstreamTransport;
  readonly #afterMs: number;

  constructor(inner: UpstreamTransport, afterSeconds: number) {
    this.#inner = inner;
    this.#afterMs = afterSeconds * 1000;
  }

  get kind(): 'raw' | 'tls' {
    return this.#inner.kind;
  }
  get warm(): boolean {
    return this.#inner.warm;
  }
  get sni(): string {
    return this.#inner.sni;
  }
  get tellsClient(): boolean {
    return this.#inner.tellsClient;
  }

  connect(ip: string, port: number, localAddress: string | undefined, variant: TransportVariant, preamble?: Buffer): Socket {
    const socket = this.#inner.connect(ip, port, localAddress, variant, preamble);
    socket.setKeepAlive(true, this.#afterMs);
    return socket;
  }

  facts(socket: Socket): TlsFacts | undefined {
    return this.#inner.facts(socket);
  }

  close(): void {
    this.#inner.close();
  }
}

export const probed = (transport: UpstreamTransport, keepalive: TcpKeepalive | undefined): UpstreamTransport =>
  keepalive === undefined ? transport : new ProbedTransport(transport, keepalive.keepalive_time ?? PROBE_AFTER_SECONDS);
