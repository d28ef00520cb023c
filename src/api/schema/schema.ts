// The shape language of our kinds: one table describes a message, TypeScript's type of it is inferred from the same table,
// and shape-check.ts reads documents by it. Data only: nothing here looks at a document.

export type ScalarKind =
  | 'string'
  | 'bytes'
  | 'duration'
  | 'bool'
  | 'int32'
  | 'uint32'
  | 'int64'
  | 'uint64'
  | 'double'
  | 'struct'
  | 'quantity'
  | 'secretText'
  | 'secretBytes'
  | 'ignored';
export type ScalarSchema<T> = { readonly kind: ScalarKind; readonly like?: T };
export type EnumSchema<V extends string = string> = {
  readonly kind: 'enum';
  readonly values: readonly V[];
  readonly numbers?: readonly number[];
};
export type ListSchema<S> = { readonly kind: 'list'; readonly of: S };
/** `keys` names what a key must look like; keys are strings in the read value, as in JSON. */
export type MapSchema<S> = { readonly kind: 'map'; readonly keys: 'string' | 'uint32'; readonly of: S };
export type IntOrStringSchema = { readonly kind: 'intOrString' };
/** Sizes and ranges that the kind's CRD schema declares for one field; `each` is about list items or map values. */
export type Limits = {
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly pattern?: string;
  /** A duration that may be shorter than 1ms. */
  readonly anyDuration?: true;
  readonly each?: Limits;
};
export type FieldLimits = { readonly [field: string]: Limits };
export type MessageSchema<F = Fields, R extends PropertyKey = PropertyKey> = {
  readonly kind: 'message';
  readonly name: string;
  readonly fields: F;
  readonly required: readonly R[];
  readonly oneofs: readonly (readonly string[])[];
  /** Fields Istio or Kubernetes marks as deprecated. */
  readonly deprecated: readonly string[];
  readonly limits: FieldLimits;
};
type AnyScalar = ScalarSchema<unknown>;
export type Schema = AnyScalar | EnumSchema | IntOrStringSchema | { readonly kind: 'list'; readonly of: Schema } | MapOf | AnyMessage;
type MapOf = { readonly kind: 'map'; readonly keys: 'string' | 'uint32'; readonly of: Schema };
export type AnyMessage = {
  readonly kind: 'message';
  readonly name: string;
  readonly fields: Fields;
  readonly required: readonly PropertyKey[];
  readonly oneofs: readonly (readonly string[])[];
  readonly deprecated: readonly string[];
  readonly limits: FieldLimits;
};
export type Fields = { readonly [name: string]: Schema };

/** The TypeScript type of a value read by a schema. Required fields are present because the reader refuses their absence. */
export type Infer<S> =
  S extends MessageSchema<infer F, infer R>
    ? { readonly [K in keyof F as K extends R ? K : never]: Infer<F[K]> } & {
        readonly [K in keyof F as K extends R ? never : K]?: Infer<F[K]>;
      }
    : S extends ListSchema<infer O>
      ? readonly Infer<O>[]
      : S extends MapSchema<infer O>
        ? { readonly [key: string]: Infer<O> }
        : S extends EnumSchema<infer V>
          ? V
          : S extends IntOrStringSchema
            ? number | string
            : S extends ScalarSchema<infer T>
              ? T
              : never;

const scalar = <T>(kind: ScalarKind): ScalarSchema<T> => ({ kind });
export const string = scalar<string>('string');
/** Base64 text, as in JSON. */
export const bytes = scalar<string>('bytes');
/** Canonical seconds after reading: `1h` is read as `3600s`, `100ms` as `0.1s`. */
export const duration = scalar<string>('duration');
export const bool = scalar<boolean>('bool');
export const int32 = scalar<number>('int32');
export const uint32 = scalar<number>('uint32');
export const int64 = scalar<number>('int64');
export const uint64 = scalar<number>('uint64');
export const double = scalar<number>('double');
export const struct = scalar<{ readonly [key: string]: unknown }>('struct');
/** A Kubernetes quantity (`128Mi`, `500m`); numbers are read as their text. */
export const quantity = scalar<string>('quantity');
/** Text and base64 text that no message about them may show. */
export const secretText = scalar<string>('secretText');
export const secretBytes = scalar<string>('secretBytes');
/** Known to Kubernetes and without meaning for a mesh: taken whatever it holds, never kept. */
const ignored = scalar<never>('ignored');
export const intOrString: IntOrStringSchema = { kind: 'intOrString' };

/** `numbers` only where an enum's numbers are not 0, 1, 2 … */
export const enumeration = <const V extends string>(values: readonly V[], numbers?: readonly number[]): EnumSchema<V> =>
  numbers ? { kind: 'enum', values, numbers } : { kind: 'enum', values };
export const list = <S extends Schema>(of: S): ListSchema<S> => ({ kind: 'list', of });
export const map = <S extends Schema>(of: S, keys: 'string' | 'uint32' = 'string'): MapSchema<S> => ({ kind: 'map', keys, of });

/** Fields that are known and dropped. */
export const ignoring = <const N extends string>(...names: readonly N[]): { readonly [K in N]: ScalarSchema<never> } =>
  Object.fromEntries(names.map((name) => [name, ignored])) as { [K in N]: ScalarSchema<never> };

export const message = <const F extends Fields, const R extends keyof F & string = never>(
  name: string,
  fields: F,
  more: {
    readonly required?: readonly R[];
    readonly oneofs?: readonly (readonly string[])[];
    readonly deprecated?: readonly string[];
    readonly limits?: FieldLimits;
  } = {},
): MessageSchema<F, R> => ({
  kind: 'message',
  name,
  fields,
  required: more.required ?? [],
  oneofs: more.oneofs ?? [],
  deprecated: more.deprecated ?? [],
  limits: more.limits ?? {},
});
