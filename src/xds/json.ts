// Proto3 JSON of Envoy's messages: `toJson` for config_dump, `fromJson` for bootstraps and recorded configuration.
// Output has proto field names; input takes them and their lowerCamel forms, and refuses what it does not know.

import { CodecError, isWrapper, JSON_VALUED, type TypeName, typeOfUrl } from './codec.ts';
import { descriptor, enumDescriptor, type Field } from './descriptor.ts';
import type { JsonObject, JsonValue, MessageTypes } from './gen/types.ts';
import { parseDuration, parseTimestamp } from './well-known.ts';

/** The JSON form of a message: bytes as base64, 64-bit integers as strings. */
export const toJson = <K extends TypeName>(type: K, message: MessageTypes[K]): JsonObject => messageToJson(type, message) as JsonObject;
/** `toJson` for a type known only at run time. */
export const toJsonNamed = (type: string, message: unknown): JsonValue => messageToJson(type, message);

/** Throws CodecError naming the field that does not fit. */
export const fromJson = <K extends TypeName>(type: K, json: unknown): MessageTypes[K] => messageFromJson(type, json, '') as MessageTypes[K];
/** `fromJson` for a type known only at run time. */
export const fromJsonNamed = (type: string, json: unknown): unknown => messageFromJson(type, json, '');

const WIDE = new Set(['int64', 'uint64', 'sint64', 'fixed64', 'sfixed64']);
type Raw = Record<string, unknown>;
const isObject = (v: unknown): v is Raw => typeof v === 'object' && v !== null && !Array.isArray(v) && !(v instanceof Uint8Array);

const messageToJson = (type: string, value: unknown): JsonValue => {
  if (type === 'google.protobuf.Any') return anyToJson(value as Raw);
  if (type.startsWith('google.protobuf.')) {
    if (value instanceof Uint8Array) return base64(value);
    return type.endsWith('Int64Value') ? String(value) : (value as JsonValue);
  }
  const d = descriptor(type);
  if (!d) throw new RangeError(`message type ${type} is not compiled in`);
  const out: Record<string, JsonValue> = {};
  for (const field of d.fields) {
    const v = (value as Raw)[field.name];
    if (v === undefined) continue;
    if (field.mapKey) out[field.name] = Object.fromEntries(Object.entries(v as Raw).map(([k, x]) => [k, valueToJson(field, x)]));
    else if (field.repeated) out[field.name] = (v as unknown[]).map((x) => valueToJson(field, x));
    else out[field.name] = valueToJson(field, v);
  }
  return out;
};

const valueToJson = (field: Field, value: unknown): JsonValue => {
  if (field.kind === 'message') return messageToJson(field.type, value);
  if (value instanceof Uint8Array) return base64(value);
  if (field.kind === 'scalar' && WIDE.has(field.type)) return String(value);
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  return value as JsonValue;
};

const anyToJson = (value: Raw): JsonValue => {
  const url = value['@type'];
  if (typeof url !== 'string') return { '@type': value['type_url'] as string, value: base64(value['value'] as Uint8Array) };
  const inner = typeOfUrl(url);
  if (JSON_VALUED.has(inner) || isWrapper(inner)) return { '@type': url, value: messageToJson(inner, value['value']) };
  return { '@type': url, ...(messageToJson(inner, value) as JsonObject) };
};

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');

