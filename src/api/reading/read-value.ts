// Reads a document tree by a schema: unknown fields, wrong types, missing required fields and sizes become findings; what comes out
// has lowerCamel keys, numbers as numbers, enums as names, durations in canonical seconds. As protojson reads: snake_case keys,
// numbers in text, enum numbers and nulls (absent) are accepted. Knows nothing of what fields mean.

import type { Findings } from '../findings.ts';
import type { AnyMessage, EnumSchema, Infer, Limits, ScalarKind, Schema } from '../schema/schema.ts';
import { formatDuration, parseDuration } from '../values/duration-text.ts';
import { type DocumentNode, define, type MapNode, plainValue, type ScalarNode } from './document-node.ts';
import { child, item } from './field-path.ts';
import { lowerCamel, nearest } from './key-case.ts';

/** The value, complete only if `findings` got no error. */
export const readValue = <S extends Schema>(schema: S, node: DocumentNode, path: string, findings: Findings): Infer<S> =>
  readAny(schema, node, path, findings) as Infer<S>;

const readAny = (schema: Schema, node: DocumentNode, path: string, findings: Findings): unknown => {
  switch (schema.kind) {
    case 'message':
      return readMessage(schema, node, path, findings);
    case 'list': {
      if (node.kind !== 'list') return wrongType(node, 'a list', path, findings);
      const items: unknown[] = [];
      for (const [index, entry] of node.items.entries()) {
        if (isNull(entry)) findings.add('error', 'FIELD_TYPE', item(path, index), 'an item of a list may not be null');
        else items.push(readAny(schema.of, entry, item(path, index), findings));
      }
      return items;
    }
    case 'map':
      return readMap(schema, node, path, findings);
    case 'enum':
      return readEnum(schema, node, path, findings);
    case 'intOrString':
      if (node.kind === 'scalar' && (typeof node.value === 'string' || Number.isInteger(node.value))) return node.value;
      return wrongType(node, 'a whole number or text', path, findings);
    default:
      return readScalar(schema.kind, node, path, findings);
  }
};

const readMessage = (schema: AnyMessage, node: DocumentNode, path: string, findings: Findings): Record<string, unknown> => {
  const out: Record<string, unknown> = {};
  if (node.kind !== 'map') {
    wrongType(node, `a mapping (${schema.name})`, path, findings);
    return out;
  }
  for (const [key, entry] of node.entries) {
    const name = fieldName(schema, key);
    const field = name === undefined ? undefined : schema.fields[name];
    if (name === undefined || field === undefined) {
      reportUnknown(key, schema, path, findings);
      continue;
    }
    const at = child(path, name);
    if (name in out)
      findings.add(
        'error',
        'YAML_DUPLICATE_KEY',
        child(path, key),
        `the field "${name}" is written twice, as "${name}" and "${snake(name)}"`,
      );
    if (isNull(entry.node)) continue;
    const value = readAny(field, entry.node, at, findings);
    if (value === undefined) continue;
    out[name] = value;
    const limits = schema.limits[name];
    if (limits) checkLimits(value, limits, at, findings);
  }
  checkOneofs(schema, out, path, findings);
  for (const name of schema.required) {
    if (out[String(name)] !== undefined || isWritten(node, schema, String(name))) continue;
    findings.add('error', 'FIELD_REQUIRED', path, `"${String(name)}" is required in ${schema.name}`);
  }
  return out;
};

/** Under any spelling and not null: what is wrong with it has been told. */
const isWritten = (node: MapNode, schema: AnyMessage, name: string): boolean =>
  [...node.entries].some(([key, entry]) => fieldName(schema, key) === name && !isNull(entry.node));

/** The field that a key means, in lowerCamelCase or snake_case. */
export const fieldName = (schema: AnyMessage, key: string): string | undefined => {
  if (Object.hasOwn(schema.fields, key)) return key;
  const camel = lowerCamel(key);
  return camel !== key && Object.hasOwn(schema.fields, camel) ? camel : undefined;
};

const snake = (name: string): string => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

const reportUnknown = (key: string, schema: AnyMessage, path: string, findings: Findings): void => {
  const meant = nearest(lowerCamel(key), Object.keys(schema.fields));
  const hint =
    meant === undefined ? `fields of ${schema.name}: ${Object.keys(schema.fields).join(', ') || 'none'}` : `did you mean "${meant}"?`;
  findings.add('error', 'FIELD_UNKNOWN', child(path, key), `unknown field ${JSON.stringify(key)}`, hint);
};

const checkOneofs = (schema: AnyMessage, value: Record<string, unknown>, path: string, findings: Findings): void => {
  for (const members of schema.oneofs) {
    const set = members.filter((name) => value[name] !== undefined);
    const second = set[1];
    if (second === undefined) continue;
    findings.add('error', 'INVALID', child(path, second), `only one of ${set.map((n) => `"${n}"`).join(' and ')} may be set`);
  }
};

