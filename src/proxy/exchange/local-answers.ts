// What an exchange answers by itself: refusals, redirects and direct responses, as local_reply_config would have them. It ends the
// exchange with its answer; what ran upstream was given up before.

import { applyHeaderOps } from '../../plan/header-ops.ts';
import type { RouteMatch } from '../../plan/route.ts';
import { HeaderBlock } from '../../wire/header-block.ts';
import { H } from '../../wire/header-name.ts';
import type { DownstreamStream } from './downstream-stream.ts';
import type { Exchange } from './exchange.ts';
import type { HcmPlan } from './hcm-plan.ts';
import { grpcHead, headForBody, type LocalReply, plainHead } from './local-reply.ts';

export class LocalAnswers {
  readonly #plan: HcmPlan;
  readonly #down: DownstreamStream;
  readonly #exchange: Exchange;
  readonly #headers = new HeaderBlock();

  constructor(plan: HcmPlan, down: DownstreamStream, exchange: Exchange) {
    this.#plan = plan;
    this.#down = down;
    this.#exchange = exchange;
  }

  reply(reply: LocalReply, extra: readonly (readonly [string, string])[]): void {
    const exchange = this.#exchange;
    const headers = this.#headers;
    headers.clear();
    if (reply.asItIs !== true) this.#applyRoute(reply.status);
    // A name said twice is meant twice; what stood there before goes.
    for (const [i, [name, value]] of extra.entries())
      if (extra.findIndex((other) => other[0] === name) < i) headers.add(name, value);
      else headers.set(name, value);
    const maps = reply.asItIs === true ? undefined : this.#plan.localReplies;
    const mapped = maps?.rewrite(exchange.info, exchange.requestHeaders, reply.status, reply.body, headers);
    const told = mapped === undefined ? reply : { ...reply, status: mapped.status, body: mapped.body };
    const sent = exchange.answersGrpc ? grpcHead(headers, told) : plainHead(headers, told);
    mapped?.finish(headers, exchange.answersGrpc);
    // 400 says that the two sides do not read the stream alike.
    if (told.status === 400) this.#down.closeAfterResponse();
    this.#send(headers, sent.status, Buffer.from(sent.body));
  }

  /** As Envoy: what a route that forwards says of responses holds for every answer in its place. It does not see what belongs to the body. */
  #applyRoute(status: number): void {
    const exchange = this.#exchange;
    const match = exchange.route;
    if (match === undefined || match.responseHeaderOps.length === 0) return;
    if (match.route.action === 'redirect' || match.route.action === 'direct') return;
    exchange.info.localReplyStatus = status;
    applyHeaderOps(match.responseHeaderOps, this.#headers, exchange.info, exchange.requestHeaders, this.#headers);
  }

  redirect(status: number, location: string, details: string, match?: RouteMatch): void {
    const exchange = this.#exchange;
    const headers = this.#headers;
    headers.clear();
    headers.add('location', location);
    headers.add('content-length', '0');
    exchange.info.responseCodeDetails = details;
    if (match !== undefined && match.responseHeaderOps.length > 0) {
      exchange.info.localReplyStatus = status;
      applyHeaderOps(match.responseHeaderOps, headers, exchange.info, exchange.requestHeaders, headers);
    }
    this.#send(headers, status, EMPTY);
  }

  direct(match: RouteMatch): void {
    const exchange = this.#exchange;
    const { info, requestHeaders } = exchange;
    const direct = match.route.direct;
    if (match.requestHeaderOps.length > 0) applyHeaderOps(match.requestHeaderOps, requestHeaders, info, requestHeaders);
    if (direct?.format !== undefined) info.localReplyBody = Buffer.from(direct.body).toString();
    const own = direct === undefined ? EMPTY : direct.format === undefined ? direct.body : Buffer.from(direct.format(info, requestHeaders));
    const asked = direct?.status ?? 404;
    const headers = this.#headers;
    headers.clear();
    info.responseCodeDetails = 'direct_response';
    // As Envoy: what was created, or where it went, is what was asked for.
    if (asked === 201 || (asked >= 300 && asked < 400))
      headers.add('location', `${exchange.scheme}://${exchange.authority}${exchange.path}`);
    // The route's mutations do not see what belongs to the body.
    if (match.responseHeaderOps.length > 0) {
      info.localReplyStatus = asked;
      applyHeaderOps(match.responseHeaderOps, headers, info, requestHeaders, headers);
    }
    const mapped = this.#plan.localReplies?.rewrite(info, requestHeaders, asked, Buffer.from(own).toString(), headers);
    const status = mapped?.status ?? asked;
    const body = mapped === undefined ? Buffer.from(own) : Buffer.from(mapped.body);
    if (exchange.answersGrpc) {
      const sent = grpcHead(headers, { status, body: body.toString(), details: '', flag: undefined });
      mapped?.finish(headers, true);
      this.#send(headers, sent.status, EMPTY);
      return;
    }
    headForBody(headers, status, body.length, direct?.contentType ?? 'text/plain');
    mapped?.finish(headers, false);
    this.#send(headers, status, body);
  }

  #send(headers: HeaderBlock, status: number, made: Buffer): void {
    const exchange = this.#exchange;
    const body = exchange.ownAnswer?.(headers, status, made) ?? made;
    const info = exchange.info;
    info.responseCode = status;
    // Only HTTP/1 needs to be told that nothing follows; what follows HEAD is known.
    if (body.length === 0 && (info.protocol === 'HTTP/2' || exchange.method === 'HEAD')) headers.removeById(H.CONTENT_LENGTH);
    if (status === 400 || (!exchange.requestEnded && (exchange.upgrade !== '' || this.#requestHasBody()))) this.#down.closeAfterResponse();
    // What stands behind such a status is the next answer to whoever reads it.
    const hasBody = body.length > 0 && exchange.method !== 'HEAD' && status !== 204 && status !== 304;
    exchange.respond(headers, status, '', false, hasBody);
    if (hasBody) {
      info.bytesSent += body.length;
      this.#down.writeBody(body, 0, body.length, false);
    }
    exchange.responseEnded = true;
    this.#down.endBody(false, undefined);
    this.#down.flush();
    exchange.done();
    this.#down.next();
  }

  #requestHasBody(): boolean {
    return this.#exchange.requestChunked || this.#down.requestLength > 0;
  }
}

const EMPTY = Buffer.alloc(0);
