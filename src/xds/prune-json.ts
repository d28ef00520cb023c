// Proto3 JSON without the fields that the table does not know, as a reader that discards unknown fields would see it; what was left
// out is told. Values of the wrong type stay as they are: `fromJson` says what is wrong with them.

import { isWrapper, JSON_VALUED, typeOfUrl } from './codec.ts';
import { type Descriptor, descriptor } from './descriptor.ts';

export interface Pruned {
  readonly json: unknown;
  /** Paths as CodecError writes them. */
  readonly unknownFields: readonly string[];
  /** Types named by `@type` that are not compiled in. */
  readonly unknownTypes: readonly { readonly path: string; readonly type: string }[];
}

interface Notes {
  readonly unknownFields: string[];
  readonly unknownTypes: { readonly path: string; readonly type: string }[];
}
type Raw = Readonly<Record<string, unknown>>;

export const pruneJson = (type: string, json: unknown): Pruned => {
  const notes: Notes = { unknownFields: [], unknownTypes: [] };
  return { json: prune(type, json, '', notes), ...notes };
};

const prune = (type: string, json: unknown, path: string, notes: Notes): unknown => {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return json;
  const object = json as Raw;
  if (type === 'google.protobuf.Any') return pruneAny(object, path, notes);
  const known = type.startsWith('google.protobuf.') ? undefined : descriptor(type);
  return known ? pruneFields(known, object, path, notes) : json;
};

const pruneAny = (json: Raw, path: string, notes: Notes): unknown => {
  const { '@type': url, ...rest } = json;
  if (typeof url !== 'string') return json;
  const inner = typeOfUrl(url);
  if (JSON_VALUED.has(inner) || isWrapper(inner)) return json;
  const known = descriptor(inner);
  if (known) return { '@type': url, ...pruneFields(known, rest, path, notes) };
  notes.unknownTypes.push({ path: `${path}["@type"]`, type: inner });
  return json;
};

const pruneFields = (known: Descriptor, json: Raw, path: string, notes: Notes): Raw => {
  const out: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(json)) {
    const at = path === '' ? key : `${path}.${key}`;
    const field = known.byName.get(key);
    if (!field) notes.unknownFields.push(at);
    else if (field.kind !== 'message' || value === null) out[key] = value;
    else if (field.mapKey && typeof value === 'object' && !Array.isArray(value))
      out[key] = Object.fromEntries(Object.entries(value).map(([k, v]) => [k, prune(field.type, v, `${at}[${JSON.stringify(k)}]`, notes)]));
    else if (field.repeated && Array.isArray(value)) out[key] = value.map((v, i) => prune(field.type, v, `${at}[${i}]`, notes));
    else out[key] = prune(field.type, value, at, notes);
  }
  return out;
};