const readMap = (schema: Schema & { kind: 'map' }, node: DocumentNode, path: string, findings: Findings): Record<string, unknown> => {
  const out: Record<string, unknown> = {};
  if (node.kind !== 'map') {
    wrongType(node, 'a mapping', path, findings);
    return out;
  }
  for (const [key, entry] of node.entries) {
    const at = child(path, key);
    if (schema.keys === 'uint32' && !/^\d{1,10}$/.test(key)) {
      findings.add('error', 'FIELD_TYPE', at, `the key ${JSON.stringify(key)} must be a whole number`);
      continue;
    }
    // A null message in a map means the empty message: `headers: {x-seen: }` asks for presence.
    const value = isNull(entry.node) ? (schema.of.kind === 'message' ? {} : undefined) : readAny(schema.of, entry.node, at, findings);
    if (value !== undefined) define(out, key, value);
    else if (isNull(entry.node)) findings.add('error', 'FIELD_TYPE', at, 'a value is required, found null');
  }
  return out;
};

const readEnum = (schema: EnumSchema, node: DocumentNode, path: string, findings: Findings): string | undefined => {
  if (node.kind !== 'scalar') return wrongType(node, `one of ${schema.values.join(', ')}`, path, findings);
  const { value } = node;
  if (typeof value === 'string' && schema.values.includes(value)) return value;
  const index = typeof value !== 'number' ? -1 : schema.numbers ? schema.numbers.indexOf(value) : value;
  const named = Number.isInteger(index) && index >= 0 ? schema.values[index] : undefined;
  if (named !== undefined) return named;
  const meant = typeof value === 'string' ? nearest(value, schema.values) : undefined;
  const hint = meant === undefined ? undefined : `did you mean "${meant}"?`;
  findings.add('error', 'FIELD_TYPE', path, `${JSON.stringify(value)} is not one of ${schema.values.join(', ')}`, hint);
  return undefined;
};

const readScalar = (kind: ScalarKind, node: DocumentNode, path: string, findings: Findings): unknown => {
  if (kind === 'ignored') return undefined;
  if (kind === 'secretText' || kind === 'secretBytes') return readSecret(kind, node, path, findings);
  if (kind === 'struct') return node.kind === 'map' ? plainValue(node) : wrongType(node, 'a mapping', path, findings);
  if (node.kind !== 'scalar') return wrongType(node, scalarNames[kind], path, findings);
  switch (kind) {
    case 'string':
    case 'bytes':
      return typeof node.value === 'string' ? node.value : wrongType(node, scalarNames[kind], path, findings, quoteHint(node));
    case 'quantity':
      return typeof node.value === 'boolean' ? wrongType(node, scalarNames[kind], path, findings) : String(node.value);
    case 'duration':
      return readDuration(node, path, findings);
    case 'bool':
      return readBool(node, path, findings);
    case 'double': {
      const number = typeof node.value === 'string' && node.value.trim() !== '' ? Number(node.value) : node.value;
      return typeof number === 'number' && Number.isFinite(number) ? number : wrongType(node, scalarNames[kind], path, findings);
    }
    default:
      return readInteger(kind, node, path, findings);
  }
};

/** What was found is not said: it may be the secret. */
const readSecret = (kind: 'secretText' | 'secretBytes', node: DocumentNode, path: string, findings: Findings): string | undefined => {
  const value = node.kind === 'scalar' ? node.value : undefined;
  if (typeof value !== 'string') findings.add('error', 'FIELD_TYPE', path, `must be ${scalarNames[kind]}`, 'write it in quotes');
  else if (kind === 'secretText' || isBase64(value)) return value;
  else findings.add('error', 'FIELD_TYPE', path, 'is not base64', 'plain text belongs below "stringData"');
  return undefined;
};

/** With padding and, as many lines of it are written, with line ends. */
const isBase64 = (text: string): boolean => {
  const written = text.replaceAll(/[\r\n]/g, '');
  return written.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(written);
};

const scalarNames: Readonly<Record<ScalarKind, string>> = {
  string: 'text',
  bytes: 'base64 text',
  duration: 'a duration such as "1.5s"',
  bool: 'true or false',
  int32: 'a whole number',
  uint32: 'a whole number from 0',
  int64: 'a whole number',
  uint64: 'a whole number from 0',
  double: 'a number',
  struct: 'a mapping',
  quantity: 'a quantity such as "128Mi"',
  secretText: 'text',
  secretBytes: 'base64 text',
  ignored: 'anything',
};

