// Envoy's messages as plain objects in proto3-JSON shape with proto field names: what Envoy's own JSON
// looks like, with two differences that `json.ts` evens out: `bytes` are Uint8Array and 64-bit integers are
// numbers. Unset fields are absent. Durations are "1.5s", enums are value names, wrappers are bare values, an Any
// of a known type is expanded with its "@type" and encoded from that form.
import { type Descriptor, descriptor, enumDescriptor, type Field, type ScalarType } from './descriptor.ts';
import { EncodedMessage } from './encoded-message.ts';
import type { MessageTypes } from './gen/types.ts';
import { formatDuration, formatTimestamp, parseDuration, parseTimestamp } from './well-known.ts';
import { Reader, WireError, Writer } from './wire-format.ts';

export type TypeName = keyof MessageTypes;

/** Malformed input, or an object that is not of its type. `path` names the field, as `a.b[2].c`. */
export class CodecError extends Error {
  readonly path: string;
  constructor(path: string, problem: string) {
    super(path ? `${path}: ${problem}` : problem);
    this.path = path;
  }
}

export const TYPE_URL_PREFIX = 'type.googleapis.com/';
/** `envoy.config.cluster.v3.Cluster` of `type.googleapis.com/envoy.config.cluster.v3.Cluster`. */
export const typeOfUrl = (url: string): string => url.slice(url.lastIndexOf('/') + 1);
export const typeUrl = (type: TypeName): string => TYPE_URL_PREFIX + type;

export interface DecodeOptions {
  /** Called with the path of every field that the table does not know (Envoy counts these in `*.unknown_fields`). */
  readonly onUnknownField?: (path: string) => void;
}

/** Nesting beyond this is refused, as in Envoy's and protobuf's own parsers. */
const NESTING_MAX = 100;

/** Throws CodecError on malformed bytes. */
export const decode = <K extends TypeName>(type: K, bytes: Uint8Array, options: DecodeOptions = {}): MessageTypes[K] =>
  decodeAny(type, bytes, options) as unknown as MessageTypes[K];

/** Throws CodecError when the object does not fit the type. Field order and map order are fixed: equal objects give equal bytes. */
export const encode = <K extends TypeName>(type: K, message: MessageTypes[K]): Uint8Array => encodeNamed(type, message);

/** `decode` for a type known only at run time. Throws RangeError for a type that is not compiled in. */
export const decodeNamed = (type: string, bytes: Uint8Array, options: DecodeOptions = {}): Record<string, unknown> =>
  decodeAny(type, bytes, options) as Record<string, unknown>;

/** `encode` for a type known only at run time. */
export const encodeNamed = (type: string, message: unknown): Uint8Array => {
  const w = new Writer();
  writeMessage(w, type, message, '', 0);
  return w.finish();
};

const decodeAny = (type: string, bytes: Uint8Array, options: DecodeOptions): unknown => {
  try {
    return readMessage(new Reader(bytes), type, '', options, 0);
  } catch (e) {
    if (e instanceof WireError) throw new CodecError('', `${type}: ${e.message}`);
    throw e;
  }
};

const requireDescriptor = (type: string): Descriptor => {
  const d = descriptor(type);
  if (!d) throw new RangeError(`message type ${type} is not compiled in`);
  return d;
};

// --- reading

const readMessage = (r: Reader, type: string, path: string, options: DecodeOptions, depth: number): unknown => {
  if (depth > NESTING_MAX) throw new CodecError(path, `nested deeper than ${NESTING_MAX}`);
  const raw = readFields(r, requireDescriptor(type), path, options, depth);
  return fromRaw(type, raw, path, options, depth);
};

const readFields = (r: Reader, d: Descriptor, path: string, options: DecodeOptions, depth: number): Record<string, unknown> => {
  const out: Record<string, unknown> = {};
  while (r.pos < r.end) {
    const tag = r.varint();
    const number = Math.floor(tag / 8);
    const wireType = tag % 8;
    const field = d.byNumber.get(number);
    if (!field) {
      options.onUnknownField?.(join(path, `${d.name}#${number}`));
      r.skip(wireType);
      continue;
    }
    const at = join(path, field.name);
    if (field.refused) {
      const value = readValue(r, field, at, options, depth);
      if (value !== false) throw new CodecError(at, 'is not supported');
      continue;
    }
    if (field.mapKey) {
      const [key, value] = readMapEntry(r, field, at, options, depth);
      out[field.name] ??= {};
      (out[field.name] as Record<string, unknown>)[key] = value;
      continue;
    }
    if (field.repeated) {
      out[field.name] ??= [];
      const list = out[field.name] as unknown[];
      const packable = field.kind === 'enum' || (field.kind === 'scalar' && field.type !== 'string' && field.type !== 'bytes');
      if (packable && wireType === 2) {
        const end = r.length();
        const inner = new Reader(r.buf, r.pos, end);
        while (inner.pos < end) list.push(readValue(inner, field, at, options, depth));
        r.pos = end;
      } else {
        expectWireType(field, wireType, at);
        list.push(readValue(r, field, `${at}[${list.length}]`, options, depth));
      }
      continue;
    }
    expectWireType(field, wireType, at);
    const value = readValue(r, field, at, options, depth);
    if (field.oneof >= 0) for (const f of d.fields) if (f.oneof === field.oneof) delete out[f.name];
    if (!isImplicitDefault(field, value)) out[field.name] = value;
    else delete out[field.name];
  }
  return out;
};