const messageFromJson = (type: string, json: unknown, path: string): unknown => {
  if (type.startsWith('google.protobuf.')) return wellKnownFromJson(type, json, path);
  const d = descriptor(type);
  if (!d) throw new CodecError(path, `message type ${type} is not compiled in`);
  if (!isObject(json)) throw new CodecError(path, `wants an object of ${type}`);
  const out: Raw = {};
  const oneofs = new Map<number, string>();
  for (const [key, v] of Object.entries(json)) {
    if (v === null && d.byName.get(key)?.type !== 'google.protobuf.Value') continue;
    const field = d.byName.get(key);
    const at = path ? `${path}.${key}` : key;
    if (!field) throw new CodecError(at, `${type} has no field "${key}"`);
    if (field.refused) {
      if (v === false) continue;
      throw new CodecError(at, 'is not supported');
    }
    if (field.name in out) throw new CodecError(at, 'is given twice');
    if (field.oneof >= 0) {
      const other = oneofs.get(field.oneof);
      if (other) throw new CodecError(at, `excludes "${other}"`);
      oneofs.set(field.oneof, key);
    }
    if (field.mapKey) {
      if (!isObject(v)) throw new CodecError(at, 'wants an object');
      out[field.name] = Object.fromEntries(Object.entries(v).map(([k, x]) => [k, valueFromJson(field, x, `${at}[${JSON.stringify(k)}]`)]));
    } else if (field.repeated) {
      if (!Array.isArray(v)) throw new CodecError(at, 'wants a list');
      out[field.name] = v.map((x, i) => valueFromJson(field, x, `${at}[${i}]`));
    } else {
      out[field.name] = valueFromJson(field, v, at);
    }
  }
  return out;
};

const valueFromJson = (field: Field, json: unknown, path: string): unknown => {
  if (field.kind === 'message') return messageFromJson(field.type, json, path);
  if (field.kind === 'enum') {
    const e = enumDescriptor(field.type);
    if (typeof json === 'number' && Number.isInteger(json)) return e.byNumber.get(json) ?? json;
    if (typeof json === 'string' && e.byName.has(json)) return json;
    throw new CodecError(path, `${JSON.stringify(json)} is no value of ${field.type}: ${[...e.byName.keys()].join(', ')}`);
  }
  switch (field.type) {
    case 'string':
      if (typeof json === 'string') return json;
      break;
    case 'bool':
      if (typeof json === 'boolean') return json;
      break;
    case 'bytes':
      if (json instanceof Uint8Array) return json;
      if (typeof json === 'string' && /^[A-Za-z0-9+/_-]*={0,2}$/.test(json)) return new Uint8Array(Buffer.from(json, 'base64'));
      break;
    default: {
      const n = typeof json === 'string' && json.trim() !== '' ? Number(json) : json;
      if (typeof n === 'number' && (!Number.isNaN(n) || json === 'NaN')) {
        if (field.type === 'double' || field.type === 'float' || Number.isInteger(n)) return n;
      }
    }
  }
  throw new CodecError(path, `wants ${field.type}, has ${JSON.stringify(json)}`);
};

const wellKnownFromJson = (type: string, json: unknown, path: string): unknown => {
  if (isWrapper(type)) {
    const d = descriptor(type);
    return valueFromJson(d?.byName.get('value') as Field, json, path);
  }
  switch (type) {
    case 'google.protobuf.Duration':
      if (typeof json !== 'string' || !parseDuration(json))
        throw new CodecError(path, `${JSON.stringify(json)} is not a duration such as "1.5s"`);
      return json;
    case 'google.protobuf.Timestamp':
      if (typeof json !== 'string' || !parseTimestamp(json)) throw new CodecError(path, `${JSON.stringify(json)} is not an RFC 3339 time`);
      return json;
    case 'google.protobuf.Struct':
      if (!isObject(json)) throw new CodecError(path, 'wants an object');
      return json;
    case 'google.protobuf.ListValue':
      if (!Array.isArray(json)) throw new CodecError(path, 'wants a list');
      return json;
    case 'google.protobuf.Value':
      return json;
    case 'google.protobuf.Any': {
      if (!isObject(json) || typeof json['@type'] !== 'string') throw new CodecError(path, 'wants an object with "@type"');
      const { '@type': url, ...rest } = json;
      const inner = typeOfUrl(url);
      if (!descriptor(inner)) throw new CodecError(path, `message type ${inner} is not known`);
      if (JSON_VALUED.has(inner) || isWrapper(inner))
        return { '@type': url, value: messageFromJson(inner, rest['value'], `${path}.value`) };
      return { '@type': url, ...(messageFromJson(inner, rest, path) as Raw) };
    }
    default: {
      const d = descriptor(type);
      if (d && d.fields.length === 0) return {};
      throw new CodecError(path, `message type ${type} has no JSON form here`);
    }
  }
};
