// The tables of Istio's kinds against the list of Istio's API: every field, its type, what is required, exclusive or limited.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { kinds } from '../../src/api/kinds.ts';
import type { AnyMessage, Limits, Schema } from '../../src/api/schema/schema.ts';
import { missing, sharedFile } from './shared-data.ts';

interface Field {
  readonly json: string;
  readonly type: string;
  readonly required?: boolean;
  readonly deprecated?: boolean;
  readonly oneof?: string | null;
  readonly rules?: readonly string[];
}
interface Listed {
  readonly messages: Readonly<Record<string, { readonly fields: readonly Field[] }>>;
  readonly enums: Readonly<Record<string, { readonly values: readonly { readonly name: string }[] }>>;
}
type Inventory = Readonly<Record<string, Listed>>;

/** Folders of the list where a kind's message may stand; MeshConfig has messages of the same names. */
const inScope = (file: string): boolean => !file.startsWith('mesh/');

const scalars: Readonly<Record<string, string>> = {
  'google.protobuf.Duration': 'duration',
  'google.protobuf.Struct': 'struct',
  'google.protobuf.BoolValue': 'bool',
  'google.protobuf.UInt32Value': 'uint32',
  'google.protobuf.Int32Value': 'int32',
  'google.protobuf.UInt64Value': 'uint64',
  'google.protobuf.DoubleValue': 'double',
  'google.protobuf.StringValue': 'string',
};
const plain = new Set(['string', 'bytes', 'bool', 'int32', 'uint32', 'int64', 'uint64', 'double']);

const ruled: Readonly<Record<string, keyof Limits>> = {
  MaxItems: 'maxItems',
  MinItems: 'minItems',
  MaxProperties: 'maxItems',
  MinProperties: 'minItems',
  MaxLength: 'maxLength',
  MinLength: 'minLength',
  Maximum: 'maximum',
  Minimum: 'minimum',
  Pattern: 'pattern',
};

