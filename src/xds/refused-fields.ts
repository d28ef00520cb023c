// Which field of a message this sidecar must refuse: what src/xds/support/ calls refused, wherever it stands in the message. A field
// that it calls inert is not looked into. Contract: a pure function of the message; a field at its default is not set. Never says
// anything of values: what is wrong with one is for who compiles it.
import { typeOfUrl } from './codec.ts';
import { type Descriptor, descriptor, enumDescriptor, type Field } from './descriptor.ts';
import { INERT, REFUSED } from './gen/support.ts';

export interface RefusedField {
  /** As `filter_chains[0].filters[1].typed_config.scoped_routes`. */
  readonly path: string;
  /** '' when nothing is to be said beyond that it is not supported. */
  readonly reason: string;
}

/** The first one found; undefined when there is none. `type` is a full message name; one that is not known holds nothing. */
export const refusedField = (type: string, message: object): RefusedField | undefined => inMessage(type, '', message as Raw, '');

interface Raw {
  readonly [field: string]: unknown;
}

const inMessage = (type: string, place: string, message: Raw, path: string): RefusedField | undefined => {
  if (type === 'google.protobuf.Any') return inAny(message, path);
  if (type.startsWith('google.protobuf.')) return undefined;
  const known = descriptor(type);
  if (known === undefined) return undefined;
  const own = `${type} in ${place}`;
  const refused = REFUSED[own] ?? (INERT[own] === undefined ? REFUSED[type] : undefined);
  const inert = INERT[own] ?? (REFUSED[own] === undefined ? INERT[type] : undefined);
  for (const name of Object.keys(message)) {
    const value = message[name];
    const field = known.byName.get(name);
    if (field === undefined || !isSet(field, value)) continue;
    const at = path === '' ? name : `${path}.${name}`;
    const reason = refused?.[name];
    if (reason !== undefined) return { path: at, reason };
    if (field.kind !== 'message' || inert?.[name] !== undefined) continue;
    const found = inField(known, field, value, at);
    if (found !== undefined) return found;
  }
  return undefined;
};

const inField = (owner: Descriptor, field: Field, value: unknown, path: string): RefusedField | undefined => {
  const place = `${owner.name}.${field.name}`;
  if (field.mapKey !== undefined) {
    for (const [key, entry] of Object.entries(value as Raw)) {
      const found = inMessage(field.type, place, entry as Raw, `${path}[${key}]`);
      if (found !== undefined) return found;
    }
    return undefined;
  }
  if (!field.repeated) return inMessage(field.type, place, value as Raw, path);
  const list = value as readonly Raw[];
  for (let i = 0; i < list.length; i++) {
    const found = inMessage(field.type, place, list[i] ?? {}, `${path}[${i}]`);
    if (found !== undefined) return found;
  }
  return undefined;
};

const TYPED_STRUCTS: ReadonlySet<string> = new Set(['udpa.type.v1.TypedStruct', 'xds.type.v3.TypedStruct']);

const inAny = (any: Raw, path: string): RefusedField | undefined => {
  const url = any['@type'];
  if (typeof url !== 'string') return undefined;
  const type = typeOfUrl(url);
  if (!TYPED_STRUCTS.has(type)) return inMessage(type, '', any, path);
  const [inner, value] = [any['type_url'], any['value']];
  if (typeof inner !== 'string' || typeof value !== 'object' || value === null) return undefined;
  return inMessage(typeOfUrl(inner), '', value as Raw, `${path}.value`);
};

/** Whether it says anything but its default: a plain scalar of zero, an empty list, and `false` say nothing. */
const isSet = (field: Field, value: unknown): boolean => {
  if (value === undefined || value === false) return false;
  if (field.mapKey !== undefined) return Object.keys(value as object).length > 0;
  if (field.repeated) return (value as readonly unknown[]).length > 0;
  if (field.kind === 'message' || field.optional || field.oneof >= 0) return true;
  if (field.kind === 'enum') return value !== 0 && enumDescriptor(field.type).byName.get(value as string) !== 0;
  return value !== 0 && value !== '' && !(value instanceof Uint8Array && value.length === 0);
};
