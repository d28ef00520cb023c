// Http1ProtocolOptions of a listener and of a cluster: what parsers are told. A setting that would make two readers of one message
// possible, or that is not honoured, is refused by its path.

import { PlanError } from '../../plan/plan-error.ts';
import type { Http1Limits } from '../../wire/http1-parser.ts';
import type { Core_HttpProtocolOptions, Http1ProtocolOptions, HttpConnectionManager } from '../../xds/gen/types.ts';
import { typeNameOf } from '../extension-config.ts';
import { HEADERS_MAX, REQUEST_HEAD_KB, RESPONSE_HEAD_KB } from '../limits.ts';

const refuse = (options: Http1ProtocolOptions | undefined, fields: readonly (keyof Http1ProtocolOptions)[], path: string): void => {
  for (const field of fields)
    if (options?.[field] !== undefined && options[field] !== false) throw new PlanError(`${path}.${field}`, 'not supported');
};

const PRESERVE_CASE = 'envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig';

/** Of preserve_case the reader remembers names, and the block that carries them writes them. */
const keepCase = (http1: Http1ProtocolOptions | undefined, path: string): Pick<Http1Limits, 'keepCase' | 'properElse'> => {
  const formatter = http1?.header_key_format?.stateful_formatter;
  if (formatter === undefined) return {};
  const at = `${path}.header_key_format.stateful_formatter.typed_config`;
  const type = typeNameOf(formatter.typed_config);
  if (type !== PRESERVE_CASE) throw new PlanError(at, `${type} is not supported`);
  const config = (formatter.typed_config ?? {}) as { readonly [name: string]: unknown };
  if (config['value'] instanceof Uint8Array && config['value'].length > 0) throw new PlanError(at, 'its fields are not supported');
  if (config['forward_reason_phrase'] === true) throw new PlanError(`${at}.forward_reason_phrase`, 'not supported');
  return { keepCase: true, properElse: config['formatter_type_on_envoy_headers'] === 'PROPER_CASE' };
};

/** What a listener does with names that contain `_`; undefined: they go on. */
export const underscores = (action: Core_HttpProtocolOptions['headers_with_underscores_action']): 'reject' | 'drop' | undefined =>
  action === 'REJECT_REQUEST' ? 'reject' : action === 'DROP_HEADER' ? 'drop' : undefined;

/** Of requests a listener reads. */
export const requestLimits = (hcm: HttpConnectionManager): Http1Limits => {
  const http1 = hcm.http_protocol_options;
  const common = hcm.common_http_protocol_options;
  refuse(http1, ['allow_chunked_length', 'override_stream_error_on_invalid_http_message'], 'http_protocol_options');
  if (hcm.stream_error_on_invalid_http_message === true) throw new PlanError('stream_error_on_invalid_http_message', 'not supported');
  return {
    headBytesMax: (hcm.max_request_headers_kb ?? REQUEST_HEAD_KB) * 1024,
    headerCountMax: common?.max_headers_count ?? HEADERS_MAX,
    underscores: underscores(common?.headers_with_underscores_action),
    acceptHttp10: http1?.accept_http_10 ?? false,
    allowAbsoluteUrl: http1?.allow_absolute_url ?? true,
    customMethods: http1?.allow_custom_methods ?? false,
    ...keepCase(http1, 'http_protocol_options'),
  };
};

/** Of responses a cluster's connections read. */
export const responseLimits = (
  http1: Http1ProtocolOptions | undefined,
  common: Core_HttpProtocolOptions | undefined,
  path: string,
): Http1Limits => {
  refuse(http1, ['allow_chunked_length', 'send_fully_qualified_url'], path);
  return {
    headBytesMax: (common?.max_response_headers_kb ?? RESPONSE_HEAD_KB) * 1024,
    headerCountMax: common?.max_headers_count ?? HEADERS_MAX,
    ...keepCase(http1, path),
  };
};
