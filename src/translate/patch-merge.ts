// Protobuf's merge on messages in the codec's shape: scalars that are set replace, messages merge, lists are appended, maps are joined by
// key. A zero cannot be told from an absent value there, so it never replaces anything; a Duration is replaced whole, as Istio does.

import { isWrapper, JSON_VALUED, typeOfUrl } from '../xds/codec.ts';
import { type Descriptor, descriptor, enumDescriptor, type Field } from '../xds/descriptor.ts';

export type Message = Readonly<Record<string, unknown>>;
/** What becomes of a list that both sides have. */
export type ListMerge = 'append' | 'replace';

export const isMessage = (v: unknown): v is Message =>
  typeof v === 'object' && v !== null && !Array.isArray(v) && !(v instanceof Uint8Array);

const isZeroValue = (value: unknown): boolean =>
  value === 0 || value === false || value === '' || (value instanceof Uint8Array && value.length === 0);

/** Of a scalar, an enum or a wrapped scalar. */
const isZero = (field: Field, value: unknown): boolean =>
  isZeroValue(value) || (field.kind === 'enum' && enumDescriptor(field.type).byName.get(value as string) === 0);

/** `from` merged into `into`, as a new message; both are of `type`. */
export const mergeMessages = (type: string, into: Message, from: Message, lists: ListMerge): Message => {
  const d = descriptor(type);
  if (d === undefined) return from;
  const out: Record<string, unknown> = { ...into };
  for (const [name, value] of Object.entries(from)) {
    const field = d.byName.get(name);
    if (field === undefined || value === undefined) continue;
    const merged = mergeField(field, out[name], value, lists);
    if (merged === undefined) continue;
    clearOthers(d, field, out);
    out[name] = merged;
  }
  return out;
};

/** Undefined: the field stays as it is. */
const mergeField = (field: Field, into: unknown, from: unknown, lists: ListMerge): unknown => {
  if (field.mapKey !== undefined) return { ...(isMessage(into) ? into : {}), ...(from as Message) };
  if (field.repeated) {
    const items = from as readonly unknown[];
    if (items.length === 0) return undefined;
    return lists === 'append' && Array.isArray(into) ? [...into, ...items] : items;
  }
  if (field.kind !== 'message') return isZero(field, from) && !field.optional && field.oneof < 0 ? undefined : from;
  if (isWrapper(field.type)) return into !== undefined && isZeroValue(from) ? undefined : from;
  if (field.type === 'google.protobuf.Struct' && isMessage(into)) return { ...into, ...(from as Message) };
  if (field.type.startsWith('google.protobuf.')) return from;
  return isMessage(into) ? mergeMessages(field.type, into, from as Message, lists) : from;
};

const clearOthers = (d: Descriptor, field: Field, out: Record<string, unknown>): void => {
  if (field.oneof < 0) return;
  for (const f of d.fields) if (f.oneof === field.oneof && f !== field) delete out[f.name];
};

/** An Any merged into another by what they hold; undefined when they hold different types. Lists inside are always appended. */
export const mergeAnys = (into: unknown, from: unknown): Message | undefined => {
  if (!isMessage(into) || !isMessage(from)) return undefined;
  const type = typeInside(from);
  if (type === undefined || type !== typeInside(into)) return undefined;
  if (JSON_VALUED.has(type)) return from;
  const { '@type': url, ...rest } = into;
  const { '@type': _, ...added } = from;
  return { '@type': url, ...mergeMessages(type, rest, added, 'append') };
};

const typeInside = (any: Message): string | undefined => (typeof any['@type'] === 'string' ? typeOfUrl(any['@type']) : undefined);

const TYPED_STRUCTS: ReadonlySet<string> = new Set(['udpa.type.v1.TypedStruct', 'xds.type.v3.TypedStruct']);

/** The types of everything that is packed into an Any, TypedStructs by what they stand for. Well-known types are left out. */
export const packedTypes = (value: unknown, found: Set<string> = new Set()): ReadonlySet<string> => {
  if (Array.isArray(value)) for (const v of value) packedTypes(v, found);
  if (!isMessage(value)) return found;
  const url = value['@type'];
  const type = typeof url === 'string' ? typeOfUrl(url) : undefined;
  if (type !== undefined && TYPED_STRUCTS.has(type)) {
    if (typeof value['type_url'] === 'string') found.add(typeOfUrl(value['type_url']));
    return found;
  }
  if (type !== undefined && !type.startsWith('google.protobuf.')) found.add(type);
  for (const v of Object.values(value)) packedTypes(v, found);
  return found;
};
