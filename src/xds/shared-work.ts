// Work on contents that is the same for many streams and is done once: what differs between two contents, which resources a set of names
// selects, and their bytes as part of a response. Everything is kept beside the objects that it was made from and goes with them.
// The sets and lists that this gives out are shared and must not be changed.
import { type Content, type EncodedResource, layersOf } from './content.ts';
import type { Subscribed } from './discovery-machine.ts';
import { deltaResources } from './envelope.ts';

/** From one content to the next, layer by layer. */
export interface Change {
  readonly changed: readonly EncodedResource[];
  readonly removed: readonly string[];
}

const NOTHING: Change = { changed: [], removed: [] };
const NO_NAMES: ReadonlySet<string> = new Set();
/** Sets of names that are kept for streams that ask for the same; fewer than there are classes of proxies. */
const NAME_SETS_MAX = 1000;
/** Of all sets that are kept together, and of names in one: a client that changes a long list name by name makes a new set each time. */
const NAME_SETS_CHARS_MAX = 8 * 1024 * 1024;
const NAMES_PER_SET_MAX = 20_000;

export class SharedWork {
  readonly #changes = new WeakMap<Content, WeakMap<Content, Change>>();
  readonly #selections = new WeakMap<ReadonlySet<string>, WeakMap<Content, readonly EncodedResource[]>>();
  readonly #missing = new WeakMap<ReadonlySet<string>, WeakMap<Content, readonly string[]>>();
  readonly #everything = new WeakMap<Content, readonly EncodedResource[]>();
  readonly #blocks = new WeakMap<readonly EncodedResource[], Uint8Array>();
  readonly #byList = new WeakMap<Iterable<string>, ReadonlySet<string>>();
  readonly #nameSets = new Map<string, ReadonlySet<string>>();
  #nameChars = 0;

  /** One object for equal sets, so that what follows from a set is worked out once; very long ones are the stream's own. */
  names(list: Iterable<string>): ReadonlySet<string> {
    const made = this.#byList.get(list);
    if (made) return made;
    const found = this.#interned(list);
    this.#byList.set(list, found);
    return found;
  }

  #interned(list: Iterable<string>): ReadonlySet<string> {
    const set = new Set(list);
    if (set.size === 0) return NO_NAMES;
    if (set.size > NAMES_PER_SET_MAX) return set;
    const key = [...set].join('\n');
    const known = this.#nameSets.get(key);
    if (known) return known;
    if (this.#nameSets.size >= NAME_SETS_MAX || this.#nameChars + key.length > NAME_SETS_CHARS_MAX) {
      this.#nameSets.clear();
      this.#nameChars = 0;
    }
    if (key.length > NAME_SETS_CHARS_MAX) return set;
    this.#nameSets.set(key, set);
    this.#nameChars += key.length;
    return set;
  }

  /** What a client that has `before` lacks of `after`, by layer: lists of shared layers are shared. */
  changes(before: Content, after: Content): readonly Change[] {
    if (before === after) return [];
    const from = layersOf(before);
    const to = layersOf(after);
    const out: Change[] = [];
    for (let i = 0; i < Math.max(from.length, to.length); i++) {
      const a = from[i];
      const b = to[i];
      if (a === b) continue;
      if (a && b) out.push(this.#change(a, b));
      else if (b) out.push({ changed: [...b.resources.values()], removed: [] });
      else if (a) out.push({ changed: [], removed: [...a.resources.keys()] });
    }
    // A resource may have moved from one layer to another.
    if (from.length === 1 && to.length === 1) return out;
    return out.map((c) => settled(c, before, after));
  }

  #change(before: Content, after: Content): Change {
    const known = this.#changes.get(after)?.get(before);
    if (known) return known;
    const changed: EncodedResource[] = [];
    for (const r of after.resources.values()) if (before.resources.get(r.name)?.version !== r.version) changed.push(r);
    const removed: string[] = [];
    for (const name of before.resources.keys()) if (!after.resources.has(name)) removed.push(name);
    const change = changed.length === 0 && removed.length === 0 ? NOTHING : { changed, removed };
    const byBefore = this.#changes.get(after) ?? new WeakMap<Content, Change>();
    this.#changes.set(after, byBefore);
    byBefore.set(before, change);
    return change;
  }

  /** The resources of each layer that a subscription is to have. */
  selected(content: Content, names: Subscribed): readonly (readonly EncodedResource[])[] {
    return layersOf(content).map((layer) => (names === '*' ? this.#all(layer) : this.#named(layer, names)));
  }

  #all(layer: Content): readonly EncodedResource[] {
    const list = this.#everything.get(layer) ?? [...layer.resources.values()];
    this.#everything.set(layer, list);
    return list;
  }

  #named(layer: Content, names: ReadonlySet<string>): readonly EncodedResource[] {
    const byLayer = this.#selections.get(names) ?? new WeakMap<Content, readonly EncodedResource[]>();
    this.#selections.set(names, byLayer);
    const known = byLayer.get(layer);
    if (known) return known;
    const list = names.size === 0 ? [] : this.#all(layer).filter((r) => names.has(r.name));
    byLayer.set(layer, list);
    return list;
  }

  /** Names that are asked for and not there. */
  missing(content: Content, names: Subscribed): readonly string[] {
    if (names === '*') return [];
    const byContent = this.#missing.get(names) ?? new WeakMap<Content, readonly string[]>();
    this.#missing.set(names, byContent);
    const known = byContent.get(content);
    if (known) return known;
    const list: string[] = [];
    for (const name of names) if (!content.resources.has(name)) list.push(name);
    byContent.set(content, list);
    return list;
  }

  /** The resources as they stand in a delta response; written once for each list. */
  block(list: readonly EncodedResource[], typeUrl: string): Uint8Array {
    const known = this.#blocks.get(list);
    if (known) return known;
    const made = deltaResources(list, typeUrl);
    this.#blocks.set(list, made);
    return made;
  }
}

const settled = (c: Change, before: Content, after: Content): Change => {
  const moved = c.changed.some((r) => before.resources.get(r.name)?.version === r.version);
  const stays = c.removed.some((name) => after.resources.has(name));
  return {
    changed: moved ? c.changed.filter((r) => before.resources.get(r.name)?.version !== r.version) : c.changed,
    removed: stays ? c.removed.filter((name) => !after.resources.has(name)) : c.removed,
  };
};
