// What follows from an object, said by name: an object that notes what is read of it (a watched one) then notes the name and the result,
// not all that the result was worked out from.

/** Where a watched object says how it notes a derived value. */
export const DERIVED = Symbol('derived');

interface Watching<N> {
  readonly [DERIVED]?: (name: string, from: (object: N) => unknown) => unknown;
}

/** `name` stands for `from`: it must say everything that `from` depends on beside the object. */
export const derive = <N extends object, T>(object: N, name: string, from: (object: N) => T): T => {
  const watch = (object as Watching<N>)[DERIVED];
  return watch === undefined ? from(object) : (watch(name, from) as T);
};