/** A plain proto3 scalar at its zero value is the same as an absent one. */
const isImplicitDefault = (f: Field, value: unknown): boolean =>
  f.kind !== 'message' &&
  !f.optional &&
  f.oneof < 0 &&
  (value === 0 ||
    value === false ||
    value === '' ||
    (value instanceof Uint8Array && value.length === 0) ||
    (f.kind === 'enum' && enumDescriptor(f.type).byName.get(value as string) === 0));

const WIRE_TYPE: { readonly [k in ScalarType]: number } = {
  double: 1,
  float: 5,
  int32: 0,
  uint32: 0,
  sint32: 0,
  fixed32: 5,
  sfixed32: 5,
  int64: 0,
  uint64: 0,
  sint64: 0,
  fixed64: 1,
  sfixed64: 1,
  bool: 0,
  string: 2,
  bytes: 2,
};
const wireTypeOf = (f: Field): number => (f.kind === 'message' ? 2 : f.kind === 'enum' ? 0 : WIRE_TYPE[f.type as ScalarType]);
const expectWireType = (f: Field, wireType: number, path: string): void => {
  if (wireTypeOf(f) !== wireType) throw new CodecError(path, `wire type ${wireType} does not fit ${f.type}`);
};

const readMapEntry = (r: Reader, field: Field, path: string, options: DecodeOptions, depth: number): [string, unknown] => {
  const end = r.length();
  const inner = new Reader(r.buf, r.pos, end);
  r.pos = end;
  let key: unknown = field.mapKey === 'string' ? '' : field.mapKey === 'bool' ? false : 0;
  let value: unknown;
  while (inner.pos < end) {
    const tag = inner.varint();
    if (tag >> 3 === 1) key = readScalar(inner, field.mapKey as ScalarType);
    else if (tag >> 3 === 2) value = readValue(inner, field, `${path}[${String(key)}]`, options, depth);
    else inner.skip(tag % 8);
  }
  value ??= field.kind === 'message' ? fromRaw(field.type, {}, path, options, depth) : zero(field);
  return [String(key), value];
};

const zero = (f: Field): unknown =>
  f.kind === 'enum'
    ? (enumDescriptor(f.type).byNumber.get(0) ?? 0)
    : f.type === 'string'
      ? ''
      : f.type === 'bool'
        ? false
        : f.type === 'bytes'
          ? new Uint8Array()
          : 0;

const readValue = (r: Reader, field: Field, path: string, options: DecodeOptions, depth: number): unknown => {
  if (field.kind === 'scalar') return readScalar(r, field.type as ScalarType);
  if (field.kind === 'enum') {
    const n = r.signedVarint();
    return enumDescriptor(field.type).byNumber.get(n) ?? n;
  }
  const end = r.length();
  const inner = new Reader(r.buf, r.pos, end);
  r.pos = end;
  return readMessage(inner, field.type, path, options, depth + 1);
};

const readScalar = (r: Reader, type: ScalarType): unknown => {
  switch (type) {
    case 'string':
      return r.string();
    case 'bool':
      return r.varint() !== 0;
    case 'uint32':
      return r.varint() >>> 0;
    case 'int32':
      return r.signedVarint() | 0;
    case 'uint64':
      return r.varint();
    case 'int64':
      return r.signedVarint();
    case 'double':
      return r.double();
    case 'float':
      return r.float();
    case 'bytes':
      return r.bytes().slice();
    case 'fixed32':
      return r.fixed32();
    case 'fixed64':
      return r.fixed64();
    case 'sfixed32':
      return r.sfixed32();
    case 'sfixed64':
      return r.sfixed64();
    case 'sint32':
    case 'sint64': {
      const n = r.varint();
      return n % 2 === 0 ? n / 2 : -(n + 1) / 2;
    }
  }
};

