// Results kept by what they were made from: the same inputs give the same object again. Inputs are compared by identity, lists by the
// identity of their items. One result a name is kept, the last.

interface Kept {
  readonly inputs: readonly unknown[];
  readonly result: unknown;
}

/** One result an item: what it was the last time, if it is made from the same. `make` must depend on the item and the inputs alone. */
export type Pass = <T>(item: object | string, inputs: readonly unknown[], make: () => T) => T;

export class Memo {
  readonly #passes = new Map<string, ReadonlyMap<object | string, Kept>>();
  readonly #settled = new Map<string, ReadonlyMap<string, object>>();
  readonly #kept = new Map<string, Kept>();

  /** `make` must depend on the inputs alone; a name stands for one `make`. */
  use<T>(name: string, inputs: readonly unknown[], make: () => T): T {
    const known = this.#kept.get(name);
    if (known && sameAll(known.inputs, inputs)) return known.result as T;
    const result = make();
    this.#kept.set(name, { inputs, result });
    return result;
  }

  /** Goes once through all items there are: the next pass of the name knows those that this one was asked for. */
  pass(name: string): Pass {
    const before = this.#passes.get(name);
    const now = new Map<object | string, Kept>();
    this.#passes.set(name, now);
    return <T>(item: object | string, inputs: readonly unknown[], make: () => T): T => {
      const known = before?.get(item);
      const kept = known && sameAll(known.inputs, inputs) ? known : { inputs, result: make() };
      now.set(item, kept);
      return kept.result as T;
    };
  }

  /** The list, but an item that says the same as the item of the same key did the last time is that one; of others the fields that do. */
  settle<T extends object>(name: string, list: readonly T[], keyOf: (item: T) => string): readonly T[] {
    const before = this.#settled.get(name) ?? new Map<string, object>();
    const now = new Map<string, object>();
    const out = list.map((item): T => {
      const key = keyOf(item);
      const known = before.get(key);
      const kept = known === undefined ? item : equal(known, item) ? (known as T) : sharing(item, known);
      now.set(key, kept);
      return kept;
    });
    this.#settled.set(name, now);
    return out;
  }
}

const sharing = <T extends object>(item: T, known: object): T => {
  const out = { ...item };
  for (const key of Object.keys(item) as (keyof T & string)[]) {
    const before: unknown = Reflect.get(known, key);
    if (before !== item[key] && equal(before, item[key])) out[key] = before as T[typeof key];
  }
  return out;
};

const isPlain = (value: object): boolean => {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
};

/** Equal in all that they hold, however deep; functions, and objects of classes but lists, maps and sets, by identity. */
export const equal = (a: unknown, b: unknown): boolean => {
  if (Object.is(a, b)) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Array.isArray(a) || Array.isArray(b)) {
    return Array.isArray(a) && Array.isArray(b) && a.length === b.length && a.every((item, i) => equal(item, b[i]));
  }
  if (a instanceof Map || b instanceof Map) {
    if (!(a instanceof Map && b instanceof Map) || a.size !== b.size) return false;
    for (const [key, value] of a) if (!b.has(key) || !equal(value, b.get(key))) return false;
    return true;
  }
  if (a instanceof Set || b instanceof Set) return a instanceof Set && b instanceof Set && equal([...a], [...b]);
  if (!isPlain(a) || !isPlain(b)) return false;
  const keys = Object.keys(a);
  if (keys.length !== Object.keys(b).length) return false;
  for (const key of keys) if (!Object.hasOwn(b, key) || !equal(Reflect.get(a, key), Reflect.get(b, key))) return false;
  return true;
};

/** Identical, or lists of identical items. */
export const same = (a: unknown, b: unknown): boolean => Object.is(a, b) || (Array.isArray(a) && Array.isArray(b) && sameAll(a, b, false));

const sameAll = (a: readonly unknown[], b: readonly unknown[], lists = true): boolean => {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (!(lists ? same(a[i], b[i]) : Object.is(a[i], b[i]))) return false;
  return true;
};
