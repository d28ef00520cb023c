// What comes back of the attempt that is answered with, on its way to the client.

import type { RouteMatch } from '../../plan/route.ts';
import type { StrictCheck } from '../../plan/strict-headers.ts';
import { removeHopByHop } from '../../wire/hop-by-hop.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import type { ResponseHead, UpstreamStream } from '../upstream/upstream-stream.ts';
import type { DownstreamStream } from './downstream-stream.ts';
import type { Exchange } from './exchange.ts';
import { invalidHeader, type LocalReply } from './local-reply.ts';
import { finishResponseHead } from './response-head.ts';
import type { PacedResponse } from './response-pace.ts';

export class AttemptResponse implements PacedResponse {
  readonly #env: ProxyEnvironment;
  readonly #down: DownstreamStream;
  readonly #exchange: Exchange;

  constructor(env: ProxyEnvironment, down: DownstreamStream, exchange: Exchange) {
    this.#env = env;
    this.#down = down;
    this.#exchange = exchange;
  }

  /** True: answered, since the client's headers make no sense. */
  refuse(check: StrictCheck): boolean {
    const invalid = check(this.#exchange.requestHeaders);
    if (invalid === undefined) return false;
    this.#exchange.reply(invalidHeader(invalid.name, invalid.value));
    return true;
  }

  /** A 1xx. False: the client takes no more. */
  informational(head: ResponseHead, passes100: boolean): boolean {
    if (this.#exchange.info.protocol === 'HTTP/1.0') return true;
    // 100 was answered here unless the client's Expect went upstream.
    if (head.statusCode === 100 && !passes100) return true;
    removeHopByHop(head.headers, false);
    return this.#down.writeInformational(head.statusCode, head.reason, head.headers);
  }

  /** `elapsedMs`: since the whole request was here; undefined: the client is not told. */
  accept(
    head: ResponseHead,
    match: RouteMatch,
    switching: boolean,
    elapsedMs: number | undefined,
    attempts: number,
    cookies: readonly string[],
  ): void {
    const exchange = this.#exchange;
    const { info } = exchange;
    const { headers, statusCode: status } = head;
    // As Envoy: agreed, but to nothing that was asked for.
    if (exchange.upgrade === 'websocket' && !switching && status >= 200 && status < 300) {
      removeHopByHop(headers, false);
      exchange.reply({ status, body: '', details: 'websocket_handshake_unsuccessful', flag: undefined }, headers.entries());
      return;
    }
    info.responseCode = status;
    info.responseCodeDetails = 'via_upstream';
    const serviceMs = elapsedMs === undefined ? undefined : Math.floor(elapsedMs);
    finishResponseHead(headers, status, match, info, exchange.requestHeaders, serviceMs, attempts, cookies);
    const streamed = head.bodyKind === 'chunked' || head.bodyKind === 'eof';
    exchange.respond(headers, status, head.reason, streamed, head.bodyKind !== 'none' || switching);
  }

  /** False: the client takes no more. */
  body(buf: Buffer, start: number, end: number): boolean {
    const exchange = this.#exchange;
    exchange.info.grpc?.response.feed(buf, start, end);
    exchange.touch();
    const { responsePace: pace } = exchange;
    if (pace !== undefined) return pace.body(this, buf.subarray(start, end));
    exchange.info.bytesSent += end - start;
    return this.#down.writeBody(buf, start, end, exchange.responseChunked);
  }

  end(): void {
    const exchange = this.#exchange;
    exchange.info.lastUpstreamRxByte = this.#env.clock.wallMs();
    if (exchange.responsePace?.end(this) === true) return;
    exchange.responseEnded = true;
    this.#down.endBody(exchange.responseChunked, exchange.responseTrailers);
  }

  /** The server's side of the answer is over. */
  settled(): void {
    const { responsePace: pace } = this.#exchange;
    if (pace !== undefined) pace.settled = true;
    if (pace?.holds !== true) this.#down.next();
  }

  /** The client takes more. False: of what waits already. */
  drained(): boolean {
    return this.#exchange.responsePace?.drained() ?? true;
  }

  // --- a body that is paced (PacedResponse) ---

  write(piece: Buffer): boolean {
    this.#exchange.touch();
    this.#exchange.info.bytesSent += piece.length;
    return this.#down.writeBody(piece, 0, piece.length, this.#exchange.responseChunked);
  }

  room(): void {
    this.#exchange.onDownstreamDrain();
  }

  finish(): void {
    const exchange = this.#exchange;
    const { requestEnded, responsePace: pace } = exchange;
    exchange.responseEnded = true;
    this.#down.endBody(exchange.responseChunked, exchange.responseTrailers);
    exchange.onResponsePaced();
    if (requestEnded && pace?.settled === true) this.#down.next();
  }

  /** All of one read was handed on. False: the answer is over before the request, whose rest has nowhere to go. */
  flush(): boolean {
    const exchange = this.#exchange;
    this.#down.flush();
    if (!exchange.responseEnded) return true;
    exchange.done();
    return exchange.requestEnded;
  }

  /** The response of an attempt that is tried again: read to nowhere where that costs nothing. */
  discard(connection: UpstreamStream | undefined, head: ResponseHead): void {
    if (head.bodyKind === 'none' && this.#exchange.requestEnded) connection?.discard();
    else connection?.abandon();
  }

  /** An answer of the router's own. */
  reply(reply: LocalReply, attempts: number, overloaded: boolean): void {
    const headers: [string, string][] = overloaded ? [['x-envoy-overloaded', 'true']] : [];
    if (attempts > 0 && this.#exchange.route?.virtualHost.includeAttemptCountInResponse === true)
      headers.push(['x-envoy-attempt-count', String(attempts)]);
    this.#exchange.reply(reply, headers);
  }
}
