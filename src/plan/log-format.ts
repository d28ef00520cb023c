// Access log lines from Envoy's formats: text with operators, or a JSON object whose values are such texts. Everything
// is decided while compiling; a line is written byte by byte into a buffer that many lines share.
import type { HeaderBlock } from '../wire/header-block.ts';
import type { JsonObject, JsonValue, SubstitutionFormatString } from '../xds/gen/types.ts';
import { type Operator, sortedJson } from './format-operator.ts';
import { compileFormatText, type FormatPiece } from './format-text.ts';
import { LineBuffer } from './line-buffer.ts';
import { PlanError } from './plan-error.ts';
import type { ProcessFacts, StreamInfo } from './stream-info.ts';

/** Writes one line at the buffer's end. */
export type LogWriter = (out: LineBuffer, info: StreamInfo, req?: HeaderBlock, resp?: HeaderBlock, trailers?: HeaderBlock) => void;
export type LogLine = (info: StreamInfo, req?: HeaderBlock, resp?: HeaderBlock, trailers?: HeaderBlock) => string;
export type LogFormat = { readonly text: string } | { readonly json: JsonObject };

/** What Envoy prints when no format is configured. */
export const DEFAULT_TEXT_FORMAT =
  '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% ' +
  '%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" ' +
  '"%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"\n';

/** A JSON line ends with a newline as Envoy's does; a text line ends as its format does. */
export const compileLogWriter = (
  format: LogFormat,
  omitEmpty: boolean,
  path = 'log_format',
  process: ProcessFacts = NO_FACTS,
): LogWriter => {
  if ('text' in format) return compileText(compileFormatText(format.text, path, process), omitEmpty ? '' : '-');
  const emit = compileJson(format.json, omitEmpty, path, process);
  return (out, info, req, resp, trailers) => {
    if (!emit(out, info, req, resp, trailers)) out.literal(EMPTY_OBJECT);
    out.literal(NEWLINE);
  };
};

/** From `log_format` of an access log; undefined: Envoy's default text. */
export const compileSubstitutionWriter = (
  format: SubstitutionFormatString | undefined,
  path = 'log_format',
  process: ProcessFacts = NO_FACTS,
): LogWriter => {
  if (format === undefined) return compileLogWriter({ text: DEFAULT_TEXT_FORMAT }, false, path, process);
  const omitEmpty = format.omit_empty_values === true;
  checkFormatters(format.formatters, path);
  if (format.json_format !== undefined) return compileLogWriter({ json: format.json_format }, omitEmpty, `${path}.json_format`, process);
  const source = format.text_format_source;
  const text =
    format.text_format ??
    source?.inline_string ??
    (source?.inline_bytes === undefined ? undefined : Buffer.from(source.inline_bytes).toString());
  if (text === undefined) throw new PlanError(path, 'text_format, text_format_source (inline) or json_format is required');
  return compileLogWriter({ text }, omitEmpty, `${path}.text_format`, process);
};

/** The formatters Istio names stand for operators that are built in here; throws PlanError for any other. */
export const checkFormatters = (formatters: SubstitutionFormatString['formatters'], path: string): void =>
  formatters?.forEach((f, i) => {
    if (!BUILT_IN_FORMATTERS.has(f.name ?? '')) throw new PlanError(`${path}.formatters[${i}]`, `${f.name} is not supported`);
  });

/** `compileLogWriter` where one text is wanted. */
export const compileLogFormat = (format: LogFormat, omitEmpty: boolean, path = 'log_format', process: ProcessFacts = NO_FACTS): LogLine =>
  asLine(compileLogWriter(format, omitEmpty, path, process));

/** `compileSubstitutionWriter` where one text is wanted. */
export const compileSubstitutionFormat = (format: SubstitutionFormatString | undefined, path = 'log_format'): LogLine =>
  asLine(compileSubstitutionWriter(format, path));

const asLine = (write: LogWriter): LogLine => {
  const out = new LineBuffer(256);
  return (info, req, resp, trailers) => {
    out.length = 0;
    write(out, info, req, resp, trailers);
    return out.text();
  };
};

const bytesOf = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));
const EMPTY_OBJECT = bytesOf('{}');
const NEWLINE = bytesOf('\n');
const COMMA = bytesOf(',');
const NULL = bytesOf('null');

const NO_FACTS: ProcessFacts = { hostname: '', environment: {} };

const BUILT_IN_FORMATTERS: ReadonlySet<string> = new Set([
  'envoy.formatter.metadata',
  'envoy.formatter.req_without_query',
  'envoy.formatters.metadata',
  'envoy.formatters.req_without_query',
]);

const compileText = (pieces: readonly FormatPiece[], missing: string): LogWriter => {
  const compiled = pieces.map((p) => (typeof p === 'string' ? bytesOf(p) : p));
  return (out, info, req, resp, trailers) => {
    for (const piece of compiled) {
      if (typeof piece !== 'function') out.literal(piece);
      else if (!writeText(out, piece, info, req, resp, trailers)) out.raw(missing);
    }
  };
};

