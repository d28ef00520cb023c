// Answers Envoy gives by itself, in its words: status, body and details for each way an exchange can fail here.

import { FLAG, type ResponseFlag } from '../../plan/response-flag.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import { H } from '../../wire/header-name.ts';
import type { ResetCause } from '../upstream/upstream-stream.ts';

export interface LocalReply {
  readonly status: number;
  readonly body: string;
  readonly details: string;
  readonly flag: ResponseFlag | undefined;
  readonly grpcStatus?: number;
  /** Neither the route's response headers nor local_reply_config change it. */
  readonly asItIs?: boolean;
}

const reply = (status: number, body: string, details: string, flag?: ResponseFlag): LocalReply => ({ status, body, details, flag });

export const NO_ROUTE = reply(404, '', 'route_not_found', FLAG.NR);
export const NO_HEALTHY_UPSTREAM = reply(503, 'no healthy upstream', 'no_healthy_upstream', FLAG.UH);
export const RESPONSE_TIMEOUT = reply(504, 'upstream request timeout', 'response_timeout', FLAG.UT);
export const PER_TRY_TIMEOUT = reply(504, 'upstream request timeout', 'upstream_per_try_timeout', FLAG.UT);
export const PER_TRY_IDLE_TIMEOUT = reply(504, 'upstream request timeout', 'upstream_per_try_idle_timeout', FLAG.UT);
export const REQUEST_TIMEOUT = reply(408, 'request timeout', 'request_overall_timeout');
export const RETRY_BUFFER_EXCEEDED = reply(
  507,
  'exceeded request buffer limit while retrying upstream',
  'request_payload_exceeded_retry_buffer_limit',
);
export const REQUEST_HEADERS_TIMEOUT = reply(408, 'request header timeout', 'request_header_timeout');
export const STREAM_IDLE_REQUEST = reply(408, 'stream timeout', 'stream_idle_timeout', FLAG.SI);
export const STREAM_IDLE_RESPONSE = reply(504, 'stream timeout', 'stream_idle_timeout', FLAG.SI);
export const MAX_DURATION_REQUEST: LocalReply = { ...reply(408, 'downstream duration timeout', 'max_duration_timeout'), grpcStatus: 4 };
export const MAX_DURATION_RESPONSE: LocalReply = { ...reply(504, 'downstream duration timeout', 'max_duration_timeout'), grpcStatus: 4 };
export const UPSTREAM_MAX_DURATION = reply(504, 'upstream max stream duration reached', 'upstream_max_stream_duration_reached', FLAG.UMSDR);
export const UPGRADE_FAILED = reply(403, '', 'upgrade_failed');
export const OVERLOADED = reply(503, 'envoy overloaded', 'overload');
export const PATH_REFUSED = reply(400, '', 'path_normalization_failed');
export const INTERNAL_ERROR = reply(500, 'Internal Server Error', 'internal_error', FLAG.LR);

export const invalidHeader = (name: string, value: string): LocalReply =>
  reply(400, `invalid header '${name}' with value '${value}'`, `request_headers_failed_strict_check{${name}}`, FLAG.IH);

export const clusterNotFound = (status: number): LocalReply => reply(status, '', 'cluster_not_found', FLAG.NC);

export type ResetReason =
  | 'remote_connection_failure'
  | 'connection_timeout'
  | 'connection_termination'
  | 'overflow'
  | 'protocol_error'
  | 'remote_reset'
  | 'remote_refused_stream_reset'
  | 'remote_error_with_CONNECT_request';

const TEXT: { readonly [K in ResetReason]: string } = {
  remote_connection_failure: 'remote connection failure',
  connection_timeout: 'connection timeout',
  connection_termination: 'connection termination',
  overflow: 'overflow',
  protocol_error: 'protocol error',
  remote_reset: 'remote reset',
  remote_refused_stream_reset: 'remote refused stream reset',
  remote_error_with_CONNECT_request: 'remote error with CONNECT request',
};
export const RESET_FLAGS: { readonly [K in ResetReason]: ResponseFlag } = {
  remote_connection_failure: FLAG.UF,
  connection_timeout: FLAG.UF,
  connection_termination: FLAG.UC,
  overflow: FLAG.UO,
  protocol_error: FLAG.UPE,
  remote_reset: FLAG.UR,
  remote_refused_stream_reset: FLAG.UR,
  remote_error_with_CONNECT_request: FLAG.UR,
};

