// What the filter chains of one listener take. Envoy refuses a listener of which two chains take one connection, also where they share
// but one range or name of several: the first has it, and a later chain keeps what is left.

import { rangeKey } from '../mesh/cidr.ts';
import type { CidrRange, FilterChain } from '../xds/gen/types.ts';

const ANY = '';

export class TakenMatches {
  readonly #taken = new Set<string>();

  /** The chain as far as it is the first; in parts where it keeps other names for one range than for the next. */
  add(ch: FilterChain): readonly FilterChain[] {
    const { prefix_ranges: ranges = [], server_names: names = [], ...others } = ch.filter_chain_match ?? {};
    const rest = JSON.stringify(others);
    const parts = new Map<string, { readonly ranges: CidrRange[]; readonly names: readonly string[] }>();
    let whole = true;
    for (const range of ranges.length === 0 ? [undefined] : ranges) {
      const place = range === undefined ? ANY : rangeKey(`${range.address_prefix}/${range.prefix_len}`);
      const free = (names.length === 0 ? [ANY] : names).filter((name) => this.#take(`${rest} ${place} ${name.toLowerCase()}`));
      whole &&= free.length === Math.max(1, names.length);
      if (free.length === 0) continue;
      const key = JSON.stringify(free);
      const part = parts.get(key) ?? { ranges: [], names: free };
      parts.set(key, part);
      if (range !== undefined) part.ranges.push(range);
    }
    if (whole) return [ch];
    return [...parts.values()].map((p) => ({
      ...ch,
      filter_chain_match: {
        ...others,
        ...(p.ranges.length === 0 ? {} : { prefix_ranges: p.ranges }),
        ...(names.length === 0 ? {} : { server_names: p.names }),
      },
    }));
  }

  #take(key: string): boolean {
    if (this.#taken.has(key)) return false;
    this.#taken.add(key);
    return true;
  }
}
