// envoy.filters.http.grpc_web: what browsers can send of gRPC goes upstream as gRPC, and comes back as they read it. Requests in base64
// are read whole before they go on: a browser sends one message. Of an upstream's answer that is no gRPC the status is told; unlike Envoy's
// filter this one leaves its body out instead of making a message of it.

import { isGrpcType } from '../../plan/route-criteria.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import { H } from '../../wire/header-name.ts';
import { grpcMessage, grpcStatusOf } from '../exchange/local-reply.ts';
import type { BodyPath } from '../exchange/response-pace.ts';
import { GrpcWebBody } from './grpc-web-body.ts';
import type { FilterExchange, FilterVerdict, HttpFilter, HttpFilterFactory, RequestBody } from './http-filter.ts';

const BINARY: ReadonlySet<string> = new Set(['application/grpc-web', 'application/grpc-web+proto']);
const TEXT: ReadonlySet<string> = new Set(['application/grpc-web-text', 'application/grpc-web-text+proto']);
/** What gRPC allows a message, in base64. */
const TEXT_BYTES_MAX = 6 * 1024 * 1024;

class GrpcWebFilter implements HttpFilter {
  onRequest(exchange: FilterExchange): FilterVerdict {
    const { requestHeaders: headers } = exchange;
    const type = headers.getById(H.CONTENT_TYPE) ?? '';
    const isText = TEXT.has(type);
    if (!isText && !BINARY.has(type)) return undefined;
    exchange.note(this, TEXT.has(headers.getById(H.ACCEPT) ?? ''));
    headers.setById(H.CONTENT_TYPE, 'application/grpc');
    headers.setById(H.TE, 'trailers');
    headers.set('grpc-accept-encoding', 'identity');
    // A filter before this one may have waited until all of the body was here.
    const isEmpty = exchange.requestEnded && exchange.info.bytesReceived === 0;
    if (headers.removeById(H.CONTENT_LENGTH) > 0) exchange.requestChunked = !isEmpty;
    exchange.isGrpc = true;
    exchange.ownAnswer = statusOfAnswer;
    return isText && !isEmpty ? { kind: 'body', most: TEXT_BYTES_MAX } : undefined;
  }

  onBody(exchange: FilterExchange, body: RequestBody): FilterVerdict {
    if (!body.whole) return refused(413, 'Payload Too Large', 'request_payload_too_large');
    const text = Buffer.concat(body.pieces).toString('latin1');
    if (text.length % 4 !== 0) return refused(400, BAD, 'grpc_base_64_decode_failed_bad_size');
    if (!/^[A-Za-z\d+/]*={0,2}$/.test(text)) return refused(400, BAD, 'grpc_base_64_decode_failed');
    exchange.replaceBody(Buffer.from(text, 'base64'));
    return undefined;
  }

  onResponse(exchange: FilterExchange, headers: HeaderBlock): void {
    const isText = exchange.noteOf(this);
    if (typeof isText !== 'boolean') return;
    const isGrpc = isGrpcType(headers.getById(H.CONTENT_TYPE));
    const { responseCode: status } = exchange.info;
    headers.setById(H.CONTENT_TYPE, isText ? 'application/grpc-web-text+proto' : 'application/grpc-web+proto');
    if (!isGrpc && status !== 0 && exchange.info.responseCodeDetails === 'via_upstream') {
      if (!headers.hasId(H.GRPC_STATUS)) headers.addById(H.GRPC_STATUS, String(grpcStatusOf(status)));
      headers.removeById(H.CONTENT_LENGTH);
      exchange.responsePace = noBody();
    } else if (isGrpc) {
      headers.removeById(H.CONTENT_LENGTH);
      exchange.responsePace = new GrpcWebBody(exchange, isText, exchange.responsePace);
    }
  }
}

/** What an answer of the proxy says stands in its head. */
const statusOfAnswer = (headers: HeaderBlock, status: number, body: Buffer): Buffer => {
  if (body.length === 0) return body;
  headers.setById(H.CONTENT_LENGTH, '0');
  headers.setById(H.GRPC_STATUS, String(grpcStatusOf(status)));
  headers.set('grpc-message', grpcMessage(body.toString()));
  return NOTHING;
};

const NOTHING = Buffer.alloc(0);
const noBody = (): BodyPath => ({ settled: false, holds: false, resizes: true, body: () => true, end: () => false, drained: () => true });
const BAD = 'Bad gRPC-web request, invalid base64 data.';
const refused = (status: number, body: string, details: string): FilterVerdict => ({ kind: 'reply', status, body, details, headers: [] });

export const grpcWebFilter: HttpFilterFactory = { compile: () => new GrpcWebFilter() };