// --- well-known types: field objects <-> JSON shape

const WRAPPERS: { readonly [type: string]: unknown } = {
  'google.protobuf.DoubleValue': 0,
  'google.protobuf.FloatValue': 0,
  'google.protobuf.Int64Value': 0,
  'google.protobuf.UInt64Value': 0,
  'google.protobuf.Int32Value': 0,
  'google.protobuf.UInt32Value': 0,
  'google.protobuf.BoolValue': false,
  'google.protobuf.StringValue': '',
  'google.protobuf.BytesValue': new Uint8Array(),
};
export const isWrapper = (type: string): boolean => type in WRAPPERS;

type Raw = Record<string, unknown>;

const fromRaw = (type: string, raw: Raw, path: string, options: DecodeOptions, depth: number): unknown => {
  if (!type.startsWith('google.protobuf.')) return raw;
  if (type in WRAPPERS) return raw['value'] ?? WRAPPERS[type];
  switch (type) {
    case 'google.protobuf.Duration':
      return formatDuration((raw['seconds'] as number) ?? 0, (raw['nanos'] as number) ?? 0);
    case 'google.protobuf.Timestamp':
      return formatTimestamp((raw['seconds'] as number) ?? 0, (raw['nanos'] as number) ?? 0);
    case 'google.protobuf.Struct':
      return raw['fields'] ?? {};
    case 'google.protobuf.ListValue':
      return raw['values'] ?? [];
    case 'google.protobuf.Value': {
      if ('null_value' in raw) return null;
      for (const key of ['number_value', 'string_value', 'bool_value', 'struct_value', 'list_value']) if (key in raw) return raw[key];
      return null;
    }
    case 'google.protobuf.Any': {
      const url = (raw['type_url'] as string) ?? '';
      const value = (raw['value'] as Uint8Array) ?? new Uint8Array();
      const inner = typeOfUrl(url);
      if (!descriptor(inner)) return { type_url: url, value };
      const message = readMessage(new Reader(value), inner, path, options, depth + 1);
      return JSON_VALUED.has(inner) || isWrapper(inner) ? { '@type': url, value: message } : { '@type': url, ...(message as Raw) };
    }
    default:
      return raw;
  }
};
/** Types whose JSON form is not an object of fields: inside an Any they sit under "value". */
export const JSON_VALUED: ReadonlySet<string> = new Set([
  'google.protobuf.Duration',
  'google.protobuf.Timestamp',
  'google.protobuf.Struct',
  'google.protobuf.Value',
  'google.protobuf.ListValue',
  'google.protobuf.Any',
]);

const toRaw = (type: string, value: unknown, path: string, depth: number): unknown => {
  if (!type.startsWith('google.protobuf.')) return value;
  if (type in WRAPPERS) return { value };
  switch (type) {
    case 'google.protobuf.Duration':
    case 'google.protobuf.Timestamp': {
      const parsed = typeof value === 'string' ? (type.endsWith('Duration') ? parseDuration : parseTimestamp)(value) : undefined;
      if (!parsed) throw new CodecError(path, `${JSON.stringify(value)} is not a ${type.slice(16).toLowerCase()}`);
      return { seconds: parsed[0], nanos: parsed[1] };
    }
    case 'google.protobuf.Struct':
      return { fields: value };
    case 'google.protobuf.ListValue':
      return { values: value };
    case 'google.protobuf.Value':
      if (value === null) return { null_value: 'NULL_VALUE' };
      if (typeof value === 'number') return { number_value: value };
      if (typeof value === 'string') return { string_value: value };
      if (typeof value === 'boolean') return { bool_value: value };
      return Array.isArray(value) ? { list_value: value } : { struct_value: value };
    case 'google.protobuf.Any': {
      if (!isObject(value)) throw new CodecError(path, 'an Any is an object');
      const { '@type': url, ...rest } = value;
      if (typeof url !== 'string') return value;
      const inner = typeOfUrl(url);
      if (!descriptor(inner)) throw new CodecError(path, `message type ${inner} is not compiled in`);
      const w = new Writer();
      writeMessage(w, inner, JSON_VALUED.has(inner) || isWrapper(inner) ? rest['value'] : rest, path, depth + 1);
      return { type_url: url, value: w.finish() };
    }
    default:
      return value;
  }
};

// --- writing

const isObject = (v: unknown): v is Raw => typeof v === 'object' && v !== null && !Array.isArray(v) && !(v instanceof Uint8Array);