/** Envoy's word for how a request was lost. */
export const RESET_REASONS: { readonly [C in ResetCause]: ResetReason } = {
  termination: 'connection_termination',
  protocol: 'protocol_error',
  remote: 'remote_reset',
  refused: 'remote_refused_stream_reset',
  connect: 'remote_error_with_CONNECT_request',
};

/** The upstream was lost before its response began. `transport`: why the transport failed, '' when it did not say. */
export const upstreamReset = (reason: ResetReason, transport: string, retried: boolean, informed: boolean): LocalReply => ({
  status: reason === 'protocol_error' ? 502 : 503,
  body: `upstream connect error or disconnect/reset before headers. ${retried ? 'retried and the latest ' : ''}reset reason: ${TEXT[reason]}`,
  details: `upstream_reset_${informed ? 'after' : 'before'}_response_started{${reason}${transport === '' ? '' : `|${transport.replaceAll(' ', '_')}`}}`,
  flag: RESET_FLAGS[reason],
});

/** A text as grpc-message carries it: percent signs and what is not printable ASCII are escaped, byte by byte. */
export const grpcMessage = (text: string): string =>
  [...Buffer.from(text)]
    .map((byte) =>
      byte < 0x20 || byte > 0x7e || byte === 0x25 ? `%${byte.toString(16).toUpperCase().padStart(2, '0')}` : String.fromCharCode(byte),
    )
    .join('');

/** gRPC clients are answered 200 with a grpc-status (Envoy's httpToGrpcStatus). */
export const grpcStatusOf = (status: number): number => {
  switch (status) {
    case 400:
      return 13;
    case 401:
      return 16;
    case 403:
      return 7;
    case 404:
      return 12;
    case 429:
    case 502:
    case 503:
    case 504:
      return 14;
    default:
      return 2;
  }
};

/** The HTTP status that says as much as a gRPC status (Envoy's grpcToHttpStatus): what outlier detection counts. */
const HTTP_OF_GRPC: readonly number[] = [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401];
export const httpStatusOf = (grpcStatus: string): number => HTTP_OF_GRPC[/^\d{1,2}$/.test(grpcStatus) ? Number(grpcStatus) : -1] ?? 500;

/** What a local reply is sent as: fills its headers, says its status and body. */
export const plainHead = (headers: HeaderBlock, { status, body }: LocalReply): { readonly status: number; readonly body: string } => {
  headForBody(headers, status, Buffer.byteLength(body), 'text/plain');
  return { status, body };
};
/** What says how long a body is and of which type, over whatever was said of them before; a type that was chosen stays. */
export const headForBody = (headers: HeaderBlock, status: number, length: number, type: string): void => {
  if (status >= 200 && status !== 204 && status !== 304) headers.setById(H.CONTENT_LENGTH, String(length));
  else headers.removeById(H.CONTENT_LENGTH);
  if (length === 0) headers.removeById(H.CONTENT_TYPE);
  else if (!headers.hasId(H.CONTENT_TYPE)) headers.addById(H.CONTENT_TYPE, type);
};
export const grpcHead = (headers: HeaderBlock, reply: LocalReply): { readonly status: number; readonly body: string } => {
  headers.setById(H.CONTENT_LENGTH, '0');
  headers.setById(H.CONTENT_TYPE, 'application/grpc');
  if (!headers.hasId(H.GRPC_STATUS)) headers.addById(H.GRPC_STATUS, String(reply.grpcStatus ?? grpcStatusOf(reply.status)));
  const message = grpcMessage(reply.body.trimEnd());
  if (message !== '') headers.set('grpc-message', message);
  return { status: 200, body: '' };
};
