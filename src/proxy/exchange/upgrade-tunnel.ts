// After an upgrade (101, CONNECT): bytes pass both ways as they are until both sides have ended or one is gone.

import { FLAG, type ResponseFlag } from '../../plan/response-flag.ts';
import type { UpstreamStream } from '../upstream/upstream-stream.ts';
import type { DownstreamStream } from './downstream-stream.ts';
import type { Exchange } from './exchange.ts';
import { RESET_FLAGS, type ResetReason } from './local-reply.ts';

export class UpgradeTunnel {
  readonly #down: DownstreamStream;
  readonly #exchange: Exchange;
  #connection: UpstreamStream | undefined;
  #halves = 0;
  open = false;
  /** The upstream has said all it had to say. */
  answered = false;

  constructor(down: DownstreamStream, exchange: Exchange) {
    this.#down = down;
    this.#exchange = exchange;
  }

  reset(): void {
    this.open = false;
    this.#halves = 0;
    this.answered = false;
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
    // HTTP/1 ends what it carries with its connection alone, and Envoy calls that a loss.
    if (this.#exchange.info.upstreamProtocol === 'HTTP/1.1' && this.#exchange.route?.route.connect === undefined)
      this.#lost('connection_termination');
    this.answered = true;
    this.#down.tunnelEnd();
    this.#half();
  }

  downstreamEnded(): void {
    // As Envoy: a client of HTTP/1 that ends its side first has left. What is on its way to it still arrives.
    if (this.#halves === 0 && this.#down.protocol !== 'HTTP/2') this.#tell(FLAG.DC, 'downstream_remote_disconnect');
    this.#connection?.tunnelEnd();
    this.#half();
  }

  /** One side is gone: so is the other. */
  gone(): void {
    this.#exchange.done();
    this.#connection?.abandon();
    this.#connection = undefined;
    this.#down.closeNow();
  }

  /** The upstream's connection or stream broke. */
  broke(reason: ResetReason): void {
    if (!this.answered) this.#lost(reason);
    this.gone();
  }

  #lost(reason: ResetReason): void {
    this.#tell(RESET_FLAGS[reason], `upstream_reset_after_response_started{${reason}}`);
  }

  /** The first word stands. */
  #tell(flag: ResponseFlag, details: string): void {
    const { info } = this.#exchange;
    if (info.responseCodeDetails !== 'via_upstream') return;
    info.setFlag(flag);
    info.responseCodeDetails = details;
  }

  #half(): void {
    if (++this.#halves === 2) this.gone();
  }
}