const blockOf = (which: 0 | 1 | 2, req?: HeaderBlock, resp?: HeaderBlock, trailers?: HeaderBlock): HeaderBlock | undefined =>
  which === 0 ? req : which === 1 ? resp : trailers;

/** False: there is no value, and nothing was written. */
const writeText = (
  out: LineBuffer,
  operator: Operator,
  info: StreamInfo,
  req?: HeaderBlock,
  resp?: HeaderBlock,
  trailers?: HeaderBlock,
): boolean => {
  if (operator.header !== undefined) {
    out.quoted = false;
    return blockOf(operator.header.which, req, resp, trailers)?.visitValue(operator.header.id, out) ?? false;
  }
  const value = (operator.inText ?? operator)(info, req, resp, trailers);
  if (typeof value === 'string') out.raw(value);
  else if (typeof value === 'number') out.number(value);
  else if (value === undefined || value === null) return false;
  else out.raw(oneBytePerCharacter(sortedJson(value)));
  return true;
};

/** For texts that are not a header's: `raw` takes one byte for a character. */
const oneBytePerCharacter = (text: string): string => Buffer.from(text, 'utf8').toString('latin1');

/** False: leave the key out; nothing was written. */
type JsonEmit = (out: LineBuffer, info: StreamInfo, req?: HeaderBlock, resp?: HeaderBlock, trailers?: HeaderBlock) => boolean;

const constant = (text: string): JsonEmit => {
  const bytes = bytesOf(text);
  return (out) => {
    out.literal(bytes);
    return true;
  };
};

const compileJson = (value: JsonValue, omitEmpty: boolean, path: string, process: ProcessFacts): JsonEmit => {
  if (typeof value === 'string') return compileJsonText(value, omitEmpty, path, process);
  if (Array.isArray(value)) return compileJsonList(value, omitEmpty, path, process);
  if (typeof value !== 'object' || value === null) return constant(JSON.stringify(value));
  const members = Object.entries(value as JsonObject)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, v]) => ({
      first: bytesOf(`{${JSON.stringify(key)}:`),
      next: bytesOf(`,${JSON.stringify(key)}:`),
      emit: compileJson(v, omitEmpty, `${path}.${key}`, process),
    }));
  return (out, info, req, resp, trailers) => {
    let isFirst = true;
    for (const { first, next, emit } of members) {
      const mark = out.length;
      out.literal(isFirst ? first : next);
      if (emit(out, info, req, resp, trailers)) isFirst = false;
      else out.length = mark;
    }
    if (isFirst && omitEmpty) return false;
    out.raw(isFirst ? '{}' : '}');
    return true;
  };
};

const compileJsonList = (value: readonly JsonValue[], omitEmpty: boolean, path: string, process: ProcessFacts): JsonEmit => {
  const items = value.map((v, i) => compileJson(v, omitEmpty, `${path}[${i}]`, process));
  return (out, info, req, resp, trailers) => {
    out.raw('[');
    items.forEach((emit, i) => {
      if (i > 0) out.literal(COMMA);
      if (!emit(out, info, req, resp, trailers)) out.literal(NULL);
    });
    out.raw(']');
    return true;
  };
};

const compileJsonText = (format: string, omitEmpty: boolean, path: string, process: ProcessFacts): JsonEmit => {
  const pieces = compileFormatText(format, path, process);
  const only = pieces[0];
  if (pieces.length === 1 && typeof only === 'function') return jsonOperator(only, omitEmpty);
  if (pieces.every((p) => typeof p === 'string')) return constant(JSON.stringify(pieces.join('')));
  const write = compileText(pieces, omitEmpty ? '' : '-');
  const scratch = new LineBuffer(64);
  return (out, info, req, resp, trailers) => {
    scratch.length = 0;
    write(scratch, info, req, resp, trailers);
    out.quoted = true;
    out.value(scratch.bytes, 0, scratch.length);
    return true;
  };
};

/** One operator alone keeps its type. */
const jsonOperator = (operator: Operator, omitEmpty: boolean): JsonEmit => {
  const { header } = operator;
  const absent = (out: LineBuffer): boolean => {
    if (!omitEmpty) out.literal(NULL);
    return !omitEmpty;
  };
  if (header !== undefined) {
    const { which, id } = header;
    return (out, _info, req, resp, trailers) => {
      out.quoted = true;
      return blockOf(which, req, resp, trailers)?.visitValue(id, out) === true || absent(out);
    };
  }
  return (out, info, req, resp, trailers) => {
    const value = operator(info, req, resp, trailers);
    if (typeof value === 'string') out.json(value);
    else if (typeof value === 'number') out.number(value);
    else if (value === undefined || value === null) return absent(out);
    else out.raw(oneBytePerCharacter(sortedJson(value)));
    return true;
  };
};
