// Broken invariants of our own: a bug, never a peer's or a user's fault.

export class AssertionFailure extends Error {}

export function assert(condition: unknown, what: string): asserts condition {
  if (!condition) throw new AssertionFailure(what);
}
