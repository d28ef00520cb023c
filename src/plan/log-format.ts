// Access log lines from Envoy's formats: text with operators, or a JSON object whose values are such texts. Everything
// is decided while compiling; a line is concatenation. Header bytes are taken as UTF-8.
import type { HeaderBlock } from '../wire/header-block.ts';
import type { JsonObject, JsonValue, SubstitutionFormatString } from '../xds/gen/types.ts';
import type { OperatorValue, ProcessFacts } from './format-operator.ts';
import { compileFormatText, type FormatPiece } from './format-text.ts';
import { PlanError } from './plan-error.ts';
import type { StreamInfo } from './stream-info.ts';

export type LogLine = (info: StreamInfo, req?: HeaderBlock, resp?: HeaderBlock, trailers?: HeaderBlock) => string;
export type LogFormat = { readonly text: string } | { readonly json: JsonObject };

/** What Envoy prints when no format is configured. */
export const DEFAULT_TEXT_FORMAT =
  '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% ' +
  '%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" ' +
  '"%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"\n';

/** A JSON line ends with a newline as Envoy's does; a text line ends as its format does. */
export const compileLogFormat = (format: LogFormat, omitEmpty: boolean, path = 'log_format', process: ProcessFacts = NO_FACTS): LogLine => {
  if ('text' in format) return compileText(compileFormatText(format.text, path, process), omitEmpty ? '' : '-');
  const emit = compileJson(format.json, omitEmpty, path, process);
  return (info, req, resp, trailers) => `${emit(info, req, resp, trailers) ?? '{}'}\n`;
};

/** From `log_format` of an access log; undefined: Envoy's default text. */
export const compileSubstitutionFormat = (
  format: SubstitutionFormatString | undefined,
  path = 'log_format',
  process: ProcessFacts = NO_FACTS,
): LogLine => {
  if (format === undefined) return compileLogFormat({ text: DEFAULT_TEXT_FORMAT }, false, path, process);
  const omitEmpty = format.omit_empty_values === true;
  // The formatters Istio names stand for operators that are built in here.
  format.formatters?.forEach((f, i) => {
    if (!BUILT_IN_FORMATTERS.has(f.name ?? '')) throw new PlanError(`${path}.formatters[${i}]`, `${f.name} is not supported`);
  });
  if (format.json_format !== undefined) return compileLogFormat({ json: format.json_format }, omitEmpty, `${path}.json_format`, process);
  const source = format.text_format_source;
  const text =
    format.text_format ??
    source?.inline_string ??
    (source?.inline_bytes === undefined ? undefined : Buffer.from(source.inline_bytes).toString());
  if (text === undefined) throw new PlanError(path, 'text_format, text_format_source (inline) or json_format is required');
  return compileLogFormat({ text }, omitEmpty, `${path}.text_format`, process);
};

const NO_FACTS: ProcessFacts = { hostname: '', environment: {} };

const BUILT_IN_FORMATTERS: ReadonlySet<string> = new Set([
  'envoy.formatter.metadata',
  'envoy.formatter.req_without_query',
  'envoy.formatters.metadata',
  'envoy.formatters.req_without_query',
]);

const compileText = (pieces: readonly FormatPiece[], missing: string): LogLine => {
  return (info, req, resp, trailers) => {
    let out = '';
    for (const piece of pieces) out += typeof piece === 'string' ? piece : asText(piece(info, req, resp, trailers), missing);
    return out;
  };
};

const asText = (value: OperatorValue, missing: string): string => {
  if (typeof value === 'string') return asUtf8(value);
  if (typeof value === 'number') return String(value);
  return value === undefined || value === null ? missing : JSON.stringify(value);
};

/** Texts read from header blocks hold one byte per character. */
const asUtf8 = (text: string): string => {
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c > 255) return text;
    if (c > 127) return Buffer.from(text, 'latin1').toString('utf8');
  }
  return text;
};

const jsonText = (text: string): string => {
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c < 32 || c > 126 || c === 34 || c === 92) return JSON.stringify(asUtf8(text));
  }
  return `"${text}"`;
};

type JsonEmit = (info: StreamInfo, req?: HeaderBlock, resp?: HeaderBlock, trailers?: HeaderBlock) => string | undefined;

/** undefined: leave the key out. */
const compileJson = (value: JsonValue, omitEmpty: boolean, path: string, process: ProcessFacts): JsonEmit => {
  if (typeof value === 'string') return compileJsonText(value, omitEmpty, path, process);
  if (Array.isArray(value)) {
    const items = value.map((v: JsonValue, i) => compileJson(v, omitEmpty, `${path}[${i}]`, process));
    return (info, req, resp, trailers) => `[${items.map((emit) => emit(info, req, resp, trailers) ?? 'null').join(',')}]`;
  }
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value as JsonObject)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, v]) => ({ key: `${JSON.stringify(key)}:`, emit: compileJson(v, omitEmpty, `${path}.${key}`, process) }));
    return (info, req, resp, trailers) => {
      let out = '{';
      for (const { key, emit } of members) {
        const text = emit(info, req, resp, trailers);
        if (text !== undefined) out += out.length === 1 ? key + text : `,${key}${text}`;
      }
      return out.length === 1 && omitEmpty ? undefined : `${out}}`;
    };
  }
  const text = JSON.stringify(value);
  return () => text;
};

const compileJsonText = (format: string, omitEmpty: boolean, path: string, process: ProcessFacts): JsonEmit => {
  const pieces = compileFormatText(format, path, process);
  const only = pieces[0];
  if (pieces.length === 1 && typeof only === 'function') {
    const missing = omitEmpty ? undefined : 'null';
    // Most values are the same from line to line: hosts, routes, clusters, codes.
    let before = '';
    let quoted = '""';
    return (info, req, resp, trailers) => {
      const value = only(info, req, resp, trailers);
      if (typeof value === 'number') return String(value);
      if (typeof value === 'string') {
        if (value !== before) {
          quoted = jsonText(value);
          before = value;
        }
        return quoted;
      }
      return value === undefined || value === null ? missing : JSON.stringify(value);
    };
  }
  if (pieces.every((p) => typeof p === 'string')) {
    const literal = JSON.stringify(pieces.join(''));
    return () => literal;
  }
  const line = compileText(pieces, omitEmpty ? '' : '-');
  return (info, req, resp, trailers) => JSON.stringify(line(info, req, resp, trailers));
};