const limitsOf = (rules: readonly string[]): Limits => {
  const out: Record<string, unknown> = {};
  const each: Record<string, unknown> = {};
  for (const rule of rules) {
    if (rule === '+protoc-gen-crd:duration-validation:none') out['anyDuration'] = true;
    const found = /^\+(kubebuilder:validation|protoc-gen-crd:(?:list|map)-value-validation):(\w+)=([\s\S]*)$/.exec(rule);
    const name = ruled[found?.[2] ?? ''];
    if (!found || name === undefined) continue;
    const value = (found[3] ?? '').replace(/^[`"]|[`"]$/g, '');
    (found[1] === 'kubebuilder:validation' ? out : each)[name] = name === 'pattern' ? value : Number(value);
  }
  return { ...out, ...(Object.keys(each).length > 0 ? { each } : {}) };
};

class Comparison {
  readonly wrong: string[] = [];
  readonly #inventory: Inventory;
  readonly #seen = new Set<AnyMessage>();

  constructor(inventory: Inventory) {
    this.#inventory = inventory;
  }

  message(schema: AnyMessage, file: string, name: string): void {
    if (this.#seen.has(schema)) return;
    this.#seen.add(schema);
    const listed = this.#inventory[file]?.messages[name];
    if (!listed) {
      this.wrong.push(`${name} is not in ${file}`);
      return;
    }
    const { fields } = listed;
    this.#same(`fields of ${schema.name}`, Object.keys(schema.fields).sort(), fields.map((f) => f.json).sort());
    this.#same(
      `required of ${schema.name}`,
      schema.required.map(String).sort(),
      fields
        .filter((f) => f.required)
        .map((f) => f.json)
        .sort(),
    );
    const groups = Map.groupBy(
      fields.filter((f) => f.oneof != null),
      (f) => f.oneof,
    );
    const oneofs = [...groups.values()]
      .filter((g) => g.length > 1)
      .map((g) =>
        g
          .map((f) => f.json)
          .sort()
          .join(),
      );
    this.#same(`oneofs of ${schema.name}`, schema.oneofs.map((o) => [...o].sort().join()).sort(), oneofs.sort());
    for (const field of fields) {
      const own = schema.fields[field.json];
      if (own) this.#field(own, field, schema, file);
    }
  }

  #field(own: Schema, field: Field, owner: AnyMessage, file: string): void {
    const at = `${owner.name}.${field.json}`;
    this.#same(`limits of ${at}`, sorted(owner.limits[field.json] ?? {}), sorted(limitsOf(field.rules ?? [])));
    const list = /^repeated (.*)$/.exec(field.type);
    const map = /^map<(\w+), (.*)>$/.exec(field.type);
    if (list) {
      this.#same(`kind of ${at}`, own.kind, 'list');
      if (own.kind === 'list') this.#value(own.of, list[1] ?? '', at, owner, file);
    } else if (map) {
      this.#same(`kind of ${at}`, own.kind, 'map');
      if (own.kind === 'map') this.#value(own.of, map[2] ?? '', at, owner, file);
    } else this.#value(own, field.type, at, owner, file);
  }

  #value(own: Schema, type: string, at: string, owner: AnyMessage, file: string): void {
    const scalar = plain.has(type) ? type : scalars[type];
    if (scalar !== undefined) {
      this.#same(`type of ${at}`, own.kind, scalar);
      return;
    }
    for (const [place, listed] of this.#places(file, type)) {
      for (const name of namesFor(type, owner.name)) {
        const values = listed.enums[name]?.values.map((v) => v.name);
        if (values) {
          this.#same(`values of ${at}`, own.kind === 'enum' ? own.values : own.kind, values);
          return;
        }
        if (!listed.messages[name]) continue;
        if (own.kind === 'message') this.message(own, place, name);
        else this.wrong.push(`type of ${at} is ${own.kind}, not ${name}`);
        return;
      }
    }
    this.wrong.push(`${at}: ${type} is not in the list`);
  }

  /** A type with a package stands in its folder; else the file of the owner comes first. */
  #places(file: string, type: string): [string, Listed][] {
    const folder = /^istio\.(.*)\.\w+$/.exec(type)?.[1]?.replaceAll('.', '/');
    const all = Object.entries(this.#inventory).filter(([name]) => inScope(name) && (folder === undefined || name.startsWith(folder)));
    return [...all.filter(([name]) => name === file), ...all.filter(([name]) => name !== file)];
  }

  #same(what: string, own: unknown, listed: unknown): void {
    if (JSON.stringify(own) !== JSON.stringify(listed))
      this.wrong.push(`${what}: ${JSON.stringify(own)}, listed ${JSON.stringify(listed)}`);
  }
}

/** A name is looked up in the message, in those around it, in the file, then without its package. */
const namesFor = (type: string, owner: string): string[] => {
  const scopes = owner.split('.').map((_, i, all) => all.slice(0, all.length - i).join('.'));
  const parts = type.split('.');
  return [...scopes.map((s) => `${s}.${type}`), ...parts.map((_, i) => parts.slice(i).join('.'))];
};

const sorted = (value: object): unknown =>
  Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([k, v]) => [k, typeof v === 'object' ? sorted(v as object) : v]),
  );

test("every field, type, limit and exclusion of Istio's kinds stands in our tables", {
  skip: missing('corpora/api-inventory.json'),
}, () => {
  const inventory = JSON.parse(sharedFile('corpora/api-inventory.json') ?? '{}') as Inventory;
  const comparison = new Comparison(inventory);
  let compared = 0;
  for (const { kind, group, schema } of kinds) {
    if (!group.endsWith('istio.io')) continue;
    const file = Object.keys(inventory).find((f) => inScope(f) && inventory[f]?.messages[kind] !== undefined);
    if (file === undefined) continue;
    compared++;
    comparison.message(schema, file, kind);
  }
  assert.ok(compared >= 8, `only ${compared} kinds`);
  assert.equal(comparison.wrong.length, 0, comparison.wrong.join('\n'));
});
