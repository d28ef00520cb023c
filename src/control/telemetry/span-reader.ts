// Reads OTLP's ExportTraceServiceRequest from protobuf: of each span what a trace is shown from. Values that look like credentials by their name are not
// read. Throws WireError for bytes that are no such message. Pure.
// https://github.com/open-telemetry/opentelemetry-proto
import { Reader } from '../../xds/wire-format.ts';
import { SPAN_ATTRIBUTES_MAX } from './limits.ts';
import { eachField, inner } from './metrics-reader.ts';
import { shownText } from './recent-requests.ts';

export type SpanKind = 'internal' | 'server' | 'client' | 'producer' | 'consumer';
export type AttributeValue = string | number;

export interface ReadSpan {
  /** Lower-case hexadecimal; 32 digits, 16 digits. */
  readonly traceId: string;
  readonly spanId: string;
  /** '': it is the first of its trace. */
  readonly parentSpanId: string;
  readonly kind: SpanKind;
  readonly name: string;
  readonly startUs: number;
  readonly durationUs: number;
  readonly failed: boolean;
  readonly attributes: Readonly<Record<string, AttributeValue>>;
}

export interface SpanReading {
  /** `service` is `service.name` of its resource. Undefined: the span names no trace, or itself, as it must. */
  readonly span: (span: ReadSpan | undefined, service: string) => void;
}

const LENGTH = 2;
/** By the number of OTLP's SpanKind; what is unknown is internal. */
export const KINDS: readonly SpanKind[] = ['internal', 'internal', 'server', 'client', 'producer', 'consumer'];
/** The one status that says that a span failed. */
export const STATUS_ERROR = 2;
const TRACE_ID_BYTES = 16;
const SPAN_ID_BYTES = 8;

export const readSpans = (bytes: Uint8Array, reading: SpanReading): void => {
  const r = new Reader(bytes);
  eachField(r, (field, type) => {
    if (field === 1 && type === LENGTH) readResourceSpans(inner(r), reading);
    else r.skip(type);
  });
};

const readResourceSpans = (r: Reader, reading: SpanReading): void => {
  let service = '';
  const scopes: Reader[] = [];
  eachField(r, (field, type) => {
    if (field === 1 && type === LENGTH) service = readService(inner(r)) ?? service;
    else if (field === 2 && type === LENGTH) scopes.push(inner(r));
    else r.skip(type);
  });
  for (const scope of scopes)
    eachField(scope, (field, type) => {
      if (field === 2 && type === LENGTH) reading.span(readSpan(inner(scope)), service);
      else scope.skip(type);
    });
};

const readService = (r: Reader): string | undefined => {
  const attributes: Record<string, AttributeValue> = {};
  let left = SPAN_ATTRIBUTES_MAX;
  eachField(r, (field, type) => {
    if (field === 1 && type === LENGTH && left-- > 0) readAttribute(inner(r), attributes);
    else r.skip(type);
  });
  const name = attributes['service.name'];
  return name === undefined ? undefined : String(name);
};

const readSpan = (r: Reader): ReadSpan | undefined => {
  let [traceId, spanId, parentSpanId, name] = ['', '', '', ''];
  let kind: SpanKind = 'internal';
  let [startNs, endNs] = [0, 0];
  let failed = false;
  let left = SPAN_ATTRIBUTES_MAX;
  const attributes: Record<string, AttributeValue> = {};
  eachField(r, (field, type) => {
    if (type === 1 && field === 7) startNs = r.fixed64();
    else if (type === 1 && field === 8) endNs = r.fixed64();
    else if (type === 0 && field === 6) kind = KINDS[r.varint()] ?? 'internal';
    else if (type !== LENGTH) r.skip(type);
    else if (field === 1) traceId = readId(r, TRACE_ID_BYTES);
    else if (field === 2) spanId = readId(r, SPAN_ID_BYTES);
    else if (field === 4) parentSpanId = readId(r, SPAN_ID_BYTES);
    else if (field === 5) name = shownText(r.string());
    else if (field === 9 && left-- > 0) readAttribute(inner(r), attributes);
    else if (field === 15) failed = readFailed(inner(r));
    else r.skip(type);
  });
  if (traceId === '' || spanId === '') return undefined;
  return { traceId, spanId, parentSpanId, kind, name, ...spanTime(startNs, endNs), failed, attributes };
};

/** One that ends before it begins took no time. */
export const spanTime = (startNs: number, endNs: number): { readonly startUs: number; readonly durationUs: number } => ({
  startUs: Math.round(startNs / 1000),
  durationUs: Math.max(0, Math.round((endNs - startNs) / 1000)),
});

/** '' for another length, and for all zeros, which stand for none. */
const readId = (r: Reader, length: number): string => {
  const bytes = r.bytes();
  return bytes.length === length && bytes.some((b) => b !== 0) ? Buffer.from(bytes).toString('hex') : '';
};

const readFailed = (r: Reader): boolean => {
  let code = 0;
  eachField(r, (field, type) => {
    if (field === 3 && type === 0) code = r.varint();
    else r.skip(type);
  });
  return code === STATUS_ERROR;
};

const SECRET = /authorization|cookie|password|passwd|secret|token|api[-_.]?key|credential/i;
const NOT_KEPT = '(not kept)';

const readAttribute = (r: Reader, into: Record<string, AttributeValue>): void => {
  let key = '';
  let value: Reader | undefined;
  eachField(r, (field, type) => {
    if (field === 1 && type === LENGTH) key = shownText(r.string());
    else if (field === 2 && type === LENGTH) value = inner(r);
    else r.skip(type);
  });
  const told = value;
  if (told !== undefined) keepAttribute(into, key, () => readValue(told, 0));
};

/** `value` is not asked for where the name is a credential's. */
export const keepAttribute = (into: Record<string, AttributeValue>, key: string, value: () => AttributeValue): void => {
  if (key === '' || key === '__proto__') return;
  into[key] = SECRET.test(key) ? NOT_KEPT : value();
};

/** Lists in lists are not shown. */
export const DEPTH_MAX = 1;

const readValue = (r: Reader, depth: number): AttributeValue => {
  let value: AttributeValue = '';
  eachField(r, (field, type) => {
    if (field === 1 && type === LENGTH) value = shownText(r.string());
    else if (field === 2 && type === 0) value = r.varint() === 0 ? 'false' : 'true';
    else if (field === 3 && type === 0) value = r.signedVarint();
    else if (field === 4 && type === 1) value = finite(r.double());
    else if (field === 5 && type === LENGTH && depth < DEPTH_MAX) value = readList(inner(r), depth);
    else r.skip(type);
  });
  return value;
};

export const finite = (value: number): AttributeValue => (Number.isFinite(value) ? value : String(value));

const readList = (r: Reader, depth: number): string => {
  const values: AttributeValue[] = [];
  eachField(r, (field, type) => {
    if (field === 1 && type === LENGTH && values.length < SPAN_ATTRIBUTES_MAX) values.push(readValue(inner(r), depth + 1));
    else r.skip(type);
  });
  return shownText(values.join(', '));
};
