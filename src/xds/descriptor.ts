// Message descriptors, compiled from the generated table at first use and kept: a pure function of the table.
import { TABLE } from './gen/table.ts';
import type { EnumRow, FieldTable, MessageRow } from './table.ts';

const tables: FieldTable[] = [TABLE];

/** For processes that handle more types than a sidecar. It only adds: what a name means never changes. */
export const addTypes = (table: FieldTable): void => {
  if (!tables.includes(table)) tables.push(table);
};

const enumRow = (name: string): string | undefined => tables.find((t) => t.enums[name] !== undefined)?.enums[name];
const messageRow = (name: string): string | undefined => tables.find((t) => t.messages[name] !== undefined)?.messages[name];

export const enumDescriptor = (name: string): EnumDescriptor => {
  let found = enums.get(name);
  if (!found) {
    const row = enumRow(name);
    if (row === undefined) throw new RangeError(`no enum ${name}`);
    const values = JSON.parse(row) as EnumRow;
    const byNumber = new Map<number, string>();
    for (const [key, value] of Object.entries(values)) if (!byNumber.has(value)) byNumber.set(value, key);
    found = { name, byName: new Map(Object.entries(values)), byNumber };
    enums.set(name, found);
  }
  return found;
};

export interface EnumDescriptor {
  readonly name: string;
  readonly byName: ReadonlyMap<string, number>;
  readonly byNumber: ReadonlyMap<number, string>;
}

export type ScalarType =
  | 'double'
  | 'float'
  | 'int32'
  | 'uint32'
  | 'sint32'
  | 'fixed32'
  | 'sfixed32'
  | 'int64'
  | 'uint64'
  | 'sint64'
  | 'fixed64'
  | 'sfixed64'
  | 'bool'
  | 'string'
  | 'bytes';

export interface Field {
  readonly number: number;
  readonly name: string;
  /** `lowerCamel` form, accepted on JSON input as proto3 JSON asks. */
  readonly jsonName: string;
  readonly kind: 'scalar' | 'enum' | 'message';
  /** Scalar type, or the full name of the enum or message. */
  readonly type: string;
  readonly repeated: boolean;
  /** Key type when the field is a map; `kind` and `type` then describe its value. */
  readonly mapKey: ScalarType | undefined;
  readonly optional: boolean;
  readonly deprecated: boolean;
  /** Changes what Envoy does, and nothing here carries it out: a message that sets it is refused, not half obeyed. */
  readonly refused: boolean;
  /** Index into the message's oneofs, -1 when in none. */
  readonly oneof: number;
}

export interface Descriptor {
  readonly name: string;
  readonly fields: readonly Field[];
  readonly byNumber: ReadonlyMap<number, Field>;
  readonly byName: ReadonlyMap<string, Field>;
  readonly oneofs: readonly string[];
}

const SCALARS = new Set<string>([
  'double',
  'float',
  'int32',
  'uint32',
  'sint32',
  'fixed32',
  'sfixed32',
  'int64',
  'uint64',
  'sint64',
  'fixed64',
  'sfixed64',
  'bool',
  'string',
  'bytes',
]);
const enums = new Map<string, EnumDescriptor>();
const messages = new Map<string, Descriptor>();

/** The descriptor of a message by its full proto name; undefined when Skein does not compile that type. */
export const descriptor = (name: string): Descriptor | undefined => {
  const known = messages.get(name);
  if (known) return known;
  const row = messageRow(name);
  if (row === undefined) return undefined;
  const made = compile(name, JSON.parse(row) as MessageRow);
  messages.set(name, made);
  return made;
};

const compile = (name: string, [rows, oneofs]: MessageRow): Descriptor => {
  const fields = rows.map(
    ([number, field, type, flags, extra]): Field => ({
      number,
      name: field,
      jsonName: field.replace(/_([a-z0-9])/g, (_, c: string) => c.toUpperCase()),
      kind: SCALARS.has(type) ? 'scalar' : enumRow(type) !== undefined ? 'enum' : 'message',
      type,
      repeated: flags.includes('r'),
      mapKey: flags.includes('m') ? (extra as ScalarType) : undefined,
      optional: flags.includes('o'),
      deprecated: flags.includes('d'),
      refused: flags.includes('x'),
      oneof: !flags.includes('m') && typeof extra === 'number' ? extra : -1,
    }),
  );
  return {
    name,
    fields,
    byNumber: new Map(fields.map((f) => [f.number, f])),
    byName: new Map([...fields.map((f) => [f.jsonName, f] as const), ...fields.map((f) => [f.name, f] as const)]),
    oneofs,
  };
};
