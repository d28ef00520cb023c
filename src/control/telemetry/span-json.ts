// Reads OTLP's ExportTraceServiceRequest from JSON, as its own mapping has it: names in lowerCamelCase, ids in hexadecimal, enums as
// numbers, unknown fields passed over. Keeps of a span what the protobuf reader keeps. Throws WireError for what is no such message. Pure.
// https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
import { WireError } from '../../xds/wire-format.ts';
import { SPAN_ATTRIBUTES_MAX } from './limits.ts';
import { shownText } from './recent-requests.ts';
import {
  type AttributeValue,
  DEPTH_MAX,
  finite,
  KINDS,
  keepAttribute,
  type ReadSpan,
  type SpanReading,
  STATUS_ERROR,
  spanTime,
} from './span-reader.ts';

type Fields = Readonly<Record<string, unknown>>;

export const readSpansJson = (bytes: Uint8Array, reading: SpanReading): void => {
  for (const group of listIn(parsed(bytes), 'resourceSpans')) {
    const service = serviceOf(fieldsIn(group, 'resource'));
    for (const scope of listIn(group, 'scopeSpans')) for (const span of listIn(scope, 'spans')) reading.span(readSpan(span), service);
  }
};

const parsed = (bytes: Uint8Array): Fields => {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw new WireError('not JSON');
  }
  return fields(value, 'the message');
};

const serviceOf = (resource: Fields): string => {
  const name = attributesIn(resource)['service.name'];
  return name === undefined ? '' : String(name);
};

const TRACE_ID_DIGITS = 32;
const SPAN_ID_DIGITS = 16;

const readSpan = (span: Fields): ReadSpan | undefined => {
  const [traceId, spanId] = [idIn(span, 'traceId', TRACE_ID_DIGITS), idIn(span, 'spanId', SPAN_ID_DIGITS)];
  const read = {
    parentSpanId: idIn(span, 'parentSpanId', SPAN_ID_DIGITS),
    kind: KINDS[numberIn(span, 'kind')] ?? 'internal',
    name: shownText(textIn(span, 'name')),
    ...spanTime(wholeIn(span, 'startTimeUnixNano'), wholeIn(span, 'endTimeUnixNano')),
    failed: numberIn(fieldsIn(span, 'status'), 'code') === STATUS_ERROR,
    attributes: attributesIn(span),
  };
  return traceId === '' || spanId === '' ? undefined : { traceId, spanId, ...read };
};

/** '' for what is no id of that length, and for all zeros, which stand for none. */
const idIn = (from: Fields, name: string, digits: number): string => {
  const text = textIn(from, name).toLowerCase();
  return text.length === digits && /^[0-9a-f]+$/.test(text) && /[^0]/.test(text) ? text : '';
};

const attributesIn = (from: Fields): Record<string, AttributeValue> => {
  const into: Record<string, AttributeValue> = {};
  for (const attribute of listIn(from, 'attributes').slice(0, SPAN_ATTRIBUTES_MAX)) {
    if (!missing(attribute['value']))
      keepAttribute(into, shownText(textIn(attribute, 'key')), () => attributeValue(fieldsIn(attribute, 'value'), 0));
  }
  return into;
};

const attributeValue = (value: Fields, depth: number): AttributeValue => {
  if (!missing(value['stringValue'])) return shownText(textIn(value, 'stringValue'));
  if (!missing(value['boolValue'])) return String(flagIn(value, 'boolValue'));
  if (!missing(value['intValue'])) return wholeIn(value, 'intValue');
  if (!missing(value['doubleValue'])) return finite(doubleIn(value, 'doubleValue'));
  if (missing(value['arrayValue']) || depth >= DEPTH_MAX) return '';
  const values = listIn(fieldsIn(value, 'arrayValue'), 'values').slice(0, SPAN_ATTRIBUTES_MAX);
  return shownText(values.map((v) => attributeValue(v, depth + 1)).join(', '));
};

// --- fields, null and absent alike ---

const missing = (value: unknown): value is null | undefined => value === undefined || value === null;

const wrong = (name: string, wanted: string): WireError => new WireError(`${name} is not ${wanted}`);

const fields = (value: unknown, name: string): Fields => {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(name, 'an object');
  return value as Fields;
};

const fieldsIn = (from: Fields, name: string): Fields => (missing(from[name]) ? {} : fields(from[name], name));

const listIn = (from: Fields, name: string): readonly Fields[] => {
  const value = from[name];
  if (missing(value)) return [];
  if (!Array.isArray(value)) throw wrong(name, 'a list');
  return value.map((item: unknown) => fields(item, `an entry of ${name}`));
};

const textIn = (from: Fields, name: string): string => {
  const value = from[name];
  if (missing(value)) return '';
  if (typeof value !== 'string') throw wrong(name, 'a text');
  return value;
};

const flagIn = (from: Fields, name: string): boolean => {
  const value = from[name];
  if (typeof value !== 'boolean') throw wrong(name, 'true or false');
  return value;
};

const numberIn = (from: Fields, name: string): number => {
  const value = from[name];
  if (missing(value)) return 0;
  if (typeof value !== 'number') throw wrong(name, 'a number');
  return value;
};

/** 64 bits: as decimal text, or as a number. */
const wholeIn = (from: Fields, name: string): number => {
  const value = from[name];
  if (missing(value)) return 0;
  if (typeof value === 'number' && Number.isInteger(value)) return value;
  if (typeof value === 'string' && /^-?\d{1,20}$/.test(value)) return Number(value);
  throw wrong(name, 'a whole number');
};

const doubleIn = (from: Fields, name: string): number => {
  const value = from[name];
  if (typeof value === 'number') return value;
  if (typeof value === 'string' && (/^(NaN|-?Infinity)$/.test(value) || (value.trim() !== '' && Number.isFinite(Number(value)))))
    return Number(value);
  throw wrong(name, 'a number');
};