const ranges: Readonly<Record<'int32' | 'uint32' | 'int64' | 'uint64', readonly [number, number]>> = {
  int32: [-(2 ** 31), 2 ** 31 - 1],
  uint32: [0, 2 ** 32 - 1],
  int64: [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
  uint64: [0, Number.MAX_SAFE_INTEGER],
};

const readInteger = (kind: keyof typeof ranges, node: ScalarNode, path: string, findings: Findings): number | undefined => {
  const number = typeof node.value === 'string' && /^-?\d+$/.test(node.value) ? Number(node.value) : node.value;
  const [least, most] = ranges[kind];
  if (typeof number === 'number' && Number.isInteger(number) && number >= least && number <= most) return number;
  return wrongType(node, scalarNames[kind], path, findings);
};

const readBool = (node: ScalarNode, path: string, findings: Findings): boolean | undefined => {
  if (typeof node.value === 'boolean') return node.value;
  // What YAML 1.1, hence kubectl, reads as a truth value.
  if (node.plain !== undefined && /^(?:yes|Yes|YES|on|On|ON)$/.test(node.plain)) return true;
  if (node.plain !== undefined && /^(?:no|No|NO|off|Off|OFF)$/.test(node.plain)) return false;
  const quoted = node.value === 'true' || node.value === 'false';
  return wrongType(node, scalarNames.bool, path, findings, quoted ? 'write it without quotes' : undefined);
};

const readDuration = (node: ScalarNode, path: string, findings: Findings): string | undefined => {
  const nanoseconds = typeof node.value === 'string' ? parseDuration(node.value) : undefined;
  if (nanoseconds !== undefined) return formatDuration(nanoseconds);
  return wrongType(node, scalarNames.duration, path, findings, durationHint(node.value));
};

const durationHint = (value: unknown): string => {
  const text = String(value);
  if (/^\d+(?:\.\d+)?$/.test(text)) return `write the unit: "${text}s"`;
  if (/^\d{1,9}d$/.test(text)) return `there is no unit for days: "${BigInt(text.slice(0, -1)) * 24n}h"`;
  return /^[\d.]+(?:h|m|s|ms|us|ns)$/.test(text) ? 'at most 10,000 years' : 'units: h, m, s, ms, us, ns';
};

const checkLimits = (value: unknown, limits: Limits, path: string, findings: Findings): void => {
  const tooLong = (message: string): void => findings.add('error', 'FIELD_SIZE', path, message);
  const outside = (message: string): void => findings.add('error', 'FIELD_LIMIT', path, message);
  if (typeof value === 'string') {
    if (limits.minLength !== undefined && value.length < limits.minLength) tooLong('may not be empty');
    if (limits.maxLength !== undefined && value.length > limits.maxLength) tooLong(`is longer than ${limits.maxLength} characters`);
    if (limits.pattern !== undefined && !new RegExp(limits.pattern).test(value))
      outside(`${JSON.stringify(value)} does not match ${limits.pattern}`);
  }
  if (typeof value === 'number') {
    if (limits.minimum !== undefined && value < limits.minimum) outside(`${value} is below ${limits.minimum}`);
    if (limits.maximum !== undefined && value > limits.maximum) outside(`${value} is above ${limits.maximum}`);
  }
  if (typeof value !== 'object' || value === null) return;
  const entries: [string, unknown][] = Array.isArray(value)
    ? value.map((v, i): [string, unknown] => [item(path, i), v])
    : Object.entries(value).map(([k, v]): [string, unknown] => [child(path, k), v]);
  if (limits.minItems !== undefined && entries.length < limits.minItems) tooLong(`must have at least ${limits.minItems} entry`);
  if (limits.maxItems !== undefined && entries.length > limits.maxItems)
    tooLong(`has ${entries.length} entries, at most ${limits.maxItems} are allowed`);
  if (limits.each) for (const [at, v] of entries) checkLimits(v, limits.each, at, findings);
};

const isNull = (node: DocumentNode): boolean => node.kind === 'scalar' && node.value === null;

const wrongType = (node: DocumentNode, wanted: string, path: string, findings: Findings, hint?: string): undefined => {
  if (findings.sealed) findings.add('error', 'FIELD_TYPE', path, `must be ${wanted}`);
  else findings.add('error', 'FIELD_TYPE', path, `must be ${wanted}, found ${found(node)}`, hint);
  return undefined;
};

const found = (node: DocumentNode): string => {
  if (node.kind === 'map') return 'a mapping';
  if (node.kind === 'list') return 'a list';
  if (node.value === null) return 'nothing';
  const text = JSON.stringify(node.value);
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
};

const quoteHint = (node: ScalarNode): string | undefined =>
  typeof node.value === 'number' || typeof node.value === 'boolean'
    ? `write it in quotes: "${node.plain ?? String(node.value)}"`
    : undefined;

/** A mapping node's entry as text, for the few fields read before the kind is known. */
export const textEntry = (node: MapNode, key: string): string | undefined => {
  const entry = node.entries.get(key)?.node;
  return entry?.kind === 'scalar' && typeof entry.value === 'string' ? entry.value : undefined;
};
