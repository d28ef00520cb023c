// local_reply_config: what an operator makes of the answers the proxy gives by itself. The first mapper whose filter matches changes status,
// body and headers; then the body is written in the mapper's format or the configuration's. Answers of upstreams never pass here.

import { applyHeaderOps, compileHeaderOps, type HeaderOps } from '../../plan/header-ops.ts';
import { compileSubstitutionFormat } from '../../plan/log-format.ts';
import { PlanError } from '../../plan/plan-error.ts';
import type { StreamInfo } from '../../plan/stream-info.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import { H } from '../../wire/header-name.ts';
import type { DataSource, LocalReplyConfig, ResponseMapper, SubstitutionFormatString } from '../../xds/gen/types.ts';
import { compileLogFilter, type LogPredicate } from '../telemetry/log-filter.ts';
import type { LocalReply } from './local-reply.ts';

/** An answer as it is to be sent. */
export interface MappedReply {
  readonly status: number;
  readonly body: string;
  /** Sets what the body's format says of it; `grpc`: the body travels as a message. */
  finish(headers: HeaderBlock, grpc: boolean): void;
}

export interface LocalReplyMap {
  /** `headers`: those of the answer so far; the mapper's are added to them. */
  rewrite(info: StreamInfo, request: HeaderBlock, status: number, body: string, headers: HeaderBlock): MappedReply;
}

interface BodyFormat {
  readonly contentType: string;
  readonly write: (info: StreamInfo, request: HeaderBlock, response: HeaderBlock) => string;
}

interface Mapper {
  readonly matches: LogPredicate;
  readonly status: number | undefined;
  readonly body: string | undefined;
  readonly format: BodyFormat | undefined;
  readonly ops: readonly HeaderOps[];
}

/** undefined: nothing is configured. */
export const compileLocalReplies = (config: LocalReplyConfig | undefined, random: () => number): LocalReplyMap | undefined => {
  if (config === undefined) return undefined;
  const mappers = (config.mappers ?? []).map((mapper, i) => compileMapper(mapper, `local_reply_config.mappers[${i}]`, random));
  const format = compileBody(config.body_format, 'local_reply_config.body_format');
  return {
    rewrite: (info, request, status, body, headers) => {
      info.responseCode = status;
      const mapper = mappers.find((m) => m.matches(info, request, undefined, undefined));
      const finalStatus = mapper?.status ?? status;
      info.responseCode = finalStatus;
      info.localReplyBody = mapper?.body ?? body;
      const written = mapper?.format ?? format;
      if (mapper !== undefined) applyHeaderOps(mapper.ops, headers, info, request, headers);
      const text = written === undefined ? info.localReplyBody : written.write(info, request, headers);
      return {
        status: finalStatus,
        body: text,
        finish: (head, grpc) => {
          if (!grpc && text !== '' && written !== undefined) head.setById(H.CONTENT_TYPE, written.contentType);
        },
      };
    },
  };
};

/** The answer to a head that never became a request: fills `headers` and what `info` says of it. */
export const earlyReply = (
  map: LocalReplyMap | undefined,
  reply: LocalReply,
  info: StreamInfo,
  request: HeaderBlock,
  headers: HeaderBlock,
): { readonly status: number; readonly body: Buffer } => {
  info.responseCodeDetails = reply.details;
  if (reply.flag !== undefined) info.setFlag(reply.flag);
  const mapped = map?.rewrite(info, request, reply.status, reply.body, headers);
  const status = mapped?.status ?? reply.status;
  const body = Buffer.from(mapped?.body ?? reply.body);
  headers.setById(H.CONTENT_LENGTH, String(body.length));
  if (body.length > 0 && !headers.hasId(H.CONTENT_TYPE)) headers.setById(H.CONTENT_TYPE, 'text/plain');
  mapped?.finish(headers, false);
  info.responseCode = status;
  info.bytesSent = body.length;
  return { status, body };
};

const compileMapper = (mapper: ResponseMapper, path: string, random: () => number): Mapper => {
  if (mapper.filter === undefined) throw new PlanError(`${path}.filter`, 'is required');
  const status = mapper.status_code;
  if (status !== undefined && (status < 200 || status >= 600))
    throw new PlanError(`${path}.status_code`, `${status} is not a final status`);
  const ops = compileHeaderOps({ add: mapper.headers_to_add, remove: undefined }, path, 'response');
  return {
    matches: compileLogFilter(mapper.filter, `${path}.filter`, random),
    status,
    body: mapper.body === undefined ? undefined : inlineText(mapper.body, `${path}.body`),
    format: compileBody(mapper.body_format_override, `${path}.body_format_override`),
    ops: ops === undefined ? [] : [ops],
  };
};

const compileBody = (format: SubstitutionFormatString | undefined, path: string): BodyFormat | undefined => {
  if (format === undefined) return undefined;
  const line = compileSubstitutionFormat(format, path);
  const usual = format.json_format === undefined ? 'text/plain' : 'application/json';
  return {
    contentType: (format.content_type ?? '') === '' ? usual : (format.content_type ?? usual),
    write: (info, request, response) => line(info, request, response),
  };
};

const inlineText = (source: DataSource, path: string): string => {
  if (source.inline_string !== undefined) return source.inline_string;
  if (source.inline_bytes !== undefined) return Buffer.from(source.inline_bytes).toString();
  throw new PlanError(path, 'only inline text is supported');
};