const writeMessage = (w: Writer, type: string, value: unknown, path: string, depth: number): void => {
  if (depth > NESTING_MAX) throw new CodecError(path, `nested deeper than ${NESTING_MAX}`);
  if (value instanceof EncodedMessage) {
    if (value.type !== type) throw new CodecError(path, `${value.type} is no ${type}`);
    w.raw(value.bytes);
    return;
  }
  const d = requireDescriptor(type);
  const raw = toRaw(type, value, path, depth);
  if (!isObject(raw)) throw new CodecError(path, `${type} is an object`);
  for (const key of Object.keys(raw)) {
    if (raw[key] !== undefined && d.byName.get(key)?.name !== key) throw new CodecError(path, `${type} has no field "${key}"`);
  }
  for (const field of d.fields) {
    const v = raw[field.name];
    if (v === undefined) continue;
    const at = join(path, field.name);
    if (field.mapKey) writeMap(w, field, v, at, depth);
    else if (field.repeated) writeRepeated(w, field, v, at, depth);
    else if (!isImplicitDefault(field, v)) writeField(w, field, v, at, depth);
  }
};

const writeMap = (w: Writer, field: Field, value: unknown, path: string, depth: number): void => {
  if (!isObject(value)) throw new CodecError(path, 'a map is an object');
  for (const key of Object.keys(value).sort()) {
    const entry = new Writer();
    const keyType = field.mapKey as ScalarType;
    entry.tag(1, WIRE_TYPE[keyType]);
    writeScalar(entry, keyType, keyType === 'string' ? key : keyType === 'bool' ? key === 'true' : Number(key), path);
    writeField(entry, { ...field, number: 2 }, value[key], `${path}[${key}]`, depth);
    w.tag(field.number, 2);
    w.bytes(entry.finish());
  }
};

const writeRepeated = (w: Writer, field: Field, value: unknown, path: string, depth: number): void => {
  if (!Array.isArray(value)) throw new CodecError(path, 'a repeated field is a list');
  if (value.length === 0) return;
  if (wireTypeOf(field) === 2) {
    for (const [i, v] of value.entries()) writeField(w, field, v, `${path}[${i}]`, depth);
    return;
  }
  const packed = new Writer();
  for (const [i, v] of value.entries()) writeBare(packed, field, v, `${path}[${i}]`);
  w.tag(field.number, 2);
  w.bytes(packed.finish());
};

const writeField = (w: Writer, field: Field, value: unknown, path: string, depth: number): void => {
  w.tag(field.number, wireTypeOf(field));
  if (field.kind !== 'message') {
    writeBare(w, field, value, path);
    return;
  }
  w.nested(() => writeMessage(w, field.type, value, path, depth + 1));
};

const writeBare = (w: Writer, field: Field, value: unknown, path: string): void => {
  if (field.kind === 'scalar') {
    writeScalar(w, field.type as ScalarType, value, path);
    return;
  }
  const number = typeof value === 'number' ? value : enumDescriptor(field.type).byName.get(value as string);
  if (number === undefined) throw new CodecError(path, `${JSON.stringify(value)} is no value of ${field.type}`);
  w.varint(number);
};

const writeScalar = (w: Writer, type: ScalarType, value: unknown, path: string): void => {
  if (type === 'string') {
    if (typeof value !== 'string') throw new CodecError(path, 'wants a string');
    w.string(value);
    return;
  }
  if (type === 'bytes') {
    if (!(value instanceof Uint8Array)) throw new CodecError(path, 'wants bytes');
    w.bytes(value);
    return;
  }
  if (type === 'bool') {
    if (typeof value !== 'boolean') throw new CodecError(path, 'wants true or false');
    w.varint(value ? 1 : 0);
    return;
  }
  if (typeof value !== 'number' || Number.isNaN(value)) throw new CodecError(path, 'wants a number');
  if (type === 'double') w.double(value);
  else if (type === 'float') w.float(value);
  else {
    if (!Number.isInteger(value) || !inRange(type, value)) throw new CodecError(path, `${value} is no ${type}`);
    if (type === 'fixed32' || type === 'sfixed32') w.fixed32(value);
    else if (type === 'fixed64' || type === 'sfixed64') w.fixed64(value);
    else if (type === 'sint32' || type === 'sint64') w.varint(value < 0 ? -value * 2 - 1 : value * 2);
    else w.varint(value);
  }
};

const inRange = (type: ScalarType, n: number): boolean => {
  const bits = type.endsWith('64') ? 64 : 32;
  return type.startsWith('u') || type.startsWith('fixed') ? n >= 0 && n < 2 ** bits : n >= -(2 ** (bits - 1)) && n < 2 ** (bits - 1);
};

const join = (path: string, name: string): string => (path ? `${path}.${name}` : name);
