// The shape of the generated field table (gen/table.ts): what scripts/generate-xds.mjs knows of every message.

/** [number, name, scalar or full type name, flags, map key type | index of its oneof].
 * Flags: r repeated, m map, d deprecated, o proto3 optional. */
export type FieldRow = readonly [number: number, name: string, type: string, flags: string, extra?: string | number];

export interface FieldTable {
  /** Full message name → its fields by number, and the names of its oneofs. */
  readonly messages: { readonly [name: string]: readonly [fields: readonly FieldRow[], oneofs: readonly string[]] };
  /** Full enum name → value name → number. */
  readonly enums: { readonly [name: string]: { readonly [value: string]: number } };
}
