// The shape of the generated field table (gen/table.ts): what scripts/generate-xds.mjs knows of every message.

/** [number, name, scalar or full type name, flags, map key type | index of its oneof].
 * Flags: r repeated, m map, d deprecated, o proto3 optional, x refused. */
export type FieldRow = readonly [number: number, name: string, type: string, flags: string, extra?: string | number];

/** Fields by number, and the names of the oneofs. */
export type MessageRow = readonly [fields: readonly FieldRow[], oneofs: readonly string[]];
/** Value name → number. */
export interface EnumRow {
  readonly [value: string]: number;
}

export interface FieldTable {
  /** Full message name → MessageRow as JSON: parsed when it is asked for, because few of them are. */
  readonly messages: { readonly [name: string]: string };
  /** Full enum name → EnumRow as JSON. */
  readonly enums: { readonly [name: string]: string };
}
