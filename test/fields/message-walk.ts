// Every field that is set in a message, by descriptor; copies of a message with one field blanked or given a value.
import { typeOfUrl } from '../../src/xds/codec.ts';
import { type Descriptor, descriptor, enumDescriptor, type Field } from '../../src/xds/descriptor.ts';

export type Message = { readonly [field: string]: unknown };
export type Path = readonly (string | number)[];

/** A message inside another one. */
export interface Seat {
  readonly message: string;
  /** The field (Message.field) that holds it; '' inside an Any. */
  readonly place: string;
  readonly path: Path;
  readonly value: Message;
  readonly known: Descriptor;
}

export function* seats(type: string, value: unknown, place = '', path: Path = []): Generator<Seat> {
  if (typeof value !== 'object' || value === null) return;
  if (type === 'google.protobuf.Any') {
    const url = (value as Message)['@type'];
    if (typeof url === 'string') yield* seats(typeOfUrl(url), value, '', path);
    return;
  }
  if (type.startsWith('google.protobuf.')) return;
  const known = descriptor(type);
  if (known === undefined) return;
  const message = value as Message;
  yield { message: type, place, path, value: message, known };
  for (const field of known.fields) {
    const inner = message[field.name];
    if (field.kind !== 'message' || inner === undefined) continue;
    const at = `${type}.${field.name}`;
    if (field.mapKey !== undefined)
      for (const [key, entry] of Object.entries(inner as Message)) yield* seats(field.type, entry, at, [...path, field.name, key]);
    else if (field.repeated)
      for (const [i, entry] of (inner as readonly unknown[]).entries()) yield* seats(field.type, entry, at, [...path, field.name, i]);
    else yield* seats(field.type, inner, at, [...path, field.name]);
  }
}

/** A copy with `path` set; undefined takes it away. What does not lie on the way is shared. */
export const withValue = (value: unknown, path: Path, to: unknown): unknown => {
  const [step, ...rest] = path;
  if (step === undefined) return to;
  if (Array.isArray(value)) return value.map((entry: unknown, i) => (i === step ? withValue(entry, rest, to) : entry));
  const copy: Record<string, unknown> = { ...(value as Message) };
  if (rest.length === 0 && to === undefined) delete copy[step];
  else copy[step] = withValue(copy[step], rest, to);
  return copy;
};

/** Takes away what the field excludes, too. */
export const withField = (root: unknown, seat: Seat, field: Field, to: unknown): unknown => {
  let out = root;
  for (const other of seat.known.fields)
    if (field.oneof >= 0 && other.oneof === field.oneof && seat.value[other.name] !== undefined)
      out = withValue(out, [...seat.path, other.name], undefined);
  return withValue(out, [...seat.path, field.name], to);
};

/** Some value that is not the default. */
export const sampleOf = (field: Field): unknown => {
  const one = sampleValue(field);
  if (field.mapKey !== undefined) return { [field.mapKey === 'string' ? 'key' : '1']: one };
  return field.repeated ? [one] : one;
};

const sampleValue = (field: Field): unknown => {
  if (field.kind === 'enum') return [...enumDescriptor(field.type).byName].find(([, number]) => number !== 0)?.[0] ?? 1;
  if (field.kind === 'message') return sampleMessage(field.type);
  if (field.type === 'string') return 'text';
  if (field.type === 'bool') return true;
  return field.type === 'bytes' ? new Uint8Array([1]) : 1;
};

const sampleMessage = (type: string): unknown => {
  switch (type) {
    case 'google.protobuf.Duration':
      return '1s';
    case 'google.protobuf.Timestamp':
      return '2020-01-01T00:00:00Z';
    case 'google.protobuf.BoolValue':
      return true;
    case 'google.protobuf.StringValue':
      return 'text';
    case 'google.protobuf.BytesValue':
      return new Uint8Array([1]);
    case 'google.protobuf.ListValue':
      return ['text'];
    case 'google.protobuf.Value':
      return 'text';
    case 'google.protobuf.Struct':
      return { key: 'text' };
    case 'google.protobuf.Any':
      return { '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer' };
    default:
      return type.startsWith('google.protobuf.') && type.endsWith('Value') ? 1 : {};
  }
};

/** A root message that holds nothing but the way to a field, and a value in it. */
export const sampleAlong = (way: readonly Field[], field: Field): Message => {
  const [step, ...rest] = way;
  if (step === undefined) return { [field.name]: sampleOf(field) };
  const inner = sampleAlong(rest, field);
  return { [step.name]: step.mapKey !== undefined ? { key: inner } : step.repeated ? [inner] : inner };
};
