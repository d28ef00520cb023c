// envoy.filters.http.buffer: a request goes upstream only when all of it is here, its length told; one larger than allowed is answered
// 413. As in Envoy the limit stands in place of the connection's while the filter reads.

import { PlanError } from '../../plan/plan-error.ts';
import type { Buffer as BufferConfig, BufferPerRoute } from '../../xds/gen/types.ts';
import { configAs } from '../extension-config.ts';
import type { FilterExchange, FilterVerdict, HttpFilterFactory, RequestBody } from './http-filter.ts';

const PAYLOAD_TOO_LARGE: FilterVerdict = {
  kind: 'reply',
  status: 413,
  body: 'Payload Too Large',
  details: 'request_payload_too_large',
  headers: [],
};

const bytesMax = (config: BufferConfig | undefined, path: string): number => {
  const most = config?.max_request_bytes ?? 0;
  if (most <= 0) throw new PlanError(`${path}max_request_bytes`, 'must be greater than 0');
  return most;
};

export const bufferFilter: HttpFilterFactory = {
  compile: (typed) => {
    const most = bytesMax(configAs<BufferConfig>(typed, 'typed_config'), '');
    return {
      onRequest: (exchange: FilterExchange, own: unknown): FilterVerdict => {
        const wanted = (own as number | undefined) ?? most;
        return exchange.requestEnded || exchange.upgrade !== '' || wanted === OFF ? undefined : { kind: 'body', most: wanted };
      },
      onBody: (exchange: FilterExchange, body: RequestBody): FilterVerdict => {
        if (!body.whole) return PAYLOAD_TOO_LARGE;
        if (exchange.requestChunked) {
          exchange.requestHeaders.set('content-length', String(body.bytes));
          exchange.requestChunked = false;
        }
        return undefined;
      },
    };
  },
  compilePerRoute: (typed) => {
    const config = configAs<BufferPerRoute>(typed, '');
    if (config.disabled === true) return OFF;
    if (config.buffer === undefined) throw new PlanError('override', 'one of disabled, buffer is required');
    return bytesMax(config.buffer, 'buffer.');
  },
};

/** A route without the filter. */
const OFF = -1;
