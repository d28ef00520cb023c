// Parts of a piece: what is made for one service or one rule. A piece that is made again takes those parts over whose making would read
// the same, so that one changed object makes little again.
import type { Snapshot } from '../mesh/snapshot.ts';
import type { ProxyNode } from './proxy-node.ts';

/** What a part is made from beside snapshot and node: values, and functions of one text, which are noted by what they answer. */
export type Given = Readonly<Record<string, unknown>>;

/**
 * Makes a part, or gives one that was made before and would be the same now. A name stands for one `make`, which must look at nothing but
 * its arguments. What is given out may be opaque: it can be put into a resource, not looked into.
 */
export type MakePart = <G extends Given, T extends object>(
  name: string,
  given: G,
  make: (snapshot: Snapshot, node: ProxyNode, given: G) => T,
) => T;

export interface WatchedGiven<G> {
  readonly given: G;
  /** Would all that was read be the same of these? */
  holds(other: Given): boolean;
}

export const watchGiven = <G extends Given>(given: G): WatchedGiven<G> => {
  const values = Object.entries(given).filter(([, v]) => typeof v !== 'function');
  const asked = new Map<string, { readonly name: string; readonly text: string; readonly answer: unknown }>();
  const watched: Record<string, unknown> = Object.fromEntries(values);
  for (const [name, value] of Object.entries(given)) {
    if (typeof value !== 'function') continue;
    watched[name] = (text: string): unknown => {
      const answer: unknown = value(text);
      asked.set(`${name} ${text}`, { name, text, answer });
      return answer;
    };
  }
  return {
    given: watched as G,
    holds: (other) =>
      values.every(([name, value]) => Object.is(other[name], value)) &&
      [...asked.values()].every(({ name, text, answer }) => {
        const now = other[name];
        return typeof now === 'function' && Object.is(now(text), answer);
      }),
  };
};
