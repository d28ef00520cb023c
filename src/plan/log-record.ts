// OpenTelemetry's log records of exchanges and connections, written byte by byte into a buffer that many records share: body and
// attributes are texts, lists and maps of texts with Envoy's operators, compiled once.
// https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/logs/v1/logs.proto
import type { AnyValue, CustomTag, JsonObject, KeyValueList } from '../xds/gen/types.ts';
import type { EntryWriter } from './log-entry.ts';
import { compileLogWriter } from './log-format.ts';
import { PlanError } from './plan-error.ts';
import type { ProtoBuffer } from './proto-buffer.ts';
import type { ProcessFacts, StreamInfo } from './stream-info.ts';
import { compileCustomTags } from './tracing/custom-tags.ts';

export interface RecordOptions {
  readonly body: AnyValue | undefined;
  readonly attributes: KeyValueList | undefined;
  readonly customTags: readonly CustomTag[];
  readonly filterState: readonly string[];
  readonly process: ProcessFacts;
  readonly path: string;
  /** An object of the filter state as Envoy's own would be written; undefined: as it is. */
  readonly stateOf?: (key: string, info: StreamInfo) => JsonObject | string | undefined;
}

const LOG_RECORD = 2;

/** Writes one record, its number in `log_records` and its length before it. */
export const compileRecord = (options: RecordOptions): EntryWriter => {
  const { path, process, filterState, stateOf } = options;
  const body = options.body === undefined || isNothing(options.body) ? undefined : compileValue(options.body, `${path}.body`, process);
  const attributes = compilePairs(options.attributes, 6, `${path}.attributes`, process);
  const tags = compileCustomTags(options.customTags, `${path}.custom_tags`);
  return (out, info, request, response, trailers) => {
    const record = out.begin(LOG_RECORD);
    out.fixed64(1, BigInt(Math.floor(info.startTime * 1000)) * 1000n);
    if (body !== undefined) {
      const at = out.begin(5);
      body(out, info, request, response, trailers);
      out.end(at);
    }
    attributes(out, info, request, response, trailers);
    for (const key of filterState) {
      const state = stateOf?.(key, info) ?? info.filterState[key] ?? info.upstreamFilterState[key];
      if (state !== undefined) writePair(out, 6, key, JSON.stringify(state));
    }
    for (const { tag, value } of tags) {
      const text = value(info, request, response, trailers);
      if (text !== undefined && text !== '') writePair(out, 6, tag, text);
    }
    if (info.traceId.length === 32 || info.traceId.length === 16) out.hex(9, info.traceId.padStart(32, '0'));
    if (info.spanId !== '') out.hex(10, info.spanId);
    out.end(record);
  };
};

/** A key and a text that came from a peer or from configuration. */
const writePair = (out: ProtoBuffer, field: number, key: string, text: string): void => {
  const pair = out.begin(field);
  out.string(1, key, true);
  const value = out.begin(2);
  out.received(1, text, true);
  out.end(value);
  out.end(pair);
};

const isNothing = (value: AnyValue): boolean => Object.values(value).every((v) => v === undefined);

/** Writes what an AnyValue holds. */
const compileValue = (value: AnyValue | undefined, path: string, process: ProcessFacts): EntryWriter => {
  if (value?.string_value !== undefined) {
    const write = compileLogWriter({ text: value.string_value }, false, `${path}.string_value`, process);
    return (out, info, request, response, trailers) => {
      const at = out.begin(1);
      write(out, info, request, response, trailers);
      out.endText(at);
    };
  }
  if (value?.kvlist_value !== undefined) return inside(6, compilePairs(value.kvlist_value, 1, `${path}.kvlist_value`, process));
  if (value?.array_value === undefined) {
    const given = Object.entries(value ?? {}).find(([, v]) => v !== undefined)?.[0];
    throw new PlanError(given === undefined ? path : `${path}.${given}`, 'only texts, and lists and maps of them, can be logged');
  }
  const items = (value.array_value.values ?? []).map((item, i) =>
    inside(1, compileValue(item, `${path}.array_value.values[${i}]`, process)),
  );
  return inside(5, (out, info, request, response, trailers) => {
    for (const item of items) item(out, info, request, response, trailers);
  });
};

const inside =
  (field: number, write: EntryWriter): EntryWriter =>
  (out, info, request, response, trailers) => {
    const at = out.begin(field);
    write(out, info, request, response, trailers);
    out.end(at);
  };

const compilePairs = (list: KeyValueList | undefined, field: number, path: string, process: ProcessFacts): EntryWriter => {
  const pairs = (list?.values ?? []).map(({ key = '', value }, i) => ({
    key,
    write: inside(2, compileValue(value, `${path}.values[${i}].value`, process)),
  }));
  return (out, info, request, response, trailers) => {
    for (const { key, write } of pairs) {
      const at = out.begin(field);
      out.string(1, key, true);
      write(out, info, request, response, trailers);
      out.end(at);
    }
  };
};
