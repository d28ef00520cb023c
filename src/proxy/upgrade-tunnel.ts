// After an upgrade (101, CONNECT): bytes pass both ways as they are until both sides have ended or one is gone.

import type { DownstreamStream } from './downstream-stream.ts';
import type { Exchange } from './exchange.ts';
import type { UpstreamStream } from './upstream-stream.ts';

export class UpgradeTunnel {
  readonly #down: DownstreamStream;
  readonly #exchange: Exchange;
  #connection: UpstreamStream | undefined;
  #halves = 0;
  open = false;

  constructor(down: DownstreamStream, exchange: Exchange) {
    this.#down = down;
    this.#exchange = exchange;
  }

  reset(): void {
    this.open = false;
    this.#halves = 0;
    this.#connection = undefined;
  }

  begin(connection: UpstreamStream): void {
    this.open = true;
    this.#connection = connection;
    connection.beginTunnel();
    this.#down.flush();
    this.#down.beginTunnel();
  }

  fromUpstream(buf: Buffer): void {
    this.#exchange.info.bytesSent += buf.length;
    this.#exchange.touch();
    if (!this.#down.tunnelWrite(buf)) this.#connection?.pause();
  }

  fromDownstream(buf: Buffer): void {
    this.#exchange.info.bytesReceived += buf.length;
    this.#exchange.touch();
    if (this.#connection?.tunnelWrite(buf) === false) this.#down.pauseReading();
  }

  upstreamEnded(): void {
    this.#down.tunnelEnd();
    this.#half();
  }

  downstreamEnded(): void {
    this.#connection?.tunnelEnd();
    this.#half();
  }

  /** One side is gone: so is the other. */
  gone(): void {
    this.#connection?.abandon();
    this.#connection = undefined;
    this.#down.closeNow();
    this.#exchange.done();
  }

  #half(): void {
    if (++this.#halves === 2) this.gone();
  }
}
